"""`unclip doctor`."""
# Without `from __future__ import annotations`: see `_options`.

import os
import platform
import sys
import time
from dataclasses import dataclass
from typing import Any

import typer

from .._version import __version__
from ..errors import UnclipError, counted
from ._options import Command, ModelOptions
from ._result import report
from ._terminal import duration, say

OPTIONAL = {
    "tensorboard": "tensorboard",
    "resvg_py": "resvg-py",
    "huggingface_hub": "huggingface_hub",
}
"""Optional modules, and what pip installs each by."""

OLDEST_PYTHON = (3, 11)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", cls=Command)(Doctor)


@dataclass(frozen=True)
class Doctor(ModelOptions):
    """Check that the installation and a model work.

    The exit code is 1 if something is broken.

    \b
    Examples:
      unclip doctor
      unclip doctor --model runs/mine/model --device cuda
    """

    def run(self) -> None:
        """Say of each part whether it works."""
        from importlib import metadata, util

        checks = (_python, _torch, self._device, self._model, self._picture)
        broken = False
        for name, check in zip(
            ("unclip", "torch", "device", "model", "picture"), checks, strict=True
        ):
            if name == "picture" and broken:
                continue
            try:
                mark, text = "ok", check()
            except Exception as error:  # noqa: BLE001 - whatever it is, a doctor reports it
                mark, text, broken = "broken", " ".join(str(error).split()), True
            report(checks=[{"name": name, "ok": mark == "ok", "text": text}])
            say(f"{mark:<7}{name:<9}{text}")
        for module, package in OPTIONAL.items():
            here = util.find_spec(module) is not None
            text = metadata.version(module) if here else f"missing: pip install {package}"
            report(optional=[{"name": module, "ok": here}])
            say(f"{'ok' if here else '-':<7}{'optional':<9}{module} {text}")
        if broken:
            raise typer.Exit(1)

    def _device(self) -> str:
        from ..device import describe, fast_dtype, pick_device

        device = pick_device(self.device)
        number = str(fast_dtype(device)).removeprefix("torch.")
        return f"{describe(device)}; computes in {number}"

    def _model(self) -> str:
        from ..checkpoints.native import read_manifest, verify

        plan = self.plan(self.model)
        if not (plan.where / "model.json").is_file():
            for name, part in plan.parts.items():
                part.check(part.build().net, plan.place_of(name))
            return f"{plan.name}, {plan.family}, every name and shape is right"
        faults = verify(plan.where)
        if faults:
            raise UnclipError(f"{plan.where}: {'; '.join(faults)}")
        manifest = read_manifest(plan.where)
        return f"{manifest.name}, {manifest.hash}, {counted(len(manifest.files), 'file')} unchanged"

    def _picture(self) -> str:
        """Draw one with a single step a stage."""
        from ..stages import DiffusionStage

        started = time.monotonic()
        pipe = self.load()
        loaded = time.monotonic()
        sampled = [key for key, stage in pipe.stages.items() if isinstance(stage, DiffusionStage)]
        idle = pipe.model.priors[1:]
        one_step: dict[str, Any] = {f"{key}_steps": 1 for key in sampled if key not in idle}
        picture = pipe.generate("a red car", **one_step)[0]
        drawn = time.monotonic()
        return (
            f"{picture.width}×{picture.height}, loaded in {duration(loaded - started)}, "
            f"one step of each stage in {duration(drawn - loaded)}"
        )


def _python() -> str:
    if sys.version_info < OLDEST_PYTHON:
        raise UnclipError(f"Python {platform.python_version()} is older than 3.11")
    return f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"


def _torch() -> str:
    try:
        import torch
    except (ImportError, OSError) as error:
        raise UnclipError(f"PyTorch cannot be imported: {error}") from None
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    return f"{torch.__version__}, {counted(threads, 'thread')} on {counted(cores, 'core')}"
