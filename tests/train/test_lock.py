"""A lock keeps other processes out for as long as its process lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unclip.errors import OutputError, UsageError
from unclip.train.lock import Lock

HOLDS = """
import sys
from pathlib import Path
from unclip.train.lock import Lock
lock = Lock(Path(sys.argv[1]), "it")
print(lock.held, flush=True)
if sys.stdin.readline().strip() == "fork":
    import os
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        sys.stdin.readline()
        os._exit(0)
    os._exit(9)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """A process that holds a lock until it is told to go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_a_lock_names_who_holds_it_and_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with holder(path) as process:
        for _ in range(2):
            with pytest.raises(UsageError) as caught:
                Lock(path, "runs/a")
            assert str(caught.value).startswith(f"runs/a is in use by process {process.pid} on ")
            assert " since 20" in str(caught.value)
        process.kill()
    lock = Lock(path, "runs/a")
    assert lock.held
    assert str(os.getpid()) in path.read_text()
    assert str(process.pid) not in path.read_text()
    lock.release()


def test_a_child_that_outlives_its_parent_does_not_hold_the_lock_on(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with holder(path) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("fork\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        assert process.wait(10) == 9
        os.kill(child, 0)  # it lives
        Lock(path, "it").release()
        process.stdin.write("end\n")
        process.stdin.flush()


def test_a_released_lock_is_free(tmp_path: Path) -> None:
    lock = Lock(tmp_path / ".lock", "it")
    lock.release()
    with holder(tmp_path / ".lock") as process:
        process.kill()


def test_a_file_system_without_locks_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", none)
    assert not Lock(tmp_path / ".lock", "it").held


def test_a_lock_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*nowhere/\.lock: No such file"):
        Lock(tmp_path / "nowhere" / ".lock", "it")
