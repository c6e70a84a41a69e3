"""Look-up by module name: a new file in a package is a new entry, with no list to edit."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from .errors import UnclipError, unknown

T = TypeVar("T")

PLUGINS = ("unclip.emoji",)
"""Packages that nothing imports. Each adds an entry of its own name to every registry that it has
a module for: `unclip.emoji.source` gives the SOURCE "emoji"."""


class Named(dict[str, T]):
    """Things by name; one that is not there is a UsageError that names the nearest."""

    def __init__(self, noun: str, things: Mapping[str, T] | None = None) -> None:
        super().__init__(things or {})
        self.noun = noun

    def __missing__(self, name: str) -> T:
        raise unknown(self.noun, name, self)


class Registry(Generic[T]):
    """The public modules of some packages, each giving one attribute, and what `PLUGINS` add.

    `Registry("unclip.stages", "STAGE", "stage")["decoder"]` is `unclip.stages.decoder.STAGE`.
    A module without the attribute (helpers, bases) is not an entry.

    Args:
        package: where most of them are; None where only plugins have entries.
        attribute: what a module gives.
        noun: what errors call an entry.
        also: further packages; one that ends in `.*` stands for all packages in it. They need not
            be there, and are looked into anew each time.
    """

    def __init__(
        self, package: str | None, attribute: str, noun: str, also: tuple[str, ...] = ()
    ) -> None:
        self.packages = (package, *also) if package else also
        self.attribute = attribute
        self.noun = noun

    def names(self) -> list[str]:
        """Every entry's name, sorted. Imports the modules that mention the attribute."""
        modules = {name for name, path in self._modules() if _mentions(path, self.attribute)}
        return sorted(name for name in modules if self._get(name) is not None)

    def modules(self) -> dict[str, str]:
        """Import paths by name. None is imported, so that some may turn out to be no entries."""
        return dict(self._modules())

    def __getitem__(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            UsageError: there is none; the nearest name and all known names are given.
            UnclipError: several modules of that name give one.
        """
        found = self._get(name)
        if found is None:
            raise unknown(self.noun, name, self.names())
        return found  # type: ignore[no-any-return]

    def _get(self, name: str) -> Any:
        """What modules of that name give; imports no others."""
        paths = [path for own, path in self._modules() if own == name]
        found = [getattr(importlib.import_module(path), self.attribute, None) for path in paths]
        given = {path: one for path, one in zip(paths, found, strict=True) if one is not None}
        if len(given) > 1:
            raise UnclipError(f"{self.noun} '{name}' is in {' and in '.join(given)}; rename one")
        return next(iter(given.values()), None)

    def _modules(self) -> Iterator[tuple[str, str]]:
        """(name, path) of every public module."""
        for package in self.packages:
            if not package.endswith(".*"):
                yield from _public(package)
                continue
            for _, inner in _public(package.removesuffix(".*")):
                yield from _public(inner)
        for plugin in PLUGINS:
            module = f"{plugin}.{self.attribute.lower()}"
            room = find_spec(plugin)  # which does not import it, as to look for a module would
            if room and PathFinder.find_spec(module, room.submodule_search_locations):
                yield plugin.rpartition(".")[2], module


def _mentions(path: str, name: str) -> bool:
    """Whether a module's source contains a name; True where there is no source to read."""
    spec = find_spec(path)
    read = getattr(spec.loader, "get_source", None) if spec else None
    source = read(path) if read else None
    return source is None or name in source


def _public(package: str) -> Iterator[tuple[str, str]]:
    try:
        found = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        return
    for module in pkgutil.iter_modules(getattr(found, "__path__", [])):
        if not module.name.startswith("_"):
            yield module.name, f"{package}.{module.name}"
