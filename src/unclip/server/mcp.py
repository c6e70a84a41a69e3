"""Tools for assistants by the Model Context Protocol: generate, edit, vary and job.

They ask a running server, through the native API, so that their work waits in the same queue as
everybody's. Progress is the job's own, and who gives up a call cancels its job.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import secrets
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import anyio
import mcp_types as wire
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from pydantic import Field

from .._version import __version__
from ..config import Config
from ..errors import UnclipError, UsageError
from .job import ENDED, Format
from .remote import Json, Remote, RemoteError

_log = logging.getLogger(__name__)

ABOUT = (
    "Draws pictures with a DALL·E 2 (unCLIP) model on the user's own machine. Call `generate` for "
    "a picture from a sentence, `edit` to repaint a part of one, `vary` for others like it. Each "
    "result names its pictures by id, which `edit` and `vary` take. Read "
    "unclip://capabilities for the models, their sizes and the words that they know."
)
CAPABILITIES = "unclip://capabilities"
FAREWELL = 5.0
"""Seconds in which a job is cancelled whose caller has gone."""
MOST_BYTES = 50 * 2**20
"""Largest picture that is uploaded."""
MOST_SEED = 2**52
"""Clients that read JSON as JavaScript does have whole numbers up to 2**53."""
PICTURE = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
ADDRESS = re.compile(r"https?://[^\s]*/files/([0-9a-f]{32})\.(?:png|jpeg|webp)")
A_PICTURE = "The id or url of an earlier result, a data: URL"

Context = ServerRequestContext[Any, Any]
Report = Callable[[float, str], Awaitable[None]]
"""Gets a share of the work, 0 to 1, and what is done."""


class Job(Config):
    """Look after a job that was begun with wait=false: its state, and its pictures when done."""

    called: ClassVar[str] = "{}"
    id: str = Field(pattern=r"^[0-9a-f]{32}$", description="As the tool that began it said.")
    cancel: bool = Field(False, description="Stop it, if it has not ended.")
    wait: bool = Field(False, description="Until it has ended.")


class Draw(Config):
    """What the tools that draw have in common."""

    called: ClassVar[str] = "{}"
    n: int = Field(1, ge=1, le=10, description="How many pictures.")
    seed: int | None = Field(
        None, ge=0, le=MOST_SEED, description="Draws the same again; random, if null."
    )
    steps: int | None = Field(None, ge=1, description="More are slower and finer.")
    size: str | None = Field(
        None, pattern=r"^\d{1,4}x\d{1,4}$", description="WIDTHxHEIGHT; as the model draws, if null."
    )
    format: Format = Field("png", description="Of the files.")
    model: str | None = Field(None, description="A served model; the first one, if null.")
    wait: bool = Field(True, description="False: return the job's id at once, for the tool `job`.")
    ability: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = ()
    own: ClassVar[tuple[str, ...]] = ()

    @property
    def asked_ability(self) -> str:
        """The ability that draws it."""
        return self.ability

    def fields(self) -> Json:
        """Of the ability's request, without pictures."""
        values = {name: getattr(self, name) for name in (*self.own, "n", "seed")}
        if self.seed is None:
            values["seed"] = secrets.randbelow(2**31)
        settings = {name: getattr(self, name, None) for name in ("steps", "guidance_scale")}
        given = {name: one for name, one in settings.items() if one is not None}
        return {**{k: v for k, v in values.items() if v is not None}, "settings": given}

    def asked(self, inputs: Json) -> Json:
        """What `POST /v1/jobs` takes."""
        size = [int(side) for side in self.size.split("x")] if self.size else None
        return {
            "ability": self.asked_ability,
            "fields": self.fields(),
            "inputs": inputs,
            "model": self.model,
            "finish": {"size": size, "format": self.format},
        }


class _FromText(Draw):
    """What is drawn from a text."""

    prompt: str = Field(min_length=1, description="What to draw, in a short sentence.")
    negative_prompt: str | None = Field(None, description="What guidance leads away from.")
    guidance_scale: float | None = Field(
        None, ge=0, description="How closely to follow the prompt; 0 to about 10."
    )
    own = ("prompt", "negative_prompt")


class Generate(_FromText):
    """Draw pictures of a sentence."""

    ability = "generate"


class Edit(_FromText):
    """Repaint a part of a picture (`mask` or `box`), or redraw all of it to match a sentence."""

    image: str = Field(description=f"{A_PICTURE}.")
    mask: str | None = Field(
        None,
        description=f"{A_PICTURE}: transparent where to paint, or, without alpha, white there.",
    )
    box: tuple[int, int, int, int] | None = Field(
        None, description="Left, top, width and height of a rectangle to paint, in pixels."
    )
    strength: float | None = Field(
        None, ge=0, le=1, description="Without mask and box: 0 keeps the picture, 1 nothing of it."
    )
    inputs = ("image", "mask")

    @property
    def asked_ability(self) -> str:
        """Of the whole picture where no part is named."""
        return "img2img" if self.mask is None and self.box is None else "edit"

    def fields(self) -> Json:
        """With what the ability takes of box and strength."""
        more = {"box": list(self.box) if self.box else None, "strength": self.strength}
        return {**super().fields(), **{k: v for k, v in more.items() if v is not None}}


