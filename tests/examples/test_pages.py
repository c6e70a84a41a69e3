"""docs/examples: every script has its page, and what pages link to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "examples").glob("*.md"))
LINK = re.compile(r"\]\((?!https?:)([^()#\s]*)(?:#([^()\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_script_is_on_the_index() -> None:
    index = (ROOT / "docs" / "examples" / "index.md").read_text(encoding="utf-8")
    others = {"own_pictures.py"}  # makes data for docs/training.md
    scripts = {one.name for one in (ROOT / "examples").glob("*.py")}
    assert scripts == set(re.findall(r"`(\w+\.py)`", index)) | others
    linked = {file for file, _ in LINK.findall(index) if "/" not in file}
    assert {one.name for one in PAGES} == linked | {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert links
    for file, anchor in links:
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"
