"""Reading pickles as data: a machine that has no way to call anything.

A pickle is a little program. Python's own machine imports whatever the program names and calls
it; this one knows a dozen names by heart and makes plain data of them. An object of some foreign
class becomes an `Inert`, which holds its name and contents and does nothing. Any other name
refuses the file.
"""

from __future__ import annotations

import io
import pickletools
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import CheckpointError
from ._blob import Blob, Storage
from ._globals import (
    DAMAGE,
    DTYPES,
    MAKERS,
    Global,
    Inert,
    Namespace,
    Typed,
    is_inert,
    is_storage,
    key_of,
    set_of,
)

OPCODES = 2_000_000
"""Most steps of a pickle. A tensor takes some thirty, so that 60,000 of them fit."""
COPIES = 2**22
"""Most items and letters that calls may copy, beside sixteen for each byte of the pickle."""
NAME = 512
"""Longest name of a class."""
BITS = 1024
"""Longest whole number."""
DEPTH = 100
"""Most containers within each other."""
ITEMS = 2**24
"""Most items in all, where one that stands in several places counts in each."""

Locate = Callable[[str, int], Storage]
"""From a storage's key and its bytes to where it lies."""


def read_pickle(
    stream: BinaryIO, file: Path, locate: Locate | None = None, script: bool = False
) -> Any:
    """Run one pickle from where `stream` stands to its end, and return its data.

    Dicts, lists, tuples, sets, numbers, strings and bytes are themselves; a tensor is a `Blob`;
    an object of a harmless class is an `Inert`.

    Args:
        file: for the errors' text.
        locate: finds a tensor's storage; without it tensors are refused.
        script: whether classes of TorchScript may stand in it.

    Raises:
        CheckpointError: it is damaged, or wants a name that is not known to be harmless, or asks
            for endless work.
    """
    try:
        return _bounded(_Machine(file, locate, script).run(stream))
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"{file} is damaged: its pickle cannot be read: {reason}") from None


class Bounded(io.RawIOBase):
    """A file of which nobody can ask more bytes than it has."""

    def __init__(self, opened: BinaryIO, size: int) -> None:
        self.opened = opened
        self.size = size

    def read(self, count: int = -1, /) -> bytes:
        """Exactly `count` bytes, or EOFError."""
        if count < 0 or count > self.size - self.opened.tell():
            raise EOFError("it ends too early")
        return self.opened.read(count)

    def readline(self, limit: int | None = -1, /) -> bytes:
        """One line, of at most a thousand bytes: only names and numbers are written as lines."""
        return self.opened.readline(1000)

    def tell(self) -> int:
        """Where it stands."""
        return self.opened.tell()


