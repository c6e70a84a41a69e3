"""Karlo's own checkpoints against kakaobrain/karlo: each network, and single steps of sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import unclip
from unclip.checkpoints.archive import tensors_of
from unclip.checkpoints.convert import write_as
from unclip.checkpoints.format import Options, open_model
from unclip.checkpoints.part import Part
from unclip.diffusion.guidance import clamp
from unclip.diffusion.samplers import posterior
from unclip.families.karlo import karlo_original
from unclip.families.karlo.karlo_original import decoder_part, prior_part, upsampler_part
from unclip.stages import DiffusionStage
from unclip.types import Cond, Level, Prediction


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("karlo_original")


def loaded(part: Part) -> DiffusionStage:
    stage = part.build()
    part.fill(stage, "it", torch.float32, torch.device("cpu"))
    assert isinstance(stage, DiffusionStage)
    return stage


@pytest.fixture(scope="module")
def prior(peer: Any) -> DiffusionStage:
    embed = peer["cond/text_emb"].shape[1]
    stats = {"mean": torch.zeros(embed), "std": torch.ones(embed)}
    weights = tensors_of({**peer.weights("prior"), **stats}, "it")
    return loaded(prior_part(lambda: weights, "it"))


@pytest.fixture(scope="module")
def decoder(peer: Any) -> DiffusionStage:
    weights = tensors_of(peer.weights("decoder"), "it")
    return loaded(decoder_part(lambda: weights, "it"))


@pytest.fixture(scope="module")
def upsampler(peer: Any) -> DiffusionStage:
    weights = tensors_of(peer.weights("upsampler"), "it")
    return loaded(upsampler_part(lambda: weights, "it"))


@pytest.fixture
def guided(peer: Any) -> Cond:
    """Without the text and z_i, then with: the other way round than the peer."""
    text = {
        "text_embed": peer["cond/text_emb"],
        "text_encodings": peer["cond/text_enc"],
        "text_mask": peer["cond/mask"].bool(),
    }
    shown = {name: value[:1] for name, value in text.items()}
    hidden = {f"null_{name}": value[1:] for name, value in text.items()}
    cond = Cond(image_embed=peer["cond/image_embed"], **shown, **hidden)
    return cond.dropped((False, False), (True, True))


@pytest.mark.parametrize("step", [4, 1])
def test_prior(step: int, peer: Any, prior: DiffusionStage, guided: Cond, off: Any) -> None:
    x, t, out = (peer[f"prior/{step}/{one}"] for one in ("x", "t", "out"))
    assert off(prior.bind(guided)(x.expand(2, -1), t.expand(2)), out.flip(0)) < 1e-4


@pytest.mark.parametrize("step", [4, 1])
def test_decoder(step: int, peer: Any, decoder: DiffusionStage, guided: Cond, off: Any) -> None:
    x, t, out = (peer[f"decoder/{step}/{one}"] for one in ("x", "t", "out"))
    mine = decoder.bind(guided)(x.expand(2, -1, -1, -1), t.expand(2))
    assert off(mine, out.flip(0)) < 1e-4


@pytest.mark.parametrize("place", ["first_steps", "last_step"])
def test_upsampler(place: str, peer: Any, upsampler: DiffusionStage, off: Any) -> None:
    x, t, small, out = (peer[f"upsampler/{place}/{one}"] for one in ("x", "t", "low_res", "out"))
    assert off(upsampler.bind(Cond(image=small, low_res=small))(x, t[None]), out) < 1e-4


def levels(stage: DiffusionStage, peer: Any, step: int) -> tuple[Level, Level]:
    grid = stage.config.schedule.grid(peer.said["steps"], stage.config.sampling.spacing)
    place = peer.said["steps"] - 1 - step
    return grid[place], grid[place + 1]


def stepped(
    stage: DiffusionStage, peer: Any, step: int, kind: str, said: Prediction, x: Tensor
) -> Tensor:
    """One ancestral step from what the network said, as the stage clips it, with their noise."""
    now, then = levels(stage, peer, step)
    assert float(now.t) == float(peer[f"{kind}/{step}/t"])
    options = stage.config.sampling
    assert options.threshold == "clamp" and options.sampler == "ddpm"
    clipped = replace(said, x0=clamp(options.limit)(said.x0))
    mean, variance = posterior(x, clipped, now, then)
    return mean + variance.sqrt() * peer[f"{kind}/{step}/noise"]


@pytest.mark.parametrize("step", [4, 1])
def test_a_step_of_the_prior(step: int, peer: Any, prior: DiffusionStage, off: Any) -> None:
    x, out, after = (peer[f"prior/{step}/{one}"] for one in ("x", "out", "after"))
    scale = prior.config.sampling.guidance_scale
    assert scale == peer.said["guidance"]["prior"]
    whole = 8 * (out[1:] + scale * (out[:1] - out[1:]))  # as the peer did, so that some is clamped
    assert whole.abs().max() > prior.config.sampling.limit == 10
    said = prior.config.parameterization.denoiser(lambda *_: whole)(x, levels(prior, peer, step)[0])
    assert off(stepped(prior, peer, step, "prior", said, x), after) < 1e-4


@pytest.mark.parametrize("step", [4, 1])
def test_a_step_of_the_decoder(step: int, peer: Any, decoder: DiffusionStage, off: Any) -> None:
    x, out, after = (peer[f"decoder/{step}/{one}"] for one in ("x", "out", "after"))
    scale = decoder.config.sampling.guidance_scale
    assert scale == peer.said["guidance"]["decoder"]
    eps = out[1:, :3] + scale * (out[:1, :3] - out[1:, :3])
    whole = torch.cat([eps, out[:1, 3:]], dim=1)
    now = levels(decoder, peer, step)[0]
    said = decoder.config.parameterization.denoiser(lambda *_: whole)(x, now)
    assert off(stepped(decoder, peer, step, "decoder", said, x), after) < 1e-4


def openai_clip(embed: int) -> dict[str, Tensor]:
    """A CLIP in OpenAI's names: one head, one layer a tower."""
    width, vocab, context = 64, 514, 77
    made = {
        "positional_embedding": torch.randn(context, width),
        "text_projection": torch.randn(width, embed) / 8,
        "logit_scale": torch.tensor(4.6),
        "token_embedding.weight": torch.randn(vocab, width),
        "ln_final.weight": torch.randn(width),
        "ln_final.bias": torch.randn(width),
        "visual.class_embedding": torch.randn(width),
        "visual.positional_embedding": torch.randn(5, width),
        "visual.proj": torch.randn(width, embed) / 8,
        "visual.conv1.weight": torch.randn(width, 3, 8, 8) / 8,
    }
    for name in ("ln_pre", "ln_post"):
        made |= {f"visual.{name}.weight": torch.randn(width)}
        made |= {f"visual.{name}.bias": torch.randn(width)}
    for tower in ("", "visual."):
        block = f"{tower}transformer.resblocks.0"
        for layer in ("attn.in_proj", "attn.out_proj", "mlp.c_fc", "mlp.c_proj", "ln_1", "ln_2"):
            rows = {"attn.in_proj": 3 * width, "mlp.c_fc": 4 * width}.get(layer, width)
            columns = 4 * width if layer == "mlp.c_proj" else width
            split = "_" if layer == "attn.in_proj" else "."
            shape = (rows,) if layer.startswith("ln") else (rows, columns)
            made[f"{block}.{layer}{split}weight"] = torch.randn(shape) / 8
            made[f"{block}.{layer}{split}bias"] = torch.randn(rows) / 8
    return made


