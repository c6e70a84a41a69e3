from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unclip.data import source_at
from unclip.emoji.corpus import MIPS, Corpus, build, file_name
from unclip.emoji.names import read_json
from unclip.emoji.source import EmojiScenes
from unclip.errors import DataError, UsageError
from unclip.plain import JSON_BYTES

from .conftest import ASSETS


def test_every_drawing_of_the_vocabulary_is_there_and_skin_tones_are_not(corpus: Corpus) -> None:
    styles = [glyph["style"] for glyph in corpus.glyphs]
    assert [styles.count(style) for style in corpus.styles] == [16, 6, 2]
    assert not any("\N{EMOJI MODIFIER FITZPATRICK TYPE-1-2}" in g["emoji"] for g in corpus.glyphs)


def test_a_record_carries_names_keywords_and_licence(corpus: Corpus) -> None:
    fox = corpus["noto/1f98a"]
    assert fox["noun"] == "fox"
    assert fox["names"] == {"en": "fox", "zh": "狐狸"}
    assert "animal" in fox["keywords"]["en"]
    assert (fox["category"], fox["licence"], fox["colour"]) == ("animals", "Apache-2.0", "orange")
    assert corpus["flat/1f697"]["licence"] == "MIT"


def test_colour_words_in_cldr_names_become_fixed_colours(corpus: Corpus) -> None:
    heart = corpus["noto/1f499"]
    assert (heart["noun"], heart["colour"], heart["fixed"]) == ("heart", "blue", True)
    apple = corpus["noto/1f34e"]
    assert (apple["noun"], apple["colour"], apple["fixed"]) == ("apple", "red", False)


def test_a_plural_name_takes_no_number(corpus: Corpus) -> None:
    assert corpus["noto/1f44f"]["noun"] == "clapping hands"
    assert corpus["noto/1f44f"]["plural"] is None
    assert corpus["noto/1f35f"]["plural"] is None  # french fries


def test_glyphs_fill_their_square_and_are_premultiplied(corpus: Corpus) -> None:
    pixels = np.load(corpus.path / "glyphs.npy", mmap_mode="r")
    assert pixels.shape == (24, 256, 256, 4)
    assert pixels.dtype == np.uint8
    assert (pixels[..., :3] <= pixels[..., 3:]).all()
    for glyph in corpus.glyphs:
        left, top, right, bottom = glyph["extent"]
        assert max(right - left, bottom - top) >= 248
        assert abs((left + right) / 2 - 128) <= 2
        assert abs((top + bottom) / 2 - 128) <= 2


def test_smaller_copies_are_block_averages(corpus: Corpus) -> None:
    full = np.load(corpus.path / "glyphs.npy")[3].astype(float)
    for size in MIPS[1:]:
        small = np.load(corpus.path / file_name(size))[3]
        step = 256 // size
        mean = full.reshape(size, step, size, step, 4).mean((1, 3))
        assert np.abs(small - mean).max() <= 1.01


@pytest.mark.parametrize("side", [20, 64, 100, 256, 400])
def test_a_picture_has_the_asked_size_and_fills_it(corpus: Corpus, side: int) -> None:
    picture = corpus.picture("noto/2b50", side, side)  # a star
    assert picture.shape == (side, side, 4)
    assert (picture[..., :3] <= picture[..., 3:]).all()
    seen = picture[..., 3] > 8
    assert seen.any(1).mean() > 0.93
    assert seen.any(0).mean() > 0.93


def test_pictures_of_different_copies_agree(corpus: Corpus) -> None:
    large = corpus.picture("noto/1f98a", 240, 240)
    small = corpus.picture("noto/1f98a", 60, 60).astype(float)
    mean = large.reshape(60, 4, 60, 4, 4).mean((1, 3))
    assert np.abs(small - mean).mean() < 4


def test_everyday_leaves_out_the_rest(corpus: Corpus, tmp_path: Path) -> None:
    everyday = corpus.narrowed("everyday")
    nouns = {glyph["noun"] for glyph in everyday.glyphs}
    assert "fox" in nouns
    assert "clapping hands" not in nouns
    assert all(everyday[glyph["id"]] is glyph for glyph in everyday.glyphs)
    assert build(tmp_path / "out", ASSETS, "everyday", ["glossy"]) == 2


