"""Writes the fixture of GLIDE (openai/glide-text2im).

    PYTHONPATH=FOLDER_OF_GLIDE PYTHON_OF_PEERS tests/parity/peers/glide.py OUTDIR

where FOLDER_OF_GLIDE holds that repository's package `glide_text2im`. Recorded are one call of each
of its four networks, tiny, and single steps of its sampler.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from _values import value
from glide_text2im.gaussian_diffusion import get_named_beta_schedule
from glide_text2im.respace import SpacedDiffusion, space_timesteps
from glide_text2im.text2im_model import (
    InpaintText2ImUNet,
    SuperResInpaintText2ImUnet,
    SuperResText2ImUNet,
    Text2ImUNet,
)
from safetensors.torch import save_file
from transformers import GPT2Tokenizer
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

CLASSES = {
    "base": Text2ImUNet,
    "base-inpaint": InpaintText2ImUNet,
    "upsample": SuperResText2ImUNet,
    "upsample-inpaint": SuperResInpaintText2ImUnet,
}
PUBLISHED = {
    "text_ctx": 128,
    "xf_width": 512,
    "xf_layers": 16,
    "xf_heads": 8,
    "xf_final_ln": True,
    "xf_padding": True,
    "tokenizer": SimpleNamespace(n_vocab=50257),
    "in_channels": 3,
    "out_channels": 6,
    "model_channels": 192,
    "dropout": 0.1,
    "num_head_channels": 64,
    "use_scale_shift_norm": True,
    "resblock_updown": True,
}
LEVELS = {
    "base": {"num_res_blocks": 3, "channel_mult": (1, 2, 3, 4), "attention_resolutions": (2, 4, 8)},
    "upsample": {
        "num_res_blocks": 2,
        "channel_mult": (1, 1, 2, 2, 4, 4),
        "attention_resolutions": (8, 16, 32),
    },
}
TINY = {
    "text_ctx": 6,
    "xf_width": 128,
    "xf_layers": 2,
    "xf_heads": 2,
    "tokenizer": SimpleNamespace(n_vocab=257),
    "model_channels": 64,
    "num_res_blocks": 1,
}
TINY_LEVELS = {
    "base": {"channel_mult": (1, 2), "attention_resolutions": (2,)},
    "upsample": {"channel_mult": (1, 1, 2), "attention_resolutions": (4,)},
}
SIDE = {"base": 16, "upsample": 32}
GUIDANCE = 3.0


def make(name: str, **more: Any) -> torch.nn.Module:
    kind = name.split("-")[0]
    return CLASSES[name](**{**PUBLISHED, **LEVELS[kind], **more}).eval()


def tiny(name: str) -> torch.nn.Module:
    net = make(name, **TINY, **TINY_LEVELS[name.split("-")[0]])
    with torch.no_grad():
        for key, parameter in net.state_dict().items():
            parameter.copy_(torch.from_numpy(value(f"{name}.{key}", tuple(parameter.shape))))
    return net


def shapes(net: torch.nn.Module) -> dict[str, list[int]]:
    return {key: list(one.shape) for key, one in net.state_dict().items()}


def conditions(name: str, kept: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Two captions, of which one is all padding."""
    mask = torch.tensor([[True] * 4 + [False] * 2, [False] * 6])
    tokens = torch.where(mask, torch.randint(256, (2, 6)), 256)
    given = {"tokens": tokens, "mask": mask}
    side = SIDE[name.split("-")[0]]
    if "upsample" in name:
        given["low_res"] = torch.rand(2, 3, side // 4, side // 4) * 2 - 1
    if "inpaint" in name:
        shown = (torch.rand(2, 1, side, side) > 0.5).float()
        kept |= {"known": torch.rand(2, 3, side, side) * 2 - 1}
        given |= {"inpaint_image": kept["known"] * shown, "inpaint_mask": shown}
    return given


def one_call(name: str) -> dict[str, torch.Tensor]:
    net, kept = tiny(name), {}
    given = conditions(name, kept)
    side = SIDE[name.split("-")[0]]
    x, t = torch.randn(2, 3, side, side), torch.tensor([700, 3])
    return {**kept, **given, "x": x, "t": t, "out": net(x, t, **given)}


def steps(kept: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Guided steps of the base model's sampler as the repository's notebook sets it up."""
    net = tiny("base")
    betas = get_named_beta_schedule("squaredcos_cap_v2", 1000)
    diffusion = SpacedDiffusion(use_timesteps=space_timesteps(1000, "100"), betas=betas)

    def guided(x: torch.Tensor, t: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
        half = x[:1]
        eps, rest = net(torch.cat([half, half]), t, **given).split(3, dim=1)
        eps = eps[1:] + GUIDANCE * (eps[:1] - eps[1:])
        return torch.cat([torch.cat([eps, eps]), rest], dim=1)

    given = {key: kept[f"base/{key}"] for key in ("tokens", "mask")}
    made = {"timesteps": torch.tensor(diffusion.timestep_map)}
    for index in (99, 50, 1, 0):
        x = torch.randn(1, 3, SIDE["base"], SIDE["base"]).repeat(2, 1, 1, 1)
        torch.manual_seed(index)
        noise = torch.randn_like(x)
        torch.manual_seed(index)
        out = diffusion.p_sample(guided, x, torch.tensor([index] * 2), model_kwargs=given)
        values = {"x": x, "noise": noise, "x0": out["pred_xstart"], "after": out["sample"]}
        made |= {f"{index}/{key}": one[:1] for key, one in values.items()}
    return made


def slope(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Stands for a network: of a trained one rounding errors do not grow, as of a random one."""
    eps = x - 0.3 * torch.tanh(x + t[:, None, None, None] / 500)
    return torch.cat([eps, torch.zeros_like(x)], dim=1)


def fast27() -> dict[str, torch.Tensor]:
    """The upsampler's steps as the repository's notebook sets them up."""
    betas = get_named_beta_schedule("linear", 1000)
    diffusion = SpacedDiffusion(use_timesteps=space_timesteps(1000, "fast27"), betas=betas)
    x_t = torch.randn(1, 3, 8, 8)
    steps = diffusion.ddim_sample_loop_progressive(
        slope, x_t.shape, noise=x_t, device="cpu", clip_denoised=True
    )
    states = [x_t, *(one["sample"] for one in steps)]
    return {"timesteps": torch.tensor(diffusion.timestep_map), "states": torch.cat(states)}


MERGES = ["t h", "th e", "Ġ the", "Ġ c", "a t", "Ġc at", "Ġ 1", "' s", "Ġ Ġ"]
TEXTS = [
    "",
    "the cat",
    "The CAT's 11  2 cats!!",
    "  a\tb\n",
    "naïve 狐 🦊",
    "x" * 9,
    "<|endoftext|>",
]


def alphabet(folder: str) -> list[list[Any]]:
    """A small vocabulary in GPT-2's files; texts and the ids that transformers finds in them."""
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(one.replace(" ", "") for one in MERGES), "<|endoftext|>"]
    vocab, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
    vocab.write_text(json.dumps({word: place for place, word in enumerate(words)}))
    merges.write_text("\n".join(["#version: 0.2", *MERGES, ""]))
    tokenizer = GPT2Tokenizer(str(vocab), str(merges))
    pairs = []
    for text in TEXTS:  # that name is a text to GLIDE's own reader of the same files
        pieces = tokenizer._tokenize(text.lower())
        pairs.append([text, tokenizer.convert_tokens_to_ids(pieces)])
    return pairs


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    kept: dict[str, torch.Tensor] = {}
    for name in CLASSES:
        kept |= {f"{name}/{key}": one for key, one in one_call(name).items()}
    kept |= {f"step/{key}": one for key, one in steps(kept).items()}
    kept |= {f"fast27/{key}": one for key, one in fast27().items()}
    save_file({key: one.contiguous() for key, one in kept.items()}, out / "glide.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        tokens = alphabet(folder)
    said = {
        "merges": MERGES,
        "tokens": tokens,
        "shapes": {name: shapes(tiny(name)) for name in CLASSES},
    }
    (out / "glide.json").write_text(json.dumps(said, indent=0) + "\n")
    with torch.device("meta"):
        published = {name: shapes(make(name)) for name in CLASSES}
    text = json.dumps(published).encode()
    (out / "glide_published.json.gz").write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
