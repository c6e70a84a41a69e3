"""`unclip init`: a recipe in a file, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RunCli = Callable[..., Any]


def test_a_recipe_is_written_once_and_trains(unclip: RunCli, dataset: Path) -> None:
    done = unclip("init", "mine.toml", "--from", "tiny", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["checked"] is True
    assert 'name = "mine"' in Path("mine.toml").read_text()
    before = Path("mine.toml").read_bytes()
    unclip("init", "mine.toml").fails(2, "mine.toml exists already")
    assert Path("mine.toml").read_bytes() == before
    done = unclip("train", "mine.toml", "--dry-run")
    assert done.code == 0, done.err


def test_a_recipe_speaks_of_itself(unclip: RunCli) -> None:
    assert unclip("init", "mine.toml", "--data", "pictures/").code == 0
    text = Path("mine.toml").read_text()
    assert "# mine\n" in text and 'path = "pictures/"' in text
    assert "`unclip train mine.toml --budget 10m`" in text
    assert "runs/mine/model" in text and "runs/folder" not in text and "train folder" not in text


def test_a_model_that_is_not_there_writes_nothing(unclip: RunCli) -> None:
    unclip("init", "mine.toml", "--from", "karlo", "--model", "nowhere").fails(2, "nowhere")
    assert not Path("mine.toml").exists()
