"""docs/examples: every script has its page. tests/test_website.py looks up what pages link to."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "examples").glob("*.md"))
LINK = re.compile(r"\]\((?!https?:)([^()#\s]+)(?:#[^()\s]+)?\)")


def test_every_script_is_on_the_index() -> None:
    index = (ROOT / "docs" / "examples" / "index.md").read_text(encoding="utf-8")
    others = {"own_pictures.py"}  # makes data for docs/training.md
    scripts = {one.name for one in (ROOT / "examples").glob("*.py")}
    assert scripts == set(re.findall(r"`(\w+\.py)`", index)) | others
    linked = {file for file in LINK.findall(index) if "/" not in file}
    assert {one.name for one in PAGES} == linked | {"index.md"}
