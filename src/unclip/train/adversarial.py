"""Adversarial training: a critic, CLIP's feedback and, with a teacher, consistency distillation.

After SANA-Sprint (arXiv 2503.09641, section 3.2): heads on a teacher's features of re-noised
pictures.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..diffusion.consistency import level_at, path_levels, weighted_distance
from ..diffusion.few_steps import AdversarialObjective
from ..errors import UsageError
from ..media.measures import saturated_share
from ..nn.critic import Critic
from ..nn.layers import select
from ..nn.tokenizer import Tokenizer
from ..nn.unet import UNet
from ..rng import Rng
from ..stages import Stage
from ..types import Cond, Level
from .collate import Collate
from .config import TrainConfig
from .critics import Logits, check_gap, constant, critic_loss, mean_of, pairwise, rival_loss
from .distillation import ConsistencyTask
from .optim import critic_config


@dataclass(frozen=True)
class Renoising:
    """How the critic looks at pictures: all that it compares are equally noisy.

    Args:
        level: of the noise, fields (B,).
        noise: (B, ...).
    """

    level: Level
    noise: Tensor

    def noised(self, x0: Tensor) -> Tensor:
        """(B, ...) x_t of `x0`."""
        alpha, sigma = self.level.like(x0)
        return alpha * x0 + sigma * self.noise


class AdversarialTask(ConsistencyTask):
    """A stage and its critic, which learn at the same time.

    The critic sees the truth, what the student makes, and the truth beside another picture's
    caption, of the same micro batch. Only what sampling in few steps makes is judged: x0 from
    nearly clean data is as good as true. The student's gradient passes through the critic and does
    not move it; the critic's gradient ends at the student's picture.
    """

    critic: Critic

    def __init__(self, stage: Stage, *helpers: Stage | None, name: str = "") -> None:
        """`helpers` are those of `ConsistencyTask`."""
        super().__init__(stage, *helpers, name=name)
        if "image" not in stage.produces:
            raise UsageError(
                f"setting 'stages.{self.name}.objective': a critic judges pictures, and a stage of "
                f"kind '{stage.kind}' makes none; use kind 'diffusion' or 'consistency'"
            )
        config: Any = stage.config
        channels, backbone = self._features() if self.through_features else ([], None)
        condition = config.network.embed_dim if "image_embed" in stage.consumes else 0
        if self.feedback:
            condition += self.clip[0].config.network.embed_dim
        values = config.network.in_channels
        beside = values if stage.factor > 1 else 0
        width = self.objective.critic_width
        whole = self.objective.critic == "whole"
        self.critic = Critic(channels, condition, values, beside, width, backbone, whole=whole)

    def _features(self) -> tuple[list[int], UNet | None]:
        """Channels of each feature map that is judged, and the network that learns to make them."""
        net = self.teacher[0].net if self.teacher else copy.deepcopy(self.stage.net)
        if not isinstance(net, UNet):
            network = (
                "objective.teacher' must be a stage with" if self.teacher else "network' must be"
            )
            raise UsageError(
                f"setting 'stages.{self.name}.{network} a U-Net, whose features the critic judges, "
                f"got a {type(net).__name__}; objective.critic = 'patches' judges without"
            )
        vision = self.clip[0].config.network.vision if self.feedback else None
        of_clip = [vision.width] if vision else []
        return [*net.feature_channels, *of_clip], None if self.teacher else net

    @property
    def objective(self) -> AdversarialObjective:
        """How it is judged."""
        objective = self.stage.config.objective
        assert isinstance(objective, AdversarialObjective)
        return objective

    @property
    def phases(self) -> tuple[float, ...]:
        """See `Task`: until the critic begins, and from then on."""
        return tuple(sorted({0.0, self.objective.critic_from}))

    def learners(self, config: TrainConfig) -> dict[str, tuple[nn.Module, TrainConfig]]:
        """See `Task`; and the critic."""
        of_critic = critic_config(config, self.objective.critic_rate)
        return {**super().learners(config), "critic_": (self.critic, of_critic)}

    @property
    def whole(self) -> list[nn.Module]:
        """See `Task`; and the critic."""
        return [*super().whole, self.critic]

    @property
    def asks_average(self) -> bool:
        """See `Task`: where there is a path's end, or where what it makes is its own start."""
        consistent = bool(self.teacher) and self.objective.consistency_weight > 0
        return consistent or self.objective.own_share > 0

    @property
    def through_features(self) -> bool:
        """Whether the critic sees features of a network, or the picture alone."""
        return self.objective.critic == "features"

    @property
    def feedback(self) -> bool:
        """Whether CLIP looks too: it needs both encoders, and whole pictures."""
        sees = [clip.sees and clip.reads for clip in self.clip]
        return any(sees) and "image" in self.stage.produces and self.stage.factor == 1

    @property
    def _wanted(self) -> frozenset[str]:
        """See `Task`; and what the text is to CLIP."""
        return super()._wanted | ({"text_embed"} if self.feedback else set())

    def collate(self, tokenizer: Tokenizer) -> Collate:
        """See `Task`; and captions that are almost true, where there are any."""
        usual = super().collate(tokenizer)
        return replace(usual, keys=(*usual.keys, "wrong"))

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) of the student and the critic together, and what each has of it."""
        options = self.objective
        shown, x0 = self.training_example(cond, rng)
        part = self.segment(shown, x0, rng)
        said = self.denoiser(self.stage, shown)(part.x, part.now).x0
        metrics: dict[str, Tensor] = {}
        total = torch.zeros(len(x0), device=x0.device)
        if self.teacher and options.consistency_weight:
            metrics["consistency"] = weighted_distance(
                said, self.end(shown, part), part.now, options
            )
            total = total + options.consistency_weight * metrics["consistency"]
        if options.data_weight:
            metrics["data"] = weighted_distance(said, x0, part.now, options)
            total = total + options.data_weight * metrics["data"]
        if self.progress < options.critic_from:
            return total, {name: one.detach() for name, one in metrics.items()}
        renoising = self._renoising(x0, rng)
        real = self.logits(x0, shown, renoising)
        with constant(self.critic):
            fake = self.logits(said, shown, renoising)
        lost = {"adversarial": (options.adversarial_weight, rival_loss(fake, real))}
        if self.feedback:
            unlike = self._unlike(said, shown)
            lost["clip"] = options.clip_weight, unlike["clip"]
            lost["clip_image"] = options.embed_weight, unlike["clip_image"]
        for name, (weight, value) in lost.items():
            total = total + weight * value * part.as_sampled
            metrics[name] = mean_of(value, part.as_sampled)
        pairs = [(x0, real), (said.detach(), self.logits(said.detach(), shown, renoising))]
        judged, noted = self._judged(pairs, shown, renoising, part.as_sampled, rng)
        metrics |= noted
        if "latents" not in self.stage.trains_on:  # which have no bounds
            metrics["saturated"] = saturated_share(said.detach())
            metrics["saturated_above_truth"] = metrics["saturated"] - saturated_share(x0)
        return total + judged, {name: value.detach() for name, value in metrics.items()}

    def _judged(
        self,
        pairs: Sequence[tuple[Tensor, Logits]],
        shown: Cond,
        renoising: Renoising,
        counts: Tensor,
        rng: Rng,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) the critic's loss, and what it says; of what is made only some samples count.

        `pairs` are the truth and what the student makes, with what it says of each.
        """
        options, (x0, real) = self.objective, pairs[0]
        loss, noted = critic_loss(
            pairs, lambda x: self.logits(x, shown, renoising), options, rng, counts
        )
        if options.mismatch and len(x0) > 1:
            wrong = self._mismatched(shown, rng)
            other = self.logits(x0, wrong, renoising)
            apart = differs(shown, wrong)
            loss = loss + options.mismatch * pairwise(real, other, F.softplus) * apart
            found = pairwise(real, other, torch.neg) > 0  # by the mean logit of a sample
            noted["mismatch_found"] = mean_of(found, apart)
        return loss, noted

    def logits(self, x0: Tensor, shown: Cond, renoising: Renoising) -> Logits:
        """What the critic says of (B, ...) pictures in diffusion space, beside a condition."""
        seen: list[Tensor] = []
        if self.through_features:
            net: Any = self.critic.backbone or self.teacher[0].net
            x, t = self.stage.config.parameterization.inputs(renoising.noised(x0), renoising.level)
            dtype = next(net.parameters()).dtype
            seen = net.features(x.to(dtype), t, net.encode(dict(shown.items())))
            if self.feedback:
                patches = self.clip[0].net.see(self.stage.space.decode(x0))[1]  # (B, P, W')
                side = math.isqrt(patches.shape[1])
                seen.append(patches.transpose(1, 2).reshape(len(x), -1, side, side))
            seen = [one.float() for one in seen]
        beside = shown.low_res if self.stage.factor > 1 else None
        said: Logits = self.critic(x0, seen, self._condition(shown), beside)
        return said

    def _condition(self, shown: Cond) -> Tensor | None:
        """(B, D) or (B, 2·D): z_i, and z_t of a text that is not hidden, to the critic's heads."""
        parts = []
        if "image_embed" in self.stage.consumes:
            assert shown.image_embed is not None
            parts.append(shown.image_embed)
        if self.feedback:
            assert shown.text_embed is not None and shown.keep_text is not None
            parts.append(shown.text_embed * shown.keep_text[:, None])
        return torch.cat(parts, dim=1) if parts else None

    def _unlike(self, said: Tensor, shown: Cond) -> dict[str, Tensor]:
        """(B,) 1 - cos in CLIP between a picture and its text, 0 of a hidden one; and its z_i."""
        assert shown.text_embed is not None and shown.keep_text is not None
        z_i = self.clip[0].net.encode_image(self.stage.space.decode(said))
        cosine = partial(F.cosine_similarity, z_i, dim=1)
        own = 0 * cosine(z_i) if shown.image_embed is None else 1 - cosine(shown.image_embed)
        return {
            "clip": (1 - cosine(shown.text_embed)) * shown.keep_text,
            "clip_image": own,
        }

    def _mismatched(self, shown: Cond, rng: Rng) -> Cond:
        """Another condition for each picture: that of the sample before.

        Half keep their own z_i and have an almost true caption, where there are such captions.
        """
        other = shown.map(lambda value: value.roll(1, 0))
        other = other.replace(known=shown.known, mask=shown.mask, keep_text=shown.keep_text)
        tokens, mask = shown.negative_tokens, shown.negative_mask
        if tokens is None or mask is None or "text_tokens" not in self.stage.consumes:
            return other
        almost = shown.replace(text_tokens=tokens, text_mask=mask)
        if self.feedback:
            almost = almost.replace(text_embed=self.clip[0].net.encode_text(tokens, mask)[0])
        assert shown.keep_text is not None
        chosen = rng.bernoulli(0.5) & shown.keep_text
        pairs = dict(almost.items())
        return other.replace(**{n: select(chosen, pairs[n], v) for n, v in other.items()})

    def _renoising(self, x0: Tensor, rng: Rng) -> Renoising:
        """A level for each sample, of the part of the path that is looked at."""
        levels, (start, end) = self.objective.levels, self.objective.critic_sees
        path = path_levels(self.stage.config.schedule, levels, x0.device)
        place = (levels * (start + (end - start) * rng.rand())).long().clamp(max=levels - 1)
        return Renoising(level_at(path, place), rng.randn(*x0.shape[1:]))

    def check(self, means: Mapping[str, float]) -> None:
        """See `Task`; nor may the critic win."""
        super().check(means)
        check_gap(means, self.objective, "objective", "critic_rate")


def differs(shown: Cond, other: Cond) -> Tensor:
    """(B,) whether another condition has another caption; True where there are no captions."""
    if shown.text_tokens is None or other.text_tokens is None:
        return torch.ones(len(shown), dtype=torch.bool, device=shown.items()[0][1].device)
    return (shown.text_tokens != other.text_tokens).any(1)
