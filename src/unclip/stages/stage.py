"""What a stage is: it reads some fields of a Cond and adds others."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ..config import Config
from ..diffusion import samplers
from ..diffusion.guidance import (
    TINT,
    clamp,
    dynamic_threshold,
    hold,
    map_x0,
    matched,
    score_guided,
    within,
)
from ..diffusion.inversion import implicit, noisy
from ..diffusion.objective import DiffusionObjective, ObjectiveConfig, diffusion_loss
from ..diffusion.parameterization import Parameterization, RawNet
from ..diffusion.schedule import ScheduleConfig
from ..diffusion.space import Space, SpaceConfig
from ..errors import UsageError
from ..nn.windows import called
from ..rng import Rng
from ..types import FREE, Cond, Control, Denoiser, Level, OnStep, Step
from ._lazy import LazyModule
from .guided import guided
from .masks import loss_counts
from .sampling import DropImage, DropText, SampleArguments, Sampling, SamplingSteps, check_sampler

REPAINT = 4
"""RePaint's repetitions a step for a network that cannot inpaint."""


NO_EMBEDDING = "the stage reads no image embedding"
"""Why settings of z_i have no effect."""

OF_NOISE = frozenset({"sampler", "steps", "spacing", "eta", "resample", "inpainting"})
"""Settings of the path from noise to data."""


class StageConfig(Config):
    """What every stage's configuration has; `network` is refined by each stage."""

    kind: str


class Stage(LazyModule, ABC):
    """One link of the chain. `net` holds the weights, `config` says all that is not a weight."""

    Config: ClassVar[type[StageConfig]]
    kind: ClassVar[str]
    consumes: frozenset[str]  # fields of Cond that `sample` needs
    produces: frozenset[str]  # fields of Cond that it adds
    config: Any  # of the class `Config`
    prepare_samples: ClassVar[int] = 0  # how many `prepare` wants to see
    factor: int = 1  # how many times it enlarges `image`

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the training pictures it wants; None where it sees none itself."""
        return None

    def condition_for(self, cond: Cond, image: Tensor) -> Cond:
        """`cond` as this stage would need it to draw (B, 3, H, W) `image` itself."""
        return cond

    @property
    def inverts(self) -> bool:
        """Whether a picture has an x_T from which this stage draws it again."""
        return False

    @property
    def composes(self) -> bool:
        """Whether it can hold to several conditions at once."""
        return False

    @property
    def null_is_text(self) -> bool:
        """Whether a hidden text gives way to another text's encoding, and not to a learned null."""
        return False

    @property
    def trains_on(self) -> frozenset[str]:
        """Fields of Cond that `loss` needs: the condition, and the truth."""
        return self.consumes | self.produces

    @torch.inference_mode()
    def sample(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
        control: Control = FREE,
    ) -> Cond:
        """Add what this stage produces.

        Args:
            cond: must hold every field in `consumes`.
            rng: one generator per sample.
            sampling: settings that differ from the stage's defaults; None values are skipped.
            on_step: called after each step.
            control: where diffusion starts and what pulls at it; other stages have no use for it.
        """
        return self._sample(cond, rng, SampleArguments(sampling or {}, on_step, control))

    @abstractmethod
    def _sample(self, cond: Cond, rng: Rng, arguments: SampleArguments) -> Cond:
        """See `sample`."""

    def steps(self, sampling: dict[str, Any] | None = None, inpaints: bool = False) -> int:
        """How many steps `sample` takes for one sample.

        Args:
            sampling: as `sample` takes it.
            inpaints: whether a part of the picture is known.
        """
        return 1

    def windows(self, size: tuple[int, int], sampling: dict[str, Any] | None = None) -> int:
        """In how many parts, each with all its steps, a picture of (height, width) is drawn."""
        return 1

    def check(self, sampling: dict[str, Any] | None = None) -> None:
        """Raise UsageError where `sample` could not follow these settings."""

    def unused(self, sampling: dict[str, Any], inpaints: bool = False) -> dict[str, str]:
        """The settings among these that change nothing, each with the reason: see `Sampling`."""
        return {}

    def never_used(self, inpaints: bool = False) -> dict[str, str]:
        """Settings without effect whatever the others are, each with the reason."""
        return {}

    def preview(self, step: Step) -> Tensor | None:
        """(B, 3, H, W) the picture as it is at a step of this stage; None where it makes none."""
        return None

    @abstractmethod
    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss, (B,) a sample, and metrics (B,) or ()."""

    def init_from_clip(self, clip: Stage) -> None:
        """Take what it starts from out of the trained CLIP, before the first step: mostly nothing.

        Raises:
            UsageError: that CLIP does not suit it.
        """

    def prepare(self, conds: Iterable[Cond]) -> None:
        """Fit what is a statistic of the data, once, before the first step of training."""

    def with_net(self, net: nn.Module) -> Self:
        """This stage with other weights; everything else is shared."""
        other = copy.copy(self)
        other._modules = {**other._modules, "net": net}
        return other

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device


class DiffusionConfig(StageConfig):
    """A stage that samples by diffusion."""

    schedule: ScheduleConfig
    parameterization: Parameterization
    space: SpaceConfig
    sampling: Sampling = Sampling()
    objective: ObjectiveConfig = DiffusionObjective()
    drop_text: DropText = 0.1
    drop_image: DropImage = 0.1

    @property
    def denoises(self) -> bool:
        """Whether it takes small steps from noise to data: it is no student, and sees the noise."""
        return self.sees_noise and not self.distilled

    @property
    def sees_noise(self) -> bool:
        """Whether its network looks at x_t."""
        return True

    @property
    def distilled(self) -> bool:
        """Whether it is a student, or a critic's rival: few steps, guidance built in."""
        return not isinstance(self.objective, DiffusionObjective)

    def guided_twice(self, options: Sampling) -> str:
        """What would guide a stage into which guidance is built, in words; empty if nothing."""
        if not self.distilled:
            return ""
        why = f"guidance is built into what objective '{self.objective.kind}' trains"
        if options.image_guidance_scale is not None:
            scale = options.image_guidance_scale
            return f"image_guidance_scale must not be set, got {scale:g}: {why}"
        scale = options.guidance_scale
        return "" if scale == 1.0 else f"guidance_scale must be 1, got {scale:g}: {why}"

    @model_validator(mode="after")
    def _draws_as_it_is_set(self) -> Self:
        if fault := self.guided_twice(self.sampling):
            raise ValueError(f"sampling.{fault}")
        return self


