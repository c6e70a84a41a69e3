"""`unclip mcp`, asked by the protocol's own client, over a real server with a fake worker."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from PIL import Image

from unclip.cli.mcp import Mcp
from unclip.errors import UsageError
from unclip.server.mcp import CAPABILITIES, TOOLS, Tools, make_server
from unclip.server.remote import Remote, events
from unclip.server.run import listening

from .fakes import NATIVE, grey, png
from .house import KEY, House, a_house

Work = Callable[[Client], Awaitable[None]]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that several tests ask."""
    with a_house(tmp_path_factory.mktemp("data")) as made:
        yield made


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """Of the protocol: without and with its handshake."""
    return str(request.param)


def run(
    url: str, work: Work, key: str = KEY, folders: tuple[Path, ...] = (), mode: str = "auto"
) -> None:
    """Do something with a client of the tools."""

    async def within() -> None:
        async with Remote(url, key) as remote:
            server = make_server(Tools(remote, folders))
            async with Client(server, mode=mode) as client:
                with anyio.fail_after(30):
                    await work(client)

    anyio.run(within)


def pictures(result: Any) -> list[Image.Image]:
    """Those of a result."""
    assert not result.is_error, result.content
    found = [one for one in result.content if one.type == "image"]
    opened = [Image.open(io.BytesIO(base64.b64decode(one.data))) for one in found]
    formats = [(picture.format or "").lower() for picture in opened]
    assert [one.mime_type for one in found] == [f"image/{kind}" for kind in formats]
    return opened


def refused(result: Any) -> str:
    """The line of a tool's error."""
    assert result.is_error
    (one,) = result.content
    assert "\n" not in one.text
    return str(one.text)


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_pictures_come_as_contents_and_by_url_with_progress(house: House, mode: str) -> None:
    shares: list[tuple[float, float | None, str | None]] = []

    async def on_progress(share: float, total: float | None, text: str | None) -> None:
        shares.append((share, total, text))

    async def work(client: Client) -> None:
        asked = {"prompt": "a fox", "n": 2, "seed": 40, "size": "32x16", "format": "webp"}
        result = await client.call_tool("generate", asked, progress_callback=on_progress)
        drawn = pictures(result)
        assert [one.size for one in drawn] == [(32, 16)] * 2
        told: Any = result.structured_content
        assert (told["state"], [one["seed"] for one in told["pictures"]]) == ("done", [40, 41])
        for one in told["pictures"]:
            assert httpx2.get(one["url"]).headers["content-type"] == "image/webp"
            text: Any = result.content[0]
            assert one["url"] in text.text and one["id"] in text.text

    run(house.url, work, mode=mode)
    values = [share for share, _, _ in shares]
    assert values == sorted(set(values)) and values[-1] == 1.0 and len(values) >= 3
    assert {total for _, total, _ in shares} == {1.0}
    assert any(text and "decoder, step" in text for _, _, text in shares)


def test_a_result_is_edited_and_varied_by_its_id_or_url(house: House) -> None:
    async def work(client: Client) -> None:
        first: Any = await client.call_tool("generate", {"prompt": "a fox", "seed": 7})
        (one,) = first.structured_content["pictures"]
        by_box = {"image": one["id"], "prompt": "a cat", "box": [0, 0, 8, 8], "seed": 9}
        (edited,) = pictures(await client.call_tool("edit", by_box))
        assert edited.convert("RGB").getpixel((0, 0)) == grey(9)
        (varied,) = pictures(await client.call_tool("vary", {"image": one["url"], "seed": 3}))
        assert varied.size == NATIVE
        whole = {"image": one["id"], "prompt": "a cat", "strength": 0.5}
        pictures(await client.call_tool("edit", whole))

    before = len(house.worker.drawn)
    run(house.url, work)
    specs = [job["spec"] for job in house.worker.drawn[before:]]
    assert [one["ability"] for one in specs] == ["generate", "edit", "vary", "img2img"]
    assert specs[1]["fields"]["box"] == [0, 0, 8, 8]
    assert specs[3]["fields"]["strength"] == 0.5
    assert len({one["inputs"]["image"] for one in specs[1:]}) == 1


def test_settings_reach_the_job(house: House) -> None:
    async def work(client: Client) -> None:
        asked = {"prompt": "a fox", "steps": 9, "guidance_scale": 3.5, "negative_prompt": "a car"}
        pictures(await client.call_tool("generate", asked))

    run(house.url, work)
    fields = house.worker.drawn[-1]["spec"]["fields"]
    assert fields["settings"] == {"steps": 9, "guidance_scale": 3.5}
    assert fields["negative_prompt"] == "a car"


def test_without_a_seed_each_call_draws_another_picture(house: House) -> None:
    async def work(client: Client) -> None:
        for _ in range(2):
            pictures(await client.call_tool("generate", {"prompt": "a fox"}))

    run(house.url, work)
    first, second = (job["spec"]["fields"]["seed"] for job in house.worker.drawn[-2:])
    assert first != second


