"""NovelAI's comment."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from unclip.errors import UsageError
from unclip.parameters import Parameters

COMMENT = {
    "prompt": "a fox",
    "steps": 28,
    "height": 768,
    "width": 512,
    "scale": 11.0,
    "seed": 1234567890,
    "n_samples": 1,
    "noise_schedule": "karras",
    "sampler": "k_euler_ancestral",
    "uc": "lowres",
}


def of(comment: str) -> Parameters:
    picture = Image.new("RGB", (4, 4))
    picture.info["Comment"] = comment
    return Parameters.of(picture)


def test_a_comment_as_it_writes_it() -> None:
    assert of(json.dumps(COMMENT)) == Parameters(
        prompt="a fox",
        negative_prompt="lowres",
        steps=28,
        sampler="euler_ancestral",
        spacing="karras",
        guidance_scale=11.0,
        seed=1234567890,
        size=(768, 512),
        program="NovelAI",
    )


@pytest.mark.parametrize("comment", ["Created with GIMP", "{", "3", '{"uc": ""}'])
def test_comments_of_others_say_nothing(comment: str) -> None:
    with pytest.raises(UsageError, match="no parameters of a program known here"):
        of(comment)


def test_a_broken_one() -> None:
    with pytest.raises(UsageError, match="text 'Comment' is damaged: steps must be a whole number"):
        of(json.dumps(COMMENT | {"steps": "x"}))
