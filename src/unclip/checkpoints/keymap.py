"""Tables that say where each of our tensors stands in a foreign file, and the check of them.

A table is read in both directions, so one table loads a format and writes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from .archive import Tensors
from .lazy_tensor import LazyTensor

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Take:
    """Where one of our tensors comes from.

    Args:
        sources: foreign names; several are joined, in this order.
        to_ours: from the foreign layout, joined, to ours.
        to_theirs: the inverse of `to_ours`.
        join: makes one tensor of several; along the first axis unless said otherwise.
    """

    sources: tuple[str, ...]
    to_ours: Change | None = None
    to_theirs: Change | None = None
    join: Callable[[list[Tensor]], Tensor] = torch.cat


KeyMap = dict[str, Take]
"""Our name -> where it stands."""


def same(ours: str, theirs: str, *leaves: str) -> KeyMap:
    """A module that both sides have alike: `leaves` are weight and bias unless said otherwise."""
    return joined(ours, (theirs,), *leaves)


def joined(ours: str, theirs: Iterable[str], *leaves: str) -> KeyMap:
    """A module of ours whose tensors are several foreign modules' joined along the first axis."""
    modules = tuple(theirs)
    return {
        dotted(ours, leaf): Take(tuple(dotted(one, leaf) for one in modules))
        for leaf in leaves or ("weight", "bias")
    }


def changed(ours: str, theirs: str, to_ours: Change, to_theirs: Change, *leaves: str) -> KeyMap:
    """A module whose tensors have another layout there."""
    return {
        dotted(ours, leaf): Take((dotted(theirs, leaf),), to_ours, to_theirs)
        for leaf in leaves or ("weight", "bias")
    }


def flattened(ours: str, theirs: str) -> KeyMap:
    """A linear layer of ours that is a convolution of one pixel there, of one or two axes."""
    return {
        f"{ours}.weight": Take((f"{theirs}.weight",), lambda w: w.flatten(1)),
        f"{ours}.bias": Take((f"{theirs}.bias",)),
    }


def lone(name: str, axes: int) -> Take:
    """A tensor that has `axes` leading axes of size 1 there."""

    def to_ours(value: Tensor) -> Tensor:
        return value.reshape(value.shape[axes:])

    def to_theirs(value: Tensor) -> Tensor:
        return value.reshape((1,) * axes + value.shape)

    return Take((name,), to_ours, to_theirs)


def under(ours: str, theirs: str, table: KeyMap) -> KeyMap:
    """A table with a prefix on either side."""
    return {
        dotted(ours, name): replace(take, sources=tuple(dotted(theirs, s) for s in take.sources))
        for name, take in table.items()
    }


def repeated(count: int, ours: str, theirs: str, table: KeyMap) -> KeyMap:
    """Modules that are alike and numbered: `ours.0` is `theirs.0`, and so on."""
    each = [under(f"{ours}.{i}", f"{theirs}.{i}", table) for i in range(count)]
    return {name: take for one in each for name, take in one.items()}


