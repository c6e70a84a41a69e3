"""Single files of Stable Diffusion against `from_single_file` of diffusers 0.33.1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import unclip
from unclip.checkpoints.format import Options, open_model
from unclip.checkpoints.keymap import Take, translate_back
from unclip.errors import CheckpointError
from unclip.facade import Pipeline
from unclip.families.latent import single_file
from unclip.families.latent.latent_decoder import LatentDecoder
from unclip.families.latent.stable_diffusion import decoder_table
from unclip.types import Cond

STEPS, SIDE = 3, 16


@pytest.fixture(autouse=True, scope="module")
def small_latents() -> Any:
    """A file does not say how large its latents are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_file, "EPS_SIDE", SIDE // 2)
        patch.setattr(single_file, "V_SIDE", SIDE // 2)
        yield


Alphabet = Callable[[Path], None]


def write(folder: Path, peer: Any, alphabet: Alphabet) -> Path:
    """The file that the peer read, with its tokenizer in the folder `words`."""
    alphabet(folder / "words")
    pad = json.dumps({"pad_token": peer.said["pad"]})
    (folder / "words" / "tokenizer_config.json").write_text(pad)
    save_file(values(peer), folder / "model.safetensors")
    return folder / "model.safetensors"


def values(peer: Any) -> dict[str, Tensor]:
    """What the peer filled it with."""
    parts = {part: peer.weights(part) for part in peer.said["shapes"]}
    return {f"{part}.{name}": v for part, named in parts.items() for name, v in named.items()}


def load(file: Path, **more: Any) -> Pipeline:
    return unclip.load(file, "cpu", torch.float32, tokenizer=file.parent / "words", **more)


@pytest.fixture(scope="module", params=["1", "2", "inpaint"])
def peer(request: pytest.FixtureRequest, fixture: Any) -> Any:
    return fixture(f"single_file_{request.param}")


@pytest.fixture(scope="module")
def file(peer: Any, alphabet: Alphabet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("single"), peer, alphabet)


@pytest.fixture(scope="module")
def pipe(file: Path) -> Pipeline:
    return load(file)


@pytest.fixture(scope="module")
def stage(pipe: Pipeline) -> LatentDecoder:
    found = pipe.stages["decoder"]
    assert isinstance(found, LatentDecoder)
    return found


def known(peer: Any) -> dict[str, Tensor]:
    """The picture and the mask, where there are any."""
    if "image" not in peer.tensors:
        return {}
    return {"known": peer["image"] * 2 - 1, "mask": peer["mask"]}


@pytest.fixture
def cond(pipe: Pipeline, stage: LatentDecoder, peer: Any) -> Cond:
    """The prompt, and what it shall not be; then as the peer orders them: without, with."""
    cond = pipe.read([peer.said["prompt"]], peer.said["negative"]).replace(**known(peer))
    with torch.inference_mode():
        cond = stage._shown(cond) if stage.inpaints else cond
    return cond.dropped((False, False), (True, True))


def test_unet_and_text(peer: Any, stage: LatentDecoder, cond: Cond, off: Any) -> None:
    hidden = stage.net.unet.text(
        stage.net.unet._tokens(dict(cond.items())), torch.ones_like(cond.text_mask)
    )
    assert off(hidden[:1], peer["run/text_encoder/1/hidden"]) < 1e-4
    assert off(hidden[1:], peer["run/text_encoder/0/hidden"]) < 1e-4
    bound = stage.bind(cond)
    assert peer.count("run/unet") == STEPS
    for call in range(STEPS):
        x, t, out = (peer[f"run/unet/{call}/{one}"] for one in ("x", "t", "out"))
        assert off(bound(x[:, :4], t.expand(2)), out) < 1e-4


def test_the_unet_at_sides_that_do_not_halve(
    peer: Any, stage: LatentDecoder, cond: Cond, off: Any
) -> None:
    x = peer["odd/x"]
    one = cond[1:].replace(known_latents=x[:, 4:]) if stage.inpaints else cond[1:]
    out = stage.bind(one)(x[:, :4], torch.tensor([500.0]))
    assert off(out, peer["odd/out"]) < 1e-4


def test_what_an_inpainting_network_is_shown(
    peer: Any, stage: LatentDecoder, cond: Cond, off: Any
) -> None:
    if not stage.inpaints:
        assert cond.known_latents is None
        return
    assert cond.known_latents is not None
    for call in range(STEPS):
        assert off(cond.known_latents, peer[f"run/unet/{call}/x"][:, 4:]) < 1e-4


def test_autoencoder(peer: Any, stage: LatentDecoder, off: Any) -> None:
    assert off(stage.net.autoencoder.moments(peer["vae/image"])[0], peer["vae/mean"]) < 1e-4


def test_from_prompt_to_picture_with_the_peers_noise(
    peer: Any,
    pipe: Pipeline,
    stage: LatentDecoder,
    replayed: Callable[[list[Tensor]], list[Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cond = pipe.read([peer.said["prompt"]], peer.said["negative"])
    if stage.inpaints:  # the peer shows it what is known, and does not hold it to that
        with torch.inference_mode():
            seen = stage._shown(cond.replace(**known(peer))).known_latents
        shown = lambda _, cond, **__: cond.replace(known_latents=seen)  # noqa: E731 - in its place
        monkeypatch.setattr(type(stage), "_shown", shown)
    left = replayed([peer["noise"]])
    drawn = pipe.sample(cond, [0], settings={"steps": STEPS, "sampler": "ddim"})
    assert not left
    assert drawn.shape == (1, 3, SIDE, SIDE)
    picture = peer["picture"].permute(0, 3, 1, 2) * 2 - 1
    assert (drawn - picture).abs().max() < 1e-4


def test_what_is_known_stays_to_the_byte(peer: Any, pipe: Pipeline, stage: LatentDecoder) -> None:
    """With its own eyes or without: `repaint` shows an inpainting network nothing."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    picture, mask = Image.fromarray(pixels), np.zeros((SIDE, SIDE), np.uint8)
    mask[4:12, 6:] = 255
    made = {}
    for how in ("auto", "repaint") if stage.inpaints else ("auto",):
        edited = pipe.edit(
            picture, Image.fromarray(mask), "a cat", steps=2, inpainting=how, resample=1
        )
        made[how] = np.asarray(edited[0])
        assert np.array_equal(made[how][mask == 0], pixels[mask == 0])
    assert len({one.tobytes() for one in made.values()}) == len(made)


def test_a_ckpt_holds_the_same(
    peer: Any, stage: LatentDecoder, alphabet: Alphabet, tmp_path: Path
) -> None:
    """As Lightning saves it: wrapped, averaged weights and tables beside it, older names."""
    old = "cond_stage_model.transformer."
    state = {n.replace(f"{old}text_model.", old): v for n, v in values(peer).items()}
    state |= {"betas": torch.ones(1000), "model_ema.decay": torch.ones(())}
    state |= {"sqrt_one_minus_alphas_cumprod": torch.ones(1000)}
    if "cond_stage_model.model.logit_scale" not in state:
        state[f"{old}embeddings.position_ids"] = torch.arange(77)[None]
    alphabet(tmp_path / "words")
    torch.save({"state_dict": state, "global_step": 470_000, "epoch": 3}, tmp_path / "it.ckpt")
    plan = open_model(tmp_path / "it.ckpt", Options(tokenizer=tmp_path / "words"))
    assert any("averaged (EMA) weights" in note for note in plan.notes)
    mine, theirs = plan.parts["decoder"].translated("it"), stage.net.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name].read(), theirs[name]) for name in theirs)


def test_the_same_model_as_a_folder(
    peer: Any, pipe: Pipeline, stage: LatentDecoder, alphabet: Alphabet, tmp_path: Path
) -> None:
    """Its tensors under the names of diffusers, which the tests of folders have compared."""
    table, ours = decoder_table(stage.config), stage.net.state_dict()
    shapes = {name: shape for n, take in table.items() for name, shape in parted(take, ours[n])}
    theirs = dict(translate_back(ours, table, shapes))
    kind = "StableDiffusionInpaintPipeline" if stage.inpaints else "StableDiffusionPipeline"
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    for part, config in peer.said["configs"].items():
        (tmp_path / part).mkdir()
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        (tmp_path / part / name).write_text(json.dumps(config))
        own = {n.removeprefix(f"{part}."): v for n, v in theirs.items() if n.startswith(f"{part}.")}
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        if own:
            save_file(own, tmp_path / part / f"{stem}.safetensors")
    alphabet(tmp_path / "tokenizer")
    pad = json.dumps({"pad_token": peer.said["pad"]})
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(pad)
    again = unclip.load(tmp_path, "cpu", torch.float32).stages["decoder"]
    assert again.config.network == stage.config.network
    assert again.config.autoencoder == stage.config.autoencoder
    assert again.config.parameterization == stage.config.parameterization
    assert again.config.schedule == stage.config.schedule
    state = again.net.state_dict()
    assert all(torch.equal(state[name], ours[name]) for name in ours)


def parted(take: Take, value: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """The shapes of what one of our tensors is made of, all of one size."""
    size = (len(value) // len(take.sources), *value.shape[1:]) if value.ndim else ()
    return [(name, tuple(size)) for name in take.sources]


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("model.diffusion_model.input_blocks.1.1.proj_in.weight", "1 missing: "),
        ("first_stage_model.encoder.mid.attn_1.q.weight", "1 missing: "),
        ("model.diffusion_model.stray", "1 not used: "),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    key: str, fault: str, fixture: Any, alphabet: Alphabet, tmp_path: Path
) -> None:
    peer = fixture("single_file_1")
    file = write(tmp_path, peer, alphabet)
    tensors = values(peer)
    if tensors.pop(key, None) is None:
        tensors[key] = torch.zeros(2)
    save_file(tensors, file)
    with pytest.raises(CheckpointError) as caught:
        load(file)
    assert f"{fault}{key}" in str(caught.value)
