"""`unclip samplers`, and `--sampler` of the commands that draw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unclip.abilities import ABILITIES
from unclip.diffusion.samplers import SAMPLERS
from unclip.diffusion.spacing import SPACINGS

Run = Callable[..., Any]


def test_the_list_has_every_sampler_and_grid_in_80_columns(unclip: Run) -> None:
    shown = unclip("samplers")
    lines = shown.out.splitlines()
    assert shown.code == 0 and shown.err == ""
    assert max(map(len, lines)) <= 80
    words = {line.split()[0] for line in lines if line}
    assert SAMPLERS.keys() | SPACINGS.keys() <= words
    rows = {line.split()[0]: line.split()[1:4] for line in lines if line}
    assert rows["heun"] == ["2", "2", "yes"]
    assert rows["euler_ancestral"] == ["1", "1", "no"]
    for name in ("Euler a", "DPM++ 2M", "PNDMScheduler", "SGM Uniform", "Exponential"):
        assert name in shown.out


def test_as_json(unclip: Run) -> None:
    said = json.loads(unclip("samplers", "--json").out)
    assert said["samplers"].keys() == SAMPLERS.keys()
    assert said["grids"].keys() == SPACINGS.keys()
    assert said["samplers"]["unipc"]["order"] == 3
    assert "Euler a" in said["samplers"]["euler_ancestral"]["names"]
    assert all(one["what"] for one in said["grids"].values())


@pytest.mark.parametrize("name", [one for one in ABILITIES.names() if one != "probe"])
def test_help_points_there(name: str, unclip: Run) -> None:
    shown = " ".join(unclip(name, "--help").out.split())
    assert "--sampler NAME" in shown and "see `unclip samplers`" in shown


def test_a_known_name_is_drawn_with_and_recorded(
    unclip: Run, model: Path, record: Callable[[Path], dict[str, Any]]
) -> None:
    few = ("--model", model, "--seed", 3, "--steps", 3, "--set", "prior_steps=2")
    assert (
        unclip("generate", "a fox", *few, "--sampler", "DPM++ 2M Karras", "-o", "a.png").code == 0
    )
    own = ("--sampler", "dpmpp_2m", "--set", "spacing=karras")
    assert unclip("generate", "a fox", *few, *own, "-o", "b.png").code == 0
    assert record(Path("a.png")) == record(Path("b.png"))
    assert record(Path("a.png"))["settings"]["sampler"] == "dpmpp_2m"
    assert Image.open("a.png").tobytes() == Image.open("b.png").tobytes()
    assert unclip("upscale", "a.png", *few[:4], "--sampler", "Euler a", "-o", "c.png").code == 0
    assert record(Path("c.png"))["settings"] == {"upsampler_sampler": "euler_ancestral"}


def test_an_unknown_one_is_one_line(unclip: Run, model: Path) -> None:
    drawn = unclip("generate", "a fox", "--model", model, "--sampler", "DPM++ 2M Karas")
    drawn.fails(2, "unknown sampler 'DPM++ 2M Karas' (did you mean 'dpmpp_2m karras'?); known: ")
    twice = unclip("generate", "a fox", "--sampler", "ddim", "--set", "sampler=ddpm")
    twice.fails(2, "--sampler ddim and --set sampler=ddpm set the same")
