"""Find a model and load it as a pipeline."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from .arguments import Arguments, Text
from .checkpoints.adapted import adapted
from .checkpoints.embeddings import Embedding
from .checkpoints.format import Options, Plan, open_model
from .checkpoints.lora import Lora
from .config import shown
from .device import pick_device, pick_dtype
from .errors import UsageError, about, nearest
from .facade import Pipeline

BUNDLED = "emoji-cpu"
"""The bundled model."""

PRESETS = Path(__file__).parent / "presets"
"""The folder of the recipes that come with the package."""


def _path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{info.field_name} must be a path or a name, got {shown(value)}")
    return value


Place = Annotated[Any, AfterValidator(_path)]


def _several(value: Any, info: ValidationInfo) -> Any:
    """One alone is no list of its letters."""
    if not isinstance(value, tuple):
        raise UsageError(f"{info.field_name} must be a list of files, got {shown(value)}")
    kind = Lora if info.field_name == "lora" else Embedding
    return tuple(kind.of(one) for one in value)


Files = Annotated[tuple[Any, ...], BeforeValidator(_several)]


class LoadArguments(Arguments):
    """Arguments of `load`, except device and dtype."""

    model: Place | None = None
    low_memory: bool | None = False
    clip: Place | None = None
    tokenizer: Place | None = None
    dialect: Text | None = None
    variant: Text | None = None
    lora: Files = ()
    embedding: Files = ()


def load(  # noqa: PLR0913 - the public function
    model: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    low_memory: bool | None = False,
    clip: str | Path | None = None,
    tokenizer: str | Path | None = None,
    dialect: str | None = None,
    variant: str | None = None,
    lora: Sequence[str | Path | tuple[str | Path, float]] = (),
    embedding: Sequence[str | Path] = (),
) -> Pipeline:
    """Load a pipeline.

    Args:
        model: a folder or file of any supported format (docs/models), the name of a bundled
            model, or `hub:org/name@revision`. Default: the bundled model.
        device: "cpu", "cuda" (also AMD's), "cuda:1", "xpu" (Intel) or "mps" (Apple). Default: the
            fastest available.
        dtype: number format of the networks, "float32", "bfloat16", "float16" or "float64".
            Default: bfloat16 if the hardware is fast in it.
        low_memory: keep only one stage in memory, loaded when needed. None: only if the weights
            take more than 1 GiB.
        clip: CLIP weights, if the model has none or only half of them. A model that draws
            without CLIP uses them for ranking (`best_of`).
        tokenizer: tokenizer files, if the model has none.
        dialect: dialect of a format, if the files do not determine it (docs/models).
        variant: weights to load if a folder has several: "fp16", "ema", "non_ema", ...
        lora: LoRA files to add to the weights: "ink.safetensors:0.8", or a pair of both.
        embedding: textual inversions, each a word of prompts: "cat.pt", or "WORD=cat.pt".

    Raises:
        UsageError: unknown model, device or dtype, or a missing option.
        CheckpointError: the files are missing, damaged or do not fit.
    """
    asked = LoadArguments.of(
        model=model,
        low_memory=low_memory,
        clip=clip,
        tokenizer=tokenizer,
        dialect=dialect,
        variant=variant,
        lora=lora,
        embedding=embedding,
    )
    with about("device"):
        where = pick_device(device)
    with about("dtype"):
        kind = pick_dtype(dtype, where)
    with about("model"):
        loaded = plan(model, clip=clip, tokenizer=tokenizer, dialect=dialect, variant=variant)
        loaded = adapted(loaded, asked.lora, asked.embedding)
    read = loaded.load(kind, where, low_memory)
    alone = clip is not None and "clip" not in loaded.parts  # it cannot use one
    return Pipeline(read, where, ranker=load(clip, where, kind) if alone else None)


def plan(
    model: str | Path | None = None,
    *,
    clip: str | Path | None = None,
    tokenizer: str | Path | None = None,
    dialect: str | None = None,
    variant: str | None = None,
) -> Plan:
    """The contents of a model, without reading weights. Arguments as for `load`."""
    options = Options(
        clip=find_model(clip) if clip else None,
        tokenizer=Path(tokenizer) if tokenizer else None,
        dialect=dialect,
        variant=variant,
    )
    return open_model(find_model(model, variant), options)


def bundled_models() -> dict[str, Path]:
    """Name -> folder of the bundled models."""
    return {file.parent.name: file.parent for file in sorted(weights().glob("*/model.json"))}


def weights() -> Path:
    """The folder of all bundled weights."""
    return Path(str(resources.files("unclip"))) / "weights"


def find_model(model: str | Path | None = None, variant: str | None = None) -> Path:
    """The path of a model, named as for `load`; of the hub's this `variant` is downloaded.

    Raises:
        UsageError: not found.
        CheckpointError: it cannot be downloaded.
    """
    if model is None:
        model = BUNDLED
    if str(model).startswith("hub:"):
        from . import hub  # optional dependency

        return hub.fetch(str(model), variant=variant)
    path = Path(os.path.expanduser(model))
    if model != "" and path.exists():
        return path
    known = bundled_models()
    if model in known:
        return known[str(model)]
    names = ", ".join(known) or "none"
    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", str(model)) and not str(model).startswith(".")
    hint = f"; for the Hugging Face hub write 'hub:{model}'" if on_hub else ""
    raise UsageError(
        f"no model '{model}'{nearest(str(model), known)}: it is neither a folder or file nor "
        f"bundled (bundled: {names}){hint}"
    )
