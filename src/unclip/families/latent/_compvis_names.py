"""How the code of latent diffusion (CompVis, Stability AI) names the parts of Stable Diffusion.

No adapter by itself. The U-Net's trunk is named as guided-diffusion's.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from ...checkpoints.archive import Tensors
from ...checkpoints.keymap import KeyMap, flattened, joined, same, under
from ...nn.blocks import Place
from ..adm._names import block_table, count_of, ends_table, layer_name
from ._autoencoder import AutoencoderConfig
from ._unet import LatentUNetConfig
from .stable_diffusion import transformer_table


def unet_table(config: LatentUNetConfig) -> KeyMap:
    """Names of the U-Net."""
    table = ends_table()
    for place in config.places():
        there = layer_name(config, place)
        if place.resample:
            leaf = "op" if place.resample == "down" else "conv"
            table |= same(f"{place.name}.conv", f"{there}.{leaf}")
            continue
        table |= block_table(f"{place.name}.block", there, place.cin != place.cout)
        if config.attends(place):
            attention = f"{there.rpartition('.')[0]}.1"
            table |= transformer_table(config.layers, f"{place.name}.attention", attention)
    return table


def unet_size(tensors: Tensors) -> dict[str, Any]:
    """What the shapes of a U-Net say, as settings of `LatentUNetConfig`; not the heads.

    Raises:
        LookupError: it is not whole.
    """
    widths, attends, blocks = [0], [False], [0]
    for number in count(1):
        name = f"input_blocks.{number}.0"
        if f"{name}.op.weight" in tensors:
            widths, attends, blocks = [*widths, 0], [*attends, False], [*blocks, 0]
        elif f"{name}.out_layers.3.weight" in tensors:
            widths[-1] = tensors.shape(f"{name}.out_layers.3.weight")[0]
            attends[-1] |= f"input_blocks.{number}.1.norm.weight" in tensors
            blocks[-1] += 1
        else:
            break
    blocks_of = "middle_block.1.transformer_blocks.{}.norm1.weight"
    return {
        "out_channels": tensors.shape("out.2.weight")[0],
        "channels": tuple(widths),
        "depth": blocks[0],
        "attention": tuple(level for level, one in enumerate(attends) if one),
        "layers": count_of(tensors, blocks_of, 0),
    }


def autoencoder_table(config: AutoencoderConfig) -> KeyMap:
    """Names of the autoencoder."""
    table = same("quant", "quant_conv") | same("post_quant", "post_quant_conv")
    for half, decodes in (("encoder", False), ("decoder", True)):
        part = same("conv_in", "conv_in") | same("conv_out", "conv_out")
        part |= same("norm_out", "norm_out")
        for number, (kind, place) in enumerate(config.layers(decodes)):
            part |= _layer(kind, f"layers.{number}", place)
        table |= under(half, half, part)
    return table


def _layer(kind: str, ours: str, place: Place) -> KeyMap:
    part, middle = place.name.partition(".")[0], place.name.startswith("middle")
    if kind == "resample":
        level = place.level - 1 if place.resample == "down" else place.level
        return same(f"{ours}.conv", f"{part}.{level}.{place.resample}sample.conv")
    if kind == "attention":
        inside = f"{part}.{place.level}.attn.{place.number}"
        return _attention(ours, "mid.attn_1" if middle else inside)
    block = f"{part}.{place.level}.block.{place.number}"
    theirs = f"mid.block_{place.number + 1}" if middle else block
    table = same(f"{ours}.skip", f"{theirs}.nin_shortcut") if place.cin != place.cout else {}
    for leaf in ("norm1", "conv1", "norm2", "conv2"):
        table |= same(f"{ours}.{leaf}", f"{theirs}.{leaf}")
    return table


def _attention(ours: str, theirs: str) -> KeyMap:
    """Convolutions of one pixel there, linear layers here."""
    table = same(f"{ours}.norm", f"{theirs}.norm") | flattened(f"{ours}.proj", f"{theirs}.proj_out")
    table |= joined(f"{ours}.qkv", [f"{theirs}.{one}" for one in "qkv"])
    weight = table[f"{ours}.qkv.weight"]
    return table | {f"{ours}.qkv.weight": replace(weight, to_ours=lambda w: w.flatten(1))}


def autoencoder_size(tensors: Tensors) -> dict[str, Any]:
    """What the shapes of an autoencoder say, as settings of `AutoencoderConfig`.

    Raises:
        LookupError: it is not whole.
    """
    levels = count_of(tensors, "encoder.down.{}.block.0.conv1.weight", 0)
    firsts = [f"encoder.down.{level}.block.0.conv1.weight" for level in range(levels)]
    attends = [f"encoder.down.{level}.attn.0.q.weight" in tensors for level in range(levels)]
    return {
        "image_channels": tensors.shape("encoder.conv_in.weight")[1],
        "latent_channels": tensors.shape("post_quant_conv.weight")[0],
        "channels": tuple(tensors.shape(name)[0] for name in firsts),
        "depth": count_of(tensors, "encoder.down.0.block.{}.conv1.weight", 0),
        "attention": tuple(level for level, one in enumerate(attends) if one),
    }
