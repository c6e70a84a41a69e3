"""CLIP against the three that wrote its files: transformers, OpenAI's own, open_clip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unclip.checkpoints.companions import open_clip_part
from unclip.checkpoints.part import Part
from unclip.families.clip.clip import clip_tokenizer
from unclip.families.clip.huggingface import hf_clip_part
from unclip.nn.clip import Clip

FIXTURES = Path(__file__).parent / "fixtures"
LAYOUTS = ("hf", "openai", "open")
Off = Callable[[Tensor, Tensor], float]


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("clip")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each as its library saves it."""
    root = tmp_path_factory.mktemp("clip")
    files = {
        "hf": ("model.safetensors", "config.json"),
        "open": ("open_clip_model.safetensors", "open_clip_config.json"),
    }
    for name, (weights, config) in files.items():
        (root / name).mkdir()
        shutil.copy(FIXTURES / f"clip_{name}.safetensors", root / name / weights)
        shutil.copy(FIXTURES / f"clip_{name}.json", root / name / config)
    shutil.copy(FIXTURES / "clip_openai.pt", root / "ViT.pt")
    return {"hf": root / "hf", "open": root / "open", "openai": root / "ViT.pt"}


def filled(part: Part) -> Clip:
    stage = part.build()
    part.fill(stage, "it", torch.float32, torch.device("cpu"))
    assert isinstance(stage.net, Clip)
    return stage.net


@pytest.fixture(scope="module")
def nets(paths: dict[str, Path]) -> dict[str, Clip]:
    return {name: filled(open_clip_part(path, normalize=False)) for name, path in paths.items()}


def mask_of(peer: Any) -> Tensor:
    """The captions end with the highest id."""
    tokens = peer["tokens"]
    return torch.arange(tokens.shape[1]) <= tokens.argmax(1, keepdim=True)


def seen(peer: Any, net: Clip, layout: str) -> Tensor:
    """The peer's pictures, in our terms: transformers was given pixels, the others what it makes of
    them."""
    if layout == "hf":
        pixels: Tensor = peer["pixels"].permute(0, 3, 1, 2)
        return pixels / 127.5 - 1
    vision = net.config.vision
    assert vision is not None
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (vision.mean, vision.std))
    return 2 * (peer["normalised"] * std + mean) - 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_texts(layout: str, peer: Any, nets: dict[str, Clip], off: Off) -> None:
    z_t, encodings = nets[layout].encode_text(peer["tokens"], mask_of(peer))
    assert off(z_t, peer[f"{layout}/text_embed"]) < 1e-4
    assert off(encodings, peer[f"{layout}/text_encodings"]) < 1e-4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures(layout: str, peer: Any, nets: dict[str, Clip], off: Off) -> None:
    net = nets[layout]
    z_i = net.encode_image(seen(peer, net, layout))
    assert off(z_i, peer[f"{layout}/image_embed"]) < 1e-4
    assert float(net.log_scale) == 3.25


def test_a_larger_picture_is_resized_nearly_as_pillow_does(
    peer: Any, nets: dict[str, Clip]
) -> None:
    """Pillow rounds to 8 bits between; that is all the difference."""
    wide = peer["hf/wide"].permute(2, 0, 1)[None] / 127.5 - 1
    mine, theirs = nets["hf"].encode_image(wide), peer["hf/wide_embed"]
    assert torch.cosine_similarity(mine, theirs).item() > 0.9999
    assert (mine - theirs).abs().max() < 5e-3 * theirs.abs().max()


def test_towers_in_folders_of_their_own(
    peer: Any, paths: dict[str, Path], nets: dict[str, Clip], tmp_path: Path, off: Off
) -> None:
    """As diffusers' pipelines have them: half of the names, half of the settings."""
    weights = load_file(paths["hf"] / "model.safetensors")
    config = json.loads((paths["hf"] / "config.json").read_text())
    for tower, projection in (("text", "text_projection"), ("vision", "visual_projection")):
        folder = tmp_path / tower
        folder.mkdir()
        own = {k: v for k, v in weights.items() if k.startswith((f"{tower}_model.", projection))}
        own[f"{tower}_model.embeddings.position_ids"] = torch.arange(9)[None]
        save_file(own, folder / "model.safetensors")
        values = {**config[f"{tower}_config"], "projection_dim": config["projection_dim"]}
        (folder / "config.json").write_text(json.dumps(values))
    both = filled(hf_clip_part(tmp_path / "text", tmp_path / "vision", normalize=False))
    assert float(both.log_scale.exp()) == pytest.approx(100.0)
    halves = {
        "text": filled(hf_clip_part(text=tmp_path / "text", normalize=False)),
        "vision": filled(hf_clip_part(vision=tmp_path / "vision", normalize=False)),
    }
    assert not hasattr(halves["text"], "vision") and not hasattr(halves["vision"], "text")
    image = seen(peer, nets["hf"], "hf")
    for net in (both, halves["vision"]):
        assert off(net.encode_image(image), peer["hf/image_embed"]) < 1e-4
    for net in (both, halves["text"]):
        z_t, _ = net.encode_text(peer["tokens"], mask_of(peer))
        assert off(z_t, peer["hf/text_embed"]) < 1e-4


def test_open_clips_other_layout(
    peer: Any, paths: dict[str, Path], tmp_path: Path, off: Off
) -> None:
    """`CustomTextCLIP`: the text encoder's names have a prefix."""
    shutil.copy(paths["open"] / "open_clip_config.json", tmp_path)
    weights = load_file(paths["open"] / "open_clip_model.safetensors")
    whole = ("visual.", "logit_scale")
    weights = {k if k.startswith(whole) else f"text.{k}": v for k, v in weights.items()}
    torch.save(weights, tmp_path / "open_clip_pytorch_model.bin")
    net = filled(open_clip_part(tmp_path, normalize=False))
    z_t, _ = net.encode_text(peer["tokens"], mask_of(peer))
    assert off(z_t, peer["open/text_embed"]) < 1e-4


def test_the_alphabet_of_the_package_is_openais(peer: Any) -> None:
    """Over some 300 texts; but ours takes a marker in a text for a text, and mends no mojibake."""
    tokenizer = clip_tokenizer()
    assert (tokenizer.vocab_size, tokenizer.start, tokenizer.end) == (49408, 49406, 49407)
    pairs = peer.said["tokens"]
    assert len(pairs) > 300
    wrong = [text for text, ids in pairs if tokenizer.pieces(text) != ids]
    assert not wrong
