"""The autoencoder: its shortcuts, the length of its latents, and what its settings refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unclip.errors import UsageError
from unclip.nn.autoencoder import AutoencoderConfig, Enlarge, Halve, unit
from unclip.nn.latents import Latents

SMALL = {"latent_channels": 4, "space_to_depth": 2, "channels": [8, 16]}


def test_a_change_of_size_without_weights_means_and_repeats() -> None:
    """By hand: a fold's neighbouring channels are the four pixels of a place."""
    x = torch.arange(16.0).view(1, 1, 4, 4)
    halve, enlarge = Halve(1, 4), Enlarge(4, 1)
    for layer in (halve.conv, enlarge.conv):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    small = halve(x)
    assert small[0, :, 0, 0].tolist() == [0, 1, 4, 5]
    assert torch.equal(enlarge(small), x)
    torch.nn.init.zeros_((mean := Halve(4, 4)).conv.weight)
    torch.nn.init.zeros_(mean.conv.bias)  # type: ignore[arg-type]
    channels = torch.stack([x[0, 0] + 100 * n for n in range(4)])[None]
    assert mean(channels)[0, :, 0, 0].tolist() == [2.5 + 100 * n for n in range(4)]


def test_latents_have_one_length_and_how_long_they_are_says_nothing() -> None:
    torch.manual_seed(0)
    net = AutoencoderConfig.parse(SMALL).build()
    for weight in net.parameters():  # residual branches begin as nothing
        torch.nn.init.normal_(weight, std=0.2)
    latents = net.encode(torch.rand(2, 3, 8, 12) * 2 - 1)
    assert latents.shape == (2, 4, 2, 3)
    torch.testing.assert_close(latents.square().mean(1), torch.ones(2, 2, 3), rtol=1e-3, atol=0)
    torch.testing.assert_close(net.decode(3 * latents), net.decode(latents), rtol=1e-3, atol=1e-4)
    assert unit(torch.zeros(1, 4, 1, 1)).abs().max() == 0


def test_it_fills_the_space_that_published_autoencoders_do() -> None:
    net = AutoencoderConfig.parse(SMALL).build()
    space = Latents(net)
    image = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(space.encode(image), net.encode(image))
        back = space.decode(net.half().encode(image))
    assert back.shape == (2, 3, 8, 8) and back.dtype == torch.float32 and back.abs().max() <= 1


def test_the_usual_size_is_what_the_docs_say() -> None:
    """8 pixels' side and 8 channels a latent, about 3 GFLOP to decode 256 x 256."""
    config = AutoencoderConfig()
    assert (config.factor, config.width) == (8, 8)
    with torch.device("meta"):
        net, latents = config.build(), torch.empty(1, 8, 32, 32)
    with FlopCounterMode(display=False) as counter:
        assert net.decode(latents).shape == (1, 3, 256, 256)
    assert 2.5e9 < counter.get_total_flops() < 3.6e9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"channels": [64, 96]},
            "96, must be a multiple of 4 and divide 4 times those of the level before, 64",
        ),
        ({"latent_channels": 5}, "must be a multiple of latent_channels 5"),
    ],
)
def test_shortcuts_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        AutoencoderConfig.parse(changes)