class _Machine:
    """A stack, marks in it and a memo, driven by `pickletools`' decoding of the opcodes."""

    def __init__(self, file: Path, locate: Locate | None, script: bool) -> None:
        self.file = file
        self.locate = locate
        self.script = script
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.bytes = 0
        self.copies = 0

    def run(self, stream: BinaryIO) -> Any:
        """What the pickle leaves on the stack. Raises CheckpointError, EOFError or ValueError."""
        with warnings.catch_warnings():
            # pickletools reads old texts by rules of Python's own, which warn of damaged ones
            warnings.simplefilter("ignore", DeprecationWarning)
            return self._run(stream)

    def _run(self, stream: BinaryIO) -> Any:
        for step, (opcode, arg, place) in enumerate(pickletools.genops(stream)):
            self.bytes = place or 0
            if step >= OPCODES:
                raise ValueError(f"it takes more than {OPCODES} steps")
            name = opcode.name
            if name in _LITERALS:
                if isinstance(arg, int) and arg.bit_length() > BITS:
                    raise ValueError(f"a number in it has more than {BITS} bits")
                self.stack.append(arg)
            elif name in _FRESH:
                self.stack.append(_FRESH[name]())
            elif name == "STOP":
                return self.stack.pop()
            elif name not in _NOTHING:
                handler = getattr(self, f"_{name.lower()}", None)
                if handler is None:
                    raise CheckpointError(f"{self.file} is refused: opcode {name} in its pickle")
                handler(arg)
        raise EOFError("it ends too early")

    # The stack and the memo.

    def _mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._since_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _binput(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _put = _long_binput = _binput

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _binget(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _get = _long_binget = _binget

    # Containers.

    def _tuple(self, _: Any) -> None:
        items = tuple(self._since_mark())
        self.stack.append(items)

    def _tuple1(self, _: Any) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def _tuple2(self, _: Any) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def _tuple3(self, _: Any) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def _list(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(items)

    def _frozenset(self, _: Any) -> None:
        items = frozenset(set_of(self._since_mark()))
        self.stack.append(items)

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(_pairs(items))

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Inert):
            raise TypeError("it appends to what is no list")

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update({key_of(key): value})

    def _setitems(self, _: Any) -> None:
        self._update(_pairs(self._since_mark()))

    def _update(self, values: dict[Any, Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target = target.items
        if not isinstance(target, dict):
            raise TypeError("it sets an item of what is no dict")
        target.update(values)

    def _additems(self, _: Any) -> None:
        items = self._since_mark()
        target = self.stack[-1]
        if not isinstance(target, set):
            raise TypeError("it adds to what is no set")
        target.update(set_of(items))

    # Names, and what would make objects of them.

    def _global(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self._name(module, name)

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a name in it is no text")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        if len(module) + len(name) > NAME:
            raise ValueError(f"a name in it is longer than {NAME} letters")
        wanted = Global("builtins" if module == "__builtin__" else module, name)
        if not (str(wanted) in MAKERS or is_storage(wanted) or is_inert(wanted, self.script)):
            raise CheckpointError(
                f"{self.file} is refused: its pickle wants '{wanted}', and that may run code. "
                "If you trust the file, convert it to safetensors where it was made"
            )
        self.stack.append(wanted)

    def _reduce(self, _: Any) -> None:
        args, wanted = self.stack.pop(), self.stack.pop()
        self.stack.append(self._make(wanted, args))

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        self.stack.pop()  # keyword arguments
        self._reduce(None)

    def _make(self, wanted: Any, args: Any) -> Any:
        if not isinstance(wanted, Global) or not isinstance(args, tuple):
            raise TypeError("it calls what is no name")
        maker = MAKERS.get(str(wanted))
        if maker is not None:
            self._count(args)
            return maker(*args)
        return Inert(str(wanted), args)

    def _count(self, args: tuple[Any, ...]) -> None:
        """What is copied at each call, of arguments that may be the same each time."""
        self.copies += len(args) + sum(len(arg) for arg in args if isinstance(arg, _SIZED))
        if self.copies > COPIES + 16 * self.bytes:
            raise ValueError("it copies the same items over and over")

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif isinstance(target, Namespace):
            self._count((state,))
            target.update(state)
        elif not isinstance(target, (dict, Blob)):  # a state dict's `_metadata`, say
            raise TypeError("it changes what is no object")

    def _binpersid(self, _: Any) -> None:
        kind, wanted, key, _place, count, *view = self.stack.pop()
        plain = isinstance(key, (str, int)) and all(part is None for part in view)
        if kind != "storage" or not plain or self.locate is None:
            raise ValueError("it refers to something outside itself")
        if not isinstance(wanted, Global) or not is_storage(wanted) or type(count) is not int:
            raise TypeError("it names a storage that is none")
        dtype = DTYPES[wanted.name]
        if count < 0:
            raise ValueError("it names a storage of less than nothing")
        self.stack.append(Typed(self.locate(str(key), count * dtype.itemsize), dtype))


_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    }
)
_NOTHING = frozenset(("PROTO", "FRAME"))
_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


_SIZED = (list, tuple, dict, set, frozenset, str, bytes)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(key_of, items[::2]), items[1::2], strict=True))


def _inner(value: Any) -> list[Any]:
    """What a container holds; an `Inert` is no container, as nobody walks through it."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else []


def _bounded(data: Any) -> Any:
    """`data`, if whoever walks through it comes to an end soon.

    Raises:
        ValueError: it is nested too deep, holds itself, or holds the same things so often that
            it has too many items.
    """
    done: dict[int, int] = {}  # id of a container -> items in it and in what it holds
    frames = [_Frame(data)]
    opened = {id(data)}
    while frames:
        top = frames[-1]
        deeper = next(top.containers(done), None)
        if deeper is None:
            frames.pop()
            opened.discard(id(top.value))
            done[id(top.value)] = top.count
            if frames:
                frames[-1].count += top.count
        elif id(deeper) in opened:
            raise ValueError("a container in it holds itself")
        else:
            frames.append(_Frame(deeper))
            opened.add(id(deeper))
        if len(frames) > DEPTH:
            raise ValueError(f"it is nested more than {DEPTH} deep")
        if top.count > ITEMS:
            raise ValueError(f"it has more than {ITEMS} items")
    return data


class _Frame:
    """A container on the way down, and how many items were counted in it."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.rest = iter(_inner(value))
        self.count = 0

    def containers(self, done: Mapping[int, int]) -> Iterator[Any]:
        """Those that are not `done`; all else is counted on the way."""
        for one in self.rest:
            self.count += 1 + done.get(id(one), 0)
            if id(one) not in done and isinstance(one, (dict, list, tuple, set, frozenset)):
                yield one
