"""The native API: every ability as a job, its events, the gallery, capabilities, logging in."""

from __future__ import annotations

import io
import json
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from unclip.abilities import ABILITIES
from unclip.media.notes import GENERATED, TRAINED
from unclip.media.writing import encode
from unclip.request import Drawing

from .fakes import grey, png
from .house import BEARER, KEY, STRANGER, House, a_house, error_of


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that several tests ask."""
    with a_house(tmp_path_factory.mktemp("data")) as made:
        yield made


@pytest.fixture
def client(house: House) -> Iterator[httpx2.Client]:
    with house.client() as made:
        yield made


def ask(client: httpx2.Client, ability: str = "generate", **more: Any) -> Any:
    """A new job."""
    fields = {"prompt": "a fox", **more.pop("fields", {})}
    reply = client.post("/v1/jobs", json={"ability": ability, "fields": fields, **more})
    assert reply.status_code == 202, reply.text
    return reply.json()


def done(client: httpx2.Client, job: Any) -> Any:
    """The job when it has ended."""
    for _ in range(500):
        found = client.get(f"/v1/jobs/{job['id']}").json()
        if found["state"] not in ("queued", "running"):
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def refused(client: httpx2.Client, param: str, **body: Any) -> str:
    """The message of a 400 about a parameter."""
    reply = client.post("/v1/jobs", json=body)
    assert reply.status_code == 400, reply.text
    error = error_of(reply.content)
    assert error["param"] == param, error
    return str(error["message"])


def test_a_job_goes_from_the_queue_to_its_pictures(client: httpx2.Client) -> None:
    job = done(client, ask(client, fields={"seed": 4, "n": 2}))
    assert job["state"] == "done" and job["failure"] is None
    assert [one["seed"] for one in job["pictures"]] == [4, 5]
    with Image.open(io.BytesIO(client.get(job["pictures"][1]["url"]).content)) as image:
        assert image.getpixel((0, 0)) == grey(5)
    assert job["id"] in [one["id"] for one in client.get("/v1/jobs?state=done").json()["data"]]


def test_a_job_that_nobody_asked_openais_way_for_is_counted_too(client: httpx2.Client) -> None:
    def runs(what: str) -> float:
        text = client.get("/metrics").text
        (found,) = re.findall(rf"^unclip_job_run_seconds_{what} (\S+)$", text, re.MULTILINE)
        return float(found)

    before = runs("count")
    assert "event: done" in client.get(f"/v1/jobs/{ask(client)['id']}/events").text
    assert runs("count") > before and 0 < runs("sum") < 60


def test_a_job_is_delivered_in_the_asked_size_and_format(client: httpx2.Client) -> None:
    finish = {"size": [32, 16], "format": "webp", "quality": 80}
    (picture,) = done(client, ask(client, finish=finish))["pictures"]
    reply = client.get(picture["url"])
    assert reply.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(reply.content)) as image:
        assert (image.format, image.size) == ("WEBP", (32, 16))


def test_every_ability_that_draws_is_offered_with_its_requests_bounds(
    client: httpx2.Client,
) -> None:
    told = client.get("/v1/capabilities").json()
    drawing = {n for n in ABILITIES.names() if issubclass(ABILITIES[n].request, Drawing)}
    assert told["abilities"].keys() == drawing - {"reconstruct"}  # this model's
    img2img = told["abilities"]["img2img"]
    assert img2img["fields"]["properties"]["strength"]["maximum"] == 1
    assert img2img["inputs"]["image"]["required"]
    assert "Repaint a part" in told["abilities"]["edit"]["help"]
    assert set(told["abilities"]["interpolate"]["inputs"]) == {"a", "b"}
    assert told["models"][0]["words"] == ["fox", "car"] and told["models"][0]["default"]


def test_abilities_begin_from_uploaded_and_from_drawn_pictures(
    house: House, client: httpx2.Client
) -> None:
    data = png((64, 64), (1, 2, 3))
    headers = {"content-type": "image/png"}
    uploaded = client.post("/v1/pictures", content=data, headers=headers).json()
    assert (uploaded["width"], uploaded["height"]) == (64, 64)
    form = client.post("/v1/pictures", files={"file": ("fox.png", data, "image/png")}).json()
    assert form == uploaded
    (drawn,) = done(client, ask(client))["pictures"]
    for id in (uploaded["id"], drawn["id"]):
        job = client.post("/v1/jobs", json={"ability": "vary", "inputs": {"image": id}}).json()
        assert done(client, job)["state"] == "done"
        with Image.open(house.worker.drawn[-1]["inputs"]["image"]) as image:
            assert image.size == (64, 64)
    ends = {"ability": "interpolate", "fields": {"b": "a cat"}, "inputs": {"a": drawn["id"]}}
    job = done(client, client.post("/v1/jobs", json=ends).json())
    assert len(job["pictures"]) == 8 and house.worker.drawn[-1]["spec"]["fields"]["b"] == "a cat"
    diff = {"source": "a fox", "target": "a cat"}
    asked = {"ability": "textdiff", "fields": diff, "inputs": {"image": drawn["id"]}}
    job = done(client, client.post("/v1/jobs", json=asked).json())
    assert job["state"] == "done" and diff.items() <= job["fields"].items()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_upload_is_shown_to_whoever_knows_its_digest(
    house: House, client: httpx2.Client, kind: str
) -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(data, kind)
    headers = {"content-type": f"image/{kind.lower()}"}
    id = client.post("/v1/pictures", content=data.getvalue(), headers=headers).json()["id"]
    path = f"/v1/pictures/{id}/file"
    for who in (BEARER, STRANGER):
        reply = client.get(path, headers=who)
        assert (reply.status_code, reply.headers["content-type"]) == (200, headers["content-type"])
        assert reply.headers["x-content-type-options"] == "nosniff"
        with Image.open(io.BytesIO(reply.content)) as image:
            assert image.size == (8, 8)
    assert client.get(path, headers={"authorization": "Bearer none"}).status_code == 401
    missing = client.get(f"/v1/pictures/{'0' * 64}/file")
    assert (missing.status_code, error_of(missing.content)["code"]) == (404, "not_found")


def test_a_stored_file_that_is_no_picture_is_not_shown(house: House, client: httpx2.Client) -> None:
    digest = house.engine.store.put_input(b"<html><script>alert(1)</script>")
    assert client.get(f"/v1/pictures/{digest}/file").status_code == 404


def test_what_a_job_must_not_ask_for_is_400_and_names_the_field(client: httpx2.Client) -> None:
    assert "generate" in refused(client, "ability", ability="dream")
    refused(client, "n", ability="generate", fields={"prompt": "x", "n": 0})
    refused(client, "n", ability="generate", fields={"prompt": "x", "n": 65})
    refused(client, "prompt", ability="generate", fields={"prompt": ""})
    refused(client, "prompt", ability="generate", fields={})
    refused(client, "seed", ability="generate", fields={"prompt": "x", "seed": 2**70})
    refused(client, "fields", ability="generate", fields=[])
    refused(client, "fild", ability="generate", fild={})
    refused(client, "finish.size", ability="generate", finish={"size": [0, 5]})
    refused(client, "finish.quality", ability="generate", finish={"quality": 101})
    refused(client, "inputs.image", ability="vary", inputs={"image": 32 * "0"})
    refused(client, "inputs.image", ability="vary", inputs={"image": 64 * "0"})
    refused(client, "image", ability="vary")
    reply = client.post("/v1/jobs", json={"ability": "generate", "model": "no"})
    assert reply.status_code == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "pyproject.toml", "fox.png", "../x", "C:\\x.png"])
def test_a_text_that_names_a_file_is_never_read(client: httpx2.Client, path: str) -> None:
    message = refused(client, "a", ability="interpolate", fields={"a": path, "b": "a cat"})
    assert "no file's name" in message
    refused(client, "image", ability="vary", fields={"image": path})
    refused(client, "pictures", ability="reconstruct", fields={"image": None, "pictures": path})


def read_events(client: httpx2.Client, id: str, **headers: str) -> list[tuple[int, str, Any]]:
    """(number, name, data) until the end."""
    reply = client.get(f"/v1/jobs/{id}/events", headers=headers)
    found = []
    for block in reply.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "id" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_events_tell_a_jobs_life_and_go_on_where_a_client_stopped(client: httpx2.Client) -> None:
    job = ask(client)
    told = read_events(client, job["id"])
    kinds = [kind for _, kind, _ in told]
    assert kinds[-1] == "done" and {"step", "preview"} <= {*kinds, "step"}
    numbers = [number for number, _, _ in told]
    assert numbers == sorted(set(numbers))
    assert told[-1][2]["job"]["pictures"][0]["url"]
    rest = read_events(client, job["id"], **{"last-event-id": str(numbers[-2])})
    assert [number for number, _, _ in rest] == numbers[-1:]


def test_a_job_is_cancelled_while_it_waits_and_while_it_runs(
    house: House, client: httpx2.Client
) -> None:
    house.worker.go.clear()
    try:
        running, queued = ask(client), ask(client)
        while client.get(f"/v1/jobs/{running['id']}").json()["state"] != "running":
            time.sleep(0.01)
        assert client.get(f"/v1/jobs/{queued['id']}").json()["place"] == 0
        stopped = client.post(f"/v1/jobs/{queued['id']}/cancel").json()
        assert stopped["state"] == "cancelled"
        assert client.delete(f"/v1/jobs/{running['id']}").json()["state"] == "cancelled"
    finally:
        house.worker.go.set()
    assert house.worker.cancelled[-1] == running["id"]
    assert read_events(client, running["id"])[-1][1] == "cancelled"


def test_a_job_goes_on_when_its_client_leaves(house: House, client: httpx2.Client) -> None:
    house.worker.go.clear()
    job = ask(client)
    with pytest.raises(httpx2.ReadTimeout), house.client() as other:
        other.get(f"/v1/jobs/{job['id']}/events", timeout=0.3).read()
    house.worker.go.set()
    assert done(client, job)["state"] == "done"


def test_another_keys_jobs_and_pictures_are_as_if_they_were_not_there(
    client: httpx2.Client,
) -> None:
    job = done(client, ask(client))
    id, (picture,) = job["id"], job["pictures"]
    for method, path in (
        ("GET", f"/v1/jobs/{id}"),
        ("GET", f"/v1/jobs/{id}/events"),
        ("POST", f"/v1/jobs/{id}/cancel"),
        ("DELETE", f"/v1/jobs/{id}"),
        ("GET", f"/v1/pictures/{picture['id']}"),
        ("GET", f"/v1/pictures/{picture['id']}/file"),
        ("DELETE", f"/v1/pictures/{picture['id']}"),
        ("POST", f"/v1/pictures/{picture['id']}/restore"),
    ):
        reply = client.request(method, path, headers=STRANGER)
        assert reply.status_code == 404, path
        assert error_of(reply.content)["code"] == "not_found"
    body = {"ids": [picture["id"]]}
    assert client.post("/v1/pictures/zip", json=body, headers=STRANGER).status_code == 404
    changed = client.patch(
        f"/v1/pictures/{picture['id']}", json={"favourite": True}, headers=STRANGER
    )
    assert changed.status_code == 404
    assert client.get("/v1/jobs", headers=STRANGER).json() == {"data": []}
    assert client.get("/v1/pictures", headers=STRANGER).json() == {"data": []}
    asked = {"ability": "vary", "inputs": {"image": picture["id"]}}
    assert client.post("/v1/jobs", json=asked, headers=STRANGER).status_code == 400


def ids(reply: httpx2.Response) -> list[str]:
    return [one["id"] for one in reply.json()["data"]]


def test_the_gallery_is_searched_marked_collected_deleted_and_restored(
    client: httpx2.Client,
) -> None:
    fields = {"prompt": "a purple walrus"}
    (picture,) = done(client, ask(client, fields=fields))["pictures"]
    id = picture["id"]
    assert ids(client.get("/v1/pictures?q=PURPLE")) == [id]
    assert client.get("/v1/pictures?q=purple").json()["data"][0]["fields"]["prompt"].endswith("rus")
    path = f"/v1/pictures/{id}"
    assert client.patch(path, json={"favourite": True, "add_tags": ["sea"]}).status_code == 200
    assert ids(client.get("/v1/pictures?favourites=true")) == [id]
    assert ids(client.get("/v1/pictures?tag=sea")) == [id]
    (listed,) = client.get("/v1/pictures?tag=sea").json()["data"]
    assert {**client.get(path).json(), "url": ""} == {**listed, "url": ""}
    assert client.get("/v1/tags").json() == {"data": {"sea": 1}}
    shelf = client.post("/v1/collections", json={"name": "zoo"}).json()
    assert client.patch(path, json={"add_collections": [shelf["id"]]}).status_code == 200
    assert ids(client.get(f"/v1/pictures?collection={shelf['id']}")) == [id]
    renamed = client.patch(f"/v1/collections/{shelf['id']}", json={"name": "ark"}).json()
    assert (renamed["name"], renamed["pictures"]) == ("ark", 1)
    assert client.delete(path).status_code == 200
    assert ids(client.get("/v1/pictures?q=purple")) == []
    assert ids(client.get("/v1/pictures?deleted=true")) == [id]
    assert client.get(path).json()["deleted"] > 0
    assert client.get(f"{path}/file").status_code == 200  # for whoever may want it back
    assert client.get(picture["url"]).status_code == 404
    assert client.post(f"{path}/restore").status_code == 200
    assert ids(client.get("/v1/pictures?favourites=true")) == [id]
    assert client.delete(f"/v1/collections/{shelf['id']}").status_code == 200
    assert client.get("/v1/collections").json() == {"data": []}


def test_pictures_are_packed(client: httpx2.Client) -> None:
    pictures = done(client, ask(client, fields={"n": 2, "seed": 8}))["pictures"]
    reply = client.post("/v1/pictures/zip", json={"ids": [one["id"] for one in pictures]})
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        files = [archive.read(name) for name in archive.namelist()]
    assert files == [client.get(one["url"]).content for one in pictures]


def test_a_zip_leaves_out_what_is_not_there(
    house: House, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = done(client, ask(client, fields={"n": 3, "seed": 30}))["pictures"]
    found = house.engine.store.picture(one["id"])
    assert found is not None
    found.path.unlink()
    client.delete(f"/v1/pictures/{two['id']}")
    folders: list[Path] = []
    real = tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda dir: (folders.append(dir), real(dir=dir))[1]
    )
    ids = ["0" * 32, one["id"], two["id"], three["id"]]
    reply = client.post("/v1/pictures/zip", json={"ids": ids})
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        (name,) = archive.namelist()
        assert archive.read(name) == client.get(three["url"]).content
    assert folders == [found.path.parents[2]], "on the disk of the data, which has the room"
    for gone in (ids[:3], ids):
        who = {} if gone == ids[:3] else STRANGER
        reply = client.post("/v1/pictures/zip", json={"ids": gone}, headers=who)
        assert reply.status_code == 404


def test_a_jobs_pictures_say_whether_they_are_favourites(client: httpx2.Client) -> None:
    job = done(client, ask(client, fields={"n": 2, "seed": 40}))
    one, two = job["pictures"]
    assert [one["favourite"], two["favourite"]] == [False, False]
    client.patch(f"/v1/pictures/{two['id']}", json={"favourite": True})
    now = client.get(f"/v1/jobs/{job['id']}").json()
    assert [each["favourite"] for each in now["pictures"]] == [False, True]
    (listed,) = [each for each in client.get("/v1/jobs").json()["data"] if each["id"] == job["id"]]
    assert listed["pictures"] == now["pictures"]
    client.patch(f"/v1/pictures/{two['id']}", json={"favourite": False})
    now = client.get(f"/v1/jobs/{job['id']}").json()
    assert [each["favourite"] for each in now["pictures"]] == [False, False]


def test_downloads_without_metadata_and_thumbnails(house: House, client: httpx2.Client) -> None:
    fields = {"prompt": "a fox", "n": 2, "seed": 20}
    one, two = done(client, ask(client, fields=fields))["pictures"]
    found = house.engine.store.picture(one["id"])
    assert found is not None
    picture = Image.new("RGB", (300, 200), "red")  # as a worker would write it
    picture.info = {"unclip": "SECRET", "parameters": "SECRET", GENERATED: TRAINED}
    with found.path.open("wb") as file:
        encode(picture, file)
    path = f"/v1/pictures/{one['id']}"
    assert b"SECRET" in client.get(f"{path}/file").content
    bare = client.get(f"{path}/file?metadata=false")
    assert b"SECRET" not in bare.content and TRAINED.encode() in bare.content
    body = {"ids": [one["id"], two["id"]], "metadata": False}
    packed = client.post("/v1/pictures/zip", json=body).content
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert bare.content in [archive.read(name) for name in archive.namelist()]
    client.delete(path)
    reply = client.get(f"{path}/thumbnail?side=64")  # the bin shows them too
    assert reply.headers["content-type"] == "image/webp"
    kept = [client.get(f"{path}/{one}").headers["cache-control"] for one in ("thumbnail", "file")]
    assert kept == ["private, max-age=86400, immutable"] * 2
    with Image.open(io.BytesIO(reply.content)) as image:
        assert (image.format, image.size) == ("WEBP", (64, 43))
    for query in ("side=5000", "side=0", "side=x"):
        assert client.get(f"{path}/thumbnail?{query}").status_code == 400
    assert client.get(f"{path}/thumbnail", headers=STRANGER).status_code == 404
    assert client.get(f"{path}/file?metadata=some").status_code == 400


def test_a_picture_whose_file_is_gone_is_404(house: House, client: httpx2.Client) -> None:
    (picture,) = done(client, ask(client, fields={"seed": 9}))["pictures"]
    found = house.engine.store.picture(picture["id"])
    assert found is not None
    found.path.unlink()
    assert client.get(f"/v1/pictures/{picture['id']}/file").status_code == 404
    assert client.get(picture["url"]).status_code == 404
    assert client.post("/v1/pictures/zip", json={"ids": [picture["id"]]}).status_code == 404
    reply = client.post("/v1/jobs", json={"ability": "vary", "inputs": {"image": picture["id"]}})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "inputs.image")


def test_a_picture_that_is_not_there_cannot_be_changed(client: httpx2.Client) -> None:
    for changes in ({}, {"favourite": True}, {"add_tags": ["sea"]}):
        assert client.patch(f"/v1/pictures/{'0' * 32}", json=changes).status_code == 404


def test_a_file_is_taken_whatever_curl_calls_it(client: httpx2.Client) -> None:
    (picture,) = done(client, ask(client))["pictures"]
    data = client.get(picture["url"]).content
    for kind in ("application/x-www-form-urlencoded", "application/octet-stream", "image/png"):
        reply = client.post("/v1/pictures", content=data, headers={"content-type": kind})
        assert reply.status_code == 201


def test_a_browser_logs_in_with_a_cookie_and_sends_a_token(house: House) -> None:
    with httpx2.Client(base_url=house.url) as browser:
        asked = browser.get("/v1/session").json()
        assert asked == {"needs_key": True, "owner": None, "csrf": None}
        wrong = browser.post("/v1/session", json={"key": "sk-wrong"})
        assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
        reply = browser.post("/v1/session", json={"key": KEY})
        cookie = reply.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and KEY not in cookie
        assert browser.get("/v1/jobs").status_code == 200
        body = {"ability": "generate", "fields": {"prompt": "a fox"}}
        assert browser.post("/v1/jobs", json=body).status_code == 403
        token = {"x-csrf-token": browser.get("/v1/session").json()["csrf"]}
        assert browser.post("/v1/jobs", json=body, headers=token).status_code == 202
        reply = browser.delete("/v1/session", headers=token)
        assert reply.status_code == 200
        assert reply.headers["clear-site-data"] == '"cache"', "the next user has nothing of it"
        assert browser.get("/v1/jobs").status_code == 401


def test_the_openapi_document_has_every_route_and_no_422(house: House) -> None:
    with house.client() as client:
        document = client.get("/openapi.json").json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    assert {"/v1/images/generations", "/v1/jobs/{id}/events", "/v1/capabilities"} <= paths.keys()
    for path, methods in paths.items():
        for method, told in methods.items():
            assert "422" not in told["responses"], (path, method)
            assert told["summary"] and "description" in told
    jobs = paths["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert jobs == {"$ref": "#/components/schemas/Ask"}
    asked = [schemas[one["$ref"].rpartition("/")[2]] for one in schemas["Ask"]["oneOf"]]
    by_ability = {one["properties"]["ability"]["enum"][0]: one for one in asked}
    strength = by_ability["img2img"]["properties"]["fields"]["properties"]["strength"]
    assert (strength["minimum"], strength["maximum"]) == (0, 1)
    assert by_ability["vary"]["required"] == ["ability", "inputs"]
    body = paths["/v1/images/generations"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["required"] == ["prompt"]


def test_previews_are_made_for_those_alone_who_want_them(house: House) -> None:
    with house.client() as client:
        for wanted in ("false", "true"):
            house.loop.call_soon_threadsafe(house.worker.go.clear)
            job = ask(client)["id"]
            with client.stream("GET", f"/v1/jobs/{job}/events?previews={wanted}") as answer:
                house.loop.call_soon_threadsafe(house.worker.go.set)
                told = answer.read().decode()
            assert "event: done" in told
            assert ("event: preview" in told) == (job in house.worker.watched) == (wanted == "true")
        assert client.get(f"/v1/jobs/{job}/events?previews=some").status_code == 400
