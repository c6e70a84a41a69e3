"""The judge of coloured shapes knows what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from unclip.data.shapes import Shapes, ShapesConfig, recognised


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (24, 40)])
def test_what_was_drawn_is_recognised(size: tuple[int, int]) -> None:
    """Of 200 pictures all, each close to its own shape: whatever the place and the size."""
    shapes = Shapes(ShapesConfig(seed=3), size)
    for sample in map(shapes.sample, range(200)):
        colour, shape, fit = recognised(sample["image"])
        assert {"colour": colour, "shape": shape} == sample["spec"]
        assert fit > 0.85


def test_noise_on_a_picture_changes_little() -> None:
    shapes, rng, right = Shapes(ShapesConfig(), (32, 32)), np.random.default_rng(0), 0
    for sample in map(shapes.sample, range(100)):
        noisy = sample["image"] + rng.normal(0, 25, (32, 32, 3))
        colour, shape, _ = recognised(np.clip(noisy, 0, 255).astype(np.uint8))
        right += {"colour": colour, "shape": shape} == sample["spec"]
    assert right >= 90


def test_what_is_no_shape_fits_none() -> None:
    blank = np.full((16, 16, 3), 255, np.uint8)
    assert recognised(blank) == ("", "", 0.0)
    assert recognised(blank - 20) == ("", "", 0.0)
    cross = blank.copy()
    cross[7:9], cross[:, 7:9] = 30, 30
    assert recognised(cross)[2] < 0.6
