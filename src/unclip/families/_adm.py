"""How OpenAI's guided-diffusion names the ADM U-Net, and those who build on it: GLIDE, Karlo.

No adapter by itself. Attention there is a convolution of one pixel whose rows go through the heads
first and through query, key and value within each.
"""

from __future__ import annotations

from torch import Tensor

from ..checkpoints.keymap import KeyMap, Take, flattened, same, under
from ..nn.unet import UNetConfig


def adm_table(config: UNetConfig, prefix: str = "") -> KeyMap:
    """The trunk: all of a U-Net but what is made of its condition."""
    table = {
        **same("time.fc1", "time_embed.0"),
        **same("time.fc2", "time_embed.2"),
        **same("conv_in", "input_blocks.0.0"),
        **_down(config),
        **_layer(config, "middle.0", "middle_block", len(config.multipliers) - 1, False),
        **_block("middle.1", "middle_block.2", False),
        **_up(config),
        **same("norm_out", "out.0"),
        **same("conv_out", "out.2"),
    }
    return under("", prefix, table)


def _down(config: UNetConfig) -> KeyMap:
    table: KeyMap = {}
    place, before = 0, 1
    for level, width in enumerate(config.multipliers):
        if level:
            table |= _block(f"down.{place}", f"input_blocks.{place + 1}.0", False)
            place += 1
        for _ in range(config.depth):
            there = f"input_blocks.{place + 1}"
            table |= _layer(config, f"down.{place}", there, level, before != width)
            place, before = place + 1, width
    return table


def _up(config: UNetConfig) -> KeyMap:
    """Each level's last block holds the enlarging one too."""
    table: KeyMap = {}
    place, block = 0, 0
    for level in reversed(range(len(config.multipliers))):
        for layer in range(config.depth + 1):
            there = f"output_blocks.{block}"
            table |= _layer(config, f"up.{place}", there, level, True)
            place, block = place + 1, block + 1
            if level and layer == config.depth:
                inside = 2 if _attends(config, level) else 1
                table |= _block(f"up.{place}", f"{there}.{inside}", False)
                place += 1
    return table


def _attends(config: UNetConfig, level: int) -> bool:
    return config.image_size >> level in config.attention


def _layer(config: UNetConfig, ours: str, theirs: str, level: int, has_skip: bool) -> KeyMap:
    table = _block(ours, f"{theirs}.0", has_skip)
    if _attends(config, level):
        heads = max(1, config.multipliers[level] * config.channels // config.head_dim)
        has_context = bool(config.text or config.clip_text or config.embed_dim)
        table |= _attention(f"{ours}.attention", f"{theirs}.1", heads, has_context)
    return table


def _block(ours: str, theirs: str, has_skip: bool) -> KeyMap:
    table = {
        **same("norm1", "in_layers.0"),
        **same("conv1", "in_layers.2"),
        **same("emb", "emb_layers.1"),
        **same("norm2", "out_layers.0"),
        **same("conv2", "out_layers.3"),
    }
    table |= same("skip", "skip_connection") if has_skip else {}
    return under(f"{ours}.block", theirs, table)


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
