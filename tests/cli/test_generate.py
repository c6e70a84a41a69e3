"""`unclip generate`: what it writes where, and that bad input leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from unclip import __version__
from unclip.checkpoints.native import read_manifest

RunCli = Callable[..., Any]
RecordOf = Callable[[Path], dict[str, object]]


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def test_one_picture_in_a_file(unclip: RunCli, model: Path, record: RecordOf) -> None:
    done = unclip("generate", "a red car", "--seed", 7, "-o", "out.png", "--model", model)
    assert done.code == 0, done.err
    assert done.out.startswith("out.png: 1 picture, seed 7, 16×16, in ")
    assert pixels(Path("out.png")).shape == (16, 16, 3)
    assert record(Path("out.png")) == {
        "prompt": "a red car",
        "seed": 7,
        "settings": {},
        "model": "tiny",
        "model_hash": read_manifest(model).hash,
        "version": __version__,
        "threads": torch.get_num_threads(),
        "n": 1,
        "ability": "generate",
        "inputs": {},
    }


def test_several_pictures_in_a_file_are_a_grid(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    unclip("generate", "a fox", "-n", 3, "--seed", 1, "-o", "g.png", "--model", model)
    height, width, _ = pixels(Path("g.png")).shape
    assert height > 2 * 16
    assert width > 2 * 16
    assert (record(Path("g.png"))["n"], record(Path("g.png"))["seed"]) == (3, 1)


@pytest.mark.parametrize("output", ["new/", "new", "there"])
def test_a_folder_gets_one_file_each(
    output: str, unclip: RunCli, model: Path, record: RecordOf
) -> None:
    Path("there").mkdir()
    done = unclip("generate", "A red car!", "-n", 2, "--seed", 7, "-o", output, "--model", model)
    assert done.code == 0, done.err
    files = sorted(Path(output).iterdir())
    assert [file.name for file in files] == ["a-red-car-7.png", "a-red-car-8.png"]
    assert [record(file)["seed"] for file in files] == [7, 8]


def test_a_picture_does_not_depend_on_how_many_are_drawn(unclip: RunCli, model: Path) -> None:
    unclip("generate", "a fox", "-n", 3, "--seed", 5, "-o", "many/", "--model", model)
    unclip("generate", "a fox", "-n", 1, "--seed", 6, "-o", "one/", "--model", model)
    assert np.array_equal(pixels(Path("many/a-fox-6.png")), pixels(Path("one/a-fox-6.png")))
    assert not np.array_equal(pixels(Path("many/a-fox-5.png")), pixels(Path("one/a-fox-6.png")))


def test_large_numbers_are_drawn_in_batches(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unclip("generate", "a fox", "-n", 3, "--seed", 0, "-o", "a/", "--model", model)
    monkeypatch.setattr("unclip.stages.batches.BATCH", 2)
    assert unclip("generate", "a fox", "-n", 3, "--seed", 0, "-o", "b/", "--model", model).code == 0
    for name in ("a-fox-0.png", "a-fox-1.png", "a-fox-2.png"):
        assert np.array_equal(pixels(Path("a") / name), pixels(Path("b") / name))


def test_without_output_and_seed_both_are_chosen_and_said(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    done = unclip("generate", "a fox", "--model", model)
    (file,) = Path().iterdir()
    assert file.name == f"a-fox-{record(file)['seed']}.png"
    assert f"{file.name}: 1 picture, seed {record(file)['seed']}," in done.out


def test_settings_reach_the_sampling_and_the_record(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    changes = ["--steps", 2, "--guidance-scale", 1.5, "--prior-guidance-scale", 3]
    more = ["--set", "prior_steps=2", "--set", "sampler=ddpm", "--set", "upsampler_eta=0"]
    common = ["--seed", 0, "--model", model]
    unclip("generate", "a fox", "-o", "plain.png", *common)
    done = unclip("generate", "a fox", "-o", "o.png", *common, *changes, *more)
    assert done.code == 0, done.err
    assert record(Path("o.png"))["settings"] == {
        "steps": 2,
        "guidance_scale": 1.5,
        "prior_guidance_scale": 3.0,
        "prior_steps": 2,
        "sampler": "ddpm",
        "upsampler_eta": 0,
    }
    assert not np.array_equal(pixels(Path("plain.png")), pixels(Path("o.png")))


@pytest.mark.parametrize(("suffix", "kind"), [(".webp", "WEBP"), (".jpg", "JPEG"), (".PNG", "PNG")])
def test_the_suffix_is_the_format(suffix: str, kind: str, unclip: RunCli, model: Path) -> None:
    assert unclip("generate", "a fox", "-o", f"out{suffix}", "--model", model).code == 0
    with Image.open(f"out{suffix}") as picture:
        assert picture.format == kind
        assert ("unclip" in picture.info) == (kind == "PNG")


def test_a_word_that_the_model_does_not_know_is_one_line_of_warning(
    unclip: RunCli, lettered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.stages.batches.BATCH", 1)
    done = unclip("generate", "a foxx", "-n", 3, "-o", "out/", "--model", lettered)
    assert (done.code, len(list(Path("out").iterdir()))) == (0, 3)
    (line,) = done.err.splitlines()
    assert line.startswith("unclip: warning: the model does not know 'foxx'; ")
    assert "nearest known: 'fox'" in line
    done = unclip("generate", "Fox", "--model", lettered, "--strict-words")
    assert (done.code, done.err) == (0, "")


def test_a_setting_without_effect_is_one_line_of_warning(unclip: RunCli, model: Path) -> None:
    """Of several pictures, and of all cells of a sweep, too."""
    unused = ["--prior", "none", "--set", "prior_steps=2", "--model", model]
    for command in (["generate", "-n", 2], ["sweep", "--x", "steps=1,2"]):
        done = unclip(*command, "a fox", "-o", f"{command[0]}.png", *unused)
        assert (done.code, done.err) == (
            0,
            "unclip: warning: setting 'prior_steps' has no effect: this draws with decoder, "
            "upsampler, not with prior\n",
        )


def test_strict_words_refuse_it_before_anything_is_drawn(unclip: RunCli, lettered: Path) -> None:
    strict = ["--strict-words", "--model", lettered, "-o", "out.png"]
    unclip("generate", "a foxx", *strict).fails(2, "does not know 'foxx'", "nearest")
    unclip("generate", "红色的猫", *strict).fails(2, "does not know '猫'")
    unclip("sweep", "a foxx", *strict, "--x", "steps=1,2").fails(2, "does not know 'foxx'")
    assert not Path("out.png").exists()


def test_a_prompt_that_is_cut_says_where(unclip: RunCli, model: Path) -> None:
    done = unclip("generate", " ".join(["red"] * 9), "-o", "out.png", "--model", model)
    (line,) = done.err.splitlines()
    assert done.code == 0
    assert line == (
        "unclip: warning: the prompt has 9 tokens, the model reads 6: "
        "it is cut after 'red red red red red red', and 'red red red' is not read"
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([""], ["prompt is empty", "a red car"]),
        (["  \n"], ["prompt is empty"]),
        (["a f\udcffx"], ["not UTF-8"]),
        (["a fox", "-n", "0"], ["-n must be at least 1, got 0"]),
        (["a fox", "-o", "fox.gif"], ["'.gif'", ".png"]),
        (["a fox", "--device", "tpu"], ["tpu"]),
        (["a fox", "--device", "cuda:99"], ["cuda:99"]),
        (["a fox", "--steps", "0"], ["steps", "got 0"]),
        (["a fox", "--guidance-scale", "nan"], ["guidance_scale"]),
        (["a fox", "--set", "guidance_scal=2"], ["guidance_scal", "'guidance_scale'"]),
        (["a fox", "--set", "sampler=dimm"], ["dimm", "ddim"]),
        (
            ["a fox", "--set", "n=3"],
            ["error: unknown setting 'n': it is not a setting of the samp"],
        ),
        (["a fox", "--set", "prior=3"], ["prior", "--help"]),
        (["a fox", "--prior", "pior"], ["no prior 'pior'", "'prior'"]),
        (["a fox", "--best-of", "0"], ["--best-of must be at least 1, got 0"]),
        (["a fox", "--set", "steps"], ["key=value", "steps"]),
    ],
)
def test_bad_usage(arguments: list[str], parts: list[str], unclip: RunCli, model: Path) -> None:
    unclip("generate", *arguments, "--model", model).fails(2, *parts)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["emojo", "no/such/folder"])
def test_an_unknown_model(name: str, unclip: RunCli) -> None:
    unclip("generate", "a fox", "--model", name).fails(2, name, "bundled")
    assert not list(Path().iterdir())


def test_a_folder_that_is_no_model(unclip: RunCli, tmp_path: Path) -> None:
    unclip("generate", "a fox", "--model", tmp_path).fails(1, str(tmp_path), "holds no model")


def missing(file: Path) -> None:
    file.unlink()


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def reshaped(file: Path) -> None:
    tensors = load_file(file)
    tensors["query"] = torch.zeros(3)
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("damage", "part"),
    [(missing, "is missing"), (truncated, "is damaged or truncated"), (reshaped, "query is (3,)")],
)
def test_damaged_weights(
    damage: Callable[[Path], None], part: str, unclip: RunCli, broken: Path
) -> None:
    damage(broken / "prior" / "weights.safetensors")
    unclip("generate", "a fox", "--model", broken).fails(1, str(broken / "prior"), part)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    "output", ["file/out.png", "file/deep/out.png", "file/", "file/in/", "/proc/out.png"]
)
def test_an_unwritable_output_is_found_before_any_work(
    output: str, unclip: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        pytest.fail("the model must not even be loaded")

    monkeypatch.setattr("unclip.loading.load", load)
    Path("file").write_text("in the way")
    unclip("generate", "a fox", "-o", output).fails(1, "cannot write", output.rstrip("/"))
    assert [path.name for path in Path().iterdir()] == ["file"]


def test_a_failure_half_way_leaves_nothing(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    done = unclip("generate", "a fox", "-o", "out.png", "--model", model)
    done.fails(1, "cannot write out.png: No space left on device")
    assert not list(Path().iterdir())


def test_a_setting_with_an_option_of_its_own_is_given_once(unclip: RunCli) -> None:
    unclip("generate", "a fox", "--steps", 4, "--set", "steps=3").fails(
        2, "--steps 4 and --set steps=3 set the same: give only one of them"
    )
    scale = ["--guidance-scale", 4, "--set", "guidance_scale=3"]
    unclip("generate", "a fox", *scale).fails(2, "--guidance-scale 4.0 and --set guidance_scale=3")


def test_fast_is_the_few_step_decoder(unclip: RunCli, model: Path) -> None:
    done = unclip("generate", "a fox", "--fast", "-o", "out.png", "--model", model)
    assert done.code == 2
    assert "no decoder that is distilled to a few steps" in done.err
    done = unclip("generate", "a fox", "--fast", "--decoder", "other", "--model", model)
    assert done.code == 2
    assert "--fast chooses a decoder, and --decoder other another" in done.err
    assert not Path("out.png").exists()
