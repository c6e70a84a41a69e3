"""Edits and variations: forms, JSON with data: URLs, and the pictures in them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from unclip.media import read_image_and_mask
from unclip.server.job import Finish
from unclip.server.openai import Part, edit, fingerprint, parse_body, spec_of, variation

from ._wire import SERVED, data_url, edited, file, form, png, refused, varied

IMAGE, HOLED = file("image", png()), file("image", png(hole=True))
MASK = file("mask", png(hole=True))


def json_edit(model: str = "gpt-image-1", **body: Any) -> Any:
    return edit({"prompt": "a fox", "model": model, **body}, SERVED)


def test_an_edit_with_a_mask_paints_where_its_alpha_is_0() -> None:
    call = edited(IMAGE, MASK, n=2, size="512x512", response_format="b64_json")
    assert (call.kind, call.ability, call.n) == ("edit", "edit", 2)
    assert (call.finish, call.response_format) == (Finish((512, 512)), "b64_json")
    _, paint = read_image_and_mask(call.files["image"], call.files["mask"])
    assert paint.getbbox() == (0, 0, 8, 16)


def test_an_edit_without_a_mask_paints_where_the_image_is_transparent() -> None:
    call = edited(HOLED)
    assert call.files.keys() == {"image"} and call.ability == "edit"
    assert read_image_and_mask(call.files["image"])[1].getbbox() == (0, 0, 8, 16)


@pytest.mark.parametrize("image", [png(), png(alpha=255), png(alpha=128)])
def test_an_edit_without_mask_and_transparency_is_refused(image: bytes) -> None:
    error = refused(lambda: edited(file("image", image)))
    assert error["param"] == "image" and "where to paint" in error["message"]


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        (png(), "no alpha channel"),
        (png(alpha=255), "no transparent pixel"),
        (png((32, 32), hole=True), "its size 32x32 must be that of the image, 16x16"),
        (png(hole=True, kind="WEBP"), "must be a PNG of less than 4 MB, got WEBP"),
        (b"", "an empty file"),
        (png(hole=True)[:-20], "damaged"),
    ],
)
def test_a_bad_mask_is_refused(mask: bytes, why: str) -> None:
    error = refused(lambda: edited(IMAGE, file("mask", mask)))
    assert error["param"] == "mask" and why in error["message"]


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (png(kind="JPEG"), "must be a PNG of less than 4 MB, got JPEG"),
        (png(kind="WEBP"), "got WEBP"),
        (png(kind="GIF"), "got GIF"),
        (png((16, 8)), "must be square, got 16x8"),
        (png()[:60], "truncated"),
        (png() + b"\0" * (4 * 2**20), "4.0 MB"),
        (b"", "an empty file"),
        (b"http://127.0.0.1/secret.png", "no picture"),
        (b"data:image/png;base64,AAAA", "no picture"),
        (b"<svg onload='alert(1)'/>", "SVG"),
    ],
)
def test_a_bad_image_is_refused_in_edits_and_variations(image: bytes, why: str) -> None:
    for action in (edited, varied):
        error = refused(lambda action=action: action(file("image", image)))  # type: ignore[misc]
        assert error["param"] == "image" and why in error["message"]


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
def test_one_file_may_come_as_a_list(name: str) -> None:
    assert edited(file(name, HOLED.data)).files == edited(HOLED).files
    assert varied(file(name, IMAGE.data)).files == varied(IMAGE).files


@pytest.mark.parametrize("names", [("image[]",) * 2, ("image",) * 2, ("image[0]", "image[1]")])
def test_several_files_are_refused(names: tuple[str, str]) -> None:
    error = refused(lambda: edited(*(file(name, HOLED.data) for name in names)))
    assert error["param"] == "image" and "an array of 2" in error["message"]


@pytest.mark.parametrize("name", ["upload", "../../etc/passwd", "fox.jpg", ""])
def test_a_files_name_and_type_do_not_matter(name: str) -> None:
    part = Part("image", name, "text/html", HOLED.data)
    assert fingerprint(edited(part)) == fingerprint(edited(HOLED))


def test_files_may_come_before_fields() -> None:
    parts = form(prompt="a fox", n=2, seed=3)
    assert edit([HOLED, *parts], SERVED) == edit([*parts, HOLED], SERVED)


@pytest.mark.parametrize("missing", ["image", "prompt"])
def test_an_edit_needs_an_image_and_a_prompt(missing: str) -> None:
    given = form(prompt="a fox") if missing == "image" else [HOLED]
    assert refused(lambda: edit(given, SERVED))["param"] == missing
    assert refused(lambda: varied(n=2))["param"] == "image"


def test_a_forms_numbers_are_texts() -> None:
    call = edited(HOLED, n="2", seed=" 9 ", steps="5", guidance_scale="2.5e0", stream="true")
    assert call.fields == {
        "prompt": "a fox",
        "n": 2,
        "seed": 9,
        "settings": {"steps": 5, "guidance_scale": 2.5},
    }
    assert call.stream


@pytest.mark.parametrize("field", ["n", "size", "response_format", "model", "seed", "stream"])
def test_an_empty_field_means_the_default(field: str) -> None:
    assert fingerprint(edited(HOLED, **{field: ""})) == fingerprint(edited(HOLED))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("n", value) for value in ("0", "11", "-1", "2.5", "two", "2x", "٢", "1e1", "9" * 5000)),
        *(("size", value) for value in ("auto", "16x16")),
        *(("seed", value) for value in ("nan", "0x10", "9" * 17)),
        *(("guidance_scale", value) for value in ("nan", "inf", "1e999", "2,5")),
        *(("response_format", "png"), ("stream", "yes"), ("prompt", ""), ("prompt", "x" * 1001)),
    ],
)
def test_a_bad_value_of_a_form_names_its_field(field: str, value: str) -> None:
    assert refused(lambda: edited(HOLED, **{field: value}))["param"] == field


def test_fields_of_other_models_change_nothing_in_edits_and_variations() -> None:
    others = {"quality": "high", "user": "u", "input_fidelity": "low", "output_format": "webp"}
    assert edited(HOLED, seed=1, **others) == edited(HOLED, seed=1)
    assert varied(IMAGE, seed=1, prompt="ignored", **others) == varied(IMAGE, seed=1)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a\0b", b"\xed\xa0\x80"])
def test_a_field_is_text(data: bytes) -> None:
    error = refused(lambda: edit([Part("prompt", None, "", data), HOLED], SERVED))
    assert error["param"] == "prompt"


def test_a_variation_needs_no_prompt() -> None:
    call = varied(IMAGE, n=3, size="256x256", steps=7)
    assert (call.kind, call.ability, call.model) == ("variation", "vary", "emoji")
    spec = spec_of(call, {"image": "3fa1"})
    assert spec.inputs == {"image": "3fa1"} and spec.pictures == 3 and spec.batch == ""
    assert spec.fields.keys() == {"n", "seed", "settings"}
    assert spec.fields["settings"] == {"steps": 7}


def test_a_variation_may_be_of_any_transparency() -> None:
    assert varied(HOLED).files.keys() == varied(IMAGE).files.keys() == {"image"}


def test_what_is_kept_of_an_upload_hides_nothing() -> None:
    texts, data = PngImagePlugin.PngInfo(), io.BytesIO()
    texts.add_text("Comment", "<script>")
    Image.new("RGB", (9, 9)).save(data, "PNG", pnginfo=texts)
    kept = varied(file("image", data.getvalue() + b"<html>")).files["image"]
    assert b"script" not in kept and kept.endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_gpt_image_takes_photographs_of_any_shape(kind: str) -> None:
    photo = png((32, 16), kind=kind)
    call = edited(file("image", photo), file("mask", png((32, 16), hole=True)), model="gpt-image-1")
    assert call.ability == "edit" and call.files.keys() == {"image", "mask"}
    gif = file("image", png(kind="GIF"))
    assert "got GIF" in refused(lambda: edited(gif, model="gpt-image-1"))["message"]


def test_gpt_image_redraws_a_whole_picture_without_a_mask() -> None:
    call = edited(file("image", png((32, 16), kind="JPEG")), model="gpt-image-1", seed=3)
    assert call.ability == "img2img" and call.kind == "edit"
    assert spec_of(call, {"image": "3fa1"}).ability == "img2img"
    assert edited(HOLED, model="gpt-image-1").ability == "edit"


@pytest.mark.parametrize("images", [[{"image_url": data_url(HOLED.data)}], [data_url(HOLED.data)]])
def test_gpt_image_takes_edits_as_json(images: list[Any]) -> None:
    call = json_edit(images=images, n=2, size="1536x1024", seed=3)
    form_call = edited(HOLED, model="gpt-image-1", n=2, size="1536x1024", seed=3)
    assert call == form_call


def test_a_json_edit_may_have_a_mask_and_single_image() -> None:
    mask = {"image_url": data_url(MASK.data)}
    call = json_edit(image=data_url(IMAGE.data), mask=mask, seed=3)
    assert call == edited(IMAGE, MASK, model="gpt-image-1", seed=3)


@pytest.mark.parametrize(
    "image",
    [
        *("http://127.0.0.1/x.png", "https://example.com/x.png", "file:///etc/passwd", "fox.png"),
        *("data:image/png,%89PNG", "data:image/png;base64", "data:image/png;base64,a b", 7, True),
        *("data:image/png;base64,QQ", "data:image/png;base64,é", {}, {"file_id": "file-1"}, [[]]),
    ],
)
def test_an_address_is_never_fetched_and_what_is_no_picture_is_refused(image: object) -> None:
    for body in ({"images": [{"image_url": image}]}, {"images": [image]}, {"image": image}):
        assert refused(lambda body=body: json_edit(**body))["param"] == "image"  # type: ignore[misc]
    good = {"images": [{"image_url": data_url(IMAGE.data)}]}
    assert refused(lambda: json_edit(**good, mask={"image_url": image}))["param"] == "mask"


def test_a_json_edit_of_several_or_no_images_is_refused() -> None:
    several = [{"image_url": data_url(IMAGE.data)}] * 3
    assert "an array of 3" in refused(lambda: json_edit(images=several))["message"]
    assert refused(lambda: json_edit(images=[]))["code"] == "missing_required_parameter"
    assert refused(json_edit)["code"] == "missing_required_parameter"


def test_a_long_data_url_is_refused_before_it_is_decoded() -> None:
    mask = "data:image/png;base64," + "A" * (4 * 2**20 * 4 // 3 + 8)
    error = refused(lambda: json_edit(images=[data_url(IMAGE.data)], mask=mask))
    assert error["param"] == "mask" and "4 MB" in error["message"]


@pytest.mark.parametrize("model", ["dall-e-2", "emoji", "dall-e-3"])
def test_strict_edits_are_forms(model: str) -> None:
    error = refused(lambda: json_edit(model, images=[data_url(HOLED.data)]))
    assert "multipart/form-data" in error["message"]


def test_json_with_wrong_types_everywhere_is_refused() -> None:
    body = parse_body(b'{"prompt": {}, "model": "gpt-image-1", "images": {"a": 1}, "mask": [1]}')
    assert refused(lambda: edit(body, SERVED))["param"] == "prompt"
    assert refused(lambda: variation(form(n="x"), SERVED))["param"] == "n"


def test_the_model_may_be_a_field_or_a_path() -> None:
    assert edited(HOLED, model="large").model == "large"
    assert variation([IMAGE], SERVED, "mine").model == "large"
    refused(lambda: edited(HOLED, model="nobody"), 404)
