"""What of a stage's fields frozen stages give: a CLIP, a prior, the autoencoder."""

from __future__ import annotations

from ..stages import Stage

OF_TEXT = {"text_embed", "text_encodings"}
OF_IMAGE = {"image_embed", "image_patches"}
OF_SPACE = {"latents"}
OF_PRIOR = {"predicted_embed"}


def needs_clip(stage: Stage, redraws: Stage | None = None) -> bool:
    """Whether a stage, or what redraws for it, trains on what a CLIP says."""
    wanted = stage.trains_on | (redraws.consumes if redraws else frozenset())
    return bool(wanted & (OF_TEXT | OF_IMAGE | OF_PRIOR))


def needs_prior(stage: Stage) -> bool:
    """Whether a stage trains on what a prior predicts."""
    return bool(stage.trains_on & OF_PRIOR)
