"""OpenAI's routes: headers, errors, addresses, streams, retries, time limits."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from unclip.server import routes_site

from .fakes import grey, png
from .house import BEARER, STRANGER, House, a_house, error_of


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that several tests ask."""
    folder = tmp_path_factory.mktemp("data")
    with a_house(folder, aliases={"gpt-image-1": ""}, body_bytes=2**20) as made:
        yield made


def picture(data: bytes) -> tuple[tuple[int, int], Any]:
    """Size and colour of a plain picture."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return image.size, image.convert("RGB").getpixel((0, 0))


def generate(house: House, **body: Any) -> Any:
    with house.client() as client:
        return client.post("/v1/images/generations", json={"prompt": "a fox", **body})


def test_a_generation_is_drawn_at_its_seed_and_size(house: House) -> None:
    reply = generate(house, seed=7, n=2, size="256x256", response_format="b64_json")
    assert reply.status_code == 200
    data = reply.json()["data"]
    assert [one["seed"] for one in data] == [7, 8]
    pictures = [picture(base64.b64decode(one["b64_json"])) for one in data]
    assert pictures == [((256, 256), grey(7)), ((256, 256), grey(8))]
    assert reply.headers["x-unclip-size"] == "resampled from 64x64"


def test_every_answer_has_the_headers_that_clients_read(house: House) -> None:
    reply = generate(house)
    headers = reply.headers
    assert headers["x-request-id"].startswith("req_")
    assert int(headers["openai-processing-ms"]) >= 0
    assert headers["x-ratelimit-limit-requests"] == "50"  # of two keys each has half
    assert headers["x-ratelimit-remaining-requests"] == "50"
    assert headers["x-content-type-options"] == "nosniff"
    again = generate(house)
    assert again.headers["x-request-id"] != headers["x-request-id"]


def test_an_address_is_fetched_without_a_key_and_ends_in_hex_png(house: House) -> None:
    url = generate(house, seed=9).json()["data"][0]["url"]
    assert url.startswith(f"{house.url}/files/")
    reply = house.raw("GET", url.removeprefix(house.url), {"host": "127.0.0.1"})
    assert reply.status == 200 and reply.headers["content-type"] == "image/png"
    assert picture(reply.content) == ((1024, 1024), grey(9))
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_an_address_never_comes_from_the_host_header(house: House) -> None:
    body = json.dumps({"prompt": "a fox"}).encode()
    forged = {"host": "localhost:1", "x-forwarded-host": "evil.example", **BEARER}
    reply = house.raw("POST", "/v1/images/generations", forged, body)
    assert json.loads(reply.content)["data"][0]["url"].startswith(f"{house.url}/files/")


def test_an_address_begins_with_the_public_url(tmp_path: Path) -> None:
    with a_house(tmp_path, public_url="https://draw.example/unclip/") as house:
        url = generate(house).json()["data"][0]["url"]
    assert url.startswith("https://draw.example/unclip/files/")


def test_an_address_expires(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    path = generate(house).json()["data"][0]["url"].removeprefix(house.url)
    for minutes, status in ((59, 200), (61, 404)):
        clock = SimpleNamespace(time=lambda more=60 * minutes: time.time() + more)
        monkeypatch.setattr(routes_site, "time", clock)
        assert house.raw("GET", path, {"host": "localhost"}).status == status


def test_models_are_listed_under_every_prefix(house: House) -> None:
    with house.client() as client:
        for prefix in ("/v1", "/openai", "/openai/v1"):
            names = [one["id"] for one in client.get(f"{prefix}/models").json()["data"]]
            assert names == ["tiny", "dall-e-2", "gpt-image-1"]
        assert client.get("/v1/models/dall-e-2").json()["id"] == "dall-e-2"
        missing = client.get("/v1/models/no/such")
    assert missing.status_code == 404
    assert error_of(missing.content)["code"] == "model_not_found"


@pytest.mark.parametrize("prefix", ["/openai/deployments/dall-e-2/images", "/openai/v1/images"])
def test_azures_paths_are_the_same_routes(house: House, prefix: str) -> None:
    key = {"api-key": BEARER["authorization"].removeprefix("Bearer ")}
    path = f"{prefix}/generations?api-version=2024-02-01"
    body = json.dumps({"prompt": "a fox", "seed": 3}).encode()
    reply = house.raw("POST", path, {"host": "localhost", **key}, body)
    assert reply.status == 200 and json.loads(reply.content)["data"][0]["seed"] == 3


def test_a_deployment_that_is_not_served_is_404(house: House) -> None:
    with house.client() as client:
        path = "/openai/deployments/other/images/generations"
        reply = client.post(path, json={"prompt": "a fox"})
    assert reply.status_code == 404 and error_of(reply.content)["code"] == "model_not_found"


def test_no_route_and_a_wrong_method_are_errors_of_the_same_form(house: House) -> None:
    with house.client() as client:
        lost, wrong = client.get("/v1/nothing"), client.get("/v1/images/generations")
        base = client.post("/images/generations", json={})
    assert lost.status_code == 404 and error_of(lost.content)["code"] == "unknown_url"
    assert wrong.status_code == 405 and error_of(wrong.content)["code"] == "method_not_supported"
    assert "POST" in wrong.headers["allow"]
    assert "ends in /v1" in error_of(base.content)["message"]


def events(text: str) -> list[tuple[str, Any]]:
    """(name, data) of every event."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields:
            found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found


