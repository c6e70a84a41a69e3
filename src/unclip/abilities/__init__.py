"""What can be done with a pipeline: one file an ability, found by its module's `ABILITY`.

An ability is a request, which says what its arguments are, and a function of a pipeline. Its
command, record and replay follow from the request, and `Pipeline.run` runs it. The file's name is
the command's and its docstring the help. These files import PyTorch where they compute, so that a
command can read a request, and find a mistake in it, before that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageError, nearest
from ..registry import Registry

if TYPE_CHECKING:
    from ..request import Request

Need = Literal["prompt", "embedding", "text", "vision", "upsampler"]
"""What an ability may need of a model: to draw from a text or from an image embedding, to encode a
text or a picture with CLIP, to enlarge."""


@dataclass(frozen=True)
class Ability:
    """A function and the class of its arguments."""

    request: type[Request[Any]]
    function: Callable[..., Any]  # of a pipeline and the request's arguments
    needs: frozenset[Need] = frozenset()
    together: Callable[..., Any] | None = None  # the results of requests that one batch can draw

    def __call__(self, pipe: Any, request: Request[Any], **more: Any) -> Any:
        """Do with a pipeline what is asked. Raises UsageError where its model cannot."""
        return self.function(pipe, **request.arguments(), **more)


ABILITIES: Registry[Ability] = Registry("unclip.abilities", "ABILITY", "ability")
"""By the names of their commands."""


@lru_cache(maxsize=64)  # a lookup reads folders, and servers ask for every request
def ability_of(name: str) -> Ability:
    """The ability that a record names. Raises UsageError where there is none."""
    for command in ABILITIES.names():
        if ABILITIES[command].request.ability == name:
            return ABILITIES[command]
    raise UsageError(f"there is no ability '{name}'{nearest(name, ABILITIES.names())}")
