"""A model's card in the report: the paragraph on its limits, and no other."""

from __future__ import annotations

from pathlib import Path

from unclip.evaluate import limits

CARD = """# A model

**What it can do.** Much.

**What it cannot do.** It knows *three* nouns, and
no others (`data.nouns`).

**Licence.** MIT
"""


def test_the_paragraph_on_limits_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    section = limits.section(tmp_path)
    assert section is not None
    assert section.text == "It knows *three* nouns, and no others (`data.nouns`)."
    assert section.parts == ()


def test_a_model_without_such_a_paragraph_has_no_section(tmp_path: Path) -> None:
    assert limits.section(tmp_path) is None
    (tmp_path / "README.md").write_text("# A model\n\nIt draws.\n")
    assert limits.section(tmp_path) is None
    (tmp_path / "README.md").write_bytes(b"\xff\xfe**What it cannot do.** x")
    assert limits.section(tmp_path) is None


def test_no_more_of_a_card_is_read_than_64_kib_and_none_outside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    card = folder / "README.md"
    card.write_text("a" * 2**16 + "\n\n" + CARD)
    assert limits.section(folder) is None
    (tmp_path / "card.md").write_text(CARD)
    card.unlink()
    card.symlink_to(tmp_path / "card.md")
    assert limits.section(folder) is None