def test_a_stream_has_previews_and_then_the_picture(house: House) -> None:
    reply = generate(house, stream=True, partial_images=2, seed=5, model="gpt-image-1")
    assert reply.headers["content-type"].startswith("text/event-stream")
    told = events(reply.text)
    assert [name for name, _ in told] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [one["partial_image_index"] for _, one in told[:2]] == [0, 1]
    assert picture(base64.b64decode(told[-1][1]["b64_json"]))[1] == grey(5)


def test_an_error_in_a_stream_is_data_that_clients_raise(house: House) -> None:
    failure = {"code": "usage", "message": "steps must be fewer", "field": "steps"}
    house.worker.fails = lambda spec: failure
    try:
        reply = generate(house, stream=True)
    finally:
        house.worker.fails = lambda spec: None
    (told,) = events(reply.text)
    assert told[0] == "" and told[1]["error"]["param"] == "steps"


def test_what_the_worker_refuses_is_400_before_it_is_queued(house: House) -> None:
    failure = {"code": "usage", "message": "prior must be one of a, b", "field": "prior"}
    house.worker.refuses = lambda spec: failure
    try:
        reply = generate(house, prior="c")
    finally:
        house.worker.refuses = lambda spec: None
    assert reply.status_code == 400 and error_of(reply.content)["param"] == "prior"


@pytest.mark.parametrize(("code", "status"), [("memory", 503), ("worker_died", 500)])
def test_a_failed_job_says_why(house: House, code: str, status: int) -> None:
    house.worker.fails = lambda spec: {"code": code, "message": "no luck", "field": None}
    try:
        reply = generate(house)
    finally:
        house.worker.fails = lambda spec: None
    assert reply.status_code == status and "no luck" in error_of(reply.content)["message"]


def _joined(threads: list[threading.Thread], found: list[Any]) -> list[Any]:
    for thread in threads:
        thread.join(30)
    return found


def waiting(house: House, count: int) -> None:
    """Until so many jobs have not ended."""
    for _ in range(500):
        counts = house.engine.store.counts()
        if counts["queued"] + counts["running"] == count:
            return
        time.sleep(0.01)
    raise AssertionError(counts)


def test_a_full_queue_is_429_at_once_with_a_time_to_come_back(tmp_path: Path) -> None:
    with a_house(tmp_path, queued=1) as house:
        house.worker.go.clear()
        threads = []
        for queued in (0, 1):  # one runs, one waits
            threads.append(threading.Thread(target=generate, args=(house,)))
            threads[-1].start()
            waiting(house, queued + 1)
            while house.engine.store.counts()["queued"] != queued:
                time.sleep(0.01)
        began = time.perf_counter()
        reply = generate(house)
        took = time.perf_counter() - began
        house.worker.go.set()
        _joined(threads, [])
    assert reply.status_code == 429 and error_of(reply.content)["code"] == "rate_limit_exceeded"
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert took < 0.5  # 50 ms on a machine of its own: benchmarks/serve.py