class Vary(Draw):
    """Draw other pictures like one: what it shows stays, the rest is random. It needs no words."""

    ability = "vary"
    image: str = Field(description=f"{A_PICTURE}.")
    eta: float | None = Field(
        None, ge=0, le=1, description="0 gives the picture back, 1 is the most random."
    )
    inputs, own = ("image",), ("eta",)


TOOLS: dict[str, type[Config]] = {"generate": Generate, "edit": Edit, "vary": Vary, "job": Job}


@dataclass(frozen=True)
class Tools:
    """The tools, and the server that they ask.

    Args:
        remote: a running server.
        folders: of pictures that may be named by their paths.
    """

    remote: Remote
    folders: tuple[Path, ...] = ()

    async def call(self, name: str, arguments: Json, report: Report) -> wire.CallToolResult:
        """What a tool answers. Raises UnclipError, in words for whoever called it."""
        if name not in TOOLS:
            raise UsageError(f"there is no tool '{name}': call {', '.join(TOOLS)}")
        asked = TOOLS[name].parse(arguments)
        if isinstance(asked, Job):
            return await self._look(asked, report)
        assert isinstance(asked, Draw)
        return await self._draw(asked, report)

    async def _draw(self, asked: Draw, report: Report) -> wire.CallToolResult:
        given = {name: getattr(asked, name) for name in asked.inputs}
        inputs = {name: await self._input(name, one) for name, one in given.items() if one}
        job = await self.remote.submit(asked.asked(inputs))
        if not asked.wait:
            return await self._result(job)
        try:
            return await self._result(await self._follow(job["id"], report))
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(FAREWELL, shield=True), suppress(RemoteError):
                await self.remote.cancel(job["id"])
            raise

    async def _look(self, asked: Job, report: Report) -> wire.CallToolResult:
        if asked.cancel:
            return await self._result(await self.remote.cancel(asked.id))
        if asked.wait:
            return await self._result(await self._follow(asked.id, report))
        return await self._result(await self.remote.job(asked.id))

    async def _follow(self, job: str, report: Report) -> Json:
        """The job when it has ended; its progress only ever grows, as the protocol wants."""
        best = -1.0

        async def tell(kind: str, data: Json) -> None:
            nonlocal best
            share, text = progress(kind, data)
            if share is not None and share > best:
                best = share
                await report(share, text)

        return await self.remote.follow(job, tell)

    async def _input(self, name: str, given: str) -> str:
        """The id of a picture on the server. Raises UnclipError."""
        if PICTURE.fullmatch(given):
            return given
        if found := ADDRESS.fullmatch(given):
            return found[1]
        if given.startswith("data:"):
            return await self.remote.upload(_of_data(name, given))
        return await self.remote.upload(await anyio.to_thread.run_sync(self._read, name, given))

    def _read(self, name: str, given: str) -> bytes:
        """A file in one of the folders."""
        if not self.folders:
            raise UsageError(
                f"{name} must be the id or url of an earlier result, or a data: URL; files are "
                "read where `unclip mcp` is started with --folder DIR"
            )
        path = Path(given).expanduser().resolve()
        if not any(path.is_relative_to(folder.resolve()) for folder in self.folders):
            where = ", ".join(str(folder) for folder in self.folders)
            raise UsageError(f"{name} must be a file in {where}, got '{given}'")
        try:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{name}: cannot read '{given}': {error.strerror}") from None
        return _fitting(name, data)

    async def _result(self, job: Json) -> wire.CallToolResult:
        """A job for whoever called: what it is in words and as data, and its pictures."""
        if job["state"] == "failed":
            raise RemoteError(str((job["failure"] or {}).get("message") or "the job has failed"))
        content: list[wire.ContentBlock] = [wire.TextContent(type="text", text=_told(job))]
        for one in job["pictures"]:
            data = base64.b64encode(await self.remote.file(one["id"])).decode()
            kind = f"image/{one['format']}"
            content.append(wire.ImageContent(type="image", data=data, mime_type=kind))
        names = ("id", "url", "seed", "width", "height", "format")
        pictures = [{name: one[name] for name in names} for one in job["pictures"]]
        about = {"job": job["id"], "state": job["state"], "place": job["place"]}
        return wire.CallToolResult(
            content=content, structured_content={**about, "pictures": pictures}
        )


def progress(kind: str, data: Json) -> tuple[float | None, str]:
    """The share of a job's work that an event tells of, if it does, and what is done."""
    if kind == "queued":
        before = data.get("place", 0)
        return 0.0, f"waiting, {before} before it" if before else "waiting"
    if kind == "step":
        where = f"{data['stage']}, step {data['index']} of {data['total']}"
        return float(data["share"]), where
    return (1.0, kind) if kind in ENDED else (None, kind)


