"""Small pictures as the stage before draws them, for an upsampler to learn from."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.consistency import level_at, path_levels
from ..errors import UsageError
from ..nn.layers import select
from ..rng import Rng
from ..stages import DiffusionStage, Stage
from ..stages.upsampler import Upsampler
from ..types import Cond

_LEVELS = 100


class Redrawer:
    """Noises a true small picture, and lets a decoder say what it was.

    So the upsampler learns to mend what this decoder gets wrong, and the pairs stay true. Blur and
    noise alone (cascaded diffusion, arXiv 2106.15282, section 4.2) stand for any decoder's faults.
    An upsampler in the decoder's place draws the small picture from a smaller one, some of them
    blurred as it knows them from its own training.
    """

    def __init__(self, upsampler: Upsampler, decoder: Stage, name: str = "upsampler") -> None:
        """`name` is the upsampler's; raises UsageError where the decoder draws other pictures."""
        side = upsampler.config.low_res_size
        if not isinstance(decoder, DiffusionStage) or decoder.image_size != (side, side):
            raise UsageError(
                f"setting 'stages.{name}.corruption.redrawn_by' must be a decoder or an upsampler "
                f"of {side}x{side} pictures, got a stage '{decoder.kind}' of {decoder.image_size}"
            )
        self.upsampler, self.decoder = upsampler, decoder.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, cond: Cond, rng: Rng) -> Cond:
        """`cond` with `low_res` (B, 3, h, w), some redrawn, the others corrupted as usual."""
        assert cond.image is not None
        options, small = self.upsampler.config.corruption, self.upsampler.shrunk(cond.image)
        chosen, level = rng.bernoulli(options.redrawn_share), rng.rand()
        drawn = self._drawn(cond, small, rng)
        usual = self.upsampler.corrupt(small, level, rng)
        level = torch.where(chosen, self.upsampler.level_at_sampling, level)
        return cond.replace(low_res=select(chosen, drawn, usual), low_res_level=level)

    def _drawn(self, cond: Cond, small: Tensor, rng: Rng) -> Tensor:
        """(B, 3, h, w) as the other stage draws them."""
        if isinstance(self.decoder, Upsampler):
            return self._enlarged(self.decoder, cond, small, rng)
        path = path_levels(self.decoder.config.schedule, _LEVELS, small.device)
        low, high = self.upsampler.config.corruption.redrawn_from
        noisy = level_at(path, (_LEVELS * (low + (high - low) * rng.rand())).long())
        alpha, sigma = noisy.like(small)
        x = alpha * self.decoder.space.encode(small) + sigma * rng.randn(*small.shape[1:])
        denoise = self.decoder.thresholded(cond, self.decoder.config.sampling)
        return self.decoder.space.decode(denoise(x, noisy).x0)

    def _enlarged(self, by: Upsampler, cond: Cond, small: Tensor, rng: Rng) -> Tensor:
        smaller = by.corrupt(by.shrunk(small), torch.zeros(len(small), device=small.device), rng)
        drawn = by.sample(cond.replace(image=smaller), rng.fork("enlarged")).image
        assert drawn is not None
        return drawn.clone()  # no inference tensor any more
