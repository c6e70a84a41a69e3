"""What a format of model files is, and what is known of a model before its weights are read.

A format looks at a path and says what stages lie there: a `Plan`. Everything after that is the
same for all: the check of every name and shape, reading, casting, letting go again.
"""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from .. import plain
from ..config import explain
from ..device import give_back
from ..errors import CheckpointError, UnclipError, UsageError
from ..nn.text import TextConfig
from ..nn.tokenizer import Tokenizer
from ..registry import Registry
from ..stages import STAGES, Stage, StageConfig, on_meta
from ..vocabulary import Vocabulary
from ._unpickler import DAMAGE
from ._unread import check_file, why_unread
from ._variants import check_variant, variant_notes
from .archive import Tensors
from .keymap import KeyMap, check, same, translate, translate_lazily
from .lazy_tensor import LazyTensor
from .tensors import check_sum


@dataclass(frozen=True)
class Options:
    """What a person may say about a model beside where it is.

    Args:
        clip: CLIP weights, if the model lacks them or has half of them.
        tokenizer: a tokenizer's files, where the model has none.
        dialect: of a format that has several and cannot tell them apart.
        variant: of the weights, where a folder has several: fp16, ema, non_ema, ...
    """

    clip: Path | None = None
    tokenizer: Path | None = None
    dialect: str | None = None
    variant: str | None = None


GIVE_CLIP = "give CLIP weights with --clip (clip= in Python)"

TRAIN_ONE: Mapping[str, str] = {
    "clip": "train one with it (a recipe with [stages.clip])",
    "prior": "train one ([stages.prior] in a recipe)",
    "decoder": "train one with it (a recipe with [stages.decoder])",
}
"""How a model of this package comes to a part that it lacks."""

TEXT_ALONE: Mapping[str, str] = {
    "clip": "it draws from the text alone and has no place for one: take a model that draws from "
    "CLIP's embeddings, such as Karlo, Kandinsky 2.2 or Stable unCLIP"
}
"""The same of a model whose decoder knows no image embedding."""

MOMENT = 0.5
"""Seconds that a stage being replaced may differ from its model.json."""


@dataclass(frozen=True)
class Part:
    """One stage as it lies in foreign files.

    Args:
        config: what it is, in our terms.
        tensors: its file or files, opened when they are first needed.
        table: where each of our tensors stands; None where the names are our own.
        ignored: regular expressions of names that are knowingly left alone.
        sums: its files' SHA-256, where they are known: checked before values are read.
        sums_now: reads them again, for a model that is trained while it is in use.
    """

    config: StageConfig
    tensors: Callable[[], Tensors]
    table: KeyMap | None = None
    ignored: tuple[str, ...] = ()
    sums: Mapping[Path, str] = field(default_factory=dict)
    sums_now: Callable[[], Mapping[Path, str]] | None = None

    def build(self) -> Stage:
        """The stage without weights, on `meta`, in evaluation mode.

        Raises:
            CheckpointError: no network can have such settings.
        """
        try:
            stage = on_meta(self.config)
        except UnclipError:
            raise
        except (*DAMAGE, RuntimeError) as error:  # sizes beyond 63 bits, groups that do not divide
            text = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"no {self.config.kind} can have such settings: {text or type(error).__name__}"
            ) from None
        return stage.eval().requires_grad_(False)

    def check(self, net: nn.Module, where: str) -> Tensors:
        """Hold the file against the network, and give it. Raises CheckpointError."""
        tensors = self.tensors()
        wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
        check(wanted, tensors, self._table(wanted), where, self.ignored)
        return tensors

    @torch.inference_mode(False)  # gradients may pass through weights, wherever they are first used
    def fill(self, stage: Stage, where: str, dtype: torch.dtype, device: torch.device) -> None:
        """Read the weights into `stage`, one tensor after the other, cast and laid out to run."""
        before = self._stamps()
        self._fill(stage.net_at_rest, where, dtype, device)
        if self._stamps() != before:  # replaced meanwhile: some may be of before, some of after
            self._fill(stage.net_at_rest, where, dtype, device)

    def _fill(self, net: nn.Module, where: str, dtype: torch.dtype, device: torch.device) -> None:
        tensors = self._sound(net, where)
        owners = dict(net.named_modules())
        for name, value in translate(tensors, self._table(net.state_dict())):
            path, _, leaf = name.rpartition(".")
            _put(owners[path], leaf, _laid_out(_cast(value, dtype), device))
        idle = [name for name, value in net.named_buffers() if value.is_meta]
        assert not idle, f"buffers that no file fills: {idle}"

    def read(self, where: str, dtype: torch.dtype, device: torch.device) -> nn.Module:
        """The network with its weights, as `fill` reads them."""
        stage = self.build()
        self.fill(stage, where, dtype, device)
        return stage.net_at_rest

    def translated(self, where: str) -> dict[str, LazyTensor]:
        """Its tensors under our names, checked; read one by one. Raises CheckpointError."""
        net = self.build().net_at_rest
        tensors = self._sound(net, where)
        shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
        return translate_lazily(tensors, self._table(shapes), shapes)

    def _sound(self, net: nn.Module, where: str) -> Tensors:
        """The file, whose names, shapes and bytes are as they should be, or have become since."""
        try:
            return self._summed(net, where, self.sums)
        except CheckpointError:
            if self.sums_now is None:
                raise
        try:
            return self._summed(net, where, self.sums_now())
        except CheckpointError:
            time.sleep(MOMENT)  # it may be between the two: weights first, then model.json
        return self._summed(net, where, self.sums_now())

    def _summed(self, net: nn.Module, where: str, sums: Mapping[Path, str]) -> Tensors:
        tensors = self.check(net, where)
        for file, digest in sums.items():
            check_sum(file, digest)
        return tensors

    def _stamps(self) -> list[tuple[int, int]]:
        """What tells its files from others of their names; (0, 0) where there is none."""
        stats = [file.stat() if file.exists() else None for file in self.sums]
        return [(one.st_ino, one.st_mtime_ns) if one else (0, 0) for one in stats]

    def _table(self, names: Mapping[str, Any]) -> KeyMap:
        return self.table if self.table is not None else _identity(names)


