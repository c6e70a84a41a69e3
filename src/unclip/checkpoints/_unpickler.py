"""Pickles read as data: Python's own unpickler, in which every name is one of ours.

A pickle is a program that calls what it names. Here a name is never looked up: calling it makes
plain data, a lazy tensor, or an `Inert` that keeps what the object was made of. A name that
neither torch nor a training program leaves in its files refuses the file.

`torch.load(weights_only=True)` would not do. It reads no TorchScript and no protocol after 3. It
holds a file from before torch 1.6 in memory whole and maps a newer one, so that one that shrinks
ends the process. It hashes a key for ever and fills an array of any size, where a pickle asks so.
"""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from sys import getsizeof
from typing import Any, BinaryIO

import torch

from ..errors import CheckpointError
from .lazy_tensor import LazyTensor, Storage, in_file

DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError,
    RecursionError, TypeError, ValueError, pickle.UnpicklingError, struct.error,
)  # fmt: skip
"""What reading damaged bytes may raise; OverflowError, KeyError, UnicodeError are among these."""

OPCODES = 2_000_000
"""Most steps of a pickle. A tensor takes some thirty, so that 60,000 of them fit."""
COPIES = 2**24
"""Most bytes of the arguments of all calls, beside four for each byte of the file."""
NAME = 512
"""Longest name of a class."""
BITS = 1024
"""Longest whole number."""
DEPTH = 100
"""Most containers within each other."""
ITEMS = 2**24
"""Most items in all, where one that stands in several places counts in each."""
KEY_ITEMS = 64
"""Longest tuple that is a key."""
COMPOUND = 10_000
"""Most keys that are no plain ones: tuples, sets and complex numbers can share one hash."""

SCRIPT = "__torch__"
"""Where TorchScript keeps the classes of an archive."""
INERT = (
    "collections", "datetime", "dalle2_pytorch", "lightning", "lightning_fabric",
    "numpy.random", "omegaconf", "packaging", "pathlib", "pytorch_lightning", "pytorch_warmup",
    "torch.optim", "torch.torch_version", "typing",
)  # fmt: skip
"""Modules whose objects training programs leave in their files: read, never made."""
INERT_NAMES = {
    *(f"builtins.{name}" for name in ("bool", "bytearray", "bytes", "dict", "float", "int")),
    *(f"builtins.{name}" for name in ("list", "object", "slice", "str", "tuple")),
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    "torch.nn.modules.container.ParameterDict",  # of textual inversions
    *("argparse.Namespace", "numpy.dtype", "numpy.ndarray", "torch.Tensor", "torch.device"),
}
STORAGES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64, "UntypedStorage": torch.uint8,
}  # fmt: skip

Locate = Callable[[str, int], Storage]
"""From a storage's key and its bytes to where it lies."""


def read_pickle(
    stream: BinaryIO, size: int, file: Path, locate: Locate | None = None, script: bool = False
) -> Any:
    """Read one pickle from where `stream` stands to its end, and return its data.

    Args:
        stream: stands at its beginning.
        size: of the whole stream, in bytes.
        file: for the errors' text.
        locate: finds a tensor's storage; without it tensors are refused.
        script: whether classes of TorchScript may stand in it.

    Raises:
        CheckpointError: it is damaged, or wants a name that is not known to be harmless, or asks
            for endless work.
    """
    try:
        with warnings.catch_warnings():  # of damaged texts, which old pickles write as Python does
            warnings.simplefilter("ignore", DeprecationWarning)
            data = _Unpickler(Bounded(stream, size), file, locate, script).load()
        _measure(data, {}, DEPTH)
        return data
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{file} is damaged: its pickle cannot be read: {reason}") from None


class Bounded:
    """A file of which nobody can ask more bytes than it has."""

    def __init__(self, opened: BinaryIO, size: int) -> None:
        self.opened, self.size = opened, size

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, or EOFError."""
        if count > self.size - self.opened.tell():
            raise EOFError("it ends too early")
        return self.opened.read(count)

    def readline(self) -> bytes:
        """One line, of at most a thousand bytes: only names and numbers are written as lines."""
        return self.opened.readline(1000)


@dataclass(eq=False)
class Inert:
    """What is left of an object: its class, how it was to be made, its state and its items."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def extend(self, values: list[Any]) -> None:
        """An object that is also a list: nobody asks for what is in it."""

    append = extend


@dataclass(frozen=True)
class Typed:
    """A storage, and the type of number that the pickle says it holds."""

    storage: Storage
    dtype: torch.dtype


