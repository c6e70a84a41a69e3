"""What a default must be beyond its type: found when it is set, in the words of its use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..abilities._options import option_name
from ..errors import UsageError
from ._draw import ANY
from ._fields import ASKED, argument, fields_of
from ._preview import check_preview

if TYPE_CHECKING:
    from ..request import Request


def check_default(command: Any, param: Any, value: Any) -> None:
    """Raise UsageError for a value that a command's option would refuse.

    Whether a path leads anywhere is found at use: it may be made by then.

    Args:
        command: typer's.
        param: one of its options.
        value: as `param.process_value` gives it.
    """
    ability = getattr(inspect.unwrap(command.callback or check_default), "ability", None)
    name = param.name.removeprefix(ASKED)
    if name == "assignments":
        from ..config import override

        _check_settings(override({}, value))
    elif ability is not None and (param.name.startswith(ASKED) or name == "seed"):
        if name in ability.request.model_fields:
            _check_field(ability.request, name, value)
        else:
            _check_settings({name: value})
    elif name in _CHECKS:
        _CHECKS[name](value)


def _check_field(request: type[Request[Any]], name: str, value: Any) -> None:
    """Raise UsageError for what a request refuses of this field, whatever the others are."""
    from pydantic import ValidationError

    from ..config import expected

    if name == "seed" and value == ANY:
        return
    info = request.model_fields[name]
    called = option_name(name, info) if name in fields_of(request) else name
    try:
        request.model_validate({name: argument(name, info, value)})
    except ValidationError as error:
        for one in error.errors(include_url=False):
            if one["loc"][:1] == (name,):
                own = one["type"] == "value_error"  # whose text begins with the name
                text = str(one["ctx"]["error"]).removeprefix(name) if own else expected(one)
                raise UsageError(called + text) from None


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Raise UsageError for what the sampling of any stage refuses; others are the models' own."""
    from ..diffusion.spacing import SPACINGS
    from ..stages.sampling import Sampling, check_sampler

    names = sorted(Sampling.model_fields, key=len, reverse=True)
    for key, value in settings.items():
        name = next((one for one in names if f"_{key}".endswith(f"_{one}")), None)
        if name is not None:
            sampling = Sampling().merge({name: value}, key.removesuffix(name))
            check_sampler(sampling.sampler)
            SPACINGS[sampling.spacing]


def _device(name: str) -> None:
    from ..device import pick_device

    pick_device(name)


def _dtype(name: str) -> None:
    from ..device import pick_device, pick_dtype

    pick_dtype(name, pick_device())


_CHECKS: dict[str, Callable[[Any], None]] = {
    "device": _device,
    "dtype": _dtype,
    "preview": check_preview,
}
"""Of options that are no request's, by name."""
