"""Frozen numbers of three CLIPs: transformers', OpenAI's and open_clip's.

Usage: PYTHON_OF_PEERS tests/parity/peers/clip.py OUTDIR
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.pop(0)  # this file's folder, where `clip` is this file

import clip as openai
import numpy as np
import open_clip
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

SIDE, PATCH, VOCAB, CONTEXT = 8, 4, 96, 9
END = VOCAB - 1
HF = {
    "text_config": {
        "hidden_size": 16,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT,
        "eos_token_id": 2,  # what OpenAI's say, and transformers then takes the highest id
    },
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 60,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": SIDE,
        "patch_size": PATCH,
        "hidden_act": "gelu",
    },
    "projection_dim": 24,
}
OPEN = {
    "embed_dim": 24,
    "quick_gelu": False,
    "vision_cfg": {
        "image_size": SIDE,
        "layers": 2,
        "width": 24,
        "head_width": 12,
        "mlp_ratio": 2.52,
        "patch_size": PATCH,
    },
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": VOCAB,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}


def shake(model: torch.nn.Module) -> None:
    """Give every weight that starts as a constant a value of its own."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.numel() > 1 and float(value.std()) == 0:
                value.add_(torch.randn_like(value) * 0.2)
            elif name == "logit_scale":
                value.fill_(3.25)


def inputs() -> dict[str, torch.Tensor]:
    tokens = torch.zeros(3, CONTEXT, dtype=torch.long)
    for row, length in enumerate((2, 5, CONTEXT)):
        tokens[row, :length] = torch.randint(1, END - 1, (length,))
        tokens[row, 0], tokens[row, length - 1] = END - 1, END
    return {"tokens": tokens, "pixels": torch.randint(0, 256, (2, SIDE, SIDE, 3)).byte()}


def pictures(pixels: torch.Tensor) -> list[Image.Image]:
    return [Image.fromarray(one.numpy()) for one in pixels]


def of_transformers(out: Path, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    model = CLIPModel(CLIPConfig(**HF)).eval()
    shake(model)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        Path(out / "clip_hf.safetensors").write_bytes(
            Path(folder, "model.safetensors").read_bytes()
        )
        config = json.loads(Path(folder, "config.json").read_text())
        (out / "clip_hf.json").write_text(json.dumps(config, indent=1) + "\n")
    names = set(model.state_dict())
    for tower, part in (
        (CLIPTextModelWithProjection, model.config.text_config),
        (CLIPVisionModelWithProjection, model.config.vision_config),
    ):
        assert set(tower(part).state_dict()) < names
    size = {"height": SIDE, "width": SIDE}
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size)
    pixels = processor(pictures(given["pixels"]), return_tensors="pt")["pixel_values"]
    large = torch.arange(41)[:, None] * 3 + torch.arange(41)[None] * 2  # smooth, not at its size
    wide = torch.stack([large % 256, (large + 60) % 256, (255 - large) % 256], -1).byte()
    resized = processor(pictures(wide[None]), return_tensors="pt")["pixel_values"]
    text = model.text_model(given["tokens"])
    return {
        "image_embed": model.get_image_features(pixels),
        "text_embed": model.get_text_features(given["tokens"]),
        "text_encodings": text.last_hidden_state,
        "wide": wide,
        "wide_embed": model.get_image_features(resized),
    }


def hooked(model: torch.nn.Module, layer: torch.nn.Module, tokens: torch.Tensor) -> dict:
    kept = {}
    layer.register_forward_hook(lambda _m, _i, o: kept.update(text_encodings=o.clone()))
    kept["text_embed"] = model.encode_text(tokens)
    return kept


def of_openai(out: Path, given: dict[str, torch.Tensor], image: torch.Tensor) -> dict:
    """A TorchScript archive in half precision, with three numbers among its buffers."""
    torch.manual_seed(2)
    model = openai.model.CLIP(24, SIDE, 1, 64, PATCH, CONTEXT, VOCAB, 64, 1, 1).eval()
    shake(model)
    del model.context_length, model.vocab_size
    for name, number in (
        ("input_resolution", SIDE),
        ("context_length", CONTEXT),
        ("vocab_size", VOCAB),
    ):
        model.register_buffer(name, torch.tensor(number))
    openai.model.convert_weights(model)
    calls = {"encode_image": image.half(), "encode_text": given["tokens"]}
    traced = torch.jit.trace_module(model, calls)
    file = out / "clip_openai.pt"
    traced.save(str(file))
    undated(file)
    loaded, _ = openai.load(str(file), device="cpu")
    more = hooked(loaded, loaded.ln_final, given["tokens"])
    return {"image_embed": loaded.encode_image(image), **more}


