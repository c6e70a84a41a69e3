"""Writes the fixtures of DALLE2-pytorch, whichever version of it is installed.

    PYTHON_OF_PEERS tests/parity/peers/laion.py OUTDIR

laion_VERSION.safetensors, .json    tiny models: configuration, weights, inputs, outputs. Weights
                                    are random multiples of 1/64 and stored as int8
laion_VERSION_published.json.gz          names and shapes of models of published size
laion_VERSION_NAME.pth.gz           files as the peer's trainers and tracker save them: weights are
                                    1 in the last step's model and 2 in the averaged one
"""

# ruff: noqa: E402 - the path has to be cleared before the peer is imported

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# the scripts beside this one are named like the libraries that the peer imports
sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]

import dalle2_pytorch.dalle2_pytorch as peer
import torch
from accelerate import Accelerator
from dalle2_pytorch.version import __version__ as VERSION
from packaging import version
from safetensors.torch import save
from torch import Tensor, nn

OLD = VERSION == "1.1.0"
STEPS = 100

PRIORS: dict[str, dict[str, Any]] = {
    "prior": {
        "net": {
            "dim": 16, "depth": 2, "heads": 2, "dim_head": 40, "max_text_len": 40,
            "num_timesteps": STEPS, "normformer": True,
        },
        "image_embed_dim": 16, "image_size": 224, "timesteps": STEPS, "cond_drop_prob": 0.1,
    },
    "prior_plain": {
        "net": {
            "dim": 16, "depth": 1, "heads": 3, "dim_head": 8, "max_text_len": 4, "ff_mult": 2,
            "num_time_embeds": 2, "num_image_embeds": 2, "num_text_embeds": 2, "norm_in": True,
            "norm_out": False, "final_proj": False, "rotary_emb": False,
        },
        "image_embed_dim": 16, "image_size": 224, "timesteps": STEPS, "cond_drop_prob": 0.1,
        "condition_on_text_encodings": False, "sampling_clamp_l2norm": True,
        "sampling_final_clamp_l2norm": True,
    },
}  # fmt: skip

DECODER: dict[str, Any] = {
    "unets": [
        {
            "dim": 4, "cond_dim": 4, "image_embed_dim": 16, "text_embed_dim": 16,
            "cond_on_text_encodings": True, "dim_mults": [1, 1], "num_resnet_blocks": 1,
            "attn_heads": 2, "attn_dim_head": 8, "sparse_attn": True, "memory_efficient": True,
            "self_attn": [False, True], "max_text_len": 12, "resnet_groups": [2, 1],
        },
        {
            "dim": 4, "cond_dim": 4, "image_embed_dim": 16, "text_embed_dim": 16,
            "cond_on_text_encodings": False, "dim_mults": [1, 1], "num_resnet_blocks": [2, 1],
            "attn_heads": 2, "attn_dim_head": 8, "self_attn": [False, False], "max_text_len": 12,
            "resnet_groups": 2, "init_cross_embed": False, "init_conv_kernel_size": 3,
            "final_conv_kernel_size": 3, "cross_embed_downsample": True,
            "pixel_shuffle_upsample": False, "scale_skip_connection": True,
            "num_time_tokens": 3,
            **({} if OLD else {"cosine_sim_cross_attn": True, "cosine_sim_self_attn": True}),
        },
    ],
    "image_sizes": [8, 16], "timesteps": STEPS, "learned_variance": [True, False],
    "use_noise_for_lowres_cond": [True], "image_cond_drop_prob": 0.1, "text_cond_drop_prob": 0.5,
    **({} if OLD else {"predict_v": [False, True]}),
}  # fmt: skip

