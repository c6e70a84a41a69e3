"""What a shell completes an option's value to. Quick: nothing here imports PyTorch."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from pathlib import Path

ROOT = Path(str(resources.files("unclip")))

Completion = Callable[[str], list[str]]
"""The values that begin with what is typed so far."""


def _of(values: Callable[[], Iterable[str]]) -> Completion:
    def complete(incomplete: str) -> list[str]:
        return [one for one in values() if one.startswith(incomplete)]

    return complete


def model_names() -> Iterator[str]:
    """Bundled models, those pulled from the hub, and those of runs in this folder."""
    from ..hub import pulled

    yield from sorted(file.parent.name for file in (ROOT / "weights").glob("*/model.json"))
    yield from (str(one.ref) for one in pulled())
    yield from sorted(str(file.parent) for file in Path().glob("runs/*/model/model.json"))


def preset_names() -> Iterator[str]:
    """The recipes of this package."""
    yield from sorted(file.stem for file in (ROOT / "presets").glob("*.toml"))


def sampler_names() -> list[str]:
    """This package's own names of samplers."""
    from ..aliases import SAMPLERS

    return sorted(SAMPLERS)


def device_names(constant: str) -> list[str]:
    """Of a constant of `device`, read from the source: that imports PyTorch."""
    source = (ROOT / "device.py").read_text(encoding="utf-8")
    values = {
        target.id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return list(ast.literal_eval(values[constant]))


def setting_names() -> list[str]:
    """Of a decoder's sampling, as --set takes them, and the samplers; read from the source."""
    file = ROOT / "stages" / "sampling.py"
    classes = {
        node.name: node.body
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    fields = (node.target for node in classes["Sampling"] if isinstance(node, ast.AnnAssign))
    names = sorted(f"{one.id}=" for one in fields if isinstance(one, ast.Name))
    return [*names, *(f"sampler={name}" for name in sampler_names())]


MODELS, PRESETS = _of(model_names), _of(preset_names)

VALUES: dict[str, Completion] = {
    "--model": MODELS,
    "--teacher": MODELS,
    "--sampler": _of(sampler_names),
    "--set": _of(setting_names),
    "--device": _of(lambda: ["cpu", *device_names("ACCELERATORS")]),
    "--dtype": _of(lambda: device_names("DTYPES")),
}
"""By option."""
