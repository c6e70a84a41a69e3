"""`unclip mcp`: tools for assistants."""
# Without `from __future__ import annotations`: see `_options`.

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ._options import Command, option
from ._result import current

KEY = "UNCLIP_API_KEY"
"""Environment variable: the server's key, where no file is given."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mcp", cls=Command)(Mcp)


@dataclass(frozen=True, kw_only=True)
class Mcp:
    """Draw for an assistant, by the Model Context Protocol.

    The tools generate, edit, vary and job ask a running `unclip serve`, and wait in its queue like
    everybody. An assistant starts this command itself, and speaks to it on stdin and stdout; its
    settings name it, such as

    \b
      {"mcpServers": {"unclip": {"command": "unclip", "args": ["mcp"]}}}

    A key of the server is taken from --api-key-file or the environment variable UNCLIP_API_KEY.

    \b
    Examples:
      unclip mcp
      unclip mcp --url http://127.0.0.1:9000
      unclip mcp --url https://draw.example --api-key-file key.txt
      unclip mcp --folder ~/Pictures
    """

    url: Annotated[str, option("--url", "URL", "Of the server, without /v1.")] = (
        "http://127.0.0.1:8000"
    )
    api_key_file: Annotated[
        Path | None, option("--api-key-file", "FILE", "The first key in it is used.")
    ] = None
    folder: Annotated[
        list[Path] | None,
        option(
            "--folder",
            "DIR",
            "Of pictures that tools may read by their paths; repeatable.",
            "none",
        ),
    ] = None

    def run(self) -> int:
        """Serve until stdin ends. The exit code."""
        try:
            import anyio

            from ..server.mcp import serve_stdio
            from ..server.options import key_lines
        except ModuleNotFoundError as error:
            raise UsageError(f"this needs {error.name}: pip install 'unclip[mcp]'") from None
        if current().wanted:
            raise UsageError("stdout has the protocol's messages: leave out --json").about("json")
        key = key_lines(self.api_key_file)[0] if self.api_key_file else os.environ.get(KEY, "")
        folders = [_folder(path) for path in self.folder or ()]
        anyio.run(serve_stdio, self.url, key, folders)
        return 0


def _folder(path: Path) -> Path:
    """One that is there. Raises UsageError."""
    path = path.expanduser()
    if not path.is_dir():
        raise UsageError(f"--folder must be a folder, got {path}").about("folder")
    return path
