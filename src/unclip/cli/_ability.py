"""The command of an ability: its arguments and options follow from the ability's request."""
# Without `from __future__ import annotations`: see `_options`.

import ast
import inspect
import time
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, make_dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.main import get_command

from ..errors import UsageError
from ._defaults import origins
from ._draw import DrawOptions, FilmOutput, Fps, OneSeed, assignments, deliver, drawing
from ._fields import ASKED, argument, fields_of, option_field, option_name
from ._options import SAMPLING, Command, ModelOptions, NoLimit, StrictWords
from ._output import Layout, slug
from ._result import report
from ._terminal import say

if TYPE_CHECKING:
    from ..abilities import Ability


BAR = 40
"""Columns of a bar of 100 %."""

NO_OPTION = object()
"""The value of a field that the command line does not have."""


class AbilityCommand(Command):
    """A command that finds out its options when they are needed.

    The list of commands needs the first line of its help alone, and no request's class.
    """

    shared_groups = None

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
            request = self.ability.request.of(**own, **more)
            request.check_inputs()
        except UsageError as error:
            head, space, rest = str(error).partition(" ")  # it begins with the field
            name = head.partition(".")[0]
            if name not in fields:
                raise
            head = option_name(name, fields[name])
            raise UsageError(head + space + rest).about(error.field or name) from None
        return request


@dataclass(frozen=True, kw_only=True)
class DrawCommand(AbilityOptions, DrawOptions):
    """What commands do that draw: check, load, draw with progress, write, say so."""

    def settings(self) -> dict[str, Any]:
        """Of the sampling: --set, and what has an option of its own. Raises UsageError."""
        from ..arguments import given
        from ..config import override

        common = given(self.values(self.ability.request.common))
        usual = {key: common.pop(key) for key in common.keys() & origins.get().keys()}
        taken = {key: f"--{key.replace('_', '-')} {value}" for key, value in common.items()}
        return usual | override({}, self.assignments or [], taken=taken) | common

    def run(self) -> None:
        """Draw, write, say so."""
        started, seed = time.monotonic(), self.first_seed()
        request = self.request(seed=seed, settings=self.settings())
        layout = Layout(request, "-".join(map(slug, request.title(type(self).__name__))))
        target, preview = self.target(f"{layout.name}-{seed}"), self.shown()
        pipe = self.load(one_pass=request.one_pass)
        with drawing(pipe, lambda cost: target.expect(cost, layout), preview=preview) as on_step:
            pictures = pipe.run(request, on_step)
        self.open(deliver(pictures, layout, target, layout.seeds(len(pictures)), started))


@dataclass(frozen=True, kw_only=True)
class ShareCommand(AbilityOptions):
    """What other commands do: print shares of 1, the largest first."""

    def run(self) -> None:
        """A line a share."""
        request = self.request()
        shares = request.shares(self.load().run(request))
        ranked = dict(sorted(shares.items(), key=lambda pair: -pair[1]))
        report(shares=ranked)
        width = max(map(len, ranked))
        for name, share in ranked.items():
            say(f"{name:<{width}}  {share:6.1%}  {'█' * round(share * BAR)}".rstrip())


def help_of(module: str) -> str:
    """A module's docstring, as the help of its command; the module is not run."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    with tokenize.open(spec.origin) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.STRING:
                return inspect.cleandoc(ast.literal_eval(token.string))
            if token.type not in (tokenize.COMMENT, tokenize.NL):
                break
    return ""


def add_command(
    app: typer.Typer,
    name: str,
    module: str,
    ability: str = "",
    base: type[AbilityOptions] | None = None,
) -> None:
    """Add an ability's command.

    Args:
        app: to this application.
        name: of the command.
        module: whose docstring is its help.
        ability: whose arguments it takes, if that is not called as the command is.
        base: what the command does, if that is not drawing or printing shares.
    """

    def make() -> type:
        from ..abilities import ABILITIES

        return command_class(ABILITIES[ability or name], name, base)

    app.command(name, cls=AbilityCommand, help=help_of(module))(make)


def command_class(
    ability: "Ability", name: str, base: type[AbilityOptions] | None = None
) -> type[AbilityOptions]:
    """A dataclass with a field for each of the request's, which typer reads, and those of `base`.

    A field's type, default, bounds and description are the request's.
    """
    from pydantic.fields import FieldInfo

    from ..request import Drawing

    request = ability.request
    base = base or (DrawCommand if issubclass(request, Drawing) else ShareCommand)
    fields = {key: info for key, info in fields_of(request).items() if key not in base.left_out}
    own = [option_field(key, info) for key, info in fields.items()]
    own += [("strict_words", StrictWords, False)] if request.reads_text else []
    if issubclass(request, Drawing):
        for key, kind in request.common.items():
            own.append(option_field(key, FieldInfo.from_annotated_attribute(kind, None), SAMPLING))
        own += [("no_limit", NoLimit, False), ("assignments", assignments(request.example), None)]
        own += [("seed", OneSeed, None)] if request.one_seed or base.one_seed else []
        own += [("output", FilmOutput, None), ("fps", Fps, 12.0)] if request.film else []
    space = {"ability": ability}
    return make_dataclass(name, own, bases=(base,), namespace=space, frozen=True, kw_only=True)