def dotted(prefix: str, name: str) -> str:
    """`prefix.name`, or the one that is not empty."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


def check(
    wanted: Mapping[str, tuple[int, ...]],
    tensors: Tensors,
    table: KeyMap,
    where: str,
    ignored: Iterable[str] = (),
) -> None:
    """Hold a file against a network, by names and shapes alone: nothing is read.

    Args:
        wanted: our names and shapes, all that the network has.
        tensors: the file.
        table: must give every name in `wanted` and no other.
        where: the file, for the error's text.
        ignored: regular expressions of foreign names that are knowingly left alone.

    Raises:
        CheckpointError: names what is missing, left over or of another shape.
    """
    unknown = sorted(set(wanted) ^ set(table))
    assert not unknown, f"the table and the network disagree: {unknown[:6]}"
    sources = [source for take in table.values() for source in take.sources]
    skip = [re.compile(pattern) for pattern in ignored]
    used = set(sources)
    left = [key for key in tensors if key not in used and not any(s.fullmatch(key) for s in skip)]
    missing = sorted(used - set(tensors))
    complain(where, "missing", missing)
    complain(where, "not used", sorted(left))
    complain(where, "of another shape", list(_misfits(wanted, tensors, table)))


def complain(where: str, fault: str, keys: list[str]) -> None:
    """Raise CheckpointError where there are any `keys`: how many, and the first of them."""
    if keys:
        first = "; ".join(keys[:3]) + ("; ..." if len(keys) > 3 else "")
        raise CheckpointError(f"{where} does not fit: {len(keys)} {fault}: {first}")


def _misfits(
    wanted: Mapping[str, tuple[int, ...]], tensors: Tensors, table: KeyMap
) -> Iterator[str]:
    """By shape: a change of layout is tried on `meta`."""
    for name, take in table.items():
        try:
            found = tuple(_on_meta(tensors, take).shape)
        except (RuntimeError, ValueError, IndexError):
            found = ()
        if found == wanted[name]:
            continue
        shapes = [tensors.shape(source) for source in take.sources]
        if len(shapes) == 1 and take.to_ours is None:
            yield f"{take.sources[0]} is {shapes[0]}, not {wanted[name]}"
        else:
            pairs = zip(take.sources, shapes, strict=True)
            theirs = ", ".join(f"{source} {shape}" for source, shape in pairs)
            yield f"{theirs} cannot make {name} {wanted[name]}"


def _ours(parts: list[Tensor], take: Take) -> Tensor:
    value = take.join(parts) if len(parts) > 1 else parts[0]
    return take.to_ours(value) if take.to_ours else value


def _on_meta(tensors: Tensors, take: Take) -> Tensor:
    """Of the shape and type of what is read."""
    return _ours(
        [
            torch.empty(tensors.shape(source), dtype=tensors.dtype(source), device="meta")
            for source in take.sources
        ],
        take,
    )


def translate(tensors: Tensors, table: KeyMap) -> dict[str, LazyTensor]:
    """A file's tensors under our names; each is read when it is asked for."""
    return {name: _lazy(tensors, take) for name, take in table.items()}


def _lazy(tensors: Tensors, take: Take) -> LazyTensor:
    made = _on_meta(tensors, take)
    file = Path(tensors.where(take.sources[0]))
    return LazyTensor(file, made.dtype, tuple(made.shape), partial(_read, tensors, take))


def _read(tensors: Tensors, take: Take) -> Tensor:
    return _ours([tensors[source] for source in take.sources], take)


def translate_back(
    ours: Mapping[str, Tensor], table: KeyMap, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, Tensor]]:
    """(foreign name, tensor): what `translate` would make `ours` of, in those `shapes`."""
    for name, take in table.items():
        value = ours[name]
        if take.to_ours and not take.to_theirs:
            value = value.reshape(shapes[take.sources[0]])
        value = take.to_theirs(value) if take.to_theirs else value
        sizes = [shapes[source][0] if shapes[source] else 1 for source in take.sources]
        parts = torch.split(value, sizes) if len(sizes) > 1 else [value]
        for source, part in zip(take.sources, parts, strict=True):
            yield source, part.contiguous()


def to_ours(theirs: Mapping[str, Tensor], table: KeyMap) -> dict[str, Tensor]:
    """Tensors at hand under our names, in our layouts."""
    return {
        name: _ours([theirs[source] for source in take.sources], take)
        for name, take in table.items()
    }


def to_theirs(ours: Mapping[str, Tensor], table: KeyMap) -> dict[str, Tensor]:
    """The inverse, of a table whose changes of layout have a way back."""
    each = [_parts(ours[name], take) for name, take in table.items()]
    return {source: part for one in each for source, part in one.items()}


def translate_back_lazily(ours: Mapping[str, LazyTensor], table: KeyMap) -> dict[str, LazyTensor]:
    """Our tensors under foreign names, of a table whose changes of layout have a way back.

    Those that are one tensor of ours are read once if asked for in a row.
    """

    @lru_cache(maxsize=1)
    def parts(name: str) -> dict[str, Tensor]:
        return _parts(ours[name].read(), table[name])

    found = {}
    for name, take in table.items():
        own = ours[name]
        for source, part in _parts(torch.empty(own.shape, device="meta"), take).items():
            read = partial(lambda name, source: parts(name)[source], name, source)
            found[source] = LazyTensor(own.file, own.dtype, tuple(part.shape), read)
    return found


def _parts(value: Tensor, take: Take) -> dict[str, Tensor]:
    """What one of ours is there. Those that are joined here are all of one size there."""
    assert take.to_theirs or not take.to_ours, f"{take.sources} have no way back"
    share = (len(value) // len(take.sources),) if value.ndim else ()
    shapes = dict.fromkeys(take.sources, (*share, *value.shape[1:]))
    return dict(translate_back({"": value}, {"": take}, shapes))