class DiffusionStage(Stage):
    """Everything that diffusion stages share; a subclass gives the network and the shapes."""

    config: DiffusionConfig
    tint: float = TINT  # in what is diffused: see `matched`

    @property
    def inverts(self) -> bool:
        """See `Stage`: what goes to x0 at once does not go back."""
        return self.config.denoises

    @property
    def composes(self) -> bool:
        """See `Stage`: where it can be guided, and by what a condition says."""
        asked = {"text_tokens", "text_encodings", "image_embed"}
        return self.inverts and bool(self.consumes & asked)

    @property
    def space(self) -> Space:
        """Between data and what is diffused; a stage whose space has weights overrides it."""
        return self.config.space

    @abstractmethod
    def shape(self, cond: Cond) -> tuple[int, ...]:
        """Shape of one sample in diffusion space, batch left out."""

    def denoiser(self, cond: Cond, options: Sampling, control: Control = FREE) -> Denoiser:
        """network -> parameterization -> guidance -> threshold -> what is known, `cond` bound."""
        denoise = self.thresholded(cond, options, control)
        if cond.known is not None and cond.mask is not None:
            known = self.space.encode(cond.known)
            denoise = map_x0(matched(denoise, known, cond.mask, self.tint), hold(known, cond.mask))
        return denoise

    def thresholded(self, cond: Cond, options: Sampling, control: Control = FREE) -> Denoiser:
        """network -> parameterization -> guidance -> threshold, `cond` bound."""
        wrap = self.config.parameterization.denoiser
        denoise = guided(lambda one: wrap(self.bind(one)), cond, options, self.composes)
        if control.score is not None and options.clip_guidance_scale > 0:
            decode, score = self.space.decode, control.score
            scale = options.clip_guidance_scale
            denoise = score_guided(denoise, lambda x0: score(decode(x0)), scale)
        if options.threshold == "clamp":
            denoise = map_x0(denoise, clamp(options.limit))
        elif options.is_dynamic:
            limits = options.quantile, options.limit, options.ceiling
            denoise = map_x0(denoise, dynamic_threshold(*limits))
        return denoise

    def bind(self, cond: Cond) -> RawNet:
        """The network with its condition encoded once, in the network's own dtype."""
        net: Any = self.net
        dtype = next(net.parameters()).dtype
        encoded = net.encode(dict(cond.items()))

        def bound(x: Tensor, t: Tensor) -> Tensor:
            return called(net, x.to(dtype), t, encoded)

        return bound

    def steps(self, sampling: dict[str, Any] | None = None, inpaints: bool = False) -> int:
        """Those of the sampler, and RePaint's repetitions of each but the last."""
        options = self.options(sampling)
        return 1 + (options.steps - 1) * (self._repeats(options) if inpaints else 1)

    def check(self, sampling: dict[str, Any] | None = None) -> None:
        """There has to be such a sampler, such a grid of levels, and such an interval."""
        options = self.config.sampling.merge(sampling or {})
        self.config.schedule.grid(options.steps, options.spacing)
        check_sampler(options.sampler)
        if fault := self.config.guided_twice(options):
            raise UsageError(f"{fault}; another {self.kind} of the model may take it")
        within(*options.guidance_interval)

    def unused(self, sampling: dict[str, Any], inpaints: bool = False) -> dict[str, str]:
        """Those that ask for another value than the stage's own, and have no use for it here."""
        own = self.config.sampling
        options = own.merge(sampling)
        changed = {n for n in sampling if getattr(options, n) != getattr(own, n)}
        reasons = options.unused() | self.never_used(inpaints)
        return {name: why for name, why in reasons.items() if name in changed}

    def never_used(self, inpaints: bool = False) -> dict[str, str]:
        """See `Stage`."""
        image = "image" in self.produces
        reads_embed = bool(self.consumes & {"image_embed", "noised_image_embed"})
        reads_text = any(field.startswith("text_") for field in self.consumes)
        guidance = [name for name in Sampling.model_fields if name.startswith("guidance_")]
        blind = "the stage reads neither a text nor an image embedding that could guide it"
        imageless = "the stage makes no picture"
        known = "the whole picture is drawn here; `edit` and `outpaint` keep a part"
        at_once = "the stage's network sees no noise, and draws in one call"
        reasons = [
            (reads_embed, ["image_guidance_scale"], NO_EMBEDDING),
            (reads_embed or reads_text, guidance, blind),
            (self.inpaints, ["inpainting"], "the stage always inpaints by RePaint"),
            (inpaints, ["resample", "inpainting"], known),
            (image, ["clip_guidance_scale", "resample", "inpainting"], imageless),
            (self.config.sees_noise, OF_NOISE, at_once),
        ]
        return {name: why for used, names, why in reasons if not used for name in names}

    def options(self, sampling: dict[str, Any] | None = None) -> Sampling:
        """The settings with these changes, but for those that change nothing."""
        asked = sampling or {}
        if not self.config.sees_noise:
            asked = {n: one for n, one in asked.items() if n not in OF_NOISE} | {"steps": 1}
        return self.config.sampling.merge(asked)

    def _grid(self, sampling: dict[str, Any] | None) -> tuple[Sampling, list[Level]]:
        """The settings, and the levels that they ask for. Raises UsageError."""
        options = self.options(sampling)
        return options, self.config.schedule.grid(options.steps, options.spacing)

    @torch.inference_mode()
    def sample_data(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
        control: Control = FREE,
    ) -> Tensor:
        """Sample, and decode out of diffusion space: (B, ...).

        Raises:
            SamplingError: a step's numbers are not finite.
        """
        options, levels = self._grid(sampling)
        x, levels = self._begin(cond, rng, levels, control)
        run = samplers.SAMPLERS[options.sampler]
        repeats = 1 if cond.mask is None else self._repeats(options)
        if repeats > 1:
            run = samplers.repaint(run, repeats)
        own = {} if options.eta is None else {"eta": options.eta}
        steps = SamplingSteps(self.kind, len(levels) - 1, on_step)
        denoise = steps.watching(self.denoiser(cond, options, control))
        x = run(denoise, x, levels, rng, steps.done, **own)
        return self.space.decode(x)

    @torch.inference_mode()
    def preview(self, step: Step) -> Tensor | None:
        """x0 decoded out of diffusion space."""
        return self.space.decode(step.x0) if "image" in self.produces else None

    def _begin(
        self, cond: Cond, rng: Rng, levels: list[Level], control: Control
    ) -> tuple[Tensor, list[Level]]:
        """Where sampling begins, and the levels that are left from there."""
        if control.noise is not None:
            return control.noise, levels
        noise = rng.randn(*self.shape(cond))
        if control.start is None:
            return noise * levels[0].sigma.to(rng.device), levels
        left = math.ceil(control.strength * (len(levels) - 1))
        levels = levels[len(levels) - 1 - left :]
        alpha, sigma = levels[0].like(noise)
        return alpha * self.space.encode(control.start) + sigma * noise, levels

    def _repeats(self, options: Sampling) -> int:
        """How often RePaint repeats each step where a part of the picture is known."""
        if options.resample is not None:
            return options.resample
        return 1 if self.inpaints and options.inpainting == "auto" else REPAINT

    def initial_noise(self, cond: Cond, rng: Rng, sampling: dict[str, Any] | None = None) -> Tensor:
        """(B, ...) the x_T that `sample_data` begins from with this `rng`."""
        return self._begin(cond, rng, self._grid(sampling)[1], FREE)[0]

    @property
    def inpaints(self) -> bool:
        """Whether the network itself looks at what is known of the picture."""
        return False

    @torch.inference_mode()
    def invert(
        self,
        cond: Cond,
        data: Tensor,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
        rounds: int = 5,
    ) -> Tensor:
        """The x_T from which DDIM with the same settings draws `data` again.

        DDIM inversion (arXiv 2204.06125, section 3; arXiv 2010.02502, section 4.3): the sampler on
        reversed levels. Where the network puts out x0 it begins at a little noise, always the
        same, and what is finer than that noise does not come back.

        Args:
            cond: what sampling will be given.
            data: (B, ...) pictures or embeddings.
            sampling: settings that differ from the stage's defaults.
            on_step: called after each step.
            rounds: network calls a step. 1 is the usual approximation; a few make each step the
                inverse of the sampler's own.
        """
        options, every = self._grid({**(sampling or {}), "sampler": "ddim", "eta": 0.0})
        levels = noisy(every[::-1], self.config.parameterization.invertible_from)
        steps = SamplingSteps(self.kind, len(levels) - 1, on_step)
        denoise = implicit(steps.watching(self.denoiser(cond, options)), levels, rounds)
        rng, x = Rng([0] * len(data), data.device), self.space.encode(data)
        if len(levels) < len(every):
            alpha, sigma = levels[0].like(x)
            x = alpha * x + sigma * rng.randn(*x.shape[1:])
        return samplers.ddim(denoise, x, levels, rng, steps.done)

    @abstractmethod
    def example(self, cond: Cond, rng: Rng) -> tuple[Cond, Tensor]:
        """Something to learn from: what the network sees, and its x0 (B, ...) in diffusion space.

        Args:
            cond: holds every field of `trains_on`.
            rng: for masks, crops and corruption.
        """

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Stage`: of denoising an example."""
        return self.denoising_loss(*self.example(cond, rng), rng)

    def denoising_loss(self, cond: Cond, x0: Tensor, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Diffusion loss for `x0` (B, ...), in diffusion space, under `cond`, dropped at random."""
        shown = cond.replace(
            keep_text=~rng.bernoulli(self.config.drop_text),
            keep_image=~rng.bernoulli(self.config.drop_image),
        ).hidden()
        net, config, objective = self.bind(shown), self.config, self.config.objective
        if not isinstance(objective, DiffusionObjective):
            raise UsageError(f"{self.kind}: objective '{objective.kind}' needs a teacher")
        means = config.schedule, config.parameterization, objective
        return diffusion_loss(net, x0, *means, rng, loss_counts(cond, x0))
