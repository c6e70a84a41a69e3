"""Weights, long prompts, LoRA and embeddings against diffusers 0.33.1, on Stable Diffusion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import unclip
from unclip.errors import CheckpointError
from unclip.facade import Pipeline
from unclip.nn.weighted import weighted
from unclip.types import Cond

STEPS = 4


@pytest.fixture(scope="module", params=["1", "2"])
def peer(request: pytest.FixtureRequest, fixture: Any) -> Any:
    return fixture(f"stable_prompts_{request.param}"), fixture(f"stable_diffusion_{request.param}")


@pytest.fixture(scope="module")
def folder(
    peer: Any, alphabet: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The model's folder, as its peer saves it."""
    made = tmp_path_factory.mktemp("stable") / "it"
    made.mkdir()
    (made / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    for name in ("unet", "vae"):
        peer[1].write(made, name, "diffusion_pytorch_model.safetensors")
    peer[1].write(made, "text_encoder", "model.safetensors")
    (made / "scheduler").mkdir()
    config = json.dumps(peer[1].said["configs"]["scheduler"])
    (made / "scheduler" / "scheduler_config.json").write_text(config)
    alphabet(made / "tokenizer")
    pad = json.dumps({"pad_token": peer[1].said["pad"]})
    (made / "tokenizer" / "tokenizer_config.json").write_text(pad)
    return made


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Pipeline:
    return unclip.load(folder, "cpu", torch.float32)


@pytest.fixture(scope="module")
def kohya(peer: Any, fixture: Any) -> dict[str, Tensor]:
    """The tensors of the LoRA that the peer merged, in kohya's layout."""
    shapes = peer[0].said["lora"].items()
    file = {key: fixture.value(key, tuple(shape)) for key, shape in shapes}
    alpha = torch.tensor(peer[0].said["alpha"])
    return file | {f"{key.partition('.')[0]}.alpha": alpha.clone() for key in list(file)}


def drawn(
    pipe: Pipeline, cond: Cond, peer: Any, replayed: Callable[[list[Tensor]], list[Tensor]]
) -> Tensor:
    """(1, 3, H, W) with the peer's noise."""
    left = replayed([peer[0]["noise"]])
    picture = pipe.sample(cond, [0], settings={"steps": STEPS})
    assert not left
    return picture


def theirs(peer: Any, name: str) -> Tensor:
    picture: Tensor = peer[0][f"{name}/picture"]
    return picture.permute(0, 3, 1, 2) * 2 - 1


def context(pipe: Pipeline, cond: Cond) -> Tensor:
    """(B, N, W') as the U-Net gets to see a text."""
    net = pipe.stages["decoder"].net.unet  # type: ignore[union-attr]
    assert cond.text_tokens is not None
    read: Tensor = net._read(net._tokens(dict(cond.items())))  # type: ignore[operator, union-attr]
    if cond.text_weights is None:
        return read
    return weighted(read, cond.text_weights)


def test_weights(peer: Any, pipe: Pipeline, replayed: Any, off: Any) -> None:
    cond = pipe.read_prompt("a (red:1.4) Fox, [2 cats]", "dark ((blue))")
    none, shown = (cond.dropped((one, one)) for one in (False, True))
    assert off(context(pipe, shown), peer[0]["weighted/prompt_embeds"]) < 1e-4
    assert off(context(pipe, none), peer[0]["weighted/negative_prompt_embeds"]) < 1e-4
    assert off(drawn(pipe, cond, peer, replayed), theirs(peer, "weighted")) < 1e-4
    plain = pipe.read_prompt("a red Fox, 2 cats", "dark blue")
    assert off(drawn(pipe, plain, peer, replayed), theirs(peer, "weighted")) > 1e-2


def test_a_long_prompt_is_read_in_chunks(
    peer: Any, pipe: Pipeline, replayed: Any, off: Any
) -> None:
    cond = pipe.read_prompt(peer[0].said["long"])
    assert off(context(pipe, cond), peer[0]["long/prompt_embeds"]) < 1e-4
    assert off(drawn(pipe, cond, peer, replayed), theirs(peer, "long")) < 1e-4


def spelt(kohya: dict[str, Tensor], rename: Callable[[str, str, bool], str]) -> dict[str, Tensor]:
    """The same without alphas, which are 3 of a rank of 2, under diffusers' names."""
    found: dict[str, Tensor] = {}
    for key, value in kohya.items():
        name, _, role = key.partition(".")
        if role == "alpha":
            continue
        folder = "unet" if name.startswith("lora_unet_") else "text_encoder"
        module = MODULES[name.removeprefix("lora_unet_").removeprefix("lora_te_")]
        is_down = "down" in role
        found[rename(folder, module, is_down)] = value * (1.0 if is_down else 3 / 2)
    return found


BLOCK = "down_blocks.0.attentions.0"
MODULES = {
    one.replace(".", "_"): one
    for one in (
        f"{BLOCK}.proj_in",
        f"{BLOCK}.transformer_blocks.0.attn1.to_q",
        f"{BLOCK}.transformer_blocks.0.attn1.to_out.0",
        f"{BLOCK}.transformer_blocks.0.attn2.to_v",
        f"{BLOCK}.transformer_blocks.0.ff.net.0.proj",
        "up_blocks.1.attentions.1.transformer_blocks.0.attn2.to_k",
        "mid_block.resnets.1.conv2",
        "text_model.encoder.layers.0.self_attn.q_proj",
        "text_model.encoder.layers.1.self_attn.out_proj",
        "text_model.encoder.layers.1.mlp.fc1",
    )
}


def peft(folder: str, module: str, down: bool) -> str:
    return f"{folder}.{module}.lora_{'A' if down else 'B'}.weight"


def processors(folder: str, module: str, down: bool) -> str:
    """Of diffusers before peft; what was no attention had a layer of its own then."""
    role = "down" if down else "up"
    if folder == "text_encoder":
        return f"{folder}.{module}.lora_linear_layer.{role}.weight"
    head, _, leaf = module.removesuffix(".0").rpartition(".")
    if leaf.startswith("to_"):
        return f"{folder}.{head}.processor.{leaf}_lora.{role}.weight"
    return f"{folder}.{module}.lora.{role}.weight"


def oldest(folder: str, module: str, down: bool) -> str:
    """Of a U-Net alone, without its name before."""
    if folder == "text_encoder":
        module = module.replace(".q_proj", ".to_q").replace(".out_proj", ".to_out")
        role = "down" if down else "up"
        return f"{folder}.{module}_lora.{role}.weight"
    return processors(folder, module, down).removeprefix("unet.")


@pytest.mark.parametrize("layout", ["kohya", "peft", "processors", "oldest"])
def test_lora(
    layout: str, peer: Any, kohya: Any, folder: Path, tmp_path: Path, replayed: Any, off: Any
) -> None:
    names = {"peft": peft, "processors": processors, "oldest": oldest}
    tensors = kohya if layout == "kohya" else spelt(kohya, names[layout])
    file = tmp_path / "ink.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, file)
    pipe = unclip.load(folder, "cpu", torch.float32, lora=[f"{file}:{peer[0].said['scale']}"])
    cond = pipe.read_prompt("a red Fox", "blue")
    assert off(drawn(pipe, cond, peer, replayed), theirs(peer, "lora")) < 1e-4
    plain = unclip.load(folder, "cpu", torch.float32)
    assert pipe.hash != plain.hash
    assert off(drawn(plain, cond, peer, replayed), theirs(peer, "lora")) > 1e-2


@pytest.mark.parametrize("layout", ["a1111.pt", "a1111.safetensors", "bin", "safetensors"])
def test_textual_inversion(
    layout: str, peer: Any, fixture: Any, folder: Path, tmp_path: Path, replayed: Any, off: Any
) -> None:
    vectors = fixture.value("embedding", tuple(peer[0].said["embedding"]["vectors"]))
    prompt, word = "a red <toy> Fox", "<toy>"
    if layout.startswith("a1111"):
        prompt, word = "a red Toy Fox", "toy"
    file = tmp_path / f"toy.{layout.rpartition('.')[2]}"
    if layout == "a1111.pt":
        made = {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "x"}
        torch.save({**made, "step": 3, "sd_checkpoint": None}, file)
    elif layout == "bin":
        torch.save({"<toy>": vectors}, file)
    else:
        save_file({"emb_params" if "a1111" in layout else "<toy>": vectors}, file)
    pipe = unclip.load(folder, "cpu", torch.float32, embedding=[file])
    cond = pipe.read_prompt(prompt, f"blue {word}")
    assert cond.text_tokens is not None and cond.text_mask is not None
    assert cond.text_tokens[cond.text_mask].tolist() == peer[0]["embedding/tokens"].int().tolist()
    assert off(drawn(pipe, cond, peer, replayed), theirs(peer, "embedding")) < 1e-4


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ('{"unet.lora_alpha": NaN}', "is damaged: its metadata has nan as an alpha"),
        ('{"unet.lora_alpha": []}', ": the metadata of a LoRA file is damaged: float"),
        ('{"unet.use_rslora": true}', ": a LoRA file asks for unet.use_rslora, which is not"),
    ],
)
def test_metadata_of_a_lora_are_checked(
    said: str, fault: str, kohya: Any, folder: Path, tmp_path: Path
) -> None:
    file, tensors = tmp_path / "ink.safetensors", spelt(kohya, peft)
    tensors = {key: one.contiguous() for key, one in tensors.items() if not key.endswith("alpha")}
    save_file(tensors, file, {"lora_adapter_metadata": said})
    with pytest.raises(CheckpointError) as caught:
        unclip.load(folder, "cpu", lora=[file])
    assert str(caught.value).startswith(str(file)) and fault in str(caught.value)


@pytest.mark.parametrize(
    ("key", "shape", "fault"),
    [
        ("lora_unet_down_blocks_9_proj_in", (4, 16), "'{}.lora_down.weight' fits nothing in it"),
        ("lora_te1_text_model_x", (4, 16), "'{}.lora_down.weight' fits nothing in it"),
        (f"lora_unet_{BLOCK.replace('.', '_')}_proj_in", (2, 7), "the weight is (32, 32"),
    ],
)
def test_a_lora_of_another_model(
    key: str, shape: tuple[int, ...], fault: str, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "other.safetensors"
    down, up = torch.zeros(shape), torch.zeros(32, shape[0])
    save_file({f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}, file)
    with pytest.raises(CheckpointError) as caught:
        unclip.load(folder, "cpu", lora=[file])
    assert str(caught.value).startswith(f"{file} is no LoRA of model 'it': ")
    assert fault.format(key) in str(caught.value)