FULL: dict[str, dict[str, Any]] = {
    "prior_aes_finetune": {
        "prior": {
            "net": {
                "dim": 768, "depth": 24, "heads": 32, "dim_head": 64, "normformer": True,
                "num_timesteps": 1000, "max_text_len": 77, "attn_dropout": 0.05,
                "ff_dropout": 0.05,
            },
            "image_embed_dim": 768, "image_size": 224, "timesteps": 1000, "cond_drop_prob": 0.1,
        }
    },
    "decoder": {
        "decoder": {
            "unets": [
                {
                    "dim": 320, "cond_dim": 512, "image_embed_dim": 768, "text_embed_dim": 768,
                    "cond_on_text_encodings": True, "dim_mults": [1, 2, 3, 4],
                    "num_resnet_blocks": 4, "attn_heads": 8, "attn_dim_head": 64,
                    "sparse_attn": True, "memory_efficient": True,
                    "self_attn": [False, True, True, True],
                }
            ],
            "image_sizes": [64], "learned_variance": True, "beta_schedule": ["cosine"],
        }
    },
    "readme": {
        "decoder": {
            "unets": [
                {
                    "dim": 128, "cond_dim": 128, "image_embed_dim": 512, "text_embed_dim": 512,
                    "cond_on_text_encodings": True, "channels": 3, "dim_mults": [1, 2, 4, 8],
                },
                {
                    "dim": 16, "cond_dim": 128, "image_embed_dim": 512, "channels": 3,
                    "dim_mults": [1, 2, 4, 8, 16],
                },
            ],
            "image_sizes": [128, 256], "timesteps": 100, "image_cond_drop_prob": 0.1,
            "text_cond_drop_prob": 0.5,
        }
    },
}  # fmt: skip
"""The published prior and decoder, and the decoder of the peer's README."""

SMALL_PRIOR: dict[str, Any] = {
    "net": {"dim": 8, "depth": 1, "heads": 1, "dim_head": 8, "max_text_len": 2, "num_timesteps": 4},
    "image_embed_dim": 8, "image_size": 224, "timesteps": 4, "cond_drop_prob": 0.1,
}  # fmt: skip
SMALL_DECODER: dict[str, Any] = {
    "unets": [
        {
            "dim": 4, "cond_dim": 2, "image_embed_dim": 3, "dim_mults": [1],
            "num_resnet_blocks": 1, "resnet_groups": 2, "attn_heads": 1, "attn_dim_head": 4,
            "self_attn": [False], "max_text_len": 2, "init_cross_embed": False,
            "init_conv_kernel_size": 3,
        }
    ],
    "image_size": 4, "timesteps": 4, "clip": {"make": "openai", "model": "ViT-L/14"},
}  # fmt: skip


def make_prior(config: dict[str, Any]) -> Any:
    """The peer's prior, without the CLIP that it names."""
    values = {key: value for key, value in config.items() if key not in ("net", "clip")}
    return peer.DiffusionPrior(net=peer.DiffusionPriorNetwork(**config["net"]), **values).eval()


def make_decoder(config: dict[str, Any]) -> Any:
    """The peer's decoder, without the CLIP that it names."""
    values = {key: _tuple(v) for key, v in config.items() if key not in ("unets", "clip")}
    unets = tuple(peer.Unet(**{k: _tuple(v) for k, v in unet.items()}) for unet in config["unets"])
    return peer.Decoder(unets, **values).eval()


