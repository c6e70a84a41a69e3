"""Writes whole trajectories of diffusers 0.33.1's schedulers on Stable Diffusion's tiny networks.

    PYTHON_OF_PEERS tests/parity/peers/samplers.py OUTDIR

The networks are those of `stable_diffusion_1`. Recorded are what the U-Net sees at each call, the
noise that is added, and where it ends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import diffusers.schedulers.scheduling_euler_ancestral_discrete as ancestral
import torch
from diffusers import EulerAncestralDiscreteScheduler, PNDMScheduler
from karlo import drawn, filled
from safetensors.torch import save_file
from stable_diffusion import (
    NEGATIVE,
    PAD,
    PROMPT,
    SIDE,
    described_config,
    make_pipeline,
    numbers,
    version_1,
)

BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PUBLISHED = PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
RUNS: dict[str, tuple[Any, int]] = {
    "pndm": (PUBLISHED, 7),
    "pndm-clean": (PNDMScheduler.from_config(PUBLISHED.config, set_alpha_to_one=True), 5),
    "euler_ancestral": (
        EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1), 6,
    ),
    "euler_ancestral-linspace": (EulerAncestralDiscreteScheduler(**BETAS), 6),
    "euler_ancestral-trailing": (
        EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"), 6,
    ),
}  # fmt: skip
"""By name: the scheduler, and how many steps."""


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    networks = {part: filled(part, net) for part, net in version_1().items()}
    kept: dict[str, torch.Tensor] = {}
    said: dict[str, Any] = {}
    for name, (scheduler, steps) in RUNS.items():
        kept |= run(name, make_pipeline(networks, PAD, scheduler), steps)
        said[name] = {"scheduler": described_config(scheduler), "steps": steps}
    save_file(kept, out / "samplers.safetensors")
    (out / "samplers.json").write_text(json.dumps(said, indent=1) + "\n")


def run(name: str, pipe: Any, steps: int) -> dict[str, torch.Tensor]:
    seen: list[torch.Tensor] = []
    times: list[float] = []
    noises: list[torch.Tensor] = []

    def unet(module: Any, args: Any, kwargs: Any) -> None:
        seen.append(args[0][:1].clone())
        times.append(float(args[1]))

    handle = pipe.unet.register_forward_pre_hook(unet, with_kwargs=True)
    draw = ancestral.randn_tensor
    ancestral.randn_tensor = drawn(draw, lambda _, it: noises.append(it))
    torch.manual_seed(steps)
    latents = pipe(
        PROMPT, negative_prompt=NEGATIVE, num_inference_steps=steps, guidance_scale=7.5,
        latents=numbers(1, 4, SIDE, SIDE), output_type="latent",
    ).images  # fmt: skip
    ancestral.randn_tensor = draw
    handle.remove()
    made = {"x": torch.cat([*seen, latents]), "t": torch.tensor(times)}
    made |= {"noise": torch.cat(noises)} if noises else {}
    return {f"{name}/{key}": value.contiguous() for key, value in made.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
