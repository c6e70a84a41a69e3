"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Picture = Annotated[str, typer.Argument(metavar="IMAGE", help="A picture's file, of any format.")]

Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What the whole picture shall show.")]

Count = Annotated[int, typer.Option("-n", metavar="N", help="How many pictures.")]

Frames = Annotated[
    int, typer.Option(min=2, metavar="FRAMES", help="How many pictures, both ends included.")
]

Fps = Annotated[float, typer.Option(metavar="FPS", help="Frames a second of a film.")]

Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="SEED",
        help="Picture i is drawn from SEED + i.",
        show_default="drawn at random, and printed",
    ),
]

OneSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="SEED",
        help="Every picture is drawn from it.",
        show_default="drawn at random, and printed",
    ),
]

Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|DIR/|-",
        help="A .png, .webp or .jpg file (a grid of several), a folder for one PNG each, or - for "
        "a PNG to stdout.",
        show_default="a PNG in this folder, named after what it is made of and the seed, and "
        "numbered where another picture has that name",
    ),
]

FilmOutput = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|DIR/|-",
        help="A .png or .jpg strip, a .gif, .webp or .mp4 film that goes there and back, "
        "a folder for one PNG each, or - for a PNG strip to stdout.",
        show_default="a PNG strip in this folder, named after what it is made of and the seed, and "
        "numbered where another picture has that name",
    ),
]

Steps = Annotated[
    int | None, typer.Option("--steps", metavar="STEPS", help="Sampling steps of the decoder.")
]

GuidanceScale = Annotated[
    float | None,
    typer.Option("--guidance-scale", metavar="SCALE", help="Guidance of the decoder; 1 is none."),
]

Prior = Annotated[
    str | None,
    typer.Option(
        "--prior",
        metavar="NAME",
        help="Which of the model's priors to use; 'none' goes without.",
        show_default="the model's own",
    ),
]

Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other sampling setting, such as prior_steps=32 or sampler=ddpm; repeatable.",
    ),
]

Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda, cuda:1 or mps.",
        show_default="the fastest there is",
    ),
]
