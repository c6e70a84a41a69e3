"""Ask the model's CLIP which description fits a picture best.

\b
Examples:
  unclip probe fox.png "a fox" "a car" "a house"
  unclip probe fox.png "a red fox" "a blue fox" --json
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator

from ..arguments import plain
from ..config import shown
from ..errors import UsageError
from ..media import Source, fit_image, read_image, to_tensor
from ..request import Option, Picture, Prompt, Request
from . import Ability

if TYPE_CHECKING:
    from ..pipeline import Chain


ADVICE = dict.fromkeys(
    ("clip", "text", "vision"), "give a whole CLIP as the model itself (--model ViT-L-14.pt)"
)
"""Whatever model lacks CLIP: nothing else of a model is needed."""


class ProbeRequest(Request[list[float]]):
    """See `probe`."""

    ability: ClassVar[str] = "probe"
    image: Picture
    labels: Annotated[tuple[Prompt, ...], Option(metavar="LABEL", positional=True)] = Field(
        description="At least two descriptions."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _several(cls, labels: Any) -> Any:
        """A text alone would be taken for its letters."""
        labels = plain(labels)
        if not isinstance(labels, tuple):
            raise UsageError(f"labels must be a list of texts, got {shown(labels)}")
        if len(labels) < 2:
            raise UsageError(f"give at least two labels to choose from, got {len(labels)}")
        return labels

    def check_inputs(self) -> None:
        """And that labels can be told apart."""
        if len(set(self.labels)) < len(self.labels):
            raise UsageError("two labels are the same: all must be different")
        super().check_inputs()

    def shares(self, result: list[float]) -> dict[str, float]:
        """Of each label."""
        return dict(zip(self.labels, result, strict=True))


def probe(pipe: Chain, image: Source, labels: Sequence[str]) -> list[float]:
    """Zero-shot classification (arXiv 2103.00020, section 3.1; arXiv 2204.06125, figure 6).

    Args:
        image: a path, bytes, a file or a PIL picture; cropped to its middle square.
        labels: at least two descriptions, such as "a fox".

    Returns:
        The probability of each label, in their order.

    Raises:
        UsageError: no such picture, too few labels, or a model without CLIP.
    """
    import torch

    from ..rng import Rng

    labels = ProbeRequest.of(image=image, labels=labels).labels
    clip = pipe.model.clip("probing", "text", "vision", advice=ADVICE)
    size = clip.image_size or pipe.model.size
    picture = to_tensor([fit_image(read_image(image, size), size)])
    with torch.inference_mode():
        z_i = clip.embed_images(picture)
        cond = clip.sample(pipe.read(list(labels)), Rng([0] * len(labels), pipe.device))
        assert cond.text_embed is not None
        logits = clip.net.log_scale.exp().clamp(max=100.0) * (z_i @ cond.text_embed.T)[0]
        shares: list[float] = logits.float().softmax(0).tolist()
    return shares


ABILITY = Ability(ProbeRequest, probe, frozenset({"vision", "text"}))
