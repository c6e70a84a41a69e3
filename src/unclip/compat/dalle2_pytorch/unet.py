"""DALLE2-pytorch's `Unet`: its arguments, and the network that a decoder makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ...errors import UsageError
from ...families.laion._keys import unet_table
from ...families.laion._unet import LaionUNetConfig
from .translated import Translated

UNET = frozenset({
    "dim", "image_embed_dim", "text_embed_dim", "cond_dim", "num_image_tokens",
    "num_time_tokens", "dim_mults", "channels", "self_attn", "attn_dim_head", "attn_heads",
    "self_cond", "sparse_attn", "cosine_sim_cross_attn", "cosine_sim_self_attn",
    "cond_on_text_encodings", "max_text_len", "add_image_embeds_to_time", "init_dim",
    "init_conv_kernel_size", "resnet_groups", "resnet_weight_standardization",
    "num_resnet_blocks", "init_cross_embed", "init_cross_embed_kernel_sizes",
    "cross_embed_downsample", "cross_embed_downsample_kernel_sizes", "memory_efficient",
    "scale_skip_connection", "pixel_shuffle_upsample", "final_conv_kernel_size",
    "combine_upsample_fmaps",
})  # fmt: skip
"""Arguments of a `Unet` that are read, or refused where they are not the usual ones."""

IDLE = frozenset({
    "lowres_cond", "lowres_noise_cond", "cond_on_image_embeds", "channels_out", "out_dim",
    "attend_at_middle", "sparse_attn_window", "checkpoint_during_training",
})  # fmt: skip
"""Those that a decoder sets itself, that change nothing in the last version, or memory alone."""


class Unet(nn.Module):
    """The arguments of a U-Net. Its network is made by the `Decoder` that it is given to.

    Raises:
        UsageError: an argument is not read.
    """

    def __init__(self, dim: int, **arguments: Any) -> None:
        super().__init__()
        for name in sorted(arguments.keys() - UNET - IDLE):
            raise UsageError(f"Unet: argument '{name}' is not read")
        given = {name: value for name, value in arguments.items() if name in UNET}
        self.told = {"dim": dim, "dim_mults": (1, 2, 4, 8), **given}

    def named_parameters(
        self, *arguments: Any, **others: Any
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """See `nn.Module`. Raises UsageError: there are none yet."""
        raise UsageError("a Unet has weights when a Decoder has it: see decoder.unets")


class BuiltUnet(Translated):
    """A U-Net in its decoder."""

    def __init__(self, config: LaionUNetConfig, arguments: dict[str, Any]) -> None:
        width, cond = config.channels, config.context_dim
        tokens, words = arguments.get("num_image_tokens", 4), arguments.get("max_text_len", 256)
        nulls = {
            "null_image_embed": torch.randn(1, tokens, cond),
            "null_image_hiddens": torch.randn(1, 4 * width),
            "null_text_embed": torch.randn(1, words, cond),
        }
        table = unet_table(config)
        used = {source for take in table.values() for source in take.sources}
        idle = {name: value for name, value in nulls.items() if name not in used}
        super().__init__(config.build(), table, idle)
        self.cond_on_text_encodings = config.text_width > 0
        self.lowres_cond = config.low_res
