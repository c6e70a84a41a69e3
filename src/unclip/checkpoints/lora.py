"""LoRA: low-rank changes of a model's weights, W + scale·alpha/r·up·down, made as it is read.

LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685). This package's own layout
is a safetensors file with metadata {"format": "unclip.lora", "stage": STAGE} and, for any
parameter of that stage,

NAME.lora_down   (r, in) or (r, in, height, width)
NAME.lora_up     (out, r) or (out, r, 1, 1)
NAME.alpha       (), r if left out

Layouts of other programs are in `families`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..config import shown
from ..errors import CheckpointError, UsageError
from ..files import atomic_file
from ..plain import parse_json
from ..registry import Registry
from ..stages import StageConfig
from ..vocabulary import Vocabulary
from ._state_dicts import open_weights
from .archive import Tensors, kind_of
from .format import Plan
from .part import Part
from .tensors import check_sum, sha256

DIGITS = 12
"""Of a file's SHA-256."""

WORDS = "vocabulary"
"""What the metadata of this package's own files call the words that were learnt, as JSON."""

OWN = "unclip.lora"
"""What the metadata of this package's own files call their format."""


@dataclass(frozen=True)
class Lora:
    """A file, and how much of it is added."""

    file: Path
    scale: float = 1.0

    @classmethod
    def of(cls, asked: object) -> Self:
        """From a path, 'FILE:0.8', or a pair of both. Raises UsageError."""
        file, scale = asked if isinstance(asked, tuple) and len(asked) == 2 else (asked, None)
        if not isinstance(file, str | Path):
            raise UsageError(f"lora must be a file or 'FILE:0.8', got {shown(asked)}")
        head, colon, tail = str(file).rpartition(":")
        if scale is None and colon and not Path(file).is_file() and _is_number(tail):
            file, scale = head, float(tail)
        scale = 1.0 if scale is None else scale
        if not isinstance(scale, int | float) or not math.isfinite(scale):
            raise UsageError(f"lora {file} must have a finite number as its scale, got {scale}")
        if not Path(file).is_file():
            raise UsageError(f"lora {file}: there is no such file; it must be FILE or FILE:0.8")
        return cls(Path(file), float(scale))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Pair(NamedTuple):
    """A change of one weight: names in the file. `alpha` is r where it is left out."""

    down: str
    up: str
    alpha: str | float | None = None


class Change(NamedTuple):
    """What is added to a weight: alpha/r·up·down."""

    down: Tensor  # (r, in) or (r, in, height, width)
    up: Tensor  # (out, r) or (out, r, 1, 1)
    alpha: float


@dataclass(frozen=True)
class Place:
    """A weight of ours that a pair changes: part `number` of `parts` of its first axis."""

    stage: str
    name: str
    number: int = 0
    parts: int = 1


class Layout(Protocol):
    """How a program writes LoRA files."""

    def matches(self, keys: Iterable[str], metadata: Mapping[str, str]) -> bool:
        """Whether a file is of this layout, sound or not."""
        ...

    def places(
        self, keys: Iterable[str], metadata: Mapping[str, str], stages: Mapping[str, StageConfig]
    ) -> dict[Place, Pair]:
        """What changes what.

        Raises:
            LookupError: a key is of no such file, or fits nothing in these stages; names it.
            CheckpointError: it is of a kind that is not read.
        """
        ...

    def written(
        self, stage: str, part: Part, changes: Mapping[str, Change]
    ) -> tuple[str, dict[str, Tensor]] | None:
        """A file of changes of a stage: the program that it is for, and its tensors.

        Args:
            stage: its name in the model.
            part: the stage as it lies in the model's files.
            changes: by the names of our weights.

        Returns:
            None where the program knows no such stage, or this package's own layout is written.
        """
        ...


LAYOUTS: Registry[Layout] = Registry(
    "unclip.checkpoints", "LORA", "layout of LoRA files", also=("unclip.families.*",)
)


def with_lora(plan: Plan, lora: Lora) -> Plan:
    """A model that a LoRA changes as it is read.

    Raises:
        CheckpointError: the file is damaged, of a kind that is not read, or of another model.
    """
    file, tensors = lora.file, open_weights(lora.file)
    metadata = _metadata(file)
    layout = next((one for one in _layouts() if one.matches(tensors, metadata)), None)
    configs = {name: part.config for name, part in plan.parts.items()}
    if layout is None or not tensors:
        holds = f"'{next(iter(tensors))}' is of no layout" if tensors else "it is empty"
        raise CheckpointError(f"{file} holds no LoRA that is known here (docs/prompts.md): {holds}")
    try:
        places = layout.places(tensors, metadata, configs)
    except LookupError as error:
        raise CheckpointError(
            f"{file} is no LoRA of model '{plan.name}': {error.args[0]}"
        ) from None
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    parts = dict(plan.parts)
    check = partial(check_sum, file, sha256(file), "was changed since it was given: load it again")
    for stage in {place.stage: None for place in places}:
        own = {place: pair for place, pair in places.items() if place.stage == stage}
        state = parts[stage].build().net_at_rest.state_dict()
        _check(file, tensors, own, state, plan.name)
        changes = {
            place: partial(_change, check, tensors, pair, lora.scale) for place, pair in own.items()
        }
        heights = {place.name: len(state[place.name]) for place in own}
        parts[stage] = replace(parts[stage], patch=_Patch(changes, heights, parts[stage].patch))
    return replace(plan, parts=parts, vocabulary=_with_words(plan.vocabulary, file, metadata))


