"""x-clip (lucidrains), as DALLE2-pytorch trains it: the bare state dict of its `CLIP`.

Its files hold neither settings nor a tokenizer. What shapes do not tell is as its defaults have
it: heads of 64 numbers, pixels in [0, 1].
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from torch import Tensor

from ...checkpoints._state_dicts import open_weights
from ...checkpoints.archive import Tensors
from ...checkpoints.keymap import KeyMap, Take, repeated, same, under
from ...checkpoints.part import Part
from ...checkpoints.settings import shapes_of
from ...errors import CheckpointError
from ...nn.clip import VisionConfig
from ...nn.text import TextConfig
from .huggingface import sized
from .x_clip import XClipConfig, XClipStageConfig

HEAD = 64
UNUSED = (r"to_(text|visual)_latent_extra\..*", r"mlm\..*", r"visual_ssl\..*")
"""A second pair of projections and what serves other losses: training's alone."""


def is_x_clip(tensors: Tensors) -> bool:
    """Whether these are x-clip's names."""
    names = ("text_transformer.token_emb.weight", "to_text_latent.weight", "temperature")
    return all(name in tensors for name in names)


def context_of(tensors: Tensors) -> int:
    """Tokens that a caption is padded or cut to."""
    return tensors.shape("text_transformer.abs_pos_emb.weight")[0]


def x_clip_config(tensors: Tensors, where: Path) -> XClipConfig:
    """What the shapes tell. Raises CheckpointError for a variant that is not read."""
    for name, variant in (
        ("text_transformer.rotary_pos_emb.inv_freq", "rotary positions"),
        ("to_visual_latent.1.weight", "pooled patches for the fine-grained loss"),
    ):
        if name in tensors:
            raise CheckpointError(f"{where}: an x-clip with {variant} is not read ('{name}')")
    if "text_transformer.cls_token" not in tensors:
        raise CheckpointError(f"{where}: an x-clip whose text encoder is causal is not read")
    with shapes_of(f"{where} is not a whole x-clip"):
        vocab, text_width = tensors.shape("text_transformer.token_emb.weight")
        width, numbers = tensors.shape("visual_transformer.to_tokens.1.weight")
        patch = math.isqrt(numbers // 3)
        patches = tensors.shape("visual_transformer.pos_emb.weight")[0]
        embed = tensors.shape("to_text_latent.weight")[0]
    text = sized(
        TextConfig,
        where,
        **_size(tensors, "text_transformer", text_width),
        vocab_size=vocab,
        context=context_of(tensors),
        learned_padding=False,
    )
    vision = sized(
        VisionConfig,
        where,
        **_size(tensors, "visual_transformer", width),
        image_size=patch * math.isqrt(patches),
        patch_size=patch,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    return sized(XClipConfig, where, embed_dim=embed, text=text, vision=vision, head_dim=HEAD)


def _size(tensors: Tensors, prefix: str, width: int) -> dict[str, int]:
    blocks = re.compile(re.escape(prefix) + r"\.transformer\.layers\.\d+\.0\.norm\.g")
    first = f"{prefix}.transformer.layers.0.0.fn.to_qkv.weight"
    heads = tensors.shape(first)[0] // (3 * HEAD) if first in tensors else 1
    depth = sum(1 for key in tensors if blocks.fullmatch(key))
    return {"width": width, "depth": depth, "heads": heads}


def x_clip_table(config: XClipConfig) -> KeyMap:
    """Where each of our tensors stands."""
    assert config.text and config.vision
    patch = config.vision.patch_size

    def to_ours(value: Tensor) -> Tensor:  # (W', lines · columns · colours)
        return value.view(len(value), patch, patch, 3).permute(0, 3, 1, 2)

    def to_theirs(value: Tensor) -> Tensor:
        return value.permute(0, 2, 3, 1).flatten(1)

    text: KeyMap = {
        "positions": Take(("abs_pos_emb.weight",)),
        "class_token": Take(("cls_token",)),
        **same("embed", "token_emb", "weight"),
        **_blocks(config.text.depth),
    }
    vision: KeyMap = {
        "patch.weight": Take(("to_tokens.1.weight",), to_ours, to_theirs),
        "patch.bias": Take(("to_tokens.1.bias",)),
        "positions": Take(("pos_emb.weight",)),
        **same("pool", "to_cls_tokens.1", "weight"),
        **_blocks(config.vision.depth),
    }
    return {
        "log_scale": Take(("temperature",)),
        **same("text_proj", "to_text_latent", "weight"),
        **same("vision.proj", "to_visual_latent", "weight"),
        **under("text", "text_transformer", text),
        **under("vision", "visual_transformer", vision),
    }


def _blocks(depth: int) -> KeyMap:
    block = {
        **_gain("norm1", "0.norm"),
        **same("attention.qkv", "0.fn.to_qkv", "weight"),
        **same("attention.proj", "0.fn.to_out.0", "weight"),
        **_gain("attention.norm", "0.fn.to_out.1"),
        **_gain("norm2", "1.norm"),
        **same("mlp.up", "1.fn.net.0", "weight"),
        **_gain("mlp.norm", "1.fn.net.2"),
        **same("mlp.down", "1.fn.net.4", "weight"),
    }
    table = _gain("norm_in", "norm_in") | _gain("norm_out", "norm_out")
    table |= repeated(depth, "blocks", "layers", block)
    return under("transformer", "transformer", table)


def _gain(ours: str, theirs: str) -> KeyMap:
    return {f"{ours}.weight": Take((f"{theirs}.g",))}


def x_clip_part(file: Path) -> Part:
    """A file of x-clip's as a stage. Raises CheckpointError."""
    network = x_clip_config(open_weights(file), file)
    config = XClipStageConfig(network=network)
    return Part(config, lambda: open_weights(file), x_clip_table(network), UNUSED)
