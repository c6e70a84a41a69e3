"""CLIP as it is published: Hugging Face's folders, OpenAI's archives, open_clip's files.

Folders:   config.json + model.safetensors or pytorch_model.bin (`CLIPModel`, or one tower alone)
           open_clip_config.json + open_clip_model.safetensors or open_clip_pytorch_model.bin
Files:     OpenAI's TorchScript archives (`ViT-L-14.pt`), or state dicts with the same names;
           x-clip's state dicts

Other formats that hold a CLIP, or are to be given one, take what they need from here.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path

from ...checkpoints._state_dicts import open_weights
from ...checkpoints._unread import check_file, why_unread
from ...checkpoints._variants import variants, weights_file
from ...checkpoints.archive import Tensors
from ...checkpoints.companions import folder_tokenizer, has_tokenizer
from ...checkpoints.format import Format, Options, Plan
from ...checkpoints.part import Part
from ...checkpoints.settings import read_json
from ...checkpoints.tokenizers import clip_of_merges
from ...errors import CheckpointError, UsageError
from ...nn.text import TextConfig
from ...nn.tokenizer import Tokenizer
from ...stages.clip import ClipStageConfig
from ._x_clip_keys import context_of, is_x_clip, x_clip_part
from .huggingface import hf_class, hf_part
from .openai import (
    OPEN_CLIP,
    OPEN_CLIP_STEMS,
    OPENAI_IGNORED,
    is_openai,
    open_clip_layout_part,
    openai_part,
)


def clip_tokenizer(context: int = 77, frames: bool = True) -> Tokenizer:
    """CLIP's own BPE, which comes with this package, for files that bring none. Pads with 0.

    It is OpenAI's (MIT, clip_bpe.LICENSE): the merges of openai/CLIP that it uses. Without
    `frames` neither start nor end is put around a caption.
    """
    data = resources.files(__package__).joinpath("clip_bpe.txt.gz").read_bytes()
    lines = gzip.decompress(data).decode().splitlines()
    merges = [(a, b) for a, b in (line.split(" ") for line in lines)]
    return clip_of_merges(merges, context, frames)


ENDINGS = (".pt", ".pth", ".bin", ".safetensors", ".ckpt", ".th")
"""Of weights, of a CLIP or of a model that a CLIP's file lies with."""


ADVICE = {
    "decoder": "it is a CLIP alone: compare pictures and texts with it (`unclip probe`), "
    "or give it to a model that draws, with --clip (clip= in Python)"
}


class ClipFormat(Format):
    """A CLIP by itself."""

    name = "CLIP"

    def matches(self, path: Path) -> bool:
        """By its settings, else by the names of its tensors."""
        return self._reader(path) is not None

    def part(self, path: Path, variant: str | None = None) -> Part:
        """The CLIP at `path`.

        Raises:
            UsageError: there is none.
            CheckpointError: it is damaged, or of a variant that is not read.
        """
        if path.is_file():
            check_file(path)
        reader = self._reader(path, variant)
        if reader is None:
            raise UsageError(f"{path} is no CLIP that is known here: it {why_unread(path)}")
        return reader()

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`."""
        part = self.part(path, options.variant)
        config = part.config
        assert isinstance(config, ClipStageConfig)
        return Plan(
            name=path.stem if path.is_file() else path.name,
            family=self.name,
            where=path,
            parts={"clip": part},
            read_tokenizer=partial(_own_tokenizer, path, options, config.network.text),
            licence="MIT" if part.ignored == OPENAI_IGNORED else "",
            notes=_notes(part),
            advice=ADVICE,
        )

    def _reader(self, path: Path, variant: str | None = None) -> Callable[[], Part] | None:
        """What reads `path`; None where it is no CLIP, or nothing that can be opened."""
        theirs = (path if path.is_dir() else path.parent) / OPEN_CLIP
        if not path.is_dir():
            return _file_reader(path, theirs)
        config = path / "config.json"
        is_hf = config.is_file() and bool(hf_class(read_json(config)))
        if is_hf and variants(path):
            return partial(hf_part, path, variant)
        if theirs.is_file() and variants(path, OPEN_CLIP_STEMS):
            weights = weights_file(path, OPEN_CLIP_STEMS, variant)
            return partial(open_clip_layout_part, theirs, partial(open_weights, weights))
        alone = [file for file in path.iterdir() if file.suffix in ENDINGS]
        if len(alone) == 1 and not is_hf:
            return _file_reader(alone[0], theirs)
        return partial(hf_part, path, variant) if is_hf else None  # which says what it lacks


def _file_reader(file: Path, settings: Path) -> Callable[[], Part] | None:
    """What reads a file, which is open_clip's where its `settings` are there."""
    tensors = _opened(file)
    if tensors is None:
        return None
    if settings.is_file() and "visual.conv1.weight" in tensors:
        return partial(open_clip_layout_part, settings, partial(open_weights, file))
    if is_x_clip(tensors):
        return partial(x_clip_part, file)
    return partial(openai_part, file) if is_openai(tensors) else None


def _notes(part: Part) -> tuple[str, ...]:
    """What a lone file leaves open."""
    if part.ignored != OPENAI_IGNORED or not part.tensors().wrapped:
        return ()
    return (
        "read with OpenAI's activation (quick_gelu), as the file does not say which: where it was "
        f"trained with another, lay open_clip's {OPEN_CLIP} beside it",
    )


def _opened(file: Path) -> Tensors | None:
    """Its tensors; None where there are none, the reason for which is not CLIP's to say."""
    if not file.is_file() or file.suffix == ".json":
        return None
    try:
        return open_weights(file)
    except CheckpointError:
        return None


def tokenizer_for(path: Path, options: Options, context: int) -> Tokenizer:
    """The tokenizer that a person names, that lies with a CLIP, or CLIP's own.

    Raises:
        CheckpointError: it is not CLIP's.
    """
    folder = options.tokenizer or path
    if options.tokenizer or has_tokenizer(folder):
        return folder_tokenizer(folder, context)
    if path.is_file() and is_x_clip(open_weights(path)):
        return clip_tokenizer(context_of(open_weights(path)), frames=False)
    return clip_tokenizer(context)


def _own_tokenizer(path: Path, options: Options, text: TextConfig | None) -> Tokenizer:
    """What a CLIP by itself reads with. Raises UsageError where it does not know all tokens."""
    tokenizer = tokenizer_for(path, options, text.context if text else 77)
    if text and tokenizer.vocab_size > text.vocab_size:
        raise UsageError(
            f"{path} knows {text.vocab_size} tokens, the tokenizer has {tokenizer.vocab_size}: "
            "name the folder of its own with --tokenizer (tokenizer= in Python)"
        )
    return tokenizer


FORMAT = ClipFormat()
