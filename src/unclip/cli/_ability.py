"""The command of an ability: its arguments and options follow from the ability's request."""
# Without `from __future__ import annotations`: see `_options`.

import ast
import inspect
import tokenize
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, make_dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

import typer
from typer.main import get_command

from ..abilities._options import option_name
from ..errors import UsageError
from ._defaults import origins
from ._draw import (
    Combinatorial,
    DrawOptions,
    Fast,
    FilmOutput,
    Fps,
    Grid,
    OneSeed,
    Prompts,
    WildcardFolder,
    assignments,
)
from ._fields import ASKED, argument, fields_of, option_field
from ._options import SAMPLING, Command, ModelOptions, NoLimit, StrictWords
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
    assignments: ClassVar[list[str] | None] = None  # --set, of those that draw
    fast: ClassVar[bool] = False  # --fast, of those that name a decoder

    def values(self, names: Iterable[str]) -> dict[str, Any]:
        """What the command line says of fields, if it has them."""
        every = {name: vars(self).get(ASKED + name, NO_OPTION) for name in names}
        return {name: value for name, value in every.items() if value is not NO_OPTION}

    def request(self, **more: Any) -> Any:
        """The request that the command line stands for. Raises UsageError, which names options.

        Args:
            more: fields that the command line does not say, or says otherwise.
        """
        fields = fields_of(self.ability.request)
        own = {
            name: argument(name, fields[name], value)
            for name, value in self.values(fields.keys() - more.keys()).items()
        }
        if self.fast:
            own["decoder"] = self._fast_decoder(own["decoder"])
        with self._naming_options(own):
            return self.ability.request.of(**own | more)

    @staticmethod
    def _fast_decoder(named: str | None) -> str:
        from ..stages.model import FAST

        if named not in (None, FAST):
            text = f"--fast chooses a decoder, and --decoder {named} another: give one of them"
            raise UsageError(text).about("decoder")
        return FAST

    def settings(self) -> dict[str, Any]:
        """Of the sampling: --set, and what has an option of its own. Raises UsageError."""
        from ..arguments import given
        from ..config import override

        common = given(self.values(self.ability.request.common))
        usual = {key: common.pop(key) for key in common.keys() & origins.get().keys()}
        taken = {key: f"--{key.replace('_', '-')} {value}" for key, value in common.items()}
        return usual | override({}, self.assignments or [], taken=taken) | common

    def check_inputs(self, request: Any) -> None:
        """As `Request.check_inputs`. Raises UsageError, which names options."""
        with self._naming_options(self.values(fields_of(self.ability.request))):
            request.check_inputs()

    @contextmanager
    def _naming_options(self, own: Iterable[str]) -> Iterator[None]:
        """An error that begins with a field's name begins with its option's instead."""
        try:
            yield
        except UsageError as error:
            head, space, rest = str(error).partition(" ")
            name = head.partition(".")[0]
            fields = fields_of(self.ability.request)
            if name not in fields:
                raise
            head = option_name(name, fields[name]) if name in own else head
            raise UsageError(head + space + rest).about(error.field or name) from None


@dataclass(frozen=True, kw_only=True)
class DrawCommand(AbilityOptions, DrawOptions):
    """What commands do that draw: check, load, draw with progress, write, say so."""

    def run(self) -> None:
        """Draw, write, say so."""
        from ._bulk import draw

        draw(self)


@dataclass(frozen=True, kw_only=True)
class ShareCommand(AbilityOptions):
    """What other commands do: print shares of 1, the largest first."""

    def run(self) -> None:
        """A line a share."""
        request = self.request()
        self.check_inputs(request)
        shares = request.shares(self.load().run(request))
        ranked = dict(sorted(shares.items(), key=lambda pair: -pair[1]))
        report(shares=ranked)
        width = max(map(len, ranked))
        for name, share in ranked.items():
            say(f"{name:<{width}}  {share:6.1%}  {'█' * round(share * BAR)}".rstrip())


def _or_folder(info: Any) -> Any:
    """A picture to begin from, of which a folder may hold several."""
    other = copy(info)
    other.description = f"{info.description.removesuffix('.')}, or a folder of them."
    return other


def _optional(name: str, kind: Any, *_: Any) -> tuple[Any, ...]:
    """A positional argument that may be left out."""
    annotated, shown = get_args(kind)
    return name, Annotated[annotated | None, shown], None


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
    if base is DrawCommand and "image" in fields:
        fields["image"] = _or_folder(fields["image"])
    own = [option_field(key, info) for key, info in fields.items()]
    own += [("strict_words", StrictWords, False)] if request.reads_text else []
    if issubclass(request, Drawing):
        for key, kind in request.common.items():
            own.append(option_field(key, FieldInfo.from_annotated_attribute(kind, None), SAMPLING))
        own += [("no_limit", NoLimit, False), ("assignments", assignments(request.example), None)]
        own += [("seed", OneSeed, None)] if request.one_seed or base.one_seed else []
        own += [("output", FilmOutput, None), ("fps", Fps, 12.0)] if request.film else []
    if base is DrawCommand:
        own += [("grid", Grid, False)]
        own += [("fast", Fast, False)] if "decoder" in fields else []
    if base is DrawCommand and "prompt" in request.model_fields:
        own = [_optional(*one) if one[0] == ASKED + "prompt" else one for one in own]
        own += [("prompts", Prompts, None), ("wildcards", WildcardFolder, None)]
        own += [("combinatorial", Combinatorial, False)]
    space = {"ability": ability}
    return make_dataclass(name, own, bases=(base,), namespace=space, frozen=True, kw_only=True)