def _identity(names: Mapping[str, Any]) -> KeyMap:
    table: KeyMap = {}
    for name in names:
        table |= same(name, name, "")
    return table


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _laid_out(value: Tensor, device: torch.device) -> Tensor:
    """On its device, kernels channels_last (see `place`), all else row by row.

    However a file had it: sums are rounded as they are laid out.
    """
    layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format
    return value.to(device).contiguous(memory_format=layout)


def _put(owner: nn.Module, leaf: str, value: Tensor) -> None:
    """Give a module one parameter or buffer of its own, in place of the one on `meta`."""
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        owner._buffers[leaf] = value


LARGE = 2**30
"""Bytes of weights from which on memory counts for more than the time to read them again."""


@dataclass
class Model:
    """A loaded model. `prior` is the stage that makes z_i unless another is named.

    `advice` says what a person does about a part that it lacks: see `Plan`.
    `vocabulary` holds the words that it has learnt, and is empty where they are not listed.
    """

    name: str
    hash: str
    tokenizer: Tokenizer
    stages: dict[str, Stage]
    prior: str | None = None
    advice: Mapping[str, str] = field(default_factory=dict)
    vocabulary: Vocabulary = field(default_factory=Vocabulary)


@dataclass(frozen=True)
class Plan:
    """A model before its weights are read.

    Args:
        name: what it is called.
        family: which format it is of.
        where: its folder or file.
        parts: its stages, in order.
        read_tokenizer: reads its tokenizer.
        prior: the stage that makes z_i unless another is named.
        licence: what is known of its licence.
        hash: names these very weights and settings; made of names and sizes where it is empty.
        notes: what a person should know, one line each.
        advice: what to do about a part that it lacks: "clip", "text" or "vision" (CLIP's
            encoders), "prior", "decoder" -> words that end an error's line.
        vocabulary: the words that it has learnt; empty where they are not listed.
    """

    name: str
    family: str
    where: Path
    parts: Mapping[str, Part]
    read_tokenizer: Callable[[], Tokenizer]
    prior: str | None = None
    licence: str = ""
    hash: str = ""
    notes: tuple[str, ...] = field(default=())
    advice: Mapping[str, str] = field(default_factory=dict)
    vocabulary: Vocabulary = field(default_factory=Vocabulary)

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits: the model's own hash, or that of its settings and its files' sizes."""
        if self.hash:
            return self.hash
        text = json.dumps({name: part.config.dump() for name, part in self.parts.items()})
        sizes = [f"{p.name} {p.stat().st_size}" for p in _files(self.where)]
        return hashlib.sha256("\n".join([text, *sizes]).encode()).hexdigest()[:12]

    def load(
        self,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        low_memory: bool | None = False,
    ) -> Model:
        """Check every name and shape now, and read the weights of a stage when it is first used.

        A picture needs one prior of several, and an edit none at all.

        Args:
            dtype: number format of the weights.
            device: where they go.
            low_memory: let go of a stage's weights when another is used; None: only where all of
                them together take more than `LARGE`.

        Raises:
            CheckpointError: a file is damaged, or does not fit the network.
        """
        tokenizer = self.read_tokenizer()  # first: where it is missing, nothing else is read
        check_text(tokenizer, {name: part.config for name, part in self.parts.items()})
        stages = {name: part.build() for name, part in self.parts.items()}
        if low_memory is None:
            low_memory = _bytes(stages.values(), dtype) > LARGE
        where, shelf = torch.device(device), Shelf() if low_memory else None
        for name, part in self.parts.items():
            place, stage = self.place_of(name), stages[name]
            part.check(stage.net_at_rest, place)
            if shelf:
                stage.source = partial(shelf.take, name, partial(part.read, place, dtype, where))
            else:
                stage.source = Reader(stage, partial(part.fill, stage, place, dtype, where))
        prior, words = self.first_prior, self.vocabulary
        return Model(self.name, self.digest, tokenizer, stages, prior, self.advice, words)

    @property
    def first_prior(self) -> str | None:
        """The stage that makes z_i unless another is named, if there is one."""
        kinds = {name: STAGES[part.config.kind] for name, part in self.parts.items()}
        priors = [name for name, kind in kinds.items() if "image_embed" in kind.produces]
        return self.prior or next(iter(priors), None)

    def place_of(self, name: str) -> str:
        """A stage, for an error's text."""
        return f"{self.where}/{name}" if self.where.is_dir() else f"{self.where} ({name})"


