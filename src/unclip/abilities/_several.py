"""Several prompts at once, and several requests in the same batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from inspect import signature
from itertools import chain
from typing import TYPE_CHECKING, Any, ParamSpec

from PIL import Image

from ..arguments import plain
from ..cost import BATCH, Cost, check_memory
from ..errors import UsageError
from ..request import Drawing, Request
from ..weighting import further
from . import ability_of

if TYPE_CHECKING:
    from ..pipeline import Chain

P = ParamSpec("P")
Draw = Callable[P, list[Image.Image]]


def several(prompt: Any) -> tuple[Any, ...]:
    """The prompts of a list, or the only one. Raises UsageError where a list is empty."""
    prompts = plain(prompt)
    if not isinstance(prompts, tuple):
        return (prompt,)
    if not prompts:
        raise UsageError("prompt must be a text or a list of them, got an empty list")
    return prompts


class _Enough(Exception):
    """The cost of a request is known, and nothing more is wanted."""


Known = dict[tuple[int, int], Cost]
"""What requests cost that differ in prompt, n and seed alone: by n and the clauses of AND."""


def cost_of(pipe: Chain, *requests: Drawing, known: Known | None = None) -> Cost:
    """What requests that differ in prompt, n and seed alone take together, without a step.

    Args:
        known: of such requests, what was found before; what is found is added.

    Raises:
        UsageError: this model cannot draw it, its pictures cannot be read, or it is more than the
            policy allows.
    """
    found: Known = {} if known is None else known
    costs = []
    for request in requests:
        differ = getattr(request, "n", 1), further(getattr(request, "prompt", ""))
        found[differ] = found.get(differ) or _cost_of(pipe, request)
        costs.append(found[differ])
    cost = sum(costs[1:], costs[0])
    cost.check(pipe.policy.limit)
    check_memory(cost.pictures, cost.size)
    return cost


def _cost_of(pipe: Chain, request: Drawing) -> Cost:
    costs: list[Cost] = []

    def note(cost: Cost) -> None:
        costs.append(cost)
        raise _Enough

    asked = pipe.with_policy(replace(pipe.policy, on_cost=note))
    with suppress(_Enough):
        ability_of(request.ability)(asked, request)
    return costs[0]


def each_prompt(request: type[Drawing]) -> Callable[[Draw[P]], Draw[P]]:
    """Let the function of an ability take a list of prompts, drawn one after the other.

    What they take together is checked, and told to the policy's `on_cost`, before the first.

    Args:
        request: checks them all before the first is drawn.
    """

    def decorate(function: Draw[P]) -> Draw[P]:
        names = signature(function)

        @wraps(function)
        def each(*args: P.args, **more: P.kwargs) -> list[Image.Image]:
            call = names.bind(*args, **more)
            if not isinstance(plain(call.arguments.get("prompt")), tuple):
                return function(*args, **more)
            prompts = several(call.arguments["prompt"])
            known = request.model_fields.keys() & call.arguments.keys()
            values = {name: call.arguments[name] for name in known}
            asked = [request.of(**values | {"prompt": one}) for one in prompts]
            call.arguments["pipe"] = _checked(call.arguments["pipe"], asked)
            drawn = []
            for one in prompts:
                call.arguments["prompt"] = one
                drawn.append(function(*call.args, **call.kwargs))
            return list(chain.from_iterable(drawn))

        return each

    return decorate


def _checked(pipe: Chain, requests: Sequence[Drawing]) -> Chain:
    """For requests that differ in their prompt alone, a chain that checks no cost again."""
    cost = cost_of(pipe, *requests)
    if pipe.policy.on_cost is not None:
        pipe.policy.on_cost(cost)
    return pipe.with_policy(replace(pipe.policy, limit=None, on_cost=None))


def shared(request: Request[Any]) -> str:
    """What requests that one batch can draw have in common: all but prompt, n and seed.

    Empty where an ability draws one at a time.
    """
    if ability_of(request.ability).together is None:
        return ""
    return f"{request.ability} {request.model_dump_json(exclude={'prompt', 'n', 'seed'})}"


def batches(requests: Sequence[Request[Any]]) -> list[list[int]]:
    """Numbers of the requests that are drawn together, a list a batch, in the order of the first.

    Those of an ability that can, the same but for prompt, n and seed. A batch has at most `BATCH`
    pictures, or one request.
    """
    done: list[list[int]] = []
    filling: dict[str, tuple[list[int], int]] = {}  # what they share -> requests, pictures
    for index, request in enumerate(requests):
        key, count = shared(request), getattr(request, "n", 1)
        if not key:
            done.append([index])
            continue
        batch, pictures = filling.get(key, ([], BATCH))
        if pictures + count > BATCH:
            batch, pictures = [], 0
            done.append(batch)
        batch.append(index)
        filling[key] = batch, pictures + count
    return done
