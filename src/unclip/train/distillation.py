"""Distillation: a student learns where a guided teacher's path ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from ..config import shown
from ..diffusion.consistency import (
    Segment,
    consistency_target,
    paths_of,
    sample_segment,
    weighted_distance,
)
from ..diffusion.few_steps import AdversarialObjective, ConsistencyObjective
from ..diffusion.objective import DiffusionObjective
from ..errors import UsageError
from ..nn.latents import InLatents
from ..rng import Rng
from ..stages import DiffusionStage, Stage
from ..stages.masks import loss_counts
from ..stages.sampling import Sampling
from ..stages.stage import DiffusionConfig
from ..types import Cond, Denoiser
from .detectors import CONDITIONS, Detectors, Probe
from .exams import Exam
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
        self.detectors = Detectors(
            self.objective.limits,
            against_reference=judged,
            critic=isinstance(self.objective, AdversarialObjective),
            teacher=bool(self.teacher),
        )

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

    @property
    def unmeasured(self) -> str:
        """See `Task`: of a critic no number says that one state is better than another."""
        objective = self.objective
        judged = isinstance(objective, AdversarialObjective) and not objective.consistency_weight
        return "" if self.teacher and not judged else "it learns from a critic, and from no teacher"

    @property
    def examined(self) -> str:
        """See `Task`."""
        if self.unmeasured:
            return ""
        objective = self.objective
        asked = objective.levels, objective.parts, objective.huber
        return f"path {asked} {self.options.dump()} {self.stage.config.sampling.dump()}"

    def exam(self, cond: Cond, count: int, rng: Rng) -> Exam | None:
        """See `Task`: the teacher's paths, nothing hidden."""
        shown, x0 = self.stage.example(cond, rng)
        teacher = self.teacher[0].thresholded(shown, self.options)
        paths = paths_of(teacher, x0, self.stage.config.schedule, self.objective, count, rng)
        return Exam(shown, paths, self.objective)

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
        end, counts = self.end(shown, part), loss_counts(shown, x0)
        loss = weighted_distance(said, end, part.now, self.objective, counts)
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
        """(B, ...) where the path ends, as sampling has it: clamped where that clamps."""
        averaged = self.stage.with_net(self.average[0])
        average = averaged.thresholded(shown, self.stage.config.sampling)
        return consistency_target(part, average, self.teacher[0].thresholded(shown, self.options))

    def denoiser(self, stage: DiffusionStage, cond: Cond) -> Denoiser:
        """A stage's network with its condition bound, without guidance."""
        return stage.config.parameterization.denoiser(stage.bind(cond))


def check_levels(config: DiffusionConfig, where: str) -> None:
    """Raise UsageError where a path has more levels than the schedule; `where` as there."""
    objective, schedule = config.objective, config.schedule
    if not isinstance(objective, ConsistencyObjective) or not schedule.whole:
        return
    if objective.levels > schedule.length:
        raise UsageError(
            f"setting '{where}.levels' must be at most {schedule.length}, the schedule's own, "
            f"got {objective.levels}"
        )


def check_teacher(
    stage: Stage, teacher: Stage, objective: ConsistencyObjective, where: str
) -> Sampling:
    """What the teacher samples with.

    Raises:
        UsageError: it cannot teach this student; `where` is the setting of the objective.
    """
    if not isinstance(stage, DiffusionStage) or not isinstance(teacher, DiffusionStage):
        raise UsageError(f"setting '{where}': only a stage that diffuses can teach or be taught")
    _check_alike(stage, teacher, where)
    own = teacher.config.objective
    if not isinstance(own, DiffusionObjective):
        raise UsageError(
            f"setting '{where}.teacher' must be a stage that denoises, got a student itself, of "
            f"objective '{own.kind}', which has no path; name the stage that it learnt from"
        )
    if not teacher.config.denoises:
        raise UsageError(
            f"setting '{where}.teacher' must be a stage that denoises, got one whose "
            "network.noise_input is false: it draws in one call, and has no path to learn"
        )
    options = teacher.config.sampling.merge({"guidance_scale": objective.guidance_scale})
    _check_guidance(teacher, options, objective, where)
    return options


def _check_alike(stage: DiffusionStage, teacher: DiffusionStage, where: str) -> None:
    """Both have to diffuse the same, and the student to see what its teacher does."""
    for what, own, theirs in (
        ("product", sorted(stage.produces), sorted(teacher.produces)),
        ("picture size", stage.image_size, teacher.image_size),
        ("enlargement", stage.factor, teacher.factor),
        ("autoencoder", *(getattr(one.config, "latents", None) for one in (stage, teacher))),
        ("shape of x_t", diffused_shape(stage), diffused_shape(teacher)),
        ("space", stage.config.space, teacher.config.space),
        ("schedule", stage.config.schedule, teacher.config.schedule),
    ):
        if own != theirs:
            raise UsageError(
                f"setting '{where}.teacher': student and teacher need the same {what}, "
                f"got {shown(own)} and {shown(theirs)}"
            )
    if not _of_equal_latents(stage, teacher):
        raise UsageError(
            f"setting '{where}.teacher': student and teacher need the same autoencoder, and the "
            "weights of theirs differ"
        )
    if unseen := sorted(teacher.consumes - stage.consumes):
        raise UsageError(
            f"setting '{where}.teacher': it reads {', '.join(unseen)}, which the student does not: "
            "give both the same network.text and network.embed_dim"
        )


def diffused_shape(stage: DiffusionStage) -> tuple[int, ...]:
    """Of one x_t of a stage, at the size that it is trained for."""
    height, width = stage.image_size or (1, 1)
    small = torch.empty(1, 3, height // stage.factor, width // stage.factor, device="meta")
    return stage.shape(Cond(image=small))


def _of_equal_latents(stage: DiffusionStage, teacher: DiffusionStage) -> bool:
    """Whether their autoencoders' weights are alike, but for a file's precision; if known."""
    nets = stage.net, teacher.net
    if not all(isinstance(net, InLatents) for net in nets):
        return True
    one, other = (list(cast(InLatents, net).autoencoder.parameters()) for net in nets)
    return all(
        a.is_meta or b.is_meta or torch.allclose(a.float(), b.float().to(a.device), 1e-2, 1e-3)
        for a, b in zip(one, other, strict=True)
    )


def _check_guidance(
    teacher: DiffusionStage, options: Sampling, objective: ConsistencyObjective, where: str
) -> None:
    """The student takes the teacher's guidance over, and cannot be guided later."""
    reads = teacher.consumes
    by = {
        "drop_text": any(name.startswith("text_") for name in reads),
        "drop_image": "image_embed" in reads,
    }
    scale = options.guidance_scale
    never = [name for name in by if by[name] and not getattr(teacher.config, name)]
    if not any(by.values()) or (never and teacher.factor > 1 and scale == 1.0):
        return  # an upsampler's small picture says what to draw
    if never:
        raise UsageError(
            f"setting '{where}.teacher': it cannot be guided, for it learnt with "
            f"{' = '.join(never)} = 0 what to draw of a condition, and never without"
        )
    if max(scale, options.image_guidance_scale or 0.0) > 1.0:
        return
    takes = "the student takes its guidance over, and cannot be guided later"
    if objective.guidance_scale is None:
        raise UsageError(
            f"setting '{where}.guidance_scale' is missing: the teacher samples without guidance "
            f"(guidance_scale {scale:g}); give a scale above 1, as {takes}"
        )
    raise UsageError(f"setting '{where}.guidance_scale' must be above 1, got {scale:g}: {takes}")
