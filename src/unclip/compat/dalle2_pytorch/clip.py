"""x-clip's `CLIP`, which DALLE2-pytorch trains: its losses, of our scores."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, einsum, nn
from torch.nn import functional as F

from ...checkpoints.keymap import KeyMap, Take, under
from ...config import Config
from ...errors import UsageError
from ...families.clip._x_clip_keys import x_clip_table
from ...families.clip.x_clip import XClip, XClipConfig
from ...nn.clip import VisionConfig
from ...nn.text import TextConfig
from ...stages.contrastive.filip import late_interaction
from ...stages.contrastive.scores import Scores, dcl, infonce
from ...stages.contrastive.simclr import nt_xent
from ...stages.contrastive.simsiam import distance
from ...stages.contrastive.views import Augmentation, augmented
from .translated import TorchRng, Translated

PIXELS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's, which views of pictures are normalised by."""


class ClipArguments(Config):
    """Arguments of `CLIP`. Of an option that is not read only the usual value is."""

    called: ClassVar[str] = "argument '{}' of CLIP"

    dim_text: int = Field(512, gt=0)
    dim_image: int = Field(512, gt=0)
    dim_latent: int = Field(512, gt=0)
    num_text_tokens: int = Field(10_000, gt=0)
    text_enc_depth: int = 6
    text_seq_len: int = Field(256, gt=0)
    text_heads: int = 8
    text_dim_head: int = 64
    visual_enc_depth: int = 6
    visual_heads: int = 8
    visual_dim_head: int = 64
    visual_image_size: int = 256
    visual_patch_size: int = 32
    visual_patch_dropout: float = Field(0.5, ge=0, lt=1)
    text_encode_without_mask: bool = False
    use_all_token_embeds: bool = False
    decoupled_contrastive_learning: bool = False
    extra_latent_projection: bool = False
    use_visual_ssl: bool = False
    visual_ssl_type: Literal["simsiam", "simclr"] = "simsiam"
    simclr_temperature: float = Field(0.1, gt=0)
    image_ssl_loss_weight: float = 0.05
    text_ssl_loss_weight: float = 0.05
    multiview_loss_weight: float = 0.1
    channels: Literal[3] = 3
    text_pad_id: Literal[0] = 0
    visual_ssl_hidden_layer: Literal[-1] = -1
    text_has_cls_token: Literal[True] = True
    visual_has_cls_token: Literal[True] = True
    use_mlm: Literal[False] = False
    text_rotary_pos_emb: Literal[False] = False
    text_causal_mask: Literal[False] = False
    downsample_image_embeds: Literal[False] = False
    checkpoint_during_training: Literal[False] = False

    @model_validator(mode="after")
    def _one_head(self) -> ClipArguments:
        if self.text_dim_head != self.visual_dim_head:
            raise ValueError("CLIP: text_dim_head and visual_dim_head must be equal")
        return self

    def network(self) -> XClipConfig:
        """The network's settings."""
        text = TextConfig(
            width=self.dim_text,
            depth=self.text_enc_depth,
            heads=self.text_heads,
            vocab_size=self.num_text_tokens,
            context=self.text_seq_len,
            learned_padding=False,
        )
        vision = VisionConfig(
            width=self.dim_image,
            depth=self.visual_enc_depth,
            heads=self.visual_heads,
            image_size=self.visual_image_size,
            patch_size=self.visual_patch_size,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        return XClipConfig(
            embed_dim=self.dim_latent, text=text, vision=vision, head_dim=self.text_dim_head
        )


class CLIP(Translated):
    """Two encoders that meet in one space, and what they learn from."""

    def __init__(self, **arguments: Any) -> None:
        told = ClipArguments.parse(arguments)
        clip = XClip(told.network())
        nn.init.ones_(clip.log_scale)
        extra = {"text": copy.deepcopy(clip.text_proj), "image": copy.deepcopy(clip.vision.proj)}
        net = nn.ModuleDict({"clip": clip, "extra": nn.ModuleDict(extra)})
        table = under("clip", "", x_clip_table(clip.config))
        for name, theirs in (("text", "to_text_latent_extra"), ("image", "to_visual_latent_extra")):
            table[f"extra.{name}.weight"] = Take((f"{theirs}.weight",))
        twins: dict[str, str] = {}
        if told.use_visual_ssl:
            net["ssl"] = SSL[told.visual_ssl_type].heads(told.dim_image)
            table |= SSL[told.visual_ssl_type].table(net["ssl"])
            twins = dict.fromkeys(SSL[told.visual_ssl_type].twins, "visual_transformer.")
        super().__init__(net, table, twins=twins)
        self.told = told
        self.augment: Callable[[Tensor], Tensor] = view

    @property
    def clip(self) -> XClip:
        """The two encoders."""
        found = self.net.get_submodule("clip")
        assert isinstance(found, XClip)
        return found

    def forward(
        self,
        text: Tensor,
        image: Tensor,
        return_loss: bool = False,
        return_latents: bool = False,
        freeze_image_encoder: bool = False,
        freeze_text_encoder: bool = False,
        text_to_image: bool = True,
        **others: Any,
    ) -> Any:
        """The loss, the embeddings or how well each pair fits.

        Args:
            text: (B, N) token ids, 0 on padding.
            image: (B, 3, H, W).
            return_loss: () the loss of the batch. Without it (B,) the similarity of each pair, of
                all tokens (B, N, P).
            return_latents: the embeddings, of norm 1; with `extra_latent_projection` both pairs.
            freeze_image_encoder: it gets no gradient.
            freeze_text_encoder: it gets no gradient.
            text_to_image: which of the two projections' similarities.
            others: refused by name.

        Raises:
            UsageError: an argument is not read.
        """
        for name in others:
            raise UsageError(f"CLIP: argument '{name}' is not read")
        apart = self._apart(image) if return_loss and self.told.use_visual_ssl else None
        mask = text != 0
        with torch.no_grad() if freeze_text_encoder else nullcontext():
            read = self.clip.text(text, None if self.told.text_encode_without_mask else mask)
        with torch.no_grad() if freeze_image_encoder else nullcontext():
            seen = self.seen(image)
        first, second = self._latents(read, seen)
        if return_latents:
            return (*first, *second) if self.told.extra_latent_projection else first
        scale = self.clip.log_scale.exp()
        if not return_loss:
            ones = first if text_to_image else second
            return scale * einsum("btd,bid->bti" if ones[0].ndim == 3 else "bd,bd->b", *ones)
        scores = self._scores(first, second, mask)
        table = Scores(scale * scores[0], scale * scores[1], torch.eye(len(text)).to(text.device))
        unlike = self.told.decoupled_contrastive_learning
        loss = (dcl(table, torch.inf) if unlike else infonce(table)).mean()
        if apart is None:
            return loss
        weight = self.told.image_ssl_loss_weight
        return (1 - weight) * loss + weight * apart

    def seen(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + P, W'): the summary, and patches; in training some of them."""
        vision = self.clip.vision
        x = vision.patches(image)
        share = self.told.visual_patch_dropout
        if self.training and share:
            kept = max(1, int(x.shape[1] * (1 - share)))
            which = torch.randn(x.shape[:2], device=x.device).topk(kept, dim=1).indices
            x = x.gather(1, which[..., None].expand(-1, -1, x.shape[2]))
        x = vision.transformer(x)
        return torch.cat([vision.pool(x.mean(1, keepdim=True)), x], dim=1)

    def _latents(self, read: Tensor, seen: Tensor) -> tuple[Any, Any]:
        """Texts and pictures in the shared space and in the second one, (B, D) or (B, N, D)."""
        whole = self.told.use_all_token_embeds
        text, image = (read[:, 1:], seen[:, 1:]) if whole else (read[:, 0], seen[:, 0])
        first = self.clip.text_proj(text), self.clip.vision.proj(image)
        one = tuple(F.normalize(value, dim=-1) for value in first)
        if not self.told.extra_latent_projection:
            return one, one
        extra = self.net.get_submodule("extra")
        second = extra.get_submodule("text")(text), extra.get_submodule("image")(image)
        return one, tuple(F.normalize(value, dim=-1) for value in second)

    def _scores(self, first: Any, second: Any, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, B) of pictures and captions twice; pictures seek in the second space.

        Of tokens both are compared over pictures, other than in FILIP (arXiv 2111.07783, section
        3.1), where patches' scores are compared over captions.
        """
        (text, image), (text2, image2) = first, second
        if not self.told.use_all_token_embeds:
            return image2 @ text2.T, text @ image.T
        by_patch, by_word = late_interaction(image, text, mask)
        if second is not first:
            by_patch = late_interaction(image2, text2, mask)[0]
        return by_patch.T, by_word.T

    def _apart(self, image: Tensor) -> Tensor:
        """() what two views of each picture say of each other."""
        heads = self.net.get_submodule("ssl")

        def project(seen: Tensor) -> Tensor:
            out: Tensor = heads.get_submodule("projector")(self.seen(seen).flatten(0, 1))
            return out

        views = self.augment(image), self.augment(image)
        return SSL[self.told.visual_ssl_type].loss(project, views, heads, self.told)


def view(image: Tensor) -> Tensor:
    """A view of each of (B, 3, H, W) pictures in [0, 1], normalised."""
    seen = augmented(2 * image - 1, Augmentation(), TorchRng(len(image), image.device))
    mean, std = (image.new_tensor(value).view(3, 1, 1) for value in PIXELS)
    return ((seen + 1) / 2 - mean) / std


Project = Callable[[Tensor], Tensor]
"""(B, 3, H, W) -> (K, C): the projection of every token."""
Views = tuple[Tensor, Tensor]


class SimClr:
    """Every token of a view finds the same place of the other (SimCLR, arXiv 2002.05709)."""

    twins = ("visual_ssl.net.net.",)

    @staticmethod
    def heads(width: int) -> nn.ModuleDict:
        """The projection."""
        return nn.ModuleDict({"projector": _projector(width, 128)})

    @staticmethod
    def table(heads: nn.Module) -> KeyMap:
        """Where the projection's tensors stand."""
        return {f"ssl.{name}": Take((f"visual_ssl.net.{name}",)) for name in heads.state_dict()}

    @staticmethod
    def loss(project: Project, views: Views, heads: nn.Module, told: ClipArguments) -> Tensor:
        """() of (K, 128) projections, which are compared as they are, not made unit vectors."""
        both = project(views[0]), project(views[1])
        return nt_xent(both, both, 0, told.simclr_temperature).mean()


class SimSiam:
    """Every token of a view tells the same place of the other (SimSiam, arXiv 2011.10566)."""

    twins = ("visual_ssl.net.", "visual_ssl.online_encoder.net.")

    @staticmethod
    def heads(width: int) -> nn.ModuleDict:
        """Projection and prediction."""
        hidden = nn.Sequential(nn.Linear(256, 4096), nn.BatchNorm1d(4096), nn.ReLU())
        predictor = nn.Sequential(*hidden, nn.Linear(4096, 256))
        return nn.ModuleDict({"projector": _projector(width, 256), "predictor": predictor})

    @staticmethod
    def table(heads: nn.Module) -> KeyMap:
        """Where their tensors stand."""
        names = heads.state_dict()
        return {
            f"ssl.{name}": Take(
                (f"visual_ssl.online_{name.replace('projector', 'encoder.projector')}",)
            )
            for name in names
        }

    @staticmethod
    def loss(project: Project, views: Views, heads: nn.Module, told: ClipArguments) -> Tensor:
        """() of (K, 256) projections: four times the mean distance of both predictions.

        What is told is projected anew, of other patches.
        """
        predict = heads.get_submodule("predictor")
        one, other = (predict(project(seen)) for seen in views)
        with torch.no_grad():
            first, second = (project(seen) for seen in views)
        return 2 * (distance(one, second) + distance(other, first)).mean()


SSL: dict[str, type[SimClr] | type[SimSiam]] = {"simclr": SimClr, "simsiam": SimSiam}
"""What else the image encoder learns from, by `visual_ssl_type`."""


def _projector(width: int, out: int, hidden: int = 4096) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, out, bias=False),
        nn.BatchNorm1d(out, affine=False),
    )
