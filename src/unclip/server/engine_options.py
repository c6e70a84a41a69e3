"""What the engine serves, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..cost import BATCH

PATIENCE = 15.0
"""Seconds that a job goes on after its last client has left: a retry finds it."""


@dataclass(frozen=True)
class EngineOptions:
    """What the engine serves, and how.

    Args:
        models: name -> path or name of a model, the default first.
        device, dtype: as for `unclip.load`.
        memory: most bytes of the worker before it lets a model go to load another.
        exact: draw each picture in a batch of its own, for the same bytes whatever else is drawn.
        hooks: see `hooks.load_hook`.
        batch: most pictures drawn together.
        queued: most jobs that wait.
        each: most of them that are one owner's; None: all.
        workers: how many draw at once.
        most_workers: to how many they grow while jobs wait.
        c2pa: key and certificates, PEM, that pictures are signed with; None: unsigned.
        rest: seconds after which a further worker that has nothing to do ends.
        patience: see `PATIENCE`.
    """

    models: Mapping[str, str]
    device: str | None = None
    dtype: str | None = None
    memory: int | None = None
    exact: bool = False
    hooks: tuple[str, ...] = ()
    batch: int = BATCH
    queued: int = 1000
    each: int | None = None
    workers: int = 1
    most_workers: int = 1
    c2pa: tuple[str, str] | None = field(default=None, repr=False)
    rest: float = 60.0
    patience: float = PATIENCE
