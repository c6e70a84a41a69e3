"""The command of an ability: its arguments and options follow from the ability's request."""
# Without `from __future__ import annotations`: see `_options`.

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Union, get_args, get_origin

import typer
from typer.main import get_command

from ..errors import UsageError
from ._draw import Delivery, DrawOptions, FilmOutput, Fps, OneSeed, drawing
from ._options import Command, ModelOptions, NoLimit, StrictWords
from ._output import Layout, slug

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from ..abilities import Ability
    from ..request import Option, Request


ASKED = "asked_"
"""Before the names of a request's fields, which are anybody's: a command has others too."""


class AbilityCommand(Command):
    """A command that finds out its options when they are needed: requests import PyTorch.

    The list of commands needs the first line of its help alone.
    """

    def get_params(self, ctx: Any) -> Any:
        """The fields of the dataclass that its function makes."""
        if not self.params and self.callback is not None:
            app = typer.Typer(add_completion=False)
            app.command()(self.callback())
            whole = get_command(app)
            self.params, self.callback = whole.params, whole.callback
        return super().get_params(ctx)


@dataclass(frozen=True, kw_only=True)
class AbilityOptions(ModelOptions):
    """What the command of an ability is made of, beside its request's fields."""

    ability: ClassVar[Any]  # an `Ability`
    extra: ClassVar[list[Any]] = []  # options that are not the request's: name, type, default
    left_out: ClassVar[frozenset[str]] = frozenset()  # of the request's fields
    one_seed: ClassVar[bool] = False  # as in `Drawing`

    def values(self, names: Iterable[str]) -> dict[str, Any]:
        """What the command line says of fields, if it has them."""
        every = {name: vars(self).get(ASKED + name, self) for name in names}
        return {name: value for name, value in every.items() if value is not self}

    def request(self, **more: Any) -> Any:
        """The request that the command line stands for. Raises UsageError, which names options."""
        fields = fields_of(self.ability.request)
        own = {
            name: argument(name, fields[name], value) for name, value in self.values(fields).items()
        }
        try:
            return self.ability.request.of(**own, **more)
        except UsageError as error:
            head, space, rest = str(error).partition(" ")  # it begins with the field
            name = head.partition(".")[0]
            head = option_name(name, fields[name]) if name in fields else head
            raise UsageError(head + space + rest) from None


@dataclass(frozen=True, kw_only=True)
class DrawCommand(AbilityOptions, DrawOptions):
    """What commands do that draw: check, load, draw with progress, write, say so."""

    def title(self, values: Mapping[str, Any]) -> str:
        """What files are called, before their seed."""
        if "image" not in values:
            return slug(values["prompt"])
        return f"{slug(Path(values['image']).stem)}-{type(self).__name__}"

    def settings(self) -> dict[str, Any]:
        """Of the sampling: --set, and what has an option of its own. Raises UsageError."""
        from ..arguments import given
        from ..config import override

        common = self.values(self.ability.request.common)
        return override({}, self.assignments or []) | given(common)

    def run(self) -> None:
        """Draw, write, say so."""
        started, seed = time.monotonic(), self.first_seed()
        request = self.request(seed=seed, settings=self.settings())
        request.check_pictures()
        layout = Layout(request, self.title(self.values(fields_of(self.ability.request))))
        target = self.target(f"{layout.name}-{seed}", getattr(self, "fps", None))
        pipe = self.load(one_pass=request.one_pass)
        with drawing(pipe, lambda cost: target.expect(cost, layout)) as on_step:
            pictures = self.ability(pipe, request, on_step=on_step)
        Delivery(target, layout.seeds(len(pictures)), started).write(pictures, layout)


def ability_command(
    module: str, ability: str, base: type[AbilityOptions] = DrawCommand, **defaults: Any
) -> Callable[[typer.Typer], None]:
    """What adds an ability's command to an application.

    Args:
        module: the command's, whose name is its name and whose docstring its help.
        ability: the name of its module.
        base: what the command does.
        defaults: of arguments that are not the request's own.
    """
    name = module.rpartition(".")[2]

    def make() -> type:
        from ..abilities import ABILITIES

        return command_class(ABILITIES[ability], name, base, defaults)

    def register(app: typer.Typer) -> None:
        app.command(name, cls=AbilityCommand, help=sys.modules[module].__doc__)(make)

    return register


