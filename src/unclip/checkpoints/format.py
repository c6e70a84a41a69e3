"""What a format of model files is, and what is known of a model before its weights are read.

A format looks at a path and says what stages lie there: a `Plan`. Everything after that is the
same for all: the check of every name and shape, reading, casting, letting go again.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import BaseModel, ValidationError

from ..added import Added
from ..config import explain
from ..errors import CheckpointError, UsageError
from ..nn.text import TextConfig
from ..nn.tokenizer import Tokenizer
from ..registry import Registry
from ..stages import STAGES, Stage, StageConfig
from ..stages.model import Model
from ..vocabulary import Vocabulary
from ._unread import check_file, why_unread
from ._variants import check_variant, variant_notes
from .lazy import LazyNet, Offloader
from .part import Part


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

TEXT_ALONE: Mapping[str, str] = {
    "clip": "it draws from the text alone and has no place for one: take a model that draws from "
    "CLIP's embeddings, such as Karlo, Kandinsky 2.2 or Stable unCLIP"
}
"""The same of a model whose decoder knows no image embedding."""

LARGE = 2**30
"""Bytes of weights from which on memory counts for more than the time to read them again."""


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
        decoder: the stage that draws, of several, unless another is named.
        licence: what is known of its licence.
        hash: names these very weights and settings; made of names and sizes where it is empty.
        notes: what a person should know, one line each.
        advice: what to do about a part that it lacks: "clip", "text" or "vision" (CLIP's
            encoders), "prior", "decoder" -> words that end an error's line.
        vocabulary: the words that it has learnt; empty where they are not listed.
        added: what a person added to it: see `adapted`.
    """

    name: str
    family: str
    where: Path
    parts: Mapping[str, Part]
    read_tokenizer: Callable[[], Tokenizer]
    prior: str | None = None
    decoder: str | None = None
    licence: str = ""
    hash: str = ""
    notes: tuple[str, ...] = field(default=())
    advice: Mapping[str, str] = field(default_factory=dict)
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    added: tuple[Added, ...] = ()

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
        where, offloader = torch.device(device), Offloader() if low_memory else None
        for name, part in self.parts.items():
            place, stage = self.place_of(name), stages[name]
            part.check(stage.net_at_rest, place)
            if offloader:
                stage.source = partial(
                    offloader.take, name, partial(part.read, place, dtype, where)
                )
            else:
                stage.source = LazyNet(stage, partial(part.fill, stage, place, dtype, where))
        return Model(
            tokenizer,
            stages,
            name=self.name,
            hash=self.digest,
            prior=self.first_prior,
            advice=self.advice,
            vocabulary=self.vocabulary,
            read_as=dtype,
            decoder=self.decoder,
            added=self.added,
        )

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
                f"the tokenizer does not fit stage '{name}': its vocabulary size is "
                f"{tokenizer.ids} and its context length {tokenizer.context}, the stage reads at "
                f"most {text.vocab_size} and {text.context}"
            )


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


FORMATS: Registry[Format] = Registry(
    "unclip.checkpoints", "FORMAT", "checkpoint format", also=("unclip.families.*",)
)


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
    raise CheckpointError(f"{path} {reason} (known formats: {known}; see docs/models)")


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
        has = f"it has: {', '.join(found.dialects)}" if found.dialects else "it has no dialects"
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


def needs_clip(name: str, ability: str) -> UsageError:
    """The error of a model that names a CLIP which is not there."""
    return UsageError(
        f"{ability} needs CLIP {name}, which this model names but does not carry: {GIVE_CLIP}"
    )
