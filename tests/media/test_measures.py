"""Numbers of pictures."""

from __future__ import annotations

import pytest
import torch

from unclip.media.measures import psnr


def test_psnr_is_that_of_its_definition() -> None:
    """An error of a tenth of the range everywhere is 20 dB; beyond white there is nothing."""
    truth = torch.zeros(1, 3, 4, 4)
    assert float(psnr(truth + 0.2, truth)) == pytest.approx(20, abs=1e-4)
    assert float(psnr(truth + 3, truth + 1)) == float(psnr(truth, truth)) > 100