def test_chosen_nouns_alone_are_kept(corpus: Corpus) -> None:
    few = corpus.narrowed("all", ["fox", "car"])
    assert {glyph["noun"] for glyph in few.glyphs} == {"fox", "car"}
    assert all(few[glyph["id"]] is glyph for glyph in few.glyphs)
    with pytest.raises(UsageError, match=r"no 'foxx' \(did you mean 'fox'\?\)"):
        corpus.narrowed("all", ["foxx"])


def test_styles_and_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    count = build(tmp_path / "c", ASSETS, "all", ["flat"], lambda i, n: seen.append((i, n)))
    assert seen == [(number, 6) for number in range(1, 7)]
    assert count == 6
    assert Corpus.open(tmp_path / "c").styles == ("flat",)
    assert "Apache" not in (tmp_path / "c" / "LICENSES.md").read_text()
    assert "MIT" in (tmp_path / "c" / "LICENSES.md").read_text()


def test_missing_assets_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"npm install --prefix assets"):
        build(tmp_path / "out", tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_a_damaged_asset_names_the_file(tmp_path: Path) -> None:
    broken = tmp_path / "@iconify-json" / "noto" / "icons.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    with pytest.raises(DataError, match=r"icons\.json"):
        build(tmp_path / "out", tmp_path, styles=["noto"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary": "everyda"}, "did you mean 'everyday'"),
        ({"styles": ["flatt"]}, "did you mean 'flat'"),
        ({"styles": []}, "no style"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(tmp_path / "out", ASSETS, **arguments)  # type: ignore[arg-type]


def test_no_renderer_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(DataError, match=r"pip install resvg-py"):
        build(tmp_path / "out", ASSETS)


def test_opening_what_is_no_corpus(tmp_path: Path, corpus_path: Path) -> None:
    with pytest.raises(DataError, match="unclip data emoji --out"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text("[]")
    with pytest.raises(DataError, match="damaged"):
        Corpus.open(tmp_path)
    header = json.loads((corpus_path / "corpus.json").read_text())
    (tmp_path / "corpus.json").write_text(json.dumps(header))
    with pytest.raises(DataError, match=r"glyphs\.npy is missing"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text(json.dumps(header | {"format": 0}))
    with pytest.raises(DataError, match="another version"):
        Corpus.open(tmp_path)


def test_an_unknown_glyph(corpus: Corpus) -> None:
    with pytest.raises(DataError, match="no glyph 'noto/0'"):
        corpus["noto/0"]


def test_the_fixture_is_rendered_as_drawn(corpus: Corpus) -> None:
    """The penguin: black back, orange beak, white belly."""
    picture = corpus.picture("noto/1f427", 128, 128)
    image = Image.frombytes("RGBA", (128, 128), picture.tobytes())
    colours = np.asarray(image.convert("RGB")).reshape(-1, 3)[picture[..., 3].ravel() > 250]
    assert (colours.max(1) < 110).mean() > 0.15
    assert (colours.min(1) > 200).mean() > 0.15


def test_a_corpus_folder_is_read_by_its_own_source_and_counted(corpus_path: Path) -> None:
    source = source_at(corpus_path, (8, 8))
    assert isinstance(source, EmojiScenes)
    counts = source.summary()
    assert counts["glyphs"] == 24
    assert counts["styles"] == {"noto": 16, "flat": 6, "glossy": 2}
    assert counts["licences"] == {"Apache-2.0": 16, "MIT": 8}
    assert counts["everyday nouns"] == 14
    assert counts["nouns"] == 16
    assert counts["sources"]["@iconify-json/noto"] == "1.2.9"


def test_an_asset_may_be_longer_than_other_json(tmp_path: Path) -> None:
    file = tmp_path / "icons.json"
    file.write_bytes(b"{}" + b" " * JSON_BYTES)
    assert read_json(file) == {}
