"""`--json` and exit codes, of every command there is: a new one needs an entry in `EXAMPLES`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typer.main import get_group

import unclip.errors
from unclip.abilities import ABILITIES
from unclip.checkpoints.lora import Change, save_lora
from unclip.cli import main
from unclip.cli._result import EXIT_CODES, Result
from unclip.cli.app import make_app
from unclip.cli.train import NOT_YET
from unclip.data.webdataset import write_shard
from unclip.errors import UnclipError
from unclip.media import save
from unclip.request import Drawing

ROOT = Path(__file__).parents[2]
DRAWN = {"files", "seeds", "records"}

EXAMPLES: dict[str, tuple[list[str], set[str]]] = {
    "bulk": (
        ["pictures/red.txt", "--out", "bulk"],
        {"path", "pictures", "drawn", "dropped", "shards", "made"},
    ),
    "config": ([], {"path", "values"}),
    "config path": ([], {"path", "exists"}),
    "config set": (["steps", "3"], {"path", "key", "value"}),
    "config show": (["generate"], {"values"}),
    "config unset": (["device"], {"path", "key"}),
    "convert": (["MODEL", "converted"], {"path", "model", "family", "bytes"}),
    "data check": (["pictures", "--workers", "1"], {"files", "summary", "hardest"}),
    "data index": (["tars"], {"files", "samples"}),
    "data inspect": (["pictures", "--size", "8"], {"files", "summary", "samples"}),
    "data prepare": (
        ["pictures", "--out", "ready", "--workers", "1"],
        {"path", "samples", "shards", "kept", "bytes", "skipped"},
    ),
    "doctor": (["--model", "MODEL"], {"checks", "optional"}),
    "edit": (["fox.png", "a cat", "--box", "0,0,4,8"], DRAWN),
    "embed": (
        ["pictures", "--out", "embedded"],
        {"path", "pictures", "rows", "skipped", "shards", "made"},
    ),
    "generate": (["a fox", "-n", "2", "-o", "out/"], DRAWN),
    "img2img": (["fox.png", "a cat"], DRAWN),
    "init": (["mine.toml", "--from", "tiny"], {"recipe", "checked"}),
    "inspect": (["drawn.png", "fox.png"], {"pictures"}),
    "interpolate": (["fox.png", "a cat", "--frames", "2"], DRAWN),
    "lora info": (["ink.safetensors"], {"path", "bytes", "layout", "hash", "weights", "ranks"}),
    "lora merge": (["MODEL", "ink.safetensors:0.5", "-o", "inked"], {"path", "model", "hash"}),
    "merge": (["MODEL", "MODEL", "-o", "between"], {"path", "model", "hash"}),
    "models": ([], {"models"}),
    "models inspect": (["MODEL"], {"name", "family", "hash", "path", "stages", "abilities"}),
    "outpaint": (["fox.png", "a cat", "--left", "4"], DRAWN),
    "probe": (["fox.png", "a fox", "a cat"], {"shares"}),
    "reconstruct": (["fox.png", "--dims", "1,2", "--pictures", "pictures"], DRAWN),
    "replay": (["drawn.png", "--model", "MODEL"], {*DRAWN, "identical", "difference"}),
    "samplers": ([], {"samplers", "grids"}),
    "sweep": (["a fox", "--x", "steps=1,2", "--seed", "3"], DRAWN),
    "textdiff": (["fox.png", "--from", "a fox", "--to", "a cat", "--frames", "2"], DRAWN),
    "train": (["tiny", "--dry-run"], {"run", "stages"}),
    "upscale": (["fox.png"], DRAWN),
    "vary": (["fox.png"], DRAWN),
}
"""Command -> arguments, and the fields of its result."""

ELSEWHERE = {
    "data emoji": "needs npm's drawings",
    "evaluate": "tests/cli/test_evaluate.py",
    "models pull": "tests/cli/test_models.py",
    "models rm": "tests/cli/test_models.py",
    "mcp": "tests/server/test_mcp.py",
    "serve": "tests/server/test_run.py",
    "studio": "tests/cli/test_studio.py",
}
"""Commands that cannot run here, and why, or where they do."""


class Error(BaseModel):
    """What an `error` has."""

    model_config = ConfigDict(extra="forbid", strict=True)
    message: str = Field(min_length=1, pattern=r"^[^\n]*$")
    field: str | None
    code: str = Field(pattern="^[a-z_]+$")


class Told(BaseModel):
    """What every result has; each command adds its own fields."""

    model_config = ConfigDict(extra="allow", strict=True)
    command: str
    exit_code: int
    warnings: list[str]
    seconds: float = Field(ge=0)
    error: Error | None = None


def leaves(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    for name, one in group.commands.items():
        words = (*path, name)
        if not hasattr(one, "commands") or one.invoke_without_command:
            yield " ".join(words), one
        if hasattr(one, "commands"):
            yield from ((key, each) for key, each in leaves(one, words) if not each.hidden)


COMMANDS = dict(leaves(get_group(make_app())))


def told(capsys: pytest.CaptureFixture[str], code: int) -> Told:
    """The only line on stdout, which is as every result is."""
    (line,) = capsys.readouterr().out.splitlines()
    result = Told.model_validate(json.loads(line))
    assert result.exit_code == code
    assert (result.error is None) or code != 0
    return result


def test_every_command_has_an_example() -> None:
    assert set(COMMANDS) == EXAMPLES.keys() | ELSEWHERE.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: str) -> Path:
    """What examples read."""
    path = tmp_path_factory.mktemp("json")
    (path / "pictures").mkdir()
    Image.new("RGB", (8, 8), "orange").save(path / "fox.png")
    for colour in ("red", "lime", "blue", "gray"):
        Image.new("RGB", (20, 20), colour).save(path / "pictures" / f"{colour}.png")
        (path / "pictures" / f"{colour}.txt").write_text(f"a {colour} square")
    write_shard(path / "tars" / "0.tar", [("0", {"png": b"", "txt": b"a fox"})])
    (path / "config.toml").write_text('device = "cpu"\n')
    low, high = torch.zeros(2, 16), torch.zeros(16, 2)
    save_lora(path / "ink.safetensors", "prior", {"out.weight": Change(low, high, 2.0)}, {})
    words = ["generate", "a fox", "--seed", "1", "-o", str(path / "drawn.png"), "--model", model]
    assert main(words) == 0
    return path


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_result_is_one_object(
    name: str,
    folder: Path,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("UNCLIP_CONFIG", "config.toml")
    words, fields = EXAMPLES[name]
    words = [model if word == "MODEL" else word for word in words]
    own = ["--model", model] if name in ABILITIES.modules() or name == "sweep" else []
    capsys.readouterr()
    code = main([*name.split(), *words, *own, "--json"])
    result = told(capsys, 0)
    assert code == 0
    assert result.command == name
    extra = result.model_extra or {}
    assert fields <= extra.keys()
    for file in extra.get("files", []):
        assert Path(file).is_file()
    if fields >= DRAWN:
        assert [one["seed"] for one in extra["records"]] == extra["seeds"] != []
    if name in ABILITIES.modules():
        assert ("files" in fields) == issubclass(ABILITIES[name].request, Drawing)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_error_is_one_object(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--json", "--no-such-option"]) == 2
    result = told(capsys, 2)
    assert result.command == name
    assert result.error is not None
    assert (result.error.field, result.error.code) == (None, "usage")
    assert "no such option: --no-such-option" in result.error.message


@pytest.mark.parametrize(
    ("words", "field", "code", "exit_code"),
    [
        (["generate", "a fox", "-n", "two"], "n", "usage", 2),
        (["generate", "a fox", "-n", "0"], "n", "usage", 2),
        (["generate", "a fox", "--steps", "0"], "steps", "usage", 2),
        (["generate", "a fox", "--set", "prior_steps=0"], "prior_steps", "usage", 2),
        (["generate", "a fox", "--set", "stepz=1"], "stepz", "usage", 2),
        (["generate", "a fox", "--sampler", "foo"], "sampler", "usage", 2),
        (["generate", " "], "prompt", "usage", 2),
        (["generate"], "prompt", "usage", 2),
        (["generate", "a fox", "--device", "gpu"], "device", "usage", 2),
        (["generate", "a fox", "--dtype", "float8"], "dtype", "usage", 2),
        (["generate", "a fox", "--model", "none"], "model", "usage", 2),
        (["generate", "a fox", "-o", "-"], "output", "usage", 2),
        (["generate", "a fox", "-o", "/dev/null/x.png"], "output", "output", 1),
        (["generate", "a fox", "-o", "/dev/null/"], "output", "output", 1),
        (["generate", "a fox", "-o", "x.gif"], "output", "usage", 2),
        (["generate", "a fox", "-o", "{prmpt}.png"], "output", "usage", 2),
        (["generate", "a fox", "-o", "{prompt"], "output", "usage", 2),
        (["generate", "a fox", "-o", "{prompt}.gif"], "output", "usage", 2),
        (["generate", "a fox", "-o", "/dev/null/{prompt}.png"], "output", "output", 1),
        (["generate", "a fox", "--grid", "-o", "-"], "grid", "usage", 2),
        (["generate", "a fox", "--prompts", "none.txt"], "prompts", "usage", 2),
        (["generate", "--prompts", "none.txt"], "prompts", "usage", 2),
        (["generate", "--prompts", "pictures/red.txt", "-o", "x.png"], "output", "usage", 2),
        (["generate", "--prompts", "pictures/red.txt", "-o", "/dev/null/"], "output", "output", 1),
        (["generate", "--prompts", "pictures/red.txt", "--grid"], "grid", "usage", 2),
        (["generate", "--prompts", "pictures/red.txt", "--grid", "-o", "x/"], "grid", "usage", 2),
        (["generate", "a {fox"], "prompt", "usage", 2),
        (["generate", "a __fox__"], "prompt", "usage", 2),
        (["generate", "a fox", "--wildcards", "none"], "wildcards", "usage", 2),
        (["generate", "{a|b}", "-n", "20000"], "n", "usage", 2),
        (["edit", "fox.png", "a cat", "--box", "0,0"], "box", "usage", 2),
        (["vary", "pictures", "-o", "pictures"], "output", "usage", 2),
        (["sweep", "a fox", "--x", "steps=1", "-o", "x.gif"], "output", "usage", 2),
        (["replay", "drawn.png", "-o", "x.gif"], "output", "usage", 2),
        (["generate", "a fox", "--preview", "x.y"], "preview", "usage", 2),
        (["vary", "none.png"], "image", "usage", 2),
        (["generat"], None, "usage", 2),
        (["data", "inspect", "pictures/red.txt"], None, "data", 1),
        (["models", "inspect", "pictures"], None, "checkpoint", 1),
    ],
)
def test_an_error_names_the_field_and_the_kind(
    words: list[str],
    field: str | None,
    code: str,
    exit_code: int,
    folder: Path,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    own = ["--model", model] if words[0] in ("generate", "vary") and "--model" not in words else []
    assert main([*words, *own, "--json"]) == exit_code
    result = told(capsys, exit_code)
    assert result.error is not None
    assert (result.error.field, result.error.code) == (field, code)


def test_a_result_that_is_no_error_may_have_another_exit_code(
    folder: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same picture from other weights is what `replay` finds out."""
    monkeypatch.chdir(folder)
    with Image.open("drawn.png") as picture:
        other = Image.new("RGB", picture.size, "red")
        other.info["unclip"] = picture.info["unclip"]
    save(other, "other.png")
    assert main(["replay", "other.png", "--model", model, "--json"]) == 1
    result = told(capsys, 1)
    assert result.error is None
    assert (result.model_extra or {})["identical"] is False


