"""No picture that comes in starts another program, whatever its name says that it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import EpsImagePlugin, Image

from unclip.data.folder import Folder
from unclip.errors import DataError, UsageError
from unclip.evaluate.image_set import of_files
from unclip.media import read_image

RunCli = Callable[..., Any]

EPS = """%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
0 0 8 8 rectfill
showpage
%%EOF
"""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there as soon as a program `gs` was started."""
    marker, folder = tmp_path / "started", tmp_path / "bin"
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\ntouch '{marker}'\nexit 0\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # so that it is looked for anew
    return marker


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An EPS file named as a PNG."""
    file = tmp_path / "drawing.png"
    file.write_text(EPS)
    return file


def test_pillow_itself_starts_it(started: Path, picture: Path) -> None:
    """What the tests below guard against; where this fails they prove nothing."""
    with pytest.raises(OSError), Image.open(picture) as opened:  # noqa: PT011
        opened.load()
    assert started.exists()


@pytest.mark.parametrize(
    "command",
    [
        ("replay",),
        ("vary",),
        ("img2img", "a fox"),
        ("upscale",),
        ("reconstruct",),
        ("probe", "a fox", "a car"),
    ],
)
def test_no_command_does(
    command: tuple[str, ...], unclip: RunCli, model: Path, started: Path, picture: Path
) -> None:
    name, *words = command
    more = [] if name == "probe" else ["-o", "o.png"]
    unclip(name, picture, *words, *more, "--model", model).fails(2, "drawing.png", "EPS")
    assert not started.exists()


def test_no_picture_that_pillow_opened_does(started: Path, picture: Path) -> None:
    with Image.open(picture) as opened, pytest.raises(UsageError, match="EPS is not supported"):
        read_image(opened)
    assert not started.exists()


def test_no_training_does(started: Path, picture: Path) -> None:
    picture.with_suffix(".txt").write_text("a drawing")
    with pytest.raises(DataError, match=r"cannot read .*drawing\.png: format EPS is not supported"):
        Folder(Folder.Config(path=picture.parent), (16, 16)).sample(0)
    assert not started.exists()


def test_no_evaluation_does(started: Path, picture: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 1 pictures cannot be read.*EPS"):
        of_files([(picture, "a drawing")], (16, 16))
    assert not started.exists()
