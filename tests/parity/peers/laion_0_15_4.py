"""Writes the fixtures of DALLE2-pytorch 0.15.4, which the first published weights want.

    DALLE2_PYTORCH_0_15_4=FOLDER PYTHON_OF_PEERS tests/parity/peers/laion_0_15_4.py OUTDIR

It cannot be installed beside a newer version: FOLDER is where `pip install --target` put it.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, os.environ["DALLE2_PYTORCH_0_15_4"])
laion = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("laion.py"))))
STEPS, Replay, peer, randomise = laion.STEPS, laion.Replay, laion.peer, laion.randomise

PRIOR: dict[str, Any] = {
    "net": {
        "dim": 16, "depth": 2, "heads": 2, "dim_head": 40, "num_timesteps": STEPS,
        "normformer": True,
    },
    "image_embed_dim": 16, "image_size": 224, "timesteps": STEPS, "cond_drop_prob": 0.1,
}  # fmt: skip
DECODER: dict[str, Any] = {
    "unets": [
        {
            "dim": 4, "cond_dim": 4, "image_embed_dim": 16, "text_embed_dim": 16,
            "cond_on_text_encodings": True, "dim_mults": [1, 1], "num_resnet_blocks": 1,
            "attn_heads": 2, "attn_dim_head": 8, "sparse_attn": True, "memory_efficient": True,
            "self_attn": [False, True], "max_text_len": 80, "resnet_groups": [2, 1],
        },
    ],
    "image_sizes": [8], "timesteps": STEPS, "learned_variance": True,
    "image_cond_drop_prob": 0.1, "text_cond_drop_prob": 0.5,
}  # fmt: skip
FULL = {name: laion.FULL[name] for name in ("prior_aes_finetune", "decoder")}
TEXT = 77  # CLIP's own length: the place of what comes after it depends on it


def prior(seed: int, out: dict[str, Tensor]) -> dict[str, Any]:
    """Weights, outputs, a whole sampling."""
    model = laion.make_prior(PRIOR)
    for key, value in randomise(model, seed).items():
        out[f"prior/weights/{key}"] = value
    generator = torch.Generator().manual_seed(seed + 1)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    mask = torch.arange(TEXT) < torch.tensor([2, TEXT, 5])[:, None]
    given = {
        "x": randn(3, 16), "times": torch.tensor([0, 37, STEPS - 1]),
        "text_embed": peer.l2norm(randn(3, 16)), "noise": randn(3, 16),
        "text_encodings": randn(3, TEXT, 16).half().float(),
    }  # fmt: skip
    x, times = given["x"], given["times"]
    told = {key: given[key] for key in ("text_embed", "text_encodings")}

    def cond() -> dict[str, Tensor]:  # the peer changes the mask that it is given
        return {**told, "mask": mask.clone()}

    with torch.no_grad():
        given["out"] = model.net(x, times, **cond())
        given["guided"] = model.net.forward_with_cond_scale(x, times, cond_scale=2.5, **cond())
        given["mean"], given["variance"] = model.p_mean_variance(x, times, cond())[:2]
        with Replay(given["noise"]):
            given["sampled"] = model.p_sample_loop((3, 16), cond()) / model.image_embed_scale
    given |= {"mask": mask, "betas": model.noise_scheduler.betas}
    out.update({f"prior/{key}": value.contiguous() for key, value in given.items()})
    out["prior/text_encodings"] = given["text_encodings"].half()
    return {"prior": PRIOR, "buffers": laion.buffers(model)}


def decoder(seed: int, out: dict[str, Tensor]) -> dict[str, Any]:
    """The same of one U-Net."""
    model = laion.make_decoder(DECODER)
    for key, value in randomise(model, seed).items():
        out[f"decoder/weights/{key}"] = value
    generator = torch.Generator().manual_seed(seed + 1)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    given = {
        "x": randn(2, 3, 8, 8), "times": torch.tensor([3, STEPS - 1]), "noise": randn(2, 3, 8, 8),
        "image_embed": peer.l2norm(randn(2, 16)), "text_encodings": randn(2, 9, 16),
    }  # fmt: skip
    given["mask"] = torch.arange(9) < torch.tensor([2, 9])[:, None]
    cond = {"image_embed": given["image_embed"], "text_encodings": given["text_encodings"]}
    cond["text_mask"] = given["mask"]
    x, times, unet = given["x"], given["times"], model.unets[0]
    with torch.no_grad():
        given["out"] = unet(x, times, **cond)
        given["guided"] = unet.forward_with_cond_scale(x, times, cond_scale=2.5, **cond)
        schedule = model.noise_schedulers[0]
        step = model.p_mean_variance(
            unet, x, times, noise_scheduler=schedule, learned_variance=True, **cond
        )
        given["mean"], given["variance"] = step[:2]
        with Replay(given["noise"]):
            given["sampled"] = model.sample(**cond) * 2 - 1
    given["betas0"] = schedule.betas
    out.update({f"decoder/{key}": value.contiguous() for key, value in given.items()})
    return {"decoder": DECODER, "buffers": laion.buffers(model)}


if __name__ == "__main__":
    torch.manual_seed(0)
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {"version": laion.VERSION}
    facts |= {"prior": prior(100, tensors), "decoder": decoder(200, tensors)}
    models = {
        name: {
            kind: {**config, "net": {k: v for k, v in config["net"].items() if k != "max_text_len"}}
            if kind == "prior"
            else config
            for kind, config in entry.items()
        }
        for name, entry in FULL.items()
    }
    laion.store(Path(sys.argv[1]), tensors, facts, models)
