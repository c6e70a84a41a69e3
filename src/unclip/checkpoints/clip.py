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
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Literal

from ..errors import CheckpointError, UsageError
from ..nn.text import TextConfig
from ..nn.tokenizer import Tokenizer
from ..stages.clip import ClipStageConfig
from ._clip_hf import (
    BUFFERS,
    CLIP_PIXELS,
    STEMS,
    Pixels,
    has_tokenizer,
    hf_class,
    hf_clip_part,
    hf_part,
    hf_pixels,
    hf_table,
    hf_text_config,
    hf_text_table,
    hf_tokenizer,
    hf_vision_config,
    hf_vision_table,
    hf_whole_part,
    merged,
    weights_file,
)
from ._clip_openai import (
    OPEN_CLIP,
    OPEN_CLIP_STEMS,
    OPENAI_IGNORED,
    is_openai,
    open_clip_layout_part,
    openai_config,
    openai_part,
    openai_table,
)
from ._clip_x import context_of, is_x_clip, x_clip_part
from .archive import open_tensors
from .format import Format, Options, Part, Plan, read_json

__all__ = [
    "BUFFERS",
    "CLIP_PIXELS",
    "FORMAT",
    "Pixels",
    "clip_tokenizer",
    "completed",
    "has_tokenizer",
    "hf_clip_part",
    "hf_pixels",
    "hf_table",
    "hf_text_config",
    "hf_text_table",
    "hf_tokenizer",
    "hf_vision_config",
    "hf_vision_table",
    "hf_whole_part",
    "is_openai",
    "merged",
    "open_clip_layout_part",
    "open_clip_part",
    "open_tensors",
    "openai_config",
    "openai_table",
    "tokenizer_for",
    "weights_file",
]


def clip_tokenizer(context: int = 77, frames: bool = True) -> Tokenizer:
    """CLIP's own BPE, which comes with this package, for files that bring none. Pads with 0.

    It is OpenAI's (MIT, clip_bpe.LICENSE): the merges of openai/CLIP that it uses. Without
    `frames` neither start nor end is put around a caption.
    """
    data = resources.files(__package__).joinpath("clip_bpe.txt.gz").read_bytes()
    lines = gzip.decompress(data).decode().splitlines()
    merges = [(a, b) for a, b in (line.split(" ") for line in lines)]
    return Tokenizer.clip_merges(merges, context, frames)


def open_clip_part(
    path: Path,
    embed_dim: int | None = None,
    *,
    normalize: bool = True,
    null: Literal["learned", "text"] = "learned",
    null_image: bool = False,
) -> Part:
    """A CLIP that a model is to be given, from wherever it lies: the `clip` of `Options`.

    Args:
        path: a file or folder of any layout that this module reads.
        embed_dim: width of the embeddings that the model works with.
        normalize: whether the model wants embeddings of unit norm.
        null: see `ClipStageConfig`.
        null_image: see `ClipStageConfig`.

    Raises:
        UsageError: it is no CLIP, or not one of this width.
        CheckpointError: it is damaged, or of a variant that is not read.
    """
    part = FORMAT.part(path)
    if part is None:
        raise UsageError(f"{path} is no CLIP that is known here")
    config = part.config
    assert isinstance(config, ClipStageConfig)
    if embed_dim is not None and config.network.embed_dim != embed_dim:
        raise UsageError(
            f"CLIP {path} makes embeddings of {config.network.embed_dim} numbers; "
            f"the model works with {embed_dim}"
        )
    network = config.network.model_copy(update={"normalize": normalize})
    changes = {"network": network, "null": null, "null_image": null_image}
    return replace(part, config=config.model_copy(update=changes))


def completed(part: Part, clip: Path | None) -> Part:
    """A model's own CLIP, or in its place the whole one that a person names.

    Args:
        part: a `ClipStage` that may lack a tower.
        clip: the `clip` of `Options`.

    Raises:
        UsageError: that is no CLIP, not one of this width, or lacks a tower that the model's has.
        CheckpointError: it is damaged, or of a variant that is not read.
    """
    if clip is None:
        return part
    own = part.config
    assert isinstance(own, ClipStageConfig)
    named = open_clip_part(
        clip,
        own.network.embed_dim,
        normalize=own.network.normalize,
        null=own.null,
        null_image=own.null_image,
    )
    its = named.config
    assert isinstance(its, ClipStageConfig)
    for tower in ("text", "vision"):
        if getattr(own.network, tower) and not getattr(its.network, tower):
            raise UsageError(f"CLIP {clip} has no {tower} encoder, which the model's own has")
    return named


ENDINGS = (".pt", ".pth", ".bin", ".safetensors", ".ckpt", ".th")
"""Of weights, of a CLIP or of a model that a CLIP's file lies with."""


class ClipFormat(Format):
    """A CLIP by itself."""

    name = "CLIP"

    def matches(self, path: Path) -> bool:
        """See `Format`."""
        try:
            return self._reader(path) is not None
        except CheckpointError:
            return False

    def part(self, path: Path) -> Part | None:
        """The CLIP at `path`, or None where there is none of these layouts."""
        reader = self._reader(path)
        return reader() if reader else None

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`."""
        part = open_clip_part(path)
        config = part.config
        assert isinstance(config, ClipStageConfig)
        return Plan(
            name=path.stem if path.is_file() else path.name,
            family=self.name,
            where=path,
            parts={"clip": part},
            read_tokenizer=partial(_own_tokenizer, path, options, config.network.text),
            licence="MIT" if part.ignored == OPENAI_IGNORED else "",
        )

    def _reader(self, path: Path) -> Callable[[], Part] | None:
        """What reads `path`."""
        folder = path if path.is_dir() else path.parent
        theirs = folder / OPEN_CLIP
        if path.is_dir():
            if (path / "config.json").is_file() and _has_weights(path, STEMS):
                return partial(hf_part, path) if hf_class(read_json(path / "config.json")) else None
            if theirs.is_file():
                weights = weights_file(path, OPEN_CLIP_STEMS)
                return partial(open_clip_layout_part, theirs, partial(open_tensors, weights))
            alone = [file for file in path.iterdir() if file.suffix in ENDINGS]
            return self._reader(alone[0]) if len(alone) == 1 else None
        if not path.is_file() or path.suffix == ".json":
            return None
        tensors = open_tensors(path)
        if theirs.is_file() and "visual.conv1.weight" in tensors:
            return partial(open_clip_layout_part, theirs, partial(open_tensors, path))
        if is_x_clip(tensors):
            return partial(x_clip_part, path)
        return partial(openai_part, path) if is_openai(tensors) else None


def tokenizer_for(path: Path, options: Options, context: int) -> Tokenizer:
    """The tokenizer that a person names, that lies with a CLIP, or CLIP's own.

    Raises:
        CheckpointError: it is not CLIP's.
    """
    folder = options.tokenizer or path
    if options.tokenizer or has_tokenizer(folder):
        return hf_tokenizer(folder, context)
    if path.is_file() and is_x_clip(open_tensors(path)):
        return clip_tokenizer(context_of(open_tensors(path)), frames=False)
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


def _has_weights(folder: Path, stems: tuple[str, ...]) -> bool:
    try:
        weights_file(folder, stems)
    except CheckpointError:
        return False
    return True


FORMAT = ClipFormat()
