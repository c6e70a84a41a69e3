"""The names that pickles ask for, and the plain data that is made of those that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import CheckpointError
from ._blob import Blob, Storage

DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError,
    RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What reading damaged bytes may raise; OverflowError, KeyError, UnicodeError are among these."""

INERT = (
    "collections", "datetime", "dalle2_pytorch", "lightning", "lightning_fabric",
    "numpy.random", "omegaconf", "packaging", "pathlib", "pytorch_lightning", "pytorch_warmup",
    "torch.optim", "torch.torch_version", "typing",
)  # fmt: skip
"""Modules whose objects training programs leave in their files: read, never made."""

INERT_NAMES = {
    *(f"builtins.{name}" for name in ("bool", "bytes", "complex", "dict", "float", "int")),
    *(f"builtins.{name}" for name in ("list", "object", "set", "slice", "str", "tuple")),
    "numpy.dtype",
    "numpy.ndarray",
}

KEY_ITEMS = 64
"""Longest tuple that is a key."""

SCRIPT = "__torch__"
"""Where TorchScript keeps the classes of an archive."""

DTYPES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
}


@dataclass(frozen=True)
class Global:
    """A name that a pickle asks for: never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Inert:
    """What is left of an object: its class, how it was to be made, its state and its items."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Typed:
    """A storage, and the type of number that the pickle says it holds."""

    storage: Storage
    dtype: torch.dtype


class Namespace(dict[str, Any]):
    """An `argparse.Namespace`: its attributes are what it holds."""


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


def is_inert(wanted: Global, script: bool) -> bool:
    """Whether objects of this class may stand in a file; a TorchScript's own, where `script`."""
    if wanted.module == "torch":
        return isinstance(vars(torch).get(wanted.name), torch.dtype)
    root = wanted.module
    known = any(root == module or root.startswith(f"{module}.") for module in INERT)
    own = script and root.split(".")[0] == SCRIPT
    return known or own or str(wanted) in INERT_NAMES


def is_storage(wanted: Global) -> bool:
    """Whether it names a type of storage."""
    return wanted.name in DTYPES and wanted.module in ("torch", "torch.cuda", "torch.storage")


def _tensor(storage: Typed, offset: int, shape: Any, stride: Any, *_: Any) -> Blob:
    """`_rebuild_tensor` and `_rebuild_tensor_v2`."""
    return _blob(storage, storage.dtype, offset, shape, stride)


def _tensor_v3(storage: Typed, offset: int, shape: Any, stride: Any, *rest: Any) -> Blob:
    """Types of number that have no storage class of their own."""
    _requires_grad, _hooks, wanted, *_ = rest
    dtype = vars(torch).get(wanted.name)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"'{wanted}' is no type of number")
    return _blob(storage, dtype, offset, shape, stride)


def _blob(storage: Any, dtype: torch.dtype, offset: int, shape: Any, stride: Any) -> Blob:
    if not isinstance(storage, Typed):
        raise TypeError("a tensor in it has no storage")
    return Blob(storage.storage, dtype, tuple(shape), tuple(stride), offset)


def _parameter(data: Any, *_: Any) -> Blob:
    if not isinstance(data, Blob):
        raise TypeError("a parameter in it is no tensor")
    return data


def _from_type(wanted: Any, _kind: Any, args: Any, *_: Any) -> Blob:
    """A tensor that carried attributes of its own."""
    make = REBUILDERS.get(_named(wanted))
    if make is None:
        raise TypeError("a tensor in it is made by none of torch's ways")
    return make(*args)


def _mapping(*args: Any) -> dict[Any, Any]:
    """OrderedDict, defaultdict and Counter, whose first argument may be what makes values."""
    known = [arg for arg in args if isinstance(arg, (dict, list, tuple))]
    if not known:
        return {}
    last = known[-1]
    return dict(last) if isinstance(last, dict) else {key_of(key): value for key, value in last}


def _named(wanted: Any) -> str:
    if not isinstance(wanted, Global):
        raise TypeError("it calls what is no name")
    return str(wanted)


def _device(*parts: Any) -> str:
    if not all(isinstance(part, (str, int)) for part in parts):
        raise TypeError("a device in it is none")
    return ":".join(map(str, parts))


def key_of(value: Any) -> Any:
    """A value that may be a key or an item of a set: hashing it takes no time worth naming.

    Python hashes tuples within tuples by recursion of its own, without a bound. Far numbers can
    be made to share one hash.

    Raises:
        TypeError: it is another value.
    """
    if isinstance(value, tuple):
        if len(value) > KEY_ITEMS or any(isinstance(one, (tuple, frozenset)) for one in value):
            raise TypeError("a key in it is a tuple of tuples, or a long one")
        for one in value:
            key_of(one)
    elif isinstance(value, int) and abs(value) >= 2**61 - 1:
        raise TypeError("a key in it is a number beyond all use")
    return value


def set_of(values: Iterable[Any] = ()) -> set[Any]:
    """A set of checked items."""
    return {key_of(value) for value in values}


def _scalar(dtype: Any, raw: Any = None) -> Any:
    """A numpy number: its type is the code like `f8` that the dtype was made from."""
    code = dtype.args[0]
    kinds = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
    if not isinstance(code, str) or code not in kinds or not isinstance(raw, bytes):
        return Inert("numpy.scalar", (code, raw))
    import numpy as np

    return np.frombuffer(raw, dtype=f"<{code}", count=1)[0].item()


def _encode(text: str, codec: str = "latin1") -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise ValueError("it holds bytes in another code than latin1")
    return text.encode("latin1")


def _sequence(values: Any = ()) -> list[Any]:
    return list(values)


REBUILDERS: dict[str, Callable[..., Blob]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
"""Torch's ways to make a tensor."""

MAKERS: dict[str, Callable[..., Any]] = {
    **REBUILDERS,
    "argparse.Namespace": Namespace,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": lambda values=(): tuple(values),
    "torch.device": _device,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Tensor": lambda *args: Inert("torch.Tensor", args),
    "torch.jit._pickle.build_intlist": _sequence,
    "torch.jit._pickle.build_doublelist": _sequence,
    "torch.jit._pickle.build_boollist": _sequence,
    "torch.jit._pickle.build_tensorlist": _sequence,
    "torch.jit._pickle.restore_type_tag": lambda value, *_: value,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "collections.Counter": _mapping,
    "builtins.set": set_of,
    "builtins.frozenset": lambda values=(): frozenset(set_of(values)),
    "builtins.bytearray": lambda *args: Inert("builtins.bytearray", args),
    "builtins.complex": lambda real, imaginary=0.0: complex(real, imaginary),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": lambda *args: Inert("numpy.ndarray", args),
    "numpy._core.multiarray._reconstruct": lambda *args: Inert("numpy.ndarray", args),
    "_codecs.encode": _encode,
    "copyreg._reconstructor": lambda wanted, *_: Inert(_named(wanted)),
}
"""The names that mean something: what is made of them is plain data, whatever their arguments."""
