"""The official client of openai 3.57 against the server, case by case, as applications call it."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from .fakes import NATIVE, grey, png
from .house import KEY, House, a_house, error_of

OPEN = png((64, 64), (9, 9, 9, 0), "RGBA")
CLOSED = png((64, 64), (200, 10, 20, 255), "RGBA")
PLAIN = png((64, 64), (1, 2, 3))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server with an alias."""
    aliases = {"gpt-image-1": "", "dall-e-3": ""}
    with a_house(tmp_path_factory.mktemp("data"), aliases=aliases) as made:
        yield made


def client_of(house: House, **more: Any) -> openai.OpenAI:
    values = {"api_key": KEY, "max_retries": 0, "timeout": 20, **more}
    return openai.OpenAI(base_url=f"{house.url}/v1", **values)


@pytest.fixture
def client(house: House) -> Iterator[openai.OpenAI]:
    with client_of(house) as made:
        yield made


def pixels(one: Any) -> Any:
    """(size, colour) of a picture in a reply."""
    with Image.open(io.BytesIO(base64.b64decode(one.b64_json)), formats=["PNG"]) as image:
        return image.size, image.convert("RGB").getpixel((0, 0))


def seed(one: Any) -> int:
    return int(one.model_extra["seed"])


def test_a_plain_call_gives_an_address_that_is_fetched(client: openai.OpenAI) -> None:
    reply = client.images.generate(prompt="a red car")
    assert abs(reply.created - time.time()) < 60
    (one,) = reply.data or []
    assert one.b64_json is None and one.url
    with Image.open(io.BytesIO(httpx2.get(one.url).content), formats=["PNG"]) as image:
        assert image.size == (1024, 1024)


def test_two_in_base64(client: openai.OpenAI) -> None:
    reply = client.images.generate(
        prompt="a", n=2, size="512x512", response_format="b64_json", extra_body={"seed": 3}
    )
    assert [pixels(one) for one in reply.data or []] == [
        ((512, 512), grey(3)),
        ((512, 512), grey(4)),
    ]


def test_ten_are_distinct(client: openai.OpenAI) -> None:
    reply = client.images.generate(
        prompt="a", n=10, size="256x256", response_format="b64_json", model="dall-e-2"
    )
    assert len({pixels(one) for one in reply.data or []}) == 10


def test_explicit_nulls_mean_the_defaults(client: openai.OpenAI) -> None:
    nulls: dict[str, Any] = dict.fromkeys(("model", "n", "size", "response_format"))
    nulls |= dict.fromkeys(("quality", "style", "user"), openai.omit)
    (one,) = client.images.generate(prompt="a", **nulls).data or []
    assert one.url


def test_fields_of_other_models_change_nothing(house: House, client: openai.OpenAI) -> None:
    more: dict[str, Any] = {"quality": "hd", "style": "vivid", "user": "me", "moderation": "low"}
    more |= {"background": "opaque", "extra_body": {"seed": 5, "safety_identifier": "x"}}
    client.images.generate(prompt="a", size="256x256", **more)
    loaded = house.worker.drawn[-1]["spec"]
    client.images.generate(prompt="a", size="256x256", extra_body={"seed": 5})
    assert loaded == house.worker.drawn[-1]["spec"]


def test_an_alias_answers_in_base64_at_its_own_size(client: openai.OpenAI) -> None:
    reply = client.images.generate(model="gpt-image-1", prompt=2000 * "a")
    (one,) = reply.data or []
    assert pixels(one)[0] == NATIVE and reply.usage is not None
    wide = client.images.generate(model="dall-e-3", prompt="a", size="1792x1024")
    assert (wide.data or [])[0].url


def test_the_servers_own_name_is_a_model(client: openai.OpenAI) -> None:
    assert client.images.generate(model="tiny", prompt="a").data


def test_an_unknown_model_is_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.generate(model="gpt-image-2", prompt="a")
    assert caught.value.code == "model_not_found"


def test_models_are_listed_and_looked_up(client: openai.OpenAI) -> None:
    names = [one.id for one in client.models.list()]
    assert names == ["tiny", "dall-e-2", "gpt-image-1", "dall-e-3"]
    assert client.models.retrieve("dall-e-2").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_the_same_seed_twice(client: openai.OpenAI) -> None:
    every = [
        client.images.generate(
            prompt="a", size="256x256", response_format="b64_json", extra_body={"seed": 11}
        )
        for _ in range(2)
    ]
    first, second = ((one.data or [])[0] for one in every)
    assert first.b64_json == second.b64_json and seed(first) == seed(second) == 11


def test_a_seed_that_nobody_gave_comes_back_and_draws_the_same(client: openai.OpenAI) -> None:
    asked: Any = {"prompt": "a", "size": "256x256", "response_format": "b64_json"}
    (first,) = client.images.generate(**asked).data or []
    (second,) = client.images.generate(**asked, extra_body={"seed": seed(first)}).data or []
    assert first.b64_json == second.b64_json


