"""One stage of a model as it lies in files: its configuration, tensors, and names of the two."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, UnclipError
from ..stages import Stage, StageConfig, on_meta
from ._unpickler import DAMAGE
from .archive import Tensors
from .int8 import own_table
from .keymap import KeyMap, Take, check, complain, translate
from .lazy_tensor import LazyTensor
from .tensors import cast_lazily, check_sum

MOMENT = 0.5
"""Seconds that a stage being replaced may differ from its model.json."""


@dataclass(frozen=True)
class Part:
    """One stage as it lies in foreign files.

    Args:
        config: what it is, in our terms.
        tensors: its file or files, opened when they are first needed.
        table: where each of our tensors stands; None where the names are our own.
        ignored: regular expressions of names that are knowingly left alone.
        sums: its files' SHA-256, where they are known: checked before values are read.
        sums_now: reads them again, for a model that is trained while it is in use.
        patch: changes a tensor of ours as it is read, such as W + scale·BA: (name, values) ->
            values of the same shape, kept in float32 until they are cast or written.
    """

    config: StageConfig
    tensors: Callable[[], Tensors]
    table: KeyMap | None = None
    ignored: tuple[str, ...] = ()
    sums: Mapping[Path, str] = field(default_factory=dict)
    sums_now: Callable[[], Mapping[Path, str]] | None = None
    patch: Callable[[str, Tensor], Tensor] | None = None

    def build(self) -> Stage:
        """The stage without weights, on `meta`, in evaluation mode.

        Raises:
            CheckpointError: no network can have such settings.
        """
        try:
            stage = on_meta(self.config)
        except UnclipError:
            raise
        except (*DAMAGE, RuntimeError) as error:  # sizes beyond 63 bits, groups that do not divide
            text = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"no {self.config.kind} can have such settings: {text or type(error).__name__}"
            ) from None
        return stage.eval().requires_grad_(False)

    def check(self, net: nn.Module, where: str) -> Tensors:
        """The tensors, once their names and shapes fit the network. Raises CheckpointError."""
        tensors = self.tensors()
        state, table = net.state_dict(), self._table(net, tensors)
        wanted = {name: tuple(value.shape) for name, value in state.items()}
        check(wanted, tensors, table, where, self.ignored)
        complain(where, "whole numbers, not weights", list(_whole(state, tensors, table)))
        return tensors

    @torch.inference_mode(False)  # gradients may pass through weights, wherever they are first used
    def fill(self, stage: Stage, where: str, dtype: torch.dtype, device: torch.device) -> None:
        """Read the weights into `stage`, one tensor after the other, cast and laid out to run."""
        before = self._stamps()
        self._fill(stage.net_at_rest, where, dtype, device)
        if self._stamps() != before:  # replaced meanwhile: some may be of before, some of after
            self._fill(stage.net_at_rest, where, dtype, device)

    def _fill(self, net: nn.Module, where: str, dtype: torch.dtype, device: torch.device) -> None:
        owners = dict(net.named_modules())
        for name, tensor in self._translated(net, where).items():
            path, _, leaf = name.rpartition(".")
            _put(owners[path], leaf, _laid_out(_cast(tensor.read(), dtype), device))
        idle = [name for name, value in net.named_buffers() if value.is_meta]
        assert not idle, f"buffers that no file fills: {idle}"

    def read(self, where: str, dtype: torch.dtype, device: torch.device) -> nn.Module:
        """The network with its weights, as `fill` reads them."""
        stage = self.build()
        self.fill(stage, where, dtype, device)
        return stage.net_at_rest

    def translated(self, where: str, as_stored: bool = False) -> dict[str, LazyTensor]:
        """Its tensors under our names, checked; read one by one. Raises CheckpointError.

        Args:
            where: the stage, for an error's text.
            as_stored: patched ones have the file's type again, to be written as they are.
        """
        return self._translated(self.build().net_at_rest, where, as_stored)

    def _translated(
        self, net: nn.Module, where: str, as_stored: bool = False
    ) -> dict[str, LazyTensor]:
        tensors = self._sound(net, where)
        ours = translate(tensors, self._table(net, tensors))
        if self.patch is None:
            return ours
        made = {name: _patched(self.patch, name, tensor) for name, tensor in ours.items()}
        if not as_stored:
            return made
        return {
            name: cast_lazily({name: made[name]}, tensor.dtype)[name]
            for name, tensor in ours.items()
        }

    def stored(self, where: str) -> dict[str, LazyTensor]:
        """The same as a file of our own names stores them: in 8 bits with scales, or not."""
        if self.table is not None or self.patch is not None:
            return self.translated(where, as_stored=True)
        tensors = self._sound(self.build().net_at_rest, where)
        return translate(tensors, {name: Take((name,)) for name in tensors})

    def _sound(self, net: nn.Module, where: str) -> Tensors:
        """The file, whose names, shapes and bytes are as they should be, or have become since."""
        try:
            return self._summed(net, where, self.sums)
        except CheckpointError:
            if self.sums_now is None:
                raise
        try:
            return self._summed(net, where, self.sums_now())
        except CheckpointError:
            time.sleep(MOMENT)  # it may be between the two: weights first, then model.json
        return self._summed(net, where, self.sums_now())

    def _summed(self, net: nn.Module, where: str, sums: Mapping[Path, str]) -> Tensors:
        tensors = self.check(net, where)
        for file, digest in sums.items():
            check_sum(file, digest)
        return tensors

    def _stamps(self) -> list[tuple[int, int]]:
        """What tells its files from others of their names; (0, 0) where there is none."""
        stats = [file.stat() if file.exists() else None for file in self.sums]
        return [(one.st_ino, one.st_mtime_ns) if one else (0, 0) for one in stats]

    def _table(self, net: nn.Module, tensors: Tensors) -> KeyMap:
        return self.table if self.table is not None else own_table(net.state_dict(), tensors)


def _whole(state: Mapping[str, Tensor], tensors: Tensors, table: KeyMap) -> Iterator[str]:
    """Tensors of the file that a network cannot compute with: integers that have no scale."""
    for name, take in table.items():
        if state[name].is_floating_point() and take.join is torch.cat:
            yield from (one for one in take.sources if not tensors.dtype(one).is_floating_point)


def _patched(patch: Callable[[str, Tensor], Tensor], name: str, tensor: LazyTensor) -> LazyTensor:
    if not tensor.dtype.is_floating_point:
        return replace(tensor, read=lambda: patch(name, tensor.read()))
    return replace(tensor, dtype=torch.float32, read=lambda: patch(name, tensor.read()).float())


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _laid_out(value: Tensor, device: torch.device) -> Tensor:
    """On its device, kernels channels_last (see `place`), all else row by row.

    However a file had it: sums are rounded as they are laid out.
    """
    layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format
    return value.to(device).contiguous(memory_format=layout)


def _put(owner: nn.Module, leaf: str, value: Tensor) -> None:
    """Give a module one parameter or buffer of its own, in place of the one on `meta`."""
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        owner._buffers[leaf] = value
