"""A plugin that nothing imports: its source, benchmark and command are found by its name alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from unclip import registry
from unclip.cli import data as data_commands
from unclip.cli.app import make_app
from unclip.cli.evaluate import _sizes
from unclip.data import SOURCES, source_at
from unclip.evaluate import run
from unclip.evaluate.benchmark import Request, benchmark_for
from unclip.evaluate.options import Sizes
from unclip.facade import Pipeline
from unclip.loading import load
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.train.recipe import load_recipe

ROOM = {
    "source.py": '''
import numpy as np
from unclip.config import Config
from unclip.data.source import IndexedSource

class StripesConfig(Config):
    """Which stripes."""
    shades: int = 4

class Stripes(IndexedSource):
    """Pictures of one shade, which the caption names."""
    Config = StripesConfig
    def __init__(self, config, size):
        super().__init__()
        self.config, self.size = config, size
    @classmethod
    def at(cls, path, size):
        return cls(StripesConfig(), size) if (path / "stripes.txt").is_file() else None
    def summary(self):
        return {"kind": "stripes", "shades": self.config.shades}
    def sample(self, position):
        shade = position * 37 % 256
        picture = np.full((*self.size, 3), shade, np.uint8)
        picture[:: 2 + position % 5] = 255 - shade
        return {"image": picture, "caption": f"shade {shade}"}
    def captions(self, count):
        return (self.sample(number)["caption"] for number in range(count))

SOURCE = Stripes
''',
    "options.py": '''
from pydantic import Field
from unclip.evaluate.options import Options, Sizes

class StripesSizes(Sizes):
    """How much is measured on stripes."""
    widths: int = Field(3, description="widths of stripes")

OPTIONS = Options(StripesSizes, {"brightness": "how bright stripes are"})
''',
    "benchmark.py": '''
import torch
from unclip.evaluate.benchmark import Benchmark, Checked, CheckedPrompts
from unclip.evaluate.image_set import of_source
from unclip.pages.intervals import Share
from unclip.pages.report import Section
from .options import OPTIONS
from .source import Stripes, StripesConfig

PARTS = ("distribution", "diversity", "ablations", "brightness")

class StripesBenchmark(Benchmark):
    """A picture is right where it is as bright as its caption says."""
    own_parts = tuple(OPTIONS.parts)
    sizes = OPTIONS.sizes
    def __init__(self, size, pictures):
        self.name, self.hash, self.size, self.pictures = "stripes", "0", size, pictures
        self.source = Stripes(StripesConfig(), size)
        whole = of_source(self.source, 2 * pictures)
        self.reference, self.held_out = whole.part(0, pictures), whole.part(pictures, 2 * pictures)
        self.checkers = "by their mean"
    @classmethod
    def fits(cls, path):
        return (path / "stripes.txt").is_file()
    @classmethod
    def open(cls, request, recipe, size, tell):
        return cls(size, request.sizes.pictures)
    def lacks(self, part):
        return "" if part in PARTS else "stripes have none"
    def at(self, size):
        return StripesBenchmark(size, self.pictures)
    def section(self, part, session):
        session.values[part] = {"size": list(self.size), "widths": session.sizes.widths}
        return Section(part, "Brightness", "", ())
    def prompts(self, count):
        return Shades(of_source(self.source, count))

class Shades(CheckedPrompts):
    def __init__(self, images):
        self.images = images
    def check(self, session, name, draw):
        numbers = range(len(self.images))
        off = (draw(numbers) - self.images.tensor(numbers)).abs().mean((1, 2, 3))
        share = Share(int((off < 0.1).sum()), len(numbers))
        return Checked({"brightness: as said": share}, {"right": share.dump()})

BENCHMARK = StripesBenchmark
''',
    "command.py": '''
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
import typer

@dataclass
class Stripes:
    """Make stripes."""
    out: Annotated[Path, typer.Option(help="The folder.")]
    shades: int = 4
    def build(self, on_progress):
        self.out.mkdir(parents=True)
        (self.out / "stripes.txt").write_text(str(self.shades))
        on_progress(1, 1)
        return f"{self.out}: {self.shades} shades"

COMMAND = Stripes
''',
}


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its data, while a package `stripes` is one of the plugins."""
    package = tmp_path / "packages" / "stripes"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name, text in ROOM.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(registry, "PLUGINS", (*registry.PLUGINS, "stripes"))
    data = tmp_path / "data"
    data.mkdir()
    (data / "stripes.txt").touch()
    yield data
    for name in [name for name in sys.modules if name.partition(".")[0] == "stripes"]:
        del sys.modules[name]


