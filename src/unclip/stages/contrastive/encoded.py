"""What CLIP's encoders say of a batch, each asked once, and only if a loss wants to know."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from ...nn.clip import Clip
from ...rng import Rng
from ...types import Cond
from .views import Augmentation, augmented


class Encoded:
    """A batch as the encoders see it.

    Args:
        net: the encoders.
        cond: with `image`, `text_tokens` and `text_mask`; `negative_tokens` where there are any.
        rng: for what losses draw.
    """

    def __init__(self, net: Clip, cond: Cond, rng: Rng) -> None:
        self.net, self.cond, self.rng = net, cond, rng
        self._views: dict[Augmentation, tuple[Tensor, Tensor]] = {}

    @cached_property
    def seen(self) -> tuple[Tensor, Tensor]:
        """z_i (B, D), and the encodings of patches (B, P, W')."""
        return self.net.see(self.image)

    @cached_property
    def read(self) -> tuple[Tensor, Tensor]:
        """z_t (B, D), and the encodings of words (B, N, W')."""
        return self.net.encode_text(*self.text)

    @cached_property
    def negative(self) -> tuple[Tensor, Tensor] | None:
        """As `read`, of captions that are almost true; None where there are none."""
        tokens, mask = self.cond.negative_tokens, self.cond.negative_mask
        return None if tokens is None or mask is None else self.net.encode_text(tokens, mask)

    @property
    def image(self) -> Tensor:
        """(B, 3, H, W) in [-1, 1]."""
        assert self.cond.image is not None
        return self.cond.image

    @property
    def text(self) -> tuple[Tensor, Tensor]:
        """Tokens and mask, (B, N) each."""
        assert self.cond.text_tokens is not None and self.cond.text_mask is not None
        return self.cond.text_tokens, self.cond.text_mask

    def views(self, options: Augmentation) -> tuple[Tensor, Tensor]:
        """z_i (B, D) of two views of each picture."""
        if options not in self._views:
            one, other = (
                self.net.encode_image(augmented(self.image, options, self.rng.fork(name)))
                for name in ("view 1", "view 2")
            )
            self._views[options] = one, other
        return self._views[options]
