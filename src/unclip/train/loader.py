"""Batches from a source, made in other processes, in an order that depends on nothing else."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..data import Sample, Source
from ..errors import UnclipError, WorkersLostError, counted
from .skipped import Skipped

Batch = dict[str, Tensor]
"""What a step is made of; its task knows the keys."""

REPLACED = 3
"""How often workers that were killed are replaced before so many batches have been made."""

_SKIPPED = "skipped"  # the key of a batch on its way to the loop: what is wrong with some samples

_SOUND = 100  # batches in a row after which earlier deaths no longer count


@dataclass(eq=False)
class _Blocks(IterableDataset[dict[str, Any] | UnclipError]):
    """Worker w of W makes batches w, w + W, ... of this rank's share of the stream."""

    source: Source
    collate: Callable[[Sequence[Sample]], Batch]
    batch_size: int
    rank: int
    world: int

    def __iter__(self) -> Iterator[dict[str, Any] | UnclipError]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        index, count = self.rank + self.world * worker, self.world * workers
        stream = iter(self.source.shard(index, count, self.batch_size))
        while True:
            try:
                samples = list(islice(stream, self.batch_size))
                faults = [line for sample in samples for line in sample.get("skipped", ())]
                yield {**self.collate(samples), **({_SKIPPED: faults} if faults else {})}
            except UnclipError as error:
                yield error  # as a value: raised, it would arrive with a traceback for its text
                return


class Loader:
    """An endless iterator of batches whose state is the position in the source.

    Batch number b holds the same samples however many workers make them, and however often these
    are killed and replaced.
    """

    def __init__(
        self,
        source: Source,
        collate: Callable[[Sequence[Sample]], Batch],
        batch_size: int,
        workers: int,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
    ) -> None:
        self.source, self.collate = source, collate
        self.batch_size, self.workers = batch_size, workers
        self._began = source.state_dict()
        self.rank, self.world = rank, world
        self.first = 0  # position in the stream of the first sample of the last batch
        self.pin = pin  # a GPU fetches batches from pinned memory while it computes
        self.warn: Callable[[str], None] = lambda line: None  # of what was replaced
        self.skipped = Skipped()
        self._batches: Iterator[dict[str, Any] | UnclipError] | None = None
        self._processes: list[BaseProcess] = []
        self._lost, self._made = 0, 0  # workers lost of late, batches since the last of them

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            WorkersLostError: workers are killed faster than they make batches.
            DataError: too many samples cannot be made (see `Skipped`), or the data are gone.
        """
        while (batch := self._attempt()) is None:
            self._batches, self._made, self._lost = None, 0, self._lost + 1
            if self._lost > REPLACED:
                raise WorkersLostError(
                    f"processes that make batches were killed {counted(self._lost, 'time')} "
                    "(is memory short?); set workers to 0, which makes them in the loop"
                )
            self.warn("a process that makes batches was killed; another one goes on for it")
        if isinstance(batch, UnclipError):
            raise batch
        self._made += 1
        self.skipped.count(self.batch_size, batch.pop(_SKIPPED, ()))
        here = self.source.shard(self.rank, self.world, self.batch_size)
        self.first = next(here.positions())
        self._lost = 0 if self._made >= _SOUND else self._lost
        self.source.advance(self.batch_size * self.world)
        return batch

    def _attempt(self) -> dict[str, Any] | UnclipError | None:
        """The next batch; None where a worker was killed."""
        if self._batches is None:
            others = set(active_children())
            self._batches = self._start()
            self._processes = [one for one in active_children() if one not in others]
        if not all(one.is_alive() for one in self._processes):
            return None
        try:
            with _deaths_raise():
                return next(self._batches)
        except RuntimeError as error:
            if str(error).startswith("DataLoader worker (pid"):
                return None
            raise

    def _start(self) -> Iterator[dict[str, Any] | UnclipError]:
        # it holds no loader: in a reference cycle the workers would be left to the garbage
        # collector, which finalises their queues first and then waits 5 s for each of them
        blocks = _Blocks(self.source, self.collate, self.batch_size, self.rank, self.world)
        if self.workers == 0:
            return iter(blocks)
        return iter(
            DataLoader(
                blocks,
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=4,
                pin_memory=self.pin,
                worker_init_fn=_ignore_what_groups_get,
            )
        )

    def resize(self, batch_size: int) -> None:
        """Go on with batches of another size from where the stream stands."""
        if batch_size != self.batch_size:
            self.batch_size, self._batches = batch_size, None

    @contextmanager
    def undivided(self) -> Iterator[None]:
        """Within, every rank gets the batches of all ranks."""
        before = self.rank, self.world, self.batch_size
        self.rank, self.world, self.batch_size = 0, 1, self.batch_size * self.world
        self._batches = None
        try:
            yield
        finally:
            self.rank, self.world, self.batch_size = before
            self._batches = None

    def beginning(self, count: int) -> tuple[Batch, int]:
        """The stream's first samples, made here, and the first's position; it stays where it is.

        Raises:
            DataError: they cannot be made.
        """
        place = self.source.state_dict()
        self.source.load_state_dict(self._began)
        try:
            position = next(self.source.positions())
            batch = next(iter(_Blocks(self.source, self.collate, count, 0, 1)))
        finally:
            self.source.load_state_dict(place)
        if isinstance(batch, UnclipError):
            raise batch
        batch.pop(_SKIPPED, None)
        return batch, position

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch begins."""
        return self.source.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved place."""
        self.source.load_state_dict(state)
        self._batches = None


def _ignore_what_groups_get(worker: int) -> None:
    """What a terminal sends reaches every process; batches go on until the loop has saved.

    Not so SIGTERM, by which the loop itself ends workers: who gets it from elsewhere is replaced.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


_waiting = False
_theirs: Callable[[int, FrameType | None], Any] | None = None  # PyTorch's handler of SIGCHLD


@contextmanager
def _deaths_raise() -> Iterator[None]:
    """Within, the death of a worker is an error at once; outside it waits for the next batch.

    PyTorch's own handler raises wherever the main thread is, in an optimizer's step too.
    """
    global _waiting, _theirs
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
        handler = signal.getsignal(signal.SIGCHLD)
        if callable(handler) and handler is not _on_death:
            _theirs = handler
            signal.signal(signal.SIGCHLD, _on_death)
    _waiting = True
    try:
        yield
    finally:
        _waiting = False


def _on_death(number: int, frame: FrameType | None) -> None:
    if _waiting and _theirs is not None:
        _theirs(number, frame)