@pytest.fixture(scope="module")
def folder(
    peer: Any, alphabet: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """As its makers lay the files out, but for their names; a small tokenizer in `alphabet`."""
    path = tmp_path_factory.mktemp("karlo") / "original"
    path.mkdir()
    torch.manual_seed(5)
    embed = peer["cond/text_emb"].shape[1]
    for number, name in enumerate(("upsampler", "prior", "decoder")):
        torch.save({"state_dict": peer.weights(name)}, path / f"{number}.ckpt")
    torch.save(openai_clip(embed), path / "clip.pt")
    torch.save((torch.randn(embed), torch.rand(embed) + 0.5), path / "stats.th")
    alphabet(path / "alphabet")
    return path


def picture(path: Path, tokenizer: Path | None = None) -> Tensor:
    pipe = unclip.load(path, "cpu", torch.float32, tokenizer=tokenizer)
    settings = {"steps": 2, "prior_steps": 2, "upsampler_steps": 2, "prior_limit": 10.0}
    return pipe.sample(pipe.read(["hi"]), [3], settings=settings)


def test_as_a_folder_of_diffusers_it_draws_the_same_picture(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights in two layouts, under two sets of names, through two adapters."""
    monkeypatch.setattr(karlo_original, "SIDE", 16)  # no file says it
    monkeypatch.setattr(karlo_original, "LARGE", 32)
    plan = open_model(folder, Options(tokenizer=folder / "alphabet"))
    assert plan.family == "karlo-original"
    assert write_as("diffusers", plan, tmp_path / "diffusers") == "UnCLIPPipeline"
    drawn = picture(folder, folder / "alphabet")
    assert drawn.shape == (1, 3, 32, 32) and drawn.std() > 0.1
    again = open_model(tmp_path / "diffusers")
    assert again.family == "karlo"
    for name in ("clip", "prior", "decoder"):
        assert again.parts[name].config == plan.parts[name].config
    assert torch.equal(picture(tmp_path / "diffusers"), drawn)