def _told(job: Json) -> str:
    """A job in words."""
    if job["state"] not in ENDED:
        before = f", {job['place']} before it" if job["place"] else ""
        return f"Job {job['id']} is {job['state']}{before}. Ask for it with the tool `job`."
    lines = [f"Job {job['id']} is {job['state']}."]
    for one in job["pictures"]:
        size = f"{one['width']}x{one['height']}"
        lines.append(f"Picture {one['id']}: {size}, seed {one['seed']}, {one['url']}")
    return "\n".join(lines)


def _of_data(name: str, url: str) -> bytes:
    """The contents of a data: URL. Raises UsageError."""
    head, _, text = url.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError
        return _fitting(name, base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        wanted = "data:image/png;base64, followed by the file in base64"
        raise UsageError(f"{name} must begin with {wanted}") from None


def _fitting(name: str, data: bytes) -> bytes:
    if len(data) > MOST_BYTES:
        raise UsageError(f"{name} has more than {MOST_BYTES // 2**20} MB")
    return data


_PICTURE = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "url": {"type": "string"},
        "seed": {"type": "integer"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "format": {"type": "string"},
    },
}
ANSWER = {
    "type": "object",
    "properties": {
        "job": {"type": "string"},
        "state": {"enum": ["queued", "running", "done", "failed", "cancelled"]},
        "place": {"type": ["integer", "null"], "description": "Jobs before it."},
        "pictures": {"type": "array", "items": _PICTURE},
    },
    "required": ["job", "state", "pictures"],
}
"""What every tool's structured content is."""


def tool(name: str) -> wire.Tool:
    """A tool as clients see it."""
    asked = TOOLS[name]
    schema = asked.model_json_schema()
    schema.pop("description", None)
    return wire.Tool(
        name=name,
        description=" ".join((asked.__doc__ or "").split()),
        input_schema=schema,
        output_schema=ANSWER,
        annotations=wire.ToolAnnotations(
            read_only_hint=False, destructive_hint=False, open_world_hint=False
        ),
    )


def make_server(tools: Tools) -> Server[Any]:
    """The server of the protocol, which a transport runs."""

    async def list_tools(_: Context, __: Any) -> wire.ListToolsResult:
        return wire.ListToolsResult(tools=[tool(name) for name in TOOLS])

    async def call_tool(ctx: Context, asked: wire.CallToolRequestParams) -> wire.CallToolResult:
        async def report(share: float, text: str) -> None:
            await ctx.session.report_progress(share, 1.0, text)

        try:
            return await tools.call(asked.name, asked.arguments or {}, report)
        except UnclipError as error:
            return _failed(str(error))
        except Exception:  # noqa: BLE001 - the next call may do better
            _log.exception("the tool %s failed", asked.name)
            return _failed("an error in unclip itself; the log of `unclip mcp` says more")

    async def list_resources(_: Context, __: Any) -> wire.ListResourcesResult:
        about = "Models, their sizes and abilities, settings with their limits, known words."
        found = wire.Resource(
            uri=CAPABILITIES,
            name="capabilities",
            description=about,
            mime_type="application/json",
        )
        return wire.ListResourcesResult(resources=[found])

    async def read_resource(
        _: Context, asked: wire.ReadResourceRequestParams
    ) -> wire.ReadResourceResult:
        if str(asked.uri) != CAPABILITIES:
            raise RemoteError(f"there is no resource {asked.uri}: read {CAPABILITIES}")
        text = json.dumps(await tools.remote.capabilities())
        found = wire.TextResourceContents(uri=asked.uri, text=text, mime_type="application/json")
        return wire.ReadResourceResult(contents=[found])

    return Server(
        "unclip",
        version=__version__,
        instructions=ABOUT,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_read_resource=read_resource,
    )


def _failed(text: str) -> wire.CallToolResult:
    return wire.CallToolResult(content=[wire.TextContent(type="text", text=text)], is_error=True)


async def serve_stdio(url: str, key: str = "", folders: Sequence[Path] = ()) -> None:
    """Answer on stdout what comes on stdin, until that ends.

    A signal cancels the jobs that are waited for, and ends the process with 130: it cannot stop the
    thread that reads stdin.

    Raises:
        UsageError: `url` is none.
    """
    async with Remote(url, key) as remote, anyio.create_task_group() as group:
        running = anyio.CancelScope()
        await group.start(_cancel_on_signal, running)
        async with stdio_server() as (incoming, outgoing):
            server = make_server(Tools(remote, tuple(folders)))
            with running:
                await server.run(incoming, outgoing, server.create_initialization_options())
            if running.cancelled_caught:
                os._exit(130)
        group.cancel_scope.cancel()


async def _cancel_on_signal(scope: anyio.CancelScope, *, task_status: Any) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
