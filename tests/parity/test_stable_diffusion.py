"""Stable Diffusion against diffusers 0.33.1: networks, steps and pictures, as v1 and as v2."""

from __future__ import annotations

import gzip
import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import unclip
from unclip.checkpoints.format import Options, open_model
from unclip.checkpoints.keymap import check, translate_back
from unclip.diffusion.samplers import SAMPLERS
from unclip.errors import CheckpointError
from unclip.facade import Pipeline
from unclip.families.clip.huggingface import BUFFERS, hf_text_config, hf_text_table
from unclip.families.latent._autoencoder import Autoencoder
from unclip.families.latent._autoencoder_names import autoencoder_config, autoencoder_table
from unclip.families.latent._unet import LatentUNet
from unclip.families.latent.latent_decoder import LatentDecoder
from unclip.families.latent.stable_diffusion import FORMAT, unet_config, unet_table
from unclip.media import to_tensor
from unclip.nn.layers import parameter_count
from unclip.nn.text import TextEncoder
from unclip.rng import Rng
from unclip.types import Cond

HERE = Path(__file__).parent
STEPS = 4


@pytest.fixture(scope="module", params=["stable_diffusion_1", "stable_diffusion_2"])
def peer(request: pytest.FixtureRequest, fixture: Any) -> Any:
    return fixture(request.param)


def write(folder: Path, peer: Any, alphabet: Callable[[Path], None]) -> Path:
    """The peer's folder, as it saves it."""
    folder.mkdir()
    index = {"_class_name": "StableDiffusionPipeline", "safety_checker": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))
    for name in ("unet", "vae"):
        peer.write(folder, name, "diffusion_pytorch_model.safetensors")
    peer.write(folder, "text_encoder", "model.safetensors")
    (folder / "scheduler").mkdir()
    config = json.dumps(peer.said["configs"]["scheduler"])
    (folder / "scheduler" / "scheduler_config.json").write_text(config)
    alphabet(folder / "tokenizer")
    pad = json.dumps({"pad_token": peer.said["pad"]})
    (folder / "tokenizer" / "tokenizer_config.json").write_text(pad)
    return folder


