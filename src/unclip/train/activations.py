"""What the backward pass keeps of the forward pass, with and without activation checkpointing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Replayed, repeated_blocks, replayable

Storages = dict[int, int]
"""Bytes of each storage, by its address."""


@contextmanager
def saved_bytes(*nets: nn.Module) -> Iterator[Storages]:
    """Collect what autograd keeps for the backward pass, parameters of `nets` left out."""
    own = {one.untyped_storage()._cdata for net in nets for one in net.parameters()}
    kept: Storages = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own:
            kept.update(_storages([tensor]))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def _storages(values: Iterable[Any]) -> Storages:
    """Those of the tensors among some values."""
    held = (one.untyped_storage() for one in values if isinstance(one, Tensor))
    return {one._cdata: one.nbytes() for one in held}


class Activations:
    """What a forward pass within `watching` keeps."""

    def __init__(self) -> None:
        self._outside: Storages = {}  # of blocks
        self._read: Storages = {}  # by blocks
        self._blocks: list[Storages] = []
        self._open: list[tuple[AbstractContextManager[Storages], Storages, list[Replayed]]] = []

    @property
    def kept(self) -> int:
        """Bytes without checkpointing."""
        together = dict(self._outside)
        for block in self._blocks:
            together |= block
        return sum(together.values())

    @property
    def checkpointed(self) -> int:
        """Bytes where blocks are computed again: what they read, and the largest one."""
        before = self._outside | self._read
        inside = (
            sum(size for key, size in block.items() if key not in before) for block in self._blocks
        )
        return sum(before.values()) + max(inside, default=0)

    @contextmanager
    def watching(self, net: nn.Module, *others: nn.Module) -> Iterator[None]:
        """Within, forward passes of a network are watched, with `others` that compute beside it."""
        hooks, nets = [], (net, *others)
        for block in repeated_blocks(net):
            hooks += [
                block.register_forward_pre_hook(lambda _, given: self._enter(nets, given)),
                block.register_forward_hook(lambda *_: self._leave()),
            ]
        try:
            with saved_bytes(*nets) as self._outside:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, nets: Iterable[nn.Module], given: tuple[Any, ...]) -> tuple[Any, ...]:
        arguments, iterators = replayable(given)
        self._read |= _storages(arguments)
        saving = saved_bytes(*nets)
        self._open.append((saving, saving.__enter__(), iterators))
        return tuple(arguments)

    def _leave(self) -> None:
        saving, kept, iterators = self._open.pop()
        saving.__exit__(None, None, None)
        self._blocks.append(kept)
        for one in iterators:
            self._read |= _storages(one.taken)
