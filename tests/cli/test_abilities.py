"""The commands that begin with a picture: what they write where, and what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from unclip.cli._draw import drawing
from unclip.cost import Policy

RunCli = Callable[..., Any]
RecordOf = Callable[[Path], dict[str, Any]]
SIDE = 16  # of the tiny model's pictures

ARGUMENTS: dict[str, list[object]] = {
    "vary": ["fox.png", "-n", 2],
    "edit": ["fox.png", "a fox", "--mask", "mask.png", "-n", 2],
    "outpaint": ["fox.png", "a dog", "--left", 8, "-n", 2],
    "img2img": ["fox.png", "a fox", "--strength", 0.5, "-n", 2],
    "upscale": ["fox.png", "-n", 2],
    "interpolate": ["fox.png", "a red car", "--frames", 3],
    "textdiff": ["fox.png", "--from", "a fox", "--to", "a red car", "--frames", 3],
    "reconstruct": ["fox.png", "--dims", "1,3", "--pictures", "pictures"],
}
"""A call of each command, without seed and target."""

FILES = {
    **{name: [f"fox-{name}-7.png", f"fox-{name}-8.png"] for name in list(ARGUMENTS)[:5]},
    "interpolate": [f"fox-to-a-red-car-7-{i}.png" for i in (1, 2, 3)],
    "textdiff": [f"fox-textdiff-7-{i}.png" for i in (1, 2, 3)],
    "reconstruct": ["fox-reconstruct-7-1.png", "fox-reconstruct-7-3.png"],
}
"""What each of them writes into a folder."""

SIZES = {"outpaint": (SIDE + 8, SIDE), "upscale": (2 * SIDE, 2 * SIDE)}


def pixels(file: str | Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(autouse=True)
def inputs(unclip: RunCli) -> None:
    """A picture, masks good and bad, a text, and a folder of pictures."""
    fox = Image.new("RGB", (SIDE, SIDE), "orange")
    ImageDraw.Draw(fox).ellipse((4, 4, 11, 11), fill="blue")
    fox.save("fox.png")
    mask = Image.new("L", (SIDE, SIDE))
    mask.save("black.png")
    mask.paste(255, (8, 0, SIDE, SIDE))
    mask.save("mask.png")
    Image.new("L", (SIDE, 2 * SIDE), 255).save("tall.png")
    holed = fox.convert("RGBA")
    holed.putalpha(Image.eval(mask, lambda value: 255 - value))
    holed.save("holed.png")
    Path("text.png").write_text("no picture")
    Path("pictures").mkdir()
    for index, colour in enumerate(("red", "lime", "blue", "gray", "white")):
        Image.new("RGB", (20, 20), colour).save(f"pictures/{index}.png")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_one_file_or_one_each(name: str, unclip: RunCli, model: Path, record: RecordOf) -> None:
    quick = ["--steps", 2] if name == "upscale" else ["--steps", 2, "--set", "upsampler_steps=2"]
    common = [*ARGUMENTS[name], *quick, "--seed", 7, "--model", model]
    done = unclip(name, *common, "-o", "out.png")
    assert (done.code, done.err) == (0, "")
    count = len(FILES[name])
    assert done.out.startswith(f"out.png: {count} pictures, seed")
    assert record(Path("out.png"))["n"] == count

    assert unclip(name, *common, "-o", "out/").code == 0
    assert [file.name for file in sorted(Path("out").iterdir())] == FILES[name]
    each = [pixels(Path("out") / file) for file in FILES[name]]
    width, height = SIZES.get(name, (SIDE, SIDE))
    assert {one.shape for one in each} == {(height, width, 3)}
    sheet = pixels("out.png")
    for index, one in enumerate(each):  # the same seed gives the same pictures
        left = index * (width + 4)
        assert np.array_equal(sheet[:height, left : left + width], one)
    assert len({one.tobytes() for one in each}) == count
    own = record(Path("out") / FILES[name][1])
    assert own["ability"] == {"img2img": "image_to_image"}.get(name, name)
    assert own["seed"] == (8 if FILES[name][1].endswith("-8.png") else 7)


INPUTS = {"edit": ["fox.png", "mask.png"], "reconstruct": ["fox.png", "pictures"]}
"""Files that a picture was made of; of the others `fox.png` alone."""


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_picture_is_replayed_from_its_record_and_what_it_was_made_of(
    name: str, unclip: RunCli, model: Path, record: RecordOf
) -> None:
    quick = ["--steps", 2] if name == "upscale" else ["--steps", 2, "--set", "upsampler_steps=2"]
    common = [*ARGUMENTS[name], *quick, "--seed", 7, "--model", model]
    inputs = INPUTS.get(name, ["fox.png"])
    unclip(name, *common, "-o", "out.png")
    unclip(name, *common, "-o", "out/")
    last = f"out/{FILES[name][-1]}"
    for file in ("out.png", last):
        done = unclip("replay", file, *inputs, "-o", "again.png", "--model", model)
        assert (done.code, done.out, done.err) == (0, f"again.png: identical to {file}\n", "")
        assert record(Path("again.png")) == record(Path(file))
    which = next(iter(record(Path("out.png"))["inputs"].items()))
    unclip("replay", "out.png", "--model", model).fails(2, "out.png", " ".join(which), "INPUT")
    Image.new("RGB", (SIDE, SIDE), "lime").save("other.png")
    done = unclip("replay", "out.png", "other.png", *inputs[1:], "--model", model)
    assert done.code == 1
    assert f"made of {' '.join(which)}, this one of" in done.err


def test_a_replay_with_other_pictures_to_find_components_from_says_so(
    unclip: RunCli, model: Path
) -> None:
    asked = ["reconstruct", *ARGUMENTS["reconstruct"], "-o", "out.png", "--model", model]
    assert unclip(*asked).code == 0
    Image.new("RGB", (20, 20), "black").save("pictures/5.png")
    done = unclip("replay", "out.png", "fox.png", "pictures", "--model", model)
    assert done.code == 1
    assert "out.png was made of pictures " in done.err


def test_a_box_is_replayed_without_a_mask(unclip: RunCli, model: Path) -> None:
    asked = ["fox.png", "a fox", "--box", "8,0,8,16", "--seed", 7, "--model", model]
    assert unclip("edit", *asked, "-o", "out.png").code == 0
    done = unclip("replay", "out.png", "fox.png", "--model", model)
    assert (done.code, done.err) == (0, "")


def test_a_replay_of_more_files_than_it_was_made_of(unclip: RunCli, model: Path) -> None:
    unclip("vary", "fox.png", "-n", 1, "-o", "out.png", "--model", model)
    asked = ["replay", "out.png", "fox.png", "mask.png", "--model", model]
    unclip(*asked).fails(2, "out.png", "made of 1 file", "got 2")


def test_a_replay_asks_for_the_mask_that_a_picture_was_made_with(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    asked = ["fox.png", "a fox", "--mask", "mask.png", "--seed", 7, "--model", model]
    assert unclip("edit", *asked, "-o", "out.png").code == 0
    digest = record(Path("out.png"))["inputs"]["mask"]
    done = unclip("replay", "out.png", "fox.png", "--model", model)
    done.fails(2, "out.png", f"made with mask {digest}: add that file, or, if it was a box, a mask")
    unclip("replay", "out.png", "none.png", "--model", model).fails(2, "cannot read none.png")


def test_a_replay_asks_for_no_mask_that_is_in_the_picture(unclip: RunCli, model: Path) -> None:
    assert unclip("edit", "holed.png", "a fox", "-o", "out.png", "--model", model).code == 0
    done = unclip("replay", "out.png", "holed.png", "--model", model)
    assert (done.code, done.err) == (0, "")


def test_a_replay_asks_for_the_pictures_of_the_components(unclip: RunCli, model: Path) -> None:
    asked = ["reconstruct", *ARGUMENTS["reconstruct"], "-o", "out.png", "--model", model]
    assert unclip(*asked).code == 0
    done = unclip("replay", "out.png", "fox.png", "--model", model)
    done.fails(2, "out.png", "it was made with pictures ", ": add that file")


def test_a_folder_of_a_prompts_name_is_no_picture_of_a_replay(unclip: RunCli, model: Path) -> None:
    Path("fox").mkdir()
    asked = ["fox", "cat", "--frames", 2, "-o", "out.png", "--model", model]
    assert unclip("interpolate", *asked).code == 0
    assert unclip("replay", "out.png", "--model", model).code == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("upscale", "such as upsampler_sharpen=0;"),
        ("vary", "such as upsampler_sharpen=0;"),
        ("generate", "such as prior_steps=32;"),
        ("sweep", "'none' uses the text embedding in place of a prior's."),
        ("img2img", "1 keeps nothing of it (0 to 1). [default: 0.6]"),
        ("textdiff", "--fps FPS Frames per second of a film. [default: 12.0]"),
    ],
)
def test_help_says_what_is_this_commands_own(name: str, words: str, unclip: RunCli) -> None:
    assert words in " ".join(unclip(name, "--help").out.split())


@pytest.mark.parametrize("name", ["interpolate", "textdiff"])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_frames_make_a_film_there_and_back(
    name: str, suffix: str, unclip: RunCli, model: Path
) -> None:
    done = unclip(name, *ARGUMENTS[name], "--fps", 10, "-o", f"o{suffix}", "--model", model)
    assert (done.code, done.err) == (0, "")
    with Image.open(f"o{suffix}") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (4, (SIDE, SIDE), 0)
        film.load()  # a WebP says how long a frame takes once it is decoded
        assert film.info["duration"] == 100


def test_a_webp_of_variations_is_a_grid(unclip: RunCli, model: Path) -> None:
    unclip("vary", "fox.png", "-n", 2, "-o", "o.webp", "--model", model)
    with Image.open("o.webp") as picture:
        assert (getattr(picture, "n_frames", 1), picture.size) == (1, (2 * SIDE + 4, SIDE))


def test_without_output_the_file_is_named_after_the_picture(unclip: RunCli, model: Path) -> None:
    done = unclip("vary", "fox.png", "-n", 1, "--model", model)
    (file,) = Path().glob("fox-vary-*.png")
    assert done.out.startswith(f"{file}: 1 picture, seed {file.stem.rpartition('-')[2]},")


def test_no_chance_gives_the_picture_back(unclip: RunCli, model: Path) -> None:
    unclip("vary", "fox.png", "-n", 1, "--eta", 0, "-o", "o.png", "--model", model)
    assert np.abs(pixels("o.png").astype(int) - pixels("fox.png")).max() <= 1


def test_a_box_paints_what_a_mask_of_it_paints(unclip: RunCli, model: Path) -> None:
    for name, where in (("box", "8,0,8,16"), ("mask", "mask.png")):
        asked = ["fox.png", "a pizza", f"--{name}", where, "--seed", 7, "--model", model]
        assert unclip("edit", *asked, "-o", f"{name}.png").code == 0
    assert np.array_equal(pixels("box.png"), pixels("mask.png"))


@pytest.mark.parametrize("arguments", [["fox.png", "--mask", "mask.png"], ["holed.png"]])
def test_an_edit_keeps_what_is_not_painted(
    arguments: list[str], unclip: RunCli, model: Path
) -> None:
    unclip("edit", *arguments, "a fox", "-o", "o.png", "--model", model)
    same = (pixels("o.png") == pixels("fox.png")).all(-1)
    assert same[:, :8].all()
    assert same[:, 9:].mean() < 0.5, "beside the border it is the colour of what is kept"


def test_an_outpainted_picture_is_the_old_one_within(unclip: RunCli, model: Path) -> None:
    sides = ["--left", 3, "--right", 2, "--top", 1, "--bottom", 4]
    unclip("outpaint", "fox.png", "a fox", *sides, "-o", "o.png", "--model", model)
    assert pixels("o.png").shape == (SIDE + 5, SIDE + 5, 3)
    assert np.array_equal(pixels("o.png")[1 : 1 + SIDE, 3 : 3 + SIDE], pixels("fox.png"))


def test_strength_reaches_the_drawing(unclip: RunCli, model: Path, record: RecordOf) -> None:
    common = ["img2img", "fox.png", "a fox", "--seed", 1, "--model", model]
    unclip(*common, "--strength", 1, "-o", "a.png")
    unclip(*common, "--strength", 0.1, "-o", "b.png")
    assert record(Path("b.png"))["settings"] == {"strength": 0.1}
    assert not np.array_equal(pixels("a.png"), pixels("b.png"))


def test_settings_reach_the_record(unclip: RunCli, model: Path, record: RecordOf) -> None:
    changes = ["--steps", 2, "--guidance-scale", 1.5, "--set", "upsampler_steps=2"]
    done = unclip("vary", "fox.png", "-n", 1, *changes, "-o", "o.png", "--model", model)
    assert done.code == 0, done.err
    settings = {"steps": 2, "guidance_scale": 1.5, "upsampler_steps": 2, "eta": 0.8}
    assert record(Path("o.png"))["settings"] == settings


def test_probing_says_what_the_picture_is_taken_for(unclip: RunCli, model: Path) -> None:
    labels = ["a fox", "a red car", "a house"]
    done = unclip("probe", "fox.png", *labels, "--json", "--model", model)
    shares = json.loads(done.out)["shares"]
    assert sorted(shares) == sorted(labels)
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    lines = unclip("probe", "fox.png", *labels, "--model", model).out.splitlines()
    for line, (label, share) in zip(lines, shares.items(), strict=True):
        assert line.split("  ")[0].strip() == label
        assert f"{share:.1%}" in line
        assert line.count("█") == round(40 * share)


@pytest.mark.parametrize("name", [*ARGUMENTS, "probe"])
@pytest.mark.parametrize(
    ("file", "part"), [("none.png", "none.png"), ("text.png", "cannot read text.png")]
)
@pytest.mark.usefixtures("no_model")
def test_a_picture_that_cannot_be_read(name: str, file: str, part: str, unclip: RunCli) -> None:
    before = sorted(Path().iterdir())
    rest = ["a fox", "a car"] if name == "probe" else ARGUMENTS[name][1:]
    unclip(name, file, *rest).fails(2, part)
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["vary", "fox.png", "-n", 10**9],
        ["edit", "holed.png", "a fox", "-n", 10**9],
        ["outpaint", "small.png", "a fox", "--left", 7992, "--bottom", 7992],
        ["img2img", "fox.png", "a fox", "-n", 10**9],
        ["upscale", "fox.png", "-n", 10**9],
        ["interpolate", "fox.png", "a fox", "--frames", 10**9],
        ["textdiff", "fox.png", "--from", "a", "--to", "b", "--frames", 10**9],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_would_never_end_is_refused(
    arguments: list[object], unclip: RunCli, model: Path
) -> None:
    Image.new("RGB", (8, 8), "orange").save("small.png")
    before = sorted(Path().iterdir())
    unclip(*arguments, "--model", model).fails(2, "the limit is 1,000,000 steps", "--no-limit")
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.usefixtures("no_model")
def test_an_unwritable_output(name: str, unclip: RunCli) -> None:
    unclip(name, *ARGUMENTS[name], "-o", "text.png/o.png").fails(1, "cannot write text.png/o.png")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["vary", "fox.png", "-n", "0"], ["-n must be at least 1, got 0"]),
        (["vary", "fox.png", "--eta", "2"], ["--eta must be at most 1, got 2"]),
        (["vary", "fox.png", "-o", "o.gif"], ["'.gif'", ".png"]),
        (["edit", "fox.png", "a fox"], ["no mask"]),
        (
            ["edit", "fox.png", "a fox", "--box", "8,0,8"],
            ["--box", "LEFT,TOP,WIDTH,HEIGHT", "such as 128,0,128,256", "got '8,0,8'"],
        ),
        (["edit", "fox.png", "a fox", "--box", "8,0,9,16"], ["within the picture", "16×16"]),
        (["edit", "fox.png", "a fox", "--box=-1,0,8,16"], ["within the picture", "16×16"]),
        (["edit", "fox.png", "a fox", "--box", "8,0,0,16"], ["within the picture"]),
        (
            ["edit", "fox.png", "a fox", "--box", "8,0,8,16", "--mask", "mask.png"],
            ["--box", "mask", "one of them"],
        ),
        (["edit", "fox.png", "a fox", "--mask", "tall.png"], ["tall.png is 16x32"]),
        (["edit", "fox.png", "a fox", "--mask", "black.png"], ["nothing to paint", "black.png"]),
        (["edit", "fox.png", "a fox", "--mask", "text.png"], ["cannot read text.png"]),
        (["edit", "holed.png", " "], ["prompt is empty"]),
        (["outpaint", "fox.png", "a fox"], ["nothing to paint", "left"]),
        (["outpaint", "fox.png", "a fox", "--left", "-1"], ["--left"]),
        (["outpaint", "fox.png", "", "--left", "8"], ["prompt is empty"]),
        (["img2img", "fox.png", "a fox", "--strength", "1.5"], ["--strength must be at most 1, "]),
        (["img2img", "fox.png", ""], ["prompt is empty"]),
        (["interpolate", "fox.png", "a fox", "--frames", "1"], ["--frames"]),
        (["interpolate", "fox.png", " "], ["prompt is empty"]),
        (["interpolate", "fox.png", "none.jpg"], ["none.jpg"]),
        (["interpolate", "fox.png", "none.avif"], ["none.avif"]),
        (["interpolate", "a fox", "a car", "--noise", "pink"], ["--noise", "pink"]),
        (["interpolate", "a fox", "a car", "-o", "o.bmp"], ["'.bmp'", ".gif", ".mp4"]),
        (["interpolate", "a fox", "a car", "-o", "o.gif", "--fps", "60"], ["fps", "60"]),
        (["interpolate", "a fox", "a car", "-o", "o.gif", "--fps", "nan"], ["fps", "nan"]),
        (["textdiff", "fox.png", "--from", "a fox", "--to", "a fox "], ["are the same"]),
        (["textdiff", "fox.png", "--from", "a fox", "--to", ""], ["prompt is empty"]),
        (["textdiff", "fox.png", "--from", "a fox"], ["--to"]),
        (["textdiff", "fox.png", "--from", "a", "--to", "b", "--frames", "1"], ["--frames"]),
        (["textdiff", "fox.png", "--from", "a", "--to", "b", "--theta", "3"], ["--theta"]),
        (["textdiff", "fox.png", "--from", "a", "--to", "b", "--theta", "0"], ["theta", "above 0"]),
        (["reconstruct", "fox.png", "--dims", "0,4"], ["--dims", "at least 1, got 0"]),
        (["reconstruct", "fox.png", "--dims", "four"], ["--dims", "such as 1,8, got 'four'"]),
        (["reconstruct", "fox.png", "--dims", "4,4"], ["--dims", "4,4"]),
        (["reconstruct", "fox.png", "--pictures", "nowhere"], ["nowhere", "no such folder"]),
        (["reconstruct", "fox.png", "--pictures", "fox.png"], ["it is a file, not a folder"]),
        (["probe", "fox.png", "a fox"], ["at least two labels"]),
        (["probe", "fox.png", "a fox", ""], ["prompt is empty"]),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_bad_usage_is_found_before_the_model_is_loaded(
    arguments: list[str], parts: list[str], unclip: RunCli
) -> None:
    before = sorted(Path().iterdir())
    unclip(*arguments).fails(2, *parts)
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["vary", "fox.png", "--set", "stps=2"], ["stps", "'steps'"]),
        (["vary", "fox.png", "--set", "eta=1"], ["eta", "--help"]),
        (["edit", "holed.png", "a fox", "--set", "mask=1"], ["mask"]),
        (["edit", "holed.png", "a fox", "--prior", "mine"], ["no prior 'mine'"]),
        (["reconstruct", "fox.png"], ["no principal components"]),
        (["reconstruct", "fox.png", "--dims", "5", "--pictures", "pictures"], ["5 pictures"]),
    ],
)
def test_what_the_model_has_not(
    arguments: list[str], parts: list[str], unclip: RunCli, model: Path
) -> None:
    before = sorted(Path().iterdir())
    unclip(*arguments, "--model", model).fails(2, *parts)
    assert sorted(Path().iterdir()) == before


def test_an_end_may_be_a_long_sentence(unclip: RunCli, model: Path) -> None:
    done = unclip(
        "interpolate", "a fox", "and a car " * 60, "--frames", 2, "-o", "o.png", "--model", model
    )
    assert done.code == 0
    assert re.fullmatch(
        r"unclip: warning: the prompt has \d+ tokens, the model reads 6: .*\n", done.err
    )


def test_a_pipe_is_read_once(unclip: RunCli, model: Path) -> None:
    import os
    import threading

    os.mkfifo("pipe.png")
    data = Path("fox.png").read_bytes()
    writer = threading.Thread(target=lambda: Path("pipe.png").write_bytes(data), daemon=True)
    writer.start()
    done = unclip("vary", "pipe.png", "-n", 1, "-o", "o.png", "--model", model)
    assert (done.code, done.err) == (0, "")


def test_interrupted_nothing_is_left(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = sorted(Path().iterdir())
    monkeypatch.setattr("unclip.pipeline.Chain.sample", stop)
    done = unclip("edit", "holed.png", "a fox", "-o", "o.png", "--model", model)
    assert (done.code, done.err) == (130, "unclip: cancelled\n")
    assert sorted(Path().iterdir()) == before


def test_hidden_files_beside_the_pictures_are_left_alone(unclip: RunCli, model: Path) -> None:
    Path("pictures/._0.png").write_bytes(b"a Mac's notes")
    Path("pictures/.thumbnails").mkdir()
    Path("pictures/.thumbnails/0.png").write_bytes(b"no picture")
    done = unclip(*("reconstruct", *ARGUMENTS["reconstruct"], "-o", "o.png", "--model", model))
    assert (done.code, done.err) == (0, "")


def test_who_is_told_of_costs_is_so_only_while_it_draws() -> None:
    class Pipe:
        policy = Policy()

    pipe: Any = Pipe()
    with pytest.raises(RuntimeError), drawing(pipe):
        assert pipe.policy.on_cost is not None
        raise RuntimeError
    assert pipe.policy == Policy()
