"""Pictures of another size than a model draws: its own in the middle, windows around it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Self

import torch
from PIL import Image

from ..cost import BATCH, Work, check_memory
from ..errors import SettingWarning, UsageError, warn
from ..media import MAX_PIXELS
from ..media.tensors import to_pictures, to_uint8
from ..stages.sizes import Size, drawn_by, size_unit, words
from ..weighting import further
from ._canvas import Brush, Window, paint
from .outpaint import windows_outward

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipeline import Chain
    from ..stages.model import Model
    from ._sized import Sized


@dataclass(frozen=True)
class Extension:
    """A picture of `size`, of a model that draws `drawn`: all are (height, width).

    Windows extend what it draws to the `canvas`, which is larger than `size` where that has a side
    shorter than the model's: then the picture is resampled. Where all three are the same, nothing
    is done.
    """

    drawn: Size
    canvas: Size
    size: Size
    tile: str = ""  # axes along which its edges fit together: see `Model`

    @classmethod
    def of(cls, request: Sized, model: Model) -> Self:
        """What a request takes of a model; nothing where its network draws that size.

        Raises:
            UsageError: the canvas is too large, or a tile would need windows.

        Warns:
            SettingWarning: the picture is resampled, and nobody asked for the size it has before.
        """
        drawn = model.size
        size = drawn if size_unit(model) else request.wanted(drawn)
        if size == drawn:
            return cls(drawn, drawn, drawn)
        scale = max(1.0, drawn[0] / size[0], drawn[1] / size[1])
        canvas = max(drawn[0], round(size[0] * scale)), max(drawn[1], round(size[1] * scale))
        alone = f"model '{model.name}' draws {drawn_by(model)} alone"
        if canvas[0] * canvas[1] > MAX_PIXELS:
            raise UsageError(
                f"size {words(size)} is not possible: {alone}, and in its scale that is a canvas "
                f"of {words(canvas)}, more than {MAX_PIXELS:,} pixels"
            ).about("size")
        if request.tile is not None and canvas != drawn:
            raise UsageError(
                f"tile and size {words(size)} do not go together: {alone}, and the windows around "
                "that do not fit together at the edges"
            ).about("tile")
        if canvas != size and not model.running:
            warn(
                f"size {words(size)} is drawn as {words(canvas)} and resampled: {alone}",
                SettingWarning,
            )
        return cls(drawn, canvas, size, model.tile)

    @property
    def corner(self) -> Size:
        """(top, left) of what the model draws."""
        return (self.canvas[0] - self.drawn[0]) // 2, (self.canvas[1] - self.drawn[1]) // 2

    def windows(self) -> list[Window]:
        """As `outpaint` paints them: the first is what the model draws."""
        return windows_outward(self.canvas, self.drawn, self.corner, self.drawn)

    def work(self, work: Work, prompt: str) -> Work:
        """The work of drawing, and that of the windows after it. Raises as `check_memory`."""
        if self.size == self.drawn:
            return work
        check_memory(work.drawings, self.drawn, finished=False)
        count = work.pictures * (len(self.windows()) - 1)
        around = replace(work, pictures=0, size=self.size, inpaints=True)
        around = replace(around, drawings=count, prior_runs=count, further=count * further(prompt))
        return replace(work, size=self.size, then=around)

    def extend(self, pipe: Chain, drawn: Tensor, seeds: range, brush: Brush) -> list[Image.Image]:
        """(n, 3, height, width) of the model's size to n pictures, in batches."""
        if self.size == self.drawn:
            return to_pictures(drawn)
        pictures = []
        for start in range(0, len(seeds), BATCH):
            part = slice(start, start + BATCH)
            canvas, mask = self._begun(drawn[part])
            for one in paint(pipe, canvas, mask, self.windows(), seeds[part], brush):
                whole = one.size == self.size[::-1]
                pictures.append(one if whole else self._resampled(one))
        return pictures

    def _resampled(self, picture: Image.Image) -> Image.Image:
        size, (width, height) = self.size[::-1], picture.size
        if not self.tile:
            return picture.resize(size, LANCZOS)
        left, top = width * ("x" in self.tile), height * ("y" in self.tile)
        around = Image.new(picture.mode, (width + 2 * left, height + 2 * top))
        for x, y in product({0, left, 2 * left}, {0, top, 2 * top}):  # so that they fit still
            around.paste(picture, (x, y))
        return around.resize(size, LANCZOS, box=(left, top, left + width, top + height))

    def _begun(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, H, W) uint8 with what is drawn, and (1, 1, H, W), 1 where to paint."""
        (top, left), (height, width) = self.corner, self.drawn
        shape = (len(drawn), 3, *self.canvas)
        canvas = torch.full(shape, 127, dtype=torch.uint8, device="cpu")
        mask = torch.ones(1, 1, *self.canvas, dtype=torch.float32, device="cpu")
        place = (..., slice(top, top + height), slice(left, left + width))
        canvas[place], mask[place] = to_uint8(drawn).cpu(), 0
        return canvas, mask


LANCZOS = Image.Resampling.LANCZOS
