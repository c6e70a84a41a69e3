"""Training the detector on renderings: what it is shown, and what it should say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _augment import augment
from _fit import Descent, Fit, OnStep
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, default_collate

from unclip.config import Config
from unclip.device import autocast
from unclip.emoji.corpus import Glyph
from unclip.emoji.detector import CELLS, GROUNDS, SIDE, TINTS, Detector, DetectorNet, Output
from unclip.emoji.plan import Mix
from unclip.emoji.scenes import strangers
from unclip.emoji.source import EmojiConfig, EmojiScenes
from unclip.errors import CheckpointError

SEED = 5_000_011
"""Of the detector's renderings and weights: no recipe's, no scene's, no calibration's."""

MIX = Mix(
    single=0.2, count=0.25, pair=0.3, group=0.25, tinted=0.8, background_said=0.4, textured=0.1
)
_MOST = 6  # objects in a scene
_NINE = [(row, column) for row in range(3) for column in range(3)]


class DetectorConfig(Config):
    """How a detector is trained. The defaults take one core about half an hour for 82 nouns."""

    steps: int = Field(9000, gt=0)
    batch_size: int = Field(32, gt=0)
    width: int = Field(80, gt=0, multiple_of=4, description="channels of the last level")
    learning_rate: float = Field(2.5e-3, gt=0, description="AdamW's highest")
    seed: int = Field(SEED, ge=0, description="of scenes, weights and augmentation")
    mix: Mix = MIX
    spoilt: float = Field(0.2, ge=0, le=1, description="scenes with an object that is no noun's")
    workers: int = Field(1, ge=0, description="processes that render; 0: between the updates")


def train_detector(
    scenes: EmojiConfig,
    config: DetectorConfig | None = None,
    *,
    begin: Detector | None = None,
    device: torch.device | None = None,
    state: Path | None = None,
    on_step: OnStep | None = None,
) -> Detector:
    """Train a detector on renderings of a corpus, what training holds out included.

    Args:
        scenes: the corpus, its nouns and styles; its seed, split and mix are not used.
        config: how it is trained.
        begin: a detector of the same nouns and width whose training goes on.
        device: the CPU unless given.
        state: see `Fit`.
        on_step: called with (step, steps, loss); may raise `Cancelled`.

    Raises:
        DataError: the corpus is missing or damaged.
        UsageError: it lacks a noun or a style.
        CheckpointError: `state` is damaged, or of another training; `begin` does not fit.
    """
    config, device = config or DetectorConfig(), device or torch.device("cpu")
    shown = Shown(scenes, config)
    net = _net(config, shown.nouns, begin)
    identity = config.model_dump(exclude={"workers"}) | {
        "nouns": shown.nouns,
        "begin": begin.hash if begin else "",
    }
    descent = Descent(config.steps, config.learning_rate, 0.02, 5.0, 0.1)
    fit = Fit(net, descent, device, state, identity)
    shown.span = (fit.step * config.batch_size, config.steps * config.batch_size)
    loader = DataLoader(
        shown, config.batch_size, num_workers=config.workers, collate_fn=default_collate
    )
    batches = iter(loader)

    def loss(step: int) -> Tensor:
        images, target = next(batches)
        rng = torch.Generator().manual_seed(config.seed + step)
        pictures = images.permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
        pictures, target["box"] = augment(pictures, target["box"], rng)
        target = {name: value.to(device) for name, value in target.items()}
        pictures = pictures.to(device).contiguous(memory_format=torch.channels_last)
        with autocast(device):
            out = net(pictures)
        return loss_of(out, target)

    fit.run(loss, on_step)
    about = {"loss": round(fit.loss, 4), **config.dump()}
    if begin:
        about["begin"] = {"hash": begin.hash, **begin.about}
    return Detector(net.cpu(), shown.nouns, about)


def _net(config: DetectorConfig, nouns: tuple[str, ...], begin: Detector | None) -> DetectorNet:
    """A fresh network, or a copy of the one to begin with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = DetectorNet(len(nouns), config.width)
    if begin:
        width = begin.net.whole.in_features
        if (begin.nouns, width) != (nouns, config.width):
            raise CheckpointError(
                f"the detector to begin with knows {len(begin.nouns)} nouns and is {width} wide; "
                f"wanted are the corpus' {len(nouns)} and {config.width}"
            )
        net.load_state_dict(begin.net.state_dict())
    return net