@pytest.fixture(scope="module")
def folder(
    peer: Any, alphabet: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write(tmp_path_factory.mktemp("stable") / "it", peer, alphabet)


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Pipeline:
    return unclip.load(folder, "cpu", torch.float32)


@pytest.fixture(scope="module")
def stage(pipe: Pipeline) -> LatentDecoder:
    found = pipe.stages["decoder"]
    assert isinstance(found, LatentDecoder)
    return found


@pytest.fixture(scope="module")
def cond(pipe: Pipeline, peer: Any) -> Cond:
    """The prompt, and what it shall not be; then as the peer orders them: without, with."""
    return pipe.read([peer.said["prompt"]], peer.said["negative"]).dropped(
        (False, False), (True, True)
    )


def test_text(peer: Any, stage: LatentDecoder, cond: Cond, off: Any) -> None:
    net = stage.net.unet
    assert isinstance(net, LatentUNet)
    tokens = net._tokens(dict(cond.items()))
    for row, call in ((1, 0), (0, 1)):
        assert torch.equal(tokens[row].float(), peer[f"run/text_encoder/{call}/tokens"][0])
        hidden = net.text(tokens[row : row + 1], torch.ones_like(tokens[:1], dtype=torch.bool))
        assert off(hidden, peer[f"run/text_encoder/{call}/hidden"]) < 1e-4


def test_unet(peer: Any, stage: LatentDecoder, cond: Cond, off: Any) -> None:
    bound = stage.bind(cond)
    assert peer.count("run/unet") == STEPS
    for call in range(STEPS):
        x, t, out = (peer[f"run/unet/{call}/{one}"] for one in ("x", "t", "out"))
        assert off(bound(x, t.expand(2)), out) < 1e-4


def test_each_step_of_ddim(peer: Any, stage: LatentDecoder, off: Any) -> None:
    config = stage.config
    levels = config.schedule.grid(STEPS, config.sampling.spacing)
    for call in range(STEPS):
        x, t, output, after = (
            peer[f"run/scheduler/{call}/{one}"] for one in ("x", "t", "output", "after")
        )
        assert float(levels[call].t) == float(t)
        said = config.parameterization.denoiser(lambda *_, out=output: out)(x, levels[call])
        step = SAMPLERS["ddim"](lambda x, level, p=said: p, x, levels[call : call + 2], Rng([0]))
        assert off(step, after) < 1e-4


def test_autoencoder(peer: Any, stage: LatentDecoder, off: Any) -> None:
    net = stage.net.autoencoder
    mean, log_variance = net.moments(peer["vae/image"])
    assert log_variance is not None
    assert off(mean, peer["vae/mean"]) < 1e-4
    assert off(log_variance, peer["vae/logvar"]) < 1e-4
    assert off(net.decode(peer["vae/latents"] * net.config.scale), peer["vae/decoded"]) < 1e-4
    assert off(stage.space.encode(peer["vae/image"]), 0.18215 * peer["vae/mean"]) < 1e-4


def test_from_prompt_to_picture_with_the_peers_noise(
    peer: Any, pipe: Pipeline, replayed: Callable[[list[Tensor]], list[Tensor]]
) -> None:
    left = replayed([peer["noise"]])

    cond = pipe.read([peer.said["prompt"]], peer.said["negative"])
    drawn = pipe.sample(cond, [0], settings={"steps": STEPS})
    assert not left
    picture = peer["picture"].permute(0, 3, 1, 2) * 2 - 1
    assert (drawn - picture).abs().max() < 1e-3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_sampler_draws_with_it(sampler: str, peer: Any, pipe: Pipeline) -> None:
    picture = to_tensor(pipe.generate(peer.said["prompt"], sampler=sampler, steps=3))
    assert picture.isfinite().all()
    assert picture.std() > 0.05


def test_older_names_of_the_autoencoders_attention(
    peer: Any, folder: Path, stage: LatentDecoder, alphabet: Any, tmp_path: Path
) -> None:
    write(tmp_path / "old", peer, alphabet)
    file = tmp_path / "old" / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(file)
    for new, old in names.items():
        tensors = {k.replace(f".{new}.", f".{old}."): v for k, v in tensors.items()}
    assert any(".query." in key for key in tensors)
    save_file(tensors, file)
    again = unclip.load(tmp_path / "old", "cpu", torch.float32).stages["decoder"]
    mine, theirs = stage.net.state_dict(), again.net.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_table_reads_both_ways(peer: Any, folder: Path, stage: LatentDecoder) -> None:
    part = FORMAT.open(folder, Options()).parts["decoder"]
    theirs, table = part.tensors(), part.table
    assert table is not None
    shapes = {name: theirs.shape(name) for name in theirs}
    back = dict(translate_back(stage.net.state_dict(), table, shapes))
    assert back.keys() == set(theirs)
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("component", "key", "fault"),
    [
        ("unet", "conv_in.weight", "1 missing: unet.conv_in.weight"),
        ("vae", "quant_conv.bias", "1 missing: vae.quant_conv.bias"),
        ("unet", None, "1 not used: unet.stray"),
        ("vae", None, "1 not used: vae.stray"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    component: str, key: str | None, fault: str, peer: Any, alphabet: Any, tmp_path: Path
) -> None:
    folder = write(tmp_path / "it", peer, alphabet)
    file = folder / component / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    if key is None:
        tensors["stray"] = torch.zeros(2)
    else:
        del tensors[key]
    save_file(tensors, file)
    with pytest.raises(CheckpointError) as caught:
        unclip.load(folder, "cpu", torch.float32)
    assert fault in str(caught.value)


class Shapes(dict[str, tuple[int, ...]]):
    """Stands for a file of which only names and shapes are known."""

    def shape(self, key: str) -> tuple[int, ...]:
        return self[key]

    def dtype(self, key: str) -> torch.dtype:
        return torch.float32


COUNTS = {
    "unet_1": 859_520_964,
    "unet_2": 865_910_724,
    "vae": 83_653_863,
    "text_encoder_1": 123_060_480,
}


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    packed = (HERE / "fixtures" / "stable_published.json.gz").read_bytes()
    found: dict[str, Any] = json.loads(gzip.decompress(packed))
    assert {name: found[name]["parameters"] for name in COUNTS} == COUNTS
    return found


def fits(net: torch.nn.Module, one: dict[str, Any], table: Any, count: int | None = None) -> None:
    """Every name and shape, and as many numbers."""
    wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    tensors = Shapes({name: tuple(shape) for name, shape in one["shapes"].items()})
    check(wanted, tensors, table, "published", BUFFERS)  # type: ignore[arg-type]
    assert (count or parameter_count(net)) == one["parameters"]


@pytest.mark.parametrize(
    ("unet", "text"),
    [
        ("unet_1", "text_encoder_1"),
        ("unet_2", "text_encoder_2"),
        ("unet_unclip_small", "text_encoder_2"),
        ("unet_unclip_large", "text_encoder_2"),
    ],
)
def test_the_published_unets_fit_wholly(unet: str, text: str, published: dict[str, Any]) -> None:
    words = hf_text_config(published[text]["config"], HERE)
    config = unet_config(published[unet]["config"], HERE, text=words)
    with torch.device("meta"):
        net = LatentUNet(config)
        reader = TextEncoder(words, causal=True)
    fits(reader, published[text], hf_text_table(words.depth, ""))
    if config.embed_dim:
        del net.image.mean, net.image.std  # which lie in a file of their own
    del net.text
    fits(net, published[unet], unet_table(config))


def test_the_published_autoencoder_fits_wholly(published: dict[str, Any]) -> None:
    config = autoencoder_config(published["vae"]["config"], HERE)
    with torch.device("meta"):
        net = Autoencoder(config)
    fits(net, published["vae"], autoencoder_table(config))
    assert config.scale == 0.18215
    assert config.factor == 8


def test_a_text_encoder_that_was_saved_by_hand(folder: Path, tmp_path: Path) -> None:
    """transformers 5 has no `text_model.` before its names; it is the same encoder."""
    copied = Path(shutil.copytree(folder, tmp_path / "flat"))
    file = copied / "text_encoder" / "model.safetensors"
    save_file({key.removeprefix("text_model."): v for key, v in load_file(file).items()}, file)
    plain, flat = (open_model(one).parts["decoder"].translated("it") for one in (folder, copied))
    assert set(plain) == set(flat)
    assert all(torch.equal(plain[name].read(), flat[name].read()) for name in plain)


def test_the_articles_script_draws_with_the_peers_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it draws is what `unclip.load` draws."""
    monkeypatch.chdir(tmp_path)
    script = str(HERE.parents[1] / "examples" / "diffusers_local.py")
    monkeypatch.setattr(sys, "argv", [script, str(folder), "ab"])
    drawn = runpy.run_path(script, run_name="__main__")["image"]
    (own,) = unclip.load(folder, "cpu", torch.float32).generate(
        "ab", seed=7, steps=10, guidance_scale=2.5
    )
    assert Image.open("car.png").tobytes() == drawn.tobytes() == own.tobytes()
