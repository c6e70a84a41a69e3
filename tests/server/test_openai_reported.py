"""What users of other compatible servers reported, as far as it is a matter of the wire.

Each test is named after the report: project and number.
"""

from __future__ import annotations

import pytest

from unclip.server.openai import edit, fingerprint, generation, reply, spec_of, variation

from ._wire import SERVED, asked, drawn, edited, file, form, png, varied

IMAGE, HOLED = file("image", png()), file("image", png(hole=True))


@pytest.mark.parametrize("size", ["256x256", "512x512", "1024x1024"])
def test_size_is_obeyed_localai_2430_stable_diffusion_cpp_1248(size: str) -> None:
    side = int(size.split("x")[0])
    for call in (asked(size=size), edited(HOLED, size=size), varied(IMAGE, size=size)):
        assert spec_of(call, {}).finish.size == (side, side)


def test_edits_and_variations_are_there_localai_921() -> None:
    assert (edited(HOLED).ability, varied(IMAGE).ability) == ("edit", "vary")


def test_an_address_is_in_url_and_never_empty_librechat_15439() -> None:
    told = reply(asked(), [(drawn(), b"")], 5, lambda one: f"http://x/{one.id}.png")
    assert told["data"][0]["url"].endswith(".png") and "b64_json" not in told["data"][0]


def test_response_format_may_be_left_out_sglang_19346() -> None:
    assert asked().response_format == edited(HOLED).response_format == "url"
    assert asked(model="gpt-image-1").response_format == "b64_json"


def test_edits_obey_size_and_format_and_accept_user_vllm_omni_2081() -> None:
    call = edited(HOLED, size="256x256", response_format="b64_json", user="me")
    assert (call.finish.size, call.response_format) == ((256, 256), "b64_json")


def test_edits_draw_several_vllm_omni_2082() -> None:
    assert spec_of(edited(HOLED, n="4"), {}).pictures == 4


def test_the_documented_edit_call_works_vllm_omni_1140() -> None:
    parts = form(png(), png(hole=True), prompt="a fox", n=2, size="1024x1024")
    call = edit(parts, SERVED)
    assert call.files.keys() == {"image", "mask"} and call.n == 2


def test_an_image_in_a_list_is_taken_litellm_15963_41421() -> None:
    for name in ("image", "image[]"):
        call = edited(file(name, HOLED.data), model="dall-e-2")
        assert fingerprint(call) == fingerprint(edited(HOLED, model="dall-e-2"))


def test_a_mask_is_taken_litellm_26552() -> None:
    assert edited(IMAGE, file("mask", png(hole=True))).files.keys() == {"image", "mask"}


def test_a_mask_is_not_ignored_stable_diffusion_cpp_1406() -> None:
    other = file("mask", png(alpha=0))
    calls = edited(HOLED), edited(HOLED, other), edited(HOLED, file("mask", HOLED.data))
    assert len({fingerprint(call) for call in calls}) == 3
    assert spec_of(calls[1], {"image": "1", "mask": "2"}).inputs == {"image": "1", "mask": "2"}


def test_a_variation_wants_no_prompt_xinference_3821() -> None:
    assert "prompt" not in variation([IMAGE], SERVED).fields


@pytest.mark.parametrize("model", ["dall-e-2", "emoji", None, ""])
def test_a_fixed_model_name_is_served_newelle_430(model: str | None) -> None:
    assert generation({"prompt": "a fox", "model": model}, SERVED).model == "emoji"


def test_the_address_is_the_servers_own_integration_openai_53_gpt4free_2740_fastsdcpu_342() -> None:
    told = reply(
        asked(n=2), [(drawn(1), b""), (drawn(2), b"")], 5, lambda one: f"https://own/{one.seed}"
    )
    assert [one["url"] for one in told["data"]] == ["https://own/1", "https://own/2"]


def test_a_seed_means_the_same_whatever_else_is_asked_sglang_16612() -> None:
    specs = [spec_of(asked(seed=7, n=n), {}) for n in (1, 10)]
    assert {spec.fields["seed"] for spec in specs} == {7}
