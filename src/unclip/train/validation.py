"""The loss on pictures that are held out, at the same noise levels with the same noise each time.

Training's loss is of random levels, whose losses differ by far more than two networks' do. Here
nothing but the network changes, so that curves can be compared, and the best state be found. A
student has its `Exam` in the loss's place.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..config import Config
from ..data import IndexedSource, Sample
from ..data.framing import FrameSettings
from ..device import autocast
from ..diffusion.schedule import Schedule
from ..errors import DataError
from ..rng import BatchRng, Rng
from ..stages import DiffusionStage, Stage
from ..types import Cond, Level
from .collate import Collate
from .exams import Exam
from .loader import Batch
from .section import check_section, source_settings
from .task import Task


class ValidationConfig(Config):
    """What is held out, and how often its loss is measured."""

    share: float | None = Field(
        None, gt=0, le=0.5, description="of the data's pictures, which training then never sees"
    )
    data: dict[str, Any] | None = Field(
        None, description="another source, as `data` names it, seen in the middle"
    )
    pairs: int = Field(128, ge=1, description="the most pictures that are measured")
    every: int = Field(500, ge=1, description="steps from one measurement to the next")
    levels: int = Field(8, ge=1, description="noise levels, evenly spaced")

    @model_validator(mode="after")
    def _one_of_both(self) -> ValidationConfig:
        if (self.share is None) == (self.data is None):
            raise ValueError("setting 'validation' needs a share of the data, or data of its own")
        if self.data is not None:
            check_section(self.data, "validation.data")
        return self

    def settings(self) -> Config | None:
        """Those of its own data, if it has such. Raises UsageError."""
        if self.data is None:
            return None
        FrameSettings.of(self.data, "validation.data")
        return source_settings(self.data, "validation.data")


@dataclass(frozen=True)
class Pairs:
    """Samples at some positions of a source."""

    source: IndexedSource
    positions: Sequence[int]

    def batches(self, collate: Collate, size: int) -> list[Batch]:
        """All of them that can be made, in batches of one size. Raises DataError: none can."""
        by_size: dict[tuple[int, ...], list[Sample]] = {}
        fault = DataError("there are none")
        for position in self.positions:
            try:
                sample = self.source.sample(position)
            except DataError as error:
                fault = error
                continue
            shape = sample["image"].shape if "image" in sample else ()
            by_size.setdefault(shape, []).append(sample)
        if not by_size:
            raise DataError(f"none of the pairs for validation can be made: {fault}")
        return [
            collate(alike[at : at + size])
            for alike in by_size.values()
            for at in range(0, len(alike), size)
        ]


@dataclass(frozen=True)
class _OneLevel:
    """A schedule that trains on one level alone."""

    schedule: Schedule
    one: Level

    def sample(self, rng: Rng) -> Level:
        """(B,) of it."""
        fields, count = (self.one.t, self.one.alpha, self.one.sigma), len(rng.rand())
        return Level(*(value.reshape(()).expand(count) for value in fields))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.schedule, name)


@dataclass
class Validation:
    """Measures a stage of a task.

    Args:
        config: how often, and at how many levels.
        pairs: what is held out.
        task: makes the condition, once.
        collate: samples -> batch.
        batch_size: pictures at once.
        dtype: what networks multiply in.
    """

    config: ValidationConfig
    pairs: Pairs
    task: Task
    collate: Collate
    batch_size: int
    dtype: torch.dtype
    _conds: list[Cond] = field(default_factory=list)  # on the CPU
    _exams: list[Exam] = field(default_factory=list)  # there too, of each
    _digest: str = ""

    @property
    def measured(self) -> str:
        """Names what is measured, to the pixel, and how; known once it was."""
        return self._digest

    def is_due(self, step: int, steps: int) -> bool:
        """Whether to measure after so many steps of so many."""
        return step % self.config.every == 0 or step == steps

    @torch.no_grad()
    def measure(self, stage: Stage) -> dict[str, float]:
        """`validation`, the mean loss, and that of each noise level, from the least noisy on.

        And what the task measures beside it, each mean with its name: `validation_psnr`.
        """
        device = stage.device
        if not self._conds:
            self._conds = list(self._prepared(device))
        found: list[list[Tensor]] = []
        beside: dict[str, list[Tensor]] = {}
        for number, held in enumerate(self._conds):
            cond = held.map(lambda value: value.to(device))
            with autocast(device, self.dtype):
                losses = self._losses(stage, cond, number)
                found.append([loss.float().expand(len(cond)) for loss in losses])
                for name, value in self.task.measured(stage, cond).items():
                    beside.setdefault(name, []).append(value.float().expand(len(cond)))
        means = [float(torch.cat(losses).mean()) for losses in zip(*found, strict=True)]
        by_level = {f"validation_level_{n}": mean for n, mean in enumerate(means, start=1)}
        mean = sum(means) / len(means)
        own = {f"validation_{name}": float(torch.cat(all_).mean()) for name, all_ in beside.items()}
        return {"validation": mean, **(by_level if len(means) > 1 else {}), **own}

    def _losses(self, stage: Stage, cond: Cond, number: int) -> list[Tensor]:
        """Of batch `number`, (B,) or () at each level, from the least noisy on."""
        if self.task.examined:
            if number == len(self._exams):
                rng = self._rng(number, len(cond), stage.device)
                exam = self.task.exam(cond, self.config.levels, rng)
                assert exam is not None
                self._exams.append(exam.to(torch.device("cpu")))
            return self._exams[number].to(stage.device).losses(stage)
        found = []
        for one in _levels(stage, self.config.levels):
            rng = self._rng(number, len(cond), stage.device)
            loss, metrics = self.task.loss_of(one, cond, rng)
            found.append(metrics.get("mse", loss))
        return found

    def _prepared(self, device: torch.device) -> Iterator[Cond]:
        seen = hashlib.sha256(str((self.config.levels, self.batch_size)).encode())
        seen.update(self.task.examined.encode())
        for number, batch in enumerate(self.pairs.batches(self.collate, self.batch_size)):
            for key, value in batch.items():
                seen.update(f"{key} {tuple(value.shape)}".encode())
                seen.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
            placed = {key: value.to(device) for key, value in batch.items()}
            size = len(next(iter(placed.values())))
            with autocast(device, self.dtype):
                cond = self.task.cond(placed, self._rng(number, size, device))
            yield cond.map(lambda value: value.cpu())
        self._digest = seen.hexdigest()[:16]

    def _rng(self, number: int, size: int, device: torch.device) -> BatchRng:
        return BatchRng("validation", size, device, number * self.batch_size)


def _levels(stage: Stage, count: int) -> list[Stage]:
    """A stage at each of some fixed noise levels, nothing hidden; at none, where it has none."""
    if not isinstance(stage, DiffusionStage):
        return [stage]
    schedule, stages = stage.config.schedule, list[Stage]()
    for number in range(count):
        place = (number + 0.5) / count * (schedule.length - 1)
        level = schedule.at(torch.tensor([place], dtype=torch.float64).round())
        one = copy.copy(stage)
        fixed = {"drop_text": 0.0, "drop_image": 0.0, "schedule": _OneLevel(schedule, level)}
        one.config = stage.config.model_copy(update=fixed)
        stages.append(one)
    return stages