def test_extensions_reach_the_model(house: House, client: openai.OpenAI) -> None:
    more = {"steps": 9, "guidance_scale": 2.5, "negative_prompt": "snow", "prior": "prior"}
    client.images.generate(prompt="a", extra_body=more)
    fields = house.worker.drawn[-1]["spec"]["fields"]
    assert fields["settings"] == {"steps": 9, "guidance_scale": 2.5}
    assert (fields["negative_prompt"], fields["prior"]) == ("snow", "prior")


def test_an_edit_with_a_mask(house: House, client: openai.OpenAI) -> None:
    reply = client.images.edit(image=PLAIN, mask=OPEN, prompt="a cat", size="256x256", n=2)
    assert len(reply.data or []) == 2
    inputs = house.worker.drawn[-1]["inputs"]
    assert set(inputs) == {"image", "mask"}
    with Image.open(inputs["image"]) as image:  # kept pixels are the worker's to keep
        assert image.convert("RGB").getpixel((5, 5)) == (1, 2, 3)


def test_an_edit_without_a_mask_paints_where_it_is_transparent(
    house: House, client: openai.OpenAI
) -> None:
    client.images.edit(image=("a.png", OPEN, "image/png"), prompt="a cat")
    assert set(house.worker.drawn[-1]["inputs"]) == {"image"}


def test_an_edit_of_a_list_of_one(client: openai.OpenAI) -> None:
    assert client.images.edit(image=[OPEN], prompt="a cat").data


def test_an_upload_from_a_file_and_from_bytes(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(OPEN)
    assert client.images.edit(image=path, prompt="a cat").data
    with path.open("rb") as opened:
        assert client.images.edit(image=opened, prompt="a cat").data


def test_an_edit_of_an_alias_takes_jpeg_and_needs_no_mask(client: openai.OpenAI) -> None:
    jpeg = png((80, 64), (1, 2, 3), format="JPEG")
    reply = client.images.edit(
        model="gpt-image-1", image=("a.jpg", jpeg, "image/jpeg"), prompt="a cat"
    )
    assert (reply.data or [])[0].b64_json


def test_variations_of_a_picture(house: House, client: openai.OpenAI) -> None:
    with pytest.warns(DeprecationWarning, match="dall-e-2|deprecated"):
        reply = client.images.create_variation(image=PLAIN, n=2, size="256x256")
    assert len(reply.data or []) == 2
    assert house.worker.drawn[-1]["spec"]["ability"] == "vary"


def test_a_stream_of_previews(client: openai.OpenAI) -> None:
    stream = client.images.generate(model="gpt-image-1", prompt="a", stream=True, partial_images=3)
    kinds = [event.type for event in stream]
    assert kinds == 3 * ["image_generation.partial_image"] + ["image_generation.completed"]


def test_a_stream_of_an_edit(client: openai.OpenAI) -> None:
    stream = client.images.edit(
        model="gpt-image-1", image=OPEN, prompt="a", stream=True, partial_images=1
    )
    events = list(stream)
    assert [one.type for one in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert base64.b64decode(events[-1].b64_json)


def test_an_error_in_a_stream_is_raised(house: House, client: openai.OpenAI) -> None:
    house.worker.fails = lambda spec: {"code": "memory", "message": "too large", "field": None}
    try:
        with pytest.raises(openai.APIError, match="too large"):
            list(client.images.generate(model="gpt-image-1", prompt="a", stream=True))
    finally:
        house.worker.fails = lambda spec: None


def test_raw_headers(client: openai.OpenAI) -> None:
    reply = client.images.with_raw_response.generate(prompt="a", size="256x256")
    assert reply.request_id and reply.headers["openai-processing-ms"]
    assert reply.headers["x-ratelimit-remaining-requests"]


@pytest.mark.parametrize("key", ["sk-wrong-0123456789abcdef", "x"])
def test_a_bad_key_is_401(house: House, key: str) -> None:
    with client_of(house, api_key=key) as client, pytest.raises(openai.AuthenticationError) as told:
        client.images.generate(prompt="a")
    assert told.value.code == "invalid_api_key"


def test_a_missing_key_is_401(house: House) -> None:
    reply = httpx2.post(f"{house.url}/v1/images/generations", json={"prompt": "a"})
    assert reply.status_code == 401 and error_of(reply.content)["code"] == "invalid_api_key"


BAD: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": ""}),
    ("prompt", {"prompt": 1001 * "a"}),
    ("n", {"n": 0}),
    ("n", {"n": 11}),
    ("n", {"n": -1}),
    ("n", {"n": "2.5"}),
    ("size", {"size": "100x100"}),
    ("size", {"size": "auto"}),
    ("response_format", {"response_format": "png"}),
    ("seed", {"extra_body": {"seed": "x"}}),
    ("steps", {"extra_body": {"steps": 0}}),
]


@pytest.mark.parametrize(("param", "more"), BAD)
def test_a_wrong_value_is_400_and_named(
    client: openai.OpenAI, param: str, more: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        client.images.generate(**{"prompt": "a", **more})
    assert told.value.param == param and told.value.type == "invalid_request_error"


def test_a_thousand_characters_are_allowed(client: openai.OpenAI) -> None:
    assert client.images.generate(prompt=1000 * "é").data


TRUNCATED = png((64, 64), (9, 9, 9, 0), "RGBA")[:-40]
NOISE = Image.effect_noise((2100, 2100), 90).convert("RGBA")


def large() -> bytes:
    """A PNG of more than 4 MB."""
    buffer = io.BytesIO()
    NOISE.save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


PICTURES: list[tuple[str, Any, Any]] = [
    ("image", b"not a picture", None),
    ("image", png((64, 64), (1, 2, 3), format="JPEG"), OPEN),
    ("image", TRUNCATED, None),
    ("image", large, None),
    ("image", png((64, 32), (9, 9, 9, 0), "RGBA"), None),
    ("image", PLAIN, None),  # neither a mask nor transparency
    ("image", CLOSED, None),
    ("mask", PLAIN, png((32, 32), (0, 0, 0, 0), "RGBA")),
    ("mask", PLAIN, PLAIN),
    ("mask", PLAIN, b"no mask"),
]


@pytest.mark.parametrize(("param", "image", "mask"), PICTURES)
def test_a_wrong_picture_is_400_and_named(
    client: openai.OpenAI, param: str, image: Any, mask: Any
) -> None:
    data = image() if callable(image) else image
    files: Any = {"image": data} if mask is None else {"image": data, "mask": mask}
    with pytest.raises(openai.BadRequestError) as told:
        client.images.edit(**files, prompt="a cat")
    assert told.value.param == param


def form(order: str) -> tuple[dict[str, str], bytes]:
    """A form whose files come before its fields, or after them."""
    file = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    field = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n'
    parts = [file + OPEN + b"\r\n", field]
    body = b"".join(parts if order == "files first" else parts[::-1]) + b"--x--\r\n"
    return {"content-type": "multipart/form-data; boundary=x"}, body


@pytest.mark.parametrize("order", ["files first", "fields first"])
def test_files_before_fields_and_chunks_without_a_length(house: House, order: str) -> None:
    headers, body = form(order)

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 50):
            yield body[start : start + 50]

    with house.client() as plain:
        reply = plain.post("/v1/images/edits", headers=headers, content=chunks())
    assert reply.status_code == 200, reply.text


def test_azures_client(house: House) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=house.url, api_key=KEY, api_version="2024-02-01", max_retries=0
    ) as client:
        assert client.images.generate(model="dall-e-2", prompt="a").data
        assert client.images.edit(model="dall-e-2", image=OPEN, prompt="a").data
        with pytest.warns(DeprecationWarning, match="dall-e-2|deprecated"):
            assert client.images.create_variation(model="dall-e-2", image=PLAIN).data


