"""Captions to token ids: byte-fallback BPE, trained on the corpus' own captions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import torch
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from torch import Tensor

from ..errors import CheckpointError, UnclipError, beginning, ending
from ..files import write_text

PAD, START, END = "<pad>", "<start>", "<end>"
CLIP_PAD, CLIP_START, CLIP_END = "!", "<|startoftext|>", "<|endoftext|>"
_SPECIAL = [PAD, START, END]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


class Span(NamedTuple):
    """A token, and from which letter of a text to which it stands for."""

    id: int
    start: int
    end: int


class Tokenizer:
    """`[start] caption [end] [pad] ...`, `context` tokens in all.

    One whose vocabulary has an end but no start (GPT-2's) puts neither around a caption, and pads
    with the end.

    Lower-cased, NFKC-normalised, a final full stop left out. A letter that the training never
    met becomes its UTF-8 bytes, so that every text has tokens and none are unknown.
    """

    def __init__(self, backend: Backend, context: int) -> None:
        self.context = context
        self.words: dict[str, tuple[int, ...]] = {}
        self._words: re.Pattern[str] | None = None
        self._backend = backend
        backend.encode_special_tokens = True  # a caption that spells "<end>" is a caption
        is_clip = backend.token_to_id(CLIP_START) is not None
        self.frames = is_clip or backend.token_to_id(CLIP_END) is None  # GPT-2's has but an end
        names = (CLIP_PAD, CLIP_START, CLIP_END) if is_clip else (PAD, START, END)
        names = names if self.frames else (CLIP_END,) * 3
        self.pad, self.start, self.end = (int(backend.token_to_id(name) or 0) for name in names)
        backend.no_truncation()  # both are this class's work; a foreign file may ask for them
        if backend.padding is not None:
            self._pad_with(backend.padding["pad_id"], backend.padding["pad_token"])

    @classmethod
    def train(cls, captions: Iterable[str], vocab_size: int, context: int) -> Self:
        """Learn merges from captions; the vocabulary holds at most `vocab_size` tokens."""
        backend = _backend(models.BPE(byte_fallback=True))
        fixed = [*_SPECIAL, *_BYTES]
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=fixed,
            limit_alphabet=max(0, vocab_size - len(fixed)),  # rarer letters stay bytes
            show_progress=False,
        )
        backend.train_from_iterator(captions, trainer)
        # bytes had to be special to enter the vocabulary; from here on they are plain tokens
        saved = json.loads(backend.to_str())
        saved["added_tokens"] = saved["added_tokens"][: len(_SPECIAL)]
        return cls(Backend.from_str(json.dumps(saved)), context)

    @classmethod
    def of_json(cls, text: str, context: int) -> Self:
        """From what `to_json` gave."""
        return cls(Backend.from_str(text), context)

    def to_json(self) -> str:
        """The `tokenizers` library's JSON, indented."""
        return str(self._backend.to_str(pretty=True)) + "\n"

    def save(self, path: Path | str) -> None:
        """Write `to_json`, atomically."""
        write_text(path, self.to_json())

    def with_words(self, words: Mapping[str, tuple[int, ...]]) -> Self:
        """A copy that knows some words, whatever their case, by ids of their own."""
        other = type(self).of_json(self.to_json(), self.context)
        longest_first = sorted({**self.words, **words}.items(), key=lambda one: -len(one[0]))
        other.words = dict(longest_first)
        every = "|".join(f"({re.escape(word)})" for word in other.words)  # group n is word n
        other._words = re.compile(rf"(?<!\w)(?:{every})(?!\w)", re.IGNORECASE)
        return other

    def knows(self, word: str) -> bool:
        """Whether `with_words` gave it, in whatever case."""
        return bool(self._words and self._words.fullmatch(word))

    def without(self, text: str) -> str:
        """A text without the words that `with_words` gave."""
        return self._words.sub(" ", text) if self._words else text

    def padded_with(self, token: str) -> Self:
        """A copy that pads with another of its tokens. Raises CheckpointError where it has none."""
        number = self._backend.token_to_id(token)
        if number is None:
            raise CheckpointError(f"the tokenizer has no '{token}' to pad with")
        other = type(self).of_json(self.to_json(), self.context)
        other._pad_with(number, token)
        return other

    def _pad_with(self, number: int, token: str) -> None:
        """Kept in the library's own place for it, of any length, which changes no single text."""
        self.pad = number
        self._backend.enable_padding(pad_id=number, pad_token=token)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones and bytes included."""
        return int(self._backend.get_vocab_size())

    @property
    def ids(self) -> int:
        """One more than its largest id: what a network has to have vectors for."""
        return max(self._backend.get_vocab().values(), default=-1) + 1

    def pieces(self, text: str) -> list[int]:
        """Ids of the text alone, neither cut nor padded."""
        return [one.id for one in self.spans(text)]

    def spans(self, text: str) -> list[Span]:
        """The same, each with the letters of the text that it stands for."""
        text = text.encode(errors="replace").decode()  # a lone surrogate, as of a broken argument
        found, done, every = list[Span](), 0, list(self.words.values())
        for word in self._words.finditer(text) if self._words else ():
            start, end = word.span()
            found += self._plain_spans(text[done:start], done)
            found += [Span(one, start, end) for one in every[(word.lastindex or 0) - 1]]
            done = end
        return found + self._plain_spans(text[done:], done)

    def _plain_spans(self, text: str, start: int) -> list[Span]:
        with library_errors("the tokenizer fails at this text"):
            made = self._backend.encode(text, add_special_tokens=False)
        pairs = zip(made.ids, made.offsets, strict=True)
        return [Span(one, start + first, start + last) for one, (first, last) in pairs]

    @property
    def room(self) -> int:
        """How many tokens of a text `encode` keeps."""
        return self.context - 2 * self.frames

    def kept(self, text: str) -> str:
        """The part of a text that `encode` keeps: all of it, or its beginning."""
        spans = self.spans(text)
        text = text.encode(errors="replace").decode()
        if len(spans) <= self.room:
            return text
        return text[: spans[self.room - 1].end] if self.room > 0 else ""

    def complaint(self, text: str) -> str:
        """Where a prompt is cut, for a warning; empty where all of it is read."""
        kept = self.kept(text)
        if kept == text:
            return ""
        where = f"after '{ending(kept)}'" if kept.strip() else "whole"
        count, left = len(self.pieces(text)), beginning(text[len(kept) :].strip())
        return (
            f"the prompt has {count} tokens, the model reads {self.room}: it is cut {where}, "
            f"and '{left}' is not read"
        )

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(B, N) int64 ids and (B, N) bool mask; what is too long is cut before the end token."""
        return self.framed([self.pieces(text) for text in texts])

    def framed(self, pieces: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """The same of ids; those beyond `room` are cut."""
        tokens = torch.full((len(pieces), self.context), self.pad, dtype=torch.long, device="cpu")
        mask = torch.zeros(len(pieces), self.context, dtype=torch.bool, device="cpu")
        for row, every in enumerate(pieces):
            ids = list(every[: self.room])
            ids = [self.start, *ids, self.end] if self.frames else ids
            tokens[row, : len(ids)] = torch.tensor(ids, dtype=torch.long, device="cpu")
            mask[row, : len(ids)] = True
        return tokens, mask

    def decode(self, tokens: Tensor) -> str:
        """(N,) ids -> text, special tokens left out."""
        return str(self._backend.decode(tokens.tolist(), skip_special_tokens=True)).strip()


@contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Its faults as one line; it raises them bare, and its panics are no `Exception` at all."""
    try:
        yield
    except UnclipError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(f"{what}: {error}") from None


def _backend(model: models.BPE) -> Backend:
    backend = Backend(model)
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s*[.!。]+\s*$"), ""),  # captions end without a stop
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()]
    )
    return backend
