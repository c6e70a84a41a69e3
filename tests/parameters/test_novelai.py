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


@pytest.mark.parametrize(
    ("prompt", "here"),
    [
        ("1.5::rain::, a fox", "(rain:1.5000), a fox"),
        ("a fox, -1::night, fog:: and {snow}", "a fox, (night, fog:-1.0000) and (snow:1.0500)"),
        ("a 0.5::{big} fox", "a (big:0.5250)( fox:0.5000)"),  # to the end
        ("1.2::a::.5::b:: c", "(a:1.2000)(b:0.5000) c"),
        ("v1.5::x::", "v1.5::x::"),
        ("std::cout", "std::cout"),
    ],
)
def test_weights_in_numbers_are_read_from_v4_on(prompt: str, here: str) -> None:
    said = COMMENT | {"prompt": prompt, "uc": prompt}
    found = of(json.dumps(said | {"v4_prompt": {}}))
    assert (found.prompt, found.negative_prompt) == (here, here)


def test_before_that_they_are_letters() -> None:
    assert of(json.dumps(COMMENT | {"prompt": "1.5::rain::"})).prompt == "1.5::rain::"


def test_a_long_row_of_digits_is_read_at_once() -> None:
    digits = "1" * 300_000
    found = of(json.dumps(COMMENT | {"prompt": digits, "v4_prompt": {}}))
    assert found.prompt == digits


@pytest.mark.parametrize("comment", ["Created with GIMP", "{", "3", '{"uc": ""}'])
def test_comments_of_others_say_nothing(comment: str) -> None:
    with pytest.raises(UsageError, match="no parameters of a program known here"):
        of(comment)


def test_a_broken_one() -> None:
    with pytest.raises(UsageError, match="text 'Comment' is damaged: steps must be a whole number"):
        of(json.dumps(COMMENT | {"steps": "x"}))
