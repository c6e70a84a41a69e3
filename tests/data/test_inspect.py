from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unclip.data.inspect import contact_sheet, summary
from unclip.emoji.source import EmojiScenes
from unclip.errors import DataError


def test_a_sheet_shows_the_samples_in_order(scenes: EmojiScenes) -> None:
    sheet = np.asarray(contact_sheet(scenes, rows=2, columns=3))
    assert sheet.shape[1] == 3 * 152 + 8
    for number in range(6):
        x, y = 8 + number % 3 * 152, 8 + number // 3 * (sheet.shape[0] - 8) // 2
        corner = sheet[y, x]
        assert (corner == scenes.sample(number)["image"][0, 0]).all()


def test_a_sheet_has_captions_and_a_seed(scenes: EmojiScenes) -> None:
    first, again, other = (np.asarray(contact_sheet(scenes, 1, 2, seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert (first[154:, :] < 100).any()  # ink below the pictures


def test_summary_of_a_corpus(corpus_path: Path) -> None:
    counts = summary(corpus_path)
    assert counts["glyphs"] == 24
    assert counts["styles"] == {"noto": 16, "flat": 6, "glossy": 2}
    assert counts["licences"] == {"Apache-2.0": 16, "MIT": 8}
    assert counts["everyday nouns"] == 14
    assert counts["nouns"] == 16
    assert counts["sources"]["@iconify-json/noto"] == "1.2.9"


def test_summary_of_neither(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        summary(tmp_path)