def test_the_asynchronous_client(house: House) -> None:
    async def several() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key=KEY) as client:
            asked = [client.images.generate(prompt="a", size="256x256") for _ in range(4)]
            edited = client.images.edit(image=OPEN, prompt="a cat")
            stream = await client.images.generate(model="gpt-image-1", prompt="a", stream=True)
            kinds = [event.type async for event in stream]
            return [*await asyncio.gather(*asked, edited), kinds]

    *replies, kinds = asyncio.run(several())
    assert len({reply.data[0].url for reply in replies}) == 5
    assert kinds == ["image_generation.completed"]


def test_a_full_queue_is_waited_for_by_the_client_itself(tmp_path: Path) -> None:
    with a_house(tmp_path, queued=1) as house:
        house.worker.go.clear()
        with client_of(house) as client:
            threads = [
                threading.Thread(target=client.images.generate, kwargs={"prompt": "a"})
                for _ in range(2)
            ]
            for queued, thread in enumerate(threads):  # one runs, one waits
                thread.start()
                until(house, queued)
            with pytest.raises(openai.RateLimitError) as told:
                client.images.generate(prompt="a")
            assert told.value.code == "rate_limit_exceeded"
            threading.Timer(0.3, house.worker.go.set).start()
            assert client.with_options(max_retries=2).images.generate(prompt="a").data
            for thread in threads:
                thread.join(30)


def test_a_server_that_drains_is_503_and_told_so(tmp_path: Path) -> None:
    with a_house(tmp_path) as house, client_of(house) as client:
        house.engine.draining = True
        with pytest.raises(openai.InternalServerError) as told:
            client.images.generate(prompt="a")
    assert told.value.status_code == 503


def test_a_client_that_times_out_finds_its_picture_by_its_own_retry(tmp_path: Path) -> None:
    with a_house(tmp_path) as house:
        house.worker.go.clear()
        threading.Timer(1.2, house.worker.go.set).start()
        with client_of(house, timeout=0.8, max_retries=3) as client:
            assert client.images.generate(prompt="a").data
        counts = house.engine.store.counts()
    assert (counts["done"], sum(counts.values())) == (1, 1)


def until(house: House, queued: int) -> None:
    """Until one job runs and so many wait."""
    for _ in range(1000):
        counts = house.engine.store.counts()
        if (counts["running"], counts["queued"]) == (1, queued):
            return
        time.sleep(0.01)
    raise AssertionError(counts)
