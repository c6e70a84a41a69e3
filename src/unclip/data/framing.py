"""Which part of a picture is seen at which size: crops, mirrored pictures, aspect buckets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..config import Config
from ..errors import UsageError
from ._picture import read_cropped, read_mask
from .source import IndexedSource, Item, Sample
from .view import View

MIDDLE = (0.5, 0.5)


class FrameSettings(Config):
    """Settings of a recipe's section `data` that every source of pictures has."""

    crop: Literal["centre", "random"] = Field(
        "centre", description="which part is seen of a picture that is longer than its frame"
    )
    flip: bool = Field(False, description="half of the samples, drawn at random, are mirrored")
    buckets: bool = Field(
        False, description="pictures keep about their aspects and none is enlarged"
    )
    bucket_step: int | None = Field(
        None, ge=1, description="sides are multiples of it; none: what the network needs"
    )
    bucket_aspect: float = Field(2.0, ge=1, le=8, description="longer to shorter side, at most")

    @property
    def still(self) -> FrameSettings:
        """The same with nothing drawn: the middle, as it is."""
        return self.model_copy(update={"crop": "centre", "flip": False})

    @classmethod
    def of(cls, data: Mapping[str, Any], where: str = "data") -> Self:
        """Those among the settings of a recipe's section `where`. Raises UsageError."""
        given = {key: value for key, value in data.items() if key in cls.model_fields}
        return cls.parse(given, where)


@dataclass(frozen=True)
class Frame:
    """What is seen of a picture.

    Args:
        size: (height, width) of what is seen.
        at: where it is cut out (down, across), 0 to 1.
        flip: mirrored, left to right.
    """

    size: tuple[int, int]
    at: tuple[float, float] = MIDDLE
    flip: bool = False

    @property
    def key(self) -> str:
        """Names it; frames with equal keys show the same."""
        return f"{self.size[0]}x{self.size[1]}@{self.at[0]!r},{self.at[1]!r}{'<' * self.flip}"

    def read(self, picture: Path | BytesIO) -> NDArray[np.uint8]:
        """(*size, 3): what is seen of a stored picture.

        Raises:
            DataError: it cannot be read.
        """
        return self._turned(read_cropped(picture, self.size, self.at))

    def see(self, item: Item) -> Sample:
        """What is seen of a stored picture, and of its mask where it has one. Raises DataError."""
        made: Sample = {"image": self.read(item.picture)}
        if item.mask and isinstance(item.picture, Path):
            made["mask"] = self._turned(read_mask(item.picture, item.mask, self.size, self.at))
        return made

    def _turned(self, seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(seen[:, ::-1]) if self.flip else seen


class Framed(View):
    """The samples of another source with their pictures cut and mirrored as settings say.

    What is drawn for a sample depends on the data's seed and the position alone. Pictures that a
    source makes itself have their size from the start: they can be mirrored only.
    """

    def __init__(
        self, inner: IndexedSource, settings: FrameSettings, size: tuple[int, int]
    ) -> None:
        super().__init__(inner)
        self.settings, self.size = settings, size
        self._seed = int(getattr(self.config, "seed", 0))

    @classmethod
    def whole(cls, inner: IndexedSource) -> Framed:
        """Of a source as it is: middles, at its own size."""
        return cls(inner, FrameSettings(), inner.size)

    def frame(self, position: int) -> Frame:
        """What is seen of the picture at a position."""
        draws = np.random.default_rng((self._seed, 3, position)).random(3)
        at = (float(draws[0]), float(draws[1])) if self.settings.crop == "random" else MIDDLE
        return Frame(self.size, at, self.settings.flip and bool(draws[2] < 0.5))

    def variants(self) -> Iterator[tuple[Item, list[Frame]]]:
        """Every stored picture, and all that may be seen of it.

        Raises:
            UsageError: crops are random, so that no two samples are the same.
            DataError: the source makes its pictures.
        """
        if self.settings.crop == "random":
            raise UsageError("setting 'data.crop' is 'random': no two samples are the same")
        flips = (False, True) if self.settings.flip else (False,)
        for item, size in self.sized():
            yield item, [Frame(size, flip=flip) for flip in flips]

    def sized(self) -> Iterator[tuple[Item, tuple[int, int]]]:
        """Every stored picture, and the (height, width) that it is seen at."""
        return ((item, self.size) for item in self.items())

    def sample(self, position: int) -> Sample:
        """See `IndexedSource`."""
        frame = self.frame(position)
        if self.inner.stores:
            item = self.stored(position)
            return {**frame.see(item), "caption": item.captions[0]}
        made = super().sample(position)
        if frame.flip and "image" in made:
            made["image"] = np.ascontiguousarray(made["image"][:, ::-1])
        return made
