"""How few-step students and their critics fail, and what shows it.

| failure | metric |
|---|---|
| seed collapse | `diversity`: deviation over seeds, of the teacher's in 30 steps |
| blur, grain | `sharpness`: Laplacian energy, of the teacher's, or of the truth's |
| the condition is ignored | `mismatch_found`: how often the critic tells a wrong caption |
| oversaturation | `saturated_above_truth`: share of values beyond .98, less that of true pictures |

That the critic wins is the task's own check (`train/adversarial.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isnan
from statistics import fmean

from torch import Tensor

from ..diffusion.limits import Limits
from ..errors import TrainingError, counted
from ..media.measures import laplacian_energy, pixel_deviation
from ..rng import Rng
from ..stages import Stage
from ..types import Cond

CONDITIONS, SEEDS = 4, 4
"""That a probe draws; both are drawn by teacher and student alike, so few are enough."""

LARGEST = 256
"""Pixels of a side of what an upsampler enlarges to."""

PATH_STEPS = 30
"""Of the teacher: its default of fewer has lost some of its seeds already."""


class Probe:
    """Some conditions and seeds, drawn by the student again and again, and by its teacher once.

    Nothing that training draws depends on it.
    """

    def __init__(
        self, cond: Cond, teacher: Stage | None = None, guidance_scale: float = 1.0
    ) -> None:
        """`cond` is a batch's, of which the first few are kept."""
        self.cond = cond[:CONDITIONS].replace(known=None, mask=None, loss_mask=None)
        if self.cond.image is not None:  # an upsampler's may be large
            self.cond = self.cond.replace(image=self.cond.image[..., :LARGEST, :LARGEST])
        if self.cond.predicted_embed is not None:  # which it is to draw from
            self.cond = self.cond.replace(image_embed=self.cond.predicted_embed)
        self.teacher, self.guidance_scale = teacher, guidance_scale
        self._expected: dict[str, float] | None = None

    def measure(self, student: Stage) -> dict[str, float]:
        """`deviation` over seeds and Laplacian `energy`, and what they are of those expected."""
        found = self._drawn(student, {})
        if self._expected is None:
            self._expected = self._reference(student)
        of = {"deviation": "diversity", "energy": "sharpness"}
        ratios = {of[what]: found[what] / one for what, one in self._expected.items() if one > 0}
        return found | ratios

    def _reference(self, student: Stage) -> dict[str, float]:
        """Of the teacher's long path; an upsampler's is the truth, in which no seed counts."""
        if self.teacher is not None and student.factor == 1:
            steps = {"steps": PATH_STEPS, "guidance_scale": self.guidance_scale}
            return self._drawn(self.teacher, steps)
        if self.cond.image is None:  # latents were kept in its place
            return {}
        return {"energy": float(laplacian_energy(self.cond.image).mean())}

    def _drawn(self, stage: Stage, sampling: dict[str, float]) -> dict[str, float]:
        given, seeds = self.cond, SEEDS if stage.factor == 1 else 1
        if given.image is not None:
            given = stage.condition_for(given, given.image)
        many = given.map(lambda value: value.repeat_interleave(seeds, 0))
        rng = Rng([f"probe {seed}" for seed in range(len(many))], stage.device)
        image = stage.sample(many, rng, sampling).image
        assert image is not None
        found = {"energy": float(laplacian_energy(image.float()).mean())}
        if seeds > 1:
            each: Iterable[Tensor] = image.float().chunk(len(given))
            found["deviation"] = fmean(map(pixel_deviation, each))
        return found


@dataclass
class Detector:
    """Sees one failure: its metric was within its limits before, and has left them.

    Args:
        failure: its name.
        metric: what is looked at.
        low, high: its limits.
        advice: what to do.
        outside: looks in a row, since it was within.
    """

    failure: str
    metric: str
    low: float
    high: float
    advice: str
    outside: int | None = field(default=None)  # None: it never was within

    def look(self, values: Mapping[str, float]) -> bool:
        """Whether it sees its failure now."""
        value = values.get(self.metric)
        if value is None or isnan(value):
            return False
        if self.low <= value <= self.high:
            self.outside = 0
        elif self.outside is not None:
            self.outside += 1
        return bool(self.outside)

    def words(self, value: float) -> str:
        """What it sees, in one line."""
        limit = f"at least {self.low:g}" if value < self.low else f"at most {self.high:g}"
        looks = counted(self.outside or 0, "look")
        return (
            f"{self.failure}: {self.metric} is {value:.2f} and should be {limit}, {looks} in a "
            f"row. Go on from the last good state: {self.advice}, or change objective.limits"
        )


class Detectors:
    """All that look at one training."""

    def __init__(self, limits: Limits, against_reference: bool) -> None:
        """`against_reference`: whether the student is to be as diverse and sharp as another."""
        self.patience = limits.patience
        low, high = limits.sharpness if against_reference else (-inf, inf)
        self._each = [
            Detector(
                "seed collapse", "diversity", limits.diversity, inf,
                "raise objective.noise_share or lower objective.guidance_scale",
            ),
            Detector("blur", "sharpness", low, inf, "raise objective.adversarial_weight"),
            Detector("grain", "sharpness", -inf, high, "lower objective.adversarial_weight"),
            Detector(
                "condition ignored", "mismatch_found", limits.mismatch_found, inf,
                "raise objective.mismatch",
            ),
            Detector(
                "oversaturation", "saturated_above_truth", -inf, limits.saturated,
                "lower objective.guidance_scale or objective.clip_weight",
            ),
        ]  # fmt: skip
        self._seen: list[Detector] = []

    @property
    def failing(self) -> bool:
        """Whether one saw its failure when it last looked."""
        return bool(self._seen)

    def look(self, values: Mapping[str, float]) -> None:
        """Raise TrainingError where one has seen its failure for long enough."""
        self._seen = [one for one in self._each if one.look(values)]
        for one in self._seen:
            if (one.outside or 0) >= self.patience:
                raise TrainingError(one.words(values[one.metric]))
