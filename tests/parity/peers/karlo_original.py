"""Writes the fixture of Karlo's own networks (kakaobrain/karlo).

    PYTHONPATH=FOLDERS PYTHON_OF_PEERS tests/parity/peers/karlo_original.py OUTDIR

where FOLDERS hold that repository's package `karlo` and openai/glide-text2im's `glide_text2im`,
whose sampler is the same. Recorded are calls of each network, tiny, and single steps of sampling.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(sys.path.pop(0))  # beside this file lies a karlo.py

import torch
from _values import value
from glide_text2im.gaussian_diffusion import get_named_beta_schedule
from glide_text2im.respace import SpacedDiffusion, space_timesteps
from karlo.modules.unet import PLMImUNet, SuperResUNetModel
from karlo.modules.xf import PriorTransformer
from safetensors.torch import save_file

CONTEXT, EMBED, SIDE = 6, 64, 8
STEPS = 5
GUIDANCE = {"prior": 4.0, "decoder": 8.0}
UNET: dict[str, Any] = {"in_channels": 3, "resblock_updown": True}
TINY: dict[str, dict[str, Any]] = {
    "prior": {
        "text_ctx": CONTEXT,
        "xf_width": 128,
        "xf_layers": 1,
        "xf_heads": 2,
        "clip_dim": EMBED,
        "clip_xf_width": EMBED,
    },
    "decoder": {
        "text_ctx": CONTEXT,
        "xf_width": 48,
        "model_channels": 32,
        "num_res_blocks": 1,
        "channel_mult": (1, 4),
        "attention_resolutions": (2,),
        "clip_dim": EMBED,
    },
    "upsampler": {"model_channels": 32, "num_res_blocks": 1, "channel_mult": (1, 2)},
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "prior": {
        "text_ctx": 77,
        "xf_width": 2048,
        "xf_layers": 20,
        "xf_heads": 32,
        "clip_dim": 768,
        "clip_xf_width": 768,
    },
    "decoder": {
        "text_ctx": 77,
        "xf_width": 1536,
        "model_channels": 320,
        "num_res_blocks": 3,
        "channel_mult": (1, 2, 3, 4),
        "attention_resolutions": (2, 4, 8),
        "clip_dim": 768,
    },
    "upsampler": {"model_channels": 320, "num_res_blocks": 3, "channel_mult": (1, 2, 3, 4)},
}


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    torch.manual_seed(11)
    networks = make(TINY)
    for name, net in networks.items():
        for key, tensor in net.state_dict().items():
            tensor.copy_(torch.from_numpy(value(f"{name}.{key}", tuple(tensor.shape))))
    tensors: dict[str, torch.Tensor] = {}
    condition = {
        "text_emb": torch.randn(2, EMBED),
        "text_enc": torch.randn(2, CONTEXT, EMBED),
        "mask": torch.arange(CONTEXT) < torch.tensor([[5], [2]]),  # with the prompt, without
        "image_embed": torch.randn(1, EMBED),
    }
    tensors |= {f"cond/{name}": one for name, one in condition.items()}
    prior(networks["prior"]["model"], condition, tensors)
    decoder(networks["decoder"]["model"], condition, tensors)
    for place in ("first_steps", "last_step"):
        upsampler(networks["upsampler"][f"model_{place}"], place, tensors)
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "karlo_original.safetensors")
    said = {"shapes": shapes(networks), "guidance": GUIDANCE, "steps": STEPS}
    (out / "karlo_original.json").write_text(json.dumps(said, indent=1) + "\n")
    with torch.device("meta"):
        published = json.dumps(shapes(make(PUBLISHED)))
    packed = gzip.compress(published.encode(), mtime=0)
    (out / "karlo_original_published.json.gz").write_bytes(packed)


def make(sizes: dict[str, dict[str, Any]]) -> dict[str, torch.nn.ModuleDict]:
    """The modules as they stand in the checkpoints."""

    def enlarging() -> torch.nn.Module:
        return SuperResUNetModel(
            **UNET, **sizes["upsampler"], out_channels=3, attention_resolutions=(), dropout=0.0,
            use_middle_attention=False,
        )  # fmt: skip

    networks = {
        "prior": {"model": PriorTransformer(**sizes["prior"], xf_final_ln=True, xf_padding=False)},
        "decoder": {
            "model": PLMImUNet(
                **UNET,
                **sizes["decoder"],
                out_channels=6,
                num_heads=-1,
                num_head_channels=64,
                use_scale_shift_norm=True,
                clip_emb_mult=4,
                clip_emb_drop=0.1,
            )
        },
        "upsampler": {"model_first_steps": enlarging(), "model_last_step": enlarging()},
    }
    return {name: torch.nn.ModuleDict(one).eval() for name, one in networks.items()}


def shapes(networks: dict[str, torch.nn.ModuleDict]) -> dict[str, dict[str, list[int]]]:
    return {
        name: {key: list(tensor.shape) for key, tensor in net.state_dict().items()}
        for name, net in networks.items()
    }


def spaced() -> SpacedDiffusion:
    return SpacedDiffusion(
        use_timesteps=space_timesteps(1000, str(STEPS)),
        betas=get_named_beta_schedule("squaredcos_cap_v2", 1000),
    )


def guided(out: torch.Tensor, scale: float) -> torch.Tensor:
    """With the prompt first, as Karlo's own code has them."""
    shown, hidden = out[:1], out[1:]
    return hidden + scale * (shown - hidden)


