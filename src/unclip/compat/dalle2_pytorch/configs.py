"""DALLE2-pytorch's training configurations, of which models are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...checkpoints.settings import read_json
from ...errors import UsageError
from .adapters import BaseClipAdapter, OpenAIClipAdapter, OpenClipAdapter, XClipAdapter
from .clip import CLIP
from .decoder import Decoder
from .prior import DiffusionPrior, DiffusionPriorNetwork
from .unet import Unet

T = TypeVar("T")


class Section:
    """A section of a configuration: its settings are attributes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)

    def __getattr__(self, name: str) -> Any:
        if name == "values" or name not in self.values:
            raise AttributeError(name)
        value = self.values[name]
        return self.section(name, value) if isinstance(value, Mapping) else value

    def section(self, name: str, values: Mapping[str, Any]) -> Section:
        """What the section `name` is."""
        return SECTIONS.get(name, Section)(values)

    def inner(self, name: str) -> Any:
        """A section that has to be there. Raises UsageError."""
        value = self.values.get(name)
        if not isinstance(value, Mapping):
            raise UsageError(f"the configuration has no section '{name}'")
        return self.section(name, value)

    def without(self, *names: str) -> dict[str, Any]:
        """The settings but these, and but those that are null."""
        return {n: v for n, v in self.values.items() if n not in names and v is not None}


def built(make: Callable[..., T], name: str, values: Any) -> T:
    """A network of its settings. Raises UsageError where there are none, or no width."""
    if not isinstance(values, Mapping) or values.get("dim") is None:
        raise UsageError(f"'{name}' in the configuration must have a 'dim', got {values}")
    return make(**{key: value for key, value in values.items() if value is not None})


class AdapterConfig(Section):
    """Which CLIP a model is trained with."""

    def create(self) -> BaseClipAdapter:
        """The adapter. Raises UsageError where there is no such CLIP here."""
        make, model = self.values.get("make", "openai"), self.values.get("model", "ViT-L/14")
        if make == "x-clip":
            return XClipAdapter(CLIP(**(self.values.get("base_model_kwargs") or {})))
        if make not in ("openai", "open_clip"):
            raise UsageError(f"clip.make must be openai, open_clip or x-clip, got '{make}'")
        return (OpenAIClipAdapter if make == "openai" else OpenClipAdapter)(model)


class DiffusionPriorConfig(Section):
    """A prior."""

    def create(self) -> DiffusionPrior:
        """The prior, with the CLIP that it names. Raises UsageError."""
        net = built(DiffusionPriorNetwork, "net", self.values.get("net"))
        clip = self.inner("clip").create() if self.values.get("clip") else None
        return DiffusionPrior(net, clip=clip, **self.without("net", "clip"))


class DecoderConfig(Section):
    """A decoder."""

    def create(self) -> Decoder:
        """The decoder, with the CLIP that it names. Raises UsageError."""
        told = self.values.get("unets")
        if not isinstance(told, list):
            raise UsageError(f"'unets' in the configuration must be a list, got {told}")
        unets = [built(Unet, "unets", one) for one in told]
        clip = self.inner("clip").create() if self.values.get("clip") else None
        return Decoder(unets, clip=clip, **self.without("unets", "clip"))


SECTIONS: dict[str, type[Section]] = {
    "clip": AdapterConfig,
    "prior": DiffusionPriorConfig,
    "decoder": DecoderConfig,
}


class _Train(Section):
    """A whole configuration; of it `create` makes the model, and nothing else is read."""

    kind = ""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.inner(self.kind)

    @classmethod
    def from_json_path(cls, json_path: str | Path) -> Any:
        """From a file.

        Raises:
            CheckpointError: it is missing or no JSON.
            UsageError: it lacks the section.
        """
        return cls(**read_json(Path(json_path)))


class TrainDiffusionPriorConfig(_Train):
    """Of a prior: `prior` makes it."""

    kind = "prior"


class TrainDecoderConfig(_Train):
    """Of a decoder: `decoder` makes it."""

    kind = "decoder"
