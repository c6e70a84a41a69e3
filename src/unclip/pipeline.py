"""A pipeline folds a condition through an ordered set of stages: from a sentence to a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ._version import __version__
from .checkpoints.native import Model, load_model
from .device import fast_dtype, pick_device, place
from .errors import UsageError, nearest
from .nn.tokenizer import Tokenizer
from .rng import Rng
from .stages import DiffusionStage, Sampling, Stage
from .types import Cond, OnStep

BUNDLED = "emoji-cpu"
"""The model that comes with the package."""

BATCH = 16
"""Pictures drawn at once, so that memory does not grow with how many are asked for."""

MAIN_STAGE = "decoder"
"""The stage whose sampling settings are named without its name."""

_FIELDS = tuple(Sampling.model_fields)


@dataclass(frozen=True)
class Record:
    """All that is needed to make a picture again; travels in the PNG as `unclip`."""

    prompt: str
    seed: int
    settings: dict[str, Any]
    model: str
    model_hash: str
    version: str
    n: int = 1  # a grid holds several, from `seed` on

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def of(cls, picture: Image.Image) -> Self:
        """The record that a picture carries. Raises UsageError where it carries none."""
        text = picture.info.get("unclip")
        if not isinstance(text, str):
            raise UsageError("the picture carries no record of how it was made by unclip")
        try:
            record = cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise UsageError(f"the picture's record is damaged: {error}") from None
        for name, kind in (("prompt", str), ("seed", int), ("n", int), ("settings", dict)):
            if not isinstance(getattr(record, name), kind):
                raise UsageError(f"the picture's record is damaged: '{name}' is no {kind.__name__}")
        return record


class Pipeline:
    """Text -> CLIP -> prior -> decoder -> upsamplers, or any other chain of stages."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        stages: Mapping[str, Stage],
        name: str = "",
        model_hash: str = "",
        device: torch.device | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.stages = dict(stages)
        self.name, self.hash = name, model_hash
        self.device = device or torch.device("cpu")
        for stage in self.stages.values():
            place(stage.eval(), self.device)

    @classmethod
    def of(cls, model: Model, device: torch.device | None = None) -> Self:
        """From a loaded model folder."""
        return cls(model.tokenizer, model.stages, model.name, model.hash, device)

    def generate(
        self,
        prompt: str,
        n: int = 1,
        seed: int = 0,
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> list[Image.Image]:
        """Draw `n` pictures of `prompt`.

        Args:
            prompt: what to draw; must not be empty.
            n: how many; picture i uses `seed + i` and is the same whatever `n` is.
            seed: any integer.
            on_step: called after each step with a `Step`; raise `Cancelled` there to stop.
            settings: sampling settings that differ from the model's defaults: `steps`,
                `guidance_scale`, `sampler`, `eta`, ... are the decoder's, and those of another
                stage carry its name: `prior_guidance_scale`, `upsampler_steps`. None is skipped.

        Returns:
            PIL pictures. `picture.info["unclip"]` is JSON that `replay` makes the same one from.

        Raises:
            UsageError: an empty prompt, n < 1, an unknown setting or one out of range.
            Cancelled: `on_step` raised it.
        """
        check_request(prompt, n)
        if not any("image" in stage.produces for stage in self.stages.values()):
            raise UsageError(f"model '{self.name}' has no stage that makes a picture")
        given = {key: value for key, value in settings.items() if value is not None}
        sampling = self._by_stage(given)
        pictures: list[Image.Image] = []
        for start in range(0, n, BATCH):
            seeds = [seed + index for index in range(start, min(start + BATCH, n))]
            rng = Rng(seeds, self.device)
            cond = self.fold(self.encode([prompt] * len(seeds)), rng, sampling, on_step)
            assert cond.image is not None
            pictures += to_pictures(cond.image)
        for index, picture in enumerate(pictures):
            record = Record(prompt, seed + index, given, self.name, self.hash, __version__)
            picture.info["unclip"] = record.to_json()
        return pictures

    def encode(self, prompts: list[str]) -> Cond:
        """Tokens of prompts, on the pipeline's device."""
        tokens, mask = self.tokenizer.encode(prompts)
        return Cond(text_tokens=tokens.to(self.device), text_mask=mask.to(self.device))

    def fold(
        self,
        cond: Cond,
        rng: Rng,
        sampling: Mapping[str, Mapping[str, Any]] | None = None,
        on_step: OnStep | None = None,
    ) -> Cond:
        """Run every stage in order. Each draws from its own fork of `rng`."""
        for name, stage in self.stages.items():
            options = dict((sampling or {}).get(name, {}))
            cond = stage.sample(cond, rng.fork(name), options, _renamed(on_step, name))
        return cond

    def _by_stage(self, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Flat settings to {stage: {setting: value}}, checked. Raises UsageError."""
        sampled = {n: s for n, s in self.stages.items() if isinstance(s, DiffusionStage)}
        main = MAIN_STAGE if MAIN_STAGE in sampled else next(reversed(sampled), "")
        result: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            owners = [name for name in sampled if key.startswith(f"{name}_")]
            stage = max(owners, key=len, default=main)
            setting = key.removeprefix(f"{stage}_")
            if setting not in Sampling.model_fields:
                known = [*Sampling.model_fields, *(f"{n}_{f}" for n in sampled for f in _FIELDS)]
                raise UsageError(f"unknown setting '{key}'{nearest(key, known)}")
            result.setdefault(stage, {})[setting] = value
        for stage, values in result.items():
            sampled[stage].config.sampling.merge(values)
        return result


def _renamed(on_step: OnStep | None, name: str) -> OnStep | None:
    """`on_step` told the stage's name in the model instead of its kind."""
    if on_step is None:
        return None
    return lambda step: on_step(replace(step, stage=name))


def check_request(prompt: str, n: int) -> None:
    """Raise UsageError where there is nothing to draw."""
    if not prompt.strip():
        raise UsageError("the prompt is empty; say what to draw, such as 'a red car'")
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):  # bytes that were no UTF-8
        raise UsageError("the prompt is not valid text: it holds bytes that are not UTF-8")
    if n < 1:
        raise UsageError(f"n must be at least 1, got {n}")


def load(
    model: str | Path | None = None, device: str | None = None, dtype: torch.dtype | None = None
) -> Pipeline:
    """Load a pipeline.

    Args:
        model: a model folder, or the name of a bundled model; the bundled one if left out.
        device: "cpu", "cuda", "cuda:1", "mps"; the fastest one there is if left out.
        dtype: number format of the weights; bfloat16 where the hardware is fast in it.

    Raises:
        UsageError: no such model or device.
        CheckpointError: the folder's files are missing, damaged or do not fit.
    """
    where = pick_device(device)
    folder = find_model(str(model) if model is not None else BUNDLED)
    return Pipeline.of(load_model(folder, dtype or fast_dtype(where)), where)


def bundled_models() -> dict[str, Path]:
    """Name -> folder of the models that come with the package."""
    root = Path(str(resources.files("unclip"))) / "weights"
    return {file.parent.name: file.parent for file in sorted(root.glob("*/model.json"))}


def find_model(model: str) -> Path:
    """The folder of a model given by path or bundled name. Raises UsageError."""
    if Path(model).is_dir():
        return Path(model)
    known = bundled_models()
    if model in known:
        return known[model]
    names = ", ".join(known) or "none"
    raise UsageError(f"no model '{model}': it is neither a folder nor bundled (bundled: {names})")


def to_pictures(image: Tensor) -> list[Image.Image]:
    """(B, 3, H, W) in [-1, 1] -> B pictures."""
    pixels = ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(one) for one in np.asarray(pixels.permute(0, 2, 3, 1).cpu())]
