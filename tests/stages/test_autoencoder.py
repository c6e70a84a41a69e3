"""What an autoencoder learns from, each part against a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from unclip.errors import UsageError
from unclip.rng import BatchRng
from unclip.stages import Stage
from unclip.stages.autoencoder import (
    AutoencoderStage,
    AutoencoderStageConfig,
    divergence,
    pyramid_l1,
    repeating,
    spread,
    turned,
)
from unclip.types import Cond

MakeStage = Callable[..., Stage]


def test_the_pyramid_of_an_error_by_hand() -> None:
    """A constant is in the coarsest level alone, a checkerboard in the finest alone."""
    constant = torch.full((2, 3, 8, 8), -0.5)
    assert pyramid_l1(constant, 3).tolist() == [0.5, 0.5]
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    board = (1.0 - 2 * ((rows + columns) % 2)).expand(1, 3, 8, 8)
    assert pyramid_l1(board, 3).tolist() == [1.0]


def test_a_grid_is_found_and_an_error_without_one_is_not() -> None:
    tile = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    grid = tile.repeat(1, 1, 4, 4)
    assert float(repeating(grid, 8)) == pytest.approx(1, abs=1e-5)
    noise = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert float(repeating(noise, 8).mean()) == pytest.approx(1 / 16, rel=0.1)  # of 16 cells
    assert float(repeating(torch.ones(1, 3, 16, 16), 8)) == 0
    both = grid / grid.std() + noise[:1] / noise[:1].std()
    assert 0.3 < float(repeating(both, 8)) < 0.7


def test_a_channel_that_says_nothing_shows_in_the_spread() -> None:
    latents = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    latents[:, 3] = 0.7
    found = spread(latents)
    assert float(found["latent_std_least"]) == pytest.approx(0, abs=1e-6)
    assert float(found["latent_std_most"]) == pytest.approx(1, abs=0.15)


def test_turned_makes_the_eight_pictures_of_a_square_and_commutes_with_shrinking() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4).expand(8, 1, 4, 4)
    every = turned(x, torch.arange(8))
    assert torch.equal(every[0], x[0])
    assert len({tuple(one.flatten().tolist()) for one in every}) == 8
    corners = {float(v) for v in (0, 3, 12, 15)}
    assert all({float(one[0, a, b]) for a in (0, 3) for b in (0, 3)} == corners for one in every)
    small = torch.nn.functional.avg_pool2d(every, 2)
    assert torch.equal(small, turned(torch.nn.functional.avg_pool2d(x, 2), torch.arange(8)))


def test_the_divergence_is_none_of_unit_noise_and_that_of_its_formula() -> None:
    log_variance = torch.tensor([0.0, math.log(4.0)]).view(2, 1, 1, 1).expand(2, 4, 3, 3)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(0.0, 2.0), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(divergence(log_variance), torch.stack([expected * 0, expected]))


def test_a_perfect_autoencoder_has_no_loss_and_turning_is_what_its_truth_is_too(
    make_stage: MakeStage,
) -> None:
    """Pictures as their own latents, which turn and shrink with them."""
    stage: Any = make_stage("autoencoder", noise=0.0, turned_share=1.0)

    class Same(torch.nn.Module):
        config, decoder = stage.net.config, torch.nn.Module()

        def moments(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            return x, None

        def features(self, x: torch.Tensor) -> torch.Tensor:
            return x

        decode = features

    net = Same()
    net.decoder.head = net.features  # type: ignore[assignment]
    perfect: AutoencoderStage = stage.with_net(net)
    made = perfect.reconstructed(Cond(image=torch.rand(8, 3, 8, 8)), BatchRng(0, 8))
    assert made.loss.tolist() == [0] * 8
    assert float(made.metrics["psnr"].min()) == pytest.approx(106, abs=0.1)  # of no error at all


def test_noise_is_what_the_settings_say(make_stage: MakeStage) -> None:
    """Even on [0, noise] over samples: a mean square of noise^2 / 3."""
    stage: Any = make_stage("autoencoder", noise=0.3)
    mean = torch.zeros(512, 4, 4, 4)
    drawn = stage._noised(mean, None, BatchRng(0, 512))
    assert float(drawn.square().mean()) == pytest.approx(0.03, rel=0.1)
    learned = stage._noised(mean, mean + math.log(0.25), BatchRng(0, 512))
    assert float(learned.std()) == pytest.approx(0.5, rel=0.02)


def test_the_kl_variant_learns_its_noise(make_stage: MakeStage) -> None:
    stage: Any = make_stage("autoencoder")
    network = {**stage.config.network.dump(), "gaussian": True}
    one = make_stage("autoencoder", network=network, kl_weight=0.5)
    loss, metrics = one.loss(Cond(image=torch.rand(4, 3, 8, 8)), BatchRng(0, 4))
    parts = metrics["l1"] + metrics["pyramid"] + 0.25 * metrics["shrunk"] + 0.5 * metrics["kl"]
    torch.testing.assert_close(loss.detach(), parts)
    loss.mean().backward()  # type: ignore[no-untyped-call]
    of_variance = one.net.get_submodule("encoder.conv_out").weight.grad[4:]  # type: ignore[index]
    assert of_variance.any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 250}, "image_size 250 is not a multiple of 8"),
        ({"crop": 24}, "crop 24 is not a multiple of 16"),
        ({"image_size": 64, "crop": 128}, "crop 128 is not .* 64 at most"),
        ({"noize": 1.0}, "unknown setting 'noize'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        AutoencoderStageConfig.parse(changes)