def test_a_retry_joins_the_first_and_an_equal_request_does_not(tmp_path: Path) -> None:
    with a_house(tmp_path) as house:
        house.worker.go.clear()
        again = {"x-stainless-retry-count": "1"}

        def ask(**headers: str) -> Any:
            with house.client(headers=headers) as client:
                return client.post("/v1/images/generations", json={"prompt": "a fox"}).json()

        threads, found = [], []
        for headers, jobs in (({}, 1), ({}, 2), (again, 2)):
            run = threading.Thread(target=lambda more=headers: found.append(ask(**more)))
            run.start()
            threads.append(run)
            waiting(house, jobs)
        time.sleep(0.3)
        waiting(house, 2)
        house.worker.go.set()
        _joined(threads, [])
    urls = sorted(one["data"][0]["url"] for one in found)
    assert len(urls) == 3 and len(set(urls)) == 2  # the retry got what the last one drew


def test_a_client_that_leaves_gives_its_job_up_after_a_while(tmp_path: Path) -> None:
    with a_house(tmp_path, patience=0.2) as house:
        house.worker.go.clear()
        with house.client() as client:
            client.timeout = 0.3
            with pytest.raises(Exception, match="timed out"):
                client.post("/v1/images/generations", json={"prompt": "a fox"})
        waiting(house, 0)
        assert house.engine.store.counts()["cancelled"] == 1


def test_a_client_that_comes_back_finds_its_job_going_on(tmp_path: Path) -> None:
    with a_house(tmp_path, patience=5) as house:
        house.worker.go.clear()
        with house.client() as client:
            with pytest.raises(Exception, match="timed out"):
                client.post("/v1/images/generations", json={"prompt": "a fox"}, timeout=0.3)
            house.worker.go.set()
            again = {"x-stainless-retry-count": "1"}
            reply = client.post("/v1/images/generations", json={"prompt": "a fox"}, headers=again)
        assert reply.status_code == 200
        assert house.engine.store.counts()["cancelled"] == 0


@pytest.mark.parametrize("header", ["x-stainless-read-timeout", "x-stainless-timeout"])
def test_a_clients_time_limit_gets_an_answer_before_it(tmp_path: Path, header: str) -> None:
    with a_house(tmp_path) as house:
        house.worker.go.clear()
        with house.client(headers={header: "2"}) as client:
            reply = client.post("/v1/images/generations", json={"prompt": "a fox"})
    assert 1500 < int(reply.headers["openai-processing-ms"]) < 2000
    assert reply.status_code == 503 and "retry-after" in reply.headers


def test_a_server_that_stops_takes_nothing_more_and_is_not_ready(tmp_path: Path) -> None:
    with a_house(tmp_path) as house:
        with house.client() as client:
            assert client.get("/readyz").json() == {"status": "ready"}
        house.engine.draining = True
        reply = generate(house)
        with house.client() as client:
            ready, healthy = client.get("/readyz"), client.get("/healthz")
    assert reply.status_code == 503 and int(reply.headers["retry-after"]) <= 60
    assert ready.status_code == 503 and error_of(ready.content)
    assert healthy.status_code == 200


def test_who_waits_when_the_server_has_stopped_is_sent_away(tmp_path: Path) -> None:
    with a_house(tmp_path) as house:
        house.worker.go.clear()
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(generate(house)))
        thread.start()
        waiting(house, 1)
        house.loop.call_soon_threadsafe(house.app.state.serving.stopped.set)
        thread.join(30)
    assert found[0].status_code == 503


