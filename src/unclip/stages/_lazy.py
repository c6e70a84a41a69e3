"""A module whose network's weights may be read in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import nn


class LazyModule(nn.Module):
    """Its one network, `net`, comes from `source` where there is one.

    Until then it lies on `meta`; whatever looks at a module's weights or moves them reads it.
    """

    source: Callable[[], nn.Module] | None = None  # gives `net` where its weights are read in use

    @property
    def net(self) -> nn.Module:
        """The network with its weights, which may have to be read first; hold it while in use.

        Raises:
            CheckpointError: their file has gone bad since the model was loaded.
        """
        source = self.source  # looked at once: another thread may be about to take it away
        return self.net_at_rest if source is None else source()

    @property
    def net_at_rest(self) -> nn.Module:
        """The network, with its weights or without."""
        net = self._modules["net"]
        assert net is not None
        return net

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies: whole, weights that are still to be read included."""
        state = {**self.__dict__, "_modules": {**self._modules, "net": self.net}}
        state.pop("source", None)
        return state

    def keep(self) -> None:
        """Read the weights now, where they are still to be read, and keep them."""
        self._modules["net"], self.source = self.net, None

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """What `to`, `half`, `cuda`, ... do."""
        self.keep()
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        """What `parameters`, `buffers`, ... go through."""
        self.keep()
        return super().named_modules(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """See `nn.Module`."""
        self.keep()
        return super().state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """See `nn.Module`."""
        self.keep()
        return super().load_state_dict(*args, **kwargs)
