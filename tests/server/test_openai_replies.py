"""Replies and events, as OpenAI's own types and client read them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from typing import Any

import httpx2
import openai
import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
    Model,
)

from unclip.server.errors import ApiError
from unclip.server.openai import (
    Call,
    Part,
    completed_event,
    edit,
    generation,
    model_object,
    models_list,
    parse_body,
    partial_event,
    reply,
    variation,
)

from ._wire import SERVED, asked, drawn, edited, file, png, refused, varied

URL = "http://server/{}.png".format


def answer(call: Call, format: Any = "png") -> dict[str, Any]:
    pictures = [(drawn(seed, 1024, format), b"file %d" % seed) for seed in range(call.n)]
    return reply(call, pictures, 1_700_000_000, lambda one: URL(one.id))


def test_a_reply_has_an_address_and_a_seed_for_each_picture() -> None:
    told = answer(asked(n=2))
    zeros = "0" * 31
    assert told == {
        "created": 1_700_000_000,
        "data": [{"url": URL(f"{zeros}{seed}"), "seed": seed} for seed in range(2)],
    }


def test_a_reply_in_base64_has_the_files() -> None:
    told = answer(asked(n=2, response_format="b64_json"))
    assert [base64.b64decode(one["b64_json"]) for one in told["data"]] == [b"file 0", b"file 1"]
    assert all("url" not in one for one in told["data"])


@pytest.mark.parametrize("model", [None, "emoji", "dall-e-3", "gpt-image-1", "gpt-image-2"])
def test_replies_are_of_openais_types(model: str | None) -> None:
    told = ImagesResponse.model_validate(answer(asked(model=model)), strict=True)
    assert told.data is not None and len(told.data) == 1
    assert (told.usage is not None) == (model in ("gpt-image-1", "gpt-image-2"))
    assert (told.data[0].revised_prompt == "a fox") == (model == "dall-e-3")


def test_gpt_image_says_what_it_is() -> None:
    told = answer(asked(model="gpt-image-1", output_format="jpeg"), "jpeg")
    assert (told["size"], told["output_format"]) == ("1024x1024", "jpeg")
    assert told["usage"]["total_tokens"] == 0


def test_events_are_of_openais_types() -> None:
    holed = file("image", png(hole=True))
    pairs = [
        (asked(), ImageGenPartialImageEvent, ImageGenCompletedEvent),
        (edited(holed), ImageEditPartialImageEvent, ImageEditCompletedEvent),
    ]
    for call, partial, completed in pairs:
        name, told = partial_event(call, 2, png((1024, 1024)), 5)
        assert partial.model_validate(told, strict=True).type == name == told["type"]
        assert (told["partial_image_index"], told["size"]) == (2, "1024x1024")
        name, told = completed_event(call, drawn(7, 1024, "webp"), b"file", 5)
        assert completed.model_validate(told, strict=True).type == name == told["type"]
        assert (told["output_format"], told["seed"], told["created_at"]) == ("webp", 7, 5)
        assert base64.b64decode(told["b64_json"]) == b"file"


def test_models_are_listed_with_their_aliases() -> None:
    told = models_list(SERVED, 5)
    names = [Model.model_validate(one, strict=True).id for one in told["data"]]
    assert told["object"] == "list"
    wanted = ["emoji", "large", "dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-2", "mine"]
    assert names == wanted == [model_object(name, 5, SERVED)["id"] for name in names]
    assert refused(lambda: model_object("flux", 5, SERVED), 404)["code"] == "model_not_found"


def parts_in(request: httpx2.Request) -> Iterator[Part]:
    """The parts of a form, read by the standard library."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    for part in BytesParser().parsebytes(head + request.read()).walk():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            yield Part(name, part.get_filename(), part.get_content_type(), data)


def served(request: httpx2.Request) -> httpx2.Response:
    """What a server does, without one: translate, and answer as many files as were asked for."""
    kind = request.url.path.rpartition("/")[2]
    is_form = request.headers["content-type"].startswith("multipart/")
    try:
        body: Any = list(parts_in(request)) if is_form else parse_body(request.read())
        translate: dict[str, Callable[..., Call]] = {
            "generations": generation,
            "edits": edit,
            "variations": variation,
        }
        call = translate[kind](body, SERVED)
    except ApiError as error:
        return httpx2.Response(error.status, json=error.body(), headers=error.headers())
    if not call.stream:
        return httpx2.Response(200, json=answer(call))
    events = [partial_event(call, 0, png(), 5), completed_event(call, drawn(), b"file", 5)]
    lines = [f"event: {name}\ndata: {json.dumps(told)}\n\n" for name, told in events]
    headers = {"content-type": "text/event-stream"}
    return httpx2.Response(200, text="".join(lines), headers=headers)


@pytest.fixture
def images() -> Iterator[openai.resources.Images]:
    http = httpx2.Client(transport=httpx2.MockTransport(served))
    with openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http) as client:
        yield client.images


def test_the_official_client_generates(images: openai.resources.Images) -> None:
    assert images.generate(prompt="a fox").data[0].url.endswith("0.png")
    told = images.generate(prompt="a fox", n=2, response_format="b64_json", size=None)
    assert [base64.b64decode(one.b64_json) for one in told.data] == [b"file 0", b"file 1"]
    assert told.data[1].seed == 1
    assert images.generate(prompt="a fox", model="gpt-image-1").data[0].url is None


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # since 3.0
def test_the_official_client_edits_and_varies(images: openai.resources.Images) -> None:
    holed, mask = png(hole=True), png(hole=True)
    assert len(images.edit(image=holed, prompt="a fox", n=2).data) == 2
    assert len(images.edit(image=[png()], mask=mask, prompt="a fox", size="512x512").data) == 1
    assert len(images.create_variation(image=("fox.png", png()), n=10).data) == 10
    told = images.edit(image=png(kind="JPEG"), prompt="a fox", model="gpt-image-1")
    assert told.data[0].b64_json


def test_the_official_client_streams(images: openai.resources.Images) -> None:
    stream = images.generate(prompt="a fox", stream=True, partial_images=1)
    partial, done = stream
    assert isinstance(partial, ImageGenPartialImageEvent)
    assert isinstance(done, ImageGenCompletedEvent) and done.seed == 7
    holed = png(hole=True)
    partial, done = images.edit(image=holed, prompt="a fox", stream=True, partial_images=1)
    assert isinstance(done, ImageEditCompletedEvent) and partial.partial_image_index == 0


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # since 3.0
def test_the_official_client_raises_its_own_errors(images: openai.resources.Images) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        images.generate(prompt="a fox", size="1x1")
    assert (error.value.param, error.value.code) == ("size", "invalid_value")
    with pytest.raises(openai.BadRequestError) as error:
        images.edit(image=[png(), png()], prompt="a fox")
    assert (error.value.param, error.value.type) == ("image", "invalid_request_error")
    with pytest.raises(openai.NotFoundError):
        images.create_variation(image=png(), model="flux")


def test_a_variation_has_events_of_its_own_name() -> None:
    name, _ = completed_event(varied(file("image", png())), drawn(), b"file", 5)
    assert name == "image_variation.completed"
