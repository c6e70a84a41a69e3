"""How guided-diffusion and those who build on it (GLIDE, Karlo) name their networks.

No adapter by itself. Attention there is a convolution of one pixel whose rows go through the heads
first and through query, key and value within each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from ...checkpoints.archive import Tensors
from ...checkpoints.keymap import KeyMap, changed, flattened, repeated, same, under
from ...nn.blocks import Place
from ...nn.transformer import TransformerConfig
from ...nn.unet import UNetConfig


class Trunk(Protocol):
    """Settings of a U-Net of levels."""

    @property
    def depth(self) -> int: ...
    def places(self) -> Iterator[Place]: ...
    def attends(self, place: Place) -> bool: ...


HEAD = 64
"""Width of every head, of the U-Net's attention and of the transformers."""


def adm_table(config: UNetConfig, prefix: str = "") -> KeyMap:
    """The trunk: all of a U-Net but what is made of its condition."""
    table = ends_table()
    for place in config.places():
        there = layer_name(config, place)
        table |= block_table(f"{place.name}.block", there, place.cin != place.cout)
        if config.attends(place):
            attention = f"{there.rpartition('.')[0]}.1"
            heads = max(1, place.cout // config.head_dim)
            has_context = config.context_width > 0
            table |= _attention(f"{place.name}.attention", attention, heads, has_context)
    return under("", prefix, table)


def ends_table() -> KeyMap:
    """The timestep's MLP, the first convolution, and what comes after the last layer."""
    return {
        **same("time.fc1", "time_embed.0"),
        **same("time.fc2", "time_embed.2"),
        **same("conv_in", "input_blocks.0.0"),
        **same("norm_out", "out.0"),
        **same("conv_out", "out.2"),
    }


def layer_name(config: Trunk, place: Place) -> str:
    """A layer's residual block; on the way up a level's last holds the enlarging one too."""
    part, number = place.name.split(".")
    if part == "down":
        return f"input_blocks.{int(number) + 1}.0"
    if part == "middle":
        return f"middle_block.{2 * int(number)}"
    deepest = max(one.level for one in config.places())
    block = (deepest - place.level) * (config.depth + 1)
    if not place.resample:
        return f"output_blocks.{block + place.number}.0"
    inside = 2 if config.attends(replace(place, resample="")) else 1
    return f"output_blocks.{block + config.depth}.{inside}"


def block_table(ours: str, theirs: str, has_skip: bool) -> KeyMap:
    """A residual block."""
    table = {
        **same("norm1", "in_layers.0"),
        **same("conv1", "in_layers.2"),
        **same("emb", "emb_layers.1"),
        **same("norm2", "out_layers.0"),
        **same("conv2", "out_layers.3"),
    }
    table |= same("skip", "skip_connection") if has_skip else {}
    return under(ours, theirs, table)


def _attention(ours: str, theirs: str, heads: int, has_context: bool) -> KeyMap:
    table = same("norm", "norm") | flattened("proj", "proj_out")
    table |= by_head("qkv", "qkv", heads, 3)
    table |= by_head("context", "encoder_kv", heads, 2) if has_context else {}
    return under(ours, theirs, table)


def by_head(ours: str, theirs: str, heads: int, parts: int) -> KeyMap:
    """A layer whose rows are (heads, parts, numbers) there and (parts, heads, numbers) here.

    There it may be a convolution of one pixel. Parts are query, key and value, or the last two.
    """

    def swapped(value: Tensor, first: int, second: int) -> Tensor:
        rows = value.flatten(1) if value.ndim > 1 else value
        split = rows.reshape(first, second, -1, *rows.shape[1:])
        return split.transpose(0, 1).reshape(rows.shape)

    def to_ours(value: Tensor) -> Tensor:
        return swapped(value, heads, parts)

    def to_theirs(value: Tensor) -> Tensor:
        return swapped(value, parts, heads)

    return changed(ours, theirs, to_ours, to_theirs)


def transformer_table(config: TransformerConfig) -> KeyMap:
    """A transformer's blocks."""
    block = {
        **same("norm1", "ln_1"),
        **by_head("attention.qkv", "attn.c_qkv", config.heads, 3),
        **same("attention.proj", "attn.c_proj"),
        **same("norm2", "ln_2"),
        **same("mlp.0", "mlp.c_fc"),
        **same("mlp.2", "mlp.c_proj"),
    }
    return repeated(config.depth, "transformer.blocks", "transformer.resblocks", block)


def unet_size(tensors: Tensors, side: int = 0) -> dict[str, Any]:
    """What the shapes of a U-Net say, as settings of `UNetConfig`.

    The side of its pictures they do not say: without it 8 pixels at the deepest level.

    Raises:
        LookupError: it is not whole.
    """
    channels = tensors.shape("time_embed.0.weight")[1]
    depth = _depth(tensors)
    blocks = 1 + count_of(tensors, "input_blocks.{}.0.in_layers.0.weight", 1)
    firsts = range(1, blocks, depth + 1)  # of each level
    widths = [tensors.shape(f"input_blocks.{i}.0.out_layers.3.weight")[0] for i in firsts]
    attends = [f"input_blocks.{i}.1.qkv.weight" in tensors for i in firsts]
    emb = tensors.shape("input_blocks.1.0.emb_layers.1.weight")[0]
    side = side or 8 << (len(widths) - 1)
    return {
        "image_size": side,
        "in_channels": tensors.shape("input_blocks.0.0.weight")[1],
        "out_channels": tensors.shape("out.2.weight")[0],
        "channels": channels,
        "multipliers": tuple(width // channels for width in widths),
        "depth": depth,
        "attention": tuple(side >> level for level, here in enumerate(attends) if here),
        "head_dim": HEAD,
        "scale_shift": emb == 2 * widths[0],
    }


def _depth(tensors: Tensors) -> int:
    """Residual blocks a level: one less than it takes on the way up until a block enlarges too."""
    ups = count_of(tensors, "output_blocks.{}.0.in_layers.0.weight", 0)
    names = "output_blocks.{}.{}.in_layers.0.weight"
    ends = [i for i in range(ups) if any(names.format(i, p) in tensors for p in (1, 2))]
    return ends[0]


def count_of(tensors: Tensors, name: str, start: int) -> int:
    """How many of a numbered name there are, from `start` on."""
    return next(i for i in itertools.count() if name.format(start + i) not in tensors)
