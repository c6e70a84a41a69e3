"""A chain of stages: reads a prompt, folds a condition through them, samples in batches."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from .arguments import given
from .config import shown
from .cost import Cost, Policy, Work, check_memory
from .device import place
from .errors import SamplingError, SettingWarning, UsageError, nearest, warn
from .nn.tiling import wrapping
from .rng import Rng
from .stages import Stage, check_finite
from .stages.batches import Gathered, check_batch, in_portions, most_at_once, run_stage
from .stages.model import NO_PRIOR, Model
from .stages.reading import Reader
from .stages.sizes import stage_sizes
from .types import FREE, Cond, Control, OnStep, named

_ATTRIBUTES = ("model", "device", "policy", "ranker", "stages", "tokenizer", "name", "hash")


class Chain(Reader):
    """A model's stages on a device: text -> CLIP -> prior -> decoder -> upsamplers, or any other.

    Args:
        model: what is loaded.
        device: where prompts and noise are put; stages whose weights are in memory are moved there.
        policy: what it refuses.
        ranker: the CLIP that says which pictures are best, where the model has none of its own.
    """

    def __init__(
        self,
        model: Model,
        device: torch.device | None = None,
        policy: Policy | None = None,
        ranker: Chain | None = None,
    ) -> None:
        self.model, self.device = model, device or torch.device("cpu")
        self.policy, self.ranker = policy or Policy(), ranker
        self.stages, self.tokenizer = model.stages, model.tokenizer
        self.name, self.hash = model.name, model.hash
        for stage in self.stages.values():
            stage.eval()
            if stage.source is None:  # else it comes as it should be
                place(stage, self.device)

    def __setattr__(self, name: str, value: object) -> None:
        """Only what it refuses can be changed later. Raises UsageError for all else."""
        wanted = {"model": Model, "device": torch.device, "policy": Policy}.get(name)
        if wanted and not isinstance(value, wanted):
            raise UsageError(
                f"{name} must be a {wanted.__name__}, got {shown(value)}; unclip.load makes a "
                "pipeline from names"
            )
        properties = inspect.getmembers(type(self), lambda one: isinstance(one, property))
        changes = ["policy", *(key for key, one in properties if one.fset)]
        if name not in changes and (name in vars(self) or name not in _ATTRIBUTES):
            raise UsageError(
                f"'{name}' of a pipeline cannot be set{nearest(name, changes)}; what can be set: "
                f"{', '.join(changes)}"
            )
        super().__setattr__(name, value)

    def with_stages(self, stages: dict[str, Stage]) -> Self:
        """The same with other stages."""
        return self.with_model(replace(self.model, stages=stages))

    def with_decoder(self, name: str | None = None) -> Self:
        """The same with another of the model's decoders. Raises UsageError where it has none."""
        return self.with_model(self.model.with_decoder(name))

    def inverting(self) -> Self:
        """The same with a decoder that can be inverted, where the model has one."""
        return self.with_model(self.model.inverting())

    def with_model(self, model: Model) -> Self:
        """The same with another model."""
        other = copy.copy(self)
        vars(other).update(model=model, stages=model.stages)
        return other

    def with_policy(self, policy: Policy) -> Self:
        """The same that refuses something else."""
        other = copy.copy(self)
        vars(other).update(policy=policy)
        return other

    def image_only(self, image_embed: Tensor) -> Cond:
        """The condition of (B, D) z_i alone: the text is dropped."""
        cond = self.read([""])  # of one picture, then for all of them
        clip = self.model.clip_stage
        if not self.model.null_is_text:
            cond = cond.replace(keep_text=torch.zeros(1, dtype=torch.bool, device=self.device))
        elif clip is not None:  # the empty text is the null
            with torch.inference_mode():
                reads = self._reads_clip(cond)
                cond = clip.encode_text(cond) if reads else clip.add_null_image(cond)
        return cond.expand(len(image_embed)).replace(image_embed=image_embed)

    def cost(self, work: Work, prior: str | None = None) -> Cost:
        """What such work takes of this model.

        Raises:
            UsageError: a setting that no stage has or can follow, or more steps than the policy
                allows.

        Warns:
            SettingWarning: a setting has no effect.
        """
        cost = self._steps(work, prior)
        cost = cost if work.then is None else cost + self._steps(work.then, prior)
        cost.check(self.policy.limit)
        finished = work.size is not None and not work.upscales_only
        check_memory(work.pictures if work.size else work.drawings, cost.size, finished)
        sampling = self.model.by_stage(work.settings)
        for name in cost.steps:
            self.stages[name].check(sampling.get(name))
        inpaints = work.inpaints or work.then is not None
        for complaint in self.model.unused(work.settings, cost.steps, inpaints):
            warn(complaint, SettingWarning)
        return cost

    def _steps(self, work: Work, prior: str | None) -> Cost:
        """The cost of such work, but not of what is done after it."""
        model, native = self.model, self.model.size
        composing = {n for n, one in model.image_stages.items() if one.composes}
        sampling = model.by_stage(work.settings)
        each = {n: one.steps(sampling.get(n), work.inpaints) for n, one in self.stages.items()}
        alone = not work.inpaints and not model.tile
        drawn = work.size if work.size and work.upscales_only else native
        for name, size in stage_sizes(model, drawn).items() if alone else ():
            each[name] *= self.stages[name].windows(size, sampling.get(name))
        runs = {n: work.drawings for n, one in model.image_stages.items()}
        if work.upscales_only:
            runs = {n: runs[n] for n in runs if "image" in self.stages[n].consumes}
        elif work.prior_runs and model.priors and prior != NO_PRIOR:
            again = work.further if composing else 0
            runs[prior or model.priors[0]] = work.prior_runs + again
        inverted = (name for name, one in model.image_stages.items() if one.inverts)
        inverting = work.inversions * sum(each[name] for name in inverted)
        steps = {n: each[n] * count for n, count in runs.items()}
        further = work.further * sum(each[name] for name in composing & runs.keys())
        return Cost(work.pictures, work.size or native, steps, inverting, further)

    def sample(
        self,
        cond: Cond,
        seeds: Sequence[int | str],
        controls: Mapping[str, Control] | None = None,
        settings: Mapping[str, Any] | None = None,
        on_step: OnStep | None = None,
        prior: str | None = None,
        on_stage: Callable[[str, Cond], None] | None = None,
    ) -> Tensor:
        """One picture a seed, in batches: (len(seeds), 3, H, W) in [-1, 1].

        Args:
            cond: what every picture begins from.
            seeds: one a picture.
            controls: for every picture, what steers each stage.
            settings: flat, as `generate` takes them.
            on_step: as in `generate`.
            prior: as in `generate`.
            on_stage: called after each stage with its name and a batch's condition.

        Raises:
            UsageError: a wrong number of conditions or controls, an unknown stage, prior or
                setting.
        """
        _ = self.model.size  # refused before the work where nothing draws
        controls = controls or {}
        for name in controls:
            if name not in self.stages:
                raise UsageError(
                    f"there is no stage '{name}'{nearest(name, self.stages)} to control"
                )
        if prior not in (None, NO_PRIOR, *self.model.priors):
            self.model.check_prior(prior)
        if not isinstance(seeds, Sized):
            raise UsageError(f"seeds must be a list, one a picture, got {shown(seeds)}")
        check_batch(len(seeds), cond, controls)
        sampling = self.model.by_stage(given(settings or {}))
        images, batch = Gathered(len(seeds)), most_at_once(self.model, cond)
        for start in range(0, len(seeds), batch):
            part = slice(start, start + batch)
            steer = {name: control[part] for name, control in controls.items()}
            rng = Rng(seeds[part], self.device)
            drawn = self.fold(cond[part], rng, sampling, on_step, prior, steer, on_stage)
            assert drawn.image is not None
            images.add(drawn.image.float())
        return images.all

    def fold(
        self,
        cond: Cond,
        rng: Rng,
        sampling: Mapping[str, Mapping[str, Any]] | None = None,
        on_step: OnStep | None = None,
        prior: str | None = None,
        controls: Mapping[str, Control] | None = None,
        on_stage: Callable[[str, Cond], None] | None = None,
    ) -> Cond:
        """Run the stages in order, each with its own fork of `rng`. What `cond` holds is kept.

        Raises:
            SamplingError: what a stage makes is not finite.
        """
        for name, stage in self.stages.items():
            if self._has_no_part(name, stage, cond, prior):
                continue
            draws = "image" in stage.produces
            if draws and cond.image_embed is None and prior == NO_PRIOR:
                cond = cond.each(lambda one: one.replace(image_embed=one.text_embed))
            options = dict((sampling or {}).get(name, {}))
            control = (controls or {}).get(name, FREE)
            try:
                with wrapping(self.model.tile, named(on_step, name)) as seen:
                    run = partial(run_stage, self.model, name, options, seen)
                    if name in self.model.running:
                        most = most_at_once(self.model, cond, name)
                        cond = in_portions(run, rng, control, cond, most)
                    else:
                        one = partial(run, rng, control)
                        cond = one(cond) if draws else cond.each(one)
            except SamplingError as error:  # under the stage's name in this model, not its kind
                raise SamplingError(name, error.when) from None
            made = (value for field, value in cond.items() if field in stage.produces)
            check_finite(*made, stage=name, when="at its end")
            if on_stage is not None:
                on_stage(name, cond)
        return cond

    def _has_no_part(self, name: str, stage: Stage, cond: Cond, prior: str | None) -> bool:
        """Whether what a stage makes is there already, not needed, or made by another stage."""
        if "image" in stage.produces:
            drawn = cond.image is not None and "image" not in stage.consumes
            return drawn or name not in self.model.image_stages
        if "latents" in stage.produces:  # a decoder has an autoencoder of its own
            return cond.image is None or bool(self.model.image_stages)
        begun = cond.image_embed is not None or cond.image is not None
        if name in self.model.priors:
            return begun or name != (prior or self.model.priors[0])
        read = cond.text_embed is not None and cond.text_encodings is not None
        return read or (begun and not self._reads_clip(cond))

    def _reads_clip(self, cond: Cond) -> bool:
        """Whether a stage that has yet to make its image misses CLIP's view of the text."""
        if cond.text_encodings is not None:
            return False
        image_stages = self.model.image_stages.values()
        left = [one for one in image_stages if cond.image is None or "image" in one.consumes]
        return any(one.consumes & {"text_embed", "text_encodings"} for one in left)

    def sample_prior(
        self,
        cond: Cond,
        rng: Rng,
        sampling: Mapping[str, Mapping[str, Any]] | None = None,
        on_step: OnStep | None = None,
        prior: str | None = None,
    ) -> Cond:
        """Run CLIP and the prior alone: `cond` with `image_embed`."""
        stages = self.stages.items()
        short = self.with_stages({n: one for n, one in stages if "image" not in one.produces})
        cond = short.fold(cond, rng, sampling, on_step, prior)
        return cond.replace(image_embed=cond.text_embed) if prior == NO_PRIOR else cond
