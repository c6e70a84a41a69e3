"""What a training is fed with: batches on its device, and the random numbers for each."""

from __future__ import annotations

import torch

from ..errors import UnclipError
from ..rng import BatchRng
from .clock import Clock
from .loader import Batch, Loader


class Feed:
    """The batches of one stage, in one process of a training.

    What is drawn for a sample depends on the seed and its position in the stream alone: a resumed
    run is the same run, and other batches of the same samples have the same draws.
    """

    def __init__(
        self, loader: Loader, seed: int, kind: str, device: torch.device, clock: Clock
    ) -> None:
        """`kind` is the stage's: stages of one seed have draws of their own."""
        self.loader, self.seed, self.kind = loader, seed, kind
        self.device, self.clock, self.world = device, clock, clock.world
        self._waited = 0.0

    def next(self) -> Batch:
        """The next batch. Raises as the loader, in all processes where it does in one."""
        asked = self.clock.now()
        place = self.loader.state_dict()
        try:
            batch = self.world.each(lambda: next(self.loader))
        except UnclipError:  # of any process: a state has the place that all have trained up to
            self.loader.load_state_dict(place)
            raise
        self._waited += self.clock.now() - asked
        return {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}

    def beginning(self, count: int) -> tuple[Batch, BatchRng]:
        """The stream's first samples and what is drawn for them, wherever training is."""
        batch, first = self.loader.beginning(count)
        held = {key: value.to(self.device) for key, value in batch.items()}
        return held, BatchRng(f"{self.seed}/{self.kind}", count, self.device, first)

    def rng(self, step: int) -> BatchRng:
        """What is drawn for the last batch, by the seed and its place in the stream."""
        # for networks that draw by themselves, each process other numbers
        torch.manual_seed(self.seed * 1_000_003 + step + 1_000_000_007 * self.world.rank)
        key, loader = f"{self.seed}/{self.kind}", self.loader
        return BatchRng(key, loader.batch_size, self.device, loader.first)

    def waited(self) -> float:
        """Seconds that `next` took since this was last asked."""
        waited, self._waited = self._waited, 0.0
        return waited
