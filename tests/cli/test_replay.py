"""`unclip replay`: the same picture again, and an honest word where it is not the same."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from unclip.cli.replay import _reasons
from unclip.record import Record

RunCli = Callable[..., Any]


@pytest.mark.parametrize("n", [1, 3])
def test_round_trip(n: int, unclip: RunCli, model: Path) -> None:
    more = ["--steps", 2, "--set", "prior_steps=2"]
    unclip("generate", "a fox", "-n", n, "--seed", 4, "-o", "fox.png", "--model", model, *more)
    done = unclip("replay", "fox.png", "--model", model)
    assert (done.code, done.err) == (0, "")
    assert done.out == "fox-replay.png: identical to fox.png\n"
    with Image.open("fox.png") as old, Image.open("fox-replay.png") as new:
        assert old.tobytes() == new.tobytes()
        assert old.info["unclip"] == new.info["unclip"]


def test_prior_and_candidates_are_replayed(unclip: RunCli, model: Path) -> None:
    more = ["--prior", "none", "--best-of", 3, "--seed", 4, "--model", model]
    unclip("generate", "a fox", *more, "-o", "fox.png")
    done = unclip("replay", "fox.png", "--model", model)
    assert done.out == "fox-replay.png: identical to fox.png\n"


def test_a_record_of_settings_without_effect_is_replayed_without_a_word(
    unclip: RunCli, model: Path
) -> None:
    unclip("generate", "a fox", "--seed", 4, "-o", "fox.png", "--model", model)
    unclip("upscale", "fox.png", "--seed", 4, "-o", "large.png", "--model", model)
    change_record("fox.png", settings={"quantile": 0.5, "resample": 3})
    change_record("large.png", settings={"decoder_steps": 3})
    for files in (["fox.png"], ["large.png", "fox.png"]):
        done = unclip("replay", *files, "--model", model)
        assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("settings", [{"prior": 3}, {"best_of": "x"}, {"n": 3}, {"stps": 3}])
def test_a_record_with_impossible_settings(
    settings: dict[str, object], unclip: RunCli, model: Path
) -> None:
    unclip("generate", "a fox", "-o", "fox.png", "--model", model)
    change_record("fox.png", settings=settings)
    unclip("replay", "fox.png", "--model", model).fails(2, next(iter(settings)))


@pytest.mark.parametrize(
    ("inputs", "ability", "part"),
    [
        ({"image": 3}, "vary", "made of image"),
        ({"image": ["a"], "settings": "x", "record": "x", "seed": "x"}, "vary", "made of image"),
        ({"image": "0123456789ab", "source": 7}, "textdiff", "source"),
        ({"a": {}, "b": "a fox"}, "interpolate", "made of a"),
        ({"x": 3}, "sweep", "sweep again"),
        ({}, "fly", "no ability 'fly'"),
        ({}, "probe", "no picture"),
    ],
)
def test_a_record_with_impossible_inputs(
    inputs: dict[str, object], ability: str, part: str, unclip: RunCli, model: Path
) -> None:
    unclip("generate", "a fox", "-o", "fox.png", "--model", model)
    change_record("fox.png", inputs=inputs, ability=ability)
    files = ["fox.png"] if ability == "textdiff" else []
    unclip("replay", "fox.png", *files, "--model", model).fails(2, "fox.png", part)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"ability": "interpolate", "inputs": {"a": "mine.png", "b": "a fox"}}, "a mine.png: add"),
        (
            {"ability": "edit", "inputs": {}, "settings": {"mask": "mine.png"}},
            "unknown setting 'mask'",
        ),
    ],
)
def test_a_record_reads_no_file_that_a_person_does_not_give(
    change: dict[str, object], part: str, unclip: RunCli, model: Path
) -> None:
    unclip("generate", "a fox", "-o", "fox.png", "--model", model)
    Image.new("RGB", (16, 16), "red").save("mine.png")
    change_record("fox.png", **change)
    files = ["fox.png"] if change["ability"] == "edit" else []
    unclip("replay", "fox.png", *files, "--model", model).fails(2, "fox.png", part)


def test_one_of_several(unclip: RunCli, model: Path) -> None:
    unclip("generate", "a fox", "-n", 3, "--seed", 4, "-o", "dir/", "--model", model)
    done = unclip("replay", "dir/a-fox-5.png", "-o", "again.png", "--model", model)
    assert done.out == "again.png: identical to dir/a-fox-5.png\n"


def test_a_bundled_model_is_found_by_its_hash(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unclip("generate", "a fox", "-o", "fox.png", "--model", model)
    monkeypatch.setattr("unclip.loading.bundled_models", lambda: {"renamed": model})
    assert unclip("replay", "fox.png").code == 0


def test_a_model_that_is_not_bundled_has_to_be_given(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unclip("generate", "a fox", "-o", "fox.png", "--model", model)
    monkeypatch.setattr("unclip.loading.bundled_models", dict)
    unclip("replay", "fox.png").fails(2, "'tiny'", "--model")


def test_another_model_is_warned_of(unclip: RunCli, model: Path) -> None:
    unclip("generate", "a fox", "--seed", 1, "-o", "fox.png", "--model", model)
    change_record("fox.png", model_hash="0123456789ab", seed=2)
    done = unclip("replay", "fox.png", "--model", model)
    assert done.code == 1
    (warning,) = done.err.splitlines()
    assert warning.startswith("unclip: warning: fox.png was drawn by model 'tiny' (0123456789ab)")
    assert "% of the pixels differ, by at most" in done.out
    assert Path("fox-replay.png").is_file()


def test_another_size_is_no_match(unclip: RunCli, model: Path) -> None:
    unclip("generate", "a fox", "-o", "fox.png", "--model", model)
    change_record("fox.png", n=2)
    done = unclip("replay", "fox.png", "--model", model)
    assert (done.code, done.out) == (1, "fox-replay.png: 36×16, not 16×16 as fox.png\n")


def test_what_a_record_holds_beyond_is_named_and_left(unclip: RunCli, model: Path) -> None:
    unclip("generate", "a fox", "--seed", 4, "-o", "fox.png", "--model", model)
    change_record("fox.png", moons=2, version="99.0.0")
    done = unclip("replay", "fox.png", "--model", model)
    assert (done.code, done.out) == (0, "fox-replay.png: identical to fox.png\n")
    (warning,) = done.err.splitlines()
    assert warning.startswith("unclip: warning: fox.png: its record has what is not known here")
    assert warning.endswith(": moons")


@pytest.mark.parametrize("change", [{"n": 10**9}, {"settings": {"steps": 10**9}}])
def test_a_record_that_asks_for_too_much(
    change: dict[str, object], unclip: RunCli, model: Path
) -> None:
    unclip("generate", "a fox", "-o", "fox.png", "--model", model)
    change_record("fox.png", **change)
    unclip("replay", "fox.png", "--model", model).fails(2, "the limit is 1,000,000 steps")
    assert not Path("fox-replay.png").exists()


def test_replays_of_two_pictures_of_one_name(unclip: RunCli, model: Path) -> None:
    for folder, seed in (("a", 1), ("b", 2)):
        unclip("generate", "a fox", "--seed", seed, "-o", f"{folder}/fox.png", "--model", model)
        assert unclip("replay", f"{folder}/fox.png", "--model", model).code == 0
    assert sorted(file.name for file in Path().glob("*.png")) == [
        "fox-replay-2.png",
        "fox-replay.png",
    ]


def change_record(file: str, **changes: object) -> None:
    with Image.open(file) as opened:
        picture, record = opened.copy(), json.loads(opened.info["unclip"])
    write(file, json.dumps(record | changes), picture)


def write(file: str, record: str, picture: Image.Image | None = None) -> None:
    chunks = PngInfo()
    chunks.add_itxt("unclip", record)
    (picture or Image.new("RGB", (16, 16))).save(file, pnginfo=chunks)


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"prompt": "a fox"}', "damaged"),
        (
            '{"prompt": 3, "seed": 1, "settings": {}, "model": "", "model_hash": "", '
            '"version": ""}',
            "'prompt' must be str",
        ),
    ],
)
def test_a_damaged_record(record: str, part: str, unclip: RunCli, model: Path) -> None:
    write("fox.png", record)
    unclip("replay", "fox.png", "--model", model).fails(2, "fox.png", part)


def test_pictures_that_cannot_be_replayed(unclip: RunCli, model: Path) -> None:
    Image.new("RGB", (16, 16)).save("plain.png")
    Path("text.png").write_text("no picture")
    unclip("replay", "plain.png").fails(2, "plain.png", "has no record")
    unclip("replay", "text.png").fails(2, "cannot read text.png", "not a picture")
    head = struct.pack(">I4sIIBBBBB", 13, b"IHDR", 17_000, 10_000, 8, 2, 0, 0, 0)
    data = head + struct.pack(">I", zlib.crc32(head[4:])) + struct.pack(">I4sI", 0, b"IDAT", 0)
    Path("large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    unclip("replay", "large.png").fails(2, "large.png: 17000x10000 pixels are more than the limit")
    unclip("replay", "none.png").fails(2, "cannot read none.png: No such file")


def test_a_record_beside_a_text_of_two_million_letters(unclip: RunCli, model: Path) -> None:
    unclip("generate", "a fox", "-o", "fox.png", "--model", model)
    with Image.open("fox.png") as opened:
        picture, record = opened.copy(), opened.info["unclip"]
    chunks = PngInfo()
    chunks.add_text("Comment", "x" * 2_000_000, zip=True)
    chunks.add_itxt("unclip", record)
    picture.save("fox.png", pnginfo=chunks)
    done = unclip("replay", "fox.png", "--model", model)
    assert (done.code, done.out) == (0, "fox-replay.png: identical to fox.png\n")


def test_another_number_of_threads_is_named(unclip: RunCli, model: Path) -> None:
    import torch

    assert unclip("generate", "a fox", "--steps", 1, "--model", model, "-o", "fox.png").code == 0
    with Image.open("fox.png") as picture:
        record = Record.of(picture)
    assert record.threads == torch.get_num_threads()
    assert not list(_reasons(record, record))
    assert not list(_reasons(replace(record, threads=0), record)), "nobody knows"
    (said,) = _reasons(replace(record, threads=record.threads + 3), record)
    assert f"OMP_NUM_THREADS={record.threads + 3}" in said


def test_a_lora_is_asked_for_again(unclip: RunCli, model: Path) -> None:
    """By what it holds and its scale; its file may have another name."""
    stage = json.loads((model / "prior" / "config.json").read_text())["network"]
    width, name = stage["width"], "text_in.weight"
    for file, value in (("ink", 0.5), ("oil", -0.5)):
        down, up = torch.full((1, stage["text_width"]), value), torch.ones(width, 1)
        tensors = {f"{name}.lora_down": down, f"{name}.lora_up": up}
        save_file(tensors, f"{file}.safetensors", {"format": "unclip.lora", "stage": "prior"})
    few = ["--seed", 4, "--steps", 2, "--set", "prior_steps=2", "--model", model]
    unclip("generate", "a fox", *few, "-o", "fox.png", "--lora", "ink.safetensors:0.5")
    Path("ink.safetensors").rename("pen.safetensors")
    done = unclip("replay", "fox.png", "--model", model, "--lora", "pen.safetensors:0.5")
    assert (done.code, done.err) == (0, "")
    assert done.out == "fox-replay.png: identical to fox.png\n"
    done = unclip("replay", "fox.png", "--model", model, "--lora", "pen.safetensors")
    assert (done.code, done.err) == (0, ""), "the scale is the record's"
    done = unclip("replay", "fox.png", "--model", model, "--lora", "pen.safetensors:0.8")
    done.fails(2, "--lora ink:0.5 (", "): give the file of --lora pen:0.8 (", "with that scale, or")
    for more in ([], ["--lora", "oil.safetensors"], ["--lora", "oil.safetensors:0.5"]):
        unclip("replay", "fox.png", "--model", model, *more).fails(
            2, "fox.png was drawn with --lora ink:0.5 (", "): give that file, as --lora FILE"
        )
    no = unclip("generate", "a fox", *few, "--lora", "no.safetensors:0.5")
    no.fails(2, "lora no.safetensors: there is no such file")


def test_a_damaged_lora_is_no_fault_of_the_models_variable(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNCLIP_MODEL", str(model))
    Path("bad.safetensors").write_text("x")
    for option in ("lora", "embedding"):
        done = unclip("generate", "a fox", f"--{option}", "bad.safetensors", "--json")
        assert "UNCLIP_MODEL" not in done.err
        assert json.loads(done.out)["error"]["field"] == option


def test_an_older_record_with_brackets_is_of_letters(unclip: RunCli, model: Path) -> None:
    few = ["--seed", 4, "--steps", 2, "--set", "prior_steps=2", "--model", model]
    unclip("generate", r"a \(red:1.5\) fox", *few, "-o", "old.png")
    unclip("generate", "a (red:1.5) fox", *few, "-o", "new.png")
    with Image.open("new.png") as picture:
        assert json.loads(picture.info["unclip"])["prompt"] == "a (red:1.5) fox"
    done = unclip("replay", "new.png", "--model", model)
    assert done.out == "new-replay.png: identical to new.png\n"
    change_record("old.png", prompt="a (red:1.5) fox", syntax=None)
    done = unclip("replay", "old.png", "--model", model)
    assert done.out == "old-replay.png: identical to old.png\n"


@pytest.mark.parametrize("suffix", ["webp", "jpg"])
@pytest.mark.parametrize("n", [1, 3])
def test_a_picture_that_lost_pixels_is_compared_as_it_was_stored(
    suffix: str, n: int, unclip: RunCli, model: Path
) -> None:
    made = ["-n", n, "--seed", 4, "--steps", 1, "--model", model]
    assert unclip("generate", "a fox", *made, "-o", f"fox.{suffix}").err == ""
    done = unclip("replay", f"fox.{suffix}", "--model", model)
    kind = {"webp": "WEBP", "jpg": "JPEG"}[suffix]
    assert done.out == f"fox-replay.png: identical to fox.{suffix} (compared as {kind})\n"
    assert (done.code, done.err) == (0, "")
    with Image.open("fox-replay.png") as new, Image.open(f"fox.{suffix}") as old:
        assert new.tobytes() != old.convert("RGB").tobytes()
        old.save("damaged.webp", "WEBP", quality=1, xmp=old.info["xmp"])
    assert unclip("replay", "damaged.webp", "--model", model).code == 1


PARAMETERS = """a fox, <lora:ink:0.8>
Negative prompt: a car
Steps: 2, Sampler: Euler, Schedule type: Karras, CFG scale: 3, Seed: 5, Size: 512x768, \
Model: dream, Clip skip: 2"""


def write_parameters(file: str, text: str = PARAMETERS) -> None:
    chunks = PngInfo()
    chunks.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(file, pnginfo=chunks)


def test_another_programs_picture_is_drawn_from_what_it_says(unclip: RunCli, model: Path) -> None:
    write_parameters("other.png")
    done = unclip("replay", "--as", "unclip", "other.png", "--model", model)
    assert (done.code, done.out.partition(",")[0]) == (0, "other-replay.png: 1 picture")
    assert [line.partition("not taken over: ")[2] for line in done.err.splitlines()] == [
        "lora ink:0.8: give --lora FILE:0.8",
        "size 512x768 is not possible: model 'tiny' draws 16x16 alone, as it was trained; draw "
        "that, and extend it with outpaint",
        "model dream: this is 'tiny'",
        "Clip skip: 2",
    ]
    options = ["--steps", 2, "--guidance-scale", 3, "--set", "sampler=euler", "--seed", 5]
    options += ["--set", "spacing=karras", "--negative-prompt", "a car", "--model", model]
    assert unclip("generate", "a fox,", *options, "-o", "same.png").code == 0
    with Image.open("other-replay.png") as one, Image.open("same.png") as other:
        assert one.tobytes() == other.tobytes()
        assert Record.of(one) == Record.of(other)
    again = unclip("replay", "other-replay.png", "--model", model)
    assert again.out.endswith("identical to other-replay.png\n")


def test_what_a_model_has_not_is_left_and_said(unclip: RunCli, model: Path) -> None:
    write_parameters("other.png", "a fox\nSteps: 0, Sampler: DPM adaptive, CFG scale: -1, Seed: -1")
    done = unclip("replay", "--as", "unclip", "other.png", "--model", model)
    assert done.code == 0
    said = [line.partition("not taken over: ")[2] for line in done.err.splitlines()]
    assert said[0].startswith("steps 0: setting 'steps' must be at least 1")
    assert said[1].startswith("sampler DPM adaptive: ") and "'dpmpp_2m'" in said[1]
    assert said[2].startswith("guidance_scale -1.0: ")
    assert said[3].startswith("it says no seed: ")
    with Image.open("other-replay.png") as picture:
        assert Record.of(picture).settings == {}
        assert f"no seed: {Record.of(picture).seed} is used" in said[3]


def test_a_picture_of_ours_is_replayed_as_ever(unclip: RunCli, model: Path) -> None:
    unclip("generate", "a fox", "--seed", 4, "-o", "fox.png", "--model", model)
    done = unclip("replay", "--as", "unclip", "fox.png", "--model", model)
    assert done.out == "fox-replay.png: identical to fox.png\n"


@pytest.mark.parametrize(
    ("text", "more", "parts"),
    [
        (PARAMETERS, [], ["has no record", "parameters of A1111", "--as unclip"]),
        (PARAMETERS, ["--as", "comfyui"], ["--as must be unclip, got 'comfyui'"]),
        (PARAMETERS, ["--as", "unclip", "other.png"], ["give no INPUT"]),
        ("Steps: many", ["--as", "unclip"], ["other.png", "'parameters' is damaged", "'many'"]),
        ("Steps: 2, Seed: 1", ["--as", "unclip"], ["other.png", "prompt is empty"]),
        (None, ["--as", "unclip"], ["other.png", "neither a record nor parameters"]),
    ],
)
def test_what_cannot_be_drawn_is_one_line_before_a_model_is_loaded(
    text: str | None, more: list[str], parts: list[str], unclip: RunCli, no_model: None
) -> None:
    Image.new("RGB", (8, 8)).save("other.png")
    if text is not None:
        write_parameters("other.png", text)
    unclip("replay", "other.png", *more).fails(2, *parts)
    assert not Path("other-replay.png").exists()


def test_more_steps_than_the_model_has_are_left_and_said(unclip: RunCli, model: Path) -> None:
    write_parameters("other.png", f"a fox\nSteps: {10**9}, Seed: 1, CFG scale: 1")
    done = unclip("replay", "--as", "unclip", "other.png", "--model", model)
    assert done.code == 0
    assert done.err.endswith(
        "not taken over: steps 1000000000: steps must be at most 1000, the schedule's own, "
        "got 1000000000\n"
    )
