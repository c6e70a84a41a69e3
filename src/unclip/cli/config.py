"""`unclip config`: a user's defaults for the options of all commands."""
# Without `from __future__ import annotations`: see `_options`.

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import OutputError, UsageError, nearest
from ._defaults import (
    FILE,
    check,
    config_file,
    effective,
    every_option,
    keys_of,
    read_config,
    typed,
    unknown,
)
from ._options import Listed, ListedGroup
from ._result import report
from ._terminal import say
from ._usage import usage_fault

_GROUP = typer.Typer(cls=ListedGroup, rich_markup_mode=None)


def known_keys(context: typer.Context, incomplete: str) -> list[str]:
    """Completes a key."""
    return [key for key in keys_of(context.find_root().command) if key.startswith(incomplete)]


Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="An option of all commands that have it, such as steps or model, or of one command, "
        "such as generate.steps.",
        autocompletion=known_keys,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_GROUP, name="config")


@_GROUP.callback(invoke_without_command=True)
def config(context: typer.Context) -> None:
    """Show or change your defaults for options.

    They are kept in a TOML file: an option's name is a key, without dashes in front and with _ for
    those within. At the top it is for every command that draws, for the model and the hardware of
    all commands; in a section such as [generate] for one command. Environment variables do the
    same: UNCLIP_STEPS, UNCLIP_GENERATE_STEPS.

    An option on the command line goes before the environment, that before the file, and that before
    the model's own default. `replay` draws with the record's model and settings.

    \b
    Examples:
      unclip config
      unclip config set model runs/mine/model
      unclip config set output pictures/
      unclip config set generate.steps 30
      unclip config unset generate.steps
      unclip config show generate
    """
    if context.invoked_subcommand is None:
        _show_given(context)


@_GROUP.command(cls=Listed)
def show(
    context: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="Show all options of this one.")
    ] = None,
) -> None:
    """Show which defaults are set, and where.

    \b
    Examples:
      unclip config show
      unclip config show generate
      unclip config show models inspect
    """
    if not command:
        _show_given(context)
        return
    *groups, last = command
    parent: Any = context.find_root()
    for name in groups:
        parent = type(parent)(_below(parent, name), parent=parent, info_name=name)
    _, values = effective(_below(parent, last), parent, last)
    report(
        values={key: {"value": value, "from": origin} for key, (value, origin) in values.items()}
    )
    for key, (value, origin) in sorted(values.items()):
        shown = "not set" if value in (None, "", (), []) else value
        say(f"{key} = {shown}{f'  (from {origin})' if origin else ''}")


def _below(context: Any, name: str) -> Any:
    """A command of a group. Raises UsageError."""
    commands = getattr(context.command, "commands", {})
    if name not in commands:
        raise UsageError(f"no such command: {name}{nearest(name, commands)}").about("command")
    return commands[name]


def _show_given(context: Any) -> None:
    """What the environment and the file set."""
    root, path = context.find_root(), config_file()
    config, values = read_config(), {}
    for options in every_option(root).values():
        check(config, root, options)
        for _, place, value in options.values(config):
            values[place] = {"value": value, "from": str(path)}
        names = {name for key in options.every for name in options.variables(key)}
        for name in names & os.environ.keys():
            values[name] = {"value": os.environ[name], "from": "the environment"}
    report(path=path, values=values)
    for key, one in sorted(values.items()):
        say(f"{key} = {one['value']}  (from {one['from']})")
    if not values:
        say(f"nothing is set; the file is {path or f'the one that {FILE} names'}")


class Signed(Listed):
    """A command whose last argument may be a negative number, which is no option."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """What follows `--` is no option."""
        numbers = [one for one in args if re.fullmatch(r"-[\d.]+", one)]
        others = [one for one in args if one not in numbers]
        return super().parse_args(ctx, [*others, "--", *numbers] if numbers else args)


@_GROUP.command("set", cls=Signed)
def set_key(
    context: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="As after the option.")],
) -> None:
    """Set a default.

    \b
    Examples:
      unclip config set device cpu
      unclip config set generate.guidance_scale 4
      unclip config set low_memory true
    """
    parsed = _checked(context, key, value)
    path = _change(key, parsed)
    report(path=path, key=key, value=parsed)
    say(f"{path}: {key} = {parsed}")


@_GROUP.command("unset", cls=Listed)
def unset_key(context: typer.Context, key: Key) -> None:
    """Remove a default.

    \b
    Examples:
      unclip config unset device
      unclip config unset generate.guidance_scale
    """
    path = _change(key, None)
    report(path=path, key=key)
    say(f"{path}: {key} is no longer set")


@_GROUP.command("path", cls=Listed)
def show_path() -> None:
    """Print where the configuration file is, or would be.

    \b
    Examples:
      unclip config path
      UNCLIP_CONFIG=other.toml unclip config path
    """
    path = _file()
    report(path=path, exists=path.is_file())
    say(str(path))


def _file() -> Path:
    """The configuration file. Raises UsageError where there is none."""
    path = config_file()
    if path is None:
        raise UsageError(f"there is no configuration file: {FILE} is empty, or there is no home")
    return path


def _checked(context: Any, key: str, text: str) -> Any:
    """A value as TOML holds it. Raises UsageError for an unknown key, and for a wrong value."""
    from ..config import override
    from ._checks import check_default

    root = context.find_root()
    every = every_option(root).values()
    found = [
        (one.path, one.every[name])
        for one in every
        for name in one.every
        if key in one.places(name)
    ]
    if not found:
        raise UsageError(unknown(key, keys_of(root.command))).about("key")
    value = override({}, [f"value={text}"])["value"]
    for path, param in found:
        try:
            processed = param.process_value(context, typed(param, value))
            check_default(_command(root, path), param, processed)
        except UsageError as error:
            raise UsageError(str(error)).about("value") from None
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            error.param, error.ctx = param, None  # type: ignore[attr-defined]
            raise UsageError(usage_fault(error)).about("value") from None
    return value


def _command(root: Any, path: tuple[str, ...]) -> Any:
    """The command of a path."""
    command = root.command
    for name in path:
        command = command.commands[name]
    return command


def _change(key: str, value: Any) -> Path:
    """Write the file with a key changed, or, with None, without it. Raises UsageError."""
    from ..files import write_text
    from ._toml import changed

    path = _file()
    read_config()  # refused where it is no TOML
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        new = changed(text, key, value)
    except KeyError:
        raise UsageError(f"{path} does not set {key}").about("key") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}; change it with an editor").about("key") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    write_text(path, new)
    return path
