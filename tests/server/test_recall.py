"""How an uploaded picture was made, as a job that makes it again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unclip import Pipeline
from unclip.errors import UsageError
from unclip.media import upload_notes
from unclip.media.writing import encode
from unclip.record import Record
from unclip.server import abilities
from unclip.server.protocol import ModelInfo
from unclip.server.recall import of_record

from .conftest import FEW, Talk
from .fakes import png
from .house import House, a_house

WEB_UI = (
    "a red (fox:1.2)\nNegative prompt: blur\nSteps: 9, Sampler: Euler a, CFG scale: 4.5, Seed: 77"
)
ASKED: dict[str, dict[str, Any]] = {
    "generate": {"prompt": "a (red:1.2) fox, 狐", "negative_prompt": "a car", "size": "16x16"},
    "edit": {"prompt": "a fox", "box": [2, 2, 8, 8]},
    "img2img": {"prompt": "a fox", "strength": 0.5},
    "interpolate": {"a": "a fox", "b": "a car", "frames": 2},
    "outpaint": {"prompt": "a fox", "left": 8},
    "textdiff": {"source": "a fox", "target": "a car", "frames": 2},
    "upscale": {},
    "vary": {"eta": 0.3},
}


def file_of(picture: Image.Image, kind: str = "PNG") -> bytes:
    """As it is written."""
    data = io.BytesIO()
    encode(picture, data, kind)
    return data.getvalue()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A picture to begin from."""
    path = tmp_path / "begin.png"
    path.write_bytes(png((16, 16), (90, 10, 200)))
    return path


def drawn(pipe: Pipeline, ability: str, image: Path) -> list[Image.Image]:
    """What a job of it draws."""
    kind = abilities.drawing()[ability]
    inputs = {"image": str(image)} if "image" in kind.model_fields else {}
    return pipe.run(kind.of(**ASKED[ability], **inputs, seed=5, settings=FEW))


@pytest.mark.filterwarnings("ignore::unclip.errors.SettingWarning")
@pytest.mark.parametrize("ability", sorted(ASKED))
def test_a_job_of_what_a_picture_says_draws_it_again(
    pipe: Pipeline, ability: str, image: Path
) -> None:
    if ability == "upscale" and ability not in ASKED:
        pytest.skip("no upsampler")
    first = drawn(pipe, ability, image)[-1]
    info = ModelInfo("mine", (16, 16), (), hash=pipe.hash)
    found = of_record(upload_notes(file_of(first))["unclip"], [info])
    assert (found["ability"], found["served"], found["program"]) == (ability, "mine", "unclip")
    assert found["seed"] == found["fields"]["seed"] == Record.of(first).seed
    inputs = dict.fromkeys(found["inputs"], ("0" * 64, image))
    spec = abilities.spec_of(ability, found["fields"], inputs, "mine")
    request = abilities.drawing()[ability].of(
        **spec.fields, **{name: str(path) for name, (_, path) in inputs.items()}
    )
    again = pipe.run(request)
    assert any(np.array_equal(np.asarray(first), np.asarray(one)) for one in again)


def test_a_mask_is_named_among_the_inputs(pipe: Pipeline, image: Path) -> None:
    kind = abilities.drawing()["edit"]
    white = io.BytesIO(png((16, 16), (255, 255, 255)))
    asked = kind.of(prompt="a fox", image=str(image), mask=white, settings=FEW)
    found = of_record(upload_notes(file_of(pipe.run(asked)[0]))["unclip"], [])
    assert found["inputs"].keys() == {"image", "mask"} and "mask" not in found["fields"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_format_says_it(pipe: Pipeline, image: Path, kind: str) -> None:
    (picture,) = drawn(pipe, "generate", image)
    found = of_record(upload_notes(file_of(picture, kind))["unclip"], [])
    assert found["fields"]["prompt"] == ASKED["generate"]["prompt"] and found["served"] is None


def test_what_another_program_wrote_is_read_by_the_worker(talk: Talk) -> None:
    talk.say(kind="recall", number=3, model="tiny", notes={"parameters": WEB_UI})
    (*_, answer) = talk.until("recalled")
    found = answer["recalled"]
    assert answer["failure"] is None and found["program"] == "A1111"
    fields = found["fields"]
    assert (fields["prompt"], fields["negative_prompt"]) == ("a red (fox:1.2)", "blur")
    assert (fields["seed"], fields["settings"]["steps"]) == (77, 9)
    assert fields["settings"]["guidance_scale"] == 4.5
    abilities.spec_of("generate", fields, {}, "tiny")
    talk.say(kind="recall", number=4, model="tiny", notes={"parameters": "nothing of use"})
    (*_, answer) = talk.until("recalled")
    assert answer["failure"] is None or answer["failure"]["code"] == "usage"


@pytest.mark.parametrize(
    "change",
    [
        {"ability": "sweep"},
        {"ability": "none such"},
        {"ability": "probe"},
        {"n": 10_000},
        {"n": -1},
        {"seed": 2**63},
        {"seed": "7"},
        {"settings": {"none such": {}}},
        {"settings": []},
        {"prompt": 3},
        {"inputs": {"image": 3}},
    ],
)
def test_what_no_job_can_draw_is_no_record(change: dict[str, Any]) -> None:
    values = json.loads(Record("a fox", 7, {}).to_json()) | change
    try:
        found = of_record(json.dumps(values), [])
    except UsageError:
        return
    inputs = {name: ("0" * 64, Path("none")) for name in found["inputs"]}
    assert not inputs
    abilities.spec_of(found["ability"], found["fields"], inputs, "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


@given(
    st.sampled_from(sorted(json.loads(Record("", 0, {}).to_json()))),
    JSON,
    st.sampled_from(sorted(one.ability for one in abilities.drawing().values())),
)
def test_no_record_does_harm(name: str, value: Any, ability: str) -> None:
    values = json.loads(Record("a fox", 7, {}, ability=ability).to_json()) | {name: value}
    with suppress(UsageError):
        of_record(json.dumps(values), [])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server for the file."""
    with a_house(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def client(house: House) -> Iterator[httpx2.Client]:
    """With the first key."""
    with house.client() as made:
        yield made


def upload(client: httpx2.Client, data: bytes) -> dict[str, Any]:
    """What is answered."""
    kind = {"content-type": "image/png"}
    reply = client.post("/v1/pictures", content=data, headers=kind)
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_an_upload_says_how_it_was_made_and_is_stored_without(
    house: House, client: httpx2.Client, pipe: Pipeline, image: Path
) -> None:
    (picture,) = drawn(pipe, "generate", image)
    answer = upload(client, file_of(picture))
    record = answer["record"]
    asked = {"ability": record["ability"], "fields": record["fields"]}
    job = client.post("/v1/jobs", json=asked)
    assert job.status_code == 202 and job.json()["fields"]["prompt"] == record["fields"]["prompt"]
    assert upload_notes(house.engine.store.input_path(answer["id"]).read_bytes()) == {}


def test_one_of_another_program_too_and_none_where_nothing_is_said(
    house: House, client: httpx2.Client
) -> None:
    picture = Image.new("RGB", (8, 8))
    picture.info["parameters"] = WEB_UI
    assert upload(client, file_of(picture))["record"]["program"] == "fake"
    house.worker.refuses = lambda asked: {"code": "usage", "message": "no", "field": None}
    try:
        assert upload(client, file_of(picture))["record"] is None
    finally:
        house.worker.refuses = lambda asked: None
    assert upload(client, png((8, 8)))["record"] is None
    picture.info = {"unclip": "{"}
    assert upload(client, file_of(picture))["record"] is None
