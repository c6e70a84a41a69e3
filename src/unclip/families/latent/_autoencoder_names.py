"""The autoencoders of latent diffusion in diffusers' folders.

No adapter by itself: Stable Diffusion's and Kandinsky's are made of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checkpoints.archive import Tensors
from ...checkpoints.keymap import KeyMap, joined, same, under
from ...checkpoints.settings import need
from .._diffusers import attending, place_names, weights
from ._autoencoder import AutoencoderConfig

AUTOENCODER_DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [64],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}
"""Of AutoencoderKL: its older files leave out what does not differ."""

OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What an autoencoder's attention was called once, and is now."""


def autoencoder_config(values: Mapping[str, Any], file: Path) -> AutoencoderConfig:
    """What an `AutoencoderKL` or a `VQModel` describes. Raises CheckpointError."""
    need(
        values,
        file,
        _class_name=("AutoencoderKL", "VQModel"),
        act_fn="silu",
        mid_block_add_attention=True,
        use_quant_conv=True,
        use_post_quant_conv=True,
        shift_factor=(None, 0.0),
        latents_mean=None,
        latents_std=None,
        lookup_from_codebook=False,
        norm_type=("group", "spatial"),
    )
    values = {**AUTOENCODER_DEFAULTS, **values}
    need(values, file, out_channels=values["in_channels"])
    vq = values.get("_class_name") == "VQModel"
    return AutoencoderConfig(
        image_channels=values["in_channels"],
        latent_channels=values["latent_channels"],
        channels=tuple(values["block_out_channels"]),
        depth=values["layers_per_block"],
        groups=values["norm_num_groups"],
        attention=attending(
            values,
            file,
            ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            ("UpDecoderBlock2D", "AttnUpDecoderBlock2D"),
        ),
        spatial=values.get("norm_type") == "spatial",
        # a codebook's latents are diffused as they are, whatever the file says of a factor
        scale=1.0 if vq else values["scaling_factor"],
        output="latents" if vq else "mean",
        codes=values.get("num_vq_embeddings", 256) if vq else 0,
        code_channels=(values.get("vq_embed_dim") or 0) if vq else 0,
    )


def autoencoder_tensors(folder: Path, variant: str | None = None) -> Tensors:
    """The weights of an autoencoder, by today's names. Raises CheckpointError."""
    return weights(folder, variant).renamed(_today)


def _today(name: str) -> str:
    old = re.fullmatch(r"(.*\.attentions\.\d+)\.(\w+)\.(weight|bias)", name)
    if old is None or old[2] not in OLD_ATTENTION:
        return name
    return f"{old[1]}.{OLD_ATTENTION[old[2]]}.{old[3]}"


def autoencoder_table(config: AutoencoderConfig) -> KeyMap:
    """Names of an `AutoencoderKL` or a `VQModel`."""
    table = same("quant", "quant_conv") | same("post_quant", "post_quant_conv")
    if config.codes:
        table |= same("codebook", "quantize.embedding", "weight")
    for half, decodes in (("encoder", False), ("decoder", True)):
        spatial = config.spatial and decodes
        part = same("conv_in", "conv_in") | same("conv_out", "conv_out")
        part |= _norm("norm_out", "conv_norm_out", spatial)
        for number, (kind, place) in enumerate(config.layers(decodes)):
            block, layer = place_names(place, len(config.channels) - 1)
            if kind == "attention":
                layer = f"attentions.{place.number}"
            has_skip = place.cin != place.cout
            part |= _module(kind, f"layers.{number}", f"{block}.{layer}", has_skip, spatial)
        table |= under(half, half, part)
    return table


def _module(kind: str, ours: str, theirs: str, has_skip: bool, spatial: bool) -> KeyMap:
    if kind == "resample":
        return same(f"{ours}.conv", f"{theirs}.conv")
    if kind == "attention":
        norm = "spatial_norm" if spatial else "group_norm"
        table = _norm(f"{ours}.norm", f"{theirs}.{norm}", spatial)
        table |= joined(f"{ours}.qkv", [f"{theirs}.to_{one}" for one in "qkv"])
        return table | same(f"{ours}.proj", f"{theirs}.to_out.0")
    table = same(f"{ours}.conv1", f"{theirs}.conv1") | same(f"{ours}.conv2", f"{theirs}.conv2")
    table |= _norm(f"{ours}.norm1", f"{theirs}.norm1", spatial)
    table |= _norm(f"{ours}.norm2", f"{theirs}.norm2", spatial)
    return table | (same(f"{ours}.skip", f"{theirs}.conv_shortcut") if has_skip else {})


def _norm(ours: str, theirs: str, spatial: bool) -> KeyMap:
    if not spatial:
        return same(ours, theirs)
    table = same(f"{ours}.norm", f"{theirs}.norm_layer")
    table |= same(f"{ours}.scale", f"{theirs}.conv_y")
    return table | same(f"{ours}.shift", f"{theirs}.conv_b")
