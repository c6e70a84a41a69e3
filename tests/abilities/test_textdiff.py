"""Text differences: from the picture itself, towards another description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from unclip import Pipeline
from unclip.errors import UsageError
from unclip.media import digest, fit_image
from unclip.record import Record

Noise = Callable[..., Image.Image]
WORDS = {"source": "a red circle", "target": "a blue circle"}


@pytest.mark.parametrize("frames", [2, 4])
@pytest.mark.parametrize("size", [(16, 16), (21, 40)])
def test_the_first_frame_is_the_picture_to_the_byte(
    frames: int, size: tuple[int, int], pipe: Pipeline, brief: dict[str, int], noise: Noise
) -> None:
    picture = noise(*size)
    film = pipe.text_diff(picture, **WORDS, frames=frames, seed=2, **brief)
    assert len(film) == frames
    assert film[0].tobytes() == fit_image(picture, (16, 16)).tobytes()
    assert len({one.tobytes() for one in film}) == frames
    for one in film:
        record = Record.of(one)
        assert (record.ability, record.seed, record.prompt) == ("textdiff", 2, "a blue circle")
        assert record.inputs == {"image": digest(picture), "source": "a red circle"}
        assert record.settings == {**brief, "theta": 0.5, "frames": frames}


def test_a_larger_theta_goes_further(pipe: Pipeline) -> None:
    """As CLIP sees it: each last frame against the picture."""
    (picture,) = pipe.generate("a red circle", seed=1)
    near, far = (pipe.text_diff(picture, **WORDS, theta=theta)[-1] for theta in (0.05, 1.0))
    labels = list(WORDS.values())
    assert pipe.probe(far, labels)[1] >= pipe.probe(near, labels)[1]
    assert far.tobytes() != near.tobytes()


def test_the_way_back_is_another_way(pipe: Pipeline, brief: dict[str, int], noise: Noise) -> None:
    there = pipe.text_diff(noise(16, 16), "a red circle", "a blue circle", **brief)[-1]
    back = pipe.text_diff(noise(16, 16), "a blue circle", "a red circle", **brief)[-1]
    assert there.tobytes() != back.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "a red circle "}, "source and target are the same"),
        ({"target": ""}, "the prompt is empty"),
        ({"source": " "}, "the prompt is empty"),
        ({"frames": 1}, "frames must be at least 2, got 1"),
        ({"theta": 0}, "theta must be above 0, got 0"),
        ({"theta": 1.01}, "theta must be at most 1, got 1.01"),
        ({"theta": float("nan")}, "theta must be finite"),
        ({"stepz": 3}, "unknown setting 'stepz'"),
    ],
)
def test_bad_requests(
    arguments: dict[str, Any], message: str, pipe: Pipeline, noise: Noise
) -> None:
    with pytest.raises(UsageError, match=message):
        pipe.text_diff(noise(16, 16), **{**WORDS, **arguments})
