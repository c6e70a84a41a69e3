"""What a CLIP learns from: a weighted sum of losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, create_model, model_validator
from torch import Tensor, nn

from ...config import Config
from ...nn.clip import Clip
from ...rng import Rng
from ...types import Cond
from ..comparing import Features, Samples
from . import LOSSES
from .encoded import Encoded
from .loss import ClipLoss

USUAL = "infonce"


class _Objective(Config):
    """A weighted sum of losses, by their names.

    InfoNCE is among them unless it is named with the weight 0, or another loss is named that makes
    z_i and z_t of a pair alike: what priors and decoders learn from would be left untrained.
    """

    @model_validator(mode="before")
    @classmethod
    def _meets(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        named = {name for name, value in values.items() if value is not None}
        known = named & cls.model_fields.keys()
        if USUAL in named or any(LOSSES[name].meets for name in known):
            return values
        return {**values, USUAL: {}}

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if not self.losses:
            raise ValueError("give one loss at least a weight above 0")
        return self

    @property
    def losses(self) -> dict[str, ClipLoss]:
        """Those with a weight."""
        every = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: one for name, one in every.items() if one is not None and one.weight > 0}

    @property
    def first_scale(self) -> float | None:
        """1 / temperature to begin with; None is CLIP's own."""
        wanted = [one.first_scale for one in self.losses.values()]
        return next((one for one in wanted if one is not None), None)

    def heads(self, net: Clip) -> nn.ModuleDict:
        """The weights that losses have beside the network's, by loss."""
        made = {name: one.heads(net) for name, one in self.losses.items()}
        return nn.ModuleDict({name: one for name, one in made.items() if one is not None})

    def features(self, net: Clip, heads: nn.ModuleDict, cond: Cond, rng: Rng) -> Features:
        """What the losses need to know of each sample."""
        encoded, features = Encoded(net, cond, rng), Features()
        for name, one in self.losses.items():
            features |= one.features(encoded, _of(heads, name))
        return features

    def loss(
        self, samples: Samples, net: Clip, heads: nn.ModuleDict
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) the weighted sum, and metrics; of several losses each one too."""
        total: Tensor | None = None
        told: dict[str, Tensor] = {}
        for name, one in self.losses.items():
            value, metrics = one.loss(samples, net, _of(heads, name))
            told |= metrics
            if len(self.losses) > 1:
                told[name] = value.detach()
            part = value if one.weight == 1 else one.weight * value
            total = part if total is None else total + part
        assert total is not None
        return total, told


def _of(heads: nn.ModuleDict, name: str) -> nn.Module | None:
    return heads[name] if name in heads else None  # noqa: SIM401  (it has no `get`)


def _named(value: object) -> object:
    """A loss's name alone stands for it with its usual settings."""
    return {value: {}} if isinstance(value, str) else value


if TYPE_CHECKING:

    class ContrastiveObjective(_Objective):
        """See `_Objective`."""

else:
    _FIELDS = {
        name: (LOSSES[name] | None, Field(None, description=LOSSES[name].__doc__))
        for name in LOSSES.names()
    }
    ContrastiveObjective = create_model(
        "ContrastiveObjective", __base__=_Objective, __doc__=_Objective.__doc__, **_FIELDS
    )

ClipObjective = Annotated[ContrastiveObjective, BeforeValidator(_named)]
"""What CLIP learns from; a loss's name alone stands for it."""
