"""Pictures of other sizes, and pictures that tile: which models draw them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.pipeline import Chain
from unclip.rng import Rng
from unclip.stages import Stage
from unclip.stages.model import Model
from unclip.stages.sizes import covering, enlarging, of_aspect, resized, size_unit, tiled
from unclip.types import Cond, Control

MakeModel = Callable[..., Model]
DRAWS = ["decoder", "laion_decoder", "latent_decoder", "latent_unclip"]


@pytest.fixture
def model(make_stage: Callable[..., Stage], tokenizer: Tokenizer) -> MakeModel:
    """`model(kind, ...)`: of these stages, all of them random."""

    def make(*kinds: str, **changes: Any) -> Model:
        stages = {kind: make_stage(kind, **changes.get(kind, {})) for kind in kinds}
        return Model(tokenizer, stages, "it")

    return make


@pytest.mark.parametrize(
    ("kinds", "unit"),
    [
        (["decoder"], None),
        (["decoder", "upsampler"], None),
        (["laion_decoder"], 4),  # two levels, both of which halve
        (["laion_decoder", "laion_upsampler"], 8),  # the upsampler doubles that
        (["latent_decoder"], 2),  # a latent is two pixels wide
        (["latent_decoder", "upsampler"], 4),
        (["latent_unclip"], 4),  # whose U-Net halves latents once
    ],
)
def test_what_sides_are_multiples_of(kinds: list[str], unit: int | None, model: MakeModel) -> None:
    assert size_unit(model(*kinds)) == unit


def test_a_decoder_of_latents_draws_the_sizes_that_its_network_does(model: MakeModel) -> None:
    """A U-Net of this package has seen one, in latents as in pixels."""
    latents = {"latent_channels": 3, "space_to_depth": 2, "channels": [12]}
    ours = model("decoder", decoder={"autoencoder": latents})
    assert (ours.size, size_unit(ours)) == ((16, 16), None)
    with pytest.raises(UsageError, match="draws 16x16 alone"):
        resized(ours, (32, 32))


def test_a_size_that_cannot_be_is_refused_with_the_nearest(model: MakeModel) -> None:
    with pytest.raises(UsageError, match=r"^size 18x13 .* multiples of 4; the nearest is 16x12$"):
        resized(model("latent_unclip"), (13, 18))
    with pytest.raises(UsageError, match=r"multiples of 8; the nearest is 16x8$"):
        resized(model("laion_decoder", "laion_upsampler"), (1, 17))
    with pytest.raises(UsageError, match=r"^size 16x8 is .* model 'it' draws 8x8 alone.*outpaint"):
        resized(model("decoder"), (8, 16))
    with pytest.raises(UsageError, match=r"^another aspect is not possible: .* 16x16 alone"):
        of_aspect(model("decoder", "upsampler"), 1.5)


def test_its_own_size_may_be_named(model: MakeModel) -> None:
    fixed = model("decoder", "upsampler")
    assert resized(fixed, (16, 16)) is fixed
    assert of_aspect(fixed, 1.0) == (16, 16)


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(1.0, (8, 8)), (2.0, (6, 12)), (0.5, (12, 6)), (9.0, (2, 24)), (16.0, (2, 32))],
)
def test_an_aspect_keeps_the_number_of_pixels(
    aspect: float, size: tuple[int, int], model: MakeModel
) -> None:
    """64 pixels and sides that are even: 5.7 x 11.3, 2.7 x 24, 2 x 32."""
    assert of_aspect(model("latent_decoder"), aspect) == size


@pytest.mark.parametrize("kinds", [["latent_decoder", "upsampler"], ["laion_decoder"]])
def test_every_stage_draws_the_size(
    kinds: list[str], model: MakeModel, make_cond: Callable[..., Cond]
) -> None:
    whole = model(*kinds)
    other = resized(whole, (24, 32))
    assert (other.size, whole.size) == ((24, 32), (16, 16) if len(kinds) > 1 else (8, 8))
    cond = make_cond(1).replace(image=None)
    drawn = Chain(other).sample(cond, [1])
    assert drawn.shape == (1, 3, 24, 32)
    assert drawn.isfinite().all()
    assert Chain(whole).sample(cond, [1]).shape[2:] == whole.size


def test_large_pictures_are_drawn_fewer_at_a_time(
    model: MakeModel, make_cond: Callable[..., Cond]
) -> None:
    sizes: list[int] = []
    chain = Chain(resized(model("latent_decoder"), (16, 24)))  # 6 times its own 8 x 8
    cond = make_cond(1).replace(image=None).expand(5)
    settings = {"steps": 1, "guidance_scale": 1.0}
    chain.sample(cond, range(5), settings=settings, on_step=lambda step: sizes.append(len(step.x0)))
    assert sizes == [2, 2, 1]  # of 16


def test_an_optional_upsampler_runs_only_where_its_size_is_asked_for(
    model: MakeModel, make_stage: Callable[..., Stage], make_cond: Callable[..., Cond]
) -> None:
    large = make_stage(
        "upsampler",
        optional=True,
        low_res_size=16,
        network={**make_stage("upsampler").config.network.dump(), "image_size": 64},
        crop=16,
    )
    before = model("decoder", "upsampler")
    whole = replace(before, stages={**before.stages, "upsampler_64": large})
    assert (whole.size, whole.upscaling, whole.waiting) == ((16, 16), 2, ["upsampler_64"])
    cond, sizes = make_cond(1).replace(image=None).expand(5), dict[str, int]()
    plain = Chain(whole).sample(cond[:1], [1])
    assert torch.equal(plain, Chain(before).sample(cond[:1], [1]))  # as without it

    asked = enlarging(whole, (64, 64))
    assert (asked.size, asked.upscaling, asked.waiting) == ((64, 64), 8, [])
    chain = Chain(asked)
    drawn = chain.sample(
        cond, range(5), on_step=lambda step: sizes.update({step.stage: len(step.x0)})
    )
    assert drawn.shape == (5, 3, 64, 64)
    # of 16 times the pixels, in about the same memory
    assert sizes == {"decoder": 5, "upsampler": 5, "upsampler_64": 1}
    usual = Chain(whole).sample(cond, range(5))
    enlarged = large.sample(Cond(image=usual[1:2]), Rng(["1/upsampler_64"])).image
    assert enlarged is not None
    assert torch.allclose(enlarged, drawn[1:2], atol=1e-5)  # of the usual picture of that seed

    assert enlarging(whole, (16, 16)) is whole
    assert enlarging(whole, (32, 32)) is whole
    assert enlarging(whole, (32, 32), between=True).size == (64, 64)
    for size in ((8, 8), (32, 16), (64, 32), (128, 128)):
        assert enlarging(whole, size, between=True) is whole
    for size in ((17, 16), (16, 64), (64, 64), (512, 24)):
        assert covering(whole, size) == (64, 64)
    assert covering(whole, (16, 9)) is covering(before, (64, 64)) is None


def test_a_resized_stage_leaves_weights_where_they_are(model: MakeModel) -> None:
    whole = model("latent_decoder")
    stage = whole.stages["latent_decoder"]
    asked: list[None] = []
    stage.source = lambda: asked.append(None) or stage.net_at_rest  # type: ignore[func-returns-value]
    other = resized(whole, (4, 6)).stages["latent_decoder"]
    assert (asked, other.source) == ([], stage.source)
    assert other.net is stage.net


# tiles --------------------------------------------------------------------------------------------


def drawn(model: Model, cond: Cond, noise: Tensor) -> Tensor:
    name = next(iter(model.image_stages))
    settings = {"sampler": "ddim", "eta": 0.0, "steps": 2}
    return Chain(model).sample(cond, [1], {name: Control(noise=noise)}, settings)


@pytest.mark.parametrize("axes", ["xy", "x"])
@pytest.mark.parametrize("kind", DRAWS)
def test_rolled_noise_gives_the_rolled_picture(
    kind: str, axes: str, model: MakeModel, make_cond: Callable[..., Cond]
) -> None:
    whole, cond = model(kind), make_cond(1).replace(image=None)
    stage: Any = whole.stages[kind]
    noise = torch.randn(1, *stage.shape(cond), generator=torch.Generator().manual_seed(2))
    factor = 8 // noise.shape[-1]  # pixels of a latent
    tiles, moves = tiled(whole, axes), {"x": 3, "y": 2}
    plain = drawn(tiles, cond, noise)
    for axis, dim in moves.items():
        moved = drawn(tiles, cond, noise.roll(4 // factor, dim))
        same = torch.allclose(moved, plain.roll(4, dim), atol=1e-4)
        assert same == (axis in axes), axis
    assert not torch.allclose(drawn(whole, cond, noise), plain, atol=1e-3), "the edges are others"


def test_a_network_that_is_told_where_a_pixel_lies_cannot_tile(
    model: MakeModel, tiny: dict[str, Any]
) -> None:
    network = {**tiny["decoder"]["network"], "coordinates": True}
    with pytest.raises(UsageError, match=r"'it' draws no tiles: .* its decoder is told where"):
        tiled(model("decoder", decoder={"network": network}), "xy")
