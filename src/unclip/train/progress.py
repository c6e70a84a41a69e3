"""How fast a training goes, and how much of what the machine can do it uses."""

from __future__ import annotations

import sys

import torch
from torch.utils.benchmark import Timer

from ..errors import UnclipError
from .cost import Phase, phase_at, phase_costs, task_on_meta
from .run import Run
from .trainer import Trainer

WORTH = 60.0
"""Seconds of training before the machine's peak is measured, which takes a second or two."""

_BATCH = 8  # that a step is counted with
_PRODUCTS = 50  # a few milliseconds each: the fastest was not disturbed by other processes


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large product of matrices on this device: what it reaches at the very best."""
    side = 8192 if device.type == "cuda" else 512
    matrix = torch.randn(side, side, device=device).to(dtype)
    timer = Timer(
        "matrix @ matrix", globals={"matrix": matrix}, num_threads=torch.get_num_threads()
    )
    return 2 * side**3 / min(timer.timeit(1).mean for _ in range(_PRODUCTS))


def memory(device: torch.device) -> int:
    """The most bytes that this process has held: of a GPU, or of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


class Meter:
    """Adds to what is logged of a stage: seconds left, memory, and the share of the peak."""

    def __init__(self, run: Run, name: str, trainer: Trainer) -> None:
        self.run, self.name, self.trainer = run, name, trainer
        self.started, self.first = trainer.clock.now(), trainer.step
        self._peak: float | None = None  # FLOP/s, once measured; 0 where nobody knows
        self._phases: list[Phase] = []  # of a step of `_BATCH` pictures

    def read(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """`values` and more."""
        passed, done = self.trainer.clock.now() - self.started, step - self.first
        more: dict[str, float] = {"memory_mb": memory(self.trainer.device) / 1e6}
        if done > 0:
            more["seconds_left"] = passed / done * (self.trainer.config.steps - step)
        if self._peak is None and passed > WORTH:
            self._measure()
        if self._peak:
            now = phase_at(self._phases, (step - 1) / self.trainer.config.steps)
            more["share_of_peak"] = values["images_per_second"] * now.flops / _BATCH / self._peak
        return {**values, **more}

    def _measure(self) -> None:
        config, device = self.trainer.config, self.trainer.device
        dtype, context = config.dtype(device), self.run.recipe.settings.tokenizer.context
        try:
            task = task_on_meta(self.run.recipe, self.name, dtype)
            self._phases = phase_costs(task, _BATCH, context)
        except (UnclipError, RuntimeError):  # a network that cannot be counted without numbers
            self._peak = 0.0
            return
        self._peak = peak(device, dtype)