def test_one_key_leaves_room_for_others(tmp_path: Path) -> None:
    with a_house(tmp_path, queued=4) as house:
        house.worker.go.clear()
        threads = []
        for count in (1, 2, 3):  # one runs, two wait
            threads.append(threading.Thread(target=generate, args=(house,)))
            threads[-1].start()
            waiting(house, count)
        refused = generate(house)
        assert refused.status_code == 429
        native = {"ability": "generate", "fields": {"prompt": "a fox"}}
        with house.client() as greedy, house.client(headers=STRANGER) as other:
            assert greedy.post("/v1/jobs", json=native).status_code == 429
            assert other.post("/v1/jobs", json=native).status_code == 202
        house.worker.go.set()
        _joined(threads, [])


def test_a_full_queue_stores_no_upload_not_even_of_a_retry(tmp_path: Path) -> None:
    with a_house(tmp_path, queued=1) as house:
        house.worker.go.clear()
        threads = []
        for count in (1, 2):
            threads.append(threading.Thread(target=generate, args=(house,)))
            threads[-1].start()
            waiting(house, count)
        with house.client(headers={"x-stainless-retry-count": "1"}) as client:
            reply = client.post("/v1/images/variations", files={"image": png((8, 8))})
        assert reply.status_code == 429
        assert not [one for one in (tmp_path / "inputs").rglob("*") if one.is_file()]
        house.worker.go.set()
        _joined(threads, [])


def test_metrics_count_requests_and_pictures(tmp_path: Path) -> None:
    with a_house(tmp_path) as house:
        assert generate(house, n=3).status_code == 200
        with house.client() as client:
            ask = {"ability": "generate", "fields": {"prompt": "a fox"}}
            job = client.post("/v1/jobs", json=ask).json()["id"]
            client.get(f"/v1/jobs/{job}/events")
            text = client.get("/metrics").text
    route = '{method="POST",route="/v1/images/generations",status="200"}'
    assert f"unclip_requests_total{route} 1.0" in text
    assert "unclip_pictures_total 4.0" in text
    assert 'unclip_jobs{state="done"} 2.0' in text
    assert "unclip_batch_pictures_count 2.0" in text
    assert "unclip_job_run_seconds_count 2.0" in text
    assert f"unclip_steps_total {20.0 * house.worker.steps}" in text
    memory = 'unclip_worker_memory_bytes{kind="%s",worker="0"} %s'
    assert memory % ("machine", 1000.0) in text and memory % ("accelerator", 0.0) in text
    assert "a fox" not in text


def test_the_log_has_prompts_only_where_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "unclip.server")
    for wanted in (False, True):
        caplog.clear()
        with a_house(tmp_path / str(wanted), log_prompts=wanted) as house:
            generate(house)
        lines = [json.loads(one) for one in caplog.messages if one.startswith("{")]
        (line,) = [one for one in lines if one.get("path") == "/v1/images/generations"]
        assert line["status"] == 200 and line["job"] and line["request_id"]
        assert line.get("prompt") == ("a fox" if wanted else None)


@pytest.mark.parametrize("wanted", [False, True])
def test_what_files_tell_of_themselves_is_the_operators_choice(
    tmp_path: Path, wanted: bool
) -> None:
    with a_house(tmp_path, record=wanted, marked=not wanted) as house:
        generate(house)
        finish = house.worker.drawn[-1]["spec"]["finish"]
    assert (finish["record"], finish["marked"]) == (wanted, not wanted)


def test_a_proxys_path_is_taken_away_or_has_been(tmp_path: Path) -> None:
    with a_house(tmp_path, root_path="/draw") as house, house.client() as client:
        for path in ("/draw/v1/models", "/v1/models"):
            assert client.get(path).status_code == 200
        url = generate(house).json()["data"][0]["url"]
        assert url.startswith(f"{house.url}/draw/files/")
        assert client.get(url).status_code == 200


def test_an_edit_begins_from_its_files(house: House) -> None:
    open_png = png((64, 64), (9, 9, 9, 0), "RGBA")
    with house.client() as client:
        files = {"image": ("image.png", open_png, "image/png")}
        reply = client.post("/v1/images/edits", files=files, data={"prompt": "a cat"})
        assert reply.status_code == 200, reply.text
        reply = client.post("/openai/images/variations?api-version=1", files=files)
    assert reply.status_code == 200, reply.text
    assert {*house.worker.drawn[-1]["inputs"]} == {"image"}
