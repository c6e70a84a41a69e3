"""Generations: what a body asks for, by the contract of the model that it names."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from unclip.server.job import Finish, Spec
from unclip.server.openai import (
    MOST_SEED,
    Served,
    fingerprint,
    generation,
    spec_of,
)
from unclip.weighting import parse

from ._wire import SERVED, Seeds, asked, refused

NULLS = ("model", "n", "size", "response_format", "user", "seed", "steps", "guidance_scale")
OTHERS: dict[str, Any] = {
    "quality": "hd",
    "style": "vivid",
    "background": "transparent",
    "moderation": "low",
    "safety_identifier": "u",
    "user": "u",
    "output_format": "webp",
    "output_compression": 7,
    "input_fidelity": "high",
    "frame_count": 9,
    "anything": {"at": ["all"]},
}


def test_a_prompt_alone_has_the_defaults_of_dall_e_2() -> None:
    call = asked()
    assert (call.ability, call.model, call.response_format) == ("generate", "emoji", "url")
    assert call.finish == Finish((1024, 1024), "png")
    assert call.fields["prompt"] == "a fox" and call.n == 1
    assert not call.stream


@pytest.mark.parametrize(("field", "value"), [(name, None) for name in (*NULLS, "stream")])
def test_null_means_the_default(field: str, value: None) -> None:
    assert fingerprint(asked(**{field: value})) == fingerprint(asked())


@pytest.mark.parametrize("model", [None, "dall-e-2", "emoji", "dall-e-3", "gpt-image-1"])
def test_fields_of_other_models_are_accepted_and_change_nothing(model: str | None) -> None:
    others = dict(OTHERS)
    if model == "gpt-image-1":  # these two are its own
        del others["output_format"], others["output_compression"]
    plain = asked(model=model)
    for name, value in others.items():
        assert fingerprint(asked(model=model, **{name: value})) == fingerprint(plain)
    call = asked(model=model, seed=3, **others)
    assert call == asked(model=model, seed=3)
    assert spec_of(call, {}) == spec_of(asked(model=model, seed=3), {})


@pytest.mark.parametrize("n", [1, 2, 10, 2.0])
def test_n_is_one_to_ten(n: float) -> None:
    assert asked(n=n).n == spec_of(asked(n=n), {}).pictures == n


@pytest.mark.parametrize("n", [0, 11, -1, "2.5", 2.5, "2", True, [2], {}, 10**30, 1e30])
def test_another_n_is_refused(n: object) -> None:
    error = refused(lambda: asked(n=n))
    assert error["param"] == "n" and "'n'" in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("prompt", ["a (fox:99)", " AND ".join(["fox"] * 9), "[a] BREAK \\(b"])
def test_prompts_are_taken_by_the_letter(prompt: str) -> None:
    call = asked(prompt=prompt, negative_prompt=prompt)
    for name in ("prompt", "negative_prompt"):
        written = parse(call.fields[name])
        assert (written.plain, written.weighs, len(written.clauses)) == (prompt, False, 1)


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("", "empty_string"),
        ("x" * 1001, "string_above_max_length"),
        ("🦊" * 1001, "string_above_max_length"),
        (None, "missing_required_parameter"),
        (7, "invalid_type"),
        (["a fox"], "invalid_type"),
        ("   ", "invalid_value"),
    ],
)
def test_a_bad_prompt_is_refused(prompt: object, code: str) -> None:
    error = refused(lambda: asked(prompt=prompt))
    assert error["param"] == "prompt" and error["code"] == code


def test_a_prompt_is_counted_by_characters() -> None:
    assert asked(prompt="🦊" * 1000).fields["prompt"] == "🦊" * 1000


def test_a_bad_size_is_told_as_openai_does() -> None:
    error = refused(lambda: asked(size="640x480"))
    assert error["message"] == (
        "Invalid value: '640x480'. Supported values are: '256x256', '512x512', and '1024x1024'."
    )
    assert error["param"] == "size"


@pytest.mark.parametrize("size", ["", "auto", "1024", 512, ["512x512"], "1024X1024", "x" * 9999])
def test_only_three_sizes_are_dall_e_2s(size: object) -> None:
    assert len(refused(lambda: asked(size=size))["message"]) < 300


@pytest.mark.parametrize("value", ["", "png", "URL", 1, ["url"]])
def test_a_bad_response_format_is_refused(value: object) -> None:
    error = refused(lambda: asked(response_format=value))
    assert error["param"] == "response_format"
    assert error["message"].endswith("Supported values are: 'url', and 'b64_json'.")


@pytest.mark.parametrize(
    "name", ["gpt-image-1-mini", "flux", "DALL-E-2", " emoji", "\0", "x" * 9999]
)
def test_an_unknown_model_is_404(name: str) -> None:
    error = refused(lambda: generation({"prompt": "a fox", "model": name}, SERVED), 404)
    assert error["code"] == "model_not_found" and error["param"] == "model"
    assert "emoji, large, dall-e-2" in error["message"]


def test_a_known_name_of_openai_needs_an_alias_and_says_so() -> None:
    served = Served(("emoji",))
    assert "--alias dall-e-3" in refused(lambda: asked(served, model="dall-e-3"), 404)["message"]
    assert "--alias" not in refused(lambda: asked(served, model="flux"), 404)["message"]


@pytest.mark.parametrize("model", [7, ["emoji"], {}, True])
def test_a_model_is_a_text(model: object) -> None:
    assert refused(lambda: asked(model=model))["param"] == "model"


@pytest.mark.parametrize(
    ("name", "model"),
    [(None, "emoji"), ("dall-e-2", "emoji"), ("large", "large"), ("mine", "large")],
)
def test_names_without_openais_later_promises_are_strict(name: str | None, model: str) -> None:
    call = asked(model=name)
    assert call.model == model and call.response_format == "url"
    refused(lambda: asked(model=name, size="1536x1024"))


def test_a_deployment_of_azure_names_the_model() -> None:
    call = generation({"prompt": "a fox", "model": "ignored"}, SERVED, "gpt-image-2")
    assert (call.asked_model, call.model) == ("gpt-image-2", "large")
    refused(lambda: generation({"prompt": "a fox"}, SERVED, "nobody"), 404)


def test_dall_e_3_has_its_sizes_and_longer_prompts() -> None:
    call = asked(model="dall-e-3", size="1792x1024", prompt="x" * 4000)
    assert call.finish.size == (1792, 1024) and call.response_format == "url"
    assert asked(model="dall-e-3", size="512x512").finish.size == (512, 512)
    refused(lambda: asked(model="dall-e-3", prompt="x" * 4001))
    refused(lambda: asked(model="dall-e-3", size="auto"))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (None, None),
        ("auto", None),
        ("1536x1024", (1536, 1024)),
        ("1024x1536", (1024, 1536)),
        ("512x512", (512, 512)),
    ],
)
def test_gpt_image_answers_in_base64_and_has_its_sizes(
    size: str | None, wanted: tuple[int, int] | None
) -> None:
    call = asked(model="gpt-image-1", size=size, prompt="x" * 32_000)
    assert call.response_format == "b64_json" and call.finish.size == wanted
    assert asked(model="gpt-image-1", response_format="url").response_format == "url"


def test_gpt_image_2_takes_any_size_in_steps_of_16() -> None:
    assert asked(model="gpt-image-2", size="1536x864").finish.size == (1536, 864)
    for bad in ("1530x864", "4096x1024", "3840x3840", "0x16", "00x16", "16x"):
        assert (
            "Invalid value"
            in refused(lambda bad=bad: asked(model="gpt-image-2", size=bad))["message"]
        )
    refused(lambda: asked(model="gpt-image-1", size="1536x864"))


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_gpt_image_chooses_the_files_format(format: str) -> None:
    call = asked(model="gpt-image-1", output_format=format, output_compression=80)
    assert call.finish == Finish(None, format, 80)  # type: ignore[arg-type]
    assert asked(model="gpt-image-1", output_compression=0).finish.quality == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("output_format", "gif"),
        ("output_compression", 101),
        ("output_compression", "80"),
        ("stream", "yes"),
        ("stream", 1),
        ("partial_images", 4),
        ("partial_images", -1),
        ("seed", -2),
        ("seed", 2**53),
        ("seed", "7"),
        ("seed", 1.5),
        ("steps", 0),
        ("steps", 10**9),
        ("steps", "many"),
        ("guidance_scale", "high"),
        ("guidance_scale", [1]),
        ("guidance_scale", True),
        ("guidance_scale", 10**400),
        ("negative_prompt", 3),
        ("prior", 3),
    ],
)
def test_a_bad_value_names_its_field(field: str, value: object) -> None:
    assert refused(lambda: asked(model="gpt-image-1", **{field: value}))["param"] == field


def test_extensions_reach_the_request() -> None:
    call = asked(
        seed=MOST_SEED, steps=9, guidance_scale=2, negative_prompt="a car", prior="none", n=10
    )
    assert spec_of(call, {}).fields == {
        "prompt": "a fox",
        "n": 10,
        "seed": MOST_SEED,
        "negative_prompt": "a car",
        "prior": "none",
        "settings": {"steps": 9, "guidance_scale": 2.0},
    }
    assert not call.random_seed


@pytest.mark.parametrize("seed", [None, -1])
def test_without_a_seed_one_is_drawn(seed: int | None) -> None:
    call = generation({"prompt": "a fox", "seed": seed}, SERVED, rng=Seeds())
    assert call.fields["seed"] == 1234 and call.random_seed
    seeds = {asked().fields["seed"] for _ in range(20)}
    assert len(seeds) == 20 and all(0 <= one < 2**31 for one in seeds)


def test_a_seed_of_zero_is_kept() -> None:
    assert asked(seed=0).fields["seed"] == 0


def test_a_stream_has_up_to_three_previews() -> None:
    call = asked(stream=True, partial_images=3)
    assert (call.stream, call.partial_images) == (True, 3)
    assert asked(stream=True).partial_images == 0
    assert asked(partial_images=3).partial_images == 0


def test_a_retry_has_the_same_fingerprint_and_another_request_has_not() -> None:
    first = fingerprint(asked(n=2))
    assert fingerprint(asked(n=2)) == first
    changes: list[dict[str, Any]] = [
        *({"n": 3}, {"seed": 1}, {"prompt": "a cat"}, {"steps": 3}, {"size": "512x512"}),
        *({"model": "large"}, {"response_format": "b64_json"}, {"stream": True}),
    ]
    found = {fingerprint(asked(**{"n": 2, **change})) for change in changes}
    assert len(found | {first}) == len(changes) + 1
    assert fingerprint(asked(seed=1)) != fingerprint(asked(seed=2))


def test_calls_that_differ_in_prompt_n_seed_and_size_share_a_batch() -> None:
    one = spec_of(asked(n=2, seed=3, size="256x256"), {})
    assert one.batch == spec_of(asked(prompt="a cat"), {}).batch != ""
    others: list[dict[str, Any]] = [{"steps": 3}, {"negative_prompt": "x"}, {"model": "large"}]
    assert len({spec_of(asked(**other), {}).batch for other in others} | {one.batch}) == 4


def test_a_spec_survives_json() -> None:
    spec = spec_of(asked(model="gpt-image-1", size="1536x1024", steps=3), {})
    assert Spec.of(spec.to_json()) == spec


def test_the_translation_needs_no_torch_and_no_web_framework() -> None:
    heavy = "torch", "fastapi", "starlette", "sqlalchemy"
    code = (
        "import sys; from unclip.server.openai import *; "
        "spec_of(generation({'prompt': 'a fox'}, Served(('emoji',))), {}); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_random_generator_may_be_given() -> None:
    body = {"prompt": "a fox"}
    one, other = (generation(body, SERVED, rng=random.Random(5)) for _ in range(2))
    assert one == other
