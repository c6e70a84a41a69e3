"""Networks whose weights are read when they are first used, and let go of when memory is short."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from torch import nn

from ..device import give_back
from ..stages import Stage


class LazyNet:
    """Gives a stage its network when it is first used, whichever thread does that."""

    def __init__(self, stage: Stage, fill: Callable[[], None]) -> None:
        self._stage, self._fill = stage, fill
        self._lock = Lock()

    def __call__(self) -> nn.Module:
        """The network with its weights. Raises CheckpointError."""
        with self._lock:
            if self._stage.source is self:
                self._fill()
                self._stage.source = None
            return self._stage.net_at_rest


class Offloader:
    """Holds the network of one stage at a time: the one that was asked for last.

    Who is given a network keeps it for as long as it is at work with it, whatever other threads
    ask for.
    """

    def __init__(self) -> None:
        self._name = ""
        self._net: nn.Module | None = None
        self._lock = Lock()

    def take(self, name: str, read: Callable[[], nn.Module]) -> nn.Module:
        """The network of that stage, read unless it is the one at hand. Raises CheckpointError."""
        with self._lock:
            if name != self._name or self._net is None:
                self._name, self._net = name, None
                give_back()
                self._net = read()
            return self._net
