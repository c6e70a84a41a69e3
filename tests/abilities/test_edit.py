"""Inpainting: what is kept is kept to the byte, and what is hidden has no say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unclip import Pipeline
from unclip.abilities._canvas import Window
from unclip.abilities.edit import window_around
from unclip.errors import UsageError
from unclip.media import digest
from unclip.record import Record

Noise = Callable[..., Image.Image]
Off = Callable[[Image.Image, Image.Image], int]


def boxed(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def split(picture: Image.Image, mask: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that were kept, and those that were painted."""
    painted = np.asarray(mask) > 0
    return np.asarray(picture)[~painted], np.asarray(picture)[painted]


@pytest.mark.filterwarnings("ignore::unclip.errors.SettingWarning")  # it always repaints
@pytest.mark.parametrize("size", [(16, 16), (40, 24), (23, 31), (8, 50), (5, 3)])
@pytest.mark.parametrize("way", [{}, {"inpainting": "repaint", "resample": 2}])
def test_what_is_kept_is_kept_and_what_is_painted_is_new(
    size: tuple[int, int], way: dict[str, Any], pipe: Pipeline, few: dict[str, int], noise: Noise
) -> None:
    picture = noise(*size)
    mask = boxed(size, (size[0] // 4, size[1] // 4, size[0], size[1] - 1))
    (edited,) = pipe.edit(picture, mask, "a blue square", **few, **way)
    assert (edited.size, edited.mode) == (size, "RGB")
    (before, under), (kept, painted) = split(picture, mask), split(edited, mask)
    assert np.array_equal(before, kept)
    assert (under != painted).any(-1).mean() > 0.9


@given(data=st.data())
@settings(max_examples=12)
def test_any_box_of_any_picture(
    data: st.DataObject, pipe: Pipeline, few: dict[str, int], noise: Noise
) -> None:
    width, height = data.draw(st.integers(2, 40)), data.draw(st.integers(2, 40))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, width))
    bottom = data.draw(st.integers(top + 1, height))
    picture, mask = noise(width, height), boxed((width, height), (left, top, right, bottom))
    (edited,) = pipe.edit(picture, mask, "a red circle", **{**few, "steps": 1, "resample": 1})
    before, kept = split(picture, mask)[0], split(edited, mask)[0]
    assert np.array_equal(before, kept)
    assert edited.size == picture.size
    window, box = window_around(mask, pipe.model.size), mask.getbbox()
    assert box is not None
    assert window.x <= box[0] and window.y <= box[1]
    assert box[2] <= window.x + window.width and box[3] <= window.y + window.height


@given(data=st.data())
def test_a_window_has_the_proportions_that_a_model_draws(data: st.DataObject) -> None:
    """It holds all that is painted, and is as large as lies within the picture, or larger."""
    drawn = data.draw(st.sampled_from([(8, 8), (8, 16), (24, 8), (10, 7)]))
    width, height = data.draw(st.integers(20, 90)), data.draw(st.integers(20, 90))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, width))
    bottom = data.draw(st.integers(top + 1, height))
    window = window_around(boxed((width, height), (left, top, right, bottom)), drawn)
    assert window.x <= left and right <= window.x + window.width
    assert window.y <= top and bottom <= window.y + window.height
    assert abs(window.height * drawn[1] - window.width * drawn[0]) <= 2 * max(drawn)
    assert window.height >= height or window.width >= width
    if drawn == (8, 8):
        assert window.height == window.width == max(min(width, height), right - left, bottom - top)
    whole = boxed((drawn[1] * 3, drawn[0] * 3), (0, 1, 2, 3))
    assert window_around(whole, drawn) == Window(0, 0, drawn[0] * 3, drawn[1] * 3)


@pytest.mark.parametrize("size", [(16, 16), (23, 31)])
def test_what_is_hidden_has_no_say_and_what_is_around_has(
    size: tuple[int, int], pipe: Pipeline, few: dict[str, int], noise: Noise
) -> None:
    mask = boxed(size, (4, 4, 12, 13))
    picture, other = noise(*size), noise(*size, seed=1)
    hidden = Image.composite(other, picture, mask)
    around = Image.composite(picture, other, mask)
    first, second, third = (
        pipe.edit(one, mask, "a red circle", **few)[0] for one in (picture, hidden, around)
    )
    assert first.tobytes() == second.tobytes()
    assert not np.array_equal(split(first, mask)[1], split(third, mask)[1])


def test_the_prompt_is_painted(pipe: Pipeline) -> None:
    white, whole = Image.new("RGB", (16, 16), "white"), boxed((16, 16), (1, 1, 15, 15))
    red, blue = (
        np.asarray(pipe.edit(white, whole, f"a {colour} square", resample=1)[0]).astype(int)
        for colour in ("red", "blue")
    )
    assert (red - blue)[..., 0].mean() > 5
    assert (red - blue)[..., 2].mean() < -5


