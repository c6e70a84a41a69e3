"""Writes the fixture of x-clip, as DALLE2-pytorch's adapter runs it.

PYTHON_OF_PEERS tests/parity/peers/x_clip.py OUTDIR
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from _values import value

sys.path.pop(0)  # this file's folder, where `x_clip` is this file

import torch
from dalle2_pytorch.dalle2_pytorch import XClipAdapter
from dalle2_pytorch.tokenizer import tokenizer
from safetensors.torch import save_file
from x_clip import CLIP

SIZES = {
    "dim_text": 32,
    "dim_image": 48,
    "dim_latent": 24,
    "num_text_tokens": 60,
    "text_enc_depth": 2,
    "text_seq_len": 7,
    "text_heads": 2,
    "visual_enc_depth": 2,
    "visual_heads": 3,
    "visual_image_size": 8,
    "visual_patch_size": 4,
}
WORDS = ["a red fox", "Two cats!!", "it's 1024x768, by van gogh", "", "naïve 狐 🦊"]


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    net = CLIP(**SIZES, use_mlm=False).eval()
    net.temperature.fill_(1.5)
    weights = {key: one for key, one in net.state_dict().items() if one.ndim}
    for key, parameter in weights.items():
        parameter.copy_(torch.from_numpy(value(f"x_clip.{key}", tuple(parameter.shape))))
    tokens = torch.randint(1, 60, (3, 7))
    for row, length in enumerate((2, 5, 7)):
        tokens[row, length:] = 0
    image = torch.rand(2, 3, 8, 8)
    adapter = XClipAdapter(net)
    text = adapter.embed_text(tokens)
    tensors = {
        "tokens": tokens,
        "image": image,
        "text_embed": text.text_embed,
        "text_encodings": text.text_encodings,
        "image_embed": adapter.embed_image(image).image_embed,
    }
    save_file({key: one.contiguous() for key, one in tensors.items()}, out / "x_clip.safetensors")
    said = {
        "shapes": {"x_clip": {key: list(one.shape) for key, one in weights.items()}},
        "tokens": [[one, tokenizer.tokenize(one, 256)[0].tolist()[:24]] for one in WORDS],
    }
    (out / "x_clip.json").write_text(json.dumps(said, indent=0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
