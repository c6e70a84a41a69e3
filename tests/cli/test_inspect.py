"""`unclip inspect`: what pictures say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unclip.added import Added
from unclip.media import save
from unclip.record import Record

RunCli = Callable[..., Any]
OTHERS = """a fox, (oil:1.2)
second line
Negative prompt: a car
Steps: 2, Sampler: Euler, CFG scale: 3, Seed: 5, Size: 512x768, Clip skip: 2"""


def write(name: str, text: str, key: str = "parameters") -> None:
    chunks = PngInfo()
    chunks.add_text(key, text)
    Image.new("RGB", (6, 4)).save(name, pnginfo=chunks)


def test_a_picture_of_ours(unclip: RunCli, model: Path) -> None:
    made = ["--seed", 4, "--steps", 2, "--model", model, "--negative-prompt", "a car"]
    unclip("generate", "a fox", *made, "-o", "fox.webp")
    done = unclip("inspect", "fox.webp")
    assert (done.code, done.err) == (0, "")
    head, record, *lines = done.out.splitlines()
    assert head == "fox.webp: WEBP, 16×16"
    assert record.startswith("  record of unclip ")
    told = [" ".join(line.split()) for line in lines]
    at = told.index("parameters as A1111 writes them")
    for part in (told[:at], told[at:]):
        assert {"prompt a fox", "seed 4", "steps 2"} <= set(part)
    assert "negative_prompt a car" in told[:at]
    assert {"negative prompt a car", "sampler DDIM", "size 16×16"} <= set(told[at:])


def test_pictures_of_others_and_of_nobody(unclip: RunCli) -> None:
    write("other.png", OTHERS)
    Image.new("RGB", (6, 4)).save("plain.png")
    done = unclip("inspect", "other.png", "plain.png")
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()[2:5]] == [
        ["prompt", "a", "fox,", "(oil:1.2)"],
        ["second", "line"],
        ["negative", "prompt", "a", "car"],
    ]
    assert "Clip skip        2\n  " not in done.out and "Clip skip        2" in done.out
    assert "plain.png: PNG, 6×4\n  no record, and no parameters" in done.out


def test_what_is_broken_is_one_line(unclip: RunCli) -> None:
    write("steps.png", "Steps: many, Seed: 3")
    write("record.png", "{", "unclip")
    unclip("inspect", "steps.png").fails(2, "steps.png", "Steps must be a whole number")
    unclip("inspect", "record.png").fails(2, "record.png", "record is damaged")
    unclip("inspect", "none.png").fails(2, "cannot read none.png")


def test_letters_that_a_terminal_obeys_are_written_out(unclip: RunCli) -> None:
    write("bad.png", "a \x1b[31mfox\nSteps: 1")
    assert "\x1b" not in unclip("inspect", "bad.png").out


def test_the_others_follow_one_that_cannot_be_read(unclip: RunCli) -> None:
    Image.new("RGB", (6, 4)).save("plain.png")
    done = unclip("inspect", "none.png", "plain.png")
    assert done.code == 1
    assert "cannot read none.png" in done.err
    assert done.out.startswith("plain.png: PNG, 6×4")


def test_what_a_model_was_loaded_with(unclip: RunCli) -> None:
    added = (Added("lora", "ink", "0123456789ab", 0.8), Added("embedding", "toy", "ba9876543210"))
    picture = Image.new("RGB", (6, 4))
    picture.info["unclip"] = Record("a fox", 3, {}, added=added).to_json()
    save(picture, Path("fox.png"))
    told = [" ".join(line.split()) for line in unclip("inspect", "fox.png").out.splitlines()]
    assert {"lora ink 0123456789ab, scale 0.8", "embedding toy ba9876543210"} <= set(told)
