"""Kandinsky 2.2 against diffusers 0.33.1: prior, decoder, MoVQ and each step of two samplers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import unclip
from unclip.checkpoints.keymap import check
from unclip.diffusion.guidance import dynamic_threshold, map_x0
from unclip.diffusion.samplers import SAMPLERS
from unclip.facade import Pipeline
from unclip.families._diffusers import prior_table
from unclip.families.clip.huggingface import BUFFERS, hf_table, hf_text_config, hf_vision_config
from unclip.families.latent._autoencoder import Autoencoder
from unclip.families.latent._autoencoder_names import autoencoder_config, autoencoder_table
from unclip.families.latent.kandinsky import decoder_config, prior_parts, unet_names
from unclip.families.latent.latent_unclip import LatentUnclip
from unclip.media import to_tensor
from unclip.nn.clip import Clip, ClipConfig
from unclip.nn.layers import parameter_count
from unclip.nn.prior import PriorNet
from unclip.rng import Rng
from unclip.stages.prior import PriorStage, PriorStageConfig
from unclip.types import Cond

HERE = Path(__file__).parent
RUNS = pytest.mark.parametrize("run", ["ddpm", "ddim"])
STEPS = 4


def quantised(net: Autoencoder, latents: Tensor) -> Tensor:
    """Each place's nearest code: what the autoencoder's own training decodes."""
    z = latents.permute(0, 2, 3, 1) / net.config.scale  # (B, h, w, c)
    nearest = torch.cdist(z.flatten(0, 2), net.codebook.weight).argmin(1)
    codes: Tensor = net.codebook(nearest).view(z.shape)
    return codes.permute(0, 3, 1, 2) * net.config.scale


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("kandinsky")


def write_prior(folder: Path, peer: Any, alphabet: Callable[[Path], None], prefix: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("prior", "text_encoder", "image_encoder"):
        file = "diffusion_pytorch_model" if name == "prior" else "model"
        peer.write(folder, name, f"{file}.safetensors")
        (folder / name).rename(folder / f"{prefix}{name}")
    write_scheduler(folder / f"{prefix}scheduler", peer, "prior_scheduler")
    alphabet(folder / f"{prefix}tokenizer")


def write_decoder(folder: Path, peer: Any, scheduler: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("unet", "movq"):
        peer.write(folder, name, "diffusion_pytorch_model.safetensors")
    write_scheduler(folder / "scheduler", peer, scheduler)


def write_scheduler(folder: Path, peer: Any, name: str) -> None:
    folder.mkdir()
    config = json.dumps(peer.said["configs"][name])
    (folder / "scheduler_config.json").write_text(config)


def write_index(folder: Path, kind: str) -> None:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))


def write_both(root: Path, peer: Any, alphabet: Callable[[Path], None], scheduler: str) -> Path:
    """The two folders of the hub, side by side."""
    root.mkdir()
    write_prior(root / "the-prior", peer, alphabet, "")
    write_index(root / "the-prior", "KandinskyV22PriorPipeline")
    write_decoder(root / "the-decoder", peer, scheduler)
    write_index(root / "the-decoder", "KandinskyV22Pipeline")
    return root


@pytest.fixture(scope="module")
def pipes(
    peer: Any, alphabet: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Pipeline]:
    root = tmp_path_factory.mktemp("kandinsky")
    return {
        run: unclip.load(write_both(root / run, peer, alphabet, run), "cpu", torch.float32)
        for run in ("ddpm", "ddim")
    }


def decoder(pipe: Pipeline) -> LatentUnclip:
    found = pipe.stages["decoder"]
    assert isinstance(found, LatentUnclip)
    return found


@pytest.fixture(scope="module")
def read(pipes: dict[str, Pipeline], peer: Any) -> Cond:
    """The text, read by CLIP, with what stands for no text and no picture."""
    pipe = pipes["ddpm"]
    return pipe.model.clip("reading").encode_text(pipe.read([peer.said["prompt"]]))


def test_prior(peer: Any, pipes: dict[str, Pipeline], read: Cond, off: Any) -> None:
    stage = pipes["ddpm"].stages["prior"]
    assert isinstance(stage, PriorStage)
    bound = stage.bind(read.dropped((False, False), (True, True)))
    assert peer.count("prior/prior") == 3
    for call in range(3):
        x, t, out = (peer[f"prior/prior/{call}/{one}"] for one in ("x", "t", "out"))
        assert off(bound(x, t.expand(2)), out) < 1e-4


def test_prior_with_the_peers_noise(
    peer: Any,
    pipes: dict[str, Pipeline],
    read: Cond,
    off: Any,
    replayed: Callable[[list[Tensor]], list[Tensor]],
) -> None:
    left = replayed([peer[f"prior/noise/{i}/it"] for i in range(peer.count("prior/noise"))])
    made = pipes["ddpm"].stages["prior"].sample(read, Rng([0]), {"steps": 3})
    assert not left
    assert made.image_embed is not None
    assert off(made.image_embed, peer["prior/embed"]) < 1e-3  # free-running


def test_no_picture_is_a_grey_one(peer: Any, read: Cond, off: Any) -> None:
    assert off(read.null_image_embed, peer["prior/null"]) < 1e-4


def test_guidance_acts_where_there_is_no_text(pipes: dict[str, Pipeline], read: Cond) -> None:
    """Variations and interpolations draw from z_i alone, against the embedding of no picture."""
    pipe = next(iter(pipes.values()))
    z_i = torch.randn(1, read.text_embed.shape[1])  # type: ignore[union-attr]
    cond = pipe.image_only(z_i)
    assert cond.null_image_embed is not None and read.null_image_embed is not None
    assert torch.equal(cond.null_image_embed, read.null_image_embed[:1])
    drawn = [
        pipe.sample(cond, [1], settings={"steps": 2, "guidance_scale": scale})
        for scale in (1.0, 4.0)
    ]
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-2)


def shown(peer: Any) -> Cond:
    """z_i, and what stands for none, in the peer's order: without, with."""
    z_i = Cond(image_embed=peer["prior/embed"], null_image_embed=peer["prior/null"])
    return z_i.dropped((False, False), (True, True))


