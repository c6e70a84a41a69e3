"""examples/transformer_toy.py: the article's Transformer learns the mean, a denoiser does not."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "transformer_toy.py"


@pytest.fixture(scope="module")
def toy() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def test_squared_error_gives_the_mean_and_denoising_pictures(
    toy: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "toy.webp"
    found = toy["main"](["--seconds", "6", "--out", str(out)])
    assert found.toy_to_mean < 0.25 * found.true_to_mean
    assert found.drawn_to_mean > 5 * found.toy_to_mean
    assert found.spread > 0.3
    with Image.open(out) as picture:
        assert picture.size == (436, 520)


def test_findings_of_known_pictures(toy: dict[str, Any]) -> None:
    """Halves of a kind: the mean is gray, without edges; what is drawn is one of both, then all."""
    left = torch.ones(3, 16, 16)
    left[..., 8:] = -1
    true = [torch.stack([left, -left])]
    one, both = left.expand(1, 2, 3, 16, 16), true[0][None]
    found = toy["find"](true, torch.zeros(1, 3, 16, 16), one)
    assert (found.true_to_mean, found.toy_to_mean, found.drawn_to_mean) == (1, 0, 1)
    assert (found.drawn_edges, found.spread) == (1, 0)
    assert toy["find"](true, left[None], both).spread == 1
