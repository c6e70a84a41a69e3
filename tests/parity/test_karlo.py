"""Karlo against diffusers 0.33.1: each network and each scheduler step with the peer's inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import unclip
from unclip.diffusion.guidance import clamp
from unclip.diffusion.samplers import SAMPLERS, posterior
from unclip.facade import Pipeline
from unclip.media import to_tensor
from unclip.stages import DiffusionStage
from unclip.types import Cond

NETWORKS = ("prior", "text_proj", "decoder", "super_res_first", "super_res_last")
SCHEDULERS = ("prior_scheduler", "decoder_scheduler", "super_res_scheduler")
STAGES = {"prior": "prior", "decoder": "decoder", "super_res": "upsampler"}


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("karlo")


def write(folder: Path, peer: Any, alphabet: Callable[[Path], None], images: bool) -> Path:
    kind = "UnCLIPImageVariationPipeline" if images else "UnCLIPPipeline"
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    for name in NETWORKS[1:] if images else NETWORKS:
        peer.write(folder, name, "diffusion_pytorch_model.safetensors")
    for name in ("text_encoder", "image_encoder") if images else ("text_encoder",):
        peer.write(folder, name, "model.safetensors")
    for name in SCHEDULERS[1:] if images else SCHEDULERS:
        (folder / name).mkdir()
        config = json.dumps({**peer.said["configs"][name], "_class_name": "UnCLIPScheduler"})
        (folder / name / "scheduler_config.json").write_text(config)
    alphabet(folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def folder(
    peer: Any, alphabet: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write(tmp_path_factory.mktemp("karlo") / "text", peer, alphabet, images=False)


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Pipeline:
    return unclip.load(folder, "cpu", torch.float32)


@pytest.fixture(scope="module")
def cond(pipe: Pipeline, peer: Any) -> Cond:
    """The text, read."""
    cond = pipe.read([peer.said["prompt"]])
    return pipe.model.clip("reading").encode_text(cond)


def stage(pipe: Pipeline, name: str) -> DiffusionStage:
    found = pipe.stages[name]
    assert isinstance(found, DiffusionStage)
    return found


def test_text(peer: Any, cond: Cond, off: Any) -> None:
    pairs = (("text_tokens", "tokens"), ("text_embed", "embed"), ("text_encodings", "hidden"))
    for mine, theirs in pairs:
        assert off(getattr(cond, mine), peer[f"text/text_encoder/0/{theirs}"]) < 1e-4
        assert off(getattr(cond, f"null_{mine}"), peer[f"text/text_encoder/1/{theirs}"]) < 1e-4


def guided(cond: Cond) -> Cond:
    """In the peer's order: without, with."""
    return cond.dropped((False, False), (True, True))


def test_prior(peer: Any, pipe: Pipeline, cond: Cond, off: Any) -> None:
    bound = stage(pipe, "prior").bind(guided(cond))
    for call in range(peer.count("text/prior")):
        x, t, out = (peer[f"text/prior/{call}/{one}"] for one in ("x", "t", "out"))
        assert off(bound(x, t.expand(2)), out) < 1e-4


def latent(peer: Any, pipe: Pipeline) -> Tensor:
    """z_i, of the peer's last step."""
    last = peer.count("text/prior_scheduler") - 1
    return stage(pipe, "prior").space.decode(peer[f"text/prior_scheduler/{last}/after"])


def test_decoder(peer: Any, pipe: Pipeline, cond: Cond, off: Any) -> None:
    bound = stage(pipe, "decoder").bind(guided(cond.replace(image_embed=latent(peer, pipe))))
    for call in range(peer.count("text/decoder")):
        x, t, out = (peer[f"text/decoder/{call}/{one}"] for one in ("x", "t", "out"))
        assert off(bound(x, t.expand(2)), out) < 1e-4


def test_upsampler(peer: Any, pipe: Pipeline, off: Any) -> None:
    for name in ("super_res_first", "super_res_last"):
        for call in range(peer.count(f"text/{name}")):
            x, t, out = (peer[f"text/{name}/{call}/{one}"] for one in ("x", "t", "out"))
            bound = stage(pipe, "upsampler").bind(Cond(image=x[:, 3:], low_res=x[:, 3:]))
            assert off(bound(x[:, :3], t.expand(1)), out) < 1e-4


def test_the_small_picture_is_enlarged_alike(peer: Any, pipe: Pipeline, off: Any) -> None:
    last = peer.count("text/decoder_scheduler") - 1
    small = peer[f"text/decoder_scheduler/{last}/after"].clamp(-1, 1)
    enlarge = stage(pipe, "upsampler").enlarged  # type: ignore[attr-defined]
    assert off(enlarge(small), peer["text/super_res_first/0/x"][:, 3:]) < 1e-5


@pytest.mark.parametrize(("theirs", "ours"), STAGES.items())
def test_each_step_of_the_scheduler(
    theirs: str, ours: str, peer: Any, pipe: Pipeline, off: Any
) -> None:
    mine = stage(pipe, ours)
    options = mine.config.sampling
    count = peer.count(f"text/{theirs}_scheduler")
    levels = mine.config.schedule.grid(count, options.spacing)
    first = {"prior": 0, "decoder": 3, "super_res": 6}[theirs]
    for call in range(count):
        x, t, output, after = (
            peer[f"text/{theirs}_scheduler/{call}/{one}"] for one in ("x", "t", "output", "after")
        )
        now, then = levels[call], levels[call + 1]
        assert float(now.t) == float(t)
        said = mine.config.parameterization.denoiser(lambda *_, out=output: out)(x, now)
        clipped = replace(said, x0=clamp(options.limit)(said.x0))
        mean, variance = posterior(x, clipped, now, then)
        noise = 0 if call == count - 1 else peer[f"text/noise/{first + call + 1}/it"]
        # the peer takes 1 - alpha_bar in float32, which at timestep 0 loses 5e-4 of it
        bound = 1e-4 if t > 0 and then.t > 0 else 1e-3
        assert off(mean + variance.sqrt() * noise, after) < bound