def _bytes(stages: Iterable[Stage], dtype: torch.dtype) -> int:
    """What the weights of these stages take in memory."""
    numbers = (p.numel() for stage in stages for p in stage.net_at_rest.parameters())
    each: int = dtype.itemsize
    return each * sum(numbers)


def check_text(tokenizer: Tokenizer, configs: Mapping[str, StageConfig]) -> None:
    """Raise CheckpointError where a tokenizer gives ids, or more of them, than a stage reads."""
    for name, config in configs.items():
        text = getattr(getattr(config, "network", None), "text", None)
        if not isinstance(text, TextConfig):
            continue
        if tokenizer.ids > text.vocab_size or tokenizer.context > text.context:
            raise CheckpointError(
                f"the tokenizer has ids to {tokenizer.ids - 1} and {tokenizer.context} of them a "
                f"text; stage '{name}' knows {text.vocab_size} and reads {text.context}"
            )


class Reader:
    """Gives a stage its network when it is first used, whichever thread does that."""

    def __init__(self, stage: Stage, fill: Callable[[], None]) -> None:
        self._stage, self._fill = stage, fill
        self._lock = Lock()

    def __call__(self) -> nn.Module:
        """The network with its weights. Raises CheckpointError."""
        with self._lock:
            if self._stage.source is self:
                self._fill()
                self._stage.source = None
            return self._stage.net_at_rest


class Shelf:
    """Holds the network of one stage at a time: the one that was asked for last.

    Who is given a network keeps it for as long as it is at work with it, whatever other threads
    ask for.
    """

    def __init__(self) -> None:
        self._name = ""
        self._net: nn.Module | None = None
        self._lock = Lock()

    def take(self, name: str, read: Callable[[], nn.Module]) -> nn.Module:
        """The network of that stage, read unless it is the one at hand. Raises CheckpointError."""
        with self._lock:
            if name != self._name or self._net is None:
                self._name, self._net = name, None
                give_back()
                self._net = read()
            return self._net


def _files(path: Path) -> Iterator[Path]:
    """The file, or the files of the folder that hold weights, in order."""
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            yield file