@RUNS
def test_unet(run: str, peer: Any, pipes: dict[str, Pipeline], off: Any) -> None:
    bound = decoder(pipes[run]).bind(shown(peer))
    assert peer.count(f"{run}/unet") == STEPS
    for call in range(STEPS):
        x, t, out = (peer[f"{run}/unet/{call}/{one}"] for one in ("x", "t", "out"))
        assert off(bound(x, t.expand(2)), out) < 1e-4


@RUNS
def test_each_step_of_the_scheduler(
    run: str,
    peer: Any,
    pipes: dict[str, Pipeline],
    off: Any,
    replayed: Callable[[list[Tensor]], list[Tensor]],
) -> None:
    config = decoder(pipes[run]).config
    options = config.sampling
    assert options.sampler == run
    assert options.ceiling == (2.0 if run == "ddpm" else None)
    levels = config.schedule.grid(STEPS, options.spacing)
    for call in range(STEPS):
        x, t, output, after = (
            peer[f"{run}/scheduler/{call}/{one}"] for one in ("x", "t", "output", "after")
        )
        assert float(levels[call].t) == float(t)
        if run == "ddim":  # the peer leaves the variance out before it asks this scheduler
            output = torch.cat([output, output], dim=1)
        said = config.parameterization.denoiser(lambda *_, out=output: out)(x, levels[call])
        denoise = lambda x, level, p=said: p  # noqa: E731 - one of two ways
        if options.ceiling:
            denoise = map_x0(denoise, dynamic_threshold(ceiling=options.ceiling))
        replayed([peer[f"{run}/noise/{call + 1}/it"]] if run == "ddpm" and call < 3 else [])
        step = SAMPLERS[run](denoise, x, levels[call : call + 2], Rng([0]))
        assert off(step, after) < 1e-4


def test_movq(peer: Any, pipes: dict[str, Pipeline], off: Any) -> None:
    stage = decoder(pipes["ddpm"])
    net, latents = stage.net.autoencoder, peer["vae/latents"]
    assert off(stage.space.encode(peer["vae/image"]), peer["vae/mean"]) < 1e-4
    assert off(net.decode(latents), peer["vae/decoded"]) < 1e-4
    assert off(net.decode(quantised(net, latents)), peer["vae/quantised"]) < 1e-4


