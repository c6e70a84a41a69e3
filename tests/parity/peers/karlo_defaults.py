"""Writes what diffusers 0.33.1 takes for settings that a Karlo folder does not name.

    PYTHON_OF_PEERS tests/parity/peers/karlo_defaults.py OUTDIR [FOLDER]

FOLDER is the fixture's Karlo as `unclip convert --to diffusers` wrote it: both pipelines are loaded
from it and must draw the pictures of the fixture in OUTDIR.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import torch
from diffusers import (
    PriorTransformer,
    UnCLIPImageVariationPipeline,
    UnCLIPPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.pipelines.unclip.text_proj import UnCLIPTextProjModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPVisionConfig

CLASSES = {
    "prior": PriorTransformer,
    "text_proj": UnCLIPTextProjModel,
    "decoder": UNet2DConditionModel,
    "super_res_first": UNet2DModel,
    "super_res_last": UNet2DModel,
    "prior_scheduler": UnCLIPScheduler,
    "decoder_scheduler": UnCLIPScheduler,
    "super_res_scheduler": UnCLIPScheduler,
}


def main(out: Path) -> None:
    made: dict[str, object] = {
        "text_encoder": CLIPTextConfig().to_dict(),
        "image_encoder": CLIPVisionConfig().to_dict(),
    }
    for name, kind in CLASSES.items():
        parameters = inspect.signature(kind.__init__).parameters.values()
        known = [one for one in parameters if one.default is not inspect.Parameter.empty]
        made[name] = {one.name: one.default for one in known}
    (out / "karlo_defaults.json").write_text(json.dumps(made, indent=1) + "\n")


def check(out: Path, folder: Path) -> None:
    said = json.loads((out / "karlo.json").read_text())
    recorded = load_file(out / "karlo.safetensors")
    pipe = UnCLIPPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    torch.manual_seed(7)
    steps = {f"{one}_num_inference_steps": 3 for one in ("prior", "decoder", "super_res")}
    drawn = torch.from_numpy(pipe(said["prompt"], **steps, output_type="np").images)
    compare("a prompt", drawn, recorded["text/picture/0/it"])
    pipe = UnCLIPImageVariationPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():
        z_i = pipe.image_encoder(recorded["image/pixels/0/it"]).image_embeds
    torch.manual_seed(7)
    steps = {f"{one}_num_inference_steps": 2 for one in ("decoder", "super_res")}
    drawn = torch.from_numpy(pipe(image_embeddings=z_i, **steps, output_type="np").images)
    compare("a variation", drawn, recorded["image/picture/0/it"])


def compare(what: str, drawn: torch.Tensor, recorded: torch.Tensor) -> None:
    off = float((drawn - recorded).abs().max())
    assert off < 1e-5, f"{what}: {off}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        check(*map(Path, sys.argv[1:3]))
