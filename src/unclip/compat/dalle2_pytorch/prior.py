"""DALLE2-pytorch's `DiffusionPriorNetwork` and `DiffusionPrior`, of `families/laion`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import UsageError
from ...families.laion._config import prior_config, prior_network
from ...families.laion._keys import prior_table
from ...families.laion._layers import Dialect, rotary_angles
from ...stages import DiffusionStage, on_meta
from ...types import Cond
from .adapters import adapted
from .losses import LossArguments, NoiseTables, denoising_loss
from .translated import TorchRng, Translated, asked

DIALECT: Dialect = "1.15.6"
"""The version that is followed: the last one."""


class DiffusionPriorNetwork(Translated):
    """The transformer. Dropout is not computed: a loss is refused where it would matter."""

    def __init__(self, dim: int, **arguments: Any) -> None:
        told = {"dim": dim, **arguments}
        told.setdefault("max_text_len", 256)
        with asked("DiffusionPriorNetwork"):
            config = prior_network(told, DIALECT, True, Path("DiffusionPriorNetwork"))
        table = {
            name: type(take)(
                tuple(source.removeprefix("net.") for source in take.sources),
                take.to_ours,
                take.to_theirs,
            )
            for name, take in prior_table(config).items()
        }
        idle = {}
        if config.rotary:
            frequencies = rotary_angles(torch.ones(1), min(32, config.head_dim))[0]
            names = (f"layers.{i}.0.rotary_emb.freqs" for i in range(config.depth))
            idle = {f"causal_transformer.{name}": frequencies for name in names}
        super().__init__(config.build(), table, idle)
        self.dim, self.told = dim, told

    @property
    def dropout(self) -> str:
        """The dropout that it is told to have, in words; empty if none."""
        named = ("attn_dropout", "ff_dropout")
        return next((f"{name}={self.told[name]}" for name in named if self.told.get(name)), "")


class DiffusionPrior(nn.Module):
    """The network, and what it is trained and sampled by.

    Args:
        net: the network.
        clip: what gives embeddings of texts and pictures; None: they are given.
        image_embed_dim: width of the embeddings, needed without `clip`.
        arguments: the peer's others. One that is not read is refused.

    Raises:
        UsageError: names an argument that is not read, or does not fit.
    """

    def __init__(
        self,
        net: DiffusionPriorNetwork,
        *,
        clip: Any = None,
        image_embed_dim: int | None = None,
        clip_adapter_overrides: Any = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.clip = None if clip is None else adapted(clip, clip_adapter_overrides)
        width = image_embed_dim or (self.clip.dim_latent if self.clip else 0)
        if not width:
            raise UsageError("DiffusionPrior: without clip, image_embed_dim must be given")
        if self.clip and self.clip.dim_latent != width:
            raise UsageError(f"DiffusionPrior: clip makes embeddings of {self.clip.dim_latent}")
        with asked("DiffusionPrior"):
            values = {"net": net.told, "image_embed_dim": width, **arguments}
            config = prior_config(values, DIALECT, Path("DiffusionPrior"))
        self.net = net
        own: Any = net.net
        own.config = config.network  # which says whether it reads the text
        self.num_timesteps = config.schedule.length
        self.noise_scheduler = NoiseTables(config.schedule)
        self._stages = [on_meta(config)]  # in a list: it is no module of this one
        names = LossArguments.model_fields.keys() & arguments.keys()
        self._how = LossArguments.parse({name: arguments[name] for name in names})
        dropped = arguments.get("cond_drop_prob", 0.0)
        self.text_cond_drop_prob = _else(arguments.get("text_cond_drop_prob"), dropped)
        self.image_cond_drop_prob = _else(arguments.get("image_cond_drop_prob"), dropped)
        self.sample_timesteps = arguments.get("sample_timesteps")
        self.condition_on_text_encodings = config.network.read_text
        self.image_embed_scale: float = width**0.5 * config.space.scale
        is_x0 = arguments.get("predict_x_start", True)
        self._clamps = bool(is_x0 and arguments.get("training_clamp_l2norm"))

    @property
    def stage(self) -> DiffusionStage:
        """Ours, with the network."""
        found = self._stages[0].with_net(self.net.net)
        assert isinstance(found, DiffusionStage)
        return found

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    def forward(
        self,
        text: Tensor | None = None,
        image: Tensor | None = None,
        text_embed: Tensor | None = None,
        image_embed: Tensor | None = None,
        text_encodings: Tensor | None = None,
    ) -> Tensor:
        """() the loss, of tokens (B, N) and pictures (B, 3, H, W), or of their embeddings (B, D).

        Raises:
            UsageError: one of the two is missing or given twice, or there is no `clip`.
        """
        for name, one, other in (("text", text, text_embed), ("image", image, image_embed)):
            if (one is None) == (other is None):
                raise UsageError(f"DiffusionPrior: give either {name} or {name}_embed")
        if self.training and self.net.dropout:
            raise UsageError(f"DiffusionPriorNetwork: {self.net.dropout} is not read in training")
        if image is not None:
            image_embed = self._clip.embed_image(image).image_embed
        if text is not None:
            text_embed, text_encodings = self._clip.embed_text(text)
        assert image_embed is not None and text_embed is not None
        rng = TorchRng(len(image_embed), image_embed.device)
        times = torch.randint(0, self.num_timesteps, (rng.batch,), device=rng.device)
        stage = self.stage
        x0 = stage.space.encode(image_embed)
        eps = torch.randn_like(x0)
        cond = self._cond(text_embed, text_encodings).replace(
            keep_text=rng.kept(self.text_cond_drop_prob),
            keep_image=rng.kept(self.image_cond_drop_prob),
        )
        finish = self._clamped if self._clamps else None
        return denoising_loss(stage, cond, x0, times, eps, self._how, finish=finish)

    @torch.no_grad()
    def sample(
        self,
        text: Tensor,
        num_samples_per_batch: int = 2,
        cond_scale: float = 1.0,
        timesteps: int | None = None,
    ) -> Tensor:
        """(B, D) of (B, N) tokens: of several draws the one nearest to the text.

        With all timesteps it is DDPM, with fewer DDIM (arXiv 2010.02502).

        Raises:
            UsageError: no draws, or guidance of a network that was trained without.
        """
        count = num_samples_per_batch
        if count < 1:
            raise UsageError(f"DiffusionPrior: num_samples must be at least 1, got {count}")
        text_embed, encodings = self._clip.embed_text(text.repeat_interleave(count, dim=0))
        drawn = self._drawn(self._cond(text_embed, encodings), cond_scale, timesteps)
        score = F.cosine_similarity(drawn, text_embed, dim=-1).view(-1, count)  # (B, count)
        best = score.argmax(1) + count * torch.arange(len(score), device=score.device)
        return drawn[best]

    def _drawn(self, cond: Cond, scale: float, timesteps: int | None) -> Tensor:
        """(B, D)."""
        if scale != 1 and not (self.text_cond_drop_prob and self.image_cond_drop_prob):
            raise UsageError("DiffusionPrior: cond_scale other than 1 needs cond_drop_prob above 0")
        stage, was = self.stage, self.training
        steps, whole = timesteps or self.sample_timesteps, self.num_timesteps
        sampling: dict[str, Any] = {"guidance_scale": float(scale)}
        if steps and steps < whole:
            sampling |= {"sampler": "ddim", "steps": steps, "eta": 1.0}
        else:
            sampling |= {"sampler": "ddpm", "steps": whole}
        rng = TorchRng(len(cond), self.device)
        self.eval()
        try:
            drawn = stage.sample_data(cond, rng, sampling)
        finally:
            self.train(was)
        if sampling["sampler"] == "ddpm":
            rng.randn(*drawn.shape[1:])  # the peer's last step draws, too
        return drawn.clone()  # which may be trained on

    @property
    def _clip(self) -> Any:
        if self.clip is None:
            raise UsageError("DiffusionPrior: it has no clip; give embeddings, or clip=")
        return self.clip

    def _cond(self, text_embed: Tensor, encodings: Tensor | None) -> Cond:
        if not self.condition_on_text_encodings:
            return Cond(text_embed=text_embed)
        if encodings is None:
            raise UsageError("DiffusionPrior: give text_encodings, or condition_on_text_encodings")
        return Cond(text_embed=text_embed, text_encodings=encodings, text_mask=words(encodings))

    def _clamped(self, embed: Tensor) -> Tensor:
        unit: Tensor = F.normalize(embed, dim=-1)
        return unit * self.image_embed_scale


def words(encodings: Tensor) -> Tensor:
    """(B, N) bool: which encodings (B, N, W') are a word's; those of padding are 0."""
    return (encodings != 0).any(-1)


def _else(value: Any, usual: Any) -> Any:
    return usual if value is None else value