@dataclass(frozen=True)
class Name:
    """What a pickle asks for by name. Called, it makes plain data; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def __call__(self, *args: Any) -> Any:
        """What stands for an object that was made so."""
        make = MAKERS.get(str(self))
        return make(*args) if make else Inert(str(self), args)

    @property
    def dtype(self) -> torch.dtype | None:
        """The type of number that it is, or that it stores, if any."""
        if self.module in ("torch", "torch.cuda", "torch.storage") and self.name in STORAGES:
            return STORAGES[self.name]
        found = vars(torch).get(self.name) if self.module == "torch" else None
        return found if isinstance(found, torch.dtype) else None

    def is_harmless(self, script: bool) -> bool:
        """Whether it may stand in a file; classes of a TorchScript only where `script`."""
        own = script and self.module.split(".")[0] == SCRIPT
        inert = any(f"{self.module}.".startswith(f"{module}.") for module in INERT)
        named = str(self) in INERT_NAMES or str(self) in MAKERS
        return own or inert or named or self.dtype is not None


class _Unpickler(pickle._Unpickler):
    """The unpickler in Python, whose every step is counted and whose keys are checked."""

    stack: list[Any]

    def __init__(self, stream: Bounded, file: Path, locate: Locate | None, script: bool) -> None:
        super().__init__(stream, encoding="latin1")
        self.file, self.locate, self.script = file, locate, script
        self.steps = self.compound = 0
        self.room = COPIES + 4 * stream.size

    def find_class(self, module: str, name: str) -> Name:
        if len(module) + len(name) > NAME:
            raise ValueError(f"a name in it is longer than {NAME} letters")
        wanted = Name("builtins" if module == "__builtin__" else module, name)
        if not wanted.is_harmless(self.script):
            raise CheckpointError(
                f"{self.file} is refused: its pickle wants '{wanted}', and that may run code. "
                "If you trust the file, convert it to safetensors where it was made"
            )
        return wanted

    def persistent_load(self, pid: Any) -> Typed:
        kind, wanted, key, _place, count, *view = pid
        plain = isinstance(key, (str, int)) and all(part is None for part in view)
        if kind != "storage" or not plain or self.locate is None:
            raise ValueError("it refers to something outside itself")
        if not isinstance(wanted, Name) or not wanted.dtype or type(count) is not int or count < 0:
            raise TypeError("it names a storage that is none")
        return Typed(self.locate(str(key), count * wanted.dtype.itemsize), wanted.dtype)

    def step(self, handler: str, keys: slice | None) -> None:
        """One opcode."""
        self.steps += 1
        if self.steps > OPCODES:
            raise ValueError(f"it takes more than {OPCODES} steps")
        if keys:
            self.check_keys(self.stack[keys])
        getattr(self, handler)()
        if self.stack and type(self.stack[-1]) is int and self.stack[-1].bit_length() > BITS:
            raise ValueError(f"a number in it has more than {BITS} bits")

    def check_keys(self, keys: Iterable[Any]) -> None:
        """Raise TypeError or ValueError where hashing these, after all others, may take long."""
        for key in keys:
            _check_key(key)
            self.compound += isinstance(key, (tuple, frozenset, complex))
        if self.compound > COMPOUND:
            raise ValueError(f"it has more than {COMPOUND} keys that are no plain ones")

    def load_reduce(self) -> None:
        args = self.stack.pop()
        if not isinstance(args, tuple) or not isinstance(self.stack[-1], Name):
            raise TypeError("it calls what is no name")
        self.room -= sum(map(getsizeof, (args, *args)))
        if self.room < 0:
            raise ValueError("it copies the same items over and over")
        if MAKERS.get(str(self.stack[-1])) in (_set, _frozenset, _dict):
            self.check_keys(_keys(args))
        self.stack[-1] = self.stack[-1](*args)

    load_newobj = load_reduce

    def load_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self.load_reduce()

    def load_build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state
        elif not isinstance(self.stack[-1], (dict, LazyTensor)):  # a state dict's `_metadata`, say
            raise TypeError("it changes what is no object")

    def refuse(self) -> None:
        raise ValueError("an opcode in it is none that torch writes")

    load_ext1 = load_ext2 = load_ext4 = load_inst = load_obj = load_persid = refuse
    load_bytearray8 = load_next_buffer = load_readonly_buffer = refuse


def _stepping(handler: str) -> Callable[[Any], None]:
    return lambda unpickler: unpickler.step(handler, KEYS.get(handler))


KEYS = {
    "load_setitem": slice(-2, -1),
    "load_setitems": slice(0, None, 2),
    "load_dict": slice(0, None, 2),
    "load_additems": slice(None),
    "load_frozenset": slice(None),
}
"""What each opcode makes keys, or items of a set, of: a part of the stack since its mark."""
_Unpickler.dispatch = dict.fromkeys(range(256), _stepping("refuse")) | {
    opcode: _stepping(handler.__name__) for opcode, handler in pickle._Unpickler.dispatch.items()
}


def _check_key(value: Any) -> None:
    """Raise TypeError for a value that takes long to hash, or can share one hash with many.

    Python hashes tuples within tuples by recursion of its own, without a bound.
    """
    if isinstance(value, tuple):
        if len(value) > KEY_ITEMS or any(isinstance(one, (tuple, frozenset)) for one in value):
            raise TypeError("a key in it is a tuple of tuples, or a long one")
        for one in value:
            _check_key(one)
    elif isinstance(value, int) and abs(value) >= 2**61 - 1:
        raise TypeError("a key in it is a number beyond all use")


def _measure(value: Any, done: dict[int, tuple[int, int]], room: int) -> tuple[int, int]:
    """How many items a container holds in all, and how deep: whoever walks through it ends soon.

    Of an `Inert` only its arguments count. `done` has what is known, by ids; `room` is how deep it
    may be. Raises ValueError where it is too deep, holds itself, or has too many items.
    """
    if not isinstance(value, (dict, list, tuple, set, frozenset, Inert)):
        return 0, 0
    if id(value) in done:
        return done[id(value)]
    if not room:
        return 0, DEPTH
    if isinstance(value, dict):
        inner: Iterable[Any] = (*value, *value.values())
    else:
        inner = value.args if isinstance(value, Inert) else value
    measured = [_measure(one, done, room - 1) for one in inner]
    items = len(measured) + sum(count for count, _ in measured)
    depth = 1 + max((below for _, below in measured), default=0)
    if depth > DEPTH:
        raise ValueError(f"it is nested more than {DEPTH} deep, or holds itself")
    if items > ITEMS:
        raise ValueError(f"it has more than {ITEMS} items")
    done[id(value)] = items, depth
    return items, depth


def version_text(value: Any) -> str:
    """A version as text: '1.15.6' for such a string, or for what is left of a `Version`.

    Raises:
        CheckpointError: it is neither.
    """
    if isinstance(value, str):
        return value
    try:
        state = value.state
        if isinstance(state, dict):  # packaging before 26
            state = state["_version"].args
        return ".".join(str(int(part)) for part in state[1])  # after the epoch
    except DAMAGE:
        raise CheckpointError("a version is neither a text nor a Version") from None


def _tensor(data: Any, offset: int, shape: Any, stride: Any, *_: Any) -> LazyTensor:
    """`_rebuild_tensor` and `_rebuild_tensor_v2`."""
    return in_file(data.storage, data.dtype, shape, stride, offset)


def _tensor_v3(data: Any, offset: int, shape: Any, stride: Any, *rest: Any) -> LazyTensor:
    """Types of number that have no storage class of their own."""
    _requires_grad, _hooks, wanted, *_ = rest
    if not isinstance(wanted, Name) or not wanted.dtype:
        raise TypeError("a tensor in it has no type of number")
    return in_file(data.storage, wanted.dtype, shape, stride, offset)


def _with_attributes(wanted: Any, _kind: Any, args: Any, *_: Any) -> Any:
    return REBUILDERS[f"{wanted.module}.{wanted.name}"](*args)


def _dict(*args: Any) -> dict[Any, Any]:
    """OrderedDict, defaultdict and Counter, whose first argument may be what makes values."""
    return dict(args[-1]) if args and isinstance(args[-1], (dict, list)) else {}


def _items(values: Any) -> Any:
    """What a container is made of: of a text or of bytes each letter would become an object."""
    if not isinstance(values, (dict, list, tuple, set, frozenset)):
        raise TypeError("a container in it is made of what is none")
    return values


def _size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(_items(values))


def _set(values: Any = ()) -> set[Any]:
    return set(_items(values))


def _frozenset(values: Any = ()) -> frozenset[Any]:
    return frozenset(_items(values))


def _keys(args: tuple[Any, ...]) -> Iterator[Any]:
    """What sets and dicts that are made of these hash; of pairs in lists the first."""
    for arg in args:
        for one in arg if isinstance(arg, (dict, list, tuple, set, frozenset)) else ():
            yield one[0] if isinstance(one, list) else one


def _encode(text: str, codec: str = "latin1") -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise ValueError("it holds bytes in another code than latin1")
    return text.encode("latin1")


def _same(value: Any, *_: Any) -> Any:
    return value


REBUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _same,
    "torch._utils._rebuild_parameter_with_state": _same,
}
"""Torch's ways to make a tensor."""

MAKERS: dict[str, Callable[..., Any]] = {
    **REBUILDERS,
    "torch._tensor._rebuild_from_type_v2": _with_attributes,
    "torch.nn.parameter.Parameter": _same,
    "torch.Size": _size,
    "torch.jit._pickle.build_intlist": _same,
    "torch.jit._pickle.build_doublelist": _same,
    "torch.jit._pickle.build_boollist": _same,
    "torch.jit._pickle.build_tensorlist": _same,
    "torch.jit._pickle.restore_type_tag": _same,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _dict,
    "collections.Counter": _dict,
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "builtins.complex": complex,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": lambda wanted, *_: wanted(),
}
"""The names that mean something: what is made of them is plain data, whatever their arguments."""
