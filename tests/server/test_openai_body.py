"""Hostile bodies: each is a request or an error of four keys, never another exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclip.server.errors import ApiError
from unclip.server.job import Spec
from unclip.server.openai import (
    Call,
    Part,
    edit,
    fingerprint,
    generation,
    parse_body,
    spec_of,
    variation,
)

from ._wire import KEYS, SERVED, data_url, png, refused

FIELDS = (
    *("prompt", "model", "n", "size", "response_format", "user", "quality", "stream", "seed"),
    *("partial_images", "steps", "guidance_scale", "negative_prompt", "prior", "output_format"),
    *("output_compression", "background", "images", "image", "mask"),
)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "prompt": st.text(min_size=1, max_size=1100) | st.sampled_from(["a (fox:1.2)", "a AND b"]),
    "model": st.sampled_from([None, *SERVED.names, "flux"]),
    "n": st.integers(0, 11),
    "size": st.sampled_from(["256x256", "1024x1024", "auto", "1536x1024", "1600x640"]),
    "seed": st.integers(-2, 2**54),
    "steps": st.integers(0, 10**5),
    "guidance_scale": st.floats(),
    "response_format": st.sampled_from(["url", "b64_json"]),
    "images": st.sampled_from([[data_url(png(hole=True))], [data_url(png())], "http://a/b.png"]),
    "mask": st.sampled_from([{"image_url": data_url(png(hole=True))}, None]),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {}, optional={name: GOOD.get(name, JSON) | JSON | st.none() for name in FIELDS}
)


def is_sound(action: Any) -> None:
    """A call that gives a spec and a fingerprint, or an error of the wire."""
    try:
        call = action()
    except ApiError as error:
        told = json.loads(json.dumps(error.body(), allow_nan=False).encode())
        assert told["error"].keys() == KEYS and error.status in (400, 404)  # noqa: PT017
        assert len(told["error"]["message"]) < 1000
        return
    assert isinstance(call, Call)
    spec = spec_of(call, dict.fromkeys(call.files, "3fa1"))
    through = json.loads(json.dumps(spec.to_json(), allow_nan=False).encode())
    assert Spec.of(through) == spec and 1 <= spec.pictures <= 10
    assert fingerprint(call) == fingerprint(call)


@given(BODIES)
@settings(max_examples=150)
def test_any_json_is_a_call_or_an_error_of_four_keys(body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    for translate in (generation, edit):
        is_sound(lambda translate=translate: translate(parse_body(data), SERVED))


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_call_or_an_error_of_four_keys(data: bytes) -> None:
    is_sound(lambda: generation(parse_body(data), SERVED))


PARTS = st.lists(
    st.builds(
        Part,
        st.sampled_from([*FIELDS, "image[]", "image[1]", "mask[]", ""]) | st.text(max_size=5),
        st.none() | st.text(max_size=5),
        st.just("application/octet-stream"),
        st.sampled_from([b"a fox", b"2", b"", b"512x512", b"\xff", png(), png(hole=True)])
        | st.binary(max_size=20),
    ),
    max_size=6,
)


@given(PARTS)
@settings(max_examples=150)
def test_any_form_is_a_call_or_an_error_of_four_keys(parts: list[Part]) -> None:
    for translate in (edit, variation):
        is_sound(lambda translate=translate: translate(parts, SERVED))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"prompt": "a fox"', "not valid JSON"),
        (b"\xff\xfe{}", "byte 0 is not UTF-8"),
        (b'{"n": NaN}', "nan is not a finite number"),
        (b'{"n": [-Infinity]}', "-inf is not a finite number"),
        (b'{"n": 1e999}', "inf is not a finite number"),
        (b'{"n": 1' + b"0" * 5000 + b"}", "not valid JSON"),
        (rb'{"prompt": "\ud800"}', "half a surrogate pair"),
        (rb'{"\udc00": 1}', "half a surrogate pair"),
        (rb'{"a": [{"b": "\u0000"}]}', "NUL"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        (b"[" * 65 + b"]" * 65, "nested more than 64 deep"),
        (b"[]", "must be a JSON object, got an array"),
        (b'"a fox"', "must be a JSON object, got a string"),
        (b"null", "must be a JSON object, got null"),
        (b"7", "must be a JSON object, got an integer"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(data: bytes, why: str) -> None:
    assert why in refused(lambda: parse_body(data))["message"]


def test_a_body_is_read_as_it_is() -> None:
    text = '{"prompt": "\\ud83e\\udd8a 🦊 狐", "n": 2, "user": null, "x": [1.5, true]}'
    wanted = {"prompt": "🦊 🦊 狐", "n": 2, "user": None, "x": [1.5, True]}
    assert parse_body(text.encode()) == parse_body(b"\xef\xbb\xbf" + text.encode()) == wanted