def prior(net: Any, condition: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    length = CONTEXT + 4
    causal = torch.full((1, length, length), float("-inf")).triu(1)
    diffusion = spaced()
    for step in (STEPS - 1, 1):
        x, noise = torch.randn(1, EMBED), torch.randn(1, EMBED)
        t = torch.tensor(diffusion.timestep_map[step])
        names = ("text_emb", "text_enc", "mask")
        out = net(
            x.expand(2, -1), t.expand(2), **{n: condition[n] for n in names}, causal_mask=causal
        )
        x0 = guided(8 * out, GUIDANCE["prior"]).clamp(-10, 10)  # 8: so that some of it is clamped
        index = torch.tensor([step])
        mean, *_ = diffusion.q_posterior_mean_variance(x_start=x0, x_t=x, t=index)
        deviation = float(diffusion.posterior_log_variance_clipped[step] / 2)
        after = mean + torch.tensor(deviation).exp() * noise
        for name, one in {"x": x, "t": t, "out": out, "noise": noise, "after": after}.items():
            tensors[f"prior/{step}/{name}"] = one.clone()


def decoder(net: Any, condition: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    y = torch.cat([condition["image_embed"], net.cf_param[None]])
    diffusion = spaced()
    for step in (STEPS - 1, 1):
        x, noise = torch.randn(1, 3, SIDE, SIDE), torch.randn(1, 3, SIDE, SIDE)
        t = torch.tensor(diffusion.timestep_map[step])
        out = net(
            x.expand(2, -1, -1, -1), t.expand(2), txt_feat=condition["text_emb"],
            txt_feat_seq=condition["text_enc"], mask=condition["mask"], y=y,
        )  # fmt: skip
        eps = guided(out[:, :3], GUIDANCE["decoder"])
        whole = torch.cat([eps, out[:1, 3:]], dim=1)
        said = diffusion.p_mean_variance(
            lambda *_, whole=whole, **__: whole, x, torch.tensor([step]), clip_denoised=True
        )
        after = said["mean"] + (said["log_variance"] / 2).exp() * noise
        for name, one in {"x": x, "t": t, "out": out, "noise": noise, "after": after}.items():
            tensors[f"decoder/{step}/{name}"] = one.clone()


def upsampler(net: Any, place: str, tensors: dict[str, torch.Tensor]) -> None:
    x, low_res = torch.randn(1, 3, SIDE, SIDE), torch.randn(1, 3, SIDE, SIDE)
    t = torch.tensor(0 if place == "last_step" else 500)
    out = net(x, t[None], low_res=low_res)
    for name, one in {"x": x, "t": t, "low_res": low_res, "out": out}.items():
        tensors[f"upsampler/{place}/{name}"] = one


if __name__ == "__main__":
    main(Path(sys.argv[1]))
