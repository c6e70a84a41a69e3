"""Models of the hub, against a server that speaks as the hub does."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from unclip.cli import main
from unclip.errors import CheckpointError, OutputError, UnclipError, UsageError
from unclip.hub import Ref, fetch, parse, pulled, remove
from unclip.hub._library import hub_errors
from unclip.hub.cache import is_sound
from unclip.hub.names import File, choose

pytest.importorskip("huggingface_hub")

FIRST, SECOND = "1" * 40, "2" * 40
BIG = bytes(range(256)) * 6000  # 1.5 MB: large enough to be taken up again
FILES = {
    "model_index.json": b'{"_class_name": "UnCLIPPipeline"}',
    "README.md": b"# a model",
    "script.py": b"raise SystemExit",
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": BIG,
    "unet/diffusion_pytorch_model.fp16.safetensors": BIG[:100],
    "unet/diffusion_pytorch_model.bin": b"the same as a pickle",
    "text/model.safetensors": b"small weights",
}
CHOSEN = {
    "model_index.json",
    "README.md",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "text/model.safetensors",
}


def is_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".pth"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub(ThreadingHTTPServer):
    """`org/name` with a branch, a tag and two commits; and what was asked of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refs = {"main": FIRST, "v1": FIRST}
        self.commits = {FIRST: dict(FILES), SECOND: {**FILES, "README.md": b"# newer"}}
        self.served: dict[str, bytes] = {}  # in place of what the listing promises
        self.answer: bytes | None = None  # in place of a model's description
        self.silent = ""  # the route whose requests are not answered
        self.closing = threading.Event()
        self.cut: int | None = None  # a large file ends after so many bytes, then nothing comes
        self.piece: int | None = None  # of a large file so many bytes come at a time
        self.stalls = False  # after a piece nothing comes any more
        self.ranges = True  # whether a part of a file can be asked for
        self.gets: list[tuple[str, str | None]] = []  # path, Range
        self.tokens: set[tuple[str, str | None]] = set()  # first part of the path, Authorization
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """A client that has gone is none."""

    def commit(self, revision: str) -> str | None:
        found = self.refs.get(revision, revision)
        return found if found in self.commits else None


