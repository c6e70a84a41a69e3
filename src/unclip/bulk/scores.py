"""How near a picture is to its caption, as a CLIP sees both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..pipeline import Chain


class Judge:
    """A model's CLIP.

    Args:
        pipe: the model.

    Raises:
        UsageError: it has no CLIP with both encoders.
    """

    def __init__(self, pipe: Chain) -> None:
        from ..checkpoints.format import GIVE_CLIP

        advice = dict.fromkeys(("clip", "text", "vision"), f"{GIVE_CLIP}, or another --judge")
        reader = pipe.ranker or pipe
        self.clip = reader.model.clip("scoring", "text", "vision", advice=advice)
        self.tokenizer, self.hash = reader.tokenizer, reader.hash

    def scores(self, pictures: Sequence[Image], captions: Sequence[str]) -> list[float]:
        """The cosine similarity of each picture and its caption (CLIPScore without its factor).

        Args:
            pictures: of one size.

        Source:
            arXiv 2104.08718, equation 1, with w = 1 and without the clip at 0.
        """
        import torch
        from torch.nn import functional as F

        from ..media import to_tensor
        from ..types import Cond

        tokens, mask = self.tokenizer.encode(list(captions))
        with torch.inference_mode():
            z_i = self.clip.embed_images(to_tensor(pictures))
            device = self.clip.device
            cond = Cond(text_tokens=tokens.to(device), text_mask=mask.to(device))
            z_t = self.clip.encode_text(cond).text_embed
            assert z_t is not None
            found: list[float] = F.cosine_similarity(z_i, z_t.to(z_i.device)).tolist()
        return found
