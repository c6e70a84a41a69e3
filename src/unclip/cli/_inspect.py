"""What `unclip models inspect` prints: a model of any format, without reading its weights."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..errors import counted
from ._result import report
from ._terminal import WIDTH, console, printable, say, si, size

if TYPE_CHECKING:
    import torch

    from ..checkpoints.format import Plan
    from ..checkpoints.part import Part
    from ..stages import Stage
    from ..vocabulary import Vocabulary

ALL = 400
"""So many words are listed; of more, the most frequent."""


def inspect_plan(plan: Plan) -> None:
    """Print stages, sizes, licence, abilities and the memory needed; raises where it is damaged."""
    from ..abilities._capabilities import capabilities

    stages = {name: part.build() for name, part in plan.parts.items()}
    say(f"{plan.name} ({plan.family}), {plan.digest}")
    say(f"{plan.where}")
    held = {name: _held(plan, name, stage) for name, stage in stages.items()}
    _print([_row(name, stages[name], *held[name]) for name in stages])
    able = list(capabilities(stages))
    report(name=plan.name, family=plan.family, hash=plan.digest, path=plan.where, abilities=able)
    report(licence=plan.licence, notes=list(plan.notes), words=len(plan.vocabulary.counts))
    report(stages=[_told(name, stages[name], *held[name]) for name in stages])
    say(f"abilities: {', '.join(able) or 'none on its own'}")
    say(f"licence:   {plan.licence or 'unknown'}")
    for note in plan.notes:
        say(f"note:      {note}")
    _say_words(plan.vocabulary)
    _say_memory([numbers for numbers, _ in held.values()])


def _held(plan: Plan, name: str, stage: Stage) -> tuple[int, Counter[torch.dtype]]:
    """Numbers in a stage, and in its files by type; every name and shape is checked."""
    part: Part = plan.parts[name]
    net = stage.net
    tensors = part.check(net, plan.place_of(name))
    types: Counter[torch.dtype] = Counter()
    for key in tensors:
        count = 1
        for axis in tensors.shape(key):
            count *= axis
        types[tensors.dtype(key)] += count
    return sum(value.numel() for value in net.state_dict().values()), types


def _told(name: str, stage: Stage, numbers: int, types: Counter[torch.dtype]) -> dict[str, Any]:
    """What a program learns of a stage."""
    stored = {str(kind).removeprefix("torch."): count for kind, count in types.items()}
    sampling = getattr(stage.config, "sampling", None)
    return {
        "name": name,
        "class": type(stage).__name__,
        "size": stage.image_size if "image" in stage.produces else None,  # (height, width)
        "parameters": numbers,
        "stored_as": stored,
        "sampling": sampling and sampling.dump(),
    }


def _row(name: str, stage: Stage, numbers: int, types: Counter[torch.dtype]) -> tuple[str, ...]:
    from ..stages import DiffusionStage

    how = ""
    if isinstance(stage, DiffusionStage):
        sampling = stage.config.sampling
        steps = counted(sampling.steps, "step")
        how = f"{sampling.sampler}, {steps}, guidance {sampling.guidance_scale:g}"
    size = stage.image_size if "image" in stage.produces else None
    shown = f"{size[1]}×{size[0]}" if size else ""
    stored = str(types.most_common(1)[0][0]).removeprefix("torch.") if types else ""
    return (name, type(stage).__name__, shown, si(numbers), stored, how)


def _print(rows: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("stage", "class", "makes"):
        table.add_column(heading)
    for heading in ("parameters", "stored as"):
        table.add_column(heading, justify="right")
    table.add_column("sampled by")
    for row in rows:
        table.add_row(*map(printable, row))
    console().print(table)


def _say_words(vocabulary: Vocabulary) -> None:
    """The words that it has learnt, or the most frequent of many, English apart from Chinese."""
    words = list(vocabulary.counts)
    if not words:
        return
    count = f"{len(words)} known" if len(words) <= ALL else f"{len(words):,} known, such as"
    say(f"words:     {count}")
    latin = [word for word in words[:ALL] if word.isascii()]
    for some in (latin, [word for word in words[:ALL] if not word.isascii()]):
        if some:
            say(textwrap.indent(textwrap.fill("  ".join(sorted(some)), WIDTH - 11), " " * 11))


def _say_memory(numbers: list[int]) -> None:
    """The weights' own, in both number formats; what a picture takes beside comes on top."""
    for bytes_each, name in ((2, "bfloat16"), (4, "float32")):
        whole, least = size(sum(numbers) * bytes_each), size(max(numbers, default=0) * bytes_each)
        say(f"memory:    {whole} in {name}; {least} with --low-memory")
