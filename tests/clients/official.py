"""The official clients of OpenAI's API, each in an environment of its own, called by name.

`scripts/clients.py` makes the environments. A process in one of them (`agents/`) reads a call as a
line of JSON, makes it with the client, and writes what a program would see as a line of JSON.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients import ENVIRONMENTS, NODE, PYTHON

AGENTS = Path(__file__).parent / "agents"

Files = Mapping[str, tuple[str, Path]]
"""Name -> how the file is given (bytes, file, path, tuple, list or pipe), and the file."""


@dataclass(frozen=True)
class Kind:
    """A client and a way to call it.

    Args:
        name: as in the table.
        command: of its process.
        lacks: what its users cannot ask for.
    """

    name: str
    command: tuple[str, ...]
    lacks: frozenset[str] = frozenset()

    @property
    def is_there(self) -> bool:
        """Whether its environment is."""
        return all(Path(one).exists() for one in self.command if "/" in one)

    @property
    def is_old(self) -> bool:
        """Whether it is the one before 1.0."""
        return "-0." in self.name

    @property
    def errors(self) -> dict[int, str]:
        """Status -> the class that it raises."""
        return OLD_ERRORS if self.is_old else ERRORS


ERRORS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    503: "InternalServerError",
}
OLD_ERRORS = {
    400: "InvalidRequestError",
    401: "AuthenticationError",
    404: "InvalidRequestError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}

OLD = {"list", "path", "tuple", "pipe", "stream", "headers", "azure"}
LACKS = {"0.28.1": OLD, "1.3.0": {"list", "stream"}}
LACKS |= {"4.104.0": {"stream", "path", "pipe"}, "6.49.0": {"path"}, "7.59.0": {"path"}}
"""Version -> what its users cannot ask for. Node's clients read files as streams anyhow."""

REASONS = {
    "list": "it takes no list of pictures",
    "path": "it takes no path in a file's place",
    "tuple": "it takes no name and type with a file",
    "pipe": "it reads a file whole, so that its length is known",
    "stream": "it knows no streams of pictures",
    "headers": "it hides the headers of an answer",
    "azure": "its way to ask Azure is another one, which is gone",
}


def _python(version: str, mode: str) -> Kind:
    agent = AGENTS / ("openai_0.py" if version.startswith("0.") else "openai_1.py")
    program = ENVIRONMENTS / f"openai-{version}" / "bin" / "python"
    lacks = frozenset(LACKS.get(version, ()))
    return Kind(f"python-{version}-{mode}", (str(program), str(agent), mode), lacks)


def _node(version: str) -> Kind:
    folder = str(ENVIRONMENTS / f"node-{version}")
    command = ("node", str(AGENTS / "openai_node.mjs"), folder)
    return Kind(f"node-{version}", command, frozenset(LACKS[version]))


CLIENTS = [
    *(_python(version, mode) for version in PYTHON for mode in ("sync", "async")),
    *(_node(version) for version in NODE),
]


@dataclass(frozen=True)
class Server:
    """Where a server is, without /v1, and a key for it."""

    url: str
    key: str | None


@dataclass(frozen=True)
class Answer:
    """What a client gave."""

    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> list[dict[str, Any]]:
        """Its pictures."""
        found: list[dict[str, Any]] = self.body["data"]
        return found


class Raised(Exception):
    """What a client raised.

    Args:
        told: message, type, param, code, class, status, text, headers.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(told["text"])
        self.told = told


class Client:
    """A running client."""

    def __init__(self, kind: Kind, process: subprocess.Popen[str]) -> None:
        self.kind, self._process = kind, process

    def call(
        self,
        server: Server,
        call: str,
        files: Files | None = None,
        extra: Mapping[str, Any] | None = None,
        raw: bool = False,
        azure: bool = False,
        **args: Any,
    ) -> Answer:
        """Call generate, edit, variation, models or model.

        Args:
            server: which to ask.
            call: what.
            files: pictures.
            extra: fields that the client does not know.
            raw: with the headers of the answer.
            azure: by the client for Azure.
            args: of the call.

        Raises:
            Raised: the client raised an error of the API.
        """
        asked = {
            "call": call,
            "base": f"{server.url}/v1",
            "azure": server.url if azure else None,
            "key": server.key,
            "args": args,
            "extra": dict(extra or {}),
            "files": {name: [way, str(path)] for name, (way, path) in (files or {}).items()},
            "raw": raw,
        }
        told = self._told(asked)
        if "error" in told:
            raise Raised(told["error"])
        return Answer(told["body"], told.get("headers", {}))

    def _told(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        to, back = self._process.stdin, self._process.stdout
        assert to is not None and back is not None
        to.write(json.dumps(asked) + "\n")
        to.flush()
        line = back.readline()
        assert line, f"{self.kind.name} ended: its error is on stderr"
        told: dict[str, Any] = json.loads(line)
        assert "broken" not in told, told["broken"]
        return told


@contextmanager
def running(kind: Kind) -> Iterator[Client]:
    """A client's process."""
    pipe = subprocess.PIPE
    with subprocess.Popen(kind.command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Client(kind, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
