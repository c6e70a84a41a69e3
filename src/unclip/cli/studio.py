"""`unclip studio`: the web page."""
# Without `from __future__ import annotations`: see `_options`.

import logging
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ._complete import MODELS
from ._defaults import origins
from ._options import MODEL, Command, Device, DType, flag, option
from ._result import report
from ._terminal import say

if TYPE_CHECKING:
    from ..server.options import ServeOptions

FIRST, TRIED = 8000, 20
"""The port, and how many are tried where others use it."""
OF_A_SERVER = ("model", "host", "port", "api_key_file", "device", "dtype")
"""Options of a server that is started, in vain where one runs."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("studio", cls=Command)(Studio)


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Open the page that makes, edits and keeps pictures.

    A server that runs on the data folder already, such as `unclip serve`, is joined as it is; else
    one is started here, with the options below, and Ctrl-C ends it. Everything stays on this
    machine. Without a browser the address is printed.

    \b
    Examples:
      unclip studio
      unclip studio --model runs/mine/model
      unclip studio --no-open --port 9000
      unclip studio --url http://127.0.0.1:8000
      unclip studio --host 0.0.0.0 --api-key-file keys.txt
    """

    url: Annotated[
        str | None, option("--url", "URL", "Of a running server, without /v1.", "found, or started")
    ] = None
    no_open: Annotated[bool, flag("--no-open", "Print the address, and open no browser.")] = False
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A model to draw with; repeatable, the first is the default.  "
            "[default: the bundled model]",
            autocompletion=MODELS,
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = None
    host: Annotated[str | None, option("--host", "ADDRESS", "Where to listen.", "127.0.0.1")] = None
    port: Annotated[
        int | None, option("--port", "PORT", "Where to listen.", f"{FIRST}, or the next free one")
    ] = None
    api_key_file: Annotated[
        Path | None, option("--api-key-file", "FILE", "Keys to log in with, one a line.")
    ] = None
    data: Annotated[
        Path | None,
        option("--data", "DIR", "Folder of the pictures.", "~/.local/share/unclip/server"),
    ] = None
    device: Device = None
    dtype: DType = None

    def run(self) -> int:
        """Join or start a server, and open the page. The exit code."""
        from ..server.running import answers, find

        if self.url is not None:
            asked = self.url.rstrip("/").removesuffix("/v1")
            if not answers(asked):
                text = f"no server of unclip answers at {asked}: start one with `unclip serve`"
                raise UsageError(text).about("url")
            return self._join(asked, "data", *OF_A_SERVER)
        options = self._options()
        found = find(options.data)
        return self._start(options) if found is None else self._join(found, *OF_A_SERVER)

    def _options(self) -> "ServeOptions":
        from ..server.options import ServeOptions, read_keys

        values = {
            "models": tuple(self.model or ()),
            "keys": read_keys(self.api_key_file) if self.api_key_file else (),
            "device": self.device,
            "dtype": self.dtype,
            "port": FIRST if self.port is None else self.port,
            **({"host": self.host} if self.host is not None else {}),
            **({"data": self.data} if self.data else {}),
        }
        return ServeOptions.parse(values)

    def _join(self, url: str, *not_taken: str) -> int:
        """Open the page of a server that runs.

        Raises:
            UsageError: it has none, or one of the options that it does not take was typed.
        """
        from ..server.running import has_page

        usual = origins.get().keys()  # of the environment or the file: for servers started here
        for name in not_taken:
            if getattr(self, name) is not None and name not in usual:
                flag = f"--{name.replace('_', '-')}"
                text = f"a server runs already, at {url}: end it first, or leave {flag} out"
                raise UsageError(text).about(name)
        if not has_page(url):
            raise UsageError(f"the server at {url} has no page: it was installed without")
        self._open(self._say(url))
        return 0

    def _start(self, options: "ServeOptions") -> int:
        """Serve here until a signal."""
        try:
            from ..server.routes_page import FOLDER
            from ..server.run import PortError, serve
            from ..server.running import told
        except ModuleNotFoundError as error:
            raise UsageError(f"the page needs {error.name}: pip install 'unclip[serve]'") from None
        if not (FOLDER / "index.html").is_file():
            raise UsageError("this installation has no page: `make studio` builds it")

        def ready(text: str) -> None:
            logging.getLogger("unclip.server").setLevel(logging.WARNING)  # no line a request
            page = self._say(told(options.data) or text.rpartition(" ")[2].removesuffix("/v1"))
            threading.Thread(target=self._open, args=(page,), daemon=True).start()

        *others, last = self._ports()
        for port in others:
            try:
                return serve(options.model_copy(update={"port": port}), ready)
            except PortError:
                continue
        return serve(options.model_copy(update={"port": last}), ready)

    def _ports(self) -> Iterator[int]:
        """Those to try."""
        if self.port is not None:
            yield self.port
        else:
            yield from range(FIRST, FIRST + TRIED)

    def _say(self, url: str) -> str:
        """Say where the page is."""
        page = f"{url}/"
        report(url=page)
        say(f"the studio is at {page}")
        return page

    def _open(self, page: str) -> None:
        """Show it where there is a browser."""
        import webbrowser

        if not self.no_open and has_display():
            webbrowser.open(page)


def has_display() -> bool:
    """Whether a browser could show a page; without a display it would fill the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
