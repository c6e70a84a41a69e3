"""Batches from a source, made in other processes, in an order that depends on nothing else."""

from __future__ import annotations

import copy
import signal
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..data import Sample, Source
from ..errors import UnclipError
from ..nn.tokenizer import Tokenizer

Batch = dict[str, Tensor]


def collate(samples: Sequence[Sample], tokenizer: Tokenizer) -> Batch:
    """Samples -> `image` (B, H, W, 3) uint8, `text_tokens` (B, N) and `text_mask` (B, N).

    And `wrong_tokens` and `wrong_mask` of captions that are almost true, where there are any.
    """
    tokens, mask = tokenizer.encode([sample["caption"] for sample in samples])
    images = torch.from_numpy(np.stack([sample["image"] for sample in samples]))
    batch = {"image": images, "text_tokens": tokens, "text_mask": mask}
    if all("wrong" in sample for sample in samples):
        wrong = tokenizer.encode([sample["wrong"] for sample in samples])
        batch |= {"wrong_tokens": wrong[0], "wrong_mask": wrong[1]}
    return batch


def pictures(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], laid out channels_last."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


class _Blocks(IterableDataset[Batch | UnclipError]):
    """Worker w of W makes batches w, w + W, ... of this rank's share of the stream."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch | UnclipError]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        mine = self.loader
        index, count = mine.rank + mine.world * worker, mine.world * workers
        stream = iter(mine.source.shard(index, count, mine.batch_size))
        while True:
            try:
                yield collate(list(islice(stream, mine.batch_size)), mine.tokenizer)
            except UnclipError as error:
                yield error  # as a value: raised, it would arrive with a traceback for its text
                return


class Loader:
    """An endless iterator of batches whose state is the position in the source.

    Batch number b holds the same samples however many workers make them.
    """

    def __init__(
        self,
        source: Source,
        tokenizer: Tokenizer,
        batch_size: int,
        workers: int,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
    ) -> None:
        self.source, self.tokenizer = source, tokenizer
        self.batch_size, self.workers = batch_size, workers
        self.rank, self.world = rank, world
        self.pin = pin  # a GPU fetches batches from pinned memory while it computes
        self._batches: Iterator[Batch | UnclipError] | None = None

    def __next__(self) -> Batch:
        if self._batches is None:
            self._batches = self._start()
        batch = next(self._batches)
        if isinstance(batch, UnclipError):
            raise batch
        state = self.source.state_dict()
        state["position"] += self.batch_size * self.world
        self.source.load_state_dict(state)
        return batch

    def _start(self) -> Iterator[Batch | UnclipError]:
        # of a copy: in a reference cycle the workers would be left to the garbage collector,
        # which finalises their queues first and then waits 5 s for each of them
        blocks = _Blocks(copy.copy(self))
        if self.workers == 0:
            return iter(blocks)
        return iter(
            DataLoader(
                blocks,
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=4,
                pin_memory=self.pin,
                worker_init_fn=_ignore_interrupts,
            )
        )

    def resize(self, batch_size: int) -> None:
        """Go on with batches of another size from where the stream stands."""
        if batch_size != self.batch_size:
            self.batch_size, self._batches = batch_size, None

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch begins."""
        return self.source.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved place."""
        self.source.load_state_dict(state)
        self._batches = None


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; batches go on until the loop has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
