"""What models of the hub are called, and which of their files a loader can use."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import UsageError

PREFIX = "hub:"
MAIN = "main"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".th")
"""What a loader reads weights from, best first."""

BESIDE = ("*.json", "*.txt", "*.model", "*.yaml", "*.yml", "README.md", "LICENSE*")
"""What else it reads: configurations, tokenizers, cards."""

USELESS = ("optimizer*", "scheduler.*", "rng_state*", "training_args.bin", "scaler.*", "*.py")
"""Names of what only training, or nobody, should read."""

USELESS_FOLDERS = ("safety_checker", "onnx", "openvino", "flax", "tf", "coreml")
VARIANTS = ("fp16", "bf16", "fp32", "fp8", "ema", "non_ema")


@dataclass(frozen=True)
class Ref:
    """A model, or a folder or file of it, on the hub. No revision means its main branch."""

    repo: str
    revision: str | None = None
    part: str = ""

    def __str__(self) -> str:
        part = f"/{self.part}" if self.part else ""
        return f"{PREFIX}{self.repo}{part}{f'@{self.revision}' if self.revision else ''}"

    @property
    def asked(self) -> str:
        """The revision that is meant."""
        return self.revision or MAIN


@dataclass(frozen=True)
class File:
    """A file on the hub, and the digest that it has to have: SHA-256, else git's SHA-1."""

    name: str
    bytes: int
    digest: str


def parse(text: str) -> Ref:
    """Read `hub:org/name[/part][@revision]`; `hub:` may be left out.

    Raises:
        UsageError: it is something else.
    """
    body, at, revision = text.removeprefix(PREFIX).partition("@")
    names = body.strip("/").split("/")
    good = all(re.fullmatch(r"[\w.\- =+]+", name) and name not in (".", "..") for name in names)
    if (
        len(names) < 2
        or not good
        or bool(at) != bool(revision)
        or not re.fullmatch(r"(?!/|.*\.\.)\S*", revision)
    ):
        raise UsageError(f"'{text}' is no model of the hub: write hub:org/name or hub:org/name@rev")
    return Ref("/".join(names[:2]), revision or None, "/".join(names[2:]))


def choose(files: Iterable[File], variant: str | None = None, part: str = "") -> list[File]:
    """Those that a loader can use, each set of weights once.

    Args:
        files: all that the model has.
        variant: to be preferred.
        part: a folder, or a file, which then comes with the configurations beside it.
    """
    inside = [file for file in files if is_within(file.name, part) and not _is_useless(file.name)]
    roots = {file.name for file in inside}
    groups: dict[tuple[str, str], dict[tuple[str, str], list[File]]] = {}
    chosen = []
    for file in inside:
        weights = weights_of(file.name, variant)
        folder = str(PurePosixPath(file.name).parent)
        if weights is None:
            if any(fnmatch.fnmatch(PurePosixPath(file.name).name, want) for want in BESIDE):
                chosen.append(file)
        elif folder != "." or "model_index.json" not in roots or file.name == part:
            stem, kind, suffix = weights
            groups.setdefault((folder, stem), {}).setdefault((kind, suffix), []).append(file)
    for group in groups.values():
        chosen += group[min(group, key=lambda key: _rank(key[0], key[1], variant))]
    return sorted(chosen, key=lambda file: file.name)


def is_within(name: str, part: str) -> bool:
    if not part or name == part or name.startswith(f"{part}/"):
        return True
    folder, slash, _ = part.rpartition("/")
    beside = str(PurePosixPath(name).parent) == (folder if slash else ".")
    return beside and PurePosixPath(part).suffix in WEIGHTS and weights_of(name, None) is None


def _is_useless(name: str) -> bool:
    path = PurePosixPath(name)
    folder = any(parent in USELESS_FOLDERS for parent in path.parts[:-1])
    return folder or any(fnmatch.fnmatch(path.name, pattern) for pattern in USELESS)


def weights_of(name: str, variant: str | None) -> tuple[str, str, str] | None:
    """(the set that they are, their variant, suffix), None for another file.

    `unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors` is of the set
    `diffusion_model`, as is `unet/diffusion_pytorch_model.bin`; their indexes too.
    """
    words = PurePosixPath(name).name.split(".")
    if words[-1] == "json":
        if "index" not in words[1:-1]:
            return None
        words = [word for word in words[:-1] if word != "index"]
    known = {*VARIANTS, variant}
    kind = ""
    stems: list[str] = []
    suffix = ""
    for word in words:
        plain = re.sub(r"-\d{5}-of-\d{5}$", "", word)
        if plain in known and stems:
            kind = plain
        elif f".{word}" in WEIGHTS and stems:
            suffix = f".{word}"
        else:
            stems.append(plain)
    if not suffix:
        return None
    return ".".join(stems).replace("pytorch_model", "model"), kind, suffix


def _rank(kind: str, suffix: str, variant: str | None) -> tuple[int, int]:
    """Smallest is best: the variant that was asked for, the plain one, any other."""
    order = [variant or "", "", "fp16", "bf16", "fp32"]
    return (order.index(kind) if kind in order else len(order), WEIGHTS.index(suffix))
