"""Tokenizers from files: the `tokenizers` library's JSON, and what CLIP and GPT-2 bring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from ..errors import CheckpointError
from ..files import text_of
from ..nn.tokenizer import CLIP_END, CLIP_PAD, CLIP_START, Tokenizer, library_errors
from ..plain import JSON_BYTES, parse_json
from ._tokenizer_rules import check_rules

PROBE = "A naïve fox, 12 of them: ½ 狐 🦊!"
"""A text that every tokenizer has to get through."""

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_BYTE_LETTERS = [chr(byte) for byte in _PRINTABLE] + [chr(256 + n) for n in range(256 - 188)]
"""What a byte-level BPE writes for bytes: Latin-1's visible letters, others for the rest."""


def load_tokenizer(path: Path | str, context: int) -> Tokenizer:
    """Read what `Tokenizer.save` or another program wrote.

    Raises:
        CheckpointError: it is missing or damaged, fails at a plain text, or has rules that
            make far too much of one.
    """
    with library_errors(f"cannot read the tokenizer {path}"):
        text = text_of(path, JSON_BYTES)
        check_rules(parse_json(text))
        backend = Backend.from_str(text)
        read = Tokenizer(backend, context)
        backend.encode(PROBE)
    return read


def clip_of_files(vocab: Path | str, merges: Path | str, context: int = 77) -> Tokenizer:
    """CLIP's own BPE from the `vocab.json` and `merges.txt` that its checkpoints bring.

    Raises:
        CheckpointError: a file is missing or is not what it should be.
    """
    with library_errors(f"cannot read CLIP's {vocab} and {merges}"):
        model = models.BPE.from_file(str(vocab), str(merges), end_of_word_suffix="</w>")
    return _clip(model, str(vocab), context)


def clip_of_merges(
    merges: Sequence[tuple[str, str]], context: int = 77, frames: bool = True
) -> Tokenizer:
    """CLIP's BPE from its merges alone: they say its vocabulary too (openai/CLIP).

    Without `frames` neither start nor end is put around a caption.
    """
    letters = [*_BYTE_LETTERS, *(f"{letter}</w>" for letter in _BYTE_LETTERS)]
    start = CLIP_START if frames else f"{CLIP_START}unused"
    names = [*letters, *(a + b for a, b in merges), start, CLIP_END]
    vocab = {name: number for number, name in enumerate(names)}
    model = models.BPE(vocab, list(merges), end_of_word_suffix="</w>")
    if frames:
        return _clip(model, "the list of merges", context)
    backend = _clip_backend(model)
    backend.add_special_tokens([CLIP_END])
    return Tokenizer(backend, context).padded_with(CLIP_PAD)


def gpt2_of_files(vocab: Path | str, merges: Path | str, context: int) -> Tokenizer:
    """GPT-2's BPE, lower-cased, as GLIDE reads captions.

    Raises:
        CheckpointError: a file is missing or is not what it should be.
    """
    with library_errors(f"cannot read GPT-2's {vocab} and {merges}"):
        model = models.BPE.from_file(str(vocab), str(merges))
    backend = Backend(model)
    known = [backend.token_to_id(name) for name in (CLIP_START, CLIP_END)]
    if known[0] is not None or known[1] is None:
        raise CheckpointError(f"{vocab} is not GPT-2's vocabulary")
    backend.add_special_tokens([CLIP_END])
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend, context)


def _clip(model: models.BPE, where: str, context: int) -> Tokenizer:
    backend = _clip_backend(model)
    for token in (CLIP_PAD, CLIP_START, CLIP_END):
        if backend.token_to_id(token) is None:
            raise CheckpointError(f"{where} is not CLIP's vocabulary: it lacks '{token}'")
    backend.add_special_tokens([CLIP_START, CLIP_END])
    return Tokenizer(backend, context)


def _clip_backend(model: models.BPE) -> Backend:
    """Words, single digits and runs of signs, each as bytes (openai/CLIP, simple_tokenizer)."""
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    backend = Backend(model)
    quotes = [normalizers.Replace(Regex(a), b) for a, b in (("[‘’]", "'"), ("[“”]", '"'))]
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), *quotes, normalizers.Lowercase()]  # it never met a curly quote
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace("</w>", " "), decoders.Strip(" ", 0, 1)]
    )
    return backend
