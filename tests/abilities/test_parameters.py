"""What other programs are told of a picture, and what is taken from theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from unclip import Pipeline
from unclip.abilities._drawing import attach_record
from unclip.abilities._others import request_of
from unclip.added import Added
from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.parameters import Parameters
from unclip.record import Record
from unclip.stages import Stage
from unclip.stages.model import Model


@pytest.fixture(scope="module")
def tiny(tokenizer: Tokenizer, make_stage: Callable[[str], Stage]) -> Pipeline:
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder", "upsampler")}
    return Pipeline(Model(tokenizer, stages, "tiny"))


def told(pipe: Pipeline, stage: str = "", **record: Any) -> Parameters:
    (picture,) = attach_record(pipe, [Image.new("RGB", (16, 8))], Record(**record), stage=stage)
    return Parameters.of(picture)


def test_defaults_and_settings_are_told(tiny: Pipeline) -> None:
    own = tiny.stages["decoder"].config.sampling
    plain = told(tiny, prompt="a fox", seed=3, settings={})
    assert (plain.prompt, plain.seed, plain.size) == ("a fox", 3, (8, 16))
    assert (plain.steps, plain.guidance_scale) == (own.steps, own.guidance_scale)
    assert (plain.model, plain.model_hash) == ("tiny", tiny.hash)
    settings = {"decoder_steps": 5, "sampler": "dpmpp_2m", "spacing": "karras", "prior_steps": 2}
    changed = told(
        tiny,
        prompt="a fox",
        seed=3,
        settings=settings | {"negative_prompt": "a car", "strength": 0.5},
    )
    assert (changed.steps, changed.sampler, changed.spacing) == (5, "DPM++ 2M", "Karras")
    assert changed.negative_prompt == "a car"
    assert changed.others["Denoising strength"] == "0.5"


def test_of_an_upsampler_its_own_steps(tiny: Pipeline) -> None:
    settings = {"steps": 7, "upsampler_guidance_scale": 1.5}
    found = told(tiny, "upsampler", prompt="", seed=3, settings=settings)
    assert (found.prompt, found.steps, found.guidance_scale) == ("", 7, 1.5)


def test_every_picture_has_its_seed(tiny: Pipeline) -> None:
    pictures = [Image.new("RGB", (4, 4)) for _ in range(3)]
    attach_record(tiny, pictures, Record("a fox", 7, {}))
    assert [Parameters.of(one).seed for one in pictures] == [7, 8, 9]


@pytest.mark.parametrize("spacing", ["karras", "logsnr", "trailing", "linspace", "leading_after"])
def test_what_is_told_is_taken_again(tiny: Pipeline, spacing: str) -> None:
    settings = {"steps": 5, "sampler": "euler", "spacing": spacing, "guidance_scale": 2.5}
    record = Record("a fox", 7, settings | {"negative_prompt": "a car"})
    (picture,) = attach_record(tiny, [Image.new("RGB", tiny.model.size[::-1])], record)
    request, left = request_of(Parameters.of(picture), tiny, 0)
    assert (request.prompt, request.negative_prompt, request.seed) == ("a fox", "a car", 7)
    assert request.settings == settings
    assert left == []


def test_networks_are_told_and_other_words_in_angles_stay(tiny: Pipeline) -> None:
    prompt = r"a fox <lora:ink:0.8> <hypernet:x> <time:noon> \<lora:y>"
    request, left = request_of(Parameters(prompt, seed=1), tiny, 0)
    assert request.prompt.split() == ["a", "fox", "<time:noon>", r"\<lora:y>"]
    assert left == ["lora ink:0.8: give --lora FILE:0.8", "hypernet x: not read"]


def test_lora_files_are_told_and_known_again_by_hash(tiny: Pipeline) -> None:
    ink = Added("lora", "my ink, v1", "0123456789ab", 0.8, "ba9876543210")
    toy = Added("embedding", "toy", "00112233aabb")
    added = Pipeline(replace(tiny.model, added=(ink, toy)))
    record = Record("a toy fox", 7, {})
    (picture,) = attach_record(added, [Image.new("RGB", tiny.model.size[::-1])], record)
    found = Parameters.of(picture)
    assert found.prompt == "a toy fox <lora:my ink v1:0.8>"
    assert found.others["Lora hashes"] == "my ink v1: ba9876543210"
    assert found.others["TI hashes"] == "toy: 00112233aabb"
    assert "others_hash" not in picture.info["unclip"], "the record has the file's own hash"
    request, left = request_of(found, added, 0)
    assert (request.prompt, left) == ("a toy fox", [])
    other = Pipeline(replace(tiny.model, added=(replace(ink, scale=0.5),)))
    assert request_of(found, other, 0)[1] == [
        "lora my ink v1:0.8 (ba9876543210): --lora my ink, v1 is 0.5"
    ]
    for one in (replace(ink, others_hash="ffffffffffff"), replace(ink, others_hash="")):
        chain = Pipeline(replace(tiny.model, added=(one,)))
        assert request_of(found, chain, 0)[1] == [
            "lora my ink v1:0.8 (ba9876543210): give --lora FILE:0.8"
        ]
    short = replace(found, others={"Hashes": '{"lora:my ink v1": "BA98765432"}'})
    assert request_of(short, added, 0)[1] == []


def test_a_text_without_a_prompt_is_no_request(tiny: Pipeline) -> None:
    with pytest.raises(UsageError, match="the prompt is empty"):
        request_of(Parameters(steps=3), tiny, 0)
