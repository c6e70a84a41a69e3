"""The command itself: quick to start, and every failure is a line and an exit code."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.core import TyperGroup
from typer.main import get_group

from unclip import __version__
from unclip.abilities import ABILITIES
from unclip.cli.app import COMMANDS, main, make_app
from unclip.device import pick_dtype
from unclip.errors import UsageError
from unclip.files import atomic_file

NAMES = (
    *("bulk", "config", "convert", "data", "doctor", "edit", "embed", "evaluate"),
    *("generate", "img2img", "init", "inspect", "interpolate", "lora", "mcp", "merge", "models"),
    *("outpaint", "probe", "reconstruct", "replay", "samplers", "serve", "studio", "sweep"),
    *("textdiff", "train", "upscale", "vary"),
)


def test_help_needs_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys; from unclip.cli import main; main(['--help']);"
        "heavy = {'torch', 'PIL', 'numpy', 'pydantic', 'rich', 'tokenizers'} & set(sys.modules);"
        "sys.exit(' '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout


def test_commands_are_found_by_their_files() -> None:
    assert tuple(sorted(get_group(make_app()).commands)) == NAMES
    assert set(COMMANDS.names()) | set(ABILITIES.modules()) == set(NAMES)


@pytest.mark.parametrize("name", [*NAMES, ""])
def test_every_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"] if name else ["--help"]) == 0
    out = capsys.readouterr().out
    assert "Examples:\n" in out
    assert f"    unclip {name}" in out
    assert all(len(line) <= 100 for line in out.splitlines())


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[list[str]]:
    for name, one in group.commands.items():
        yield [*path, name]
        yield from _commands(one, (*path, name)) if hasattr(one, "commands") else ()


@pytest.mark.parametrize("arguments", [*_commands(get_group(make_app()))], ids=" ".join)
def test_every_help_looks_alike(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without typer's marks for types, and for what must be given."""
    assert main([*arguments, "--help"]) == 0
    out = capsys.readouterr().out
    assert not re.search(r"<\w+>|\[default: \(", out)
    assert not re.search(r"^  -.{0,26}\{", out, re.MULTILINE), "choices are written a|b"
    assert re.search(r"^  [A-Z|.]+ .*\[required\]", out, re.MULTILINE) is None


