"""The diffusion prior of LAION's models: a causal transformer of DALLE2-pytorch's make.

It reads what `nn/prior.py` reads, in the same order (arXiv 2204.06125, section 2.2), with another
kind of attention and without a projection: tokens are as wide as CLIP's space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import Config, Layers
from ...nn.conditioning import Given
from ...nn.layers import normal_parameter, select
from ...nn.memory import distinct, recomputed
from ...nn.transformer import KeyValue
from ._layers import Dialect, SharedKeyAttention, gain_norm, rotary_angles, sinusoid

BUCKETS, FARTHEST = 32, 128
"""Of the relative positions (T5, arXiv 1910.10683, section 2.1)."""


class LaionPriorConfig(Config):
    """Size of the prior, and which of its variants it is."""

    dialect: Dialect = "1.15.6"
    width: int = Field(gt=0, description="of the tokens, and of CLIP's space (D)")
    depth: Layers = Field(ge=1)
    heads: int = Field(8, gt=0)
    head_dim: int = Field(64, gt=0)
    mlp: float = Field(4.0, gt=0, description="hidden width, in widths")
    context: int = Field(256, gt=0, description="text tokens (N); shorter texts are padded")
    timesteps: int | None = Field(1000, gt=0, description="learned ones; none is sines and an MLP")
    text_tokens: int = Field(1, ge=1, description="tokens made of z_t")
    time_tokens: int = Field(1, ge=1, description="tokens made of the timestep")
    image_tokens: int = Field(1, ge=1, description="tokens made of the noised z_i")
    read_text: bool = Field(True, description="read the text's encodings beside z_t")
    norm_in: bool = False
    norm_out: bool = True
    project_out: bool = True
    norm_hidden: bool = Field(False, description="a norm inside each MLP (arXiv 2110.09456)")
    rotary: bool = True

    whiten: ClassVar[bool] = False

    def build(self) -> LaionPriorNet:
        """The network."""
        return LaionPriorNet(self)

    @property
    def embed_dim(self) -> int:
        """Width of CLIP's space (D)."""
        return self.width

    @property
    def has_nulls(self) -> bool:
        """Whether a hidden condition is replaced. In 1.1.0 hiding has no effect."""
        return self.dialect == "1.15.6"

    @property
    def masks(self) -> bool:
        """Whether nothing looks at padding and at what is hidden, as it was before 1.0."""
        return self.dialect == "0.15.4"

    @property
    def prefix(self) -> int:
        """How many tokens do not change from step to step."""
        text = 0 if self.masks and not self.read_text else self.context
        return text + self.text_tokens

    @property
    def reads(self) -> frozenset[str]:
        """Fields of Cond that `encode` needs."""
        text = frozenset({"text_mask", "text_encodings"})
        return frozenset({"text_embed"}) | (text if self.read_text else frozenset())


@dataclass(frozen=True)
class EncodedPrompt:
    """What `encode` makes of a prompt.

    `past` holds per layer the keys and values of the tokens that do not change, `bias`
    ((B, 1,) K·heads, L) and `angles` (K, R/2) belong to the K tokens that do. `keep_image` (B,) or
    None.
    """

    past: list[KeyValue]
    bias: Tensor
    angles: Tensor | None
    keep_image: Tensor | None


class Mlp(nn.Module):
    """SwiGLU (arXiv 2002.05202): a gate times a value, then back to the width."""

    def __init__(self, width: int, hidden: int, norm_hidden: bool) -> None:
        super().__init__()
        self.norm = gain_norm(width)
        self.fc1 = nn.Linear(width, 2 * hidden, bias=False)
        self.norm_hidden = gain_norm(hidden) if norm_hidden else nn.Identity()
        self.fc2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, W') -> (B, N, W')."""
        return recomputed(self._back, self.fc1(self.norm(x)))

    def _back(self, hidden: Tensor) -> Tensor:
        """From the hidden width to the token's."""
        value, gate = hidden.chunk(2, dim=-1)
        out: Tensor = self.fc2(self.norm_hidden(value * F.silu(gate)))
        return out


