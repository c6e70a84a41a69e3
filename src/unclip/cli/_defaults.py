"""A user's defaults: the environment and the configuration file stand in for options not given.

An option is looked for in this order: the command line, `UNCLIP_GENERATE_STEPS`, `UNCLIP_STEPS`,
`steps` of the file's section `[generate]`, `steps` at its top, the command's own default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, nearest

FILE = "UNCLIP_CONFIG"
"""Environment variable: the configuration file, in place of the platform's; empty for none."""

PREFIX = "UNCLIP_"
OWN = {FILE, "UNCLIP_DEBUG", "UNCLIP_API_KEY", "UNCLIP_REFUSED_WORDS"}
"""Variables that stand for no option."""

NEVER = {"help", "json"}
"""Options that nobody wants by default."""

origins: ContextVar[Mapping[str, str]] = ContextVar("origins", default={})  # noqa: B039
"""Of the command that runs: each option that was not typed, and the variable or file it is from."""


def config_file() -> Path | None:
    """Where the configuration is, whether there is one or not."""
    named = os.environ.get(FILE)
    if named is not None:
        return Path(named).expanduser() if named else None
    home = os.environ.get("XDG_CONFIG_HOME")
    if not home and sys.platform == "darwin":
        home = "~/Library/Application Support"
    elif not home and sys.platform == "win32":
        home = os.environ.get("APPDATA", "~/AppData/Roaming")
    try:
        return Path(home or "~/.config").expanduser() / "unclip" / "config.toml"
    except RuntimeError:  # no home folder
        return None


def read_config() -> dict[str, Any]:
    """What the file holds; nothing where there is none. Raises UsageError."""
    path = config_file()
    if path is None or not path.is_file():
        return {}
    from ..config import read_toml

    return read_toml(path)


def key_of(param: Any) -> str:
    """What the file calls an option: its longest name, such as guidance_scale; empty for others."""
    if param.param_type_name != "option" or param.hidden:
        return ""
    key = max(param.opts, key=len).lstrip("-").replace("-", "_")
    return "" if key in NEVER else key


def path_of(ctx: Any) -> tuple[str, ...]:
    """A command's name, after those of the groups that it is in."""
    return () if ctx.parent is None else (*path_of(ctx.parent), ctx.info_name)


