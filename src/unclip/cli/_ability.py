"""The command of an ability: its arguments and options follow from the ability's request."""
# Without `from __future__ import annotations`: see `_options`.

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.main import get_command

from ..errors import UsageError
from ._draw import DrawOptions, FilmOutput, Fps, OneSeed, assignments, deliver, drawing
from ._fields import ASKED, argument, fields_of, option_field, option_name
from ._options import Command, ModelOptions, NoLimit, StrictWords
from ._output import Layout, slug

if TYPE_CHECKING:
    from ..abilities import Ability


NO_OPTION = object()
"""The value of a field that the command line does not have."""


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
        every = {name: vars(self).get(ASKED + name, NO_OPTION) for name in names}
        return {name: value for name, value in every.items() if value is not NO_OPTION}

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

        common = given(self.values(self.ability.request.common))
        taken = {key: f"--{key.replace('_', '-')} {value}" for key, value in common.items()}
        return override({}, self.assignments or [], taken=taken) | common

    def run(self) -> None:
        """Draw, write, say so."""
        started, seed = time.monotonic(), self.first_seed()
        request = self.request(seed=seed, settings=self.settings())
        request.check_pictures()
        layout = Layout(request, self.title(self.values(fields_of(self.ability.request))))
        target = self.target(f"{layout.name}-{seed}")
        pipe = self.load(one_pass=request.one_pass)
        with drawing(pipe, lambda cost: target.expect(cost, layout)) as on_step:
            pictures = self.ability(pipe, request, on_step=on_step)
        deliver(pictures, layout, target, layout.seeds(len(pictures)), started)


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
    last: list[tuple[str, Any, Any]] = []
    last += [("strict_words", StrictWords, False)] if request.reads_text else []
    if issubclass(request, Drawing):
        for key, kind in request.common.items():
            fields[key] = FieldInfo.from_annotated_attribute(kind, None)
        last += [("no_limit", NoLimit, False), ("assignments", assignments(request.example), None)]
        last += [("seed", OneSeed, None)] if request.one_seed or base.one_seed else []
        last += [("output", FilmOutput, None), ("fps", Fps, 12.0)] if request.film else []
    own = [*base.extra, *(option_field(key, info, defaults) for key, info in fields.items())]
    own.sort(key=_has_default)  # those without one come first
    keywords = [(key, kind, field(default=value, kw_only=True)) for key, kind, value in last]
    space = {"ability": ability}
    return make_dataclass(name, [*own, *keywords], bases=(base,), namespace=space, frozen=True)


def _has_default(one: tuple[Any, ...]) -> bool:
    """Of a field as (name, type) or (name, type, default)."""
    return len(one) == 3
