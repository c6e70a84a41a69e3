"""`unclip convert`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError, nearest
from ._chosen import Chosen, choosing
from ._terminal import say, size

if TYPE_CHECKING:
    import torch

DTYPES = ("keep", "float16", "bfloat16", "float32")
TARGETS = ("native", "diffusers")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(
        choosing(convert, "model", "device", "low_memory", "dtype", "no_limit", "strict_words")
    )


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="A model's folder or file of any known format, hub:org/name, or a bundled model.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The folder to write.")],
    chosen: Chosen,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="|".join(DTYPES), help="Number format of the weights; keep is the file's own."
        ),
    ] = "keep",
    to: Annotated[
        str,
        typer.Option(
            metavar="|".join(TARGETS),
            help="This package's own folder; or, of Karlo, one for diffusers 0.33.1.",
        ),
    ] = "native",
    shard_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Largest weights file of a native folder.")
    ] = "2GB",
    force: Annotated[
        bool, typer.Option("--force", help="Replace the model that DST holds already.")
    ] = False,
) -> None:
    """Write a model of any format as safetensors and JSON.

    The folder is written whole or not at all.

    \b
    Examples:
      unclip convert karlo-v1-alpha/ models/karlo --dtype bfloat16
      unclip convert karlo-v1-alpha/ models/karlo --clip ViT-L-14.pt
      unclip convert hub:kakaobrain/karlo-v1-alpha models/karlo
      unclip convert models/karlo karlo-diffusers/ --to diffusers --dtype float16
    """
    from ..checkpoints.convert import check_target
    from ..loading import find_model
    from ._chosen import fetched
    from ._progress import byte_progress

    numbers, most = _dtype(dtype), _bytes(shard_size)
    if to not in TARGETS:
        raise UsageError(f"--to must be one of {', '.join(TARGETS)}{nearest(to, TARGETS)}")
    here = fetched(source, chosen.variant)
    check_target(target, find_model(here), force)
    plan = replace(chosen, model=here).plan()
    origin = source if source.startswith("hub:") else ""
    if origin:
        from .. import hub

        plan = replace(plan, name=hub.parse(origin).repo.rpartition("/")[2])
    with byte_progress("converting") as on_progress:
        if to == "diffusers":
            from ..checkpoints.convert import write_as

            kind = write_as(to, plan, target, numbers, origin=origin, on_progress=on_progress)
            done = f"load it with: diffusers.{kind}.from_pretrained('{target}')"
        else:
            from ..checkpoints.convert import convert as write

            write(plan, target, numbers, shard_bytes=most, origin=origin, on_progress=on_progress)
            done = f"look at it with: unclip models inspect {target}"
    weights = sum(file.stat().st_size for file in target.rglob("*.safetensors"))
    say(f"{target}: {plan.name} ({plan.family}), {size(weights)} of weights")
    say(done)


def _dtype(name: str) -> torch.dtype | None:
    """Raises UsageError."""
    if name not in DTYPES:
        known = ", ".join(DTYPES)
        raise UsageError(f"--dtype must be one of {known}{nearest(name, DTYPES)}, got '{name}'")
    if name == "keep":
        return None
    import torch

    found: torch.dtype = getattr(torch, name)
    return found


def _bytes(text: str) -> int:
    """'2GB' -> 2_000_000_000, '512MiB' -> 536_870_912. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", text.strip().upper())
    count = int(float(found[1]) * UNITS[found[2] or ""]) if found else 0
    if count < 1:
        raise UsageError(f"--shard-size must be a size such as 2GB or 512MiB, got '{text}'")
    return count
