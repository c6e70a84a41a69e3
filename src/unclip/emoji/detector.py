"""The first judge: a small convolutional network that finds objects by their middles.

A grid of cells looks at the picture, as CenterNet does (arXiv 1904.07850): each cell tells whether
an object's middle is there, and which object, in which colour, in which box. It is trained on
renderings alone and never sees a generator's picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CheckpointError
from ..files import atomic_folder, write_json
from ..plain import read_json
from .backgrounds import PALETTE
from .colours import COLOURS
from .judge import UNKNOWN, Detection, Detections, Pictures

SIDE = 96
CELLS = SIDE // 8
TINTS: tuple[str | None, ...] = (None, *COLOURS)
GROUNDS = tuple(PALETTE)
_FORMAT = 1
_BATCH = 64
_SAME = 0.6  # share of a box that lies in another, from which the two are one thing
_SURE = 0.4  # how sure of a middle counts as an object


@dataclass(frozen=True)
class Output:
    """What the network says of a batch, logits where not told otherwise."""

    middle: Tensor  # (B, G, G)
    noun: Tensor  # (B, K + 1, G, G), the last for what is none of them
    tint: Tensor  # (B, T, G, G)
    box: Tensor  # (B, 4, G, G): the middle off the cell's, in cells; log of width and height
    ground: Tensor  # (B, P)


class DetectorNet(nn.Module):
    """(B, 3, 96, 96) in 0..1 -> `Output` on a 12 x 12 grid."""

    def __init__(self, nouns: int, width: int = 96) -> None:
        super().__init__()
        self.parts = (1, nouns + 1, len(TINTS), 4)
        self.stem = nn.Sequential(
            _conv(3, width // 4, stride=2),
            _conv(width // 4, width // 2, stride=2),
            _Residual(width // 2),
            _conv(width // 2, width, stride=2),
        )
        self.body = nn.Sequential(*(_Residual(width, dilation) for dilation in (1, 2, 1)))
        self.whole = nn.Linear(width, width)
        self.ground = nn.Linear(width, len(GROUNDS))
        self.head = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, sum(self.parts), 1),
        )
        bias = self.head[-1].bias
        assert isinstance(bias, Tensor)
        nn.init.constant_(bias[:1], -4.0)  # hardly any cell is a middle

    def forward(self, images: Tensor) -> Output:
        """Pictures in 0..1."""
        x = self.body(self.stem(images * 2 - 1))  # (B, C, G, G)
        mean = x.mean((2, 3))
        x = x + self.whole(mean)[..., None, None]
        middle, noun, tint, box = self.head(x).float().split(self.parts, 1)
        return Output(middle[:, 0], noun, tint, box, self.ground(mean).float())


def _conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    )


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _conv(width, width, dilation=dilation)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.second(self.first(x)))


class Detector:
    """A trained network as a judge."""

    name = "detector"

    def __init__(self, net: DetectorNet, nouns: tuple[str, ...], about: dict[str, Any]) -> None:
        self.net, self.nouns, self.about = net.eval(), nouns, about
        self.hash = hashlib.sha256(_packed(net)).hexdigest()[:16]

    @torch.inference_mode()
    def look(self, pictures: Pictures) -> list[Detections]:
        """What each of (B, H, W, 3) pictures of any size shows."""
        seen: list[Detections] = []
        for start in range(0, len(pictures), _BATCH):
            seen += self.read(self.net(_shrunk(pictures[start : start + _BATCH])))
        return seen

    def read(self, out: Output) -> list[Detections]:
        """What the network says, as things."""
        sure = out.middle.sigmoid()
        peak = F.max_pool2d(sure[:, None], 3, 1, 1)[:, 0]
        found = (sure == peak) & (sure > _SURE)  # (B, G, G)
        grounds = out.ground.argmax(1).tolist()
        return [
            Detections(
                tuple(_distinct(self._things(out, sure, number, found[number]))), GROUNDS[ground]
            )
            for number, ground in enumerate(grounds)
        ]

    def _things(self, out: Output, sure: Tensor, number: int, found: Tensor) -> Iterator[Detection]:
        for row, column in found.nonzero().tolist():
            noun = out.noun[number, :, row, column].softmax(0)
            dx, dy, wide, high = out.box[number, :, row, column].tolist()
            width, height = np.exp([wide, high]).tolist()
            x, y = (column + 0.5 + dx) / CELLS, (row + 0.5 + dy) / CELLS
            best = int(noun.argmax())
            yield Detection(
                (*self.nouns, UNKNOWN)[best],
                TINTS[int(out.tint[number, :, row, column].argmax())],
                (x - width / 2, y - height / 2, width, height),
                float(sure[number, row, column] * noun[best]),
            )

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` (float16) and `detector.json`, whole or not at all."""
        with atomic_folder(folder) as beside:
            (beside / "weights.safetensors").write_bytes(_packed(self.net))
            width = self.net.whole.in_features
            head = {"format": _FORMAT, "hash": self.hash, "width": width, "nouns": self.nouns}
            write_json(beside / "detector.json", head | {"about": self.about})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            CheckpointError: a file is missing, damaged or not what was hashed.
        """
        try:
            head = read_json(folder / "detector.json")
            net = DetectorNet(len(head["nouns"]), head["width"])
            packed = (folder / "weights.safetensors").read_bytes()
            net.load_state_dict(_unpacked(packed))
            found = cls(net, tuple(head["nouns"]), head["about"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"cannot read the detector in {folder}: {error}") from None
        if found.hash != head["hash"]:
            raise CheckpointError(
                f"the detector in {folder} is not the one that was saved: its weights hash to "
                f"{found.hash}, detector.json says {head['hash']}"
            )
        return found


def _distinct(things: Iterator[Detection]) -> list[Detection]:
    """Of things in nearly one place only the surest."""
    kept: list[Detection] = []
    for thing in sorted(things, key=lambda thing: -thing.confidence):
        if all(_overlap(thing, other) < _SAME for other in kept):
            kept.append(thing)
    return kept


def _overlap(first: Detection, second: Detection) -> float:
    """The share of the smaller box that lies in the other."""
    (a, b, c, d), (e, f, g, h) = first.box, second.box
    wide = max(min(a + c, e + g) - max(a, e), 0.0)
    high = max(min(b + d, f + h) - max(b, f), 0.0)
    return wide * high / max(min(c * d, g * h), 1e-9)


def _packed(net: nn.Module) -> bytes:
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    return save_tensors({k: v.half().contiguous() for k, v in state.items()})


def _unpacked(packed: bytes) -> dict[str, Tensor]:
    state = {k: v.float() for k, v in load_tensors(packed).items()}
    for key in [key for key in state if key.endswith("running_var")]:
        state[key.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    return state


def _shrunk(pictures: Pictures) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, 96, 96) in 0..1, antialiased."""
    return torch.stack([_tensor(picture) for picture in pictures])


def _tensor(picture: NDArray[np.uint8]) -> Tensor:
    if picture.shape[:2] != (SIDE, SIDE):
        image = Image.fromarray(np.ascontiguousarray(picture))
        picture = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
