"""States of many processes: whole ones, so that any number of processes may go on from them."""

from __future__ import annotations

from pathlib import Path

from ..saving import Store
from ..sharded import whole
from ..state import State
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

    def newest(self) -> tuple[Path, State] | None:
        """See `Store`."""
        self.world.first(lambda: None)  # which may have been writing
        return self.store.newest()
