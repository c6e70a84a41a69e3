"""Our networks and numbers as DALLE2-pytorch's modules have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...checkpoints.keymap import KeyMap, to_ours, to_theirs
from ...errors import CheckpointError, UsageError
from ...families.laion._config import faults_named
from ...rng import Rng


class Translated(nn.Module):
    """One of our networks, whose state dict has the other package's names and layouts.

    Args:
        net: ours.
        table: where each of our tensors stands there.
        idle: what is there and changes nothing here, by name. It is kept as it is loaded.
        twins: prefix of names that stand for the same tensors again -> the other prefix.
    """

    def __init__(
        self,
        net: nn.Module,
        table: KeyMap,
        idle: Mapping[str, Tensor] | None = None,
        twins: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.table = table
        self.idle = dict(idle or {})
        self.twins = dict(twins or {})

    def state_dict(  # type: ignore[override]
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """See `nn.Module`; under the other package's names."""
        found: dict[str, Any] = {} if destination is None else destination
        found.update({f"{prefix}{n}": v for n, v in self._theirs(keep_vars).items()})
        return found

    def _theirs(self, keep_vars: bool = False) -> dict[str, Tensor]:
        ours = self.net.state_dict(keep_vars=keep_vars)
        found = {**to_theirs(ours, self.table), **self.idle}
        for again, first in self.twins.items():
            inside = [name for name in found if name.startswith(first)]
            found |= {again + name.removeprefix(first): found[name] for name in inside}
        return found

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """See `nn.Module`: what is found is handed on to `net` under our names."""
        inside = [name for name in state_dict if name.startswith(prefix)]
        told = {name.removeprefix(prefix): state_dict.pop(name) for name in inside}
        found = self._theirs()
        missing_keys += [prefix + name for name in found if name not in told]
        unexpected_keys += [prefix + name for name in told if name not in found]
        for name in found.keys() & told.keys():
            here, there = tuple(found[name].shape), tuple(told[name].shape)
            if here == there:
                found[name] = told[name]
            else:
                error_msgs.append(f"{prefix}{name} is {there}, not {here}")
        self.idle = {name: found[name] for name in self.idle}
        ours = to_ours(found, self.table)
        state_dict.update({f"{prefix}net.{name}": value for name, value in ours.items()})


@contextmanager
def asked(of: str) -> Iterator[None]:
    """Within, what an argument of `of` does not allow is a UsageError that names it."""
    try:
        with faults_named(Path(of)):
            yield
    except CheckpointError as error:
        raise UsageError(str(error)) from None


class TorchRng(Rng):
    """Draws for a batch from PyTorch's own generator, as scripts with `torch.manual_seed` expect.

    Args:
        batch: number of samples.
        device: that draws them.
    """

    def __init__(self, batch: int, device: torch.device | str = "cpu") -> None:
        self.batch, self.device = batch, torch.device(device)

    def fork(self, name: str) -> Self:
        """The same generator goes on."""
        return self

    def randn(self, *shape: int) -> Tensor:
        """See `Rng`."""
        return torch.randn(self.batch, *shape, device=self.device)

    def rand(self, *shape: int) -> Tensor:
        """See `Rng`."""
        return torch.rand(self.batch, *shape, device=self.device)

    def kept(self, dropped: float) -> Tensor:
        """(B,) bool: which samples keep a condition that a share of them drops.

        Nothing is drawn for a share of 0 or 1.
        """
        if dropped in (0, 1):
            return torch.full((self.batch,), dropped == 0, device=self.device)
        return self.rand() < 1 - dropped
