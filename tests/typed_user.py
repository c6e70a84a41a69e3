"""A user's program, for mypy alone: `mypy` checks it with the package, and so does a wheel's test.

Each `type: ignore` is a mistake that mypy has to see: strict, it refuses one that nothing needs.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import unclip
from unclip.abilities.generate import GenerateRequest


def stop(step: unclip.Step) -> None:
    if step.stage == "decoder" and step.index < step.total:
        raise unclip.Cancelled


def right(pipe: unclip.Pipeline, stage: unclip.Stage) -> list[Image.Image]:
    pictures: list[Image.Image] = pipe.generate("a fox", n=2, seed=7, steps=9, on_step=stop)
    pictures += pipe.generate(["a fox", "a cat"], guidance_scale=4.0, prior_steps=8, size="64x64")
    pictures += pipe.generate("a fox", num_inference_steps=9, output_type="pil", tile=True)
    pictures += pipe.variations(pictures[0], n=4, eta=0.8, upsampler_steps=3)
    pictures += pipe.edit("fox.png", None, "a cat", box=(0, 0, 9, 9), sampler="ddpm", eta=1.0)
    pictures += pipe.outpaint(Path("fox.png"), "a fox", left=64, steps=None)
    pictures += pipe.interpolate("a fox", "a cat", frames=3, upsampler_1024_steps=2)
    drawn = pipe.run(GenerateRequest.of(prompt="a fox", settings={"decoder_x_steps": 3}))
    pictures += drawn
    scores: list[float] = pipe.probe("fox.png", ["a fox", "a car"])
    sides: int = unclip.load("runs/model", low_memory=True).side
    return pictures if scores and sides and "image" in stage.consumes else []


def mistaken(pipe: unclip.Pipeline) -> None:
    pipe.generate("a fox", stepz=9)  # type: ignore[call-arg]
    pipe.generate("a fox", steps="9")  # type: ignore[arg-type]
    pipe.generate("a fox", threshold="clam")  # type: ignore[arg-type]
    pipe.generate("a fox", output_type="jpeg")  # type: ignore[arg-type]
    pipe.variations("fox.png", guidence_scale=1.0)  # type: ignore[call-arg]
    pipe.edit("fox.png", prompt="a cat", size="64x64")  # type: ignore[call-arg]
    pipe.generate("a fox", on_step="stop")  # type: ignore[arg-type]
    unclip.load(lowmemory=True)  # type: ignore[call-arg]
