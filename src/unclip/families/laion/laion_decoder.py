"""LAION's decoder as a stage: z_i (and the text's encodings) in, a small picture out."""

from __future__ import annotations

from typing import Literal

from ...stages.decoder import AnyDecoderConfig, Decoder
from ...stages.sampling import Sampling
from ._unet import LaionUNetConfig


class LaionDecoderConfig(AnyDecoderConfig):
    """The decoder's configuration; defaults are DALLE2-pytorch's."""

    kind: Literal["laion_decoder"] = "laion_decoder"
    network: LaionUNetConfig
    sampling: Sampling = Sampling(sampler="ddpm", steps=1000, eta=1.0, threshold="clamp")


class LaionDecoder(Decoder):
    """The first U-Net of DALLE2-pytorch's decoder."""

    Config = LaionDecoderConfig
    kind = "laion_decoder"


STAGE = LaionDecoder