class Shown(IterableDataset[Any]):
    """Scenes [start, stop) of a stream as (picture, target), some with an object spoilt.

    A target holds `noun`, `tint` (N,), `box` (N, 4), padded with noun -1, and `ground`.
    """

    def __init__(self, config: EmojiConfig, how: DetectorConfig) -> None:
        super().__init__()
        changed = {"split": "any", "mix": how.mix, "seed": how.seed}
        self.scenes = EmojiScenes(config.model_copy(update=changed), (SIDE, SIDE))
        self.nouns = self.scenes.corpus.nouns
        self.strangers = strangers(self.scenes.corpus, self.scenes.planner.styles)[0]
        self.index = {noun: number for number, noun in enumerate(self.nouns)}
        self.seed, self.spoilt, self.span = how.seed, how.spoilt, (0, 0)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], dict[str, Any]]]:
        """This worker's share of the span."""
        info = torch.utils.data.get_worker_info()
        first, every = (info.id, info.num_workers) if info else (0, 1)
        for position in range(self.span[0] + first, self.span[1], every):
            yield self.pair(position)

    def pair(self, position: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Scene number `position` and what the network should say of it."""
        sample = self.scenes.sample(position)
        spec, image = sample["spec"], sample["image"]
        target = self.target(spec)
        rng = np.random.Generator(np.random.PCG64((self.seed, position, 1)))
        if rng.random() < self.spoilt:
            image = self._spoilt(image, spec, target, rng)
        return image, target

    def target(self, spec: dict[str, Any]) -> dict[str, Any]:
        """What the network should say of a specification."""
        noun, tint = np.full(_MOST, -1), np.zeros(_MOST, np.int64)
        box = np.zeros((_MOST, 4), np.float32)
        for number, thing in enumerate(spec["objects"]):
            noun[number] = self.index[thing["noun"]]
            tint[number] = TINTS.index(thing["tint"])
            box[number] = thing["box"]
        ground = GROUNDS.index(spec["background"]["colour"])
        return {"noun": noun, "tint": tint, "box": box, "ground": ground}

    def _spoilt(
        self,
        image: NDArray[np.uint8],
        spec: dict[str, Any],
        target: dict[str, Any],
        rng: np.random.Generator,
    ) -> NDArray[np.uint8]:
        """One object that is a stranger, or halves of two, or nine pieces in another order."""
        number = int(rng.integers(len(spec["objects"])))
        x, y, width, height = (round(value * SIDE) for value in spec["objects"][number]["box"])
        image = image.copy()
        part = image[y : y + height, x : x + width]
        kind = rng.random()
        if kind < 0.4 and self.strangers:
            part[:] = self._with(spec, number, _pick(self.strangers, rng))[y:, x:][:height, :width]
        elif kind < 0.7:
            other = _pick(self.scenes.corpus.glyphs, rng)
            if other["noun"] == spec["objects"][number]["noun"]:
                return image
            half = np.s_[: height // 2] if rng.random() < 0.5 else np.s_[:, : width // 2]
            part[half] = self._with(spec, number, other)[y:, x:][:height, :width][half]
        else:
            _disorder(part, rng)
        target["noun"][number] = len(self.nouns)
        return image

    def _with(self, spec: dict[str, Any], number: int, other: Glyph) -> NDArray[np.uint8]:
        """The scene with another drawing in the place of one of its objects."""
        objects = [dict(thing) for thing in spec["objects"]]
        objects[number] |= {"id": other["id"], "tint": None}
        return self.scenes.render(spec | {"objects": objects})


def _pick(glyphs: list[Glyph], rng: np.random.Generator) -> Glyph:
    return glyphs[int(rng.integers(len(glyphs)))]


def _disorder(part: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Cut into three by three pieces, and put these back in another order."""
    high, wide = len(part) // 3, part.shape[1] // 3
    cells = [np.s_[r * high : (r + 1) * high, c * wide : (c + 1) * wide] for r, c in _NINE]
    pieces = [part[cell].copy() for cell in cells]
    for cell, piece in zip(cells, rng.permutation(9), strict=True):
        part[cell] = pieces[piece]


def loss_of(out: Output, target: dict[str, Tensor]) -> Tensor:
    """Focal loss for the middles (arXiv 1904.07850, eq. 1) plus what is said at them."""
    noun, box = target["noun"], target["box"]  # (B, N), (B, N, 4)
    present = noun >= 0
    middle = (box[..., :2] + box[..., 2:] / 2) * CELLS  # (B, N, 2)
    cell = middle.floor().clamp(0, CELLS - 1)
    line = torch.arange(CELLS, device=box.device) + 0.5
    dx = line - (cell[..., :1] + 0.5)  # (B, N, G)
    dy = line - (cell[..., 1:] + 0.5)
    bump = torch.exp(-(dy[..., :, None] ** 2 + dx[..., None, :] ** 2) / 0.8)  # (B, N, G, G)
    heat = (bump * present[..., None, None]).amax(1)
    batch, which, column, row = _near(middle, present)
    said = (batch, slice(None), row, column)
    goal = box[batch, which]
    off = middle[batch, which] - torch.stack([column, row], 1) - 0.5
    wanted = torch.cat([off, goal[:, 2:].clamp(min=1e-3).log()], 1)  # (M, 4)
    return (
        _focal(out.middle, heat, int(present.sum()))
        + F.cross_entropy(out.noun[said], noun[batch, which], label_smoothing=0.02)
        + 0.7 * _tint_loss(out.tint[said], target["tint"][batch, which], noun[batch, which], out)
        + 0.5 * F.smooth_l1_loss(out.box[said], wanted, beta=0.1)
        + 0.3 * F.cross_entropy(out.ground, target["ground"])
    )


def _tint_loss(said: Tensor, tint: Tensor, noun: Tensor, out: Output) -> Tensor:
    """What is spoilt has no colour to learn."""
    known = noun < out.noun.shape[1] - 1
    return F.cross_entropy(said[known], tint[known]) if known.any() else said.sum() * 0


def _near(middle: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Picture, object, column and row of each cell within 0.8 cells of an object's middle."""
    line = torch.arange(CELLS, device=middle.device) + 0.5
    across = (line - middle[..., :1]) ** 2  # (B, N, G)
    down = (line - middle[..., 1:]) ** 2
    near = (down[..., :, None] + across[..., None, :] < 0.64) & present[..., None, None]
    batch, which, row, column = near.nonzero(as_tuple=True)
    return batch, which, column, row


def _focal(logits: Tensor, heat: Tensor, objects: int) -> Tensor:
    sure = logits.sigmoid()
    hit = (1 - sure) ** 2 * F.logsigmoid(logits)
    miss = (1 - heat) ** 4 * sure**2 * F.logsigmoid(-logits)
    return -torch.where(heat > 0.999, hit, miss).sum() / max(objects, 1)
