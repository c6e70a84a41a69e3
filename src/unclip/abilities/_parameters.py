"""What other programs are told of a picture of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..aliases import SAMPLERS, SPACINGS
from ..parameters import Parameters
from ..record import Record

if TYPE_CHECKING:
    from PIL import Image

    from ..pipeline import Chain


def parameters_of(pipe: Chain, picture: Image.Image, record: Record, stage: str = "") -> Parameters:
    """What a picture of ours was made of, for other programs.

    Args:
        record: its own.
        stage: which `settings` without a stage's name are of; by default the decoder.
    """
    name = stage or next(iter(pipe.model.decoders), "")
    sampling = getattr(pipe.stages[name].config, "sampling", None) if name else None
    known: dict[str, Any] = {}
    if sampling is not None:
        settings = {key.removeprefix(f"{name}_"): own for key, own in record.settings.items()}
        used = sampling.merge(
            {n: settings[n] for n in type(sampling).model_fields.keys() & settings}
        )
        known = {"steps": used.steps, "guidance_scale": float(used.guidance_scale)}
        known["sampler"] = next(iter(SAMPLERS.get(used.sampler, ())), used.sampler)
        known["spacing"] = next(iter(SPACINGS.get(used.spacing, ())), "")
    others = {"Version": f"unclip {__version__}"}
    if (strength := record.settings.get("strength")) is not None:
        others = {"Denoising strength": str(strength), **others}
    return Parameters(
        prompt=record.prompt,
        negative_prompt=record.settings.get("negative_prompt", ""),
        seed=record.seed,
        size=(picture.height, picture.width),
        model=pipe.name,
        model_hash=pipe.hash,
        others=others,
        program="unclip",
        **known,
    )