def test_from_prompt_to_picture_with_the_peers_noise(
    peer: Any, pipe: Pipeline, replayed: Any
) -> None:
    left = replayed([peer[f"text/noise/{i}/it"] for i in range(peer.count("text/noise"))])
    steps = {f"{name}steps": 3 for name in ("", "prior_", "upsampler_")}
    picture = pipe.generate(peer.said["prompt"], **steps)[0]
    assert not left, "every draw was wanted"
    theirs = peer["text/picture/0/it"].permute(0, 3, 1, 2) * 2 - 1
    assert (to_tensor([picture]) - theirs).abs().max() < 2 / 255 + 2e-3


def test_a_variation_of_a_picture(
    peer: Any, alphabet: Callable[[Path], None], tmp_path: Path, replayed: Any, off: Any
) -> None:
    pipe = unclip.load(write(tmp_path / "image", peer, alphabet, images=True), "cpu", torch.float32)
    assert "prior" not in pipe.stages
    net = pipe.model.clip("seeing").net
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (net.vision.config.mean, net.vision.config.std)
    )
    z_i = net.encode_image((peer["image/pixels/0/it"] * std + mean) * 2 - 1)
    assert off(z_i, peer["image/embed/0/it"]) < 1e-4
    left = replayed([peer[f"image/noise/{i}/it"] for i in range(peer.count("image/noise"))])
    settings = {"steps": 2, "upsampler_steps": 2}
    drawn = pipe.sample(pipe.image_only(z_i), [0], settings=settings)
    assert not left
    theirs = peer["image/picture/0/it"].permute(0, 3, 1, 2) * 2 - 1
    assert (drawn - theirs).abs().max() < 3e-3


@pytest.fixture(scope="module")
def whole(
    peer: Any, alphabet: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with both an image encoder and a prior: every ability."""
    folder = write(tmp_path_factory.mktemp("whole") / "karlo", peer, alphabet, images=True)
    peer.write(folder, "prior", "diffusion_pytorch_model.safetensors")
    (folder / "prior_scheduler").mkdir()
    config = json.dumps(peer.said["configs"]["prior_scheduler"])
    (folder / "prior_scheduler" / "scheduler_config.json").write_text(config)
    return folder


SHADES = [Image.new("RGB", (16, 16), (shade, 90, 255 - shade)) for shade in (0, 80, 160, 240)]
FEW = {"steps": 2, "upsampler_steps": 2}


def pictures(pipe: Pipeline) -> dict[str, list[Image.Image]]:
    """What every ability makes."""
    few, source = {**FEW, "prior_steps": 2}, Image.new("RGB", (16, 16), (200, 30, 60))
    mask = Image.new("L", (16, 16), 0)
    mask.paste(255, (0, 0, 8, 16))
    return {
        "generate": pipe.generate("a fox", seed=1, **few),
        "vary": pipe.variations(source, eta=0.5, seed=1, **FEW),
        "edit": pipe.edit(source, mask, "a fox", seed=1, **few),
        "img2img": pipe.image_to_image(source, "a fox", seed=1, **few),
        "outpaint": pipe.outpaint(source, left=8, prompt="a fox", seed=1, **few),
        "interpolate": pipe.interpolate(source, "a fox", frames=2, seed=1, **few),
        "textdiff": pipe.text_diff(source, "a fox", "a cat", frames=2, seed=1, **FEW),
        "reconstruct": pipe.reconstruct(source, [1, 2], seed=1, pictures=SHADES, **FEW),
    }


def test_every_ability_works_and_low_memory_changes_no_picture(whole: Path) -> None:
    plain = pictures(unclip.load(whole, "cpu", torch.float32))
    little = pictures(unclip.load(whole, "cpu", torch.float32, low_memory=True))
    for name, made in plain.items():
        assert made, name
        assert [one.tobytes() for one in made] == [one.tobytes() for one in little[name]], name


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_sampler_draws(whole: Path, sampler: str) -> None:
    pipe = unclip.load(whole, "cpu", torch.float32)
    settings = {f"{stage}sampler": sampler for stage in ("", "prior_", "upsampler_")}
    few = {**FEW, "prior_steps": 2}
    one, other = (pipe.generate("a fox", seed=seed, **few, **settings)[0] for seed in (1, 2))
    assert one.tobytes() != other.tobytes()


def test_a_negative_prompt_leads_elsewhere_and_can_be_replayed(pipe: Pipeline) -> None:
    few = {**FEW, "prior_steps": 2, "seed": 3}
    plain, again, other = (
        pipe.generate("a fox", negative_prompt=text, **few)[0] for text in ("", "", "snow")
    )
    assert plain.tobytes() == again.tobytes() != other.tobytes()
    assert json.loads(other.info["unclip"])["settings"]["negative_prompt"] == "snow"
