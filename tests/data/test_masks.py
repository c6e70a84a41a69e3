"""Which pixels of a picture count: its alpha channel, or a file beside it, cut as it is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip.data.folder import Folder, FolderConfig
from unclip.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A 32 x 16 picture whose left half is transparent; its mask's file is white at the top."""
    pixels = np.zeros((16, 32, 4), np.uint8)
    pixels[:, 16:, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "fox.png")
    white = np.zeros((16, 32), np.uint8)
    white[:8] = 255
    Image.fromarray(white).save(tmp_path / "fox-masklabel.png")
    (tmp_path / "fox.txt").write_text("a fox")
    return tmp_path


def masked(folder: Path, kind: Any, size: tuple[int, int] = (16, 16)) -> Any:
    return Folder(FolderConfig(path=folder, mask=kind), size)


def test_the_alpha_channel(folder: Path) -> None:
    """The middle square is seen: columns 8 to 24, of which the right half is opaque."""
    mask = masked(folder, "alpha").sample(0)["mask"]
    assert mask.shape == (16, 16) and mask.dtype == np.uint8
    assert not mask[:, :8].any() and (mask[:, 8:] == 255).all()


def test_a_file_beside_it_is_no_picture_of_its_own(folder: Path) -> None:
    source = masked(folder, "file")
    assert [path.name for path, _ in source.pairs] == ["fox.png"] and source.notes() == []
    mask = source.sample(0)["mask"]
    assert (mask[:8] == 255).all() and not mask[8:].any()
    assert "mask" not in masked(folder, None).sample(0)


def test_a_mask_that_is_missing_or_of_another_shape_is_named(folder: Path) -> None:
    Image.new("L", (16, 16)).save(folder / "fox-masklabel.png")
    with pytest.raises(DataError, match=r"must have the picture's shape, 32x16, got 16x16"):
        masked(folder, "file").sample(0)
    (folder / "fox-masklabel.png").unlink()
    with pytest.raises(DataError, match=r"fox\.png has no mask beside it, fox-masklabel\.png"):
        masked(folder, "file").sample(0)
