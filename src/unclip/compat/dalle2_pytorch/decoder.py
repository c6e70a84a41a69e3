"""DALLE2-pytorch's `Decoder`, of the stages in `families/laion`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ...checkpoints.settings import need
from ...diffusion.schedule import Linear
from ...errors import UsageError
from ...families.laion._config import decoder_configs
from ...stages import DiffusionStage, on_meta
from ...stages.upsampler import AnyUpsampler, cut
from ...types import Cond
from .adapters import adapted
from .losses import LossArguments, NoiseTables, denoising_loss
from .prior import DIALECT, words
from .translated import TorchRng, asked
from .unet import BuiltUnet, Unet

LOW_RES = Linear()
"""What noise in the smaller picture means."""


class DecoderArguments(LossArguments):
    """Arguments of a `Decoder` that only training has, or how pictures go in and out."""

    image_cond_drop_prob: float = Field(0.1, ge=0, le=1)
    text_cond_drop_prob: float = Field(0.5, ge=0, le=1)
    auto_normalize_img: bool = True
    use_blur_for_lowres_cond: bool | tuple[bool, ...] = True
    blur_prob: float = Field(0.5, ge=0, le=1)
    blur_sigma: float | tuple[float, float] = 0.6
    blur_kernel_size: int | tuple[int, int] = 3
    random_crop_sizes: tuple[int | None, ...] | None = None


class Conditioner(nn.Module):
    """How a U-Net is shown the smaller picture: enlarged, blurred in training, perhaps noised."""

    def __init__(self, noisy: bool) -> None:
        super().__init__()
        self.use_noise = noisy
        self.noise_scheduler = NoiseTables(LOW_RES) if noisy else None


class Decoder(nn.Module):
    """One or more U-Nets, and what they are trained and sampled by.

    Args:
        unet: a `Unet`, or several, the smallest picture's first.
        clip: what gives embeddings of pictures and texts; None: they are given.
        image_size: of one U-Net's pictures; usually the CLIP's.
        image_sizes: of several, rising.
        unconditional: it looks neither at z_i nor at a text.
        arguments: the peer's others. One that is not read is refused.

    Raises:
        UsageError: names an argument that is not read, or does not fit.
    """

    def __init__(
        self,
        unet: Unet | Sequence[Unet],
        *,
        clip: Any = None,
        image_size: int | None = None,
        image_sizes: Sequence[int] | None = None,
        unconditional: bool = False,
        clip_adapter_overrides: Any = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        unets = [unet] if isinstance(unet, Unet) else unet
        if not (isinstance(unets, Sequence) and all(isinstance(one, Unet) for one in unets)):
            raise UsageError(f"Decoder: unet must be a Unet or several, got {unets!r}")
        self.clip = None if clip is None else adapted(clip, clip_adapter_overrides)
        if clip is not None and unconditional:
            raise UsageError("Decoder: with unconditional, clip must not be given")
        if image_size is None and image_sizes is None and self.clip:
            image_size = self.clip.image_size
        if image_size is None and image_sizes is None:
            raise UsageError("Decoder: give image_size, image_sizes or clip")
        sizes = tuple(image_sizes) if image_sizes else (image_size,)
        values = {"unets": [one.told for one in unets], "unconditional": unconditional}
        values |= {"image_sizes": sizes, **arguments}
        with asked("Decoder"):
            need(values, Path("Decoder"), lowres_downsample_first=True)
            need(values, Path("Decoder"), predict_x_start_for_latent_diffusion=False)
            configs = decoder_configs(values, DIALECT, Path("Decoder"), blind=unconditional)
        names = DecoderArguments.model_fields.keys() & arguments.keys()
        self._how = DecoderArguments.parse({name: arguments[name] for name in names}, "Decoder")
        self.unconditional, self.num_unets = unconditional, len(unets)
        self.image_sizes = tuple(config.network.image_size for config in configs)
        self._stages = [on_meta(config) for config in configs]  # in a list: modules of none
        made = [
            BuiltUnet(config.network, one.told) for config, one in zip(configs, unets, strict=True)
        ]
        self.unets = nn.ModuleList(made)
        self.num_timesteps = configs[0].schedule.length
        self._noisy = [config.network.low_res_noise for config in configs]
        self._gammas = _each(self._how.p2_loss_weight_gamma, self.num_unets)
        self.noise_schedulers = nn.ModuleList(
            NoiseTables(config.schedule, gamma, self._how.p2_loss_weight_k)
            for config, gamma in zip(configs, self._gammas, strict=True)
        )
        self.lowres_conds = nn.ModuleList(
            [None, *(Conditioner(one) for one in self._noisy[1:])]  # type: ignore[list-item]
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.unets.parameters()).device

    @property
    def condition_on_text_encodings(self) -> bool:
        """Whether a U-Net reads the text."""
        return any(one.cond_on_text_encodings for one in self.unets)

    def get_unet(self, unet_number: int) -> BuiltUnet:
        """The U-Net of a number, from 1. Raises UsageError where there is none."""
        if not 1 <= unet_number <= self.num_unets:
            raise UsageError(f"unet_number must be 1 to {self.num_unets}, got {unet_number}")
        found = self.unets[unet_number - 1]
        assert isinstance(found, BuiltUnet)
        return found

    @contextmanager
    def one_unet_in_gpu(self, unet_number: int | None = None, unet: Any = None) -> Iterator[None]:
        """Within, the other U-Nets are on the CPU; where this one is no GPU's, nothing moves."""
        one = self.get_unet(unet_number) if unet_number else unet
        home = next(one.parameters()).device
        if home.type != "cpu":
            self.unets.to("cpu")
            one.to(home)
        yield
        self.unets.to(home)

    def stage(self, unet_number: int) -> DiffusionStage:
        """Ours of a number, with its network."""
        found = self._stages[unet_number - 1].with_net(self.get_unet(unet_number).net)
        assert isinstance(found, DiffusionStage)
        return found

    def forward(
        self,
        image: Tensor,
        text: Tensor | None = None,
        image_embed: Tensor | None = None,
        text_encodings: Tensor | None = None,
        unet_number: int | None = None,
        return_lowres_cond_image: bool = False,
    ) -> Any:
        """() the loss of one U-Net.

        Args:
            image: (B, 3, H, W) in [0, 1], or in [-1, 1] with `auto_normalize_img` off.
            text: (B, N) token ids.
            image_embed: (B, D), in place of what `clip` makes of the pictures.
            text_encodings: (B, N, W'), in place of what it makes of the text.
            unet_number: from 1; may be left out where there is but one.
            return_lowres_cond_image: give the picture that the U-Net looks at, too.

        Raises:
            UsageError: something is missing, or pictures are too small.
        """
        if unet_number is None and self.num_unets > 1:
            raise UsageError(f"give unet_number, 1 to {self.num_unets}: which U-Net is trained")
        number = unet_number or 1
        stage, side = self.stage(number), self.image_sizes[number - 1]
        if min(image.shape[-2:]) < side:
            raise UsageError(f"U-Net {number} draws {side} pixels, got {tuple(image.shape[-2:])}")
        rng = TorchRng(len(image), image.device)
        times = torch.randint(0, self.num_timesteps, (len(image),), device=image.device)
        cond = self._cond(image, text, image_embed, text_encodings)
        low_res, level = self._shown(image, number) if number > 1 else (None, None)
        x0 = _nearest(image, side)
        x0, low_res = self._cropped(x0, low_res, number, rng)
        x0, shown = self._normalized(x0), None if low_res is None else self._normalized(low_res)
        eps = torch.randn_like(x0)
        keep_image = rng.kept(self._how.image_cond_drop_prob)
        cond = cond.replace(
            low_res=shown,
            low_res_level=level,
            keep_image=keep_image,
            keep_text=rng.kept(self._how.text_cond_drop_prob),
        )
        gamma = self._gammas[number - 1]
        loss = denoising_loss(stage, cond, x0, times, eps, self._how, gamma)
        return (loss, low_res) if return_lowres_cond_image else loss

    def _cond(
        self,
        image: Tensor | None,
        text: Tensor | None,
        image_embed: Tensor | None,
        encodings: Tensor | None,
    ) -> Cond:
        """What is said of the pictures."""
        if self.unconditional:
            return Cond()
        if image_embed is None:
            if self.clip is None or image is None:
                raise UsageError("Decoder: give image_embed, or a clip that makes it of pictures")
            image_embed = self.clip.embed_image(image).image_embed
        if text is not None and encodings is None:
            if self.clip is None:
                raise UsageError("Decoder: give text_encodings, or a clip that makes them of text")
            encodings = self.clip.embed_text(text).text_encodings
        if self.condition_on_text_encodings and encodings is None:
            raise UsageError("Decoder: a U-Net reads the text: give text or text_encodings")
        if encodings is None:
            return Cond(image_embed=image_embed)
        if not self.condition_on_text_encodings:
            raise UsageError("Decoder: no U-Net reads a text (cond_on_text_encodings)")
        return Cond(image_embed=image_embed, text_encodings=encodings, text_mask=words(encodings))

    def _shown(self, image: Tensor, number: int) -> tuple[Tensor, Tensor | None]:
        """The picture that a U-Net looks at in training, and how noisy it is, (B,)."""
        how, span = self._how, (0.0 if self._how.auto_normalize_img else -1.0, 1.0)
        small = _nearest(image, self.image_sizes[number - 2], span)
        blurs = _each(how.use_blur_for_lowres_cond, self.num_unets - 1)[number - self.num_unets - 1]
        if blurs and random.random() < how.blur_prob:
            sigma, size = how.blur_sigma, how.blur_kernel_size
            size = random.randint(*size) if isinstance(size, tuple) else size
            sigma = random.uniform(*sigma) if isinstance(sigma, tuple) else sigma
            small = blurred(small, sigma, size)
        large = _nearest(small, self.image_sizes[number - 1], span)
        if not self._noisy[number - 1]:
            return large, None
        times = torch.randint(0, LOW_RES.steps, (len(large),), device=large.device)
        x0 = self._normalized(large)
        level = LOW_RES.level(times).like(x0)
        noised = level[0] * x0 + level[1] * torch.randn_like(x0)
        return self._finished(noised), times / LOW_RES.steps

    def _cropped(
        self, x0: Tensor, low_res: Tensor | None, number: int, rng: TorchRng
    ) -> tuple[Tensor, Tensor | None]:
        """A part of each picture, the same of both, where training has `random_crop_sizes`."""
        side = _each(self._how.random_crop_sizes, self.num_unets)[number - 1]
        if not side:
            return x0, low_res
        corner = (rng.rand(2) * (x0.shape[-1] - side + 1)).long()
        return cut(x0, corner, side), None if low_res is None else cut(low_res, corner, side)

    def _normalized(self, image: Tensor) -> Tensor:
        return 2 * image - 1 if self._how.auto_normalize_img else image

    def _finished(self, image: Tensor) -> Tensor:
        return (image + 1) / 2 if self._how.auto_normalize_img else image

    @torch.no_grad()
    def sample(
        self,
        image: Tensor | None = None,
        image_embed: Tensor | None = None,
        text: Tensor | None = None,
        text_encodings: Tensor | None = None,
        batch_size: int = 1,
        cond_scale: float | Sequence[float] = 1.0,
        start_at_unet_number: int = 1,
        stop_at_unet_number: int | None = None,
        inpaint_image: Tensor | None = None,
        inpaint_mask: Tensor | None = None,
        inpaint_resample_times: int = 5,
        **others: Any,
    ) -> Tensor:
        """(B, 3, H, W) in the range of training pictures.

        Args:
            image: (B, 3, h, w), where a later U-Net is the first to draw.
            image_embed: (B, D) z_i; not without condition.
            text: (B, N) token ids.
            text_encodings: (B, N, W'), in place of what `clip` makes of them.
            batch_size: B, where there is no condition.
            cond_scale: of guidance, for all U-Nets or for each.
            start_at_unet_number: the first to draw, from 1.
            stop_at_unet_number: the last one.
            inpaint_image: (B, 3, H, W), a part of which is kept (RePaint, arXiv 2201.09865).
            inpaint_mask: (B, H, W) bool, True where it is kept.
            inpaint_resample_times: how often each step is repeated then.
            others: what concerns memory and processes alone.

        Raises:
            UsageError: something is missing, or guidance of what was trained without.
        """
        for name in others.keys() - {"one_unet_in_gpu_at_time", "distributed"}:
            raise UsageError(f"Decoder: argument '{name}' is not read")
        first, last = start_at_unet_number, stop_at_unet_number or self.num_unets
        if not 1 <= first <= last <= self.num_unets:
            raise UsageError(f"Decoder: it has U-Nets 1 to {self.num_unets}, not {first} to {last}")
        how, scales = self._how, _each(cond_scale, self.num_unets)
        if max(scales) != 1 and not (how.image_cond_drop_prob or how.text_cond_drop_prob):
            raise UsageError("Decoder: cond_scale other than 1 needs a cond_drop_prob above 0")
        cond = self._cond(None, text, image_embed, text_encodings)
        count = batch_size if image_embed is None else len(image_embed)
        rng = TorchRng(count, self.device)
        cond = cond.replace(
            keep_image=rng.kept(0.0), **self._known(inpaint_image, inpaint_mask, count)
        )
        if first > 1:
            if image is None:
                raise UsageError(f"Decoder: U-Net {first} needs image")
            small = _nearest(image, self.image_sizes[first - 2])
            cond = cond.replace(image=self._normalized(small))
        sampling = {} if inpaint_image is None else {"resample": inpaint_resample_times}
        drawn = self._drawn(cond, rng, range(first, last + 1), scales, sampling)
        return self._finished(drawn.clone())  # which may be trained on

    def _drawn(
        self,
        cond: Cond,
        rng: TorchRng,
        numbers: Sequence[int],
        scales: Sequence[float],
        sampling: dict[str, Any],
    ) -> Tensor:
        """(B, 3, H, W): what some U-Nets make one after the other."""
        was = self.training
        self.eval()
        try:
            for number in numbers:
                told = {**sampling, "guidance_scale": float(scales[number - 1])}
                cond = self._larger(cond, number, rng, told)
        finally:
            self.train(was)
        assert cond.image is not None
        return cond.image

    def _larger(self, cond: Cond, number: int, rng: TorchRng, sampling: dict[str, Any]) -> Cond:
        """With the picture that one U-Net makes of it."""
        stage = self.stage(number)
        if number > 1:
            assert isinstance(stage, AnyUpsampler) and cond.image is not None
            span = (-1.0, 1.0)
            cond = cond.replace(image=cond.image.clamp(*span))
        drawn = stage.sample(cond, rng, sampling)
        if stage.config.sampling.sampler == "ddpm":
            assert drawn.image is not None
            rng.randn(*drawn.image.shape[1:])  # the peer's last step draws, too
        return drawn

    def _known(
        self, image: Tensor | None, mask: Tensor | None, count: int
    ) -> dict[str, Tensor | None]:
        """The fields of a condition that say what is known of the picture."""
        if (image is None) != (mask is None):
            raise UsageError("Decoder: give both inpaint_image and inpaint_mask")
        if image is None or mask is None:
            return {}
        return {"known": self._normalized(image), "mask": (~mask.bool())[:, None].float()}


def _each(value: Any, count: int) -> tuple[Any, ...]:
    """An entry for each of `count`."""
    found = tuple(value) if isinstance(value, list | tuple) else (value,) * count
    if len(found) != count:
        raise UsageError(f"there must be {count} values, one for each U-Net, got {value}")
    return found


def _nearest(image: Tensor, side: int, span: tuple[float, float] | None = None) -> Tensor:
    """(B, C, H, W) -> (B, C, side, side), kept within `span` where the size changes."""
    if image.shape[-1] == side:
        return image
    image = F.interpolate(image, (side, side), mode="nearest")
    return image if span is None else image.clamp(*span)


def blurred(image: Tensor, sigma: float, size: int) -> Tensor:
    """(B, C, H, W) through a Gaussian of size x size pixels, mirrored at the edge."""
    place = torch.arange(size, dtype=torch.float32, device=image.device) - size // 2
    taps = torch.exp(-(place**2) / (2 * sigma**2))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    weight = kernel.expand(image.shape[1], 1, size, size).to(image.dtype)
    padded = F.pad(image, (size // 2,) * 4, mode="reflect")
    return F.conv2d(padded, weight, groups=image.shape[1])
