"""Copies are found, and what is no copy is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unclip.errors import DataError
from unclip.evaluate.image_set import ImageSet, pixels
from unclip.evaluate.memorisation import copying


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_copies_of_training_pictures_have_a_ratio_of_0() -> None:
    trained, unseen = randn(0, 50, 8), randn(1, 50, 8)
    found = copying(trained[[7, 3, 41]], trained, unseen)
    assert found.ratio.tolist() == [0, 0, 0]
    assert found.trained.tolist() == [7, 3, 41]
    assert (found.nearer.right, found.copies.right) == (3, 3)


def test_copies_of_unseen_pictures_are_none() -> None:
    trained, unseen = randn(0, 50, 8), randn(1, 50, 8)
    found = copying(unseen[:5], trained, unseen)
    assert found.nearer.right == 0 and found.copies.right == 0
    assert float(found.ratio.min()) > 1e6
    assert found.unseen.tolist() == [0, 1, 2, 3, 4]


def test_fresh_pictures_are_nearer_half_of_the_time() -> None:
    found = copying(randn(2, 600, 6), randn(0, 300, 6), randn(1, 300, 6))
    low, high = found.nearer.interval
    assert low < 0.5 < high
    assert found.median == pytest.approx(1, abs=0.05)


def test_a_larger_pool_is_cut() -> None:
    """Or the larger side would be nearer by its size alone."""
    trained, unseen, drawn = randn(0, 1000, 4), randn(1, 40, 4), randn(2, 400, 4)
    cut = copying(drawn, trained, unseen)
    assert cut.ratio.tolist() == copying(drawn, trained[:40], unseen).ratio.tolist()
    assert int(cut.trained.max()) < 40


def test_what_lies_in_both_pools_says_nothing() -> None:
    same = randn(0, 20, 4)
    found = copying(same, same, same)
    assert found.ratio.tolist() == [1] * 20
    assert found.nearer.value == 0.5


def test_the_worst_come_first() -> None:
    trained, unseen = randn(0, 50, 8), randn(1, 50, 8)
    drawn = torch.stack([unseen[3], trained[5], (trained[8] + unseen[9]) / 2])
    assert copying(drawn, trained, unseen).worst(2) == [1, 2]


def test_nan_is_refused() -> None:
    trained, unseen = randn(0, 5, 2), randn(1, 5, 2)
    with pytest.raises(DataError, match="NaN"):
        copying(torch.full((1, 2), torch.nan), trained, unseen)


def test_pixels_are_means_of_blocks() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[::2] = 255  # lines that a block of 2x2 has half of
    (row,) = pixels(ImageSet(1, [picture].__getitem__))
    assert row.shape == (3 * 32 * 32,)
    torch.testing.assert_close(row, torch.zeros_like(row), atol=1e-6, rtol=0)
