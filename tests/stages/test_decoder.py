"""The decoder: both conditions dropped as the paper does, and a learned variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.errors import UsageError
from unclip.rng import BatchRng, Rng
from unclip.stages.decoder import DecoderConfig, misalignment
from unclip.stages.masks import fit_known, random_mask
from unclip.types import Cond, Control


@pytest.fixture
def cond(make_cond: Callable[..., Cond]) -> Cond:
    return make_cond(3)


def network(stage: Any, **changes: Any) -> dict[str, Any]:
    return {**stage.config.network.dump(), **changes}


@pytest.mark.parametrize("dropped", ["text", "image", "both", "none"])
def test_conditions_are_dropped_as_configured(
    dropped: str, make_stage: Callable[..., Any], cond: Cond
) -> None:
    text, image = dropped in ("text", "both"), dropped in ("image", "both")
    stage = make_stage("decoder", drop_text=float(text), drop_image=float(image))

    def loss(cond: Cond) -> Tensor:
        value: Tensor = stage.loss(cond, BatchRng(0, 3))[0]
        return value

    other_text = cond.replace(text_tokens=cond.text_tokens.flip(1))  # type: ignore[union-attr]
    other_image = cond.replace(image_embed=-cond.image_embed)  # type: ignore[operator]
    assert torch.allclose(loss(cond), loss(other_text), atol=1e-6) == text
    assert torch.allclose(loss(cond), loss(other_image), atol=1e-6) == image


def test_the_text_encoder_may_start_as_clips(make_stage: Callable[..., Any], cond: Cond) -> None:
    clip = make_stage("clip")
    own = make_stage("decoder")
    text = clip.config.network.text
    changes = {"text": text.dump(), "text_of_clip": True}
    stage = make_stage("decoder", network=network(own, **changes))
    tokens = torch.arange(2, 2 + text.context)[None]
    mask = torch.ones_like(tokens, dtype=torch.bool)
    before = stage.net.text(tokens, mask)
    stage.init_from_clip(clip)
    read = clip.net.encode_text(tokens, mask)[1]
    assert not torch.allclose(before, read, atol=1e-3)
    assert torch.allclose(stage.net.text(tokens, mask), read, atol=1e-6)
    kept = own.net.text(*fitted(own, tokens, mask))
    own.init_from_clip(clip)  # was not asked to
    assert torch.equal(own.net.text(*fitted(own, tokens, mask)), kept)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_priors_embedding_stands_in_for_the_true_one(
    share: float, make_stage: Callable[..., Any], cond: Cond
) -> None:
    stage = make_stage("decoder", predicted_share=share, drop_image=0.0)
    assert ("predicted_embed" in stage.trains_on) == bool(share)
    cond = cond.replace(predicted_embed=cond.image_embed.flip(0))  # type: ignore[union-attr]

    def same(name: str) -> bool:
        turned = cond.replace(**{name: -getattr(cond, name)})
        losses = [stage.loss(one, BatchRng(0, 3))[0] for one in (cond, turned)]
        return torch.allclose(*losses)

    assert same("image_embed") == bool(share)
    assert same("predicted_embed") != bool(share)


def test_alignment_is_one_minus_the_cosine_of_each_place() -> None:
    features = torch.randn(2, 5, 4, 4)
    patches = features.flatten(2).transpose(1, 2)  # (2, 16, 5), row by row
    same = torch.nn.Identity()
    assert torch.allclose(misalignment(same, features, 3 * patches), torch.zeros(2), atol=1e-6)
    assert torch.allclose(misalignment(same, features, -patches), torch.full((2,), 2.0))
    turned = features.transpose(2, 3).flatten(2).transpose(1, 2)
    assert misalignment(same, features, turned).min() > 0.1
    fine = features.repeat_interleave(2, 2).repeat_interleave(2, 3).flatten(2).transpose(1, 2)
    assert torch.allclose(misalignment(same, features, fine), torch.zeros(2), atol=1e-6)


def test_a_network_that_aligns_learns_what_clip_sees(
    make_stage: Callable[..., Any], cond: Cond
) -> None:
    plain = make_stage("decoder")
    assert "image_patches" not in plain.trains_on
    stage = make_stage("decoder", network=network(plain, align_dim=12), align_weight=0.5)
    assert "image_patches" in stage.trains_on
    few = {"objective": "consistency", "sampling": {"steps": 1, "guidance_scale": 1.0}}
    student = make_stage("decoder", network=stage.config.network.dump(), **few)
    assert stage.trains_on - student.trains_on == {"image_patches"}, "which it has no loss of"
    assert stage.consumes == plain.consumes
    cond = cond.replace(image_patches=torch.randn(3, 4, 12))
    loss, metrics = stage.loss(cond, BatchRng(0, 3))
    stage.config = stage.config.model_copy(update={"align_weight": 0.0})
    alone, _ = stage.loss(cond, BatchRng(0, 3))
    assert torch.allclose(loss, alone + 0.5 * metrics["align"], atol=1e-5)
    optimizer = torch.optim.Adam(stage.net.parameters(), 3e-3)
    for _ in range(60):
        apart = stage.loss(cond, BatchRng(0, 3))[1]["align"].mean()
        stage.config = stage.config.model_copy(update={"align_weight": 0.5})
        loss = stage.loss(cond, BatchRng(0, 3))[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(apart) < 0.5 * float(metrics["align"].mean())
    assert not stage.net.aligned_layer._forward_hooks


def fitted(stage: Any, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    context = stage.config.network.text.context
    return tokens[:, :context], mask[:, :context]


def test_a_clip_of_another_size_is_no_start(make_stage: Callable[..., Any]) -> None:
    clip = make_stage("clip")
    text = clip.config.network.text
    other = {**text.dump(), "depth": text.depth + 1}
    changes = {"text": other, "text_of_clip": True}
    stage = make_stage("decoder", network=network(make_stage("decoder"), **changes))
    with pytest.raises(UsageError, match=r"network\.text to be that of the recipe's CLIP"):
        stage.init_from_clip(clip)
    with pytest.raises(UsageError, match="text_of_clip needs text"):
        make_stage("decoder", network=network(stage, text=None))


def test_guidance_drops_both(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage("decoder", sampling={"guidance_scale": 0.0, "steps": 2})
    none = torch.zeros(3, dtype=torch.bool)
    dropped = cond.replace(keep_text=none, keep_image=none)
    unguided = stage.sample(dropped, Rng([0, 1, 2]), {"guidance_scale": 1.0}).image
    assert torch.allclose(stage.sample(cond, Rng([0, 1, 2])).image, unguided, atol=1e-5)
    assert not torch.allclose(
        stage.sample(cond, Rng([0, 1, 2]), {"guidance_scale": 1.0}).image, unguided, atol=1e-2
    )


def test_pictures_stay_in_range(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage("decoder", sampling={"guidance_scale": 30.0, "steps": 3})
    image = stage.sample(cond, Rng([0, 1, 2])).image
    assert image.shape == (3, 3, 8, 8)
    assert float(image.abs().max()) <= 1


@pytest.mark.parametrize(
    ("threshold", "limit", "most"),
    [("none", 1.0, 99.0), ("clamp", 0.3, 0.3), ("dynamic", 0.4, 0.4)],
)
def test_the_guess_of_every_step_is_thresholded(
    threshold: str, limit: float, most: float, make_stage: Callable[..., Any], cond: Cond
) -> None:
    stage = make_stage("decoder", sampling={"guidance_scale": 9.0, "steps": 4})
    largest: list[float] = []
    stage.sample(
        cond,
        Rng([0, 1, 2]),
        {"threshold": threshold, "limit": limit},
        lambda step: largest.append(float(step.x0.abs().max())),
    )
    assert max(largest) <= most + 1e-6
    assert max(largest) > (2.0 if threshold == "none" else 0.9 * limit)


def test_a_learned_variance_needs_twice_the_channels(make_stage: Callable[..., Any]) -> None:
    plain = make_stage("decoder")
    for channels, learned, want in ((3, True, 6), (6, False, 3)):
        with pytest.raises(UsageError, match=f"decoder: network.out_channels must be {want}"):
            make_stage(
                "decoder",
                network=network(plain, out_channels=channels),
                parameterization={"kind": "eps", "learned_variance": learned},
            )


def test_a_learned_variance_samples_and_trains(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage(
        "decoder",
        network=network(make_stage("decoder"), out_channels=6),
        parameterization={"kind": "eps", "learned_variance": True},
        sampling={"sampler": "ddpm", "eta": 1.0, "steps": 3, "guidance_scale": 2.0},
    )
    image = stage.sample(cond, Rng([0, 1, 2])).image
    assert image.shape == (3, 3, 8, 8)
    assert image.isfinite().all()
    loss, metrics = stage.loss(cond, BatchRng(0, 3))
    assert set(metrics) == {"mse", "vlb"}
    assert torch.allclose(loss, metrics["mse"] + metrics["vlb"])


def test_dynamic_thresholding_is_a_setting(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage("decoder", sampling={"guidance_scale": 30.0, "steps": 3})

    def spread(threshold: str) -> float:
        image: Tensor = stage.sample(cond, Rng([0, 1, 2]), {"threshold": threshold}).image
        return float((image.abs() > 0.999).float().mean())

    assert spread("dynamic") < spread("clamp") / 2, "saturation is what it is there to prevent"


@pytest.fixture
def painter(make_stage: Callable[..., Any]) -> Any:
    """A decoder whose network can inpaint."""
    return make_stage("decoder", network=network(make_stage("decoder"), inpaint=True))


def half(cond: Cond, side: int = 8) -> Cond:
    """The condition with a picture whose left half is to be painted."""
    mask = torch.zeros(len(cond), 1, side, side)
    mask[..., : side // 2] = 1
    known = torch.rand(len(cond), 3, side, side, generator=torch.Generator().manual_seed(4))
    return cond.replace(known=2 * known - 1, mask=mask)


def drawn(stage: Any, cond: Cond, **settings: Any) -> Tensor:
    image: Tensor = stage.sample(cond, Rng(range(len(cond))), settings).image
    return image


def test_a_mask_of_ones_is_no_mask(painter: Any, cond: Cond) -> None:
    whole = half(cond).replace(mask=torch.ones(3, 1, 8, 8))
    assert torch.allclose(drawn(painter, cond), drawn(painter, whole), atol=1e-5)


@pytest.mark.parametrize("way", [{}, {"inpainting": "repaint"}, {"resample": 3}])
@pytest.mark.parametrize("inpaint", [True, False])
def test_what_is_known_comes_out(
    inpaint: bool, way: dict[str, Any], make_stage: Callable[..., Any], cond: Cond
) -> None:
    stage = make_stage("decoder", network=network(make_stage("decoder"), inpaint=inpaint))
    bound = half(cond)
    assert bound.known is not None
    image = drawn(stage, bound, **way)
    assert torch.allclose(image[..., 4:], bound.known[..., 4:], atol=1e-4)
    assert float((image[..., :4] - bound.known[..., :4]).abs().mean()) > 0.2
    other = bound.replace(known=torch.cat([-bound.known[..., :4], bound.known[..., 4:]], dim=-1))
    assert torch.allclose(image, drawn(stage, other, **way), atol=1e-5), "what is hidden has a say"


def test_repaint_does_not_show_the_network_what_is_known(painter: Any, cond: Cond) -> None:
    seen: list[Cond] = []
    encode = painter.net.encode

    def spy(given: dict[str, Tensor]) -> Any:
        seen.append(Cond(**given))
        return encode(given)

    painter.net.encode = spy
    drawn(painter, half(cond))
    drawn(painter, half(cond), inpainting="repaint")
    shown, hidden = seen
    assert shown.mask is not None and len(shown.mask) == 6  # guided: a second time without text
    assert hidden.known is None and hidden.mask is None


@pytest.mark.parametrize("side", [16, 4])
def test_what_is_known_may_be_of_another_size(side: int, painter: Any, cond: Cond) -> None:
    bound = half(cond, side)
    scale = 8 / side
    mode = "area" if scale < 1 else "nearest"
    known = F.interpolate(bound.known, scale_factor=scale, mode=mode)  # type: ignore[arg-type]
    assert torch.allclose(drawn(painter, bound)[..., 4:], known[..., 4:], atol=1e-4)


def test_a_pixel_that_holds_anything_to_paint_is_painted() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[0, 0, 2, 5] = 1
    known = torch.arange(192.0).view(1, 3, 8, 8)
    bound = fit_known(Cond(known=known, mask=mask), (4, 4))
    assert bound.mask is not None and bound.known is not None
    assert bound.mask[0, 0].nonzero().tolist() == [[1, 2]]
    assert torch.equal(bound.known, F.avg_pool2d(known, 2))
    large = fit_known(Cond(known=known, mask=mask), (16, 16))
    assert torch.equal(large.known, known.repeat_interleave(2, 2).repeat_interleave(2, 3))  # type: ignore[arg-type]
    assert large.mask is not None and float(large.mask.sum()) == 4
    same = Cond(known=known, mask=mask)
    assert fit_known(same, (8, 8)) is same
    assert fit_known(Cond(image=known), (4, 4)).image is known


def test_training_hides_a_share_of_the_pictures(painter: Any, cond: Cond) -> None:
    seen: list[Cond] = []
    encode = painter.net.encode

    def spy(given: dict[str, Tensor]) -> Any:
        seen.append(Cond(**given))
        return encode(given)

    painter.net.encode = spy
    painter.loss(cond, BatchRng(0, 3))
    assert seen[0].known is cond.image
    assert seen[0].mask is not None and seen[0].mask.shape == (3, 1, 8, 8)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_random_masks_are_boxes_all_but_boxes_or_all(share: float) -> None:
    masks = random_mask(BatchRng(0, 2000), (20, 40), share)
    assert masks.shape == (2000, 1, 20, 40)
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    part = masks.mean((1, 2, 3)) < 1
    assert float(part.float().mean()) == pytest.approx(share, abs=0.04)
    boxes = 0
    for mask in masks[part][:, 0].bool():
        box = mask if not mask[0, 0] and not mask[-1, -1] else ~mask
        if box_sides(box) is None:
            box = ~box
        sides = box_sides(box)
        assert sides is not None
        assert 3 <= sides[0] <= 17 and 7 <= sides[1] <= 33  # 0.2 to 0.8 of 20 and of 40
        boxes += bool(torch.equal(box, mask))
    if share:
        assert boxes / int(part.sum()) == pytest.approx(0.5, abs=0.08)


def box_sides(mask: Tensor) -> tuple[int, int] | None:
    """Height and width of a mask that is one filled box."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return (box.shape[0], box.shape[1]) if box.all() else None


