"""Scenes: what the specification says is what the picture shows and the caption tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from unclip.emoji.backgrounds import KINDS, paint
from unclip.emoji.captions import caption
from unclip.emoji.colours import COLOURS, name_pixels
from unclip.emoji.english import NUMBERS
from unclip.emoji.plan import RELATIONS
from unclip.emoji.render import render
from unclip.emoji.source import EmojiScenes
from unclip.errors import DataError, UsageError

ALL_NOTO = {"styles": ("noto",)}


def make(path: Path, size: int = 64, **settings: Any) -> EmojiScenes:
    return EmojiScenes(
        EmojiScenes.Config.parse({"path": path, **ALL_NOTO, **settings}), (size, size)
    )


def specs(source: EmojiScenes, count: int) -> list[dict[str, Any]]:
    return [source._compose(position)[0] for position in range(count)]


def blobs(mask: NDArray[np.bool_]) -> int:
    """How many connected regions (of at least 3 pixels) a mask has."""
    left, found = mask.copy(), 0
    while left.any():
        stack = [tuple(np.argwhere(left)[0])]
        left[stack[0]] = False
        area = 0
        while stack:
            row, column = stack.pop()
            area += 1
            for r, c in (
                (row + 1, column),
                (row - 1, column),
                (row, column + 1),
                (row, column - 1),
            ):
                if 0 <= r < left.shape[0] and 0 <= c < left.shape[1] and left[r, c]:
                    left[r, c] = False
                    stack.append((r, c))
        found += area >= 3
    return found


def background_of(source: EmojiScenes, spec: dict[str, Any], size: int) -> NDArray[np.uint8]:
    return render(spec | {"objects": []}, size, source.corpus)


def test_a_specification_is_plain_data(scenes: EmojiScenes) -> None:
    for spec in specs(scenes, 200):
        assert json.loads(json.dumps(spec)) == spec
        again = render(json.loads(json.dumps(spec)), 64, scenes.corpus)
        assert (again == render(spec, 64, scenes.corpus)).all()


def test_objects_stay_within_their_boxes_and_the_canvas(scenes: EmojiScenes) -> None:
    for spec in specs(scenes, 300):
        outside = np.ones((64, 64), bool)
        for thing in spec["objects"]:
            x, y, width, height = (round(value * 64) for value in thing["box"])
            assert (np.array(thing["box"]) * 64 % 1 == 0).all()
            assert 0 <= x < x + width <= 64
            assert 0 <= y < y + height <= 64
            outside[y : y + height, x : x + width] = False
        changed = (render(spec, 64, scenes.corpus) != background_of(scenes, spec, 64)).any(-1)
        assert not (changed & outside).any()


def test_boxes_are_tight(corpus_path: Path) -> None:
    source = make(corpus_path, mix={"single": 1, "count": 0, "pair": 0, "group": 0})
    for spec in specs(source, 40):
        spec["background"] = {"kind": "plain", "colour": "pink", "rgb": [255, 0, 255], "said": True}
        changed = (render(spec, 256, source.corpus) != np.array([255, 0, 255], np.uint8)).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        found = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
        assert np.array(found) == pytest.approx(np.array(spec["objects"][0]["box"]) * 256, abs=3)


def test_objects_do_not_overlap(scenes: EmojiScenes) -> None:
    for spec in specs(scenes, 500):
        boxes = [thing["box"] for thing in spec["objects"]]
        for number, (x, y, width, height) in enumerate(boxes):
            for u, v, wide, high in boxes[number + 1 :]:
                assert x + width <= u or u + wide <= x or y + height <= v or v + high <= y


def test_counted_objects_can_be_counted_in_the_picture(corpus_path: Path) -> None:
    """Stars: one blob each."""
    mix = {"single": 0, "count": 1, "pair": 0, "group": 0, "textured": 0, "tinted": 0}
    source = make(corpus_path, mix=mix)
    seen = set()
    for position in range(900):
        spec, words = source._compose(position)
        if spec["objects"][0]["noun"] != "star":
            continue
        count = len(spec["objects"])
        spec["background"] |= {"rgb": [20, 30, 90], "kind": "plain"}
        picture = render(spec, 64, source.corpus).astype(int)
        mask = np.abs(picture - [20, 30, 90]).max(-1) > 60
        assert blobs(mask) == count
        assert f"{NUMBERS[count]} " in words
        assert " stars" in words
        seen.add(count)
    assert seen == {3, 4, 5, 6}  # two stars are held out


def test_relations_hold(corpus_path: Path) -> None:
    source = make(corpus_path, mix={"single": 0, "count": 0, "pair": 1, "group": 0})
    seen = set()
    for position in range(400):
        spec, words = source._compose(position)
        relation = spec["relation"]
        seen.add(relation)
        (x, y, width, height), (u, v, wide, high) = (thing["box"] for thing in spec["objects"])
        holds = {
            "to the left of": x + width <= u,
            "to the right of": u + wide <= x,
            "above": y + height <= v,
            "below": v + high <= y,
            "next to": x + width <= u or u + wide <= x,
        }
        assert holds[relation]
        assert f" {relation} " in words
    assert seen == set(RELATIONS)


def test_a_size_word_is_true(corpus_path: Path) -> None:
    source = make(corpus_path, mix={"single": 0, "count": 0, "pair": 1, "group": 0})
    seen = 0
    for spec in specs(source, 400):
        longest = [max(thing["box"][2:]) for thing in spec["objects"]]
        words = [thing["size"] for thing in spec["objects"]]
        if "small" in words:
            small = words.index("small")
            assert longest[small] < 0.75 * longest[1 - small]
            seen += 1
    assert seen > 40


@pytest.mark.parametrize("colour", ["red", "green", "blue", "purple", "yellow"])
def test_a_said_colour_is_shown(corpus_path: Path, colour: str) -> None:
    source = make(corpus_path, mix={"single": 1, "count": 0, "pair": 0, "group": 0, "tinted": 1})
    seen = 0
    for position in range(250):
        spec, words = source._compose(position)
        thing = spec["objects"][0]
        if thing["tint"] != colour or thing["size"] == "small":
            continue
        assert colour in words
        spec["background"] |= {"rgb": [255, 255, 255], "kind": "plain"}
        picture = render(spec, 64, source.corpus)
        shown = picture[(255 - picture.min(-1)) > 40]
        assert (name_pixels(shown) == colour).mean() > 0.3
        seen += 1
    assert seen > 2


def test_large_and_small_renderings_show_the_same_picture(scenes: EmojiScenes) -> None:
    for spec in specs(scenes, 60):
        small = render(spec, 64, scenes.corpus).astype(float)
        large = render(spec, 256, scenes.corpus).reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(small - large).mean() < 5


def test_renderings_beyond_the_glyphs_show_the_same_picture_and_are_as_sharp(
    scenes: EmojiScenes,
) -> None:
    """A sharp edge is a pixel wide at any size; one of an enlarged picture is as wide as before."""
    for spec in specs(scenes, 12):
        small, large = (render(spec, size, scenes.corpus).astype(float) for size in (256, 768))
        averaged = large.reshape(256, 3, 256, 3, 3).mean((1, 3))
        assert np.abs(small - averaged).mean() < 2.5
        steepest = (np.abs(np.diff(one.mean(-1), axis=1)).max() for one in (small, large))
        assert next(steepest) < 1.5 * next(steepest)


@settings(max_examples=25)
@given(position=st.integers(0, 30), corner=st.tuples(*(st.integers(0, 200),) * 4))
def test_a_part_of_a_rendering_is_that_part(
    position: int, corner: tuple[int, ...], scenes: EmojiScenes
) -> None:
    a, b, c, d = corner
    left, right = sorted((a, b + 56))
    top, bottom = sorted((c, d + 56))
    assume(left < right and top < bottom)
    spec = specs(scenes, position + 1)[-1]
    part = render(spec, 256, scenes.corpus, (left, top, right, bottom))
    assert np.array_equal(part, render(spec, 256, scenes.corpus)[top:bottom, left:right])


def test_a_part_of_a_drawing_is_that_part(scenes: EmojiScenes) -> None:
    """But for the rounding of where its edges lie."""
    for spec in specs(scenes, 6):
        whole = render(spec, 640, scenes.corpus).astype(int)
        for left, top in ((0, 0), (200, 300), (384, 384)):
            part = render(spec, 640, scenes.corpus, (left, top, left + 256, top + 256))
            off = np.abs(part - whole[top : top + 256, left : left + 256])
            assert off.mean() < 0.1 and (off > 12).mean() < 0.001


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_of_a_background_is_that_part(scenes: EmojiScenes, kind: str) -> None:
    background = {"kind": kind, "rgb": [60, 120, 220], "second": [230, 230, 250]}
    background |= {"angle": 0.7, "scale": 7, "seed": 3, "colour": "blue", "said": True}
    whole = paint(background, 200).astype(int)
    assert np.abs(paint(background, 200, (30, 70, 141, 90)) - whole[70:90, 30:141]).max() <= 1


def test_crops_of_large_pictures_show_a_part_of_an_object(corpus_path: Path) -> None:
    whole, cut = make(corpus_path, 512), make(corpus_path, 512, crop_size=128)
    assert (cut.size, whole.size) == ((128, 128), (512, 512))
    places = set()
    for position in range(12):
        spec = cut.sample(position)["spec"]
        assert spec == whole.sample(position)["spec"]
        image, box = cut.sample(position)["image"], cut._part(spec, position)
        assert box is not None and image.shape == (128, 128, 3)
        left, top, right, bottom = box
        places.add(box)
        assert left % 8 == top % 8 == 0 and 0 <= left <= 384 and 0 <= top <= 384
        assert any(  # it overlaps an object
            x * 512 < right and (x + w) * 512 > left and y * 512 < bottom and (y + h) * 512 > top
            for x, y, w, h in (thing["box"] for thing in spec["objects"])
        )
        seen = whole.sample(position)["image"][top:bottom, left:right].astype(int)
        assert np.abs(image - seen).mean() < 0.2
    assert len(places) > 6
    small = make(corpus_path, 64, crop_size=128)  # no larger than a crop: all of it
    assert np.array_equal(small.sample(3)["image"], make(corpus_path).sample(3)["image"])


def test_crops_of_any_side_stay_inside(corpus_path: Path) -> None:
    """Where the grid does not end at the picture's edge, too."""
    cut = make(corpus_path, 1024, crop_size=200)
    for place in ([0.97, 0.97, 0.03, 0.03], [0.0, 0.0, 0.03, 0.03]):
        left, top, right, bottom = cut._part({"objects": [{"box": place}]}, 0) or (0, 0, 0, 0)
        assert left % 16 == top % 16 == 0 and (right - left, bottom - top) == (200, 200)
        assert min(left, top) >= 0 and max(right, bottom) <= 1024


