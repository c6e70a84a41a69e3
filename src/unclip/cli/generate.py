"""`unclip generate`."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ._options import Device, Model
from ._terminal import duration, say

if TYPE_CHECKING:
    from PIL.Image import Image

    from ._output import Target


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(generate)


def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to draw.")],
    n: Annotated[int, typer.Option("-n", metavar="N", help="How many pictures.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="SEED",
            help="Picture i is drawn from SEED + i.",
            show_default="drawn at random, and printed",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR/",
            help="A .png, .webp or .jpg file (a grid where N > 1), or a folder for one PNG each.",
            show_default="a PNG in this folder, named after prompt and seed",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Sampling steps of the decoder.")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(metavar="SCALE", help="Guidance of the decoder; 1 is none.")
    ] = None,
    prior_guidance_scale: Annotated[
        float | None, typer.Option(metavar="SCALE", help="Guidance of the prior; 1 is none.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other sampling setting, such as prior_steps=32 or sampler=ddpm; repeatable.",
        ),
    ] = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Draw pictures of a sentence.

    Every PNG carries its prompt, seed, settings and the model's hash, so that `unclip replay`
    can make the same picture again. Other formats carry nothing. What is not set here has the
    model's own default.

    \b
    Examples:
      unclip generate "a red car"
      unclip generate "a red car" -n 4 --seed 7 -o out.png     one grid of four
      unclip generate "a red car" -n 4 --seed 7 -o cars/       cars/a-red-car-7.png and three more
      unclip generate "a fox" --steps 50 --guidance-scale 4
      unclip generate "a fox" --set prior_steps=32 --set eta=1
      unclip generate "a fox" --model runs/mine/model --device cuda
    """
    from ..config import override
    from ..pipeline import check_request, load
    from ._draw import draw
    from ._output import Target, slug

    started = time.monotonic()
    check_request(prompt, n)
    settings = override({}, assignments or []) | {
        key: value
        for key, value in (
            ("steps", steps),
            ("guidance_scale", guidance_scale),
            ("prior_guidance_scale", prior_guidance_scale),
        )
        if value is not None
    }
    seed = random.randrange(2**31) if seed is None else seed
    target = Target.of(f"{slug(prompt)}-{seed}.png" if output is None else output)
    target.check()
    pictures = draw(load(model, device), prompt, n, seed, settings)
    target.write(pictures, slug(prompt), seed)
    say(_summary(target, pictures, seed, time.monotonic() - started))


def _summary(target: Target, pictures: list[Image], seed: int, seconds: float) -> str:
    width, height = pictures[0].size
    count = len(pictures)
    what = f"1 picture, seed {seed}" if count == 1 else f"{count} pictures, seeds {seed} to "
    what += "" if count == 1 else str(seed + count - 1)
    return f"{target.path}: {what}, {width}×{height}, in {duration(seconds)}"
