"""What draws the same without the page: a line for the shell, one for curl, and some of Python."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..abilities import ABILITIES
from ..abilities._options import option_name, option_of
from ..bulk.wildcards import Wildcards
from ..config import override
from ..errors import UsageError
from ..request import Drawing
from .abilities import drawing
from .job import Drawn, Finish, Spec

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

KEY = "$UNCLIP_API_KEY"
"""Where curl finds the key, which is never written down."""
SUFFIXES = {"jpeg": "jpg", "webp": "webp"}


@dataclass(frozen=True)
class Place:
    """Where it is drawn.

    Args:
        base: address of the server.
        key: whether that needs one.
        model: what `--model` and `load` are given; None: nothing, the model is theirs by default.
        options: of the hardware, as `--device` has them.
    """

    base: str
    key: bool = False
    model: str | None = None
    options: dict[str, str] = field(default_factory=dict)


def of_picture(spec: Spec, drawn: Drawn) -> Spec:
    """The job of one of its pictures alone; of a series, whose pictures go together, the whole."""
    request = drawing()[spec.ability]
    if request.one_seed or "n" not in request.model_fields:
        return spec
    return replace(spec, fields={**spec.fields, "n": 1, "seed": drawn.seed}, pictures=1)


def commands(spec: Spec, place: Place) -> dict[str, Any]:
    """`cli`, `python` and `curl`, and of the pictures that the first two begin from, the `files`.

    Raises:
        UsageError: the job is of another version.
    """
    names = {name: f"{name}.png" for name in spec.inputs}
    known = drawing().get(spec.ability)
    if known is None:
        raise UsageError(f"there is no ability '{spec.ability}'")
    request = known.of(**spec.fields, **names)
    return {
        "cli": cli_line(spec, request, place),
        "python": python_code(spec, request, place),
        "curl": curl_line(spec, place),
        "files": {names[name]: digest for name, digest in spec.inputs.items()},
    }


def _given(request: Drawing, usual: Callable[[FieldInfo], Any]) -> dict[str, Any]:
    """Fields that are not as they are by default; the seed always, the settings never."""
    fields = type(request).model_fields
    values = {name: getattr(request, name) for name in fields if name not in ("seed", "settings")}
    own = {name: one for name, one in values.items() if one != usual(fields[name])}
    return {**own, "seed": request.seed}


def _of_field(info: FieldInfo) -> Any:
    return info.default


def _of_option(info: FieldInfo) -> Any:
    """The command's default, which may be another."""
    own = option_of(info).begins_with
    return info.default if own is None else own


def cli_line(spec: Spec, request: Drawing, place: Place) -> str:
    """The call of the command."""
    fields, given = type(request).model_fields, _given(request, _of_option)
    first = [name for name in given if option_of(fields[name]).positional]
    arguments = [_argument(name, given[name]) for name in first]
    options = list(_options(request, {n: v for n, v in given.items() if n not in first}))
    if place.model is not None:
        options.append(("--model", place.model))
    options += place.options.items()
    if spec.finish.format != "png":
        options.append(("-o", f"picture.{SUFFIXES[spec.finish.format]}"))
    words = [word for name, text in options for word in _option(name, text)]
    rest = ["--", *arguments] if any(one.startswith("-") for one in arguments) else []
    every = [*words, *rest] if rest else [*arguments, *words]
    return shlex.join(["unclip", spec.ability, *every])


def _argument(name: str, value: Any) -> str:
    """A word; of a prompt, in which braces and bars would be choices."""
    text = str(value)
    return _without_choices(text) if name == "prompt" else text


def _without_choices(prompt: str) -> str:
    try:
        same = Wildcards().draw(prompt) == prompt and not Wildcards().is_template(prompt)
    except UsageError:
        same = False
    return prompt if same else re.sub(r"([{}|_])", r"\\\1", prompt)


def _options(request: Drawing, given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    fields = type(request).model_fields
    for name, value in given.items():
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        yield option_name(name, fields[name]), shown
    for name, value in request.settings.items():
        if name in request.common:
            yield f"--{name.replace('_', '-')}", str(value)
        else:
            yield "--set", f"{name}={_setting(value)}"


def _setting(value: Any) -> str:
    """As --set reads it: in TOML's syntax, a text as it is where that is read so too."""
    if isinstance(value, str) and override({}, [f"a={value}"]) == {"a": value}:
        return value
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _option(name: str, text: str) -> list[str]:
    """Its words; one, where its value would be taken for another option."""
    return [f"{name}={text}"] if text.startswith("-") else [name, text]


def python_code(spec: Spec, request: Drawing, place: Place) -> str:
    """Some lines, with the method of the pipeline (`facade.py`, which needs PyTorch)."""
    function = ABILITIES[spec.ability].function
    given = {**_given(request, _of_field), **request.settings}
    names = [one for one in inspect.signature(function).parameters if one in given]
    order = [*names, *(name for name in given if name not in names)]
    words = [f"{name}={given[name]!r}" for name in order]
    if order and _is_first(function, order[0]):
        words[0] = repr(given[order[0]])
    call = f"{function.__name__}({', '.join(words)})"
    options = {"model": place.model, **{k.strip("-"): v for k, v in place.options.items()}}
    loaded = ", ".join(f"{name}={one!r}" for name, one in options.items() if one is not None)
    name = f"picture.{SUFFIXES.get(spec.finish.format, 'png')}"
    draw = f"pipe = unclip.load({loaded})\npictures = pipe.{call}\npictures[0].save({name!r})\n"
    return f"import unclip\n\n{draw}"


def _is_first(function: Any, name: str) -> bool:
    """Whether it stands first among a function's arguments, after the pipeline."""
    return list(inspect.signature(function).parameters)[1] == name


def curl_line(spec: Spec, place: Place) -> str:
    """The call of this server, on which the pictures that it begins from are already."""
    usual = Finish()
    finish = {
        name: getattr(spec.finish, name)
        for name in ("size", "format", "quality")
        if getattr(spec.finish, name) != getattr(usual, name)
    }
    body: dict[str, Any] = {"ability": spec.ability, "fields": spec.fields}
    body |= {"inputs": spec.inputs} if spec.inputs else {}
    body |= {"model": spec.model} if spec.model else {}
    body |= {"finish": finish} if finish else {}
    words = ["curl", f"{place.base}/v1/jobs", "-H", "content-type: application/json"]
    line = shlex.join([*words, "-d", json.dumps(body, ensure_ascii=False)])
    return f'{line} -H "authorization: Bearer {KEY}"' if place.key else line
