"""Where models are found, and how one becomes a pipeline."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, ValidationInfo

from .arguments import Arguments, Text
from .checkpoints.format import Options, Plan, open_model
from .config import shown
from .device import pick_device, pick_dtype
from .errors import UsageError, nearest
from .facade import Pipeline

BUNDLED = "emoji-cpu"
"""The model that comes with the package."""


def _path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{info.field_name} must be a path or a name, got {shown(value)}")
    return value


Place = Annotated[Any, AfterValidator(_path)]


class LoadArguments(Arguments):
    """What `load` is told beside device and dtype."""

    model: Place | None = None
    low_memory: bool | None = False
    clip: Place | None = None
    tokenizer: Place | None = None
    dialect: Text | None = None
    variant: Text | None = None


def load(
    model: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    low_memory: bool | None = False,
    clip: str | Path | None = None,
    tokenizer: str | Path | None = None,
    dialect: str | None = None,
    variant: str | None = None,
) -> Pipeline:
    """Load a pipeline.

    Args:
        model: a model's folder or file of any format that is known (docs/models), the name of a
            bundled model, or `hub:org/name@revision`; the bundled one if left out.
        device: "cpu", "cuda", "cuda:1", "mps"; the fastest one there is if left out.
        dtype: number format of the weights, "float32", "bfloat16" or "float16"; bfloat16 where the
            hardware is fast in it if left out.
        low_memory: have one stage at a time in memory, read when it is needed; None: only if the
            weights take more than a GiB.
        clip: CLIP weights, if the model lacks them or has half of them; for one that draws
            without, they judge what was drawn (`best_of`).
        tokenizer: a tokenizer's files, for a model without.
        dialect: which of a format's dialects, where its files leave it open (docs/models).
        variant: which weights, where a folder has several: "fp16", "ema", "non_ema", ...

    Raises:
        UsageError: no such model, device or dtype; an option is needed.
        CheckpointError: the files are missing, damaged or do not fit.
    """
    LoadArguments.of(
        model=model,
        low_memory=low_memory,
        clip=clip,
        tokenizer=tokenizer,
        dialect=dialect,
        variant=variant,
    )
    where = pick_device(device)
    kind = pick_dtype(dtype, where)
    loaded = plan(model, clip=clip, tokenizer=tokenizer, dialect=dialect, variant=variant)
    read = loaded.load(kind, where, low_memory)
    alone = clip is not None and "clip" not in loaded.parts  # it has no place for one
    return Pipeline(read, where, ranker=load(clip, where, kind) if alone else None)


def plan(
    model: str | Path | None = None,
    *,
    clip: str | Path | None = None,
    tokenizer: str | Path | None = None,
    dialect: str | None = None,
    variant: str | None = None,
) -> Plan:
    """What a model holds, before its weights are read: see `load`."""
    options = Options(
        clip=find_model(clip) if clip else None,
        tokenizer=Path(tokenizer) if tokenizer else None,
        dialect=dialect,
        variant=variant,
    )
    return open_model(find_model(model, variant), options)


def bundled_models() -> dict[str, Path]:
    """Name -> folder of the models that come with the package."""
    return {file.parent.name: file.parent for file in sorted(weights().glob("*/model.json"))}


def weights() -> Path:
    """The folder of all weights that come with the package."""
    return Path(str(resources.files("unclip"))) / "weights"


def find_model(model: str | Path | None = None, variant: str | None = None) -> Path:
    """Where a model is that is given by path, bundled name or `hub:` reference.

    Args:
        model: see `load`.
        variant: of the weights that are fetched from the hub.

    Raises:
        UsageError: there is none.
        CheckpointError: the hub does not give it.
    """
    if model is None:
        model = BUNDLED
    if str(model).startswith("hub:"):
        from . import hub  # needs an extra

        return hub.fetch(str(model), variant=variant)
    path = Path(os.path.expanduser(model))
    if path.exists():
        return path
    known = bundled_models()
    if model in known:
        return known[str(model)]
    names = ", ".join(known) or "none"
    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", str(model)) and not str(model).startswith(".")
    hint = f"; on the Hugging Face hub it would be 'hub:{model}'" if on_hub else ""
    raise UsageError(
        f"no model '{model}'{nearest(str(model), known)}: it is neither a folder or file nor "
        f"bundled (bundled: {names}){hint}"
    )
