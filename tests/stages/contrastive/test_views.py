"""Views of pictures, where what they must be is known."""

from __future__ import annotations

import torch

from unclip.rng import BatchRng
from unclip.stages.contrastive.views import Augmentation, augmented

NOTHING = {"area": 1.0, "flip": 0.0, "colour": 0.0, "grey": 0.0, "blur": 0.0}
IMAGE = torch.rand(4, 3, 8, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1


def view(image: torch.Tensor = IMAGE, first: int = 0, **options: float) -> torch.Tensor:
    return augmented(
        image, Augmentation(**{**NOTHING, **options}), BatchRng(0, len(image), first=first)
    )


def test_nothing_asked_for_is_nothing_done() -> None:
    """But for the sides of a crop of all of the picture, which are at most 1."""
    flat = torch.full((4, 3, 8, 6), 0.3)
    assert torch.allclose(view(flat), flat, atol=1e-6)
    centre = view(flip=1.0)
    assert torch.allclose(centre, view().flip(3), atol=1e-5)


def test_grey_has_no_colour_and_the_same_luma() -> None:
    seen = view(grey=1.0)
    assert torch.allclose(seen[:, 0], seen[:, 1]) and torch.allclose(seen[:, 0], seen[:, 2])
    luma = (view() * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
    assert torch.allclose(seen[:, 0], luma, atol=1e-5)


def test_blur_spreads_a_point_binomially() -> None:
    point = -torch.ones(4, 3, 9, 9)
    point[:, :, 4, 4] = 1
    plain, blurred = view(point), view(point, blur=1.0)
    assert torch.allclose(plain.sum((2, 3)), blurred.sum((2, 3)), atol=1e-3)
    assert bool((blurred.amax((2, 3)) < plain.amax((2, 3))).all())


def test_views_stay_in_range_and_differ_from_sample_to_sample() -> None:
    same = IMAGE[:1].expand(4, -1, -1, -1)
    seen = augmented(same, Augmentation(), BatchRng(0, 4))
    assert seen.shape == same.shape
    assert float(seen.abs().max()) <= 1
    assert all(not torch.allclose(seen[0], other) for other in seen[1:])


def test_a_view_depends_on_its_place_in_the_stream_alone() -> None:
    options = {"area": 0.3, "flip": 0.5, "colour": 0.4, "grey": 0.2, "blur": 0.5}
    assert torch.allclose(view(**options)[1:3], view(IMAGE[1:3], first=1, **options), atol=1e-6)
