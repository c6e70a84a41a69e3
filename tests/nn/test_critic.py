from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from unclip.nn.critic import Critic, laplacian


def test_one_logit_a_place_of_each_feature_map() -> None:
    critic, x0 = Critic([8, 4], condition=6), torch.randn(3, 3, 8, 10)
    maps = [torch.randn(3, 8, 4, 5), torch.randn(3, 4, 2, 2)]
    first, second, patches = critic(x0, maps, torch.randn(3, 6))
    assert first.shape == (3, 20)
    assert second.shape == (3, 4)
    assert patches.shape == (3, 20)  # of half the side
    alone, *_ = Critic([8, 4], condition=0)(x0, maps, None)
    assert alone.shape == (3, 20)


def test_alone_its_convolutions_look_at_small_patches() -> None:
    """Each logit sees a part of the picture, and nothing of the rest."""
    critic, x0 = Critic([], condition=0), torch.randn(2, 3, 32, 32)
    (logits,) = critic(x0, [], None)
    assert logits.shape == (2, 64)
    changed = x0.clone()
    changed[:, :, :, 28:] += 1.0
    apart = (critic(changed, [], None)[0] != logits).view(2, 8, 8).any(0).any(0)
    assert apart.any()
    assert not apart[:3].any()


def test_a_whole_picture_has_one_logit_that_depends_on_where_things_are() -> None:
    critic = Critic([], condition=6, whole=True)
    x0 = torch.zeros(2, 3, 16, 16)
    x0[0, :, :8, :8] = x0[1, :, 8:, 8:] = 1.0
    (logits,) = critic(x0, [], torch.zeros(2, 6))
    assert logits.shape == (2, 1)
    assert not torch.allclose(logits[0], logits[1])
    asked = torch.eye(6)[:2]
    (other,) = critic(x0[:1].expand(2, -1, -1, -1), [], asked)
    assert not torch.allclose(other[0], other[1])
    assert critic(torch.zeros(1, 3, 24, 20), [], asked[:1])[0].shape == (1, 1)


def test_the_laplacian_of_a_plane_is_zero() -> None:
    rows = torch.arange(6.0).view(1, 1, 6, 1) + 2 * torch.arange(5.0).view(1, 1, 1, 5)
    picture = torch.cat([rows, rows**2], dim=1)
    plane, square = laplacian(picture)[0, :, 1:-1, 1:-1]
    assert torch.equal(plane, torch.zeros(4, 3))
    assert torch.equal(square, torch.full((4, 3), 10.0))  # 2 + 2 · 2²


def test_the_condition_is_a_projection() -> None:
    """arXiv 1802.05637, eq. 3: the logits are linear in the condition."""
    critic = Critic([8], condition=6)
    maps, one, x0 = [torch.randn(3, 8, 4, 4)], torch.randn(3, 6), torch.zeros(3, 3, 8, 8)
    none, once, twice = (critic(x0, maps, scale * one)[0] for scale in (0, 1, 2))
    assert torch.allclose(twice - none, 2 * (once - none), atol=1e-5)
    assert not torch.allclose(once, none)


def test_features_come_as_they_are_scaled() -> None:
    critic = Critic([8], condition=0)
    maps, x0 = torch.randn(3, 8, 4, 4), torch.zeros(3, 3, 8, 8)
    one, other = (critic(x0, [value], None)[0] for value in (maps, 100 * maps + 7))
    assert torch.allclose(one, other, atol=1e-4)


def test_a_network_tells_what_it_sees(make_stage: Callable[..., Any]) -> None:
    net = make_stage("decoder").net
    config = net.config

    def seen(z_i: torch.Tensor) -> list[torch.Tensor]:
        tokens = torch.ones(2, config.text.context, dtype=torch.long)
        given = {"image_embed": z_i, "text_tokens": tokens, "text_mask": tokens > 0}
        picture = torch.ones(2, 3, config.image_size, config.image_size)
        maps: list[torch.Tensor] = net.features(
            picture, torch.tensor([10.0, 500.0]), net.encode(given)
        )
        return maps

    maps, other = (seen(value * torch.ones(2, config.embed_dim)) for value in (0.0, 1.0))
    assert [one.shape[1] for one in maps] == net.feature_channels
    sides = [one.shape[-1] for one in maps]
    assert sides[:-1] == sorted(set(sides), reverse=True)
    assert not torch.allclose(maps[-1], other[-1])  # the condition is seen
