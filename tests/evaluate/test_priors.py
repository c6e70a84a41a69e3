"""Finding one's own picture: ranks that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.data.source import IndexedSource, Sample
from unclip.errors import DataError
from unclip.evaluate import priors
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.types import Cond


class Colours(IndexedSource):
    """Plain pictures whose caption is one of a few words."""

    def __init__(self, words: list[str]) -> None:
        super().__init__()
        self.words = words

    def sample(self, position: int) -> Sample:
        shade = np.full((8, 8, 3), 40 * position % 256, np.uint8)
        return {"image": shade, "caption": self.words[position % len(self.words)]}

    def captions(self, count: int) -> Iterator[str]:
        return (self.words[position % len(self.words)] for position in range(count))


def test_twice_gives_two_scenes_of_each_caption() -> None:
    source = Colours(["a", "b", "a", "c", "b", "a", "d"])
    assert priors.twice(source, 2, 7) == [(0, 2), (1, 4)]


def test_too_few_captions_that_come_twice() -> None:
    with pytest.raises(DataError, match=r"3 captions that come twice .* first 7 scenes .* have 2"):
        priors.twice(Colours(["a", "b", "a", "c", "b", "a", "d"]), 3, 7)


def test_ranks() -> None:
    truth = F.normalize(torch.eye(8) + 0.1, dim=-1)
    found = priors.found(truth, truth)
    assert (found.first.right, found.fifth.right) == (8, 8)
    assert found.cosine == pytest.approx(1)
    moved = truth.roll(1, 0)  # each is exactly another's
    found = priors.found(moved, truth)
    assert found.first.right == 0


def test_a_fifth_place_counts_as_fifth() -> None:
    """Row 0 lies behind four others and before the rest."""
    truth = torch.eye(8)
    z = torch.eye(8)
    z[0] = torch.tensor([0.5, 0.9, 0.8, 0.7, 0.6, 0.1, 0, 0])
    found = priors.found(z, truth)
    assert (found.first.right, found.fifth.right) == (7, 8)


def test_diversity_of_what_never_varies_is_0_and_of_opposites_is_known() -> None:
    cond = Cond(text_embed=torch.zeros(3, 2))
    fixed = torch.tensor([[1.0, 0]])
    assert priors.diversity(lambda c, s: fixed.expand(len(c), 2), cond, 0) == 0

    def turning(cond: Cond, seeds: list[str]) -> Tensor:
        """Draw k points in direction k, at right angles to the one before."""
        angle = torch.tensor([int(seed.split("/")[1]) * torch.pi / 2 for seed in seeds])
        return torch.stack([angle.cos(), angle.sin()], 1)

    # of the six pairs of four directions four are at right angles (1) and two opposite (2)
    assert priors.diversity(turning, cond, 0) == pytest.approx((4 * 1 + 2 * 2) / 6, rel=1e-5)


def test_a_model_is_compared(make_stage: Callable[..., Stage], tokenizer: Tokenizer) -> None:
    """Each prior once, between z_t and the ceiling; the batch changes nothing."""
    source = Colours(["a red car", "the fox", "a dog", "two blue apples", "a table"])
    clip = make_stage("clip")
    held = priors.hold(source, tokenizer, clip, priors.twice(source, 5, 10))  # type: ignore[arg-type]
    stages = {name: make_stage(name) for name in ("clip", "prior", "linear_prior", "decoder")}
    found = dict(priors.compare(stages, held, seed=3))
    assert list(found) == ["none", "prior", "linear_prior", "another true picture"]
    assert found["none"].diversity == 0 and found["linear_prior"].diversity == pytest.approx(
        0, abs=1e-6
    )
    assert found["prior"].diversity is not None and found["prior"].diversity > 1e-4
    draw = priors.drawing(stages["prior"])
    seeds = [str(index) for index in range(5)]
    alone = draw(held.cond.map(lambda value: value[3:4]), seeds[3:4])
    torch.testing.assert_close(draw(held.cond, seeds)[3:4], alone)
