"""Numbers of pictures."""

from __future__ import annotations

import pytest
import torch

from unclip.media.measures import laplacian, psnr


def test_psnr_is_that_of_its_definition() -> None:
    """An error of a tenth of the range everywhere is 20 dB; beyond white there is nothing."""
    truth = torch.zeros(1, 3, 4, 4)
    assert float(psnr(truth + 0.2, truth)) == pytest.approx(20, abs=1e-4)
    assert float(psnr(truth + 3, truth + 1)) == float(psnr(truth, truth)) > 100


def test_the_laplacian_of_a_plane_is_zero() -> None:
    rows = torch.arange(6.0).view(1, 1, 6, 1) + 2 * torch.arange(5.0).view(1, 1, 1, 5)
    picture = torch.cat([rows, rows**2], dim=1)
    plane, square = laplacian(picture)[0, :, 1:-1, 1:-1]
    assert torch.equal(plane, torch.zeros(4, 3))
    assert torch.equal(square, torch.full((4, 3), 10.0))  # 2 + 2 · 2²
