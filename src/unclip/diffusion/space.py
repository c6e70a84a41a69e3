"""Codecs between data and the space that diffusion works in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from pydantic import BeforeValidator, Field, SerializeAsAny
from torch import Tensor
from torch.nn import functional as F

from ..config import Config
from ..registry import Named


class Space(Protocol):
    """The interface of a space."""

    def encode(self, data: Tensor) -> Tensor:
        """Data (B, ...) to diffusion space."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Diffusion space to data."""
        ...


SPACES: Named[type[Config]] = Named("space")
"""Spaces without weights, by `kind`: all subclasses of `SpaceSettings`."""


class SpaceSettings(Config, ABC):
    """A space without weights, only settings."""

    kind: str

    @abstractmethod
    def encode(self, data: Tensor) -> Tensor:
        """See `Space`."""

    @abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """See `Space`."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        SPACES[cls.model_fields["kind"].default] = cls


class Rgb(SpaceSettings):
    """Pictures in [-1, 1] as they are."""

    kind: Literal["rgb"] = "rgb"

    def encode(self, data: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same."""
        return data

    def decode(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same, within [-1, 1]."""
        return x.clamp(-1, 1)


class Embedding(SpaceSettings):
    """Unit vectors times scale·√D: 0.5375·√1024 = 17.2 (arXiv 2204.06125)."""

    kind: Literal["embedding"] = "embedding"
    scale: float = Field(0.5375, gt=0)
    normalize: bool = Field(True, description="normalize decoded vectors")

    def encode(self, data: Tensor) -> Tensor:
        """(B, D) of unit norm -> (B, D) whose values have standard deviation of about `scale`."""
        out: Tensor = data * (self.scale * data.shape[-1] ** 0.5)
        return out

    def decode(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, D), of unit norm unless `normalize` is off."""
        if self.normalize:
            return F.normalize(x, dim=-1)
        out: Tensor = x / (self.scale * x.shape[-1] ** 0.5)
        return out


@dataclass(frozen=True)
class Whitened:
    """(value - mean) / std, with mean and std (D,), as in Karlo."""

    mean: Tensor
    std: Tensor

    def encode(self, data: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return (data - self.mean.float()) / self.std.float()

    def decode(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return x * self.std.float() + self.mean.float()


def _chosen(values: Any) -> Any:
    """The space called `kind`."""
    if not isinstance(values, Mapping):
        return values
    return SPACES[str(values.get("kind"))].model_validate(values)


SpaceConfig = Annotated[SerializeAsAny[SpaceSettings], BeforeValidator(_chosen)]
