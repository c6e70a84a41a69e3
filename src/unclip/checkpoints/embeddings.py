"""Textual inversion: words that a person taught a text encoder, as rows of its embedding table.

An Image is Worth One Word (arXiv 2208.01618). Read are A1111's files (.pt, and .safetensors with
`emb_params`), whose word is the file's name, and diffusers' (`learned_embeds`), which name it. A
file for a model with several text encoders has one tensor (k, W') each, called as the stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ..config import shown
from ..errors import CheckpointError, UsageError
from ..nn.text import TextConfig
from ..nn.tokenizer import Tokenizer
from ._unpickler import Inert
from .archive import Tensors, contents
from .format import Plan
from .int8 import own_table
from .keymap import Take
from .lazy_tensor import LazyTensor, value_of
from .part import Part

A1111 = "emb_params"
TABLE = "text.embed.weight"
"""How the name of a text encoder's table ends."""


@dataclass(frozen=True)
class Embedding:
    """A file, and the word that stands for it; None is the file's own."""

    file: Path
    word: str | None = None

    @classmethod
    def of(cls, asked: object) -> Self:
        """From a path or 'WORD=FILE'. Raises UsageError."""
        if not isinstance(asked, str | Path):
            raise UsageError(f"embedding must be a file or 'WORD=FILE', got {shown(asked)}")
        word, equals, file = str(asked).partition("=")
        if Path(asked).is_file():
            return cls(Path(asked))
        if not (equals and word.strip() and Path(file).is_file()):
            raise UsageError(
                f"embedding {file or asked}: there is no such file; it must be FILE or WORD=FILE"
            )
        return cls(Path(file), word.strip())


def read(asked: Embedding) -> tuple[str, dict[str, Tensor]]:
    """The word, and its vectors (k, W'): by stage, or of the only text encoder under "".

    Raises:
        CheckpointError: the file is damaged, or of another kind.
    """
    file, data = asked.file, contents(asked.file)
    own = data.get("string_to_param", data) if isinstance(data, Mapping) else None
    if isinstance(own, Inert) and isinstance(own.state, dict):  # a ParameterDict
        own = own.state.get("_parameters")
    if not isinstance(own, Mapping) or not own:
        raise _no_embedding(file)
    values = {str(key): _vectors(file, value) for key, value in own.items()}
    word = file.stem
    if len(values) == 1:
        ((name, value),) = values.items()
        is_a1111 = name in (A1111, "*")
        return asked.word or (word if is_a1111 else name), {"": value}
    return asked.word or word, values


def _no_embedding(file: Path) -> CheckpointError:
    return CheckpointError(
        f"{file} holds no embedding: it must be a textual inversion of A1111 or of diffusers"
    )


def _vectors(file: Path, value: Any) -> Tensor:
    if not isinstance(value, LazyTensor | Tensor) or len(value.shape) not in (1, 2):
        raise _no_embedding(file)
    vectors = value_of(value).float()
    vectors = vectors[None] if vectors.ndim == 1 else vectors
    if not vectors.isfinite().all() or not len(vectors):
        raise CheckpointError(f"{file} is damaged: its vectors are not finite, or none")
    return vectors


def with_embedding(plan: Plan, asked: Embedding) -> tuple[Plan, str]:
    """A model that knows one more word, and the word.

    Raises:
        CheckpointError: the file is damaged, of another kind, or of another model.
        UsageError: the model reads no text, or knows the word already.
    """
    word, vectors = read(asked)
    texts = {name: _text(part) for name, part in plan.parts.items()}
    readers = {name: text for name, text in texts.items() if text is not None}
    _check(asked.file, plan.name, readers, vectors)
    first = max(text.vocab_size for text in readers.values())
    count = len(next(iter(vectors.values())))
    parts = dict(plan.parts)
    for name in readers:
        parts[name] = _longer(parts[name], vectors[name if name in vectors else ""], first)
    read_before = plan.read_tokenizer

    def read_tokenizer() -> Tokenizer:
        tokenizer = read_before()
        if tokenizer.knows(word):
            raise UsageError(f"two embeddings are called '{word}': give one as WORD=FILE")
        return tokenizer.with_words({word: tuple(range(first, first + count))})

    return replace(plan, parts=parts, read_tokenizer=read_tokenizer), word


def _text(part: Part) -> TextConfig | None:
    text = getattr(getattr(part.config, "network", None), "text", None)
    return text if isinstance(text, TextConfig) else None


def _check(
    file: Path, model: str, readers: Mapping[str, TextConfig], vectors: Mapping[str, Tensor]
) -> None:
    """Raise unless there are vectors for each text encoder, as wide as it is."""
    if not readers:
        raise UsageError(f"model '{model}' has no text encoder, which an embedding is for")
    names = ", ".join(readers)
    if set(vectors) not in ({""}, set(readers)):
        given = ", ".join(vectors)
        raise CheckpointError(
            f"{file} is no embedding of model '{model}': it has vectors for {given}, the text "
            f"encoders are those of {names}"
        )
    if "" in vectors and len(readers) > 1:
        raise CheckpointError(
            f"{file} is no embedding of model '{model}', which has several text encoders: it must "
            f"have vectors for each, called {names}"
        )
    if len({len(value) for value in vectors.values()}) > 1:
        raise CheckpointError(f"{file} is damaged: it has not as many vectors for each encoder")
    for name, text in readers.items():
        width = vectors[name if name in vectors else ""].shape[1]
        if width != text.width:
            raise CheckpointError(
                f"{file} is no embedding of model '{model}': its vectors have {width} numbers, "
                f"stage '{name}' reads {text.width}"
            )


def _longer(part: Part, vectors: Tensor, first: int) -> Part:
    """With `vectors` as rows from `first` on of the text encoder's table."""
    network, text = part.config.network, _text(part)  # type: ignore[attr-defined]
    assert text is not None
    filler = vectors.new_zeros(first - text.vocab_size, vectors.shape[1])
    rows, name = torch.cat([filler, vectors]), f"embedding.{first}"
    longer = text.model_copy(update={"vocab_size": text.vocab_size + len(rows)})
    config = part.config.model_copy(update={"network": network.model_copy(update={"text": longer})})
    state, before = part.build().net_at_rest.state_dict(), part.tensors
    table = dict(part.table if part.table is not None else own_table(state, before()))
    ours = next(key for key in table if key.endswith(TABLE))
    own = table[ours]
    table[ours] = Take((*own.sources, name), join=partial(_appended, own))

    def tensors() -> Tensors:
        found = before()
        return Tensors({**found._entries, name: rows}, found._where, found.wrapped)

    return replace(part, config=config, table=table, tensors=tensors)


def _appended(own: Take, parts: list[Tensor]) -> Tensor:
    *theirs, rows = parts
    value = own.join(theirs) if len(theirs) > 1 else theirs[0]
    value = own.to_ours(value) if own.to_ours else value
    return torch.cat([value.float(), rows])