@RUNS
def test_from_embedding_to_picture_with_the_peers_noise(
    run: str,
    peer: Any,
    pipes: dict[str, Pipeline],
    replayed: Callable[[list[Tensor]], list[Tensor]],
) -> None:
    left = replayed([peer[f"{run}/noise/{i}/it"] for i in range(peer.count(f"{run}/noise"))])
    cond = Cond(image_embed=peer["prior/embed"], null_image_embed=peer["prior/null"])
    drawn = decoder(pipes[run]).sample(cond, Rng([0]), {"steps": STEPS}).image
    assert not left
    assert drawn is not None
    assert (drawn - peer[f"{run}/picture"].clamp(-1, 1)).abs().max() < 2e-3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_sampler_draws_with_it(sampler: str, peer: Any, pipes: dict[str, Pipeline]) -> None:
    settings: dict[str, Any] = {"sampler": sampler, "steps": 3, "prior_steps": 2}
    picture = to_tensor(pipes["ddim"].generate(peer.said["prompt"], **settings))
    assert picture.isfinite().all()
    assert picture.std() > 0.05


def test_the_combined_pipelines_folder_is_the_same(
    peer: Any, alphabet: Callable[[Path], None], pipes: dict[str, Pipeline], tmp_path: Path
) -> None:
    folder = tmp_path / "combined"
    write_prior(folder, peer, alphabet, "prior_")
    write_decoder(folder, peer, "ddim")
    write_index(folder, "KandinskyV22CombinedPipeline")
    again = unclip.load(folder, "cpu", torch.float32)
    assert list(again.stages) == list(pipes["ddim"].stages) == ["clip", "prior", "decoder"]
    for name, stage in again.stages.items():
        mine, theirs = stage.net.state_dict(), pipes["ddim"].stages[name].net.state_dict()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
        assert stage.config == pipes["ddim"].stages[name].config  # type: ignore[attr-defined]


class Shapes(dict[str, tuple[int, ...]]):
    """Stands for a file of which only names and shapes are known."""

    def shape(self, key: str) -> tuple[int, ...]:
        return self[key]

    def dtype(self, key: str) -> torch.dtype:
        return torch.float32


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    packed = (HERE / "fixtures" / "kandinsky_published.json.gz").read_bytes()
    found: dict[str, Any] = json.loads(gzip.decompress(packed))
    return found


def fits(net: torch.nn.Module, table: Any, *files: dict[str, Any]) -> None:
    """Every name and shape, and as many numbers."""
    wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    tensors = Shapes({n: tuple(s) for one in files for n, s in one["shapes"].items()})
    check(wanted, tensors, table, "published", BUFFERS)  # type: ignore[arg-type]
    buffers = sum(value.numel() for value in net.buffers())
    assert parameter_count(net) + buffers == sum(one["parameters"] for one in files)


def test_the_published_decoder_fits_wholly(published: dict[str, Any]) -> None:
    config = decoder_config(published["unet"]["config"], HERE)
    movq = autoencoder_config(published["movq"]["config"], HERE)
    with torch.device("meta"):
        net, autoencoder = config.build(), Autoencoder(movq)
    fits(net, unet_names(config), published["unet"])
    fits(autoencoder, autoencoder_table(movq), published["movq"])
    assert (movq.scale, movq.factor) == (1.0, 8)


def test_the_published_prior_fits_wholly(
    published: dict[str, Any], peer: Any, tmp_path: Path
) -> None:
    for name in ("prior", "text_encoder", "image_encoder"):
        (tmp_path / name).mkdir()
        config = json.dumps(published[name]["config"])
        (tmp_path / name / "config.json").write_text(config)
    write_scheduler(tmp_path / "scheduler", peer, "prior_scheduler")
    config = prior_parts(tmp_path)["prior"].config
    assert isinstance(config, PriorStageConfig)
    with torch.device("meta"):
        net = PriorNet(config.network)
    fits(net, prior_table(config.network), published["prior"])
    towers = ClipConfig(
        embed_dim=1280,
        text=hf_text_config(published["text_encoder"]["config"], HERE),
        vision=hf_vision_config(published["image_encoder"]["config"], HERE),
    )
    with torch.device("meta"):
        clip = Clip(towers)
    del clip.log_scale  # which neither tower's file has
    table = {k: v for k, v in hf_table(towers).items() if k != "log_scale"}
    fits(clip, table, published["text_encoder"], published["image_encoder"])