def test_crops_need_the_drawings(corpus_path: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for file in corpus_path.iterdir():
        if file.name != "drawings.json":
            (old / file.name).symlink_to(file)
    with pytest.raises(DataError, match=r"has no drawings .* 512 pixels of; build it again: "):
        make(old, 512, crop_size=128)
    assert make(old, 512).sample(0)["image"].shape == (512, 512, 3)  # as ever
    (old / "drawings.json").write_text('{"noto/1f98a": {"body": "<svg/>"}}')
    with pytest.raises(DataError, match=r"drawings.json is damaged"):
        [make(old, 512, crop_size=128).sample(position) for position in range(9)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_background_is_the_same_at_every_size(scenes: EmojiScenes, kind: str) -> None:
    background = {"kind": kind, "rgb": [60, 120, 220], "second": [230, 230, 250]}
    background |= {"angle": 0.7, "scale": 7, "seed": 3, "colour": "blue", "said": True}
    spec = {"background": background, "objects": []}
    small = render(spec, 64, scenes.corpus).astype(float)
    large = render(spec, 256, scenes.corpus).reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(small - large).mean() < 3
    assert (small.std((0, 1)).max() > 3) == (kind != "plain")


def test_no_dark_fringes(corpus_path: Path) -> None:
    """A light thing on a light ground has no pixel darker than both at its rim."""
    source = make(corpus_path)
    thing = {"id": "noto/2b50", "tint": None, "box": [0.1, 0.1, 0.7, 0.7]}
    ground = {"kind": "plain", "rgb": [255, 255, 255]}
    picture = render({"background": ground, "objects": [thing]}, 64, source.corpus)
    assert picture[..., 0].min() > 225  # the star's red channel is high everywhere


def test_objects_stand_out_from_the_background(scenes: EmojiScenes) -> None:
    faint = 0
    for spec in specs(scenes, 200):
        change = render(spec, 64, scenes.corpus).astype(int) - background_of(scenes, spec, 64)
        faint += np.abs(change).max() < 40
    assert faint == 0


GRAMMAR = re.compile(r"\ba [aeio]|\ban [^aeiouh]|\s\s|^\s|\s$|\bNone\b|\{")


def test_captions_are_clean_english(corpus_path: Path) -> None:
    for styles in (("noto",), ("noto", "flat", "glossy")):
        words = list(make(corpus_path, styles=styles).captions(3000))
        assert [text for text in words if GRAMMAR.search(text)] == []
        assert len(set(words)) > 1000


def test_captions_name_what_is_there(scenes: EmojiScenes) -> None:
    for position in range(500):
        spec, words = scenes._compose(position)
        for thing in spec["objects"]:
            names = [thing["noun"], thing["plural"], *scenes.corpus[thing["id"]]["also"]]
            assert any(name and name in words for name in names)
        if spec["background"]["said"]:
            assert spec["background"]["colour"] in words
            assert "background" in words


def test_colours_that_are_not_there_are_not_said(scenes: EmojiScenes) -> None:
    for position in range(500):
        spec, words = scenes._compose(position)
        true = {thing["colour"] for thing in spec["objects"]}
        true |= {scenes.corpus[thing["id"]]["colour"] for thing in spec["objects"]}
        true |= set(spec["background"]["colour"].split())
        said = {word for word in re.findall("[a-z]+", words) if word in COLOURS}
        assert said <= true


def test_another_style_is_always_said(corpus_path: Path) -> None:
    source = make(corpus_path, styles=["noto", "flat", "glossy"])
    seen = set()
    for position in range(300):
        spec, words = source._compose(position)
        seen.add(spec["style"])
        assert spec["style"] == "noto" or f"{spec['style']} style" in words
        assert all(thing["id"].startswith(spec["style"]) for thing in spec["objects"])
    assert seen == {"noto", "flat", "glossy"}


def test_a_lone_thing_is_mostly_just_named(corpus_path: Path) -> None:
    mix = {"single": 1, "count": 0, "pair": 0, "group": 0, "tinted": 0, "background_said": 0}
    words = list(make(corpus_path, mix=mix).captions(1000))
    assert sum(text in {"a fox", "a car", "an apple", "a robot"} for text in words) > 100


def test_a_seed_changes_the_scenes(corpus_path: Path) -> None:
    first, second = (list(make(corpus_path, seed=seed).captions(20)) for seed in (0, 1))
    assert first != second


def test_the_caption_is_drawn_apart_from_the_plan(scenes: EmojiScenes) -> None:
    spec = scenes._compose(0)[0]
    rng = np.random.default_rng(0)
    assert len({caption(spec, rng, scenes.corpus) for _ in range(60)}) > 1


def test_errors(corpus_path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no emoji corpus"):
        make(tmp_path)
    with pytest.raises(UsageError, match=r"no style 'flatt'.*did you mean 'flat'"):
        make(corpus_path, styles=["flatt"])
    with pytest.raises(UsageError, match=r"unknown setting 'mix\.singel'.*single"):
        make(corpus_path, mix={"singel": 1})
    with pytest.raises(UsageError, match="cannot all be 0"):
        make(corpus_path, mix={"single": 0, "count": 0, "pair": 0, "group": 0})


def test_the_picture_is_a_picture(scenes: EmojiScenes) -> None:
    image = scenes.sample(0)["image"]
    assert Image.fromarray(image).size == (64, 64)
    assert image.flags.writeable
