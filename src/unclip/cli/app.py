"""Finds the commands, runs one, and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .._version import __version__
from ..abilities import ABILITIES
from ..errors import Cancelled, UnclipError
from ..registry import Registry
from . import _progress
from ._ability import add_command
from ._process import prepare
from ._signals import interrupted_by_signals
from ._terminal import complain, warnings_as_lines
from ._usage import usage_fault

DEBUG = "UNCLIP_DEBUG"
"""Environment variable: where it is set, errors come with their traceback."""

COMMANDS: Registry[Callable[[typer.Typer], None]] = Registry("unclip.cli", "register", "command")


class Group(TyperGroup):
    """Ctrl-C in any command is `Cancelled`, and so are SIGTERM and SIGHUP."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            with interrupted_by_signals():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Cancelled("cancelled") from None


def make_app() -> typer.Typer:
    """The application with every command that `COMMANDS` finds, and one for each ability."""
    app = typer.Typer(
        cls=Group,
        rich_markup_mode=None,  # plain help: examples stay as written, and it starts twice as fast
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(invoke_without_command=True)(top)
    own = {name: COMMANDS[name] for name in COMMANDS.names()}
    able = {name: _adding(name, module) for name, module in ABILITIES.modules().items()}
    for _, add in sorted({**able, **own}.items()):
        add(app)
    return app


def _adding(name: str, module: str) -> Callable[[typer.Typer], None]:
    """What adds the command of an ability."""
    return lambda app: add_command(app, name, module)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unclip {__version__}")
        raise typer.Exit


def top(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", help="Show no progress; results, warnings and errors stay."),
    ] = False,
) -> None:
    """DALL·E 2 in the open: from a sentence to a picture.

    \b
    Examples:
      unclip generate "a red car"
      unclip generate "a fox" --seed 7 -o fox.png
      unclip vary fox.png -n 4 -o foxes/
      unclip edit fox.png --box 128,0,128,256 "a cat"
      unclip replay fox.png
      unclip train emoji-cpu --dry-run
      unclip doctor
    """
    _progress.quiet.set(quiet)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: as after `unclip` on a command line; this process' own if left out.

    Returns:
        0, 1 where it failed, 2 where it was asked for wrongly, 3 where `train` stopped before its
        last step, 130 where it was cancelled.
    """
    prepare()
    try:
        with warnings_as_lines():
            code = make_app()(
                args=None if arguments is None else list(arguments),
                prog_name="unclip",
                standalone_mode=False,
            )
    except Exception as error:  # the last stop: a person gets a line, not a traceback
        if os.environ.get(DEBUG):
            raise
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    if isinstance(error, UnclipError):
        complain(str(error), "" if isinstance(error, Cancelled) else "error")
        return error.exit_code
    if hasattr(error, "format_message"):  # typer's own, which has no public base class
        complain(usage_fault(error))
        return int(getattr(error, "exit_code", 2))
    name, text = type(error).__name__, str(error)
    if "OutOfMemory" in name or isinstance(error, MemoryError):
        complain(f"out of memory: {text or 'ask for fewer or smaller pictures'}")
        return 1
    complain(f"an error in unclip itself, please report it: {name}: {text} ({DEBUG}=1 shows where)")
    return 1
