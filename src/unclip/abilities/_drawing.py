"""What every ability that draws begins and ends with: a check, and a record in each picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from .._version import __version__
from ..arguments import given
from ..config import shown
from ..cost import Work
from ..errors import UsageError, nearest, warn
from ..media.notes import PARAMETERS, RECORD
from ..record import Record
from ..request import Drawing, Guided
from ..weighting import parse
from ._parameters import parameters_of
from ._sized import Sized

if TYPE_CHECKING:
    from ..pipeline import Chain
    from ..types import OnStep


def chosen(pipe: Chain, request: Drawing) -> Chain:
    """The pipeline with the decoder that a request names. Raises UsageError, for a prior too."""
    pipe = pipe.with_decoder(getattr(request, "decoder", None))
    pipe.model.check_prior(getattr(request, "prior", None))
    return request.framed(pipe) if isinstance(request, Sized) else pipe


def check_request(pipe: Chain, request: Drawing, work: Work, on_step: OnStep | None = None) -> None:
    """Refuse before the first step what cannot be drawn, or would take too long.

    Raises:
        UsageError: a setting that no stage has or can follow, a record that cannot be written,
            or more steps than the policy allows.
    """
    if not (on_step is None or callable(on_step)):
        raise UsageError(f"on_step must be a function or None, got {shown(on_step)}")
    try:
        cost = pipe.cost(work, getattr(request, "prior", None))
    except UsageError as error:
        raise _as_meant(error, request) from None
    request.record().to_json().encode()
    if isinstance(request, Guided) and request.negative_prompt:
        every = set(pipe.model.priors) if request.prior_alone else set(cost.steps)
        pipe.check_negative(work.settings, [name for name in cost.steps if name in every])
    if pipe.policy.on_cost is not None:
        pipe.policy.on_cost(cost)


def _as_meant(error: UsageError, request: Drawing) -> UsageError:
    """The error about an unknown setting, which may be a mistyped field instead."""
    head, known, _ = str(error).partition("; known: ")
    hint = nearest(error.field or "", type(request).model_fields)
    is_unknown = known and hint and error.field in request.settings
    return UsageError(head + hint).about(str(error.field)) if is_unknown else error


def words_alone(*prompts: str) -> list[str]:
    """Prompts without their syntax, which has no effect on the embedding of a whole text.

    Warns:
        PromptWarning: there is such syntax.
    """
    found = [parse(prompt) for prompt in prompts]
    for prompt, written in zip(prompts, found, strict=True):
        if written.weighs or written.breaks or written.left_out or len(written.clauses) > 1:
            warn(
                f"the embedding of a whole text takes no weights, AND or BREAK: '{prompt}' is "
                f"read as '{written.plain}'"
            )
    return [written.plain for written in found]


def attach_record(
    pipe: Chain,
    pictures: list[Image.Image],
    record: Record,
    one_seed: bool = False,
    stage: str = "",
) -> list[Image.Image]:
    """Give picture i its record, with seed + i unless all come of one seed.

    Beside it stand the parameters as other programs read them, with the sampling of `stage`, by
    default the decoder's.
    """
    import torch

    from ..parameters.a1111 import write

    threads = torch.get_num_threads() if pipe.device.type == "cpu" else 0
    for index, picture in enumerate(pictures):
        own = replace(
            record,
            seed=record.seed + (0 if one_seed else index),
            model=pipe.name,
            model_hash=pipe.hash,
            version=__version__,
            threads=threads,
            added=pipe.model.added,
        )
        picture.info[RECORD] = own.to_json()
        picture.info[PARAMETERS] = write(parameters_of(pipe, picture, own, stage))
    return pictures


DDIM = {"guidance_scale": 1.0, "sampler": "ddim", "eta": 0.0}
"""The decoder's settings where a picture is redrawn: guidance would change it."""


def ddim_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`DDIM` unless said otherwise."""
    return {**DDIM, **given(settings)}
