"""DALLE2-pytorch's `DALLE2`: a prior and a decoder, texts in, pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...media.tensors import to_pictures
from .decoder import Decoder
from .prior import DiffusionPrior


class DALLE2(nn.Module):
    """The whole chain.

    Args:
        prior: with a `clip`.
        decoder: with a `clip` where it reads the text.
        prior_num_samples: draws of the prior, of which the one nearest to the text is taken.
    """

    def __init__(
        self, *, prior: DiffusionPrior, decoder: Decoder, prior_num_samples: int = 2
    ) -> None:
        super().__init__()
        if not isinstance(prior, DiffusionPrior) or not isinstance(decoder, Decoder):
            raise UsageError("DALLE2 needs a DiffusionPrior and a Decoder of this module")
        self.prior = prior
        self.decoder = decoder
        self.prior_num_samples = prior_num_samples

    @torch.no_grad()
    def forward(
        self,
        text: str | Sequence[str] | Tensor,
        cond_scale: float = 1.0,
        prior_cond_scale: float = 1.0,
        return_pil_images: bool = False,
    ) -> Any:
        """Pictures (B, 3, H, W) in [0, 1]; of one text the picture alone.

        Args:
            text: one or several, or (B, N) token ids.
            cond_scale: guidance of the decoder.
            prior_cond_scale: of the prior.
            return_pil_images: PIL pictures in place of tensors.

        Raises:
            UsageError: the prior has no `clip`, or a text is too long.
        """
        if not isinstance(text, Tensor):
            if self.prior.clip is None:
                raise UsageError("DALLE2: the prior has no clip to read a text with")
            text = self.prior.clip.tokenize([text] if isinstance(text, str) else text)
        z_i = self.prior.sample(text, self.prior_num_samples, prior_cond_scale)
        read = text if self.decoder.condition_on_text_encodings else None
        images: Any = self.decoder.sample(image_embed=z_i, text=read, cond_scale=cond_scale)
        if return_pil_images:
            images = to_pictures(2 * images - 1)
        return images[0] if len(text) == 1 else images