def test_a_score_pulls_as_far_as_its_scale_says(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage("decoder")
    control = Control(score=lambda image: image.mean((1, 2, 3)))

    def brightness(scale: float) -> Tensor:
        settings = {"clip_guidance_scale": scale}
        after = stage.sample(cond, Rng([0, 1, 2]), settings, control=control)
        return after.image.mean((1, 2, 3))  # type: ignore[no-any-return]

    none, some, much = (brightness(scale) for scale in (0.0, 20.0, 80.0))
    assert torch.equal(none, drawn(stage, cond).mean((1, 2, 3)))
    assert (some > none + 0.005).all() and (much > some + 0.005).all()


def test_it_begins_where_it_is_told(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage("decoder", sampling={"steps": 4, "eta": 0.0})
    start = half(cond).known
    whole = stage.sample(cond, Rng([0, 1, 2]), control=Control(start=start, strength=0.0)).image
    assert torch.allclose(whole, start, atol=1e-4)
    noise = stage.initial_noise(cond, Rng([0, 1, 2]))
    given = stage.sample(cond, Rng([7, 8, 9]), control=Control(noise=noise)).image
    assert torch.equal(given, drawn(stage, cond))


AUTOENCODER = {"latent_channels": 3, "space_to_depth": 2, "channels": [12]}


@pytest.mark.parametrize(
    ("given", "threshold"),
    [
        ({}, "clamp"),
        ({"autoencoder": AUTOENCODER}, "none"),
        ({"autoencoder": AUTOENCODER, "sampling": {"threshold": "clamp"}}, "clamp"),
    ],
)
def test_pictures_have_bounds_and_latents_have_none(
    given: dict[str, Any], threshold: str, make_stage: Callable[..., Any]
) -> None:
    network = make_stage("decoder").config.network.dump()
    sure = {"network": network, "parameterization": {"kind": "x0"}}
    config = DecoderConfig.parse({**sure, **given})
    assert config.sampling.threshold == threshold
    assert DecoderConfig.parse(config.dump()) == config
    usual = {"guidance_scale": 3.0} if "sampling" not in given else {"guidance_scale": 1.0}
    assert config.sampling.dump() == {**config.sampling.dump(), "steps": 50, **usual}
