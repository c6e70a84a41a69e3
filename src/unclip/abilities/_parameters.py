"""What other programs are told of a picture of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..added import Added
from ..aliases import SAMPLERS, SPACINGS
from ..parameters import Parameters
from ..record import Record

if TYPE_CHECKING:
    from PIL import Image

    from ..pipeline import Chain


def _loras(added: Sequence[Added]) -> Iterator[str]:
    """As A1111 writes them into a prompt."""
    for one in added:
        if one.kind == "lora":
            yield f"<lora:{_plain(one.name)}:{one.scale:g}>"


def _hashes(added: Sequence[Added]) -> dict[str, str]:
    """Those of the files, by A1111's names."""
    loras = [f"{_plain(one.name)}: {one.others_hash}" for one in added if one.others_hash]
    words = [f"{_plain(one.name)}: {one.hash}" for one in added if one.kind == "embedding"]
    both = {"Lora hashes": ", ".join(loras), "TI hashes": ", ".join(words)}
    return {name: text for name, text in both.items() if text}


def _plain(name: str) -> str:
    return re.sub("[:,<>]", "", name)


def parameters_of(pipe: Chain, picture: Image.Image, record: Record, stage: str = "") -> Parameters:
    """What a picture of ours was made of, for other programs.

    Args:
        record: its own.
        stage: which `settings` without a stage's name are of; by default the decoder.
    """
    from ..stages import DiffusionStage

    name = stage or next(iter(pipe.model.decoders), "")
    drawing = pipe.stages[name] if name else None
    known: dict[str, Any] = {}
    if isinstance(drawing, DiffusionStage):
        settings = {key.removeprefix(f"{name}_"): own for key, own in record.settings.items()}
        fields = type(drawing.config.sampling).model_fields
        used = drawing.options({n: settings[n] for n in fields.keys() & settings})
        known = {"steps": used.steps, "guidance_scale": float(used.guidance_scale)}
        known["sampler"] = next(iter(SAMPLERS.get(used.sampler, ())), used.sampler)
        known["spacing"] = next(iter(SPACINGS.get(used.spacing, ())), "")
    others = _hashes(record.added) | {"Version": f"unclip {__version__}"}
    if (strength := record.settings.get("strength")) is not None:
        others = {"Denoising strength": str(strength), **others}
    return Parameters(
        prompt=" ".join([record.prompt, *_loras(record.added)]),
        negative_prompt=record.settings.get("negative_prompt", ""),
        seed=record.seed,
        size=(picture.height, picture.width),
        model=pipe.name,
        model_hash=pipe.hash,
        others=others,
        program="unclip",
        **known,
    )
