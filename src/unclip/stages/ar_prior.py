"""The autoregressive prior as a stage: text and z_t in, z_i out, one component after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..config import Config
from ..nn.ar_prior import ArPriorConfig, ArPriorNet
from ..rng import Rng
from ..types import Cond, Step
from .sampling import DropText, SampleArguments, check_finite
from .stage import Stage, StageConfig


class ArSampling(Config):
    """How components are drawn."""

    temperature: float = Field(1.0, ge=0, description="of the logits; 0 takes the likeliest")
    guidance_scale: float = Field(1.0, ge=0, description="1 is none and costs half")

    def merge(self, changes: dict[str, Any], where: str = "sampling") -> ArSampling:
        """A copy with the settings in `changes` that are not None. Raises UsageError."""
        known = {key: value for key, value in changes.items() if value is not None}
        return ArSampling.parse({**self.dump(), **known}, where, strict=True)


class ArPriorStageConfig(StageConfig):
    """The autoregressive prior's configuration."""

    kind: Literal["ar_prior"] = "ar_prior"
    network: ArPriorConfig
    sampling: ArSampling = ArSampling()
    drop_text: DropText = 0.1


class ArPriorStage(Stage):
    """Section 2.2 of arXiv 2204.06125. Components and buckets are fitted before training."""

    Config = ArPriorStageConfig
    kind = "ar_prior"
    consumes: frozenset[str] = frozenset({"text_mask", "text_embed", "text_encodings"})
    produces: frozenset[str] = frozenset({"image_embed"})
    prepare_samples: ClassVar[int] = 8192
    config: ArPriorStageConfig
    net: ArPriorNet

    def __init__(self, config: ArPriorStageConfig) -> None:
        super().__init__()
        self.config = config
        self.net = ArPriorNet(config.network)

    def prepare(self, conds: Iterable[Cond]) -> None:
        """Fit principal components, their buckets and those of z_i·z_t."""
        pairs = [(cond.image_embed, cond.text_embed) for cond in conds]
        z_i = torch.cat([image for image, _ in pairs if image is not None])
        z_t = torch.cat([text for _, text in pairs if text is not None])
        self.net.fit(z_i, z_t)

    def steps(self, sampling: dict[str, Any] | None = None, inpaints: bool = False) -> int:
        """One a component."""
        return self.config.network.dims

    def _sample(self, cond: Cond, rng: Rng, arguments: SampleArguments) -> Cond:
        """Add `image_embed` (B, D), drawn with z_i·z_t in the top half of what training saw."""
        options = self.config.sampling.merge(arguments.sampling)
        guided = options.guidance_scale != 1.0
        text = _text(cond)
        shown = text.dropped((True, True), (False, False)) if guided else text
        dims, copies = self.config.network.dims, 2 if guided else 1
        uniform = rng.rand(dims + 1)  # one number a sample and token
        logits, past = self.net.begin(
            dict(shown.items()), self.net.top_half(uniform[:, 0]).repeat(copies)
        )
        tokens = torch.empty(len(cond), 0, dtype=torch.long, device=logits.device)
        while True:
            done = tokens.shape[1]
            check_finite(logits, stage=self.kind, when=f"at step {done + 1} of {dims}")
            token = choose(guide(logits, options), uniform[:, done + 1], options.temperature)
            tokens = torch.cat([tokens, token[:, None]], dim=1)
            image_embed = self.net.embed(tokens)
            if arguments.on_step is not None:
                arguments.on_step(Step(self.kind, done + 1, dims, image_embed))
            if done + 1 == dims:
                return cond.replace(image_embed=image_embed)
            logits, past = self.net.step(token.repeat(copies), done, past)

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy a component, in nats; z_i·z_t is the true one."""
        assert cond.image_embed is not None and cond.text_embed is not None
        shown = _text(cond).replace(keep_text=~rng.bernoulli(self.config.drop_text))
        tokens = self.net.tokens(cond.image_embed)  # (B, dims)
        likeness = self.net.dot_tokens(cond.image_embed, cond.text_embed)
        logits = self.net(dict(shown.items()), likeness, tokens).float()
        loss = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        hit = (logits.argmax(-1) == tokens).float()
        return loss.mean(1), {"accuracy": hit.mean(1)}


def _text(cond: Cond) -> Cond:
    """What the network reads, alone."""
    return Cond(
        text_mask=cond.text_mask, text_embed=cond.text_embed, text_encodings=cond.text_encodings
    )


def guide(logits: Tensor, options: ArSampling) -> Tensor:
    """Classifier-free guidance of logits, (2·B, buckets) with the text and then without."""
    if options.guidance_scale == 1.0:
        return logits.float()
    shown, null = logits.float().chunk(2)
    return null + options.guidance_scale * (shown - null)


def choose(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """(B,) bucket of (B, buckets) logits where the distribution function passes (B,) `uniform`."""
    if temperature == 0:
        return logits.argmax(-1)
    reached = (logits / temperature).softmax(-1).cumsum(-1)  # (B, buckets)
    return (reached <= uniform[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)


STAGE = ArPriorStage
