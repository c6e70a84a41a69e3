"""Look-up by module name: a new file in a package is a new entry, with no list to edit."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from .errors import UsageError, nearest

T = TypeVar("T")

ROOMS = ("unclip.emoji",)
"""Packages that nothing imports. Each adds an entry of its own name to every registry that it has
a module for: `unclip.emoji.source` gives the SOURCE "emoji"."""


class Registry(Generic[T]):
    """The public modules of a package, each giving one attribute, and those that `ROOMS` add.

    `Registry("unclip.stages", "STAGE", "stage")["decoder"]` is `unclip.stages.decoder.STAGE`.
    A module without the attribute (helpers, bases) is not an entry.

    Args:
        package: None where only rooms have entries.
        attribute: what a module gives.
        noun: what an entry is called in errors.
    """

    def __init__(self, package: str | None, attribute: str, noun: str) -> None:
        self.package = package
        self.attribute = attribute
        self.noun = noun

    @cached_property
    def _modules(self) -> dict[str, str]:
        """Name -> module."""
        rooms = {room.rpartition(".")[2]: f"{room}.{self.attribute.lower()}" for room in ROOMS}
        found = {name: module for name, module in rooms.items() if find_spec(module)}
        if self.package is not None:
            own = importlib.import_module(self.package).__path__
            names = [module.name for module in pkgutil.iter_modules(own)]
            found |= {name: f"{self.package}.{name}" for name in names if name[0] != "_"}
        return dict(sorted(found.items()))

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
        return getattr(importlib.import_module(self._modules[name]), self.attribute, None)
