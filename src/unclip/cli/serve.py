"""`unclip serve`: the HTTP server."""
# Without `from __future__ import annotations`: see `_options`.

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError, about
from ._complete import MODELS
from ._options import LIMITS, MODEL, Command, Device, DType, flag, option
from ._result import report
from ._terminal import say

if TYPE_CHECKING:
    from ..server.options import ServeOptions


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", cls=Command)(Serve)


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve OpenAI's Images API and every ability over HTTP.

    Applications that called dall-e-2 change their base URL, to http://127.0.0.1:8000/v1. Jobs wait
    in a queue that outlives a restart. Ctrl-C or SIGTERM finishes what is being drawn; a second one
    stops at once, and what was being drawn is drawn again after the next start.

    Without --api-key-file only this machine is served.

    \b
    Examples:
      unclip serve
      unclip serve --port 9000 --model runs/mine/model
      unclip serve --host 0.0.0.0 --api-key-file keys.txt
      unclip serve --alias gpt-image-1 --alias dall-e-3
      unclip serve --workers 1 --most-workers 4 --hook mypackage.policy:check --c2pa
      unclip serve --public-url https://draw.example --trusted-proxy 127.0.0.1
      unclip serve --allow-origin https://app.example --api-key-file keys.txt
      curl http://127.0.0.1:8000/v1/images/generations -d '{"prompt": "a red car"}'
    """

    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A model to serve; repeatable, the first is the default.  "
            "[default: the bundled model]",
            autocompletion=MODELS,
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = None
    host: Annotated[str, option("--host", "ADDRESS", "Where to listen.")] = "127.0.0.1"
    port: Annotated[int, option("--port", "PORT", "0 is any free one.")] = 8000
    api_key_file: Annotated[
        Path | None, option("--api-key-file", "FILE", "Keys that may ask, one a line.")
    ] = None
    no_auth: Annotated[
        bool, flag("--no-auth", "Let everybody who reaches --host ask, without a key.")
    ] = False
    alias: Annotated[
        list[str] | None,
        option(
            "--alias",
            "NAME[=MODEL]",
            "Another name, such as gpt-image-1, whose defaults then hold; repeatable.",
        ),
    ] = None
    public_url: Annotated[
        str, option("--public-url", "URL", "What pictures' addresses begin with.", "HOST:PORT")
    ] = ""
    root_path: Annotated[
        str, option("--root-path", "PATH", "What a proxy puts before every path.", "none")
    ] = ""
    allow_origin: Annotated[
        list[str] | None,
        option("--allow-origin", "ORIGIN", "Whose pages may ask; repeatable; * is all.", "none"),
    ] = None
    allow_host: Annotated[
        list[str] | None,
        option("--allow-host", "NAME", "Another name of this server; repeatable.", "none"),
    ] = None
    trusted_proxy: Annotated[
        list[str] | None,
        option("--trusted-proxy", "IP", "Whose X-Forwarded headers hold; repeatable.", "none"),
    ] = None
    data: Annotated[
        Path | None,
        option("--data", "DIR", "Folder of the queue.", "~/.local/share/unclip/server"),
    ] = None
    most_queued: Annotated[
        int,
        option("--most-queued", "N", "Jobs that may wait; with several keys half for each."),
    ] = 1000
    keep_days: Annotated[
        float, option("--keep-days", "N", "Days that pictures are kept; 0: for ever.")
    ] = 90
    keep_gigabytes: Annotated[
        float, option("--keep-gigabytes", "N", "Most pictures that are kept; 0: all.")
    ] = 20
    upload_gigabytes: Annotated[
        float, option("--upload-gigabytes", "N", "Most that one key may upload in a day.")
    ] = 1
    url_minutes: Annotated[
        float, option("--url-minutes", "N", "How long a picture's address is valid.")
    ] = 60
    hook: Annotated[
        list[str] | None,
        option(
            "--hook",
            "MODULE:NAME",
            "A function that may refuse prompts and pictures; repeatable.",
            "none",
        ),
    ] = None
    deterministic: Annotated[
        bool, flag("--deterministic", "Draw requests one by one: a seed gives the same bytes.")
    ] = False
    log_prompts: Annotated[bool, flag("--log-prompts", "Write prompts into the log.")] = False
    no_record: Annotated[
        bool, flag("--no-record", "Leave prompt and settings out of pictures' files.")
    ] = False
    no_mark: Annotated[
        bool, flag("--no-mark", "Do not mark pictures' files as made by a model (IPTC).")
    ] = False
    c2pa: Annotated[
        bool, flag("--c2pa", "Sign pictures: Content Credentials that say a model made them.")
    ] = False
    c2pa_key: Annotated[
        Path | None, option("--c2pa-key", "FILE", "Private key, PEM.", "one made in --data")
    ] = None
    c2pa_cert: Annotated[
        Path | None, option("--c2pa-cert", "FILE", "Its certificates, PEM, its own first.")
    ] = None
    workers: Annotated[
        int, option("--workers", "N", "Processes that draw at once.", group=LIMITS)
    ] = 1
    most_workers: Annotated[
        int,
        option("--most-workers", "N", "To how many they grow.", "as --workers", group=LIMITS),
    ] = 0
    ray: Annotated[
        str,
        option(
            "--ray", "ADDRESS", "A Ray cluster that draws; auto: this machine's.", "none", LIMITS
        ),
    ] = ""
    ray_gpus: Annotated[
        float, option("--ray-gpus", "N", "GPUs that each worker takes there.", group=LIMITS)
    ] = 0
    memory_gigabytes: Annotated[
        float,
        option("--memory-gigabytes", "N", "Most memory before a model goes; 0: any.", group=LIMITS),
    ] = 0
    device: Device = None
    dtype: DType = None

    def run(self) -> int:
        """Serve until a signal. The exit code."""
        options = self.options()
        try:
            from ..server.run import serve
        except ModuleNotFoundError as error:
            raise UsageError(f"serving needs {error.name}: pip install 'unclip[serve]'") from None
        return serve(options, _serving)

    def options(self) -> "ServeOptions":
        """Checked, before anything is loaded. Raises UsageError."""
        from ..server.options import ServeOptions, read_keys

        values = dict(vars(self))
        path, data = values.pop("api_key_file"), values.pop("data")
        values["keys"] = read_keys(path) if path else ()
        values["models"] = tuple(values.pop("model") or ())
        values["aliases"] = _aliases(values.pop("alias") or ())
        values["record"], values["marked"] = not values.pop("no_record"), not values.pop("no_mark")
        values["hooks"] = tuple(values.pop("hook") or ())
        for name in ("allow_origin", "allow_host", "trusted_proxy"):
            values[name] = tuple(values[name] or ())
        return ServeOptions.parse(values | ({"data": data} if data else {}))


def _aliases(texts: Any) -> dict[str, str]:
    """NAME=MODEL as pairs; without a model it is the first."""
    pairs = [text.partition("=") for text in texts]
    with about("alias"):
        for name, _, _ in pairs:
            if not name:
                raise UsageError("--alias must be NAME or NAME=MODEL")
    return {name: model for name, _, model in pairs}


def _serving(text: str) -> None:
    """Say where."""
    report(url=text.rpartition(" ")[2])
    say(text)
