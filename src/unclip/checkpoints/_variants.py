"""Which of a folder's weights are meant: plain ones, or a variant (fp16, ema, ...).

Files as diffusers and transformers name them: `model.safetensors`, `model.fp16.safetensors`,
`diffusion_pytorch_model.bin`, and the indexes of sharded sets, wherever the variant stands in
their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import CheckpointError, UsageError
from ..hub.names import weights_of

STEMS = ("model", "pytorch_model", "diffusion_pytorch_model")
SUFFIXES = (".safetensors", ".bin")
ORDER = ("", "fp32", "fp16", "bf16")
"""What is taken where nothing is asked for, best first: plain weights before any variant."""


def weights_file(folder: Path, stems: tuple[str, ...] = STEMS, variant: str | None = None) -> Path:
    """The weights of a folder as transformers and diffusers save it; a sharded set's index.

    Args:
        folder: a component's.
        stems: what the files' names begin with.
        variant: taken where it is there; without it plain ones, full precision before half, or
            the only variant that there is. safetensors before pickles.

    Raises:
        CheckpointError: there are none.
        UsageError: there are several variants, none of which goes before the others.
    """
    found = variants(folder, stems)
    if not found:
        raise CheckpointError(f"{folder} has no weights (such as {stems[0]}.safetensors)")
    return found[_chosen(folder, found, variant)]


def variants(folder: Path, stems: tuple[str, ...] = STEMS) -> dict[str, Path]:
    """Variant -> the best file of it; "" are plain weights."""
    ranked: dict[str, list[tuple[int, bool, str]]] = {}
    for file in folder.iterdir() if folder.is_dir() else ():
        parsed = _parsed(file.name, stems)
        if parsed and file.is_file():
            variant, rank, is_index = parsed
            ranked.setdefault(variant, []).append((rank, is_index, file.name))
    return {variant: folder / min(files)[2] for variant, files in sorted(ranked.items())}


def _parsed(name: str, stems: tuple[str, ...]) -> tuple[str, int, bool] | None:
    """(variant, rank of the suffix, whether it is an index); None for a shard or another file."""
    parsed = weights_of(name, None)
    if parsed is None or parsed[2] not in SUFFIXES or re.search(r"-\d{5}-of-\d{5}\b", name):
        return None
    stem, known, suffix = parsed
    for one in {stem.replace("pytorch_model", "model") for stem in stems}:
        rest = stem.removeprefix(one)
        if not rest or (rest.startswith(".") and not known):
            return known or rest[1:], SUFFIXES.index(suffix), name.endswith(".json")
    return None


def _chosen(folder: Path, found: dict[str, Path], variant: str | None) -> str:
    for one in (variant, *ORDER):
        if one in found:
            return one
    if len(found) > 1:
        raise UsageError(
            f"{folder} has weights of several variants ({', '.join(found)}): "
            "name one with --variant (variant= in Python)"
        )
    return next(iter(found))


def check_variant(path: Path, variant: str) -> None:
    """Raise UsageError where nothing at `path` is of this variant."""
    there = {one for found in _components(path).values() for one in found}
    if variant not in there:
        named = ", ".join(sorted(there - {""})) or "only plain weights"
        raise UsageError(f"{path} has no weights of variant '{variant}'; it has: {named}")


def variant_notes(path: Path, variant: str | None) -> Iterator[str]:
    """What a person should know of variants that are taken unasked."""
    taken: dict[str, list[str]] = {}
    for folder, found in _components(path).items():
        one = _chosen(folder, found, variant)
        if one not in ("", variant):
            taken.setdefault(one, []).append(folder.relative_to(path).as_posix())
    for one, names in taken.items():
        where = "" if names == ["."] else f": {', '.join(names)}"
        yield f"weights of variant {one} are taken, as there are no plain ones{where}"


def _components(path: Path) -> dict[Path, dict[str, Path]]:
    """The folders with weights at `path` and one and two levels below, but for safety checkers."""
    if not path.is_dir():
        return {}
    folders = [path, *(f for pattern in ("*", "*/*") for f in sorted(path.glob(pattern)))]
    each = {f: variants(f) for f in folders if f.name != "safety_checker"}
    return {folder: found for folder, found in each.items() if found}
