"""Writes what diffusers 0.33.1 draws of weighted and long prompts, with LoRA and with embeddings.

    PYTHON_OF_PEERS tests/parity/peers/stable_prompts.py OUTDIR

The networks are those of stable_diffusion.py. Weights and chunks are A1111's, computed here from
the peer's text encoder and passed as `prompt_embeds`. Without peft diffusers merges no LoRA: its
own conversion says what module each key is of, and W + scale·alpha/r·up·down is computed here.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from _values import value
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_unet_state_dict_to_peft
from safetensors.torch import save_file
from stable_diffusion import SIDE, STEPS, Recorder, make_pipe, numbers, versions

WEIGHTED = [("a ", 1.0), ("red", 1.4), (" Fox, ", 1.0), ("2 cats", 1 / 1.1)]
AGAINST = [("dark ", 1.0), ("blue", 1.1 * 1.1)]
LONG = "a red fox and two cats " * 5  # a token a letter: two chunks
SCALE, ALPHA, RANK = 0.8, 3.0, 2
BLOCK = "down_blocks.0.attentions.0"
UNET_MODULES = [
    f"{BLOCK}.proj_in",
    f"{BLOCK}.transformer_blocks.0.attn1.to_q",
    f"{BLOCK}.transformer_blocks.0.attn1.to_out.0",
    f"{BLOCK}.transformer_blocks.0.attn2.to_v",
    f"{BLOCK}.transformer_blocks.0.ff.net.0.proj",
    "up_blocks.1.attentions.1.transformer_blocks.0.attn2.to_k",
    "mid_block.resnets.1.conv2",
]
TEXT_MODULES = [
    "text_model.encoder.layers.0.self_attn.q_proj",
    "text_model.encoder.layers.1.self_attn.out_proj",
    "text_model.encoder.layers.1.mlp.fc1",
]


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    for name in versions():
        recorder, said = Recorder(), dict[str, Any]()
        recorder["noise"] = numbers(1, 4, SIDE, SIDE)
        weighted(recorder, new_pipe(name))
        long(recorder, new_pipe(name))
        said["lora"] = lora(recorder, new_pipe(name))
        said["embedding"] = inverted(recorder, name)
        said |= {"scale": SCALE, "alpha": ALPHA, "long": LONG}
        recorder.save(out, name.replace("diffusion", "prompts"), said)


def new_pipe(name: str) -> StableDiffusionPipeline:
    networks, pad, scheduler = versions()[name]
    return make_pipe(networks, pad, scheduler)[0]


def draw(recorder: Recorder, pipe: StableDiffusionPipeline, **asked: Any) -> torch.Tensor:
    picture = pipe(
        num_inference_steps=STEPS, guidance_scale=7.5, latents=recorder["noise"],
        output_type="np", **asked,
    ).images  # fmt: skip
    return torch.from_numpy(picture)


def embeds(pipe: StableDiffusionPipeline, pieces: list[tuple[str, float]]) -> torch.Tensor:
    """A1111's: each chunk's encodings times the weights, its mean restored, chunks joined."""
    tokenizer, ids, weights = pipe.tokenizer, list[int](), list[float]()
    for text, weight in pieces:
        own = tokenizer(text, add_special_tokens=False).input_ids
        ids += own
        weights += [weight] * len(own)
    chunks = []
    for start in range(0, max(len(ids), 1), 75):
        own, factors = ids[start : start + 75], weights[start : start + 75]
        left = 76 - len(own)
        row = [tokenizer.bos_token_id, *own, tokenizer.eos_token_id]
        row += [tokenizer.pad_token_id] * (left - 1)
        factors = [1.0, *factors, *[1.0] * left]
        z = pipe.text_encoder(torch.tensor([row]))[0]
        scaled = z * torch.tensor(factors)[None, :, None]
        chunks.append(scaled * (z.mean() / scaled.mean()))
    return torch.cat(chunks, dim=1)


def weighted(recorder: Recorder, pipe: StableDiffusionPipeline) -> None:
    for kind, pieces in (("prompt_embeds", WEIGHTED), ("negative_prompt_embeds", AGAINST)):
        recorder[f"weighted/{kind}"] = embeds(pipe, pieces)
    asked = {n: recorder[f"weighted/{n}"] for n in ("prompt_embeds", "negative_prompt_embeds")}
    recorder["weighted/picture"] = draw(recorder, pipe, **asked)


def long(recorder: Recorder, pipe: StableDiffusionPipeline) -> None:
    both = [embeds(pipe, [(LONG, 1.0)]), torch.cat([embeds(pipe, [("", 1.0)])] * 2, dim=1)]
    assert both[0].shape == both[1].shape
    recorder["long/prompt_embeds"] = both[0]
    picture = draw(recorder, pipe, prompt_embeds=both[0], negative_prompt_embeds=both[1])
    recorder["long/picture"] = picture


def lora(recorder: Recorder, pipe: StableDiffusionPipeline) -> dict[str, list[int]]:
    """The shapes of kohya's file; its names are turned into modules by diffusers itself."""
    shapes: dict[str, list[int]] = {}
    for folder, net, modules in (
        ("unet", pipe.unet, UNET_MODULES),
        ("te", pipe.text_encoder, TEXT_MODULES),
    ):
        for module in modules:
            out, cin, *kernel = net.get_submodule(module).weight.shape
            name = f"lora_{folder}_{module.replace('.', '_')}"
            shapes[f"{name}.lora_down.weight"] = [RANK, cin, *kernel]
            shapes[f"{name}.lora_up.weight"] = [out, RANK, *[1] * len(kernel)]
    file = {key: torch.from_numpy(value(key, tuple(shape))) for key, shape in shapes.items()}
    names = {key.partition(".")[0] for key in file}
    kohya = file | {f"{name}.alpha": torch.tensor(ALPHA) for name in names}
    theirs, _ = StableDiffusionPipeline.lora_state_dict(kohya)
    merge(pipe.unet, convert_unet_state_dict_to_peft(under("unet.", theirs)))
    merge(pipe.text_encoder, of_text(under("text_encoder.", theirs)))
    recorder["lora/picture"] = draw(recorder, pipe, prompt="a red Fox", negative_prompt="blue")
    return shapes