def randomise(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """Give every parameter random multiples of 1/64; return the parameters as int8."""
    generator = torch.Generator().manual_seed(seed)
    stored = {}
    for name, parameter in sorted(module.named_parameters()):
        if name.endswith("rotary_emb.freqs"):
            continue  # a constant that this version of its library calls a parameter
        wide = parameter[0].numel() if parameter.ndim > 1 else 16
        gain = name.endswith(("norm.weight", ".g", ".gamma")) or name.startswith(
            ("norm_cond", "norm_mid")
        )
        scale = 20 if gain or parameter.ndim == 1 else 64 / wide**0.5
        start = 64 if gain and not name.endswith("bias") else 0
        whole = torch.randn(parameter.shape, generator=generator) * scale + start
        whole = whole.round().clamp(-127, 127)
        with torch.no_grad():
            parameter.copy_(whole / 64)
        stored[name] = whole.to(torch.int8)
    return stored


def buffers(module: nn.Module) -> dict[str, list[int]]:
    """What the state dict holds beside the parameters: name -> shape."""
    learnt = {name for name, _ in module.named_parameters() if "rotary" not in name}
    return {k: list(v.shape) for k, v in module.state_dict().items() if k not in learnt}


def rolled(base: Tensor, index: int) -> Tensor:
    """The noise of step `index`: the same numbers in another order."""
    return base.flatten().roll(13 * index).view(base.shape)


class Replay:
    """Stands in for torch.randn and torch.randn_like while the peer samples."""

    def __init__(self, base: Tensor) -> None:
        self.base, self.count, self.kept = base, 0, (torch.randn, torch.randn_like)

    def __call__(self, *_: Any, **__: Any) -> Tensor:
        self.count += 1
        return rolled(self.base, self.count - 1)

    def __enter__(self) -> None:
        torch.randn = torch.randn_like = self

    def __exit__(self, *_: Any) -> None:
        torch.randn, torch.randn_like = self.kept


def prior(name: str, seed: int, out: dict[str, Tensor]) -> dict[str, Any]:
    """One prior: its weights, its outputs, its steps, a whole sampling."""
    config = PRIORS[name]
    model = make_prior(config)
    net = model.net
    for key, value in randomise(model, seed).items():
        out[f"{name}/weights/{key}"] = value
    generator = torch.Generator().manual_seed(seed + 1)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x, times = randn(3, 16), torch.tensor([0, 37, STEPS - 1])
    cond = {"text_embed": peer.l2norm(randn(3, 16))}
    given = {"x": x, "times": times, **cond}
    if config.get("condition_on_text_encodings", True):
        mask = torch.arange(9) < torch.tensor([2, 9, 5])[:, None]
        given["mask"] = mask
        given["text_encodings"] = cond["text_encodings"] = randn(3, 9, 16) * mask[..., None]
    with torch.no_grad():
        given["out"] = net(x, times, **cond)
        given["guided"] = net.forward_with_cond_scale(x, times, cond_scale=2.5, **cond)
        given["mean"], given["variance"] = model.p_mean_variance(x, times, cond)[:2]
        base = given["noise"] = randn(3, 16)
        with Replay(base):
            given["sampled"] = model.p_sample_loop((3, 16), cond)
        if OLD:  # the newer version does it by itself
            given["sampled"] = given["sampled"] / model.image_embed_scale
    given["betas"] = model.noise_scheduler.betas
    out.update({f"{name}/{key}": value.contiguous() for key, value in given.items()})
    return {"prior": config, "buffers": buffers(model)}


def decoder(seed: int, out: dict[str, Tensor]) -> dict[str, Any]:
    """Two U-Nets: the same."""
    model = make_decoder(DECODER)
    for key, value in randomise(model, seed).items():
        out[f"decoder/weights/{key}"] = value
    generator = torch.Generator().manual_seed(seed + 1)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    mask = torch.arange(9) < torch.tensor([2, 9])[:, None]
    given = {
        "image_embed": peer.l2norm(randn(2, 16)),
        "text_encodings": randn(2, 9, 16) * mask[..., None],
        "mask": mask,
        "times": torch.tensor([3, STEPS - 1]),
        "x": randn(2, 3, 8, 8),
        "large_x": randn(2, 3, 16, 16),
        "small": randn(2, 3, 8, 8).clamp(-1, 1),
        "noise": randn(2, 3, 8, 8),
        "large_noise": randn(2, 3, 16, 16),
    }
    with torch.no_grad():
        _first(model, given)
        _second(model, given)
        with Replay(given["noise"]):
            kept = {k: given[k] for k in ("image_embed", "text_encodings")}
            drawn = model.sample(**kept, stop_at_unet_number=1)
        given["sampled"] = drawn * 2 - 1
        with Replay(given["large_noise"]):
            larger = model.sample(image=(given["small"] + 1) / 2, start_at_unet_number=2, **kept)
        given["large_sampled"] = larger * 2 - 1
    for index, schedule in enumerate(model.noise_schedulers):
        given[f"betas{index}"] = schedule.betas
    out.update({f"decoder/{key}": value.contiguous() for key, value in given.items()})
    return {"decoder": DECODER, "buffers": buffers(model)}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _first(model: Any, given: dict[str, Tensor]) -> None:
    cond = {key: given[key] for key in ("image_embed", "text_encodings")}
    x, times = given["x"], given["times"]
    given["out"] = model.unets[0](x, times, **cond)
    given["guided"] = model.unets[0].forward_with_cond_scale(x, times, cond_scale=2.5, **cond)
    schedule = model.noise_schedulers[0]
    step = model.p_mean_variance(
        model.unets[0], x, times, noise_scheduler=schedule, learned_variance=True, **cond
    )
    given["mean"], given["variance"] = step[:2]


def _second(model: Any, given: dict[str, Tensor]) -> None:
    level = torch.full((2,), 200)
    small = torch.nn.functional.interpolate(given["small"], 16, mode="nearest")
    noise = rolled(given["large_noise"], 0)
    conditioner = model.lowres_conds[1]
    low_res = conditioner.noise_scheduler.q_sample(small, t=level, noise=noise)
    cond = {"image_embed": given["image_embed"], "lowres_cond_img": low_res}
    x, times = given["large_x"], given["times"]
    given["low_res"] = low_res
    given["large_out"] = model.unets[1](x, times, lowres_noise_level=level, **cond)
    step = model.p_mean_variance(
        model.unets[1], x, times, noise_scheduler=model.noise_schedulers[1],
        lowres_noise_level=level, **({} if OLD else {"predict_v": True}), **cond,
    )  # fmt: skip
    given["large_mean"], given["large_variance"] = step[:2]


def full(models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Configuration, names and shapes of the models of published size."""
    found = {}
    for name, config in models.items():
        with torch.device("meta"):
            build = make_prior if "prior" in config else make_decoder
            model = build(*config.values())
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        count = sum(p.numel() for n, p in model.named_parameters() if "rotary" not in n)
        found[name] = {"config": config, "shapes": shapes, "parameters": count}
    return found


def constant(module: nn.Module, value: float) -> None:
    """Set every parameter."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def saves(folder: Path) -> None:
    """Files as training leaves them."""
    # here, because the trackers of version 0.15.4 do not import beside a present pydantic
    from dalle2_pytorch.trackers import Tracker
    from dalle2_pytorch.trainer import DecoderTrainer, DiffusionPriorTrainer

    accelerator = Accelerator(cpu=True)
    prior = DiffusionPriorTrainer(make_prior(SMALL_PRIOR), accelerator, warmup_steps=1)
    decoder = DecoderTrainer(make_decoder(SMALL_DECODER), accelerator)
    constant(prior.diffusion_prior, 1)
    constant(prior.ema_diffusion_prior.ema_model, 2)
    constant(decoder.decoder, 1)
    for averaged in decoder.ema_unets:
        constant(averaged.ema_model, 2)
    write(folder, "prior_trainer", prior.save)
    write(folder, "decoder_trainer", decoder.save)
    for name, trainer, config in (
        ("prior_tracker", prior, {"prior": SMALL_PRIOR, "train": {"ema_beta": 0.99}}),
        ("decoder_tracker", decoder, {"decoder": SMALL_DECODER, "seed": 0}),
    ):
        tracker = Tracker(data_path=str(folder / "tracker"), dummy_mode=True)
        tracker.save_metadata = {"version": version.parse(VERSION), "config": config}
        write(folder, name, partial(tracker._save_state_dict, trainer, "model"))


def write(folder: Path, name: str, save: Callable[[str], Any]) -> None:
    """Keep what `save` writes, compressed."""
    file = folder / f"laion_{VERSION}_{name}.pth"
    save(str(file))
    data = file.read_bytes()
    file.unlink()
    file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(data, mtime=0))


def store(
    folder: Path, out: dict[str, Tensor], facts: dict[str, Any], models: dict[str, dict[str, Any]]
) -> None:
    """Write the tensors, what they are of, and the published sizes."""
    (folder / f"laion_{VERSION}.safetensors").write_bytes(save(out))
    (folder / f"laion_{VERSION}.json").write_text(json.dumps(facts) + "\n")
    listing = json.dumps(full(models)).encode()
    (folder / f"laion_{VERSION}_published.json.gz").write_bytes(gzip.compress(listing, mtime=0))


def main(folder: Path) -> None:
    """Write everything."""
    torch.manual_seed(0)
    out: dict[str, Tensor] = {}
    facts: dict[str, Any] = {"version": VERSION}
    for seed, name in enumerate(PRIORS):
        facts[name] = prior(name, 100 + 10 * seed, out)
    facts["decoder"] = decoder(200, out)
    store(folder, out, facts, FULL)
    saves(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
