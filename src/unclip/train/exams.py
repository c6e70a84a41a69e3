"""What validation asks of a student in place of a loss: where its teacher's paths end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.consistency import Paths
from ..diffusion.few_steps import ConsistencyObjective
from ..stages import DiffusionStage, Stage
from ..stages.masks import loss_counts
from ..types import Cond, Level


@dataclass(frozen=True)
class Exam:
    """A condition, and the teacher's paths under it, which are the same each time.

    The denoising error says nothing of a student: its teacher's is the least that there is.
    """

    shown: Cond
    paths: Paths
    objective: ConsistencyObjective

    def to(self, device: torch.device) -> Exam:
        """All of it there."""
        paths = self.paths
        fields = (paths.levels.t, paths.levels.alpha, paths.levels.sigma)
        levels = Level(*(one.to(device) for one in fields))
        there = Paths(paths.x.to(device), levels, paths.end.to(device))
        return Exam(self.shown.map(lambda value: value.to(device)), there, self.objective)

    @torch.no_grad()
    def losses(self, stage: Stage) -> list[Tensor]:
        """(B,) at each level, from the least noisy on: the student's x0 from the paths' ends."""
        assert isinstance(stage, DiffusionStage)
        student = stage.thresholded(self.shown, stage.config.sampling)
        counts = loss_counts(self.shown, self.paths.end[:, 0])
        return self.paths.distances(student, self.objective, counts)
