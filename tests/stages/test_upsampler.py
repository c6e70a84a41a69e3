"""The upsampler: aligned crops, corrupted conditions, any size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.errors import UsageError
from unclip.nn.sharpening import warp_sharpened
from unclip.rng import BatchRng, Rng
from unclip.stages.upsampler import gaussian_blur
from unclip.types import Cond

CLEAN = {"blur": 0.0, "noise": 0.0}


def low_res_seen(stage: Any) -> list[Cond]:
    """The conditions that the network is asked to encode, as they come."""
    seen: list[Cond] = []
    encode = stage.net.encode

    def spy(given: dict[str, Tensor]) -> Any:
        seen.append(Cond(**given))
        return encode(given)

    stage.net.encode = spy
    return seen


@pytest.mark.parametrize("size", [(8, 8), (12, 4)])
def test_a_picture_becomes_twice_as_large(
    size: tuple[int, int], make_stage: Callable[..., Any]
) -> None:
    small = torch.rand(2, 3, *size) * 2 - 1
    stage = make_stage("upsampler", corruption=CLEAN)
    seen = low_res_seen(stage)
    image = stage.sample(Cond(image=small), Rng([0, 1])).image
    assert image.shape == (2, 3, 2 * size[0], 2 * size[1])
    assert torch.equal(seen[0].low_res, small.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert seen[0].low_res_level.tolist() == [0, 0]


def test_edges_are_narrowed_after_the_last_step_where_it_is_asked_for(
    make_stage: Callable[..., Any],
) -> None:
    stage, small = make_stage("upsampler"), torch.rand(2, 3, 8, 8) * 2 - 1
    drawn = [
        stage.sample(Cond(image=small), Rng([1, 2]), options, None).image
        for options in ({"steps": 2}, {"steps": 2, "sharpen": 2.0}, {"steps": 2, "sharpen": 0.0})
    ]
    assert torch.equal(drawn[1], warp_sharpened(drawn[0], 2.0))
    assert torch.equal(drawn[2], drawn[0]) and not torch.equal(drawn[1], drawn[0])
    own = {**stage.config.sampling.dump(), "steps": 2, "sharpen": 2.0}
    narrowed = make_stage("upsampler", sampling=own)
    narrowed.net.load_state_dict(stage.net.state_dict())
    again = narrowed.sample(Cond(image=small), Rng([1, 2]), {}, None).image
    assert torch.equal(again, drawn[1])


def test_sampling_noise_is_as_strong_as_its_level_says(make_stage: Callable[..., Any]) -> None:
    stage = make_stage("upsampler", corruption={"noise": 0.4, "at_sampling": 0.5})
    seen = low_res_seen(stage)
    stage.sample(Cond(image=torch.zeros(1, 3, 64, 64)), Rng([0]), {"steps": 1})
    noise = seen[0].low_res
    assert float(noise.std()) == pytest.approx(0.2, rel=0.03)
    assert seen[0].low_res_level.tolist() == [0.5]


def test_training_crops_are_aligned_and_their_small_copy_is_their_own(
    make_stage: Callable[..., Any],
) -> None:
    """Each pixel of a numbered picture says where the crop was taken."""
    stage = make_stage("upsampler", corruption=CLEAN)
    seen = low_res_seen(stage)
    truth: list[Tensor] = []
    original = stage.denoising_loss
    stage.denoising_loss = lambda cond, target, rng: (
        truth.append(target) or original(cond, target, rng)
    )
    number = torch.arange(16.0 * 16).view(1, 1, 16, 16).expand(64, 3, 16, 16) / 256
    stage.loss(Cond(image=number), BatchRng(0, 64))
    crop = truth[0]
    assert crop.shape == (64, 3, 8, 8)
    corners = (crop[:, 0, 0, 0] * 256).round().long()
    rows, columns = (corners // 16).tolist(), (corners % 16).tolist()
    assert set(rows) == set(columns) == {0, 2, 4, 6, 8}
    for one, y, x in zip(crop, rows, columns, strict=True):
        assert torch.equal(one, number[0, :, y : y + 8, x : x + 8])
    wide = torch.arange(16.0 * 32).view(1, 1, 16, 32).expand(64, 3, 16, 32) / 512
    cut = stage.example(Cond(image=wide), BatchRng(0, 64))[1]
    seen_at = (cut[:, 0, 0, 0] * 512).round().long()
    assert set((seen_at // 32).tolist()) == {0, 2, 4, 6, 8}
    assert max((seen_at % 32).tolist()) == 24
    small = F.avg_pool2d(crop, 2)
    expected = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(seen[0].low_res, expected, atol=1e-6)


def test_a_small_picture_that_is_given_is_cut_at_the_same_place(
    make_stage: Callable[..., Any],
) -> None:
    stage = make_stage("upsampler", corruption={"blur": 1.0, "noise": 1.0})
    number = torch.arange(8.0 * 8).view(1, 1, 8, 8).expand(64, 3, 8, 8) / 64
    large = number.repeat_interleave(2, 2).repeat_interleave(2, 3)
    level = torch.rand(64)
    given = Cond(image=large, low_res=number, low_res_level=level)
    shown, crop = stage.example(given, BatchRng(0, 64))
    assert torch.equal(shown.low_res, crop)  # nearest, of what is the same picture
    assert torch.equal(shown.low_res_level, level)


def test_crops_are_a_quarter_unless_said_otherwise(make_stage: Callable[..., Any]) -> None:
    stage = make_stage("upsampler", crop=None)
    seen = low_res_seen(stage)
    stage.loss(Cond(image=torch.zeros(2, 3, 32, 32)), BatchRng(0, 2))
    assert seen[0].low_res.shape == (2, 3, 8, 8)


def test_corruption_blurs_some_and_adds_noise_by_level(make_stage: Callable[..., Any]) -> None:
    stage = make_stage("upsampler", corruption={"blur": 0.6, "blur_share": 0.5, "noise": 0.0})
    small = torch.randn(200, 3, 8, 8)
    done = stage.corrupt(small, torch.rand(200), BatchRng(0, 200))
    same = (done == small).flatten(1).all(1)
    assert 70 < int(same.sum()) < 130
    assert torch.allclose(done[~same], gaussian_blur(small, 0.6)[~same])
    stage = make_stage("upsampler", corruption={"blur": 0.0, "noise": 0.3})
    level = torch.tensor([0.0, 0.5, 1.0])
    noise = stage.corrupt(torch.zeros(3, 3, 64, 64), level, BatchRng(0, 3)).flatten(1).std(1)
    assert noise.tolist() == pytest.approx([0.0, 0.15, 0.3], rel=0.05)


def test_blur_is_a_normalised_gaussian() -> None:
    """A single lit pixel spreads as exp(-r^2 / 2 sigma^2); a flat picture stays, edges too."""
    lit = torch.zeros(1, 2, 5, 5)
    lit[0, 1, 2, 2] = 1
    tap = math.exp(-1 / (2 * 0.6**2))
    one = 1 / (1 + 2 * tap) ** 2
    blurred = gaussian_blur(lit, 0.6)
    assert not blurred[0, 0].any()
    assert blurred[0, 1, 2].tolist() == pytest.approx([0, tap * one, one, tap * one, 0])
    assert float(blurred[0, 1, 1, 1]) == pytest.approx(tap**2 * one)
    assert float(blurred.sum()) == pytest.approx(1)
    assert torch.allclose(gaussian_blur(torch.full((1, 3, 4, 4), 0.7), 0.6), torch.tensor(0.7))


def test_neither_text_nor_guidance_is_needed(make_stage: Callable[..., Any]) -> None:
    stage = make_stage("upsampler")
    assert stage.consumes == stage.produces == stage.trains_on == {"image"}
    sizes: list[int] = []
    stage.net.register_forward_hook(lambda _m, inputs, _o: sizes.append(len(inputs[0])))
    stage.sample(Cond(image=torch.zeros(2, 3, 8, 8)), Rng([0, 1]))
    assert sizes == [2, 2, 2]


def test_the_mask_of_the_loss_is_cut_as_the_picture_is(make_stage: Callable[..., Any]) -> None:
    stage = make_stage("upsampler")
    image = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(
        4, 3, 16, 16
    )
    cond, crop = stage.example(Cond(image=image, loss_mask=image[:, :1]), BatchRng(0, 4))
    assert crop.shape == (4, 3, 8, 8)
    assert torch.equal(cond.loss_mask, crop[:, :1])


@pytest.mark.parametrize("kind", ["eps", "v"])
def test_a_network_that_does_not_see_the_noise_cannot_say_it(
    kind: str, make_stage: Callable[..., Any]
) -> None:
    network = {**make_stage("upsampler").config.network.dump(), "noise_input": False}
    make_stage("upsampler", network=network, parameterization={"kind": "x0"})
    wrong = f"parameterization.kind must be x0, got {kind}: "
    with pytest.raises(UsageError, match=f"{wrong}with network.noise_input"):
        make_stage("upsampler", network=network, parameterization={"kind": kind})
    network |= {"noise_input": True, "residual": True}
    with pytest.raises(UsageError, match=f"{wrong}with network.residual"):
        make_stage("upsampler", network=network, parameterization={"kind": kind})


def test_what_draws_without_noise_is_neither_inverted_nor_a_teacher(
    make_stage: Callable[..., Any],
) -> None:
    seeing = make_stage("upsampler", parameterization={"kind": "x0"})
    network = {**seeing.config.network.dump(), "noise_input": False}
    blind = make_stage("upsampler", network=network, parameterization={"kind": "x0"})
    assert seeing.inverts and seeing.config.denoises
    assert not (blind.inverts or blind.config.denoises or blind.config.distilled)


AT_ONCE = "the stage's network sees no noise, and draws in one call"


def test_what_sees_no_noise_draws_in_one_call_whatever_path_is_asked_for(
    make_stage: Callable[..., Any],
) -> None:
    network = {**make_stage("upsampler").config.network.dump(), "noise_input": False}
    blind = make_stage("upsampler", network=network, parameterization={"kind": "x0"})
    small, calls = torch.rand(1, 3, 8, 8), list[Any]()
    blind.net.register_forward_pre_hook(lambda net, given: calls.append(given))

    def drawn(**sampling: Any) -> Tensor:
        image = blind.sample(Cond(image=small), Rng([0]), sampling).image
        assert isinstance(image, Tensor)
        return image

    usual = drawn()
    assert len(calls) == 1 < blind.config.sampling.steps
    for setting in ({"steps": 7}, {"sampler": "heun"}, {"spacing": "karras"}, {"eta": 1.0}):
        (why,) = blind.unused(setting).values()
        assert why == AT_ONCE
        assert torch.equal(drawn(**setting), usual)
        assert blind.steps(setting) == 1
    assert len(calls) == 5
    assert blind.unused({"inpainting": "repaint"}, inpaints=True) == {"inpainting": AT_ONCE}
    with pytest.raises(UsageError, match="unknown sampler 'hoin'"):
        blind.check({"sampler": "hoin"})
