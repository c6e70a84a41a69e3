"""An autoencoder of pictures: eight pixels' side become one latent of a few channels, and back.

Deep Compression Autoencoder (arXiv 2410.10733, section 3.2): pixels are folded into channels first,
and each change of size has a shortcut without weights, which folds or repeats, so that the
convolutions beside it learn a residual. Every latent has the same length over its channels, so that
no channel's scale can drift, and latents are of unit variance as diffusion wants them.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import LEVELS, Blocks
from .latents import LatentsConfig
from .layers import PixelNorm, laid_out, zero

EPS = 1e-6


class AutoencoderConfig(LatentsConfig):
    """Size of an autoencoder."""

    image_channels: int = Field(3, gt=0)
    latent_channels: int = Field(8, gt=0)
    space_to_depth: int = Field(4, ge=1, description="fold n x n pixels into channels first")
    channels: tuple[int, ...] = Field(
        (64, 128),
        min_length=1,
        max_length=LEVELS,
        description="of each level, large to small; each has half the side of the one before",
    )
    encoder_depth: Blocks = Field(1, ge=1, description="residual blocks a level of the encoder")
    depth: Blocks = Field(2, ge=1, description="residual blocks a level of the decoder")
    gaussian: bool = Field(
        False, description="the encoder puts out a log-variance too: the KL variant"
    )

    @model_validator(mode="after")
    def _shortcuts_fit(self) -> Self:
        for large, small in zip(self.channels, self.channels[1:], strict=False):
            if 4 * large % small or small % 4:
                raise ValueError(
                    f"channels of a level, {small}, must be a multiple of 4 and divide 4 times "
                    f"those of the level before, {large}"
                )
        if self.channels[-1] % self.latent_channels:
            raise ValueError(
                f"the last of channels, {self.channels[-1]}, must be a multiple of "
                f"latent_channels {self.latent_channels}"
            )
        return self

    def build(self) -> Autoencoder:
        """The network."""
        return Autoencoder(self)

    @property
    def factor(self) -> int:
        """How many pixels' side one latent stands for."""
        return int(self.space_to_depth * 2 ** (len(self.channels) - 1))

    @property
    def width(self) -> int:
        """Channels of the latents."""
        return self.latent_channels


class Block(nn.Module):
    """x + what two convolutions make of its norm, which begin as nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = PixelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out: Tensor = x + self.conv2(F.silu(self.conv1(self.norm(x))))
        return out


class Halve(nn.Module):
    """Half the side: a convolution, folded, and beside it the fold itself, channels averaged."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout // 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, H, W) -> (B, cout, H/2, W/2)."""
        learned: Tensor = F.pixel_unshuffle(self.conv(x), 2)
        return learned + averaged(F.pixel_unshuffle(x, 2), learned.shape[1])


class Enlarge(nn.Module):
    """Twice the side: a convolution, unfolded, and beside it the input, channels repeated."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, 4 * cout, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, H, W) -> (B, cout, 2·H, 2·W)."""
        learned = self.conv(x)
        out: Tensor = F.pixel_shuffle(learned + repeated(x, learned.shape[1]), 2)
        return out


class Encoder(nn.Module):
    """Pictures to what latents are made of."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.fold, first = config.space_to_depth, config.channels[0]
        self.conv_in = nn.Conv2d(config.image_channels * self.fold**2, first, 3, padding=1)
        layers: list[nn.Module] = []
        for level, width in enumerate(config.channels):
            if level:
                layers.append(Halve(config.channels[level - 1], width))
            layers += [Block(width) for _ in range(config.encoder_depth)]
        self.layers = nn.ModuleList(layers)
        out = config.latent_channels * (2 if config.gaussian else 1)
        self.norm_out = PixelNorm(config.channels[-1])
        self.conv_out = nn.Conv2d(config.channels[-1], out, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, c or 2·c, h, w)."""
        folded = F.pixel_unshuffle(image.to(self.conv_in.weight.dtype), self.fold)
        h = self.conv_in(laid_out(folded))
        for layer in self.layers:
            h = layer(h)
        out: Tensor = self.conv_out(self.norm_out(h))
        return out


class Decoder(nn.Module):
    """Latents to pictures; the last block and convolution, at the largest size, are its head."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, self.fold = config.channels[::-1], config.space_to_depth
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        layers: list[nn.Module] = []
        for level, width in enumerate(widths):
            if level:
                layers.append(Enlarge(widths[level - 1], width))
            own = config.depth - (level == len(widths) - 1)
            layers += [Block(width) for _ in range(own)]
        self.layers = nn.ModuleList(layers)
        self.last_blocks = nn.ModuleList([Block(widths[-1])])
        self.norm_out = PixelNorm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.image_channels * self.fold**2, 3, padding=1)

    def features(self, latents: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, C, H/n, W/n), what the head draws from."""
        z = laid_out(latents.to(self.conv_in.weight.dtype))
        h: Tensor = self.conv_in(z)
        h = h + repeated(z, h.shape[1])
        for layer in self.layers:
            h = layer(h)
        return h

    def head(self, features: Tensor) -> Tensor:
        """(B, C, H/n, W/n) -> (B, 3, H, W)."""
        h = features
        for block in self.last_blocks:
            h = block(h)
        out: Tensor = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), self.fold)
        return out


class Autoencoder(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def moments(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, 3, H, W) in [-1, 1] -> the latents, and of the KL variant their log-variance.

        (B, c, h, w) each. The sides are multiples of `config.factor`.
        """
        out = self.encoder(image)
        if not self.config.gaussian:
            return unit(out), None
        mean, log_variance = out.chunk(2, dim=1)
        return unit(mean), log_variance.clamp(-20, 2)

    def encode(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, c, H/factor, W/factor), nothing drawn."""
        return self.moments(image)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, 3, H, W), not clamped."""
        out: Tensor = self.decoder.head(self.features(latents))
        return out

    def features(self, latents: Tensor) -> Tensor:
        """(B, c, h, w) -> what the decoder's head draws from; how long a latent is says nothing."""
        out: Tensor = self.decoder.features(unit(latents))
        return out


def unit(x: Tensor) -> Tensor:
    """(B, c, h, w) -> the same, with a mean square of 1 over the channels of each place."""
    return x * (x.float().square().mean(1, keepdim=True) + EPS).rsqrt().to(x.dtype)


def averaged(x: Tensor, channels: int) -> Tensor:
    """(B, C, H, W) -> (B, channels, H, W): the means of neighbouring channels."""
    out: Tensor = x.unflatten(1, (channels, -1)).mean(2)  # type: ignore[no-untyped-call]
    return out


def repeated(x: Tensor, channels: int) -> Tensor:
    """(B, C, H, W) -> (B, channels, H, W): each channel as often as it takes."""
    return x.repeat_interleave(channels // x.shape[1], dim=1)
