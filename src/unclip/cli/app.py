"""Finds the commands, runs one, and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from .._version import __version__
from ..abilities import ABILITIES
from ..errors import Cancelled, UnclipError, is_of_memory
from ..registry import Registry
from . import _progress
from ._ability import add_command
from ._options import ListedGroup
from ._process import prepare
from ._result import EXIT_CODES, asks_for_json, code_of, collecting, fail
from ._signals import interrupted_by_signals
from ._terminal import complain, warnings_as_lines
from ._usage import at_fault, usage_fault

DEBUG = "UNCLIP_DEBUG"
"""Environment variable: where it is set, errors come with their traceback."""

COMMANDS: Registry[Callable[[typer.Typer], None]] = Registry("unclip.cli", "register", "command")


class Group(ListedGroup):
    """Ctrl-C in any command is `Cancelled`, and so are SIGTERM and SIGHUP."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            with interrupted_by_signals():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Cancelled("cancelled") from None

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in EXIT_CODES.items()])


def make_app() -> typer.Typer:
    """The application with every command that `COMMANDS` finds, and one for each ability."""
    app = typer.Typer(
        cls=Group,
        rich_markup_mode=None,  # plain help: examples stay as written, and it starts twice as fast
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
        One of `EXIT_CODES`.
    """
    prepare()
    words = sys.argv[1:] if arguments is None else list(arguments)
    with collecting() as result:
        try:
            with warnings_as_lines():
                done = make_app()(args=words, prog_name="unclip", standalone_mode=False)
            code = done if isinstance(done, int) else 0
        except Exception as error:  # the last stop: a person gets a line, not a traceback
            if os.environ.get(DEBUG):
                raise
            code = _report(error)
            result.wanted |= asks_for_json(words)
        if result.wanted:
            typer.echo(result.to_json(code))
    return code


def _report(error: Exception) -> int:
    """Say on stderr what went wrong; returns the exit code."""
    text, code = _explained(error)
    text = " ".join(text.split())
    fail(text, code_of(error), at_fault(error))
    complain(text, "" if isinstance(error, Cancelled) else "error")
    return code


def _explained(error: Exception) -> tuple[str, int]:
    """A line, and the exit code."""
    if isinstance(error, UnclipError):
        return str(error), error.exit_code
    if hasattr(error, "format_message"):  # typer's own, which has no public base class
        return usage_fault(error), int(getattr(error, "exit_code", 2))
    name, text = type(error).__name__, str(error)
    if is_of_memory(error):
        return f"out of memory: {text or 'ask for fewer or smaller pictures'}", 1
    where = f"({DEBUG}=1 shows where)"
    return f"an error in unclip itself, please report it: {name}: {text} {where}", 1
