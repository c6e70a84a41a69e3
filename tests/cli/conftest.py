"""A tiny model on disk with random weights, a few pictures with captions, and a way to run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unclip.checkpoints import native
from unclip.cli import _progress, main
from unclip.files import write_json
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.vocabulary import Vocabulary

STAGES = ("clip", "prior", "decoder", "upsampler")


@dataclass(frozen=True)
class Result:
    """What a call of the command did."""

    code: int
    out: str
    err: str

    def fails(self, code: int, *parts: str) -> None:
        """Check that it ended with one clear line, which names each of `parts`."""
        assert self.code == code, self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("unclip: error: ")
        assert "an error in unclip itself" not in lines[0]
        for part in parts:
            assert part in lines[0]


Run = Callable[..., Result]


@pytest.fixture
def unclip(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """`unclip("generate", "a fox", ...)` runs the command in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("UNCLIP_DEBUG", raising=False)
    monkeypatch.setattr(_progress, "FIRST", 3600.0)  # no progress, however busy the machine

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def at_once(unclip: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no bar can be drawn, a line comes with everything that is done."""
    monkeypatch.setattr(_progress, "FIRST", 0.0)
    monkeypatch.setattr(_progress, "OFTEN", 0.0)
    monkeypatch.setattr(_progress, "SELDOM", 0.0)


@pytest.fixture(scope="session")
def model(
    tmp_path_factory: pytest.TempPathFactory,
    make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
) -> Path:
    """A model folder whose pictures are 16 x 16 noise. Read only."""
    path = tmp_path_factory.mktemp("cli") / "model"
    stages = {name: make_stage(name) for name in STAGES}
    save_model(path, "tiny", tokenizer, stages, card="# tiny\n\nRandom weights.\n")
    return path


@pytest.fixture
def broken(model: Path, tmp_path: Path) -> Path:
    """A copy of the model to be damaged."""
    return Path(shutil.copytree(model, tmp_path / "broken"))


@pytest.fixture
def lettered(broken: Path) -> Path:
    """A copy of the model that lists the words it knows."""
    words = Vocabulary.of(["a fox", "a red car", "红色的车"], ["红色", "的", "车"])
    manifest = native.read_manifest(broken).model_copy(update={"vocabulary": words.counts})
    write_json(broken / "model.json", manifest.dump())
    return broken


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder of four pictures with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("red", "red"), ("green", "lime"), ("blue", "blue"), ("grey", "gray")):
        Image.new("RGB", (20, 20), colour).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"a {name} square\n")
    return folder


def record_of(file: Path) -> dict[str, object]:
    """What a PNG carries as `unclip`."""
    with Image.open(file) as picture:
        assert isinstance(picture.info["unclip"], str)
        record: dict[str, object] = json.loads(picture.info["unclip"])
        return record


@pytest.fixture(scope="session")
def record() -> Callable[[Path], dict[str, object]]:
    """The function, as test modules cannot import this file."""
    return record_of


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads a model fails."""

    def load(*_: object) -> None:
        pytest.fail("the model must not even be loaded")

    monkeypatch.setattr("unclip.loading.load", load)
