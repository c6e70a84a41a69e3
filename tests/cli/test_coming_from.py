"""docs/coming-from.md, line by line: what its right columns show works as it stands."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import unclip as package
from unclip import loading

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
CODE = re.compile(r"`((?:unclip |pipe)[^`]+)`")


def rows() -> list[tuple[str, str]]:
    """(what it was called there, the cell with what it is here) of every table."""
    text = re.sub(r"<!--.*?-->", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if line[:1] == "|"]
    cells = [[one.strip() for one in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert all(len(row) == 2 for row in cells)
    return [(there, here) for there, here in cells if here not in ("here", "---")]


SHOWN = list(
    dict.fromkeys(code.replace(r"\|", "|") for _, cell in rows() for code in CODE.findall(cell))
)


@pytest.fixture
def here(model: Path, tmp_path: Path, unclip: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a picture of the small model's, a mask and texts."""
    monkeypatch.setattr(loading, "BUNDLED", str(model))
    monkeypatch.setattr(loading, "bundled_models", lambda: {"tiny": model})
    fox = loading.load(model, "cpu").generate("a fox", seed=1)[0]
    shutil.copy(drawn(fox, tmp_path), "fox.png")
    mask = Image.new("L", fox.size)
    mask.paste(255, (4, 4, 12, 12))
    mask.save("mask.png")
    return Path()


def drawn(picture: Image.Image, folder: Path) -> Path:
    from unclip.media import save

    save(picture, folder / "fox.png")
    return folder / "fox.png"


def test_every_row_shows_something() -> None:
    assert len(rows()) > 40
    for there, cell in rows():
        assert CODE.search(cell), there
    assert sum(code.startswith("unclip ") for code in SHOWN) > 20


@pytest.mark.parametrize("code", [one for one in SHOWN if one.startswith("pipe")])
def test_python(code: str, here: Path, model: Path) -> None:
    names = {"unclip": package, "torch": torch, "folder": model, "pipe": pipeline(model)}
    exec(code, names)


@cache
def pipeline(model: Path) -> package.Pipeline:
    return package.load(model, "cpu")


@pytest.mark.parametrize("code", [one for one in SHOWN if one.startswith("unclip ")])
def test_commands(code: str, here: Path, unclip: Callable[..., Any]) -> None:
    done = unclip(*shlex.split(code)[1:])
    assert done.code == 0, done.err
