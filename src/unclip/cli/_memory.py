"""The table of what each of several GPUs has to hold: `unclip train --dry-run --gpus`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..errors import UsageError
from ._progress import waiting
from ._result import report
from ._terminal import console, say

if TYPE_CHECKING:
    from ..train.memory import Memory
    from ..train.recipe import Recipe

PARTS = ("weights", "gradients", "optimizer", "average", "frozen", "passing", "activations")


def counts_of(text: str) -> list[int]:
    """'8,64' -> [8, 64]. Raises UsageError."""
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"--gpus must be counts such as 8 or 8,64,256, got '{text}'")
    return [int(word) for word in words]


def say_memory(recipe: Recipe, names: Sequence[str], gpus: str) -> None:
    """Print it for some stages, and tell a program. Raises UsageError."""
    from ..train.memory import plan_memory

    counts = counts_of(gpus)
    for name in names:
        with waiting(f"{name}: working out its memory"):
            found = plan_memory(recipe, name, counts)
        report(memory=[{**asdict(one), "total": one.total, "least": one.least} for one in found])
        _print(name, found)
    say("GiB on each GPU; passing: fsdp's whole blocks, or ddp's copies in bfloat16")
    say("checkpointed: in all, with train.activation_checkpointing = true")


def _print(name: str, found: Sequence[Memory]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column(name, no_wrap=True)
    for heading in ("GPUs", "batch", *PARTS, "in all", "checkpointed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        held = [*(getattr(one, part) for part in PARTS), one.total, one.least]
        numbers = (f"{count / 2**30:.3g}" for count in held)
        table.add_row(one.engine, str(one.gpus), str(one.batch), *numbers)
    console().print(table)
