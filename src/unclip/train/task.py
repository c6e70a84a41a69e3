"""What the trainer trains: a stage, fed from batches of pictures and captions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..rng import Rng
from ..stages import Stage
from ..stages.clip import ClipStage
from ..types import Cond
from .loader import Batch, pictures


class Task(nn.Module):
    """batch -> (loss, metrics) for any stage, by the fields its `trains_on` names.

    Text fields come from the tokenizer, `text_embed`, `text_encodings` and `image_embed` from a
    frozen CLIP, `image` from the data.
    """

    def __init__(self, stage: Stage, clip: ClipStage | None) -> None:
        super().__init__()
        self.stage = stage
        self.clip = [clip.eval().requires_grad_(False)] if clip else []  # a list hides it: frozen
        embeds = stage.trains_on & {"text_embed", "text_encodings", "image_embed"}
        if embeds and clip is None:
            raise UsageError(f"stage '{stage.kind}' needs a stage 'clip' before it in the recipe")

    @property
    def source_size(self) -> int:
        """Side of the pictures to ask the data source for."""
        if self.stage.image_size is not None:
            return self.stage.image_size
        size = self.clip[0].image_size
        assert size is not None
        return size

    def cond(self, batch: Batch) -> Cond:
        """Everything the stage trains on."""
        wanted = self.stage.trains_on
        cond = Cond(text_tokens=batch["text_tokens"], text_mask=batch["text_mask"])
        if isinstance(self.stage, ClipStage) and "wrong_tokens" in batch:
            wrong = {"null_text_tokens": batch["wrong_tokens"]}
            cond = cond.replace(null_text_mask=batch["wrong_mask"], **wrong)
        if wanted & {"image", "image_embed"}:
            cond = cond.replace(image=pictures(batch["image"]))
        with torch.no_grad():
            if wanted & {"text_embed", "text_encodings"}:
                cond = self.clip[0].encode_text(cond)
            if "image_embed" in wanted:
                cond = self.clip[0].encode_image(cond)
        return cond

    def forward(self, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss (), and mean metrics ()."""
        loss, metrics = self.stage.loss(self.cond(batch), rng)
        return loss.mean(), {name: value.float().mean() for name, value in metrics.items()}
