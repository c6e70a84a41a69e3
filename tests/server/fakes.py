"""A worker without a model: it speaks the worker's protocol and draws plain pictures at once.

What it draws is known: picture i of a job has the grey level (seed + i) % 256 all over, so that a
test can tell which seed a picture is of, whatever came in between.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from unclip.server.launch import Connection
from unclip.server.protocol import Message

NATIVE = (64, 64)
ABILITIES = ["edit", "generate", "img2img", "interpolate", "outpaint", "textdiff", "upscale"]
ABILITIES += ["probe", "vary"]


def png(size: tuple[int, int], colour: Any = 0, mode: str = "RGB", format: str = "PNG") -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, format)
    return buffer.getvalue()


def grey(seed: int) -> tuple[int, int, int]:
    """What a seed draws."""
    return (seed % 256,) * 3


class FakeWorker:
    """Starts as a launcher does; one worker at a time.

    Args:
        broken: why no model can be loaded.
        steps: told of each job.
    """

    def __init__(self, broken: str = "", steps: int = 4) -> None:
        self.broken, self.steps = broken, steps
        self.go = asyncio.Event()  # nothing is drawn until then
        self.go.set()
        self.drawn: list[dict[str, Any]] = []
        self.specs: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.watched: list[str] = []
        self.refuses: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda spec: None
        self.fails: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda spec: None

    async def __call__(self) -> Connection:
        """See `Launcher`."""
        return _Connection(self)


class _Connection:
    def __init__(self, fake: FakeWorker) -> None:
        self.fake = fake
        self.out: asyncio.Queue[Message | None] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()
        self.stopped: set[str] = set()

    async def send(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "begin":
            self._begin(message)
        elif kind == "check":
            failure = self.fake.refuses(message["spec"])
            self.out.put_nowait(
                {"kind": "checked", "number": message["number"], "failure": failure, "steps": 1}
            )
        elif kind == "probe":
            failure = self.fake.refuses(message)
            shares = [1 / (index + 2) for index, _ in enumerate(message["labels"])]
            answer = {"number": message["number"], "failure": failure, "shares": shares}
            if self.fake.go.is_set():
                self.out.put_nowait({"kind": "probed", **answer})
        elif kind == "recall":
            failure = self.fake.refuses(message)
            said = {"ability": "generate", "fields": {"prompt": "a fox"}, "seed": 0, "inputs": {}}
            said |= {"model": "other", "served": None, "program": "fake", "left": []}
            answer = {"number": message["number"], "failure": failure, "recalled": said}
            self.out.put_nowait({"kind": "recalled", **answer})
        elif kind == "cancel":
            self.stopped.add(message["id"])
            self.fake.cancelled.append(message["id"])
        elif kind == "watch":
            self.fake.watched += message["previews"]
        elif kind == "draw":
            task = asyncio.create_task(self._draw(message["jobs"]))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _begin(self, message: Message) -> None:
        if self.fake.broken:
            self.out.put_nowait({"kind": "broken", "message": self.fake.broken})
            return
        steps = {"type": "integer", "minimum": 1, "default": 6, "nullable": False, "name": "steps"}
        about = {"size": list(NATIVE), "abilities": ABILITIES, "words": ["fox", "car"]}
        about |= {"priors": ["prior"], "settings": {"decoder": {"steps": steps}}}
        models = [{"name": name, **about} for name in message["models"]]
        self.out.put_nowait({"kind": "ready", "models": models})
        self.out.put_nowait({"kind": "memory", "bytes": 1000, "gpu": 0})

    async def _draw(self, jobs: list[dict[str, Any]]) -> None:
        for job in jobs:
            await self._one(job)
        self.out.put_nowait({"kind": "idle"})

    async def _one(self, job: dict[str, Any]) -> None:
        name, spec = job["id"], job["spec"]
        self.fake.drawn.append(job)
        preview = base64.b64encode(png(NATIVE)).decode()
        for index in range(self.fake.steps):
            await self._until_go(name)
            if name in self.stopped:
                self.out.put_nowait({"kind": "cancelled", "id": name})
                return
            share = (index + 1) / self.fake.steps
            step = {"stage": "decoder", "index": index, "total": self.fake.steps, "share": share}
            self.out.put_nowait({"kind": "memory", "bytes": 1000, "gpu": 0, "steps": 10})
            self.out.put_nowait({"kind": "step", "id": name, **step})
            shown = {"index": 0, "picture": preview}
            self.out.put_nowait({"kind": "preview", "id": name, **shown})
            await asyncio.sleep(0.005)  # as if it took some time
        if failure := self.fake.fails(spec):
            self.out.put_nowait({"kind": "failed", "id": name, "failure": failure})
            return
        pictures = [self._picture(spec, index) for index in range(spec["pictures"])]
        self.out.put_nowait({"kind": "done", "id": name, "pictures": pictures})

    async def _until_go(self, name: str) -> None:
        while not self.fake.go.is_set() and name not in self.stopped:
            await asyncio.sleep(0.005)

    def _picture(self, spec: dict[str, Any], index: int) -> dict[str, Any]:
        seed = spec["fields"].get("seed", 0) + index
        finish = spec["finish"]
        size = tuple(finish["size"] or NATIVE)
        form = finish["format"]
        data = png(size, grey(seed), format=form.upper())
        return {
            "seed": seed,
            "width": size[0],
            "height": size[1],
            "native": list(NATIVE),
            "bytes": len(data),
            "format": form,
            "data": base64.b64encode(data).decode(),
        }

    async def receive(self) -> Message | None:
        return await self.out.get()

    async def close(self, patience: float) -> None:
        self.kill()

    def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.out.put_nowait(None)
