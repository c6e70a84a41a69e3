"""The recipes of docs/data.md are sound, and it names every source."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from unclip.data import SOURCES, settings_of
from unclip.train.section import DATA_KEYS

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
RECIPES = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)]


@pytest.mark.parametrize("recipe", RECIPES, ids=[one["data"]["source"] for one in RECIPES])
def test_a_recipe_says_what_its_source_takes(recipe: dict[str, Any]) -> None:
    settings_of({k: v for k, v in recipe["data"].items() if k not in DATA_KEYS[1:]})


def test_every_source_is_told_of() -> None:
    for name in SOURCES.names():
        assert f"| `{name}` |" in TEXT or f"| [`{name}`](#{name}) |" in TEXT
        assert f"## {name}" in TEXT or name in ("shapes", "emoji")
