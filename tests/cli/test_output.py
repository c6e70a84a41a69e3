"""Where pictures go: names that tell requests apart, stdout, and faults found before the work."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unclip.abilities.generate import GenerateRequest
from unclip.bulk.layout import Layout
from unclip.bulk.names import slug
from unclip.cli import main
from unclip.cli._output import Target, _save_all
from unclip.cost import Cost
from unclip.errors import UsageError
from unclip.media.writing import save

RunCli = Callable[..., Any]
RecordOf = Callable[[Path], dict[str, Any]]
QUICK = ["--steps", 1, "--set", "prior_steps=1", "--set", "upsampler_steps=1", "--seed", 7]


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_other_settings_have_another_name_and_the_same_request_the_same(
    unclip: RunCli, model: Path, record: RecordOf
) -> None:
    common = ["generate", "a fox", *QUICK, "--model", model]
    first = unclip(*common)
    assert first.out.startswith("a-fox-7.png: 1 picture, seed 7,")
    other = unclip(*common, "--guidance-scale", 3)
    assert other.out.startswith("a-fox-7-2.png: 1 picture, seed 7,")
    assert unclip(*common, "-n", 2).out.startswith("a-fox-7-3.png: 2 pictures,")
    assert unclip(*common).out.startswith("a-fox-7.png:")
    assert unclip(*common, "--guidance-scale", 3).out.startswith("a-fox-7-2.png:")
    assert names() == ["a-fox-7-2.png", "a-fox-7-3.png", "a-fox-7.png"]
    assert "guidance_scale" not in record(Path("a-fox-7.png"))["settings"]
    assert record(Path("a-fox-7-2.png"))["settings"]["guidance_scale"] == 3.0


def test_a_set_in_a_folder_keeps_together(unclip: RunCli, model: Path, record: RecordOf) -> None:
    common = ["generate", "a fox", *QUICK, "-o", "foxes/", "--model", model]
    assert unclip(*common, "-n", 2).code == 0
    assert unclip(*common, "-n", 3, "--guidance-scale", 3).code == 0
    assert unclip(*common, "-n", 3, "--guidance-scale", 3).code == 0
    plain = [f"a-fox-{seed}.png" for seed in (7, 8)]
    other = [f"a-fox-{seed}-2.png" for seed in (7, 8, 9)]
    assert sorted(path.name for path in Path("foxes").iterdir()) == sorted(plain + other)
    for name in other:
        assert record(Path("foxes") / name)["settings"]["guidance_scale"] == 3.0


def test_a_name_that_was_given_is_written_over(unclip: RunCli, model: Path) -> None:
    common = ["generate", "a fox", *QUICK, "-o", "fox.png", "--model", model]
    assert unclip(*common).code == unclip(*common, "--guidance-scale", 3).code == 0
    assert names() == ["fox.png"]


def test_someone_elses_file_is_not_written_over(unclip: RunCli, model: Path) -> None:
    Path("a-fox-7.png").write_bytes(b"mine")
    Path("a-fox-7-2.png").symlink_to("nowhere")
    done = unclip("generate", "a fox", *QUICK, "--model", model)
    assert done.out.startswith("a-fox-7-3.png:")
    assert Path("a-fox-7.png").read_bytes() == b"mine"
    assert not Path("nowhere").exists()


def test_runs_at_once_in_one_folder_lose_nothing(tmp_path: Path) -> None:
    """Sixteen writers of different pictures, all under one name, and then all again."""

    def picture(number: int) -> Image.Image:
        one = Image.new("RGB", (8, 8), (number, 0, 0))
        one.info["unclip"] = json.dumps({"number": number})
        return one

    def write(number: int) -> None:
        barrier.wait()
        _save_all([picture(number)], tmp_path, ["a-fox-7"])

    for _ in range(2):
        barrier = threading.Barrier(16)
        threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = []
        for file in tmp_path.iterdir():
            with Image.open(file) as opened:
                colour = opened.convert("RGB").getpixel((0, 0))
                assert json.loads(opened.info["unclip"])["number"] == colour[0]  # type: ignore[index]
                found.append(colour[0])  # type: ignore[index]
        assert sorted(found) == list(range(16))


@pytest.fixture
def piped(unclip: RunCli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, bytes]]:
    """As `unclip`, with stdout as bytes."""

    def run(*arguments: object) -> tuple[int, bytes]:
        sent = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sent, encoding="utf-8"))
        code = main([str(argument) for argument in arguments])
        sys.stdout.flush()
        return code, sent.getvalue()

    return run


@pytest.mark.parametrize("n", [1, 3])
def test_a_png_to_stdout(
    n: int, piped: Callable[..., tuple[int, bytes]], unclip: RunCli, model: Path
) -> None:
    common = ["generate", "a fox", *QUICK, "-n", n, "--model", model]
    code, sent = piped(*common, "-o", "-")
    assert (code, names()) == (0, [])
    assert unclip(*common, "-o", "fox.png").code == 0
    assert sent == Path("fox.png").read_bytes()


def test_what_is_said_goes_to_stderr_when_the_picture_goes_to_stdout(model: Path) -> None:
    arguments = [*("generate", "a fox", "-o", "-", "--model"), str(model), *map(str, QUICK)]
    command = [sys.executable, "-m", "unclip.cli", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith(b"stdout: 1 picture, seed 7, 16\xc3\x9716, in ")
    with Image.open(io.BytesIO(done.stdout)) as picture:
        assert (picture.format, picture.size) == ("PNG", (16, 16))


def test_a_closed_stdout_is_found_before_the_work(
    unclip: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["generate", "a fox", "-o", "-"]) == 1
    sys.stdout.close()  # the null device, which stands there now


def test_a_legal_name_of_any_length(unclip: RunCli, model: Path) -> None:
    longest = os.pathconf(".", "PC_NAME_MAX")
    for name in ("a" * (longest - 4), "狐" * ((longest - 4) // 3)):
        done = unclip("generate", "a fox", *QUICK, "-o", f"{name}.png", "--model", model)
        assert done.code == 0, done.err
        assert names() == [f"{name}.png"]
        replayed = unclip("replay", f"{name}.png", "--model", model)
        assert replayed.code == 0, replayed.err
        for file in Path().iterdir():
            file.unlink()


@pytest.mark.parametrize("output", ["{}.png", "new/{}.png", "{}/", "{}/fox.png", "new/{}/fox.png"])
def test_a_name_that_is_too_long_is_found_before_any_work(
    output: str, unclip: RunCli, no_model: None
) -> None:
    name = "a" * (os.pathconf(".", "PC_NAME_MAX") + 1)
    unclip("generate", "a fox", "-o", output.format(name)).fails(1, "cannot write", "too long")
    assert names() == []


def test_names_of_two_long_prompts_together_are_legal(unclip: RunCli, model: Path) -> None:
    long = "狐狸和月亮" * 20
    done = unclip("interpolate", long, long[::-1], "--frames", 2, *QUICK, "--model", model)
    assert done.code == 0, done.err
    assert len(slug(long).encode()) <= 96


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["-n", 1000, "-o", "fox.webp"], "more than WEBP can hold, 16,383 a side"),
        (["-n", 12_000, "-o", "fox.jpg"], "more than JPEG can hold, 65,500 a side"),
        (["-n", 500, "-o", "fox.png"], "more than the 178 million"),
        (["-n", 500], "more than the 178 million"),
    ],
)
def test_a_sheet_that_no_file_holds_is_found_before_the_first_step(
    arguments: list[object],
    part: str,
    unclip: RunCli,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("unclip.cost._memory", lambda: 10**18)
    monkeypatch.setattr("unclip.stages.model.Model.size", (700, 700))
    monkeypatch.setattr("unclip.pipeline.Chain.fold", lambda *_, **__: pytest.fail("drawn"))
    unclip("generate", "a fox", *arguments, *QUICK, "--model", model).fails(2, part, "-o DIR/")
    assert names() == []


def test_pictures_that_memory_cannot_hold_are_refused_before_they_are_named(
    unclip: RunCli, model: Path
) -> None:
    arguments = ["generate", "a fox", "-n", 10**12, "--no-limit", "-o", "foxes/", "--model", model]
    unclip(*arguments).fails(2, "1,000,000,000,000 pictures of 16×16 would stay in memory")
    assert names() == []


def test_a_wide_strip_and_a_wide_film(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.pipeline.Chain.fold", lambda *_, **__: pytest.fail("drawn"))
    common = ["interpolate", "a fox", "a car", "--frames", 4000, *QUICK, "--model", model]
    unclip(*common, "-o", "o.jpg").fails(2, "79,996×16 pixels is more than JPEG can hold")
    monkeypatch.setattr("unclip.stages.model.Model.size", (70_000, 70_000))
    monkeypatch.setattr("unclip.cost._memory", lambda: 10**18)
    unclip(*common, "-o", "o.gif").fails(2, "frames of GIF have sides of 1 to 65535 pixels")
    assert names() == []


def test_a_full_disk_is_found_before_any_work(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.pipeline.Chain.fold", lambda *_, **__: pytest.fail("drawn"))
    usage = type("usage", (), {"total": 10**9, "free": 0})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    unclip("generate", "a fox", "-o", "fox.png").fails(1, "cannot write fox.png", "0 B are free")
    usage.free = 10_000  # type: ignore[attr-defined]
    done = unclip("generate", "a fox", "-n", 1000, "-o", "foxes/", *QUICK, "--model", model)
    done.fails(1, "cannot write foxes", "9.8 KiB are free")


@pytest.mark.parametrize(
    ("suffix", "side"), [(".webp", 16383), (".jpg", 65500)], ids=["webp", "jpeg"]
)
def test_the_limits_are_those_of_the_formats(suffix: str, side: int, tmp_path: Path) -> None:
    target = Target.of(f"{tmp_path}/o{suffix}")
    save(Image.new("RGB", (side, 1)), target.path)
    with Image.open(target.path) as picture:
        assert picture.size == (side, 1)
    layout = Layout(GenerateRequest.of(prompt="a fox"), "fox")
    target.expect(Cost(1, (1, side), {}), layout)
    with pytest.raises(UsageError, match="a side"):
        target.expect(Cost(1, (1, side + 1), {}), layout)


def test_a_name_that_is_no_utf8_is_written_and_said(unclip: RunCli, model: Path) -> None:
    name = os.fsdecode(b"fox-\xff.png")
    done = unclip("generate", "a fox", "-o", name, *QUICK, "--model", model)
    assert (done.code, done.err) == (0, "")
    assert names() == [name]


def test_no_name_with_a_nul(unclip: RunCli, no_model: None) -> None:
    unclip("generate", "a fox", "-o", "fox\0.png").fails(1, "cannot write")
