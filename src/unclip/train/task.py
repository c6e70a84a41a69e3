"""What the trainer trains: a stage, fed from batches of which the task knows the keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ..errors import DataError, UsageError
from ..nn.latents import InLatents
from ..nn.layers import dropout_from
from ..nn.tokenizer import Tokenizer
from ..rng import BatchRng, Rng
from ..stages import Stage
from ..stages.clip import ClipStage
from ..stages.stage import DiffusionStage
from ..types import Cond
from .collate import NULL_TOKENS, Collate, middle, pictures
from .config import TrainConfig
from .detectors import Detectors
from .exams import Exam
from .loader import Batch
from .needs import OF_IMAGE, OF_PRIOR, OF_SPACE, OF_TEXT, needs_clip, needs_prior
from .pieces import cut, pieces
from .redrawing import Redrawer

_TOKENS = ("text_tokens", "text_mask", "negative_tokens", "negative_mask", *NULL_TOKENS)


class Task(nn.Module):
    """batch -> (loss, metrics) for any stage, by the fields its `trains_on` names.

    What a batch already holds is used. Else text fields come from the tokenizer, embeddings,
    encodings and patches from a frozen CLIP, `predicted_embed` from a frozen prior, `latents` from
    the stage's autoencoder, `image` from the data.
    """

    def __init__(
        self,
        stage: Stage,
        clip: Stage | None = None,
        prior: Stage | None = None,
        *,
        name: str = "",
    ) -> None:
        """`name` is the stage's in the recipe, for errors."""
        super().__init__()
        self.stage, self.name = stage, name or stage.kind
        # lists hide them from PyTorch: they are frozen
        self.clip = [clip.eval().requires_grad_(False)] if isinstance(clip, ClipStage) else []
        self.prior = [prior.eval().requires_grad_(False)] if prior else []
        self.beginning: Callable[[int], tuple[Batch, Rng]]  # so many of the stream's first samples
        self.detectors = Detectors()  # of failures; none
        self.redrawer: Redrawer | None = None  # of an upsampler's small pictures
        self.through: list[nn.Module] = []  # what calls it instead, and shares its gradients
        if needs_clip(stage) and clip is None:
            raise UsageError(f"stage '{self.name}' needs a stage 'clip' before it in the recipe")
        if needs_prior(stage) and prior is None:
            raise UsageError(
                f"stage '{self.name}' trains on what a prior predicts (predicted_share), and the "
                "recipe has no prior"
            )

    @property
    def frozen(self) -> list[Stage]:
        """Stages that it learns with and that do not learn."""
        return [*self.clip, *self.prior, *([self.redrawer.decoder] if self.redrawer else [])]

    def begin(self, progress: float, average: nn.Module) -> None:
        """A step begins: the share of the training that is done, and the averaged network."""

    @property
    def phases(self) -> tuple[float, ...]:
        """Shares of the training done where what a step computes changes, from 0 on."""
        return (0.0,)

    def learners(self, config: TrainConfig) -> dict[str, tuple[nn.Module, TrainConfig]]:
        """What learns and how, by its prefix in saved states: first the stage's network."""
        return {"": (self.stage.net, config)}

    def measure(self, average: Callable[[], nn.Module]) -> dict[str, float]:
        """What is measured where something is logged; `average` gives the averaged network."""
        return {}

    def check(self, means: Mapping[str, float]) -> None:
        """Raise TrainingError where the metrics since the last log say that training fails."""

    @property
    def unmeasured(self) -> str:
        """Why held out pictures have no loss that says which state is best; empty: they have."""
        return ""

    @property
    def examined(self) -> str:
        """Names what `exam` asks, with its settings; empty: validation is of the loss."""
        return ""

    def exam(self, cond: Cond, count: int, rng: Rng) -> Exam | None:
        """What validation asks of a stage in the loss's place, at `count` levels; made once."""
        return None

    def measured(self, stage: Stage, cond: Cond) -> dict[str, Tensor]:
        """What validation measures beside the loss, (B,) or () each, of an average of its stage."""
        return {}

    encodes_twice = False  # whether micro batches run forward twice

    @property
    def asks_average(self) -> bool:
        """Whether its steps compute with the averaged network."""
        return False

    @property
    def whole(self) -> list[nn.Module]:
        """What no engine divides: it computes outside of `forward`, or is held constant in it."""
        return [self.stage.net.autoencoder] if isinstance(self.stage.net, InLatents) else []

    @property
    def source_size(self) -> tuple[int, int]:
        """(height, width) of the pictures to ask the data source for."""
        size = self.stage.image_size or self.clip[0].image_size
        return size or (1, 1)  # this CLIP sees no pictures, and the data hold embeddings

    @property
    def _wanted(self) -> frozenset[str]:
        """The fields of Cond that a step needs."""
        own = self.stage.trains_on
        if self.redrawer:
            own = own | self.redrawer.decoder.consumes
        return own | self.prior[0].consumes if own & OF_PRIOR else own

    @property
    def _encoded(self) -> frozenset[str]:
        """Those that samples may hold. A CLIP whose null is a text reads texts beside that one."""
        return self._wanted & (OF_IMAGE | OF_SPACE | (set() if self._reads_null else OF_TEXT))

    @property
    def _reads_null(self) -> bool:
        """Whether a CLIP reads texts, and another text stands for a hidden one."""
        reads = any(clip.null_is_text for clip in self.clip)
        return reads and bool(self._wanted & OF_TEXT)

    def collate(self, tokenizer: Tokenizer) -> Collate:
        """What makes its batches of samples."""
        wrong = ["wrong"] if isinstance(self.stage, ClipStage) else []
        masked = ["mask"] if "image" in self.stage.produces else []
        keys = ("image", "caption", *wrong, *masked, *sorted(self._encoded))
        return Collate(tokenizer, keys, null=self._reads_null)

    def blank(self, size: int, context: int) -> Batch:
        """A batch of pictures and captions without content."""
        return {
            "image": torch.empty(size, *self.source_size, 3, dtype=torch.uint8),
            "text_tokens": torch.empty(size, context, dtype=torch.long),
            "text_mask": torch.empty(size, context, dtype=torch.bool),
        }

    def cond(self, batch: Batch, rng: Rng) -> Cond:
        """Everything the stage trains on; `rng` is for a prior that draws."""
        cond = self._held(batch)
        wanted = self._wanted - dict(cond.items()).keys()
        self._check_given(batch, wanted)
        with torch.no_grad():
            if wanted & OF_TEXT:
                cond = self.clip[0].encode_text(cond)
            elif self.clip and self._wanted & OF_IMAGE:
                cond = self.clip[0].add_null_image(cond)
            if wanted & OF_PRIOR:  # which sees no picture: none is copied for its candidates
                seen = cond.replace(image_embed=None, image_patches=None)
                drawn = self.prior[0].sample(seen, rng.fork("prior")).image_embed
                assert drawn is not None
                cond = cond.replace(predicted_embed=drawn.clone())  # no inference tensor any more
            if wanted & ({"image"} | OF_IMAGE | OF_SPACE):
                cond = cond.replace(image=pictures(batch["image"]))
            if wanted & OF_SPACE:
                assert isinstance(self.stage, DiffusionStage) and cond.image is not None
                cond = cond.replace(latents=self.stage.space.encode(cond.image))
            cond = self.embedded(cond, wanted)
            return self.redrawer(cond, rng.fork("redrawn")) if self.redrawer else cond

    def _held(self, batch: Batch) -> Cond:
        """What a batch holds already."""
        fields = (*_TOKENS, *self._encoded)
        held = {name: batch[name] for name in fields if name in batch}
        if "mask" in batch:
            held["loss_mask"] = batch["mask"][:, None].float() / 255  # (B, 1, H, W)
        if "text_encodings" in held and "text_mask" not in held:
            held["text_mask"] = (held["text_encodings"] != 0).any(-1)  # padding is all zeros
        return Cond(**held)

    def embedded(self, cond: Cond, wanted: Set[str]) -> Cond:
        """With what CLIP says of its pictures. Raises UsageError where that has half a CLIP."""
        if not wanted & OF_IMAGE:
            return cond
        if not self.clip[0].sees:
            raise UsageError(
                f"stage '{self.name}' learns from what CLIP says of pictures, and the "
                "recipe's CLIP has no image encoder: take it from a model with a whole CLIP "
                "(unclip convert MODEL DST --clip CLIP)"
            )
        clip, image = self.clip[0], cond.image
        assert image is not None
        shown = cond.replace(image=middle(image))  # all of it but in aspect buckets
        seen = (clip.encode_patches if "image_patches" in wanted else clip.encode_image)(shown)
        return seen.replace(image=image)

    def _check_given(self, batch: Batch, wanted: frozenset[str]) -> None:
        """Raise DataError where samples lack what is wanted, or have embeddings of another CLIP."""
        seen, read = {"image"} | OF_IMAGE | OF_SPACE, {"text_tokens", "text_mask"} | OF_TEXT
        for what, of, key in (("pictures", seen, "image"), ("captions", read, "text_tokens")):
            if wanted & of and key not in batch:
                raise DataError(f"stage '{self.name}' trains on {what}: the data have none")
        width = self.clip[0].config.network.embed_dim if self.clip else 0
        for name in ("image_embed", "text_embed"):
            if width and name in batch and batch[name].shape[-1] != width:
                raise DataError(
                    f"the data's {name} has {batch[name].shape[-1]} numbers, and the recipe's CLIP "
                    f"has {width}: embed the data with this CLIP"
                )

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) of a batch's condition, and metrics (B,) or ()."""
        return self.stage.loss(cond, rng)

    def loss_of(self, stage: Stage, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """`loss` of an average of its stage, in one process."""
        return stage.loss(cond, rng)

    def backward(
        self,
        batch: Batch,
        rng: BatchRng,
        micro_batch: int | None = None,
        within: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> dict[str, Tensor]:
        """Add the gradients of a batch, in pieces of `micro_batch`; returns mean loss and metrics.

        What a sample draws depends on its place in the stream: pieces make the gradients of the
        whole. Nothing was drawn from `rng` yet; forward passes run `within` (autocast), no others.
        """
        size, total = rng.batch, dict[str, Tensor]()
        for start, end in pieces(size, micro_batch):
            part = batch if end - start == size else cut(batch, start, end)
            drawn = rng.part(start, end)
            with within(), dropout_from(self, drawn.fork("dropout")):
                loss, metrics = (*self.through, self)[0](part, drawn)
            (loss if end - start == size else loss * ((end - start) / size)).backward()
            for name, value in {"loss": loss, **metrics}.items():
                share = value.detach() * ((end - start) / size)
                total[name] = total[name] + share if name in total else share
        return total

    def forward(self, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss (), and mean metrics ()."""
        loss, metrics = self.loss(self.cond(batch, rng), rng)
        return loss.mean(), {name: value.float().mean() for name, value in metrics.items()}