def test_an_error_of_our_own_is_one_object_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("unclip.loading.bundled_models", fail)
    assert main(["models", "--json"]) == 1
    result = told(capsys, 1)
    assert result.error is not None
    assert result.error.code == "internal"


def test_what_the_schema_refuses() -> None:
    for wrong in ({"command": 3}, {"error": {"message": "a\nb", "field": None, "code": "usage"}}):
        values = {"command": "x", "exit_code": 0, "warnings": [], "seconds": 1.0, **wrong}
        with pytest.raises(ValidationError):
            Told.model_validate(values)


def test_json_has_no_infinite_numbers() -> None:
    result = Result(fields={"a": [float("nan"), {"b": float("inf")}], "path": Path("狐")})
    text = result.to_json(0)
    assert text.isascii()
    values = json.loads(text, parse_constant=pytest.fail)
    assert (values["a"], values["path"]) == ([None, {"b": None}], "狐")


def test_every_exit_code_is_in_the_table_and_in_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    errors = [one for one in vars(unclip.errors).values() if isinstance(one, type)]
    codes = {one.exit_code for one in errors if issubclass(one, UnclipError)}
    assert {0, NOT_YET, *codes} == EXIT_CODES.keys()
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE))
    assert {int(code): text.replace("`", "") for code, text in rows.items()} == {
        code: text.replace("`", "") for code, text in EXIT_CODES.items()
    }
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Exit codes:\n")[2]
    assert [int(code) for code in re.findall(r"^  (\d+)", listed, re.MULTILINE)] == [*EXIT_CODES]