def test_a_mask_and_a_picture_come_as_data_or_from_a_folder(house: House, tmp_path: Path) -> None:
    image, mask = png(NATIVE, (9, 9, 9)), png(NATIVE, 255, "L")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "fox.png").write_bytes(image)
    (tmp_path / "secret.png").write_bytes(image)
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")

    async def work(client: Client) -> None:
        asked = {"image": str(tmp_path / "in" / "fox.png"), "prompt": "a cat"}
        pictures(await client.call_tool("edit", {**asked, "mask": data_url(mask)}))
        for path in ("secret.png", "in/../secret.png", "in/link.png"):
            other = {**asked, "image": str(tmp_path / path)}
            assert "image must be a file in" in refused(await client.call_tool("edit", other))
        gone = {**asked, "image": str(tmp_path / "in" / "none.png")}
        assert "cannot read" in refused(await client.call_tool("edit", gone))

    run(house.url, work, folders=(tmp_path / "in",))
    assert set(house.worker.drawn[-1]["spec"]["inputs"]) == {"image", "mask"}


def test_without_a_folder_no_file_is_read(house: House) -> None:
    async def work(client: Client) -> None:
        result = await client.call_tool("vary", {"image": __file__})
        assert "--folder DIR" in refused(result)

    run(house.url, work)


@pytest.mark.parametrize(
    ("tool", "asked", "text"),
    [
        ("generate", {}, "prompt"),
        ("generate", {"prompt": ""}, "prompt"),
        ("generate", {"prompt": "a fox", "n": 11}, "n must be at most 10"),
        ("generate", {"prompt": "a fox", "size": "wide"}, "size"),
        ("generate", {"prompt": "a fox", "size": "9999x1"}, "finish.size"),
        ("generate", {"prompt": "a fox", "sed": 7}, "did you mean 'seed'"),
        ("generate", {"prompt": "a fox", "model": "other"}, "other"),
        ("vary", {"image": "f" * 32}, "there is no such picture"),
        ("vary", {"image": "data:image/png;base64,%%"}, "image must begin with data:"),
        ("vary", {"image": data_url(b"<svg/>")}, "picture"),
        ("edit", {"image": "f" * 32, "mask": "e" * 32, "box": [0, 0, 1, 1], "prompt": "a"}, "no"),
        ("job", {"id": "f" * 32}, "There is no such job."),
        ("job", {"id": "../../v1/models"}, "id"),
        ("draw", {}, "there is no tool 'draw'"),
    ],
)
def test_a_fault_is_an_error_of_the_tool_in_one_line(
    house: House, tool: str, asked: dict[str, Any], text: str
) -> None:
    async def work(client: Client) -> None:
        assert text in refused(await client.call_tool(tool, asked))

    run(house.url, work)


def test_why_a_job_failed_is_said(house: House) -> None:
    reason = {"code": "content_policy", "message": "the prompt is refused: no", "field": "prompt"}
    house.worker.fails = lambda spec: reason if spec["fields"].get("seed") == 99 else None

    async def work(client: Client) -> None:
        result = await client.call_tool("generate", {"prompt": "a fox", "seed": 99})
        assert refused(result) == "the prompt is refused: no"

    run(house.url, work)


def test_a_job_is_begun_looked_after_and_cancelled(house: House) -> None:
    async def work(client: Client) -> None:
        house.worker.go.clear()
        asked = {"prompt": "a fox", "wait": False}
        first: Any = (await client.call_tool("generate", asked)).structured_content
        second: Any = (await client.call_tool("generate", asked)).structured_content
        looked: Any = (await client.call_tool("job", {"id": second["job"]})).structured_content
        assert (looked["state"], looked["pictures"]) == ("queued", [])
        stopped: Any = await client.call_tool("job", {"id": second["job"], "cancel": True})
        assert stopped.structured_content["state"] == "cancelled"
        house.loop.call_soon_threadsafe(house.worker.go.set)
        ended = await client.call_tool("job", {"id": first["job"], "wait": True})
        assert len(pictures(ended)) == 1

    try:
        run(house.url, work)
    finally:
        house.loop.call_soon_threadsafe(house.worker.go.set)


def test_who_gives_up_a_call_cancels_its_job(house: House, mode: str) -> None:
    async def work(client: Client) -> None:
        house.worker.go.clear()
        with anyio.move_on_after(0.5):
            await client.call_tool("generate", {"prompt": "a fox", "seed": 12345})
        job = next(one for one in house.engine.store.jobs(owner()) if seed(one) == 12345)
        await anyio.to_thread.run_sync(until, lambda: state(job.id) == "cancelled")

    def state(job: str) -> str:
        found = house.engine.store.job(job)
        return found.state if found else ""

    def owner() -> str:
        return house.app.state.serving.options.keys[0].owner  # type: ignore[no-any-return]

    def seed(job: Any) -> int:
        return int(job.spec.fields.get("seed", 0))

    try:
        run(house.url, work, mode=mode)
    finally:
        house.loop.call_soon_threadsafe(house.worker.go.set)


