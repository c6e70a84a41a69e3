"""The processes that train together. What they have to agree on is asked here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ..errors import UsageError, counted

T = TypeVar("T")


class World:
    """The processes that train together: this one alone.

    `Processes` is that of several. Each method is called by all of them, in the same order; the
    first one, of rank 0, decides, writes and speaks.
    """

    rank, size = 0, 1

    alone = True
    """Whether there are no others; one process that `torchrun` started is not."""

    @property
    def is_first(self) -> bool:
        """Whether this process decides, writes and speaks."""
        return self.rank == 0

    def decided(self, flag: bool) -> bool:
        """What the first process says."""
        return flag

    def any(self, flag: bool) -> bool:
        """Whether one of them says so."""
        return flag

    def first(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, as JSON carries it; the others wait for it.

        Where it fails there with an UnclipError, all raise that.
        """
        return make()

    def each(self, make: Callable[[], T]) -> T:
        """What `make` gives here; where it fails in one of them with an UnclipError, all raise."""
        return make()

    def total(self, counts: Sequence[int]) -> list[int]:
        """Each count's sum over all processes."""
        return list(counts)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Means over all processes, of what each of them names."""
        return dict(values)

    def share(self, batch_size: int) -> int:
        """How many of a batch's samples this process has. Raises UsageError where they differ."""
        if batch_size % self.size:
            raise UsageError(
                f"a batch of {batch_size} cannot be divided among "
                f"{counted(self.size, 'process', 'processes')}; train.batch_size and train.ramp "
                f"count the samples of all of them: give multiples of {self.size}"
            )
        return batch_size // self.size

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within, an error in one process ends all of them, with one message."""
        yield
