"""A model's card in the report: the paragraph on its limits, and no other."""

from __future__ import annotations

from pathlib import Path

from unclip.evaluate import limits
from unclip.loading import BUNDLED, find_model

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


def test_limits_may_be_a_list(tmp_path: Path) -> None:
    card = "**Limits.**\n\n- It knows *three*\n  nouns.\n- No text.\n\n## Licence\n\nMIT\n"
    (tmp_path / "README.md").write_text("# A model\n\n" + card)
    section = limits.section(tmp_path)
    assert section is not None
    assert section.text == "It knows *three* nouns. No text."


def test_the_bundled_card_states_its_limits() -> None:
    section = limits.section(find_model(BUNDLED))
    assert section is not None
    assert section.text.startswith("It knows only the 40 nouns")
    assert "\n" not in section.text


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
