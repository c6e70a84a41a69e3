"""Look-up by module name: a new file in a package is a new entry, with no list to edit."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cached_property
from typing import Any, Generic, TypeVar

from .errors import UsageError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """The public modules of a package, each giving one attribute.

    `Registry("unclip.stages", "STAGE", "stage")["decoder"]` is `unclip.stages.decoder.STAGE`.
    A module without the attribute (helpers, bases) is not an entry.
    """

    def __init__(self, package: str, attribute: str, noun: str) -> None:
        self.package = package
        self.attribute = attribute
        self.noun = noun

    @cached_property
    def _modules(self) -> list[str]:
        package = importlib.import_module(self.package)
        names = [module.name for module in pkgutil.iter_modules(package.__path__)]
        return sorted(name for name in names if not name.startswith("_"))

    def names(self) -> list[str]:
        """Every entry's name, sorted. Imports each module of the package."""
        return [name for name in self._modules if self._get(name) is not None]

    def __getitem__(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            UsageError: there is none; the nearest name and all known names are given.
        """
        found = self._get(name) if name in self._modules else None
        if found is None:
            known = self.names()
            raise UsageError(
                f"unknown {self.noun} '{name}'{nearest(name, known)}; known: {', '.join(known)}"
            )
        return found  # type: ignore[no-any-return]

    def _get(self, name: str) -> Any:
        module = importlib.import_module(f"{self.package}.{name}")
        return getattr(module, self.attribute, None)