class Format(ABC):
    """One way to store a model."""

    name: ClassVar[str]
    dialects: ClassVar[tuple[str, ...]] = ()
    """What `Options.dialect` may be."""

    @abstractmethod
    def matches(self, path: Path) -> bool:
        """Whether `path` is of this format, by its content; no weights are read.

        What is of this format and faulty is still of this format: `open` says the fault. A file
        that cannot be opened at all is of none: `check_file` says why, before any is asked.

        Raises:
            CheckpointError: settings that tell what it is are damaged.
        """

    @abstractmethod
    def open(self, path: Path, options: Options) -> Plan:
        """What lies at `path`.

        Raises:
            CheckpointError: it is damaged, or of a variant that is not read.
            UsageError: an option is wrong, or one is needed.
        """


FORMATS: Registry[Format] = Registry("unclip.checkpoints", "FORMAT", "checkpoint format")


def find_format(path: Path) -> Format:
    """The format of what lies at `path`.

    Raises:
        CheckpointError: there is nothing, it is damaged, or no format reads it; it says what was
            found in its place.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist")
    if path.is_file():
        check_file(path)
    own = FORMATS["native"]
    if own.matches(path):  # the usual one: no adapter need be imported for it
        return own
    for name in FORMATS.names():
        if FORMATS[name].matches(path):
            return FORMATS[name]
    known = ", ".join(FORMATS[name].name for name in FORMATS.names())
    reason = why_unread(path, _readable)
    raise CheckpointError(f"{path} {reason} (read are: {known}; see docs/models)")


def _readable(path: Path) -> bool:
    """Whether a format takes `path`, sound or not."""
    try:
        return any(FORMATS[name].matches(path) for name in FORMATS.names())
    except CheckpointError:
        return False


def open_model(path: Path | str, options: Options | None = None) -> Plan:
    """What lies at `path`, in whatever format. Raises CheckpointError or UsageError."""
    path, options = Path(path), options or Options()
    found = find_format(path)
    if options.dialect is not None and options.dialect not in found.dialects:
        has = f"it has: {', '.join(found.dialects)}" if found.dialects else "it has none"
        raise UsageError(f"{found.name} has no dialect '{options.dialect}'; {has}")
    if options.variant:
        check_variant(path, options.variant)
    try:
        plan = found.open(path, options)
    except UsageError:
        raise
    except CheckpointError as error:
        raise CheckpointError(f"{error} (read as {found.name})") from None
    except UNFIT as error:
        reason = f"a setting is missing or of the wrong kind: {_one_line(error)}"
        raise CheckpointError(f"{path}: {reason} (read as {found.name})") from None
    notes = (*plan.notes, *variant_notes(path, options.variant))
    own = plan.hash
    if options.variant:  # other weights of files of the same names and sizes
        own = hashlib.sha256(f"{plan.digest} {options.variant}".encode()).hexdigest()[:12]
    return replace(plan, notes=notes, hash=own)


UNFIT = (LookupError, TypeError, ValueError, ArithmeticError)
"""What comes of settings that are not those of the network that they should be."""


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return explain(BaseModel, error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


class Settings(dict[str, Any]):
    """A file of settings, which says so where one that is needed is not there."""

    def __init__(self, values: Mapping[str, Any], file: Path) -> None:
        super().__init__(values)
        self._file = file

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(f"{self._file} lacks '{key}'")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError, also where a setting is asked for that it lacks."""
    try:
        values = plain.read_json(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file.parent} is missing its {file.name}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} is not a JSON object")
    return Settings(values, file)


def need(values: Mapping[str, Any], file: Path, **expected: Any) -> None:
    """Refuse a configuration with a setting other than the ones that can be read.

    Args:
        values: the file's.
        file: for the error's text.
        expected: setting -> the value that it may have, or a tuple of them; absent is fine.

    Raises:
        CheckpointError: names the setting, its value, and what is read.
    """
    for key, allowed in expected.items():
        choices = allowed if isinstance(allowed, tuple) else (allowed,)
        if key in values and values[key] not in choices:
            known = " or ".join(repr(one) for one in choices)
            raise CheckpointError(f"{file}: {key} is {values[key]!r}; only {known} is read")


def needs_clip(name: str, ability: str) -> UsageError:
    """The error of a model that names a CLIP which is not there."""
    return UsageError(
        f"{ability} needs CLIP {name}, which this model names but does not carry: {GIVE_CLIP}"
    )
