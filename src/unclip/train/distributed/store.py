"""States of many processes: whole ones, so that any number of processes may go on from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..saving import Store
from ..sharded import whole
from ..state import Best, State
from ..world import World


class SharedStore:
    """States that the first process writes and all read, in a folder that all of them see."""

    def __init__(self, store: Store, world: World) -> None:
        self.store, self.world = store, world

    def write(self, state: State) -> Path:
        """See `Store`. Every process gives its parts; each tensor is gathered by itself."""
        for tensors in state.tensors.values():
            for name, held in list(tensors.items()):
                gathered = whole(held)
                if self.world.is_first:
                    tensors[name] = gathered
                else:
                    del tensors[name]
        return Path(self.world.first(lambda: str(self.store.write(state))))

    def judged(self, best: Best) -> None:
        """See `Store`."""
        self.world.first(lambda: self.store.judged(best))

    def put_failed_aside(self) -> None:
        """See `Store`."""
        self.world.first(self.store.put_failed_aside)

    def newest(self, warn: Callable[[str], None]) -> tuple[Path, State] | None:
        """See `Store`. The first process, which may have been writing, puts damaged ones aside."""
        found: list[tuple[Path, State] | None] = []
        self.world.first(lambda: found.append(self.store.newest(warn)))
        return found[0] if found else self.store.newest(warn)