def under(prefix: str, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def of_text(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_peft

    return convert_state_dict_to_peft(convert_state_dict_to_diffusers(values))


def merge(net: torch.nn.Module, values: dict[str, torch.Tensor]) -> None:
    downs = [key for key in values if key.endswith(".lora_A.weight")]
    assert len(downs) * 2 == len(values) and downs, sorted(values)
    for key in downs:
        down, up = values[key], values[key.replace("lora_A", "lora_B")]
        weight = net.get_submodule(key.removesuffix(".lora_A.weight")).weight
        product = torch.einsum("or...,ri...->oi...", up.flatten(1), down.flatten(1))
        weight += SCALE * ALPHA / RANK * product.view(weight.shape)


def inverted(recorder: Recorder, name: str) -> dict[str, list[int]]:
    """Two vectors for a word, as A1111 and as diffusers write them."""
    pipe = new_pipe(name)
    shape = [2, pipe.text_encoder.config.hidden_size]
    vectors = torch.from_numpy(value("embedding", tuple(shape)))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "learned_embeds.safetensors"
        save_file({"<toy>": vectors}, file)
        pipe.load_textual_inversion(str(file))
        prompt = "a red <toy> Fox"
        recorder["embedding/picture"] = draw(
            recorder, pipe, prompt=prompt, negative_prompt="blue <toy>"
        )
        ids = pipe.tokenizer(pipe.maybe_convert_prompt(prompt, pipe.tokenizer)).input_ids
    recorder["embedding/tokens"] = torch.tensor(ids)
    return {"vectors": shape}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
