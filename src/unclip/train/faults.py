"""What a training does about losses that are not finite, or that explode.

A step whose loss or gradient is not finite is skipped: no weight and no moment changes, and a GPU
finds that out by itself. What the steps were like is read when something is logged or saved, so
that nobody waits for a GPU at every step; it makes no difference when that is. After many bad
steps in a row training goes back to the last state and on with the data that come next, as PaLM's
did (arXiv 2204.02311, section 5.1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..errors import counted
from .config import FaultConfig

WINDOW = 200
"""Good losses that the running median is of."""

_LEAST = 20  # good losses before one can be too large


def to_skip(values: Iterable[Tensor]) -> Tensor:
    """() bool: whether a step is not to be made, as its loss or a gradient's norm is not finite."""
    return ~torch.stack([value.detach().float() for value in values]).isfinite().all()


class Guard:
    """Looks at the losses of a stage, step by step, and says when to go back."""

    def __init__(self, config: FaultConfig) -> None:
        self.config = config
        self.rollbacks = 0  # of late
        self._row = 0  # bad steps in a row up to now
        self._exploded = False  # whether one of them was finite, and made
        self._good = 0  # steps in a row
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._unread: list[Tensor] = []

    def add(self, loss: Tensor, skipped: Tensor) -> None:
        """A step, not read off the device yet."""
        self._unread.append(torch.stack([loss.detach().float(), skipped.float()]))

    def look(self) -> int:
        """Read what was added; returns how many of these steps were skipped."""
        read = torch.stack(self._unread).tolist() if self._unread else []
        self._unread = []
        for loss, skipped in read:
            self._count(loss, bool(skipped))
        return sum(bool(skipped) for _, skipped in read)

    def _count(self, loss: float, skipped: bool) -> None:
        usual = median(self._losses) if len(self._losses) >= _LEAST else 0.0
        exploded = not skipped and loss > self.config.explosion * usual > 0
        if skipped or exploded:
            self._row, self._good = self._row + 1, 0
            self._exploded = self._exploded or exploded
            return
        self._losses.append(loss)
        self._row, self._exploded, self._good = 0, False, self._good + 1
        if self._good >= WINDOW:
            self.rollbacks = 0

    @property
    def exploding(self) -> bool:
        """Whether the weights of now may not be worth keeping."""
        return self._row > 0 and self._exploded

    @property
    def fault(self) -> str:
        """Why to go back, in words; empty where there is no reason."""
        return self.words if self._row >= self.config.patience else ""

    @property
    def words(self) -> str:
        """What the last steps were like, where they were bad."""
        if not self._exploded:
            return (
                f"the loss or its gradient was not finite in {counted(self._row, 'step')} in a row"
            )
        return (
            f"the loss was above {self.config.explosion:g} times its median, "
            f"{median(self._losses):.4g}, in {counted(self._row, 'step')} in a row"
        )

    def state_dict(self) -> dict[str, Any]:
        """As JSON data. `look` first."""
        names = ("rollbacks", "_row", "_exploded", "_good")
        return {**{name: getattr(self, name) for name in names}, "_losses": list(self._losses)}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Undo `state_dict`; states of before there was a guard have nothing of it."""
        fresh = Guard(self.config).state_dict()
        for name, value in {**fresh, **values}.items():
            setattr(self, name, deque(value, WINDOW) if name == "_losses" else value)
        self._unread = []