def test_dtype_is_told_as_it_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as caught:
        pick_dtype("float8", torch.device("cpu"))
    taken = re.findall(r"b?float\d+", str(caught.value).partition(", got")[0])
    assert len(taken) == 4
    assert main(["generate", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    told = words.partition("--dtype NAME ")[2].partition(".")[0]
    assert set(re.findall(r"b?float\d+", told)) == set(taken)


def _groups(group: TyperGroup, name: str = "") -> Iterator[tuple[str, TyperGroup]]:
    """A group of commands and those below it, with what calls each."""
    yield name, group
    for key, below in group.commands.items():
        if isinstance(below, TyperGroup):
            yield from _groups(below, f"{name} {key}".strip())


@pytest.mark.parametrize(("name", "group"), list(_groups(get_group(make_app()))))
def test_summaries_are_shown_whole_at_80_columns(
    name: str,
    group: TyperGroup,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*name.split(), "--help"]) == 0
    rest = capsys.readouterr().out.partition("\nCommands:\n")[2]
    listed = rest.partition("\n\n")[0].splitlines()
    for key, command in group.commands.items():
        if not command.hidden:
            assert command.help
            summary = command.help.partition("\n")[0]
            assert f"  {key:<{max(len(line.split()[0]) for line in listed)}}  {summary}" in listed


@pytest.mark.parametrize("module", ["unclip", "unclip.cli"])
def test_it_runs_as_a_module(module: str) -> None:
    command = [sys.executable, "-m", module]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"unclip {__version__}\n", "")
    wrong = subprocess.run([*command, "generat"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("unclip: error: ")


def test_without_arguments_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert all(name in capsys.readouterr().out for name in NAMES[:1])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unclip {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["generat"], ["no such command: generat (did you mean 'generate'?) (see unclip --help)"]),
        (["models", "inspct"], ["inspct (did you mean 'inspect'?)"]),  # not the hidden `list` too
        (["models", "lst"], ["no such command: lst (see unclip models --help)"]),
        (["generate"], ["PROMPT", "unclip generate --help"]),
        (["generate", "a fox", "--sed", "1"], ["--sed", "--seed"]),
        (["generate", "a fox", "--seed", "x"], ["--seed must be a whole number, got 'x'"]),
        (["generate", "a fox", "--seed", "1.5"], ["--seed must be a whole number, got '1.5'"]),
        (["generate", "a fox", "--steps", "x"], ["--steps must be a whole number, got 'x'"]),
        (["generate", "a fox", "-n", "two"], ["error: -n must be a whole number, got 'two'"]),
        (["interpolate", "a", "b", "--frames", "two"], ["--frames must be a whole number"]),
        (["generate", "a fox", "--guidance-scale", "x"], ["--guidance-scale must be a number"]),
        (["evaluate", "--workers", "-1"], ["--workers must be at least 0, got '-1'"]),
        (
            ["convert", "a", "b", "--to", "x"],
            ["--to must be one of 'native', 'diffusers', got 'x'"],
        ),
        (
            ["generate", "a fox", "more"],
            ["unexpected argument: more; put a text of several words in quotes (see unclip gen"],
        ),
        (["train", "tiny", "--dryrun"], ["no such option: --dryrun (did you mean '--dry-run'?)"]),
        (["models", "inspect", "--model", "x"], ["no such option: --model (see"]),
        (["data"], ["unclip data --help"]),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("unclip: error: ")
    assert all(part in line for part in parts)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Put an exception into the list; `unclip fail` raises it."""
    errors: list[BaseException] = []

    def fail() -> None:
        raise errors[0]

    def with_fail() -> typer.Typer:
        app = make_app()
        app.command()(fail)
        return app

    monkeypatch.setattr("unclip.cli.app.make_app", with_fail)
    monkeypatch.delenv("UNCLIP_DEBUG", raising=False)
    return errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_any_command_with_one_line_and_nothing_half_written(
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """And so does what a signal to the whole group does to worker processes meanwhile."""
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)]
    old = signal.signal(signal.SIGINT, signal.default_int_handler)

    def work() -> None:
        with atomic_file(tmp_path / "picture.png") as beside:
            beside.write_text("half")
            try:
                signal.raise_signal(number)
            finally:
                if number == signal.SIGTERM:
                    raise RuntimeError("DataLoader worker is killed by signal: Terminated.")

    def with_work() -> typer.Typer:
        app = make_app()
        app.command()(work)
        return app

    monkeypatch.setattr("unclip.cli.app.make_app", with_work)
    monkeypatch.delenv("UNCLIP_DEBUG", raising=False)
    try:
        assert main(["work"]) == 130
    finally:
        signal.signal(signal.SIGINT, old)
    assert capsys.readouterr().err == "unclip: cancelled\n"
    assert list(tmp_path.iterdir()) == []
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)] == before


def test_commands_run_in_any_thread(capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "unclip: cancelled"),
        (MemoryError(), 1, "unclip: error: out of memory: ask for fewer or smaller pictures"),
        (
            RuntimeError("two\nlines"),
            1,
            "unclip: error: an error in unclip itself, please report it: RuntimeError: two lines "
            "(UNCLIP_DEBUG=1 shows where)",
        ),
    ],
)
def test_failures(
    error: BaseException,
    code: int,
    line: str,
    failing: list[BaseException],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing.append(error)
    assert main(["fail"]) == code
    assert capsys.readouterr().err == line + "\n"


def test_debug_shows_the_traceback(failing: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    failing.append(ValueError("mine"))
    monkeypatch.setenv("UNCLIP_DEBUG", "1")
    with pytest.raises(ValueError, match="mine"):
        main(["fail"])