class Handler(BaseHTTPRequestHandler):
    """The few routes of the hub that a download needs."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.tokens.add((path.split("/")[1], self.headers.get("Authorization")))
        if self.command == "GET":
            with self.server.lock:
                self.server.gets.append((path, self.headers.get("Range")))
        for pattern, answer in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and answer.__name__ == self.server.silent:
                self.server.closing.wait(20)
                return None
            if match:
                return answer(self, *match.groups())
        return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def reply_json(self, value: Any) -> None:
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def info(self, revision: str) -> None:
        if self.server.answer is not None:
            return self.reply(200, self.server.answer, {"Content-Type": "application/json"})
        commit = self.server.commit(revision)
        if commit is None:
            return self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
        siblings = []
        for name, data in self.server.commits[commit].items():
            one: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
            if is_lfs(name):
                one["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
            siblings.append(one)
        return self.reply_json(
            {"_id": "0", "id": "org/name", "modelId": "org/name", "sha": commit,
             "siblings": siblings, "private": False, "tags": [], "downloads": 0, "likes": 0}
        )  # fmt: skip

    def tree(self, revision: str) -> None:
        rows = []
        for name, data in self.server.commits[self.server.commit(revision) or ""].items():
            one: dict[str, Any] = {"type": "file", "path": name, "size": len(data)}
            one["oid"] = git_sha1(data)
            if is_lfs(name):
                one["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
            rows.append(one)
        self.reply_json(rows)

    def resolve(self, revision: str, name: str) -> None:
        commit = self.server.commit(revision)
        files = self.server.commits[commit or ""]
        if name not in files:
            return self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
        data = files[name]
        headers = {"X-Repo-Commit": commit or "", "ETag": f'"{git_sha1(data)}"'}
        if not is_lfs(name):
            return self.reply(200, self.server.served.get(name, data), headers)
        headers["X-Linked-Etag"] = f'"{sha256(data)}"'
        headers["X-Linked-Size"] = str(len(data))
        elsewhere = self.server.url.replace("127.0.0.1", "localhost")  # another host, as it is
        headers["Location"] = f"{elsewhere}/cdn/{commit}/{name}"
        return self.reply(302, b"", headers)

    def cdn(self, commit: str, name: str) -> None:
        data = self.server.served.get(name, self.server.commits[commit][name])
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked and self.server.ranges else 0
        if self.server.cut is not None and len(data) > 10**6:
            if start:
                return self.reply(503, b"")
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: self.server.cut])
            self.close_connection = True
            return None
        rest = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        if self.server.piece is not None and len(data) - start > self.server.piece:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:][: self.server.piece])
            self.close_connection = True
            if self.server.stalls:
                self.server.closing.wait(20)
            return None
        return self.reply(206 if start else 200, data[start:], rest)


ROUTES = (
    (r"/api/models/org/name/revision/(.+)", Handler.info),
    (r"/api/models/org/name/tree/(.+)", Handler.tree),
    (r"/org/name/resolve/([^/]+)/(.+)", Handler.resolve),
    (r"/cdn/([^/]+)/(.+)", Handler.cdn),
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The server, and an environment that knows no other and an empty cache."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def names_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_what_a_loader_needs_is_fetched_and_no_more(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch("hub:org/name", lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "home" / "hub" / "models--org--name" / "snapshots" / FIRST
    assert names_in(path) == CHOSEN
    assert all((path / name).read_bytes() == FILES[name] for name in CHOSEN)
    total = sum(len(FILES[name]) for name in CHOSEN)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({done for done, _ in seen}) > 10  # the large file is seen to grow


def test_a_token_is_for_the_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    fetch("org/name")
    assert hub.tokens == {("api", "Bearer secret"), ("org", "Bearer secret"), ("cdn", None)}


def test_again_fetches_nothing(hub: Hub) -> None:
    path = fetch("hub:org/name")
    hub.gets.clear()
    assert fetch("org/name") == path
    assert not [get for get, _ in hub.gets if "/cdn/" in get or "/resolve/" in get]


def test_a_download_goes_on_where_it_was_cut(hub: Hub) -> None:
    hub.cut = 10**6
    with pytest.raises(CheckpointError, match=f"the hub at {hub.url} could not be read"):
        fetch("org/name", fresh=True)
    [part] = (Path(pulled_folder()) / "blobs").glob("*.incomplete")
    held = part.stat().st_size
    assert 9 * 10**5 < held <= 10**6
    assert pulled() == []
    hub.cut = None
    hub.gets.clear()
    path = fetch("org/name")
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (path / name).read_bytes() == BIG
    assert [(get, span) for get, span in hub.gets if get.endswith(name) and "/cdn/" in get] == [
        (f"/cdn/{FIRST}/{name}", f"bytes={held}-")
    ]
    assert not part.exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_again_and_again(ranges: bool, hub: Hub) -> None:
    """One call goes on as long as something comes, and begins anew where it has to."""
    name = "unet/diffusion_pytorch_model.safetensors"
    seen: list[int] = []
    hub.piece, hub.ranges = 4 * 10**5, ranges
    if ranges:
        assert (fetch("org/name", lambda done, _: seen.append(done)) / name).read_bytes() == BIG
        assert seen == sorted(seen)
        assert len([get for get, _ in hub.gets if get.endswith(name) and "/cdn/" in get]) == 4
    else:
        with pytest.raises(CheckpointError, match="could not be read"):
            fetch("org/name")
        hub.piece = None
        assert (fetch("org/name") / name).read_bytes() == BIG


def test_a_hub_that_falls_silent_within_a_file(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unclip.hub.SILENCE", 0.3)
    hub.piece, hub.stalls = 14 * 10**5, True
    hub.ranges = False
    with pytest.raises(CheckpointError, match="stopped responding"):
        fetch("org/name")
    hub.piece = None
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (fetch("org/name") / name).read_bytes() == BIG


def pulled_folder() -> str:
    import os

    return os.path.join(os.environ["HF_HOME"], "hub", "models--org--name")


@pytest.mark.parametrize(
    "name", ["unet/diffusion_pytorch_model.safetensors", "text/model.safetensors", "README.md"]
)
def test_what_is_not_what_was_promised_is_refused_and_removed(name: str, hub: Hub) -> None:
    good = FILES[name]
    hub.served[name] = good[:-1] + b"?"
    with pytest.raises(CheckpointError, match=rf"{name} of hub:org/name does not match .* digest"):
        fetch("org/name")
    wrong = hub.served.pop(name)
    files = [file for file in Path(pulled_folder()).rglob("*") if file.is_file()]
    assert not [file for file in files if file.read_bytes() == wrong]
    assert pulled() == []
    assert (fetch("org/name") / name).read_bytes() == good


def test_a_file_that_is_damaged_later_is_fetched_anew(hub: Hub) -> None:
    path = fetch("org/name")
    (path / "text/model.safetensors").resolve().unlink()
    assert names_in(fetch("org/name")) == CHOSEN


def test_what_another_program_left_damaged_is_fetched_anew(hub: Hub) -> None:
    path = fetch("org/name")
    (Path(pulled_folder()) / "unclip.json").unlink()
    (path / "text/model.safetensors").resolve().write_bytes(b"small wrights")
    hub.gets.clear()
    assert fetch("org/name") == path
    assert all((path / name).read_bytes() == FILES[name] for name in CHOSEN)
    assert [get for get, _ in hub.gets if "/cdn/" in get] == [
        f"/cdn/{FIRST}/text/model.safetensors"
    ]


@pytest.mark.parametrize("digest", [sha256, git_sha1])
def test_a_digest_takes_no_memory(digest: Callable[[bytes], str], tmp_path: Path) -> None:
    data = bytes(range(256)) * 2**16  # 16 MiB
    path, file = tmp_path / "large", File("large", len(data), digest(data))
    path.write_bytes(data)
    tracemalloc.start()
    try:
        assert is_sound(path, file)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
    assert not is_sound(path, File("large", len(data), digest(data[1:])))


def test_a_revision_is_pinned(hub: Hub) -> None:
    for ref in ("hub:org/name@v1", "org/name@main", f"hub:org/name@{FIRST}"):
        assert fetch(ref).name == FIRST
    hub.refs["main"] = SECOND
    assert fetch("org/name").name == SECOND
    assert fetch("org/name@v1").name == FIRST
    assert (fetch(f"org/name@{FIRST}") / "README.md").read_bytes() == b"# a model"
    hub.gets.clear()
    assert fetch(f"org/name@{FIRST}").name == FIRST
    assert hub.gets == []  # a commit never changes
    assert fetch(f"org/name@{FIRST}", variant="fp16").name == FIRST
    assert hub.gets  # but this was not asked for before


def test_a_branch_whose_commit_is_here_is_known_without_a_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(f"org/name@{FIRST}")
    assert fetch("org/name") == path
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("org/name") == path


def test_without_a_network_the_cache_serves(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch("org/name@v1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.gets.clear()
    assert fetch("org/name@v1") == path
    assert fetch(f"org/name@{FIRST}") == path
    assert fetch("org/name/unet@v1") == path / "unet"
    for ref, what in (("org/name@v2", "@v2"), ("org/other", "org/other")):
        with pytest.raises(CheckpointError, match=rf"{what} is not in the cache .*HF_HUB_OFFLINE"):
            fetch(ref)
    (path / "unet/config.json").unlink()
    with pytest.raises(CheckpointError, match=r"unet/config.json is not in the cache"):
        fetch("org/name@v1")
    assert hub.gets == []


def test_a_hub_that_is_down(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch("org/name")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert fetch("org/name") == path
    for ref, fresh in (("org/name", True), ("org/other", False)):
        with pytest.raises(CheckpointError, match=r"the hub at http://127\.0\.0\.1:9 could not be"):
            fetch(ref, fresh=fresh)


def test_a_pull_that_was_cut_off_is_no_model(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether between two files or within one, and whatever is there already."""
    for name in ("README.md", "unet/diffusion_pytorch_model.safetensors"):
        with monkeypatch.context() as patch:
            hub.served[name] = FILES[name][:-1] + b"?"
            with pytest.raises(CheckpointError, match="does not match the hub's digest"):
                fetch("org/name")
            patch.setenv("HF_HUB_OFFLINE", "1")
            with pytest.raises(CheckpointError, match=r"is not in the cache .*HF_HUB_OFFLINE"):
                fetch("org/name")
        assert pulled() == []
        hub.served.clear()
    path = fetch("org/name")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("org/name") == path


