"""The critic of adversarial training: convolutions of its own, and heads on frozen features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .unet import UNet


class Critic(nn.Module):
    """Says how real a picture is, place by place, by what frozen networks see in it.

    One head a feature map (Projected GANs, arXiv 2111.01007, section 3.2), each with a projection
    of the condition (arXiv 1802.05637, eq. 3). One more looks at the values themselves, through
    convolutions of its own (PatchGAN, arXiv 1611.07004, section 3.2.2): frozen features overlook
    blur, and the grid of a network that works on patches. Beside the values these see their
    Laplacian, in which both show at once.

    Args:
        channels: of each feature map; none: its own convolutions judge alone.
        values: channels of what is judged.
        condition: width of the condition; 0 where there is none.
        beside: channels of what its own convolutions are shown beside it.
        width: channels within a head.
        backbone: what makes the features, where it learns with the heads.
        whole: its own convolutions give one logit a picture, and not one a place.
    """

    def __init__(
        self,
        channels: Sequence[int],
        condition: int,
        values: int = 3,
        beside: int = 0,
        width: int = 64,
        backbone: UNet | None = None,
        *,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        halvings = 1 if channels else 2  # alone they look further
        wide = width * halvings
        self.patches = own_convolutions(2 * values + beside, width // 2, halvings)
        heads = [Head(one, condition, width) for one in channels]
        if whole:
            own: nn.Module = WholeHead(wide, condition, 2 * wide)
        else:
            own = Head(wide, condition, width, norm=False)
        self.heads = nn.ModuleList([*heads, own])

    def forward(
        self,
        x0: Tensor,
        features: Sequence[Tensor],
        condition: Tensor | None,
        beside: Tensor | None = None,
    ) -> list[Tensor]:
        """(B, C, H, W) data and features, (B, D) condition -> (B, H·W) logits of each map."""
        seen = [x0, laplacian(x0), *([] if beside is None else [beside])]
        pairs = zip(self.heads, (*features, self.patches(torch.cat(seen, dim=1))), strict=True)
        return [head(one, condition) for head, one in pairs]


def laplacian(x: Tensor) -> Tensor:
    """(B, C, H, W) -> the same: how far each value is from its four neighbours' sum."""
    taps = [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]
    kernel = torch.tensor(taps, dtype=x.dtype, device=x.device).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


def own_convolutions(values: int, width: int, halvings: int) -> nn.Sequential:
    """(B, C, H, W) -> (B, width·2^n, H/2^n, W/2^n)."""
    layers: list[nn.Module] = [nn.Conv2d(values, width, 3, padding=1)]
    for _ in range(halvings):
        layers += [nn.SiLU(), nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)]
        width *= 2
        layers += [nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]
    for layer in layers[::2]:
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        # or what they see fades with depth: arXiv 1502.01852, section 2.2
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class Head(nn.Module):
    """The critic of one feature map."""

    def __init__(self, channels: int, condition: int, width: int, norm: bool = True) -> None:
        super().__init__()
        # features of networks as they come
        self.norm = nn.GroupNorm(1, channels, affine=False) if norm else nn.Identity()
        self.narrow = nn.Conv2d(channels, width, 1)
        self.look = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 1)
        self.project = nn.Linear(condition, width, bias=False) if condition else None

    def forward(self, features: Tensor, condition: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, H·W)."""
        h = F.silu(self.narrow(self.norm(features)))
        h = h + F.silu(self.look(h))  # (B, width, H, W)
        logits = self.out(h)[:, 0]
        if self.project is not None and condition is not None:
            key = self.project(condition) * h.shape[1] ** -0.5
            logits = logits + torch.einsum("bchw,bc->bhw", h, key)
        out: Tensor = logits.flatten(1)
        return out


class WholeHead(nn.Module):
    """The critic of a whole picture: one logit of what it shows and where.

    Args:
        channels: of the feature map, whose means over a grid it looks at.
        condition: width of the condition; 0 where there is none.
        width: of its one layer.
    """

    GRID = 4

    def __init__(self, channels: int, condition: int, width: int) -> None:
        super().__init__()
        self.look = nn.Linear(channels * self.GRID**2, width)
        self.out = nn.Linear(width, 1)
        layers = nn.Linear(condition, width), nn.SiLU(), nn.Linear(width, width)
        self.project = nn.Sequential(*layers) if condition else None

    def forward(self, features: Tensor, condition: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, 1)."""
        h = F.silu(self.look(F.adaptive_avg_pool2d(features, self.GRID).flatten(1)))  # (B, width)
        logits: Tensor = self.out(h)
        if self.project is not None and condition is not None:
            key = self.project(condition) * h.shape[1] ** -0.5
            logits = logits + (h * key).sum(1, keepdim=True)
        return logits
