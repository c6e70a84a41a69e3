"""Writes the fixture of x-clip's losses: what it compares, and what it makes of that.

PYTHON_OF_PEERS tests/parity/peers/x_clip_losses.py OUTDIR
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from _values import value

sys.path.pop(0)  # this file's folder, where `x_clip` is a file

import torch
from safetensors.torch import save_file
from x_clip import CLIP

SIZES = {
    "dim_text": 16,
    "dim_image": 16,
    "dim_latent": 8,
    "num_text_tokens": 60,
    "text_enc_depth": 1,
    "text_seq_len": 5,
    "text_heads": 2,
    "visual_enc_depth": 1,
    "visual_heads": 2,
    "visual_image_size": 8,
    "visual_patch_size": 4,
    "visual_patch_dropout": 0.0,
}
CASES = {
    "infonce": {},
    "dcl": {"decoupled_contrastive_learning": True},
    "extra": {"extra_latent_projection": True},
    "extra_dcl": {"extra_latent_projection": True, "decoupled_contrastive_learning": True},
    "filip": {"use_all_token_embeds": True},
    "filip_dcl": {"use_all_token_embeds": True, "decoupled_contrastive_learning": True},
    "filip_extra_dcl": {
        "use_all_token_embeds": True,
        "extra_latent_projection": True,
        "decoupled_contrastive_learning": True,
    },
}


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    tokens = torch.randint(1, 60, (4, 5))
    for row, length in enumerate((2, 5, 3, 4)):
        tokens[row, length:] = 0
    image = torch.rand(4, 3, 8, 8)
    tensors = {"tokens": tokens}
    for name, settings in CASES.items():
        net = CLIP(**SIZES, **settings).train()
        net.temperature.fill_(1.5)
        for key, parameter in net.state_dict().items():
            if parameter.ndim:
                parameter.copy_(torch.from_numpy(value(f"x_clip.{key}", tuple(parameter.shape))))
        latents = net(tokens, image, return_latents=True)
        kinds = ("text", "image", "extra_text", "extra_image")
        tensors |= {f"{name}/{kind}": one for kind, one in zip(kinds, latents, strict=False)}
        tensors[f"{name}/loss"] = net(tokens, image, return_loss=True)
    whole = {key: one.contiguous().clone() for key, one in tensors.items()}
    save_file(whole, out / "x_clip_losses.safetensors")
    (out / "x_clip_losses.json").write_text(json.dumps({"temperature": 1.5}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