@pytest.fixture
def pipe(
    tmp_path: Path,
    make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
) -> Pipeline:
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder")}
    save_model(tmp_path / "model", "wee", tokenizer, stages)
    return load(tmp_path / "model", "cpu", dtype=torch.float32)


def test_a_newcomer_is_a_source(stripes: Path) -> None:
    assert "stripes" in SOURCES.names() and "emoji" in SOURCES.names()
    assert source_at(stripes, (8, 8)).summary() == {"kind": "stripes", "shades": 4}
    recipe = load_recipe("tiny", ["data.source=stripes", "data.shades=2"])
    assert next(iter(recipe.source((8, 8)).captions(1))) == "shade 0"


def test_a_newcomer_is_a_benchmark_with_a_part_and_a_check(
    stripes: Path, pipe: Pipeline, tmp_path: Path
) -> None:
    assert benchmark_for(stripes) == "stripes"
    sizes = Sizes(
        pictures=20, ablations=20, scales=(1,), captions=2, inversions=1, source_prompts=3,
        sample=2, prompts=2, seeds=2, reference_steps=4,
    )  # fmt: skip
    request = Request(stripes, sizes=sizes, anyway=True)
    report = run.evaluate(pipe, request, tmp_path / "work")
    assert "brightness" in run.parts()
    values = report.values
    assert values["data"] == {"name": "stripes", "kind": "stripes", "hash": "0"}
    assert values["brightness"] == {"size": list(pipe.model.size), "widths": 3}
    assert values["sizes"]["widths"] == 3
    assert values["left_out"]["memorisation"] == "stripes have none"
    assert values["diversity"]["seeds"] == 2 and len(values["diversity"]["captions"]) == 2
    judged = values["science"]["judged"]
    assert judged["prompts"] == 3 and judged["oracle"]["right"]["total"] == 3
    page = run.html(report)
    assert "brightness: as said" in page and "by their mean" in page
    assert json.loads(json.dumps(values)) == values


def test_help_has_the_parts_and_sizes_of_a_newcomer(stripes: Path) -> None:
    app = make_app()
    result = CliRunner().invoke(app, ["evaluate", "--help"])
    for line in ("brightness  how bright stripes are", "widths  widths of stripes [default: 3]"):
        assert line in result.output
    sizes = _sizes(stripes, True, None, ["widths=5"])
    assert sizes.dump()["widths"] == 5 and sizes.pictures == 96


def test_a_newcomer_has_a_command(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data_commands.COMMANDS.names() == ["emoji", "stripes"]
    app = typer.Typer()
    app.callback()(lambda: None)
    app.command("stripes", cls=data_commands.Build)(data_commands.COMMANDS["stripes"])
    app(["stripes", "--out", str(tmp_path / "made"), "--shades", "3"], standalone_mode=False)
    assert capsys.readouterr().out.endswith("3 shades\n")
    assert (tmp_path / "made" / "stripes.txt").read_text() == "3"


def test_nothing_imports_a_room() -> None:
    """Evaluation, training and loading are imported without it."""
    code = (
        "import sys; import unclip.loading, unclip.evaluate.run, unclip.train.run; "
        "print([name for name in sys.modules if name.startswith('unclip.emoji')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_module_of_a_room_that_is_not_there_is_no_entry() -> None:
    known: registry.Registry[Any] = registry.Registry(None, "NOTHING_LIKE_IT", "thing")
    assert known.names() == []
