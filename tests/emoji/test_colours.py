from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.emoji.backgrounds import PALETTE
from unclip.emoji.colours import COLOURS, distance, name_pixels, oklab, srgb, tint
from unclip.emoji.corpus import Corpus

byte = st.integers(0, 255)


@pytest.mark.parametrize("name", COLOURS)
def test_every_colour_is_called_by_its_name(name: str) -> None:
    assert name_pixels(np.array(COLOURS[name])) == name


@pytest.mark.parametrize("name", [name for name in PALETTE if name in COLOURS])
def test_every_background_is_called_by_its_name(name: str) -> None:
    assert name_pixels(np.array(PALETTE[name])) == name


def test_oklab_of_white_red_and_gray() -> None:
    """Reference values published with the colour space."""
    assert oklab(np.array([255, 255, 255])) == pytest.approx([1, 0, 0], abs=1e-3)
    assert oklab(np.array([255, 0, 0])) == pytest.approx([0.628, 0.2249, 0.1258], abs=1e-3)
    assert oklab(np.array([0, 0, 0])) == pytest.approx([0, 0, 0], abs=1e-3)


@given(byte, byte, byte)
def test_oklab_round_trip(red: int, green: int, blue: int) -> None:
    pixel = np.array([red, green, blue])
    assert np.abs(srgb(oklab(pixel)).astype(int) - pixel).max() <= 1


def test_distance_from_black_to_white_is_one() -> None:
    assert distance((0, 0, 0), (255, 255, 255)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("glyph", ["noto/1f697", "noto/1f427", "noto/2b50", "noto/1f34e"])
def test_a_tinted_drawing_is_clearly_of_its_colour(corpus: Corpus, glyph: str, colour: str) -> None:
    how = corpus[glyph]["tint"]
    before = corpus.picture(glyph, 96, 96)
    after = tint(before, colour, how["level"], how["hue"], how["all"])
    assert (after[..., 3] == before[..., 3]).all()
    assert (after[..., :3] <= after[..., 3:]).all()
    solid = before[..., 3] > 250
    changed = solid & (np.abs(after.astype(int) - before).max(-1) > 8)
    if corpus[glyph]["colour"] == colour:
        return
    words = name_pixels(after[changed][:, :3])
    close = {"brown": {"brown", "orange"}, "white": {"white", "gray"}, "gray": {"gray", "black"}}
    assert changed.sum() > 0.3 * solid.sum()
    assert np.isin(words, list(close.get(colour, {colour}))).mean() > 0.5


def test_a_tint_leaves_other_hues_alone(corpus: Corpus) -> None:
    """A blue mushroom has a blue cap and the white stem that it had."""
    how = corpus["noto/1f344"]["tint"]
    before = corpus.picture("noto/1f344", 96, 96)
    after = tint(before, "blue", how["level"], how["hue"], how["all"])
    plain = (before[..., 3] > 250) & (before[..., :3].min(-1) > 225)
    assert plain.sum() > 300
    assert np.abs(after[plain].astype(int) - before[plain]).max() <= 30


def test_shading_survives_a_tint(corpus: Corpus) -> None:
    how = corpus["noto/2b50"]["tint"]
    before = corpus.picture("noto/2b50", 96, 96)
    after = tint(before, "blue", how["level"], how["hue"], how["all"])
    solid = before[..., 3] > 250
    light = [np.asarray(oklab(picture[solid][:, :3]))[:, 0] for picture in (before, after)]
    assert np.corrcoef(light[0], light[1])[0, 1] > 0.7
