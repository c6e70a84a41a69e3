"""Decoders in latents: space, edits, the level z_i is noised to, thresholds, inversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unclip.diffusion.guidance import dynamic_threshold
from unclip.errors import UsageError
from unclip.families.latent.latent_decoder import DecoderSampling, LatentDecoder
from unclip.rng import BatchRng, Rng
from unclip.stages.decoder import Decoder
from unclip.stages.stage import Sampling
from unclip.types import FREE, Cond, Control, Step

KINDS = pytest.mark.parametrize("kind", ["latent_decoder", "latent_unclip"])
SEEDS = [3, 4]


@pytest.fixture
def make(make_stage: Callable[..., Decoder]) -> Callable[..., Decoder]:
    return make_stage


@pytest.fixture
def cond(make_cond: Callable[..., Cond]) -> Cond:
    return make_cond(2).replace(image=None, text_embed=None, text_encodings=None)


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def picture(stage: Decoder, cond: Cond, **more: Any) -> Tensor:
    image = stage.sample(cond, Rng(SEEDS[: len(cond)]), **more).image
    assert image is not None
    return image


@KINDS
@torch.no_grad()
def test_its_space_is_the_autoencoders(kind: str, make: Any) -> None:
    stage = make(kind)
    net, image, latents = stage.net.autoencoder, randn(2, 3, 8, 8), randn(2, 4, 4, 4)
    net.decoder.conv_out.bias += torch.tensor([3.0, -3.0, 0.0])
    assert stage.image_size == (8, 8)
    assert stage.shape(Cond()) == (4, 4, 4)
    assert torch.equal(stage.space.encode(image), net.encode(image))
    decoded = stage.space.decode(latents)
    assert torch.equal(decoded, net.decode(latents).clamp(-1, 1))
    assert (decoded.amin(), decoded.amax()) == (-1, 1)


@torch.no_grad()
def test_many_pictures_are_coded_a_few_at_a_time(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make("latent_decoder")
    image, latents = randn(5, 3, 8, 8), randn(5, 4, 4, 4)
    whole = stage.space.encode(image), stage.space.decode(latents)
    sizes: list[int] = []
    decode = stage.net.autoencoder.decode
    monkeypatch.setattr(
        stage.net.autoencoder, "decode", lambda x: sizes.append(len(x)) or decode(x)
    )
    monkeypatch.setattr("unclip.nn.latents.PIXELS", 2 * 8 * 8)
    assert torch.allclose(stage.space.encode(image), whole[0], atol=1e-5)
    assert torch.allclose(stage.space.decode(latents), whole[1], atol=1e-5)
    assert sizes == [2, 2, 1]


@torch.no_grad()
def test_half_precision_stays_inside(make: Any, cond: Cond) -> None:
    stage = make("latent_decoder").to(torch.bfloat16)
    assert stage.space.encode(randn(1, 3, 8, 8)).dtype == torch.float32
    image = picture(stage, cond)
    assert image.dtype == torch.float32
    assert image.isfinite().all()


@KINDS
def test_x_t_is_of_unit_variance_wherever_the_grid_begins(kind: str, make: Any, cond: Cond) -> None:
    stage = make(kind)
    settings = {"spacing": "leading", "steps": 2}  # from timestep 500 down
    start = stage.initial_noise(cond, Rng([1, 2]), settings)
    assert torch.equal(start, Rng([1, 2]).randn(4, 4, 4))
    noise = randn(2, 4, 4, 4)
    assert not torch.equal(noise, start)
    given = picture(stage, cond, sampling=settings, control=Control(noise=noise))
    assert not torch.allclose(given, picture(stage, cond, sampling=settings), atol=1e-3)


@KINDS
def test_what_is_known_comes_back_and_holds_while_it_paints(
    kind: str, make: Any, cond: Cond
) -> None:
    stage = make(kind)
    known, mask = randn(2, 3, 8, 8).clamp(-1, 1), torch.zeros(2, 1, 8, 8)
    mask[:, :, 3:5, 1:3] = 1  # touches the latents of rows 1 and 2, columns 0 and 1
    x0s: list[Tensor] = []

    def look(step: Step) -> None:
        x0s.append(step.x0)

    bound = cond.replace(known=known, mask=mask)
    image = picture(stage, bound, on_step=look, sampling={"eta": 0.0, "resample": 1})
    assert torch.equal(image * (1 - mask), known * (1 - mask))
    assert not torch.allclose(image * mask, known * mask, atol=1e-2)
    latents = stage.space.encode(known)
    free = torch.zeros(4, 4, dtype=torch.bool)
    free[1:3, 0:2] = True
    for x0 in x0s:
        assert torch.allclose(x0[..., ~free], latents[..., ~free])
        assert not torch.allclose(x0[..., free], latents[..., free], atol=1e-2)


@KINDS
@torch.no_grad()
def test_a_tint_counts_in_the_unit_of_latents(kind: str, make: Any, cond: Cond) -> None:
    """Pictures vary by .5, latents by 1: what is .15 of colours is .3 of them."""
    stage, mask = make(kind), torch.zeros(2, 1, 8, 8)
    mask[..., :4] = 1
    known, x = randn(2, 3, 8, 8).clamp(-1, 1), randn(2, 4, 4, 4)
    options, level = stage.config.sampling, stage.config.schedule.grid(10, "uniform")[-2]
    free = stage.denoiser(cond, options)(x, level).x0
    latents, part = stage.space.encode(known), torch.nn.functional.max_pool2d(mask, 2)
    bound = cond.replace(known=known, mask=part)
    moved = stage.denoiser(bound, options)(x, level).x0 - free
    share = float(level.alpha**2 / (level.alpha**2 + level.sigma**2))
    assert (latents - free)[..., 2:].abs().max() > 0.3 < moved[..., 2:].abs().max()
    assert moved[..., :2].abs().max() <= 0.3 * share + 1e-5
    assert moved[..., :2].abs().max() > 0.15


@KINDS
def test_it_starts_from_a_picture(kind: str, make: Any, cond: Cond) -> None:
    stage, start = make(kind), randn(2, 3, 8, 8).clamp(-1, 1)
    with torch.no_grad():
        through = stage.space.decode(stage.space.encode(start))
    settings = {"steps": 10, "sampler": "ddim", "eta": 0.0}
    kept = picture(stage, cond, sampling=settings, control=Control(start=start, strength=0.0))
    # a grid without a step still ends where it begins: at the picture, a trace of noise on it
    assert (kept - through).abs().mean() < 0.1
    drawn = picture(stage, cond, sampling=settings, control=Control(start=start, strength=1.0))
    assert (drawn - through).abs().mean() > (kept - through).abs().mean()


@KINDS
def test_a_drawn_picture_is_found_again_by_inversion(kind: str, make: Any, cond: Cond) -> None:
    stage = make(kind)
    with torch.no_grad():  # a network that jumps about has no way back
        stage.net.unet.conv_out.weight.mul_(0.1)
    settings = {"steps": 10, "sampler": "ddim", "eta": 0.0, "guidance_scale": 1.0}
    truth = randn(2, 3, 8, 8).clamp(-1, 1)
    noise = stage.invert(cond, truth, settings, rounds=30)
    assert noise.shape == (2, 4, 4, 4)
    again = stage.sample_data(cond, Rng(SEEDS), settings, control=Control(noise=noise))
    with torch.no_grad():
        through = stage.space.decode(stage.space.encode(truth))
    assert (again - through).abs().max() < 0.02
    other = stage.sample_data(cond, Rng(SEEDS), settings)
    assert (other - through).abs().max() > 0.1


# z_i and the text --------------------------------------------------------------------------------


@pytest.fixture
def decoder(make_stage: Callable[..., LatentDecoder]) -> LatentDecoder:
    return make_stage("latent_decoder")


def test_it_reads_z_i_where_its_network_does(make: Any, decoder: LatentDecoder) -> None:
    assert decoder.consumes == {"text_tokens", "text_mask", "image_embed"}
    network = {**decoder.config.network.dump(), "embed_dim": 0}
    plain = make("latent_decoder", network=network)
    assert plain.consumes == {"text_tokens", "text_mask"}
    assert make("latent_unclip").consumes == {"image_embed"}


def test_z_i_is_noised_by_the_images_own_schedule(decoder: LatentDecoder, cond: Cond) -> None:
    z_i = cond.image_embed
    assert z_i is not None
    for timestep in (0, 400, 999):
        options = decoder.config.sampling.merge({"noise_level": timestep})
        seen = decoder.conditioned(cond, Rng(SEEDS), options).noised_image_embed
        bar = float(decoder.config.image_schedule.alpha_bar()[timestep])  # type: ignore[union-attr]
        noise = Rng(SEEDS).fork("noise_level").randn(z_i.shape[1])
        assert seen is not None
        # mean 0, deviation 1: nothing is known of this z_i
        expected = bar**0.5 * z_i + (1 - bar) ** 0.5 * noise
        assert torch.allclose(seen[:, : z_i.shape[1]], expected, atol=1e-5)
        assert seen.shape == (2, 2 * z_i.shape[1])


def test_the_level_of_z_i_is_a_setting(decoder: LatentDecoder, cond: Cond) -> None:
    assert DecoderSampling().noise_level == 0
    assert decoder.config.sampling.noise_level == 300
    default = picture(decoder, cond)
    same = picture(decoder, cond, sampling={"noise_level": 300})
    other = picture(decoder, cond, sampling={"noise_level": 900})
    assert torch.equal(default, same)
    assert not torch.allclose(default, other, atol=1e-4)
    with pytest.raises(UsageError, match=r"sampling\.noise_level.*must be below 1000, got 1000"):
        picture(decoder, cond, sampling={"noise_level": 1000})


def test_settings_merge_as_any_stages_do() -> None:
    own = DecoderSampling(sampler="ddpm", eta=1.0, noise_level=5, ceiling=2.0)
    merged = own.merge({"steps": 7, "noise_level": None})
    assert (merged.steps, merged.noise_level, merged.ceiling, merged.eta) == (7, 5, 2.0, 1.0)
    assert isinstance(merged, DecoderSampling)
    assert own.merge({"sampler": "ddim", "noise_level": 9}).dump() == {
        **own.dump(), "sampler": "ddim", "noise_level": 9, "eta": None,
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"unknown setting 'sampling\.stepz'"):
        own.merge({"stepz": 3})
    with pytest.raises(UsageError, match=r"unknown setting 'sampling\.noise_level'"):
        Sampling().merge({"noise_level": 3})


def test_its_null_is_the_empty_text(decoder: LatentDecoder, make: Any, cond: Cond) -> None:
    assert decoder.null_is_text
    assert not make("latent_unclip").null_is_text
    assert cond.text_mask is not None
    hidden = cond.replace(keep_text=torch.zeros(2, dtype=torch.bool))
    empty = cond.replace(
        text_tokens=torch.tensor([[1, 2] + [0] * 6] * 2),
        text_mask=torch.tensor([[True] * 2 + [False] * 6] * 2),
    )
    plain = {"guidance_scale": 1.0}
    a, b = (picture(decoder, one, sampling=plain) for one in (hidden, empty))
    assert torch.allclose(a, b, atol=1e-4)
    assert not torch.allclose(a, picture(decoder, cond, sampling=plain), atol=1e-3)


def test_a_negative_text_takes_the_place_of_the_empty_one(
    decoder: LatentDecoder, cond: Cond
) -> None:
    """Guided by a null that is the prompt, nothing is left of the guidance."""
    itself = cond.replace(
        null_text_tokens=cond.text_tokens,
        null_text_mask=cond.text_mask,
        keep_image=torch.zeros(2, dtype=torch.bool),
    )
    guided, plain = (
        picture(decoder, itself, sampling={"guidance_scale": s, "eta": 0.0}) for s in (9.0, 1.0)
    )
    assert torch.allclose(guided, plain, atol=1e-3)
    free = itself.replace(null_text_tokens=None, null_text_mask=None)
    other = picture(decoder, free, sampling={"guidance_scale": 9.0, "eta": 0.0})
    assert not torch.allclose(other, plain, atol=1e-2)


def test_the_autoencoder_is_not_trained(decoder: LatentDecoder, make_cond: Any) -> None:
    decoder.loss(make_cond(2), BatchRng(0, 2))[0].mean().backward()
    with_grad = {name for name, p in decoder.net.named_parameters() if p.grad is not None}
    assert not any(name.startswith("autoencoder.") for name in with_grad)
    assert {"unet.text.embed.weight", "unet.image.fc1.weight", "unet.conv_in.weight"} <= with_grad


# thresholds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.3, 1.5, 40.0])
def test_a_threshold_with_a_ceiling(scale: float) -> None:
    """Imagen's, as diffusers bounds it: from 1 to the ceiling."""
    x0 = scale * randn(3, 4, 8, 8)
    bounded = dynamic_threshold(ceiling=2.0)(x0)
    for mine, its in zip(bounded, x0, strict=True):
        size = min(max(float(np.quantile(its.abs().numpy(), 0.995)), 1.0), 2.0)
        assert torch.allclose(mine, its.clamp(-size, size) / size, atol=1e-5)


def test_a_ceiling_bounds_what_is_drawn(make: Any, cond: Cond) -> None:
    stage, x0s = make("latent_unclip"), []
    control = Control(noise=8 * randn(2, 4, 4, 4))
    stage.sample(cond, Rng(SEEDS), {"ceiling": 2.0}, lambda s: x0s.append(s.x0), control)
    assert all(float(x0.abs().max()) <= 1 for x0 in x0s)
    stage.sample(cond, Rng(SEEDS), {}, lambda s: x0s.append(s.x0), control)
    assert float(x0s[-3].abs().max()) > 1
    assert FREE.noise is None


def test_channels_that_do_not_meet_are_refused(make: Any, decoder: LatentDecoder) -> None:
    own = decoder.config.autoencoder
    assert own is not None
    settings = {**own.dump(), "latent_channels": 8}
    with pytest.raises(UsageError, match=r"network\.in_channels 4 are not the autoencoder's 8"):
        make("latent_decoder", autoencoder=settings)
