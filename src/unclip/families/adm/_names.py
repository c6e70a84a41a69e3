"""How OpenAI's guided-diffusion names the ADM U-Net, and those who build on it: GLIDE, Karlo.

No adapter by itself. Attention there is a convolution of one pixel whose rows go through the heads
first and through query, key and value within each.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ...checkpoints.keymap import KeyMap, Take, flattened, same, under
from ...nn.blocks import Place
from ...nn.unet import UNetConfig


def adm_table(config: UNetConfig, prefix: str = "") -> KeyMap:
    """The trunk: all of a U-Net but what is made of its condition."""
    table = {
        **same("time.fc1", "time_embed.0"),
        **same("time.fc2", "time_embed.2"),
        **same("conv_in", "input_blocks.0.0"),
        **same("norm_out", "out.0"),
        **same("conv_out", "out.2"),
    }
    for place in config.places():
        there = _there(config, place)
        table |= _block(f"{place.name}.block", there, place.cin != place.cout)
        if config.attends(place):
            attention = f"{there.rpartition('.')[0]}.1"
            heads = max(1, place.cout // config.head_dim)
            has_context = config.context_width > 0
            table |= _attention(f"{place.name}.attention", attention, heads, has_context)
    return under("", prefix, table)


def _there(config: UNetConfig, place: Place) -> str:
    """A layer's residual block; on the way up a level's last holds the enlarging one too."""
    part, number = place.name.split(".")
    if part == "down":
        return f"input_blocks.{int(number) + 1}.0"
    if part == "middle":
        return f"middle_block.{2 * int(number)}"
    block = (len(config.multipliers) - 1 - place.level) * (config.depth + 1)
    if not place.resample:
        return f"output_blocks.{block + place.number}.0"
    inside = 2 if config.attends(replace(place, resample="")) else 1
    return f"output_blocks.{block + config.depth}.{inside}"


def _block(ours: str, theirs: str, has_skip: bool) -> KeyMap:
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

    Args:
        ours: our linear layer.
        theirs: a linear layer, or a convolution of one pixel.
        heads: of the attention.
        parts: 3 for query, key and value, 2 for key and value.
    """

    def swapped(value: Tensor, first: int, second: int) -> Tensor:
        rows = value.flatten(1) if value.ndim > 1 else value
        split = rows.reshape(first, second, -1, *rows.shape[1:])
        return split.transpose(0, 1).reshape(rows.shape)

    def there(value: Tensor) -> Tensor:
        return swapped(value, heads, parts)

    def back(value: Tensor) -> Tensor:
        return swapped(value, parts, heads)

    return {f"{ours}.{one}": Take((f"{theirs}.{one}",), there, back) for one in ("weight", "bias")}