class Layer(nn.Module):
    """Attention and MLP, each added to what it reads."""

    def __init__(self, config: LaionPriorConfig) -> None:
        super().__init__()
        self.attention = SharedKeyAttention(
            config.width,
            config.heads,
            config.head_dim,
            scale=config.head_dim**-0.5,
            cosine=config.dialect == "1.15.6",
        )
        self.mlp = Mlp(config.width, int(config.mlp * config.width), config.norm_hidden)

    def forward(
        self, x: Tensor, past: KeyValue | None, bias: Tensor, angles: Tensor | None
    ) -> tuple[Tensor, KeyValue]:
        """(B, N, W') -> (B, N, W') and the keys and values so far."""
        mixed, now = self.attention(x, past, bias, angles)
        x = x + mixed
        return x + self.mlp(x), now


class LearnedTime(nn.Module):
    """A vector a timestep."""

    def __init__(self, steps: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(steps, width)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, width); between two timesteps the nearer one's."""
        out: Tensor = self.table(t.round().long())
        return out


class SineTime(nn.Module):
    """Sines and cosines of the timestep, then an MLP with two hidden layers."""

    def __init__(self, features: int, width: int, whole: bool) -> None:
        super().__init__()
        self.features = features
        self.whole = whole
        self.fc1 = nn.Linear(features, 2 * width)
        self.fc2 = nn.Linear(2 * width, 2 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        h = sinusoid(t, self.features)
        if self.whole:  # version 1.1.0 kept them in the timestep's own type, an integer
            h = h.trunc()
        h = F.silu(self.fc1(h.to(self.fc1.weight.dtype)))
        out: Tensor = self.out(F.silu(self.fc2(h)))
        return out


class LaionPriorNet(nn.Module):
    """Predicts from the last token of [text, z_t, t, z_i noised, query].

    As in `PriorNet`, `encode` computes once what the causal mask keeps constant, and `forward`
    runs the rest: three tokens.
    """

    def __init__(self, config: LaionPriorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.text_embed_in = _expand(width, config.text_tokens)
        self.image_embed_in = _expand(width, config.image_tokens)
        self.time: nn.Module = (
            LearnedTime(config.timesteps, width * config.time_tokens)
            if config.timesteps
            else SineTime(width, width * config.time_tokens, whole=config.dialect == "1.1.0")
        )
        self.query = normal_parameter(width)
        if not config.masks:
            self.null_text = normal_parameter(config.context, width)
        if config.has_nulls:
            self.null_text_embed = normal_parameter(config.text_tokens, width)
            self.null_image_embed = normal_parameter(width)
        self.norm_in = gain_norm(width) if config.norm_in else nn.Identity()
        self.bias = nn.Embedding(BUCKETS, config.heads)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norm_out = gain_norm(width) if config.norm_out else nn.Identity()
        project = nn.Linear(width, width, bias=False) if config.project_out else nn.Identity()
        self.proj = project

    def encode(self, given: Given) -> EncodedPrompt:
        """Keys and values of the text and of z_t.

        Reads `text_embed`, and `text_encodings` and `text_mask` where the network reads them.
        """
        keep = given.get("keep_image") if self.config.has_nulls else None
        once = distinct(given.get("keep_text")) if self.training and self.config.has_nulls else None
        if once is not None:
            given = {name: one[once[0]] for name, one in given.items()}
        z_t = self._text_embed(given)
        prefix = self.norm_in(torch.cat([self._text(given, z_t), z_t], dim=1))
        hidden = self._hidden(given, prefix) if self.config.masks else None
        bias, angles = self._places(0, self.config.prefix, hidden)
        past = list[KeyValue]()
        for layer in self.layers:
            assert isinstance(layer, Layer)
            if len(past) == len(self.layers) - 1:  # nothing reads what the last one makes of it
                past.append(layer.attention.keys_values(prefix, angles))
                break
            prefix, now = layer(prefix, None, bias, angles)
            past.append(now)
        if once is not None:
            past = [(k.index_select(0, once[1]), v.index_select(0, once[1])) for k, v in past]
        changing = self.config.time_tokens + self.config.image_tokens + 1
        return EncodedPrompt(past, *self._places(self.config.prefix, changing, hidden), keep)

    def forward(self, x: Tensor, t: Tensor, encoded: EncodedPrompt) -> Tensor:
        """(B, D) noised embedding and (B,) timestep -> (B, D)."""
        config, batch = self.config, len(x)
        image = self.image_embed_in(x).view(batch, config.image_tokens, -1)
        if config.has_nulls:
            # the condition and what is to be denoised are hidden together: so it was trained
            image = select(encoded.keep_image, image, self.null_image_embed)
        time = self.time(t).view(batch, config.time_tokens, -1)
        query = self.query.expand(batch, 1, -1)
        h = self.norm_in(torch.cat([time, image, query], dim=1))
        for layer, past in zip(self.layers, encoded.past, strict=True):
            h, _ = layer(h, past, encoded.bias, encoded.angles)
        h = h[:, -1]
        if config.norm_out and not config.masks:  # the norm's epsilon is then one of the largest
            h = h / h.amax(dim=-1, keepdim=True).detach()
        out: Tensor = self.proj(self.norm_out(h))
        return out

    def _text_embed(self, given: Given) -> Tensor:
        """(B, text_tokens, W'): z_t, or its null."""
        embed = given["text_embed"].to(self.query.dtype)
        z_t: Tensor = self.text_embed_in(embed).view(len(embed), self.config.text_tokens, -1)
        if not self.config.has_nulls:
            return z_t
        return select(given.get("keep_text"), z_t, self.null_text_embed)

    def _text(self, given: Given, like: Tensor) -> Tensor:
        """(B, context, W'): the text's encodings, learned vectors where there are none."""
        empty = self.config.prefix - self.config.text_tokens, self.config.width
        null = like.new_zeros(empty) if self.config.masks else self.null_text
        null = null.expand(len(like), -1, -1)
        if not self.config.read_text:
            return null
        count = min(given["text_encodings"].shape[1], self.config.context)
        text = given["text_encodings"][:, :count].to(null.dtype)
        text = torch.where(given["text_mask"][:, :count, None], text, null[:, :count])
        text = torch.cat([text, null[:, count:]], dim=1)
        if not self.config.has_nulls:
            return text
        return select(given.get("keep_text"), text, self.null_text)

    def _hidden(self, given: Given, prefix: Tensor) -> Tensor:
        """(B, prefix + 1) bool: keys that nothing looks at; the learned one is never hidden."""
        batch, count, _ = prefix.shape
        hidden = torch.zeros(batch, count + 1, dtype=torch.bool, device=prefix.device)
        if self.config.read_text:
            read = min(given["text_mask"].shape[1], self.config.context)
            hidden[:, 1 : -self.config.text_tokens] = True
            hidden[:, 1 : read + 1] = ~given["text_mask"][:, :read]
        if "keep_text" in given:
            hidden[:, 1:] |= ~given["keep_text"][:, None]
        return hidden

    def _places(
        self, first: int, count: int, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Bias ((B, 1,) count·heads, first + count + 1) and angles (count, R/2) of `count` tokens.

        Keys are counted from the learned one, so that key j is token j − 1; a token may look at
        itself and at what is before it, but for the first keys that are `hidden` (B, K).
        """
        queries = torch.arange(first, first + count, device=self.query.device)
        keys = torch.arange(first + count + 1, device=self.query.device)
        bias = self.bias(_bucket(queries[:, None] - keys)).float()  # (count, keys, heads)
        if self.config.dialect == "1.1.0":
            bias = bias * 128  # there it is added before, and not after, a factor of 128
        later = keys > queries[:, None] + 1
        bias = bias.masked_fill(later[..., None], -torch.inf).transpose(1, 2).flatten(0, 1)
        if hidden is not None:
            padded = F.pad(hidden, (0, bias.shape[1] - hidden.shape[1]))
            bias = bias.masked_fill(padded[:, None, None], -torch.inf)
        if not self.config.rotary:
            return bias, None
        return bias, rotary_angles(queries, min(32, self.config.head_dim))


def _expand(width: int, tokens: int) -> nn.Module:
    """One vector into several, or as it is."""
    return nn.Linear(width, width * tokens) if tokens > 1 else nn.Identity()


def _bucket(distance: Tensor) -> Tensor:
    """Distances back into BUCKETS: half of them exact, the others ever wider up to FARTHEST."""
    distance = distance.clamp(min=0)
    exact = BUCKETS // 2
    growth = torch.log(distance.float() / exact) / math.log(FARTHEST / exact) * (BUCKETS - exact)
    far = (exact + growth.clamp(min=0).long()).clamp(max=BUCKETS - 1)
    return torch.where(distance < exact, distance, far)