def undated(file: Path) -> None:
    """Leave out where its code was written, which is of no use and differs from place to place."""
    with zipfile.ZipFile(file) as archive:
        parts = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            if not name.endswith(".debug_pkl"):
                archive.writestr(zipfile.ZipInfo(name), content)


def of_open_clip(out: Path, given: dict[str, torch.Tensor], image: torch.Tensor) -> dict:
    torch.manual_seed(3)
    model = open_clip.CLIP(**OPEN).eval()
    shake(model)
    save_file(dict(model.state_dict()), out / "clip_open.safetensors")
    custom = open_clip.CustomTextCLIP(**OPEN)
    theirs = {
        f"text.{k}" if not k.startswith(("visual", "logit")) else k for k in model.state_dict()
    }
    assert set(custom.state_dict()) == theirs
    config = {"model_cfg": OPEN, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (out / "clip_open.json").write_text(json.dumps(config, indent=1) + "\n")
    more = hooked(model, model.ln_final, given["tokens"])
    return {"image_embed": model.encode_image(image), **more}


WORDS = """
a red fox the photo of corgi's 3D render, 1024x768 in style van gogh's café naïve über
don't they'll i've we're she'd I'm it's "quoted" (trending on artstation) 4k!!! ... 50% #hashtag
@user $9.99 a+b=c e-mail foo_bar co-operate snow-covered night's 12:30 日本語 привет мир ελληνικά
한국어 العربية 🦊 👩‍🚀 ❤️ ½ x² ™ — – … ¿qué? mañana !! ?? ;) \t tab
dall·e clip unclip supercalifragilisticexpialidocious Straße İstanbul 東京タワー 1st 2nd ' '' 's
“curly” ‘quotes’ it’s
"""


def sentences() -> list[str]:
    picker = random.Random(4)
    made = [" ".join(picker.choices(WORDS.split(), k=picker.randint(1, 9))) for _ in range(300)]
    return ["", " ", "a", *made]


def tokens_of() -> list[list]:
    """Texts and the ids that OpenAI's own tokenizer gives them."""
    tokenizer = openai.simple_tokenizer.SimpleTokenizer()
    other = open_clip.SimpleTokenizer()
    pairs = []
    for text in sentences():
        ids = tokenizer.encode(text)
        assert ids == other.encode(text), text
        pairs.append([text, ids])
    return pairs


SIZES = {
    "ViT-L-14": ((768, 3072, 12, 12), (1024, 4096, 24, 16), 768, "quick_gelu"),
    "ViT-H-14": ((1024, 4096, 24, 16), (1280, 5120, 32, 16), 1024, "gelu"),
    "ViT-bigG-14": ((1280, 5120, 32, 20), (1664, 8192, 48, 16), 1280, "gelu"),
}
"""Width, hidden width, depth and heads of both towers, width of embeddings, activation."""


def published() -> dict[str, dict]:
    """The names and shapes of the published sizes, in two layouts."""
    found: dict[str, dict] = {}
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    for name, (text, vision, width, act) in SIZES.items():
        config = {
            "architectures": ["CLIPModel"],
            "text_config": {**dict(zip(keys, text, strict=True)), "hidden_act": act},
            "vision_config": {
                **dict(zip(keys, vision, strict=True)),
                "hidden_act": act,
                "patch_size": 14,
            },
            "projection_dim": width,
        }
        theirs = open_clip.get_model_config(name)
        with torch.device("meta"):
            nets = {"hf": CLIPModel(CLIPConfig(**config)), "open": open_clip.CLIP(**theirs)}
        for layout, net in nets.items():
            shapes = {key: list(one.shape) for key, one in net.state_dict().items()}
            told = config if layout == "hf" else {"model_cfg": theirs}
            found[f"{layout}/{name}"] = {"config": told, "shapes": shapes}
    return found


@torch.no_grad()
def main(out: Path) -> None:
    torch.manual_seed(0)
    given = inputs()
    image = torch.randn(2, 3, SIDE, SIDE)
    told = {"versions": {m.__name__: m.__version__ for m in (torch, transformers, open_clip, np)}}
    tensors = {**given, "normalised": image}
    for name, values in (
        ("hf", of_transformers(out, given)),
        ("openai", of_openai(out, given, image)),
        ("open", of_open_clip(out, given, image)),
    ):
        tensors |= {f"{name}/{key}": value for key, value in values.items()}
    save_file({key: value.contiguous() for key, value in tensors.items()}, out / "clip.safetensors")
    text = json.dumps(published()).encode()
    (out / "clip_published.json.gz").write_bytes(gzip.compress(text, mtime=0))
    told["tokens"] = tokens_of()
    lines = json.dumps(told, ensure_ascii=False).replace('], ["', '],\n["')
    (out / "clip.json").write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
