"""A1111's text, written and read; what the original's own parser makes of it."""

from __future__ import annotations

import contextlib
import json
import re
import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unclip.errors import UsageError
from unclip.parameters import MOST, Parameters
from unclip.parameters.a1111 import read, write

LETTERS = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs"), exclude_characters="\n")
LINE = st.lists(st.text(LETTERS | st.sampled_from(',:"{}[]\\()'), min_size=1), min_size=1).map(
    " ".join
)


def _is_words(line: str) -> bool:
    return not line.startswith(("Negative prompt:", "Steps:")) and line == line.strip()


WORDS = st.lists(LINE.filter(_is_words), max_size=4).map("\n".join)
NAME = st.text(string.ascii_letters + string.digits + " -/", min_size=2, max_size=20).filter(
    lambda name: name == name.strip() and name[0].isalnum()
)
FIELDS = {"Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model"}
PARAMETERS = st.builds(
    Parameters,
    prompt=WORDS,
    negative_prompt=WORDS,
    steps=st.integers(1, 1000),
    sampler=st.sampled_from(["", "Euler a", "DPM++ 2M"]),
    spacing=st.sampled_from(["", "Karras"]),
    guidance_scale=st.none() | st.floats(0, 1e6),
    seed=st.none() | st.integers(-(2**64), 2**64),
    size=st.none() | st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    model=st.text(LETTERS),
    model_hash=st.sampled_from(["", "6ce0161689"]),
    others=st.dictionaries(
        NAME.filter(lambda name: name not in FIELDS), st.text(LETTERS | st.just("\n"))
    ),
    program=st.just("A1111"),
)


@given(PARAMETERS)
def test_what_is_written_is_read(parameters: Parameters) -> None:
    assert Parameters(**read(write(parameters))) == parameters


RE_PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def original(text: str) -> tuple[str, str, dict[str, str]]:
    """`parse_generation_parameters` of AUTOMATIC1111's infotext_utils.py, without its defaults."""
    *lines, last = text.strip().split("\n")
    if len(RE_PARAM.findall(last)) < 3:
        lines, last = [*lines, last], ""
    prompt, negative, done = "", "", False
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            done, line = True, line[16:].strip()
        if done:
            negative += ("" if negative == "" else "\n") + line
        else:
            prompt += ("" if prompt == "" else "\n") + line
    quoted = dict(RE_PARAM.findall(last))
    return prompt, negative, {n: json.loads(v) if v[:1] == '"' else v for n, v in quoted.items()}


@given(PARAMETERS)
def test_the_original_reads_what_is_written(parameters: Parameters) -> None:
    prompt, negative, said = original(write(parameters))
    if parameters.seed is not None and parameters.sampler:  # else it sees too few settings
        assert (prompt, negative) == (parameters.prompt, parameters.negative_prompt)
        assert said["Steps"] == str(parameters.steps)
        assert said["Seed"] == str(parameters.seed)
        assert said["Sampler"] == parameters.sampler
        if parameters.size:
            assert said["Size"] == f"{parameters.size[1]}x{parameters.size[0]}"


CIVITAI = """masterpiece, (fox:1.2), <lora:ink:0.8>,
forest, morning
Negative prompt: lowres, "text",
bad: hands
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 3218749823, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned, Clip skip: 2, Lora hashes: "ink: 1a2b, glow: 3c4d", \
Hashes: {"model": "6ce0161689", "lora:ink": "1a2b, 3"}, \
Civitai resources: [{"type":"checkpoint","weight":1}], Template: "a, \\"b\\": c", Version: v1.9.4"""


def test_a_text_with_everything() -> None:
    assert Parameters(**read(CIVITAI)) == Parameters(
        prompt="masterpiece, (fox:1.2), <lora:ink:0.8>,\nforest, morning",
        negative_prompt='lowres, "text",\nbad: hands',
        steps=28,
        sampler="DPM++ 2M Karras",
        guidance_scale=6.5,
        seed=3218749823,
        size=(768, 512),
        model="v1-5-pruned",
        model_hash="6ce0161689",
        others={
            "Clip skip": "2",
            "Lora hashes": "ink: 1a2b, glow: 3c4d",
            "Hashes": '{"model": "6ce0161689", "lora:ink": "1a2b, 3"}',
            "Civitai resources": '[{"type":"checkpoint","weight":1}]',
            "Template": 'a, "b": c',
            "Version": "v1.9.4",
        },
        program="A1111",
    )


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("a fox\r\nSteps: 5, Seed: 3, CFG scale: 7\r\n", {"prompt": "a fox", "steps": 5}),
        ("Steps: 5, Seed: 3, CFG scale: 7", {"prompt": "", "seed": 3}),
        ("Negative prompt: a car\nSteps: 5", {"prompt": "", "negative_prompt": "a car"}),
        ("a fox\nSteps: 5, Seed: 3\nTemplate: a {fox|cat}", {"prompt": "a fox", "seed": 3}),
        ("a fox\nSampler: Euler, Seed: 3, CFG scale: 7", {"prompt": "a fox", "sampler": "Euler"}),
        ('a fox\nSteps: 5, Model: "unclosed, Seed: 3', {"model": '"unclosed', "seed": 3}),
        ("a fox\nSteps: 5,, junk, Seed: 3,", {"steps": 5, "seed": 3}),
    ],
)
def test_texts_that_others_write(text: str, known: dict[str, Any]) -> None:
    found = Parameters(**read(text))
    assert {name: getattr(found, name) for name in known} == known


def of(text: str) -> Parameters:
    picture = Image.new("RGB", (4, 4))
    picture.info["parameters"] = text
    return Parameters.of(picture)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no line of settings"),
        ("a fox", "no line of settings"),
        ("a fox: red, car: blue", "no line of settings"),
        ('{"prompt": "a fox"}', "no line of settings"),
        ("\ufffd\ufffd\ufffd", "no line of settings"),
        ("Steps: many, Seed: 3", "Steps must be a whole number, got 'many'"),
        ("Steps: 1e3", "Steps must be a whole number"),
        (f"Steps: {'9' * 5000}", "Steps must be a whole number"),
        ("Steps: 5, CFG scale: nan", "CFG scale must be a number"),
        ("Steps: 5, CFG scale: 1e999", "CFG scale must be a number"),
        ("Steps: 5, Size: 512", "Size must be WIDTHxHEIGHT, got '512'"),
        ("Steps: 5, Size: 0x10x5", "Size must be WIDTHxHEIGHT"),
        ("Steps: 5, Model: " + "x" * 2**16, "line of settings is longer"),
        ("x" * (MOST + 1), "it is longer than"),
    ],
)
def test_a_broken_text_is_one_line(text: str, part: str) -> None:
    with pytest.raises(
        UsageError, match=rf"the picture's text 'parameters' is damaged: .*{part}"
    ) as fault:
        of(text)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "text",
    [
        "Steps: 1, " + "a" * 65_000,
        "Steps: 1, " + 'a: "b, ' * 9_000,
        "Steps: 1, " + 'a: {"b": ' * 7_000,
        "Steps: 1, " + "[" * 65_000,
        "Steps: 1, " + "ab " * 20_000,
        "Steps:\n" * 100_000,
        "a: " * 300_000,
        "Negative prompt:\n" * 60_000,
        "Steps: 1" + "," * 64_000,
        "Steps: 1" + ", " * 32_000,
    ],
    ids=range(10),
)
def test_no_text_takes_long(text: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(UsageError):
        of(text)
    assert time.monotonic() - started < 5


@given(st.text(max_size=200) | st.text('Steps:, "{}[]\\1x\n', max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):  # no other error
        of(text)