def save_lora(
    file: Path, stage: str, changes: Mapping[str, Change], about: Mapping[str, str]
) -> None:
    """Write a file of this package's own layout: see the top of this file.

    Args:
        file: replaced as a whole.
        stage: its name in the model that the changes are of.
        changes: by the names of the weights.
        about: more metadata, such as the model's name.
    """
    tensors = {}
    for name, one in changes.items():
        tensors[f"{name}.lora_down"], tensors[f"{name}.lora_up"] = one.down, one.up
        tensors[f"{name}.alpha"] = torch.tensor(float(one.alpha))
    _save(file, tensors, {"format": OWN, "stage": stage, **about})


def save_for_others(
    folder: Path, name: str, stage: str, part: Part, changes: Mapping[str, Change]
) -> list[Path]:
    """Write `folder/NAME.PROGRAM.safetensors` for each program that has a layout for a stage."""
    files = []
    for layout in _layouts():
        if written := layout.written(stage, part, changes):
            program, tensors = written
            files.append(folder / f"{name}.{program}.safetensors")
            _save(files[-1], tensors, {"format": "pt"})
    return files


def _save(file: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    rows = torch.contiguous_format
    whole = {name: one.detach().cpu().clone(memory_format=rows) for name, one in tensors.items()}
    with atomic_file(file) as beside:
        beside.write_bytes(save(whole, metadata))


def describe(file: Path) -> dict[str, Any]:
    """What a file holds, as plain data, whatever model it is of.

    Returns:
        layout, hash, how many weights it changes, the ranks that occur, its metadata (texts).

    Raises:
        CheckpointError: it is damaged, or of no layout that is known here.
    """
    tensors, metadata = open_weights(file), _metadata(file)
    names = [name for name in LAYOUTS.names() if LAYOUTS[name].matches(tensors, metadata)]
    downs = [key for key in tensors if _DOWN.search(key)]
    if not names or not downs:
        raise CheckpointError(f"{file} holds no LoRA that is known here (docs/prompts.md)")
    return {
        "layout": OWN if "lora" in names else names[0].removesuffix("_lora"),
        "hash": sha256(file)[:DIGITS],
        "weights": len(downs),
        "ranks": sorted({tensors.shape(key)[0] for key in downs}),
        "metadata": metadata,
    }


_DOWN = re.compile(r"(lora_down|lora_A|lora\.down|_lora\.down|linear_layer\.down)\b")


def _with_words(words: Vocabulary, file: Path, metadata: Mapping[str, str]) -> Vocabulary:
    """A model's vocabulary and that of the captions that a LoRA has learnt from, where both are.

    Raises:
        CheckpointError: the file's is damaged.
    """
    if not words or WORDS not in metadata or metadata.get("format") != OWN:
        return words
    try:
        counts = parse_json(metadata[WORDS])
        sound = all(isinstance(count, int) for count in counts.values())
    except (ValueError, AttributeError):
        sound = False
    if not sound:
        raise CheckpointError(f"{file} is damaged: its {WORDS} is no table of words and numbers")
    return words | Vocabulary(counts)


def _layouts() -> Iterator[Layout]:
    """Each, this package's own before the others."""
    yield LAYOUTS["lora"]
    yield from (LAYOUTS[name] for name in LAYOUTS.names())


def _metadata(file: Path) -> dict[str, str]:
    if kind_of(file) != "safetensors":
        return {}
    with safe_open(file, "pt") as opened:
        return opened.metadata() or {}


def others_hash(file: Path) -> str:
    """The hash that A1111 and Civitai (AutoV3) know a LoRA file by, 12 digits.

    Of what follows the header of a safetensors file, which kohya's scripts write into its metadata;
    of another file of all.
    """
    said = _metadata(file).get("sshs_model_hash", "")
    if re.fullmatch("[0-9a-f]{64}", said):
        return said[:DIGITS]
    with file.open("rb") as opened:
        if kind_of(file) == "safetensors":
            opened.seek(int.from_bytes(opened.read(8), "little") + 8)
        return hashlib.file_digest(opened, "sha256").hexdigest()[:DIGITS]


def _check(
    file: Path,
    tensors: Tensors,
    places: Mapping[Place, Pair],
    state: Mapping[str, Tensor],
    model: str,
) -> None:
    """Raise CheckpointError unless every pair has the shape of what it changes, and is finite."""
    for place, pair in places.items():
        if place.name not in state:
            raise CheckpointError(
                f"{file} is no LoRA of model '{model}': '{pair.down}' fits nothing in its stage "
                f"'{place.stage}'"
            )
        down, up = tensors.shape(pair.down), tensors.shape(pair.up)
        whole = tuple(state[place.name].shape)
        wanted = (whole[0] // place.parts, *whole[1:]) if whole else ()
        made = (*up[:1], *down[1:])
        fits = len(down) > 1 and len(up) > 1 and up[1] == down[0] and math.prod(up[2:]) == 1
        if not fits or not down[0]:
            raise CheckpointError(
                f"{file} is damaged: '{pair.down}' is {down} and '{pair.up}' {up}: they make no "
                "low-rank matrix"
            )
        if _bare(made) != _bare(wanted):
            raise CheckpointError(
                f"{file} is no LoRA of model '{model}': '{pair.down}' and '{pair.up}' make "
                f"{made}, the weight is {wanted}"
            )
        _check_alpha(file, tensors, pair.alpha)
        for key in pair:
            if isinstance(key, str):
                _check_finite(tensors, key)


def _check_alpha(file: Path, tensors: Tensors, alpha: str | float | None) -> None:
    """Raise CheckpointError unless it is one number; that in a tensor is looked at later."""
    if isinstance(alpha, str) and math.prod(shape := tensors.shape(alpha)) != 1:
        raise CheckpointError(f"{file} is damaged: '{alpha}' is {shape}, not one number")
    if isinstance(alpha, float) and not math.isfinite(alpha):
        raise CheckpointError(f"{file} is damaged: its metadata has {alpha} as an alpha")


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A linear layer's shape of a convolution of one pixel."""
    return shape[:2] if all(length == 1 for length in shape[2:]) else shape


@dataclass(frozen=True)
class _Patch:
    """A stage's weights with what is added to them. Rows beyond `heights` are not the model's."""

    changes: Mapping[Place, Callable[[], Tensor]]
    heights: Mapping[str, int]
    before: Callable[[str, Tensor], Tensor] | None

    def __call__(self, name: str, value: Tensor) -> Tensor:
        value = value if self.before is None else self.before(name, value)
        if name not in self.heights:
            return value
        value = value.float().clone(memory_format=torch.contiguous_format)
        for place, change in self.changes.items():
            if place.name == name:
                length = self.heights[name] // place.parts
                rows = value[place.number * length : (place.number + 1) * length]
                rows += change().view(rows.shape)
        return value


def _change(check: Callable[[], None], tensors: Tensors, pair: Pair, scale: float) -> Tensor:
    """scale·alpha/r·up·down, (out, in) or (out, in, height, width), float32."""
    check()
    down, up = tensors[pair.down].float(), tensors[pair.up].float()
    rank = len(down)
    alpha = tensors[pair.alpha].float().item() if isinstance(pair.alpha, str) else pair.alpha
    product = up.flatten(1) @ down.flatten(1)
    factor = scale * (1.0 if alpha is None else alpha / rank)
    return factor * product.view(len(up), *down.shape[1:])


def _check_finite(tensors: Tensors, key: str) -> None:
    if not tensors[key].isfinite().all():
        raise CheckpointError(
            f"{tensors.where(key)} is damaged: '{key}' holds numbers that are not finite"
        )


def pairs(keys: Iterable[str], split: Callable[[str], tuple[str, str]]) -> dict[str, Pair]:
    """Keys by what they change.

    Args:
        keys: of a file.
        split: a key to what it changes, and which of "down", "up" and "alpha" it is.

    Raises:
        LookupError: by `split`; one of a pair is missing.
    """
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        module, role = split(key)
        found.setdefault(module, {})[role] = key
    for each in found.values():
        if missing := {"down", "up"} - each.keys():
            there = each.get("down") or each.get("up") or each["alpha"]
            raise LookupError(f"'{there}' has no '{missing.pop()}' beside it")
    return {name: Pair(**each) for name, each in found.items()}


class _Own:
    """This package's layout: see the top of the file."""

    def matches(self, keys: Iterable[str], metadata: Mapping[str, str]) -> bool:
        return metadata.get("format") == OWN

    def places(
        self, keys: Iterable[str], metadata: Mapping[str, str], stages: Mapping[str, StageConfig]
    ) -> dict[Place, Pair]:
        stage = metadata.get("stage", "")
        if stage not in stages:
            raise LookupError(f"it is of a stage '{stage}', the model has {', '.join(stages)}")

        def split(key: str) -> tuple[str, str]:
            name, _, role = key.rpartition(".")
            role = role.removeprefix("lora_")
            if role not in ("down", "up", "alpha"):
                raise LookupError(f"'{key}' ends in none of lora_down, lora_up and alpha")
            return name, role

        return {Place(stage, name): pair for name, pair in pairs(keys, split).items()}

    def written(
        self, stage: str, part: Part, changes: Mapping[str, Change]
    ) -> tuple[str, dict[str, Tensor]] | None:
        return None  # `save_lora` does


LORA: Layout = _Own()
