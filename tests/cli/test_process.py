"""The process around a command: streams that are closed, threads that wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from unclip.cli._process import SOON, WAITING, let_threads_sleep, open_streams


@pytest.mark.skipif(os.name == "nt", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize("closed", ["2>&-", "1>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_stream_keeps_nobody_from_a_picture(
    model: Path, tmp_path: Path, closed: str
) -> None:
    command = f'exec "$0" -m unclip.cli generate "a fox" --model "$1" -o "$2" {closed}'
    file = tmp_path / "fox.png"
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, model, file], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(file) as picture:
        assert picture.size == (16, 16) and "unclip" in picture.info
    closed_out = "1>&-" in closed
    assert done.stdout == "" if closed_out else str(file) in done.stdout


def test_a_program_without_streams_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    open_streams()
    assert sys.stderr is not None and sys.stderr.write("nobody reads this") > 0
    sys.stderr.close()


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", WAITING)
def test_threads_soon_sleep_unless_a_person_says_otherwise(
    name: str, unset: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "7")
    let_threads_sleep()
    assert {one: os.environ[one] for one in WAITING if one in os.environ} == {name: "7"}
    monkeypatch.delenv(name)
    let_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "1500"
    assert 0 < int(os.environ["KMP_BLOCKTIME"]) < 200, "milliseconds; 200 is LLVM's own"


def test_openmp_is_told_before_pytorch_is_there(
    unset: None, model: Path, tmp_path: Path, record: Callable[[Path], dict[str, object]]
) -> None:
    """What OpenMP itself says of the setting, as it comes with PyTorch."""
    arguments = ["generate", "a fox", "--model", str(model), "-o", str(tmp_path / "fox.png")]
    done = subprocess.run(
        [sys.executable, "-m", "unclip.cli", *arguments],
        env={**os.environ, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    if "GOMP_SPINCOUNT" in done.stderr:  # not every OpenMP is GNU's
        assert f"GOMP_SPINCOUNT = '{SOON['GOMP_SPINCOUNT']}'" in done.stderr
    assert record(tmp_path / "fox.png")["prompt"] == "a fox"


def test_no_garbage_is_looked_for_at_the_end() -> None:
    """What is registered first runs last: it sees every object set aside."""
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000));"
        "from unclip.cli import main; main(['--version']); main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "True"