def test_a_wrong_key_and_no_server_are_said(house: House) -> None:
    async def wrong(client: Client) -> None:
        text = refused(await client.call_tool("generate", {"prompt": "a fox"}))
        assert "API key" in text and "--api-key-file" in text

    async def none(client: Client) -> None:
        text = refused(await client.call_tool("generate", {"prompt": "a fox"}))
        assert "no server answers" in text and "unclip serve" in text

    run(house.url, wrong, key="sk-wrong-0123456789abcdef")
    with closing(listening("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run(f"http://127.0.0.1:{port}", none)


def test_tools_are_described_for_whoever_chooses_among_them(house: House) -> None:
    async def work(client: Client) -> None:
        found = {one.name: one for one in (await client.list_tools()).tools}
        assert found.keys() == TOOLS.keys() == {"generate", "edit", "vary", "job"}
        for one in found.values():
            assert one.description and one.input_schema["additionalProperties"] is False
            for name, about in one.input_schema["properties"].items():
                assert about.get("description"), name
        (resource,) = (await client.list_resources()).resources
        assert str(resource.uri) == CAPABILITIES
        content: Any = (await client.read_resource(CAPABILITIES)).contents[0]
        assert '"words": ["fox", "car"]' in content.text

    run(house.url, work)


def test_a_client_of_the_command_itself_gets_its_picture(house: House, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    key.write_text(f"# mine\n{KEY}\n")
    words = ["-m", "unclip.cli", "mcp", "--url", f"{house.url}/v1", "--api-key-file", str(key)]
    command = StdioServerParameters(
        command=sys.executable, args=words, env={"PYTHONPATH": os.pathsep.join(sys.path)}
    )

    async def work() -> None:
        with anyio.fail_after(60):
            async with Client(command) as client:
                result = await client.call_tool("generate", {"prompt": "a fox", "seed": 5})
                (drawn,) = pictures(result)
                assert drawn.convert("RGB").getpixel((0, 0)) == grey(5)

    anyio.run(work)


@pytest.mark.parametrize("way", ["signal", "stdin ends"])
def test_a_command_that_ends_cancels_what_it_waits_for(house: House, way: str) -> None:
    client = {"protocolVersion": "2025-06-18", "capabilities": {}}
    client["clientInfo"] = {"name": "test", "version": "1"}
    asked = {"name": "generate", "arguments": {"prompt": "a fox", "seed": 777}}
    messages = [
        {"id": 1, "method": "initialize", "params": client},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": asked},
    ]
    lines = "".join(json.dumps({"jsonrpc": "2.0", **one}) + "\n" for one in messages)
    words = [sys.executable, "-m", "unclip.cli", "mcp", "--url", house.url]
    env = {**os.environ, "UNCLIP_API_KEY": KEY, "PYTHONPATH": os.pathsep.join(sys.path)}
    before = len(house.worker.drawn)
    house.worker.go.clear()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as command:
        assert command.stdin is not None
        command.stdin.write(lines.encode())
        command.stdin.flush()
        until(lambda: len(house.worker.drawn) > before)
        command.send_signal(signal.SIGTERM) if way == "signal" else command.stdin.close()
        assert command.wait(10) == (130 if way == "signal" else 0)
    job = house.worker.drawn[-1]["id"]
    until(lambda: house.engine.store.job(job).state == "cancelled")  # type: ignore[union-attr]
    house.loop.call_soon_threadsafe(house.worker.go.set)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    for _ in range(500):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come")


def test_a_job_is_followed_on_after_the_connection_is_lost(tmp_path: Path) -> None:
    told: list[str] = []

    async def ended(url: str) -> Any:
        async with Remote(url, KEY) as remote:
            asked = {"ability": "generate", "fields": {"prompt": "a fox", "seed": 3}}
            job = await remote.submit(asked)
            lost = 0

            async def tell(kind: str, data: Any) -> None:
                nonlocal lost
                told.append(kind)
                if kind == "step" and not lost:
                    lost = 1
                    raise httpx2.ReadError("the server went away")

            return await remote.follow(job["id"], tell)

    with a_house(tmp_path) as house:
        job = anyio.run(ended, house.url)
    assert job["state"] == "done" and told[-1] == "done"


def test_events_are_read_as_the_server_writes_them() -> None:
    async def lines() -> Any:
        for line in (
            ": waiting",
            "",
            "id: 1",
            "event: queued",
            'data: {"place":2}',
            "",
            "event: x",
        ):
            yield line

    async def read() -> list[Any]:
        return [one async for one in events(lines())]

    assert anyio.run(read) == [("queued", {"place": 2})]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"url": "draw.example"}, "url must be such as"),
        ({"api_key_file": Path("none.txt")}, "cannot read none.txt"),
        ({"folder": [Path("none")]}, "--folder must be a folder"),
    ],
)
def test_what_the_command_cannot_use_is_said_before_it_serves(
    words: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        Mcp(**words).run()


def test_without_the_package_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "unclip.server.mcp")
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    with pytest.raises(UsageError, match=r"this needs mcp_types: pip install 'unclip\[mcp\]'"):
        Mcp().run()
