"""Models of any format written anew: to this package's own folders, or in a foreign layout.

One stage after the other and one tensor after the other: a stage is never in memory whole.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import torch

from .._version import __version__
from ..errors import OutputError, UsageError
from ..files import atomic_folder, inside, write_json, write_text
from ..registry import Registry
from .format import Plan
from .int8 import to_int8
from .keymap import KeyMap, translate_back_lazily
from .lazy_tensor import LazyTensor, bytes_of
from .native import SEE_CARD, Manifest, write_manifest
from .tensors import cast_lazily, save_tensors

SHARD_BYTES = 2 * 10**9
"""Largest weights file of a converted model."""
OWN_CARD = "README.md"
CARD_BYTES = 2**16
"""How much of a card is read."""
LICENCE_BYTES = 2**20
"""Longest file that is taken for a licence."""

OnProgress = Callable[[int, int], None]
"""Bytes written, and bytes in all."""
Stages = Mapping[str, Mapping[str, LazyTensor]]
"""The tensors of each stage."""


@dataclass(frozen=True)
class Component:
    """One weights file of a foreign layout: its folder, and where our tensors stand in it."""

    folder: str
    stage: str
    table: KeyMap
    file: str


class Writer(Protocol):
    """A foreign layout that models are written in."""

    def write_settings(self, plan: Plan, folder: Path) -> list[Component]:
        """Write all but the weights, and say what weights are to follow.

        Raises:
            UsageError: the layout has no place for a model of this shape.
        """
        ...

    def name(self, plan: Plan) -> str:
        """What the other program calls a model of this shape."""
        ...


WRITERS: Registry[Writer] = Registry(
    "unclip.checkpoints", "WRITER", "layout", also=("unclip.families.*",)
)


def convert(
    plan: Plan,
    target: Path,
    dtype: torch.dtype | None = None,
    dtypes: Mapping[str, torch.dtype | None] | None = None,
    *,
    shard_bytes: int = SHARD_BYTES,
    origin: str = "",
    on_progress: OnProgress | None = None,
) -> Manifest:
    """Write a model as a folder of this package, whole or not at all.

    Args:
        plan: the model.
        target: the folder, which takes the place of what is there (see `check_target`).
        dtype: number format of the weights; each tensor's own if left out. Of int8, large tensors
            alone (see `int8.py`).
        dtypes: the same of single stages.
        shard_bytes: largest weights file, but for a single larger tensor.
        origin: where it came from, for the card.
        on_progress: told after each tensor.

    Raises:
        CheckpointError: a file of the model is damaged, or does not fit its network.
        OutputError: the folder cannot be written, or its disk has no room for it.
        UsageError: there is no such stage.
    """
    dtypes = dtypes or {}
    _check_stages(plan, dtypes)
    stages = {name: _stored(plan, name, dtypes.get(name, dtype)) for name in plan.parts}
    tokenizer = plan.read_tokenizer()
    told = _counted(stages, target, on_progress)
    with atomic_folder(target) as beside:
        tokenizer.save(beside / "tokenizer.json")
        known: dict[Path, str] = {}
        for name, tensors in stages.items():
            folder = beside / name
            folder.mkdir()
            write_json(folder / "config.json", plan.parts[name].config.dump())
            digests = save_tensors(folder, "weights", tensors, shard_bytes, told)
            known |= {folder / file: digest for file, digest in digests.items()}
        write_text(beside / OWN_CARD, card(plan, stages, origin))
        copy_licence(plan.where, beside)
        return write_manifest(
            beside,
            plan.name,
            list(stages),
            tokenizer.context,
            known,
            prior=plan.prior,
            decoder=plan.decoder,
            licence=plan.licence,
            vocabulary=plan.vocabulary.counts,
        )


def write_as(
    layout: str,
    plan: Plan,
    target: Path,
    dtype: torch.dtype | None = None,
    *,
    origin: str = "",
    on_progress: OnProgress | None = None,
) -> str:
    """Write a model in a foreign layout, one of `WRITERS`.

    Args and errors: see `convert`.

    Returns:
        What the other program calls such a model.

    Raises:
        UsageError: the layout is not known, or has no place for a model of this shape.
    """
    writer = WRITERS[layout]
    if dtype == torch.int8:
        raise UsageError(f"{layout} has no 8-bit weights; take float16")
    with atomic_folder(target) as beside:  # settings first: they say whether it can be done at all
        components = writer.write_settings(plan, beside)
        stages = {
            name: part.translated(plan.place_of(name), as_stored=dtype is None)
            for name, part in plan.parts.items()
        }
        back = {c.folder: translate_back_lazily(stages[c.stage], c.table) for c in components}
        theirs = _cast(back, dtype)
        told = _counted(theirs, target, on_progress)
        for one in components:
            save_tensors(beside / one.folder, one.file, theirs[one.folder], None, told)
        write_text(beside / OWN_CARD, card(plan, _cast(stages, dtype), origin))
        copy_licence(plan.where, beside)
        return writer.name(plan)


def _check_stages(plan: Plan, names: Iterable[str]) -> None:
    for name in names:
        if name not in plan.parts:
            known = ", ".join(plan.parts)
            raise UsageError(f"{plan.name} has no stage '{name}'; its stages: {known}")


def _stored(plan: Plan, name: str, dtype: torch.dtype | None) -> Mapping[str, LazyTensor]:
    """What to write of a stage. Raises CheckpointError."""
    part, where = plan.parts[name], plan.place_of(name)
    if dtype is None:
        return part.stored(where)
    ours = part.translated(where)
    return to_int8(ours) if dtype == torch.int8 else cast_lazily(ours, dtype)


def _cast(stages: Stages, dtype: torch.dtype | None) -> Stages:
    return {name: cast_lazily(tensors, dtype) for name, tensors in stages.items()}


def check_target(target: Path, source: Path, force: bool = False) -> None:
    """See that a converted model may be written to `target`, before any work is done.

    Raises:
        UsageError: it is the model itself, or in it, or around it.
        OutputError: something else is there; a model is, and `force` is not said.
    """
    here, there = source.resolve(), target.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UsageError(f"{target} is the model {source} itself, in it or around it")
    if target.is_file():
        raise OutputError(f"{target} is a file; name a folder to write the model to")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not any((target / file).is_file() for file in ("model.json", "model_index.json")):
        raise OutputError(f"{target} holds something that is no model; name another folder")
    if not force:
        raise OutputError(f"{target} is a model already; --force replaces it")


LICENCES = {"": "not known; it is that of what this was converted from", SEE_CARD: "see below"}
"""What the card says of a licence, where that is not its name."""


def card(plan: Plan, stages: Stages, origin: str = "") -> str:
    """The model card: where it came from, its licence, what it holds."""
    lines = [
        f"# {plan.name}",
        "",
        f"Converted from {origin or plan.where.name} ({plan.family}) by unclip {__version__}.",
        "",
        f"Licence: {LICENCES.get(plan.licence, plan.licence)}.",
        "",
        "| stage | kind | numbers | as |",
        "|---|---|---|---|",
    ]
    for name, tensors in stages.items():
        kinds = Counter[str]()
        for one in tensors.values():
            kinds[str(one.dtype).removeprefix("torch.")] += prod(one.shape)
        types = ", ".join(kind for kind, _ in kinds.most_common())
        kind = plan.parts[name].config.kind
        lines.append(f"| {name} | {kind} | {kinds.total():,} | {types} |")
    lines += ["", *(f"- {note}" for note in plan.notes)] if plan.notes else []
    return "\n".join(lines) + "\n" + _older_card(plan)


def _older_card(plan: Plan) -> str:
    """The card of a model that was this package's own already."""
    text = read_card(plan.where) if (plan.where / "model.json").is_file() else ""
    return f"\nWhat it was converted from says of itself:\n\n{_quoted(text)}" if text else ""


