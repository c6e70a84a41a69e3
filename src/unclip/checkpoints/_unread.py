"""Why a path cannot be loaded: what lies there in place of a model that is read, in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, counted
from ..plain import read_json
from ._foreign import COMPONENTS, MODEL_TYPES, NAMES, PIPELINES
from ._state_dicts import state_dict
from .archive import contents, kind_of

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".th")
FOREIGN = {
    ".gguf": "GGUF (llama.cpp)",
    ".onnx": "ONNX",
    ".msgpack": "Flax",
    ".h5": "Keras",
    ".pb": "TensorFlow",
    ".xml": "OpenVINO",
    ".mlmodel": "Core ML",
}
"""Endings of weights for other programs."""

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".xz", ".bz2")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
FOLDERS = 200
"""How many folders are looked into for a model."""

Readable = Callable[[Path], bool]
"""Whether a format takes a path."""


def check_file(file: Path) -> None:
    """Raise CheckpointError where a lone file cannot be opened as weights, and say why."""
    ending = file.suffix.lower()
    if ending in FOREIGN:
        raise CheckpointError(
            f"{file} holds weights for {FOREIGN[ending]}, which are not read: "
            "take the same model's safetensors or PyTorch files"
        )
    if ending in ARCHIVES and not _is_weights(file):
        raise CheckpointError(f"{file} is an archive: unpack it, and give the folder")
    if ending in PICTURES:
        raise CheckpointError(f"{file} is a picture, not a model")
    if kind_of(file) == "json" and "weight_map" not in _json(file):
        raise CheckpointError(f"{file} holds settings, no weights: give its folder, {file.parent}")
    contents(file)


def _is_weights(file: Path) -> bool:
    try:
        contents(file)
    except CheckpointError:
        return False
    return True


def why_unread(path: Path, readable: Readable = lambda _: False) -> str:
    """What lies at `path`, which no format takes: words that follow its name.

    Args:
        path: a file that can be opened, or a folder.
        readable: whether a format takes a path: models in a folder's folders are offered.
    """
    if path.is_file():
        return f"is {_file(path)}"
    reasons = (_pipeline, _component, _of_weights, _inside(readable), _of_data)
    found = (reason(path) for reason in reasons)
    return next((one for one in found if one), "holds no model")


def _file(file: Path) -> str:
    """What a sound weights file holds, by its names."""
    data = contents(file)
    tensors = state_dict(data)
    held = data if tensors is None else tensors
    names = [str(name) for name in held] if isinstance(held, Mapping) else []
    for pattern, what in NAMES:
        if any(re.search(pattern, name) for name in names):
            if ":" in what:
                return what
            return (
                f"{what}: not read by itself" if ", which" in what else f"{what}, which is not read"
            )
    if tensors is None:
        keys = ", ".join(names[:4])
        return f"no model: it holds no state dict{keys and f', but {keys}'}"
    first = ", ".join(sorted(names)[:3])
    return f"no model that is known here: it holds {counted(len(names), 'tensor')} ({first}, ...)"


def _pipeline(folder: Path) -> str:
    """A pipeline of diffusers that no format takes."""
    file = folder / "model_index.json"
    if not file.is_file():
        return ""
    kind = str(_json(file).get("_class_name", ""))
    if not kind:
        return "has a model_index.json that names no pipeline (_class_name)"
    name = kind.removeprefix("Flax").removeprefix("Onnx")
    known = [start for start in PIPELINES if name.startswith(start)]
    what = PIPELINES[max(known, key=len)] if known else "a pipeline of diffusers"
    return f"holds {what} ({kind}), which is not read"


def _component(folder: Path) -> str:
    """One network, with its config.json."""
    file = folder / "config.json"
    if not file.is_file():
        return ""
    values = _json(file)
    kind, whose = str(values.get("_class_name", "")), "diffusers"
    what = COMPONENTS.get(kind, "")
    if not kind:
        names = values.get("architectures") or [""]
        model = str(values.get("model_type", ""))
        kind, whose = str(names[0] if isinstance(names, list) else names), "transformers"
        what, kind = MODEL_TYPES.get(model, ""), kind or model
    if not kind:
        return ""
    text = f"holds {what + ' (' + kind + ')' if what else 'a ' + kind} of {whose}"
    if (folder.parent / "model_index.json").is_file():
        return f"{text}, one part of a model: give the folder above it, {folder.parent}"
    return f"{text}, which is not read by itself"


def _of_weights(folder: Path) -> str:
    """What the first weights file is; of several the first that is damaged comes first."""
    files = sorted(f for f in folder.iterdir() if f.is_file())
    weights = [file for file in files if file.suffix.lower() in WEIGHTS]
    for file in weights:
        try:
            check_file(file)
        except CheckpointError as error:
            return f"holds no model that can be read: {error}"
    if weights:
        return f"holds {weights[0].name}, which is {_file(weights[0])}"
    for file in files:
        if file.suffix.lower() in FOREIGN:
            whose = FOREIGN[file.suffix.lower()]
            return f"holds weights for {whose} ({file.name}) alone, which are not read"
    return ""


def _inside(readable: Readable) -> Callable[[Path], str]:
    """Models that a folder holds in its folders."""

    def reason(folder: Path) -> str:
        below = (one for one in islice(_folders(folder), FOLDERS) if readable(one))
        found = [str(one) for one in islice(below, 4)]
        if not found:
            return ""
        more = ", ..." if len(found) > 3 else ""
        return f"is not a model but contains some: give {' or '.join(found[:3])}{more}"

    return reason


def _folders(folder: Path) -> Iterator[Path]:
    for pattern in ("*", "*/*", "*/*/*"):
        yield from sorted(f for f in folder.glob(pattern) if f.is_dir() and f.name[:1] != ".")


def _of_data(folder: Path) -> str:
    """Pictures, archives, or nothing at all."""
    files = [file for file in sorted(folder.iterdir()) if file.name[:1] != "."]
    endings = [file.suffix.lower() for file in files]
    pictures = sum(ending in PICTURES for ending in endings)
    archives = [f.name for f, end in zip(files, endings, strict=True) if end in ARCHIVES]
    if not files:
        return "is an empty folder"
    if pictures:
        return f"holds pictures ({pictures}), no model: `unclip train --help` says how to train one"
    if archives:
        return f"holds an archive, {archives[0]}: unpack it first"
    return f"holds no model, but {', '.join(file.name for file in files[:4])}"


def _json(file: Path) -> Mapping[str, Any]:
    """A file of settings; nothing where it is damaged, which whoever reads it says."""
    try:
        values = read_json(file)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