def command_class(
    ability: "Ability", name: str, base: type[AbilityOptions], defaults: Mapping[str, Any]
) -> type:
    """A dataclass with a field for each of the request's, which typer reads, and those of `base`.

    A field's type, default, bounds and description are the request's.
    """
    from pydantic.fields import FieldInfo

    from ..request import Drawing

    request = ability.request
    fields = {key: info for key, info in fields_of(request).items() if key not in base.left_out}
    more: list[tuple[str, Any, Any]] = []
    last: list[tuple[str, Any, Any]] = []
    last += [("strict_words", StrictWords, False)] if request.reads_text else []
    if issubclass(request, Drawing):
        for key, kind in request.common.items():
            fields[key] = FieldInfo.from_annotated_attribute(kind, None)
        more += [("fps", Fps, 12.0)] if request.film else []
        last += [("no_limit", NoLimit, False)]
        last += [("seed", OneSeed, None)] if request.one_seed or base.one_seed else []
        last += [("output", FilmOutput, None)] if request.film else []
    own = [*base.extra, *(_field(key, info, defaults) for key, info in fields.items()), *more]
    own.sort(key=len)  # what has no default comes first
    keywords = [(key, kind, field(default=value, kw_only=True)) for key, kind, value in last]
    space = {"ability": ability}
    return make_dataclass(name, [*own, *keywords], bases=(base,), namespace=space, frozen=True)


def fields_of(request: "type[Request]") -> "dict[str, FieldInfo]":
    """The fields that are arguments and options by themselves."""
    every = request.model_fields.items()
    return {name: info for name, info in every if name not in ("seed", "settings")}


def pictures_of(request: "type[Request]") -> "dict[str, FieldInfo]":
    """The fields that are files: pictures, or a folder of them."""
    return {name: info for name, info in fields_of(request).items() if info.annotation is Any}


def _option(info: "FieldInfo") -> "Option":
    from ..request import Option

    found = [one for one in info.metadata if isinstance(one, Option)]
    return found[-1] if found else Option()


def option_name(name: str, info: "FieldInfo") -> str:
    """What the command line calls a field."""
    if _option(info).positional:
        return _option(info).metavar or name.upper()
    return _option(info).name or f"--{name.replace('_', '-')}"


def _field(name: str, info: "FieldInfo", defaults: Mapping[str, Any]) -> tuple[Any, ...]:
    """(name, type, default) of a dataclass' field, for typer; without a default if it has none."""
    shown = _option(info)
    made: Any
    metavar, kind = shown.metavar or name.upper(), _type(info.annotation, shown.positional)
    if shown.positional:
        made = typer.Argument(metavar=metavar, help=info.description)
    else:
        made = typer.Option(
            option_name(name, info),
            metavar=metavar,
            help=info.description,
            min=_bound(info, "ge"),
            max=_bound(info, "le"),
            show_default=shown.default or True,
        )
    if name not in defaults and info.is_required():
        return ASKED + name, Annotated[kind, made]
    return ASKED + name, Annotated[kind, made], defaults.get(name, info.default)


def _type(annotation: Any, positional: bool) -> Any:
    """What typer reads from the command line for it."""
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _type(inner[0], positional)
    if get_origin(annotation) in (Union, UnionType):
        (kind,) = (one for one in inner if one is not NoneType)
        return _type(kind, positional) | None
    if get_origin(annotation) is tuple:  # several words, or numbers in one
        return list[str] if positional else str
    return str if annotation is Any else annotation


def _bound(info: "FieldInfo", name: str) -> Any:
    """One that a person may meet."""
    from ..arguments import MOST

    found = (getattr(one, name, None) for one in info.metadata)
    return next((value for value in found if value not in (None, MOST)), None)


def argument(name: str, info: "FieldInfo", value: Any) -> Any:
    """A word of the command line as the request takes it. Raises UsageError."""
    if not isinstance(value, str):
        return value
    if _option(info).folder:
        return _pictures_in(Path(value))
    if info.annotation is Any:
        return _readable_again(value)
    kind = _type(info.annotation, True)
    return _numbers(name, info, value) if kind in (list[str], list[str] | None) else value


def _numbers(name: str, info: "FieldInfo", text: str) -> tuple[int, ...]:
    """'10,40' -> (10, 40). Raises UsageError."""
    metavar = _option(info).metavar
    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or ("..." not in metavar and len(numbers) != len(metavar.split(","))):
        option = option_name(name, info)
        raise UsageError(f"{option} must be {metavar} in whole numbers, got '{text}'")
    return numbers


def _pictures_in(folder: Path) -> list[Path]:
    """Raises UsageError where there are none."""
    from ..data.listing import pictures_in

    if not folder.is_dir():
        raise UsageError(f"cannot read {folder}: there is no such folder")
    files = pictures_in(folder)
    if not files:
        raise UsageError(f"there are no pictures in {folder}")
    return files


def _readable_again(path: str) -> str | bytes:
    """The content of a pipe, which can be read but once; any other path or text as it is."""
    if not os.path.exists(path) or os.path.isfile(path) or os.path.isdir(path):
        return path
    from ..media._formats import MAX_BYTES

    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return path  # who reads it says why it cannot be