def read_card(folder: Path) -> str:
    """The card in a model's folder, of any encoding; a long one ends in an ellipsis.

    It is anybody's file: a link out of the folder is not followed, and counts as no card.
    """
    try:
        file = inside(folder, OWN_CARD)
    except ValueError:
        return ""
    if not file.is_file():
        return ""
    with file.open("rb") as opened:
        data = opened.read(CARD_BYTES + 1)
    text = data[:CARD_BYTES].decode("utf-8", errors="replace")
    return f"{text}\n…\n" if len(data) > CARD_BYTES else text


def _quoted(text: str) -> str:
    return "".join(f"> {line}".rstrip() + "\n" for line in text.splitlines())


def copy_licence(source: Path, target: Path) -> None:
    """Take the licence's text along, where it lies in the model's own folder: see `read_card`."""
    for found in sorted(source.glob("LICEN[CS]E*")) if source.is_dir() else ():
        with suppress(ValueError):
            file = inside(source, found.name)
            if file.is_file() and file.stat().st_size <= LICENCE_BYTES:
                shutil.copyfile(file, target / file.name)


def _counted(stages: Stages, target: Path, on_progress: OnProgress | None) -> Callable[[int], None]:
    """What to tell of each tensor's bytes. Raises OutputError where there is no room for all."""
    total = sum(bytes_of(one) for tensors in stages.values() for one in tensors.values())
    place = next(one for one in (target.absolute(), *target.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free
    if free < total:
        raise OutputError(
            f"{target} would take {total / 1e9:.1f} GB; its disk has {free / 1e9:.1f} GB left"
        )
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        if on_progress:
            on_progress(done, total)

    return told
