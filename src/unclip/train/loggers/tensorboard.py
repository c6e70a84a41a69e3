"""TensorBoard's event files, in `STAGE/events` of the run's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import UsageError
from ...media import read_image
from . import Place


class TensorBoard:
    """`tensorboard --logdir runs` shows them."""

    def __init__(self, place: Place) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "the logger 'tensorboard' needs TensorBoard: pip install 'unclip[train]'"
            ) from None
        folder, self.stage = place.folder / place.stage / "events", place.stage
        self._writer = SummaryWriter(str(folder), purge_step=place.step + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """See `Logger`."""
        for name, value in values.items():
            self._writer.add_scalar(f"{self.stage}/{name}", value, step)

    def note(self, step: int, line: str) -> None:
        """See `Logger`."""
        self._writer.add_text(f"{self.stage}/notes", line, step)

    def picture(self, step: int, file: Path) -> None:
        """See `Logger`."""
        pixels = np.asarray(read_image(file).convert("RGB"))
        self._writer.add_image(f"{self.stage}/preview", pixels, step, dataformats="HWC")

    def close(self) -> None:
        """See `Logger`."""
        self._writer.close()


LOGGER = TensorBoard
