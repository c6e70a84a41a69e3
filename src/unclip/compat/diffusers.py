"""diffusers' calls: `pipe(prompt, num_inference_steps=..., generator=...).images`.

A pipeline here draws with `unclip.load`'s, from a local folder, and understands the keywords in
`unclip/keywords.py`. See docs/coming-from.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch

from ..errors import UsageError
from ..facade import Pipeline
from ..loading import load

IDLE = frozenset(
    {
        "feature_extractor",
        "local_files_only",
        "low_cpu_mem_usage",
        "requires_safety_checker",
        "safety_checker",
        "use_safetensors",
    }
)
"""Arguments of `from_pretrained` that change nothing here: there is no safety checker."""


class Output(NamedTuple):
    """What a call gives: pictures, and None where diffusers says what its checker found."""

    images: Any
    nsfw_content_detected: None = None


class DiffusionPipeline:
    """Text to picture.

    Args:
        model: a folder or file of any format that `unclip.load` reads.
        device: as `unclip.load` takes it.
        dtype: as `unclip.load` takes it.
        arguments: others of `unclip.load`.
    """

    inputs: ClassVar[tuple[str, ...]] = ("prompt",)
    """Of a call, in diffusers' order."""

    def __init__(self, model: Any, device: Any = None, dtype: Any = None, **arguments: Any) -> None:
        self.model, self.device, self.dtype = model, device, dtype
        self.arguments = arguments
        self._loaded: Pipeline | None = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        torch_dtype: Any = None,
        variant: str | None = None,
        **others: Any,
    ) -> Self:
        """A pipeline of a local folder.

        Raises:
            UsageError: it is not there, as nothing is downloaded, or an argument is not read.
        """
        for name in others.keys() - IDLE:
            raise UsageError(f"from_pretrained: argument '{name}' is not read")
        folder = Path(pretrained_model_name_or_path).expanduser()
        if not folder.exists():
            raise UsageError(
                f"'{pretrained_model_name_or_path}' is no folder here, and nothing is downloaded: "
                "give the path of a model"
            )
        return cls(folder, dtype=torch_dtype, variant=variant)

    @property
    def unclip(self) -> Pipeline:
        """This package's own pipeline, with all its abilities; read when first asked for."""
        if self._loaded is None:
            self._loaded = load(self.model, self.device, self.dtype, **self.arguments)
        return self._loaded

    def to(self, *places: Any) -> Self:
        """On another device, or in another number format."""
        for place in places:
            if isinstance(place, torch.dtype):
                self.dtype = place
            else:
                self.device = place
        self._loaded = None
        return self

    def enable_model_cpu_offload(self) -> None:
        """Keep one stage in memory at a time."""
        self.arguments["low_memory"] = True
        self._loaded = None

    @property
    def scheduler(self) -> Any:
        """Refused: a sampler is an argument of each call. Raises UsageError."""
        raise UsageError("pipe.scheduler is not here: give sampler='euler a' with each call")

    @scheduler.setter
    def scheduler(self, scheduler: Any) -> None:
        name = type(scheduler).__name__
        raise UsageError(f"pipe.scheduler is not here: give sampler='{name}' with each call")

    def __call__(self, *given: Any, return_dict: bool = True, **settings: Any) -> Any:
        """Draw.

        Args:
            given: what the pipeline draws from, in diffusers' order; or by keyword.
            return_dict: False gives a tuple that begins with the pictures.
            settings: diffusers' keywords and this package's own.

        Returns:
            `images`: PIL pictures, or what `output_type` says.

        Raises:
            UsageError: an argument is missing or means nothing here.
        """
        if len(given) > len(self.inputs):
            raise UsageError(f"{type(self).__name__} takes {', '.join(self.inputs)} by position")
        told = dict(zip(self.inputs, given, strict=False))
        for name in self.inputs:
            if name in settings:
                told[name] = settings.pop(name)
        for name in self.inputs:
            if told.get(name) is None:
                raise UsageError(f"{type(self).__name__} needs {name}")
        output = Output(self._draw(told, settings))
        return output if return_dict else tuple(output)

    def _draw(self, given: dict[str, Any], settings: dict[str, Any]) -> Any:
        return self.unclip.generate(given["prompt"], **settings)


class ImageToImage(DiffusionPipeline):
    """Picture and text to picture."""

    inputs = ("prompt", "image")

    def _draw(self, given: dict[str, Any], settings: dict[str, Any]) -> Any:
        settings.setdefault("strength", 0.8)  # there
        return self.unclip.image_to_image(given["image"], given["prompt"], **settings)


class Inpaint(DiffusionPipeline):
    """A part of a picture drawn anew, where the mask is white."""

    inputs = ("prompt", "image", "mask_image")

    def _draw(self, given: dict[str, Any], settings: dict[str, Any]) -> Any:
        picture, mask = given["image"], given["mask_image"]
        return self.unclip.edit(picture, mask, given["prompt"], **settings)


class Variations(DiffusionPipeline):
    """Picture to pictures like it."""

    inputs = ("image",)

    def _draw(self, given: dict[str, Any], settings: dict[str, Any]) -> Any:
        return self.unclip.variations(given["image"], **settings)


AutoPipelineForText2Image = StableDiffusionPipeline = DiffusionPipeline
KandinskyV22CombinedPipeline = StableUnCLIPPipeline = UnCLIPPipeline = DiffusionPipeline
AutoPipelineForImage2Image = StableDiffusionImg2ImgPipeline = ImageToImage
AutoPipelineForInpainting = StableDiffusionInpaintPipeline = Inpaint
StableUnCLIPImg2ImgPipeline = UnCLIPImageVariationPipeline = Variations