def test_a_seed_is_its_own_whatever_n_is(
    pipe: Pipeline, few: dict[str, int], noise: Noise, off: Off
) -> None:
    picture, mask = noise(16, 16), boxed((16, 16), (4, 4, 12, 12))
    many = pipe.edit(picture, mask, "a red circle", n=3, seed=8, **few)
    for index, one in enumerate(many):
        (alone,) = pipe.edit(picture, mask, "a red circle", seed=8 + index, **few)
        assert off(one, alone) <= 1
        assert Record.of(one) == Record.of(alone)
    assert off(many[0], many[1]) > 20
    record = Record.of(many[1])
    assert (record.prompt, record.seed, record.ability) == ("a red circle", 9, "edit")
    assert record.inputs == {"image": digest(picture), "mask": digest(mask)}
    assert record.settings == few


def test_the_pictures_own_alpha_is_a_mask(
    pipe: Pipeline, few: dict[str, int], noise: Noise
) -> None:
    picture, mask = noise(16, 16), boxed((16, 16), (4, 4, 12, 12))
    seen = picture.copy()
    seen.putalpha(Image.eval(mask, lambda value: 255 - value))
    by_alpha, by_mask = (
        pipe.edit(one, way, "a red circle", **few)[0]
        for one, way in ((seen, None), (picture, mask))
    )
    assert by_alpha.tobytes() == by_mask.tobytes()


@pytest.mark.filterwarnings("ignore::unclip.errors.SettingWarning")  # it always repaints
@pytest.mark.parametrize(
    ("way", "count"),
    [({}, 9), ({"resample": 1}, 3), ({"resample": 2}, 5), ({"inpainting": "repaint"}, 9)],
)
def test_repaint_repeats_all_steps_but_the_last(
    way: dict[str, Any], count: int, pipe: Pipeline, few: dict[str, int], noise: Noise
) -> None:
    seen: list[str] = []
    mask = boxed((16, 16), (4, 4, 12, 12))
    pipe.edit(noise(16, 16), mask, "a", on_step=lambda step: seen.append(step.stage), **few, **way)
    assert [seen.count(name) for name in ("prior", "decoder", "upsampler")] == [2, count, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"n": 0}, "n must be at least 1"),
        ({"mask": Image.new("L", (16, 16))}, "nothing to paint"),
        ({"mask": Image.new("L", (16, 9), 255)}, "is 16x9, the picture 16x16"),
        ({"mask": None}, "no mask"),
        ({"prior": "priro"}, r"no prior 'priro' \(did you mean 'prior'\?\)"),
        ({"stepz": 3}, "unknown setting 'stepz'"),
    ],
)
def test_bad_requests(
    arguments: dict[str, Any], message: str, pipe: Pipeline, noise: Noise
) -> None:
    given = {"image": noise(16, 16), "mask": Image.new("L", (16, 16), 255), "prompt": "a"}
    with pytest.raises(UsageError, match=message):
        pipe.edit(**{**given, **arguments})  # type: ignore[arg-type]


def test_a_prompt_may_stand_where_there_is_no_mask(
    pipe: Pipeline, few: dict[str, int], noise: Noise
) -> None:
    picture, box = noise(16, 16), (4, 4, 8, 8)
    (expected,) = pipe.edit(picture, boxed((16, 16), (4, 4, 12, 12)), "a red circle", **few)
    for one in (
        *pipe.edit(picture, "a red circle", box=box, **few),
        *pipe.edit(picture, prompt="a red circle", box=box, **few),
        *pipe.edit(picture, None, "a red circle", box=box, **few),
    ):
        assert one.tobytes() == expected.tobytes()
    with pytest.raises(UsageError, match="the prompt is empty"):
        pipe.edit(picture, box=box)


def test_a_mask_without_a_prompt_is_no_prompt(pipe: Pipeline, noise: Noise, tmp_path: Path) -> None:
    boxed((16, 16), (4, 4, 12, 12)).save(tmp_path / "mask.png")
    with pytest.raises(UsageError, match="the prompt is empty"):
        pipe.edit(noise(16, 16), str(tmp_path / "mask.png"))


def test_what_sees_no_noise_keeps_what_is_known(
    pipe: Pipeline, make_stage: Callable[..., Any], few: dict[str, int], noise: Noise
) -> None:
    """An upsampler that adds to the enlarged picture, in one call, and tiles too."""
    network = make_stage("upsampler").config.network.dump()
    network |= {"noise_input": False, "residual": True}
    clean = {"parameterization": {"kind": "x0"}, "corruption": {"at_sampling": 0.0}}
    blind = make_stage("upsampler", network=network, **clean)
    able = pipe.with_stages({**pipe.stages, "upsampler": blind})
    picture, mask = noise(16, 16), boxed((16, 16), (4, 4, 12, 12))
    steps = {name: count for name, count in few.items() if name != "upsampler_steps"}
    (edited,) = able.edit(picture, mask, "a blue square", **steps)
    assert np.array_equal(split(picture, mask)[0], split(edited, mask)[0])
    assert able.generate("a blue square", tile=True, **steps)[0].size == (16, 16)
