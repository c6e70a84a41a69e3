"""What a person gives beside a model: a CLIP, where it has none or half of one, a tokenizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..errors import CheckpointError, UsageError
from ..nn.tokenizer import CLIP_END, Tokenizer
from ..stages.clip import ClipStageConfig
from .format import FORMATS, Options
from .part import Part
from .settings import read_json
from .tokenizers import clip_of_files, load_tokenizer


def open_clip_part(
    path: Path,
    embed_dim: int | None = None,
    text_width: int | None = None,
    *,
    normalize: bool = True,
    null: Literal["learned", "text"] = "learned",
    null_image: bool = False,
) -> Part:
    """A CLIP that a model is to be given, from wherever it lies: the `clip` of `Options`.

    Args:
        path: a file or folder of any layout of a CLIP that is read.
        embed_dim: width of the embeddings that the model works with.
        text_width: width of the text's encodings that it reads.
        normalize: whether the model wants embeddings of unit norm.
        null: see `ClipStageConfig`.
        null_image: see `ClipStageConfig`.

    Raises:
        UsageError: it is no CLIP, or not one of this width.
        CheckpointError: it is damaged, or of a variant that is not read.
    """
    part = FORMATS["clip"].open(path, Options()).parts["clip"]
    config = part.config
    assert isinstance(config, ClipStageConfig)
    if embed_dim is not None and config.network.embed_dim != embed_dim:
        raise UsageError(
            f"CLIP {path} makes embeddings of {config.network.embed_dim} numbers; "
            f"the model works with {embed_dim}"
        )
    text = config.network.text
    if text_width and text and text.width != text_width:
        raise UsageError(
            f"CLIP {path} makes encodings of {text.width} numbers a token; "
            f"the model works with {text_width}"
        )
    network = config.network.model_copy(update={"normalize": normalize})
    changes = {"network": network, "null": null, "null_image": null_image}
    return replace(part, config=config.model_copy(update=changes))


def completed(part: Part, clip: Path | None) -> Part:
    """A model's own CLIP, which may lack a tower, or the whole one that a person names.

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
        own.network.text.width if own.network.text else None,
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


def folder_tokenizer(folder: Path, context: int = 77) -> Tokenizer:
    """The tokenizer of a folder: `vocab.json` and `merges.txt`, or `tokenizer.json`.

    A file of these stands for its folder.

    It pads with what the folder's files name, as transformers does.

    Raises:
        CheckpointError: there is none, or it is not CLIP's.
    """
    folder = folder.parent if folder.is_file() else folder
    vocab, merges, whole = (folder / n for n in ("vocab.json", "merges.txt", "tokenizer.json"))
    if vocab.is_file() and merges.is_file():
        tokenizer = clip_of_files(vocab, merges, context)
    elif whole.is_file():
        tokenizer = load_tokenizer(whole, context)
    else:
        raise CheckpointError(
            f"{folder} has no tokenizer (vocab.json and merges.txt, or tokenizer.json): "
            "name the folder of one with --tokenizer (tokenizer= in Python)"
        )
    return tokenizer.padded_with(_pad_token(folder))


def _pad_token(folder: Path) -> str:
    """As transformers finds it: an old special_tokens_map.json wins over tokenizer_config.json."""
    pad: Any = CLIP_END
    main, older = (folder / n for n in ("tokenizer_config.json", "special_tokens_map.json"))
    values = read_json(main) if main.is_file() else {}
    pad = values.get("pad_token") or pad
    if older.is_file() and "added_tokens_decoder" not in values:
        pad = read_json(older).get("pad_token") or pad
    return str(pad["content"] if isinstance(pad, dict) else pad)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder brings a tokenizer of its own."""
    pair = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return pair or (folder / "tokenizer.json").is_file()
