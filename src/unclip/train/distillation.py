"""Distillation: a student learns where a guided teacher's path ends."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..diffusion.consistency import Segment, consistency_target, sample_segment, weighted_distance
from ..diffusion.objective import AdversarialObjective, ConsistencyObjective
from ..errors import UsageError
from ..rng import Rng
from ..stages import DiffusionStage, Stage
from ..stages.sampling import Sampling
from ..types import Cond, Denoiser
from .detectors import CONDITIONS, Detectors, Probe
from .task import Task


class ConsistencyTask(Task):
    """Consistency distillation of a stage that diffuses, a decoder, an upsampler or a prior.

    The text is hidden as configured (`drop_text`), z_i never is: the student draws of either what
    the teacher draws with guidance, and there is no unconditional student.
    """

    stage: DiffusionStage

    def __init__(
        self,
        stage: Stage,
        clip: Stage | None = None,
        prior: Stage | None = None,
        teacher: Stage | None = None,
        *,
        name: str = "",
    ) -> None:
        super().__init__(stage, clip, prior, name=name)
        where = f"stages.{self.name}.objective"
        self.teacher: list[DiffusionStage] = []
        if teacher is not None:
            self.options = check_teacher(stage, teacher, self.objective, where)
            assert isinstance(teacher, DiffusionStage)
            self.teacher = [teacher.eval().requires_grad_(False)]
        elif not isinstance(self.objective, AdversarialObjective):
            raise UsageError(
                f"setting '{where}.teacher' is missing: "
                "the stage of the recipe that is to be distilled"
            )
        self.average = [stage.net]
        self.progress = 0.0
        self.probe: Probe | None = None
        judged = bool(self.teacher) or stage.factor > 1
        self.detectors = Detectors(self.objective.limits, against_reference=judged)

    @property
    def objective(self) -> ConsistencyObjective:
        """How it is distilled."""
        objective = self.stage.config.objective
        assert isinstance(objective, ConsistencyObjective)
        return objective

    @property
    def asks_average(self) -> bool:
        """See `Task`: it says where the path ends."""
        return True

    @property
    def frozen(self) -> list[Stage]:
        """See `Task`; and the teacher."""
        return [*super().frozen, *self.teacher]

    def begin(self, progress: float, average: nn.Module) -> None:
        """See `Task`."""
        self.progress, self.average = progress, [average]

    def measure(self, average: Callable[[], nn.Module]) -> dict[str, float]:
        """See `Task`: what the averaged student draws of the probe, where there are pictures.

        That is of the stream's first samples: the same in all processes, and in a run gone on with.
        """
        if "image" not in self.stage.produces:
            return {}
        if self.probe is None:
            with_critic = isinstance(self.objective, AdversarialObjective)
            self.probe = Probe(
                self.cond(*self.beginning(CONDITIONS)),
                self.teacher[0] if self.teacher else None,
                self.options.guidance_scale if self.teacher else 1.0,
                as_sharp_as_truth=with_critic,
                clip=self.clip[0] if self.clip else None,
            )
        return self.probe.measure(self.stage.with_net(average()))

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) how far the student's x0 is from the end of the teacher's path."""
        shown, x0 = self.training_example(cond, rng)
        part = self.segment(shown, x0, rng)
        said = self.denoiser(self.stage, shown)(part.x, part.now).x0
        loss = weighted_distance(said, self.end(shown, part), part.now, self.objective)
        return loss, {"consistency": loss.detach()}

    def training_example(self, cond: Cond, rng: Rng) -> tuple[Cond, Tensor]:
        """What the student is shown, and clean data (B, ...) in diffusion space."""
        shown, x0 = self.stage.example(cond, rng)
        keep = ~rng.bernoulli(self.stage.config.drop_text)
        return shown.replace(keep_text=keep).hidden(), x0

    def segment(self, shown: Cond, x0: Tensor, rng: Rng) -> Segment:
        """A piece of the path for each sample."""
        config, student = self.stage.config, None
        if self.objective.own_share:
            with torch.no_grad():
                averaged = self.stage.with_net(self.average[0])
                student = averaged.thresholded(shown, config.sampling)
        options = config.schedule, self.objective, self.progress
        return sample_segment(x0, *options, rng, student)

    @torch.no_grad()
    def end(self, shown: Cond, part: Segment) -> Tensor:
        """(B, ...) where the path ends."""
        average = self.denoiser(self.stage.with_net(self.average[0]), shown)
        return consistency_target(part, average, self.teacher[0].thresholded(shown, self.options))

    def denoiser(self, stage: DiffusionStage, cond: Cond) -> Denoiser:
        """A stage's network with its condition bound, without guidance."""
        return stage.config.parameterization.denoiser(stage.bind(cond))


def check_teacher(
    stage: Stage, teacher: Stage, objective: ConsistencyObjective, where: str
) -> Sampling:
    """What the teacher samples with.

    Raises:
        UsageError: it cannot teach this student; `where` is the setting of the objective.
    """
    if not isinstance(stage, DiffusionStage) or not isinstance(teacher, DiffusionStage):
        raise UsageError(f"setting '{where}': only a stage that diffuses can teach or be taught")
    options = teacher.config.sampling.merge({"guidance_scale": objective.guidance_scale})
    guided = bool(stage.consumes & {"text_tokens", "text_encodings", "image_embed"})
    if guided and options.guidance_scale == 1.0:
        raise UsageError(
            f"setting '{where}.guidance_scale' is missing: the teacher samples without guidance, "
            "which the student takes over; give a scale above 1"
        )
    for what, own, theirs in (
        ("schedule", stage.config.schedule, teacher.config.schedule),
        ("picture size", stage.image_size, teacher.image_size),
        ("space", stage.config.space, teacher.config.space),
    ):
        if own != theirs:
            raise UsageError(
                f"setting '{where}.teacher': student and teacher need the same {what}, "
                f"got {own} and {theirs}"
            )
    return options
