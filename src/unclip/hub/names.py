"""Names of models on the hub, and the files of them that a loader can use."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

from ..errors import UsageError

PREFIX = "hub:"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".th")
"""Suffixes of weights, best first."""

BESIDE = ("*.json", "*.txt", "*.model", "*.yaml", "*.yml", "README.md", "LICENSE*")
"""Other files that are read: configurations, tokenizers, cards."""

USELESS = ("optimizer*", "scheduler.*", "rng_state*", "training_args.bin", "scaler.*", "*.py")
"""Files for training only, or to ignore."""

USELESS_FOLDERS = {"safety_checker", "onnx", "openvino", "flax", "tf", "coreml"}
VARIANTS = ("fp16", "bf16", "fp32", "fp8", "ema", "non_ema")


@dataclass(frozen=True)
class Ref:
    """A model, folder or file on the hub. Without a revision: the main branch."""

    repo: str
    revision: str | None = None
    part: str = ""

    def __str__(self) -> str:
        part = f"/{self.part}" if self.part else ""
        return f"{PREFIX}{self.repo}{part}{f'@{self.revision}' if self.revision else ''}"

    @property
    def asked(self) -> str:
        """The revision, with its default."""
        return self.revision or "main"


@dataclass(frozen=True)
class File:
    """A file on the hub with its digest: SHA-256, else git's SHA-1."""

    name: str
    bytes: int
    digest: str


def parse(text: str) -> Ref:
    """Read `hub:org/name[/part][@revision]`; `hub:` is optional.

    Raises:
        UsageError: it has another form.
    """
    body, at, revision = text.removeprefix(PREFIX).partition("@")
    names = body.strip("/").split("/")
    good = all(re.fullmatch(r"[\w.\- =+]+", name) and name not in (".", "..") for name in names)
    pinned = re.fullmatch(r"(?!/|.*\.\.)\S*", revision) and bool(at) == bool(revision)
    if len(names) < 2 or not good or not pinned:
        raise UsageError(f"'{text}' is not a hub model: write hub:org/name or hub:org/name@rev")
    return Ref("/".join(names[:2]), revision or None, "/".join(names[2:]))


def choose(files: Iterable[File], variant: str | None = None, part: str = "") -> list[File]:
    """The files that a loader can use, with each set of weights once, by name.

    Args:
        files: all files of the model.
        variant: preferred variant.
        part: a folder, or a file, which includes the configurations next to it.
    """
    inside = [file for file in files if is_within(file.name, part) and not _is_useless(file.name)]
    is_pipeline = any(file.name == "model_index.json" for file in inside)
    chosen = []
    sets = defaultdict(list)
    for file in inside:
        weights = weights_of(file.name, variant)
        folder, _, name = file.name.rpartition("/")
        if weights is None:
            chosen += [file] * any(fnmatch(name, pattern) for pattern in BESIDE)
        elif folder or not is_pipeline or file.name == part:
            stem, kind, suffix = weights
            sets[folder, stem].append((_rank(kind, suffix, variant), file))
    for ranked in sets.values():
        best = min(rank for rank, _ in ranked)
        chosen += [file for rank, file in ranked if rank == best]
    return sorted(chosen, key=lambda file: file.name)


def is_within(name: str, part: str) -> bool:
    """Whether a file belongs to a part: in that folder, that file or its configuration."""
    if not part or name == part or name.startswith(f"{part}/"):
        return True
    beside = name.rpartition("/")[0] == part.rpartition("/")[0]
    return beside and PurePosixPath(part).suffix in WEIGHTS and weights_of(name) is None


def _is_useless(name: str) -> bool:
    *folders, name = name.split("/")
    return not USELESS_FOLDERS.isdisjoint(folders) or any(fnmatch(name, one) for one in USELESS)


def weights_of(name: str, variant: str | None = None) -> tuple[str, str, str] | None:
    """(set of weights, variant, suffix), or None for other files.

    `unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors` belongs to the set
    `diffusion_model`, as does `unet/diffusion_pytorch_model.bin`; their indexes too.
    """
    whole = re.sub(r"-\d{5}-of-\d{5}(?=\.|$)", "", name.rpartition("/")[2])
    first, *words = whole.split(".")
    if words[-1:] == ["json"]:
        if "index" not in words:
            return None
        words = [word for word in words[:-1] if word != "index"]
    stem, kind, suffix = [first], "", ""
    for word in words:
        if word in (*VARIANTS, variant):
            kind = word
        elif f".{word}" in WEIGHTS:
            suffix = f".{word}"
        else:
            stem.append(word)
    if not suffix:
        return None
    return ".".join(stem).replace("pytorch_model", "model"), kind, suffix


def _rank(kind: str, suffix: str, variant: str | None) -> tuple[int, int, str]:
    """Sort key: the requested variant, then the plain one, then others."""
    order = [variant or "", "", "fp16", "bf16", "fp32"]
    place = order.index(kind) if kind in order else len(order)
    return place, WEIGHTS.index(suffix), kind