@dataclass(frozen=True)
class Options:
    """A command's options by key, and which of them keys at the top of the file are of."""

    path: tuple[str, ...]
    every: Mapping[str, Any]
    shared: frozenset[str]

    @classmethod
    def of(cls, ctx: Any, params: Sequence[Any], groups: Sequence[str] | None) -> Options:
        """Of a command; `unclip` itself has none.

        Args:
            groups: of its help, whose options are shared with other commands; None: all are.
        """
        every = {key_of(param): param for param in params} if ctx.parent else {}
        every.pop("", None)
        shared = {
            key for key, one in every.items() if groups is None or one.rich_help_panel in groups
        }
        return cls(path_of(ctx), every, frozenset(shared))

    def variables(self, key: str) -> list[str]:
        """Environment variables that stand for an option, the first one first."""
        own = [variable(*self.path, key)]
        return [*own, variable(key)] if key in self.shared else own

    def places(self, key: str) -> list[str]:
        """What the file calls an option, its place at the top first."""
        own = [".".join((*self.path, key))]
        return [key, *own] if key in self.shared else own

    def values(self, config: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """(key, its place in the file, value) of those that the file has, at the top first."""
        for key in self.shared & config.keys():
            yield key, key, config[key]
        section: Any = config
        for name in self.path:
            section = section.get(name, {}) if isinstance(section, Mapping) else {}
        for key in self.every.keys() & section.keys():
            yield key, ".".join((*self.path, key)), section[key]


def variable(*names: str) -> str:
    """UNCLIP_GENERATE_STEPS of 'generate', 'steps'."""
    return PREFIX + "_".join(names).upper().replace("-", "_")


class Defaults(dict[str, Any]):
    """What typer takes for the defaults of a command's options; the file is read on demand.

    `unclip generate --help`, and a command without options, do not read it.
    """

    def __init__(self, ctx: Any, options: Options) -> None:
        super().__init__()
        self._ctx, self._options, self._is_read = ctx, options, False

    def get(self, name: str, default: Any = None) -> Any:
        """The file's value for a parameter. Raises UsageError where the file is wrong."""
        options = self._options.every
        if not self._is_read and any(param.name == name for param in options.values()):
            self._is_read = True
            config = read_config()
            check(config, self._ctx.find_root(), self._options)
            for key, _, value in self._options.values(config):
                self[options[key].name] = typed(options[key], value)
        return super().get(name, default)


def typed(param: Any, value: Any) -> Any:
    """A value of the file as it would be typed: [1, 4] is 1,4 unless an option is repeatable."""
    if param.multiple:
        return value if isinstance(value, list) else [value]
    if isinstance(value, bool) and not param.is_flag:  # else it would pass for a number
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else value


def every_option(root: Any) -> dict[tuple[str, ...], Options]:
    """Of every command below a context, by its path."""
    found: dict[tuple[str, ...], Options] = {}
    for name, command in getattr(root.command, "commands", {}).items():
        if not command.hidden and hasattr(command, "options_of"):
            context = type(root)(command, parent=root, info_name=name)
            options = command.options_of(context)
            found |= {options.path: options, **every_option(context)}
    return found


def effective(command: Any, parent: Any, name: str) -> tuple[Options, dict[str, tuple[Any, str]]]:
    """A command's options, and by key what each is where it is not typed, and where from.

    Raises UsageError, or typer's own error, for a value that it refuses.
    """
    context = type(parent)(command, parent=parent, info_name=name)
    options, found = command.options_of(context), dict[str, Any]()
    context.default_map = Defaults(context, options)
    for key, param in options.every.items():
        param.envvar = options.variables(key)
        value, source = param.consume_value(context, {})
        context.set_parameter_source(param.name, source)
        found[key] = param.process_value(context, value)
    where = origins_of(context, options)
    return options, {key: (value, where.get(key, "")) for key, value in found.items()}


def keys_of(group: Any) -> list[str]:
    """Every key that the file may have, those at its top first."""
    every = every_option(group.make_context("unclip", [], resilient_parsing=True)).values()
    keys = {place for one in every for key in one.every for place in one.places(key)}
    return sorted(keys, key=lambda key: ("." in key, key))


def check(config: Mapping[str, Any], root: Any, own: Options) -> None:
    """Raise UsageError for a key that is no option's: of a command, or at the top of any."""
    where = f"{config_file()}: "
    commands = root.command.commands
    others = {key for key in config if key not in own.shared and key not in commands}
    if others:  # of another command, then
        known = {key for one in every_option(root).values() for key in one.shared}
        for key in sorted(others - known):
            raise UsageError(where + unknown(key, [*known, *commands])).about(key)
    section: Any = config
    for depth, name in enumerate(own.path, start=1):
        section = section.get(name, {})
        if not isinstance(section, Mapping):
            raise UsageError(f"{where}{name} must be a section: write [{name}]").about(name)
        commands = getattr(commands[name], "commands", {})
        for key in section.keys() - (commands or own.every).keys():
            key = ".".join((*own.path[:depth], key))
            raise UsageError(where + unknown(key, commands or own.every)).about(key)


def unknown(key: str, known: Any) -> str:
    """That there is no such key, and the nearest one."""
    last = key.rpartition(".")[2]
    hint = nearest(last.replace("-", "_"), known)
    return f"unknown key '{key}'{hint or '; unclip config --help says which there are'}"


def origins_of(ctx: Any, options: Options) -> dict[str, str]:
    """By key, where each value is from that was not typed: a variable, or the file."""
    found = {}
    for key, param in options.every.items():
        source = getattr(ctx.get_parameter_source(param.name), "name", "")
        if source == "ENVIRONMENT":
            names = (name for name in options.variables(key) if os.environ.get(name))
            found[key] = next(names, "the environment")
        elif source == "DEFAULT_MAP":
            found[key] = str(config_file())
    return found


def unknown_variables(root: Any, own: Options) -> Iterator[str]:
    """A line for each `UNCLIP_` variable that stands for nothing, in any command."""
    given = {name for name in os.environ if name.startswith(PREFIX)} - OWN
    if given - {name for key in own.every for name in own.variables(key)}:
        every = every_option(root).values()
        known = {name for one in every for key in one.every for name in one.variables(key)}
        for name in sorted(given - known):
            yield f"environment variable {name} stands for no option{nearest(name, known)}"