def test_a_second_variant_that_was_cut_off_is_fetched_anew(hub: Hub) -> None:
    name = "unet/diffusion_pytorch_model.safetensors"
    fetch("org/name", variant="fp16")
    hub.served[name] = FILES[name][:-1] + b"?"
    with pytest.raises(CheckpointError, match="does not match the hub's digest"):
        fetch("org/name", fresh=True)
    hub.served.clear()
    assert (fetch("org/name") / name).read_bytes() == BIG


@pytest.mark.parametrize("cause", ["no room", "cut off"])
@pytest.mark.parametrize("first", [None, "fp16"])
def test_cut_off_and_then_the_other_variant(
    first: str | None, cause: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was begun of one keeps nobody from the other, with a network or without."""
    files = {
        None: "unet/diffusion_pytorch_model.safetensors",
        "fp16": "unet/diffusion_pytorch_model.fp16.safetensors",
    }
    other = "fp16" if first is None else None
    with monkeypatch.context() as patch:
        if cause == "no room":
            patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        hub.served[files[first]] = FILES[files[first]][:-1] + b"?"
        with pytest.raises((OutputError, CheckpointError)):
            fetch("org/name", variant=first, fresh=True)
    path = fetch("org/name", variant=other, fresh=True)
    assert (path / files[other]).read_bytes() == FILES[files[other]]
    assert not (path / files[first]).exists()
    assert fetch("org/name", variant=other) == path
    hub.gets.clear()
    assert fetch(f"org/name@{FIRST}", variant=other) == path
    assert hub.gets == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("org/name", variant=other) == fetch("org/name") == path


def test_a_whole_variant_stays_usable_when_another_is_cut_off(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch("org/name")
    name = "unet/diffusion_pytorch_model.fp16.safetensors"
    hub.served[name] = FILES[name][:-1] + b"?"
    with pytest.raises(CheckpointError, match="does not match the hub's digest"):
        fetch("org/name", variant="fp16")
    assert fetch("org/name") == path
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("org/name") == path
    assert fetch("org/name/unet") == path / "unet"


def test_a_part_is_not_the_model_that_was_cut_off(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch("org/name/unet")
    name = "text/model.safetensors"
    hub.served[name] = FILES[name][:-1] + b"?"
    with pytest.raises(CheckpointError, match="does not match the hub's digest"):
        fetch("org/name")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("org/name/unet") == path
    with pytest.raises(CheckpointError, match=rf"{name} is not in the cache"):
        fetch("org/name")


def test_a_first_pull_needs_no_folder(hub: Hub, tmp_path: Path) -> None:
    assert not (tmp_path / "home").exists()
    assert names_in(fetch("org/name")) == CHOSEN


@pytest.mark.parametrize("command", ["convert", "evaluate"])
def test_commands_fetch_the_variant_that_they_are_told(
    command: str, hub: Hub, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    rest = {
        "convert": [str(tmp_path / "new")],
        "evaluate": ["--data", str(tmp_path / "data"), "-o", str(tmp_path / "report.html")],
    }
    assert main([command, "hub:org/name", *rest[command], "--variant", "fp16"]) != 0  # no model
    asked = {get.rpartition("/")[2] for get, _ in hub.gets if "/cdn/" in get}
    assert "diffusion_pytorch_model.fp16.safetensors" in asked
    assert "diffusion_pytorch_model.safetensors" not in asked


@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.safetensors", "README.md"])
def test_more_than_was_promised_is_not_written(name: str, hub: Hub) -> None:
    hub.served[name] = FILES[name] + bytes(10**6)
    message = rf"{name} of hub:org/name: more than the {len(FILES[name])} bytes that the hub ann"
    with pytest.raises(CheckpointError, match=message):
        fetch("org/name")
    files = [file for file in Path(pulled_folder()).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < sum(map(len, FILES.values()))
    assert not [file for file in files if file.name.endswith(".incomplete")]


def test_what_does_not_fit_on_the_disk_is_not_begun(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(
        OutputError, match=r"the download has .* bytes, and .* has room for 1000000"
    ):
        fetch("org/name")
    assert not [get for get, _ in hub.gets if "/resolve/" in get]


@pytest.mark.parametrize("route", ["info", "resolve", "cdn"])
def test_a_silent_hub_is_given_up(route: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unclip.hub.SILENCE", 0.2)
    hub.silent = route
    with pytest.raises(
        CheckpointError, match=rf"the hub at {hub.url} could not be .* stopped resp"
    ):
        fetch("org/name")


def test_a_password_in_the_address_is_never_shown(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "me:swordfish@"
    for url in (hub.url.replace("://", f"://{secret}"), f"http://{secret}127.0.0.1:9"):
        monkeypatch.setenv("HF_ENDPOINT", url)
        hub.answer = b"<html>"
        assert main(["models", "pull", "org/name"]) == 1
        said = capsys.readouterr()
        assert "127.0.0.1" in said.err
        assert "swordfish" not in said.err + said.out


def test_the_signature_of_an_address_is_never_shown() -> None:
    with pytest.raises(CheckpointError) as caught, hub_errors(Ref("org/name")):
        raise OSError("403 Forbidden for url: https://cdn.example/blob?Signature=swordfish&x=1 (0)")
    assert "https://cdn.example/blob (0)" in str(caught.value)
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html><body>Sign in to this network</body></html>",
        b"null",
        b'"a text"',
        b"[]",
        b"{}",
        b"",
        b"\xff\xfe",
        b'{"id": "org/name", "sha": null, "siblings": []}',
        b'{"id": "org/name", "sha": "../../../etc", "siblings": []}',
        b'{"id": "org/name", "sha": "%s", "siblings": null}' % FIRST.encode(),
        b'{"id": "org/name", "sha": "%s", "siblings": [{"rfilename": 3}]}' % FIRST.encode(),
        b'{"id": "org/name", "sha": "%s", "siblings": [{"rfilename": "a.bin", "size": 1e99}]}'
        % FIRST.encode(),
    ],
)
def test_an_answer_that_is_none(
    answer: bytes, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.answer = answer
    assert main(["models", "pull", "org/name"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("unclip: error: ")
    assert "fault in unclip" not in line
    assert not list(Path(pulled_folder()).rglob("*.safetensors"))


def test_what_the_hub_does_not_have(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match="the hub has no model org/other"):
        fetch("org/other")
    with pytest.raises(CheckpointError, match="org/name has no revision 'v9'"):
        fetch("org/name@v9")
    with pytest.raises(CheckpointError, match="hub:org/name/none has no weights"):
        fetch("org/name/none")
    hub.commits[FIRST]["../../escape.safetensors"] = b""
    with pytest.raises(CheckpointError, match=r"the hub names a file '\.\./\.\./escape"):
        fetch("org/name")


def test_a_variant_and_a_part(hub: Hub) -> None:
    path = fetch("org/name/unet", variant="fp16")
    assert path.name == "unet"
    assert names_in(path.parent) == {
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    }
    hub.gets.clear()
    assert fetch("org/name/unet") == path  # whichever is here will do
    assert not [get for get, _ in hub.gets if "/cdn/" in get]
    assert (fetch("org/name/unet", fresh=True) / "diffusion_pytorch_model.safetensors").is_file()
    file = fetch("org/name/unet/diffusion_pytorch_model.bin")
    assert file.read_bytes() == FILES["unet/diffusion_pytorch_model.bin"]


def test_pulled_and_removed(hub: Hub) -> None:
    fetch("org/name@v1")
    hub.refs["main"] = SECOND
    fetch("org/name")
    first, second = pulled()
    assert (first.ref, first.commit) == (Ref("org/name", "v1"), FIRST)
    assert (second.ref, second.commit) == (Ref("org/name"), SECOND)
    assert second.bytes == sum(len(hub.commits[SECOND][name]) for name in CHOSEN)
    for ref, error in (("org/other", CheckpointError), ("org/name/unet", UsageError)):
        with pytest.raises(error):
            remove(ref)
    freed = remove("org/name@v1")
    assert 0 < freed < 2000  # nearly all is the other revision's too
    assert [one.commit for one in pulled()] == [SECOND]
    assert names_in(second.path) == CHOSEN
    assert remove("org/name") > len(BIG)
    assert pulled() == []
    assert not second.path.exists()


def test_without_the_library(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnclipError, match="pip install huggingface_hub"):
        fetch("org/name")
    assert pulled() == []


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("hub:org/name", Ref("org/name")),
        ("org/name@v1.0", Ref("org/name", "v1.0")),
        ("hub:a-b/c.d_e@refs/pr/1", Ref("a-b/c.d_e", "refs/pr/1")),
        ("hub:org/name/prior/best.pth@abc", Ref("org/name", "abc", "prior/best.pth")),
    ],
)
def test_parse(text: str, ref: Ref) -> None:
    assert parse(text) == ref
    assert str(ref) == f"hub:{text.removeprefix('hub:')}"


@pytest.mark.parametrize(
    "text",
    ["hub:", "name", "hub:org/", "a/b@", "a/../b", "a/b/..", "a/b@../x", "a/b@/etc", "https://a/b"],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="is not a hub model"):
        parse(text)


CHOICES: list[tuple[str | None, str, str, str]] = [
    # variant, part, all files, those chosen
    (None, "", "model.safetensors pytorch_model.bin tf_model.h5 flax_model.msgpack config.json",
     "model.safetensors config.json"),
    (None, "", "open_clip_model.safetensors open_clip_pytorch_model.bin open_clip_config.json",
     "open_clip_model.safetensors open_clip_config.json"),
    (None, "", "u/a.safetensors.index.json u/a-00001-of-00002.safetensors "
     "u/a-00002-of-00002.safetensors u/a.fp16.safetensors",
     "u/a.safetensors.index.json u/a-00001-of-00002.safetensors u/a-00002-of-00002.safetensors"),
    ("fp16", "", "u/a.safetensors.index.json u/a-00001-of-00001.safetensors u/a.fp16.bin "
     "u/a.safetensors.index.fp16.json u/a.fp16-00001-of-00001.safetensors v/a.safetensors",
     "u/a.safetensors.index.fp16.json u/a.fp16-00001-of-00001.safetensors v/a.safetensors"),
    (None, "", "u/a.fp16.bin u/b.bin u/b.fp16.safetensors", "u/a.fp16.bin u/b.bin"),
    (None, "", "model_index.json sd-v1.ckpt sd-v1.safetensors unet/m.bin unet/m.onnx "
     "safety_checker/model.safetensors vae/config.json",
     "model_index.json unet/m.bin vae/config.json"),
    (None, "", "prior-step=1.0M.ckpt ViT-L-14.pt ViT-L-14_stats.th optimizer.pt x.py a.png",
     "prior-step=1.0M.ckpt ViT-L-14.pt ViT-L-14_stats.th"),
    (None, "prior", "prior/best.pth prior/prior_config.json decoder/v1.0.2/latest.pth",
     "prior/best.pth prior/prior_config.json"),
    (None, "prior/best.pth",
     "prior/best.pth prior/latest.pth prior/prior_config.json prior/x/a.json",
     "prior/best.pth prior/prior_config.json"),
]  # fmt: skip


@pytest.mark.parametrize(("variant", "part", "files", "chosen"), CHOICES)
def test_choose(variant: str | None, part: str, files: str, chosen: str) -> None:
    found = choose([File(name, 1, "") for name in files.split()], variant, part)
    assert [file.name for file in found] == sorted(chosen.split())


def test_the_commands(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "org/name", "--variant", "fp16"]) == 0
    said = capsys.readouterr()
    path = Path(said.out.splitlines()[0])
    assert (path / "unet/diffusion_pytorch_model.fp16.safetensors").is_file()
    assert "unclip generate --model hub:org/name" in said.out
    assert said.err == ""
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert f"\nhub:org/name\n  pulled from the hub; 157 B; {FIRST[:12]}\n  {path}\n" in listed
    assert main(["models", "rm", "hub:org/name"]) == 0
    assert capsys.readouterr().out.startswith("freed ")
    assert main(["models", "rm", "hub:org/name"]) == 1
    assert "hub:org/name was not pulled (pulled: none)" in capsys.readouterr().err
    assert main(["models", "pull", "karlo"]) == 2
    assert "write hub:org/name" in capsys.readouterr().err
