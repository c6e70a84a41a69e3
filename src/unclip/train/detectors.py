"""How few-step students and their critics fail, and what shows it.

| failure | metric |
|---|---|
| seed collapse | `diversity`: deviation over seeds, of the teacher's; it falls from its own best |
| blur, grain | `sharpness`: Laplacian energy, of the teacher's, or of the truth's |
| the text is ignored | `text_kept`: CLIP's cosine of picture and text, of the teacher's |
| the condition is ignored | `mismatch_found`: how often the critic tells a wrong caption |
| oversaturation | `saturated_above_truth`: share of values beyond .98, less that of true pictures |

That the critic wins is the task's own check (`train/adversarial.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isnan, nan
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..diffusion.limits import Limits
from ..errors import TrainingError, counted
from ..media.measures import laplacian_energy, pixel_deviation
from ..rng import Rng
from ..stages import Stage
from ..stages.clip import ClipStage
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
        self,
        cond: Cond,
        teacher: Stage | None = None,
        guidance_scale: float = 1.0,
        as_sharp_as_truth: bool = False,
        clip: ClipStage | None = None,
    ) -> None:
        """`cond` is a batch's, of which the first few are kept.

        `as_sharp_as_truth`: whether true pictures say how sharp it is to be, and no teacher, who
        may be blurry. `clip` compares what is drawn with its text, where it reads and sees.
        """
        self.cond = cond[:CONDITIONS].replace(known=None, mask=None, loss_mask=None)
        if self.cond.image is not None:  # an upsampler's may be large
            self.cond = self.cond.replace(image=self.cond.image[..., :LARGEST, :LARGEST])
        if self.cond.predicted_embed is not None:  # which it is to draw from
            self.cond = self.cond.replace(image_embed=self.cond.predicted_embed)
        self.teacher, self.guidance_scale = teacher, guidance_scale
        self.as_sharp_as_truth = as_sharp_as_truth
        self.clip = clip if clip is not None and clip.reads and clip.sees else None
        self.text = self._text()
        self._expected: dict[str, float] | None = None

    @torch.no_grad()
    def _text(self) -> Tensor | None:
        """(B, D) what CLIP says of the texts, where there are texts and pictures are whole."""
        tokens, mask = self.cond.text_tokens, self.cond.text_mask
        if self.clip is None or self.cond.text_embed is not None:
            return self.cond.text_embed
        if tokens is None or mask is None:
            return None
        z_t: Tensor = self.clip.net.encode_text(tokens, mask)[0]
        return z_t

    def measure(self, student: Stage) -> dict[str, float]:
        """`deviation` over seeds, Laplacian `energy`, CLIP's `text_cosine`, and their ratios.

        These are of what is expected: `diversity`, `sharpness`, `text_kept`.
        """
        found = self._drawn(student, {})
        if self._expected is None:
            self._expected = self._reference(student)
        of = {"deviation": "diversity", "energy": "sharpness", "text_cosine": "text_kept"}
        ratios = {of[what]: found[what] / one for what, one in self._expected.items() if one > 0}
        return found | ratios

    def _reference(self, student: Stage) -> dict[str, float]:
        """Of the teacher's long path, and of the truth; an upsampler's seeds do not count."""
        found: dict[str, float] = {}
        if self.teacher is not None and student.factor == 1:
            steps = {"steps": PATH_STEPS, "guidance_scale": self.guidance_scale}
            found = self._drawn(self.teacher, steps)
            if not self.as_sharp_as_truth:
                return found
            del found["energy"]
        if self.cond.image is not None:  # else latents were kept in its place
            found["energy"] = float(laplacian_energy(self.cond.image).mean())
        return found

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
        if seeds > 1 and self.clip is not None and self.text is not None:
            texts = self.text.repeat_interleave(seeds, 0)
            cosines = F.cosine_similarity(self.clip.embed_images(image).float(), texts.float())
            found["text_cosine"] = float(cosines.mean())
        return found


@dataclass
class Detector:
    """Sees one failure: its metric was within its limits before, and has left them.

    Args:
        failure: its name.
        metric: what is looked at.
        low, high: its limits.
        advice: what to do.
        kept: least share of its own best since it was within, which then is the limit.
        outside: looks in a row, since it was within.
        value: what it saw last.
        best: of what it saw since it was within, at most 1.
    """

    failure: str
    metric: str
    low: float
    high: float
    advice: str
    kept: float | None = None
    outside: int | None = field(default=None)  # None: it never was within
    value: float = nan
    best: float = 0.0

    @property
    def least(self) -> float:
        """The lower limit of now."""
        armed = self.kept is not None and self.outside is not None
        return (self.kept or 0.0) * self.best if armed else self.low

    def look(self, values: Mapping[str, float]) -> bool:
        """Whether it sees its failure now."""
        value = values.get(self.metric)
        if value is None or isnan(value):
            return False
        self.value = value
        if self.least <= value <= self.high:
            self.outside, self.best = 0, max(self.best, min(value, 1.0))
        elif self.outside is not None:
            self.outside += 1
        return bool(self.outside)

    @property
    def words(self) -> str:
        """What it sees, in one line."""
        low = self.value < self.least
        limit = f"at least {self.least:.3g}" if low else f"at most {self.high:g}"
        looks = counted(self.outside or 0, "look")
        return (
            f"{self.failure}: {self.metric} is {self.value:.2f} and should be {limit}, {looks} in "
            "a row"
        )

    def state_dict(self) -> dict[str, Any]:
        """As JSON data; a value that is none yet is left out."""
        seen = {"outside": self.outside, "best": self.best, "value": self.value}
        return {name: one for name, one in seen.items() if one == one}


class Detectors:
    """All that look at one training; without limits none does."""

    def __init__(
        self,
        limits: Limits | None = None,
        against_reference: bool = False,
        critic: bool = True,
        teacher: bool = True,
    ) -> None:
        """`limits` are those that it is to keep to.

        Args:
            limits: None: nothing is looked at.
            against_reference: whether the student is to be as diverse and sharp as another.
            critic: whether there is one, which advice may be about.
            teacher: whether there is one.
        """
        self._each: list[Detector] = []
        if limits is None:
            return
        self.patience = limits.patience
        low, high = limits.sharpness if against_reference else (-inf, inf)
        blur = "raise objective.adversarial_weight"
        grain = "lower objective.adversarial_weight"
        if not critic:
            blur = "train for more steps, or beside a critic (objective.kind = 'adversarial')"
            grain = "lower train.learning_rate or raise train.ema"
        guidance = "objective.guidance_scale or " if teacher else ""
        self._each = [
            Detector(
                "seed collapse", "diversity", limits.diversity, inf,
                "raise objective.noise_share or lower objective.guidance_scale",
                limits.diversity_kept,
            ),
            Detector("blur", "sharpness", low, inf, blur),
            Detector("grain", "sharpness", -inf, high, grain),
            Detector(
                "text ignored", "text_kept", limits.text_kept, inf,
                "raise objective.guidance_scale or lower drop_text",
            ),
            Detector(
                "condition ignored", "mismatch_found", limits.mismatch_found, inf,
                "raise objective.mismatch",
            ),
            Detector(
                "oversaturation", "saturated_above_truth", -inf, limits.saturated,
                f"lower {guidance}objective.clip_weight",
            ),
        ]  # fmt: skip

    @property
    def failing(self) -> str:
        """What they saw when they last looked, in words; empty where all is well."""
        return "; ".join(one.words for one in self._each if one.outside)

    def look(self, values: Mapping[str, float]) -> None:
        """Raise TrainingError where one has seen its failure for long enough."""
        for one in [one for one in self._each if one.look(values)]:
            if (one.outside or 0) >= self.patience:
                raise TrainingError(
                    f"{one.words}. Go on from the last good state: {one.advice}, or change "
                    "objective.limits"
                )

    def state_dict(self) -> dict[str, Any]:
        """What they have seen, by the failures' names, as JSON data."""
        return {one.failure: one.state_dict() for one in self._each}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Undo `state_dict`; states of before this was kept have nothing of it."""
        for one in self._each:
            one.outside, one.best, one.value = None, 0.0, nan
            for name, value in values.get(one.failure, {}).items():
                setattr(one, name, value)
