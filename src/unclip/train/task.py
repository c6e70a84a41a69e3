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

_OF_TEXT = {"text_embed", "text_encodings"}
_OF_IMAGE = {"image_embed", "image_patches"}
_OF_PRIOR = {"predicted_embed"}


class Task(nn.Module):
    """batch -> (loss, metrics) for any stage, by the fields its `trains_on` names.

    Text fields come from the tokenizer, embeddings, encodings and patches from a frozen CLIP,
    `predicted_embed` from a frozen prior, `image` from the data.
    """

    def __init__(
        self, stage: Stage, clip: ClipStage | None = None, prior: Stage | None = None
    ) -> None:
        super().__init__()
        self.stage = stage
        self.clip = [clip.eval().requires_grad_(False)] if clip else []  # a list hides it: frozen
        self.prior = [prior.eval().requires_grad_(False)] if prior else []
        if self.needs_clip(stage) and clip is None:
            raise UsageError(f"stage '{stage.kind}' needs a stage 'clip' before it in the recipe")
        if self.needs_prior(stage) and prior is None:
            raise UsageError(
                f"stage '{stage.kind}' trains on what a prior predicts (predicted_share), and the "
                "recipe has no prior"
            )

    @staticmethod
    def needs_clip(stage: Stage) -> bool:
        """Whether a stage trains on what a CLIP says."""
        return bool(stage.trains_on & (_OF_TEXT | _OF_IMAGE | _OF_PRIOR))

    @staticmethod
    def needs_prior(stage: Stage) -> bool:
        """Whether a stage trains on what a prior predicts."""
        return bool(stage.trains_on & _OF_PRIOR)

    @property
    def source_size(self) -> int:
        """Side of the pictures to ask the data source for."""
        if self.stage.image_size is not None:
            return self.stage.image_size
        size = self.clip[0].image_size
        assert size is not None
        return size

    def cond(self, batch: Batch, rng: Rng) -> Cond:
        """Everything the stage trains on; `rng` is for a prior that draws."""
        wanted = self.stage.trains_on
        if wanted & _OF_PRIOR:
            wanted = wanted | self.prior[0].consumes
        cond = Cond(text_tokens=batch["text_tokens"], text_mask=batch["text_mask"])
        if isinstance(self.stage, ClipStage) and "wrong_tokens" in batch:
            tokens, mask = batch["wrong_tokens"], batch["wrong_mask"]
            cond = cond.replace(negative_tokens=tokens, negative_mask=mask)
        with torch.no_grad():
            if wanted & _OF_TEXT:
                cond = self.clip[0].encode_text(cond)
            if wanted & _OF_PRIOR:  # which sees no picture: none is copied for its candidates
                drawn = self.prior[0].sample(cond, rng.fork("prior")).image_embed
                assert drawn is not None
                cond = cond.replace(predicted_embed=drawn.clone())  # no inference tensor any more
            if wanted & ({"image"} | _OF_IMAGE):
                cond = cond.replace(image=pictures(batch["image"]))
            if "image_patches" in wanted:
                cond = self.clip[0].encode_patches(cond)
            elif "image_embed" in wanted:
                cond = self.clip[0].encode_image(cond)
        return cond

    def forward(self, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss (), and mean metrics ()."""
        loss, metrics = self.stage.loss(self.cond(batch, rng), rng)
        return loss.mean(), {name: value.float().mean() for name, value in metrics.items()}
