"""The blocks that a network repeats: what is recomputed, compiled and sharded as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..nn.layers import Dropout
from ..rng import Rng


def repeated_blocks(net: nn.Module) -> list[nn.Module]:
    """The elements of a network's lists of modules, lists within them left out.

    An element that only holds others, which the network calls, stands for these; a single layer is
    no block.
    """
    found: list[nn.Module] = []
    for child in net.children():
        listed = isinstance(child, nn.ModuleList)
        for one in child.children() if listed else [child]:
            if not listed or type(one).forward is nn.Module.forward:
                found += repeated_blocks(one)
            elif any(True for _ in one.children()):
                found.append(one)
    return found


CALLED = "keys_values"
"""A method of attention layers that networks call once a prompt, beside `forward`."""


def sharded_units(net: nn.Module) -> Iterator[nn.Module]:
    """What FSDP gathers at once: blocks, or the parts of those in which something is `CALLED`."""
    for block in repeated_blocks(net):
        yield from _called_apart(block)


def _called_apart(module: nn.Module) -> Iterator[nn.Module]:
    apart = any(hasattr(one, CALLED) for one in module.modules())
    if isinstance(module, nn.ModuleList) or (apart and not hasattr(module, CALLED)):
        for child in module.children():
            yield from _called_apart(child)
    elif any(True for _ in module.parameters()):
        yield module


def compile_blocks(net: nn.Module) -> None:
    """Compile each block by itself: blocks of one kind share what is compiled.

    PyTorch's regional compilation, which takes seconds where a whole network takes minutes.
    """
    for block in repeated_blocks(net):
        block.forward = torch.compile(block.forward)


def checkpoint_blocks(net: nn.Module) -> None:
    """Keep of each block what it reads, and compute it again for its gradients.

    Activation checkpointing (Chen et al., arXiv 1604.06174): losses and gradients stay the same,
    memory falls to the blocks' inputs and one block's activations, and a step costs one forward
    pass more.
    """
    for block in repeated_blocks(net):
        block.forward = _Checkpointed(block)


class Replayed(Iterator[Any]):
    """What a block takes of an iterator that many blocks share; `rewind` begins it again."""

    def __init__(self, source: Iterator[Any]) -> None:
        self.source, self.place = source, 0
        self.taken: list[Any] = []

    def __next__(self) -> Any:
        """The next of what was taken, or else of the source."""
        if self.place == len(self.taken):
            self.taken.append(next(self.source))
        self.place += 1
        return self.taken[self.place - 1]

    def rewind(self) -> None:
        """Begin again."""
        self.place = 0


def replayable(arguments: tuple[Any, ...]) -> tuple[list[Any], list[Replayed]]:
    """A block's arguments with their iterators as `Replayed`, and these."""
    made: list[Replayed] = []

    def one(value: Any) -> Any:
        if isinstance(value, Iterator):
            made.append(Replayed(value))
            return made[-1]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
            again = {key: one(held) for key, held in fields.items() if isinstance(held, Iterator)}
            return dataclasses.replace(value, **again) if again else value
        return value

    return [one(value) for value in arguments], made


class _Checkpointed:
    """The forward pass of a block whose activations are not kept."""

    def __init__(self, block: nn.Module) -> None:
        self.run: Callable[..., Any] = block.forward
        self.dropouts = [one for one in block.modules() if isinstance(one, Dropout) and one.p > 0]

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.run(*arguments, **options)
        given, iterators = replayable(arguments)

        def run(*values: Any) -> Any:
            for one in iterators:
                one.rewind()
            return self.run(*values, **options)

        again = _SameMasks(self.dropouts)
        return checkpoint(
            run, *given, use_reentrant=False, context_fn=lambda: (nullcontext(), again)
        )


class _SameMasks:
    """Within, layers of dropout draw what they would have drawn when this was made."""

    def __init__(self, layers: list[Dropout]) -> None:
        self.layers = layers
        drawing = [one.rng for one in layers if one.rng is not None]
        self.rng = drawing[0].duplicate() if drawing else None  # they share one

    def __enter__(self) -> None:
        self.before: list[Rng | None] = [one.rng for one in self.layers]
        again = None if self.rng is None else self.rng.duplicate()
        for one in self.layers:
            one.rng = again

    def __exit__(self, *error: object) -> None:
        for one, rng in zip(self.layers, self.before, strict=True):
            one.rng = rng
