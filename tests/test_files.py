"""Nothing half-written is ever seen, and nothing stray stays behind."""

import codecs
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from unclip.errors import OutputError
from unclip.files import (
    atomic_file,
    atomic_folder,
    inside,
    relative,
    remove_folder,
    remove_leftovers,
    text_of,
    write_json,
    write_text,
)

Atomic = Callable[[Path], AbstractContextManager[Path]]
BOTH = pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])


@pytest.fixture
def umask() -> Iterator[int]:
    old = os.umask(0o027)
    yield 0o027
    os.umask(old)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_file(target) as beside:
        beside.write_text("new")
        assert beside.parent == target.parent  # else the rename could cross file systems
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_folder_takes_the_place_of_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with atomic_folder(target) as beside:
        (beside / "inner").mkdir()
        (beside / "inner" / "new.txt").write_text("new")
        assert names(target) == ["old.txt"]
    assert names(target) == ["inner"]
    assert (target / "inner" / "new.txt").read_text() == "new"
    assert names(tmp_path) == ["model"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyError, match="mine"), atomic_file(target) as beside:
        beside.write_text("half")
        raise KeyError("mine")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_exception_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(KeyError, match="mine"), atomic_folder(target) as beside:
        (beside / "half.txt").write_text("half")
        raise KeyError("mine")
    assert (target / "old.txt").read_text() == "old"
    assert names(tmp_path) == ["model"]


@BOTH
def test_an_exception_leaves_no_trace_of_a_new_target(atomic: Atomic, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "new"):
        raise ZeroDivisionError
    assert names(tmp_path) == []


@BOTH
def test_a_full_disk_is_one_clear_error(
    atomic: Atomic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    failure = pytest.raises(OutputError, match=r"cannot write .*new: No space left")
    with failure, atomic(tmp_path / "new") as beside:
        assert beside.exists()
        if beside.is_dir():
            (beside / "a.txt").write_text("a")
    assert names(tmp_path) == []


@BOTH
def test_a_parent_that_is_a_file_is_an_output_error(atomic: Atomic, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(OutputError, match=r"cannot write .*file/out"),
        atomic(tmp_path / "file/out"),
    ):
        pytest.fail("the body must not run")
    assert names(tmp_path) == ["file"]


@BOTH
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_output_error(atomic: Atomic, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"), atomic(tmp_path / "out"):
            pytest.fail("the body must not run")
    finally:
        tmp_path.chmod(0o700)


@BOTH
def test_a_name_may_be_as_long_as_names_are(atomic: Atomic, tmp_path: Path) -> None:
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    for name in ("a" * longest, "狐" * (longest // 3)):
        for _ in range(2):  # new, and in the place of an old one
            with atomic(tmp_path / name) as beside:
                (beside / "file" if beside.is_dir() else beside).write_text("whole")
        assert names(tmp_path) == [name]
        file = tmp_path / name
        assert ((file / "file") if file.is_dir() else file).read_text() == "whole"
        shutil.rmtree(file) if file.is_dir() else file.unlink()


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_takes_no_ones_place(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:  # as on FAT
        monkeypatch.setattr(os, "link", none)
    target = tmp_path / "a.txt"
    with atomic_file(target, new=True) as beside:
        beside.write_text("first")
    with pytest.raises(FileExistsError), atomic_file(target, new=True) as beside:
        beside.write_text("second")
    assert target.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_missing_parents_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "deep")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "deep"


def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "a.txt", "a")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_text_is_utf8_and_json_ends_with_a_newline(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "σ")
    assert (tmp_path / "a.txt").read_bytes() == b"\xcf\x83"
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "σ"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "b": [\n    1,\n    null\n  ],\n  "a": "σ"\n}\n'
    assert json.loads(text) == {"b": [1, None], "a": "σ"}


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"key": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == 1
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_is_utf_8_with_a_mark_or_without(tmp_path: Path, encoding: str) -> None:
    text = "\r\né\u2028\x85\n\ufeffσ"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert text_of(tmp_path / "a.txt") == text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (codecs.BOM_UTF16_BE + "a".encode("utf-16-be"), "it is UTF-16"),
        ("a".encode("utf-32"), "it is UTF-32"),
        ("one\ntwo".encode("utf-16-le"), "line 1 has a NUL byte"),
        (b"one\ntwo\nth\xe9", r"line 3 is not UTF-8 \(byte 0xe9\)"),
        (b"one\n\xed\xa0\xbd", "line 2 is not UTF-8"),  # an incomplete character
    ],
)
def test_what_is_no_utf_8_is_named_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(ValueError, match=f"^{message}"):
        text_of(tmp_path / "a.txt")


def test_inside_follows_no_name_out_of_the_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    assert inside(home, "sub/a.txt") == home / "sub" / "a.txt"
    (home / "up").symlink_to(tmp_path)
    for name in ("", "..", "../a", "/a", "sub/../../a", "up/a", "c:a", "..\\a"):
        with pytest.raises(ValueError, match="which leads out of its folder"):
            inside(home, name)
    with pytest.raises(ValueError, match="has a NUL byte"):
        inside(home, "a\0")
    with pytest.raises(ValueError, match="too long for a file name"):
        inside(home, "a" * 300)
    blobs = tmp_path / "hub" / "models--o--n" / "blobs"
    snapshot = tmp_path / "hub" / "models--o--n" / "snapshots" / "1"
    for folder in (blobs, snapshot):
        folder.mkdir(parents=True)
    (blobs / "ab").write_text("x")
    (snapshot / "a").symlink_to("../../blobs/ab")
    assert inside(snapshot, "a").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        *((name, name) for name in ("a.png", "a/b.png", "photo 12:30.png", "...", "..a", "é")),
        *(("./a", "a"), ("a//b", "a/b"), ("a/../b", "b"), ("a/./b/", "a/b")),
    ],
)
def test_a_name_without_detours(name: str, clean: str) -> None:
    assert relative(name) == clean


@pytest.mark.parametrize(
    "name", ["C:\\a", "\\a", "a\\..\\..\\b", "//a/b", "a/../..", "./..", "d:x"]
)
def test_a_name_that_leads_out_anywhere_leads_out_here(name: str) -> None:
    with pytest.raises(ValueError, match="which leads out of its folder"):
        relative(name)


def test_a_file_is_renamed_into_place_and_never_written_over(tmp_path: Path) -> None:
    """Whoever has the old file open goes on reading the old file, whole."""
    target = tmp_path / "a.txt"
    target.write_text("old " * 1000)
    before = target.stat().st_ino
    with target.open() as reader:
        assert reader.read(4) == "old "
        with atomic_file(target) as beside:
            beside.write_text("new")
            made = beside.stat().st_ino
        assert reader.read() == "old " * 999
    assert target.stat().st_ino == made != before


@BOTH
def test_what_is_written_is_on_the_disk_before_it_is_renamed(
    atomic: Atomic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename, replace = os.fsync, Path.rename, Path.replace
    monkeypatch.setattr(os, "fsync", lambda n: (done.append("sync"), sync(n))[1])
    monkeypatch.setattr(Path, "rename", lambda a, b: (done.append("rename"), rename(a, b))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (done.append("rename"), replace(a, b))[1])
    with atomic(tmp_path / "new") as beside:
        (beside / "a.txt" if beside.is_dir() else beside).write_text("a")
    first = done[: done.index("rename")]
    assert first == ["sync"] * (2 if (tmp_path / "new").is_dir() else 1)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_folder_that_cannot_take_the_place_puts_the_old_one_back(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if (self / "new.txt").exists():
            raise error
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    kind = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(kind), atomic_folder(target) as beside:
        (beside / "new.txt").write_text("new")
    assert names(target) == ["old.txt"]
    assert names(tmp_path) == ["model"]


@BOTH
@pytest.mark.parametrize("name", ["a" * 245 + ".txt", "σ" * 120 + ".png", "\U0001f98a" * 60])
def test_a_name_as_long_as_the_system_allows(atomic: Atomic, name: str, tmp_path: Path) -> None:
    with atomic(tmp_path / name) as beside:
        (beside / "a.txt" if beside.is_dir() else beside).write_text("a")
    assert names(tmp_path) == [name]


KILLED = """
import os, sys
from pathlib import Path
from unclip import files
target = Path(sys.argv[1])
if sys.argv[2] == "between":
    rename = Path.rename
    Path.rename = lambda a, b: os._exit(9) if b == target else rename(a, b)
with files.atomic_folder(target) as beside, files.atomic_file(target.parent / "b.txt") as file:
    (beside / "new.txt").write_text("new")
    file.write_text("new")
    if sys.argv[2] == "inside":
        os._exit(9)
"""


@pytest.mark.parametrize("when", ["inside", "between"])
def test_what_a_killed_process_leaves_is_found_and_removed(when: str, tmp_path: Path) -> None:
    """Killed between the two renames, the old folder is the only whole one: it is put back."""
    deep = tmp_path / "deep"
    target = deep / "model"
    target.mkdir(parents=True)
    (target / "old.txt").write_text("old")
    kept = [
        ".hidden",
        ".a.part",
        ".part",
        "a.abcdefgh.part",
        ".a.ABCDEFGH.part",
        ".a.abcdefgh.partly",
    ]
    for name in kept:
        (deep / name).write_text("somebody's own")
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), when], check=False)
    assert done.returncode == 9
    assert target.exists() is (when == "inside")
    own = {*kept, "model", *(["b.txt"] if when == "between" else [])}
    left = {path for path in deep.iterdir() if path.name not in own}
    assert len(left) == 2
    assert set(remove_leftovers(tmp_path)) == left
    assert {path.name for path in deep.iterdir()} == own
    assert names(target) == ["old.txt"]
    assert remove_leftovers(tmp_path) == []


def test_a_folder_is_gone_before_its_first_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "step-00000001"
    target.mkdir()
    (target / "state.json").write_text("{}")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed before it begins
    remove_folder(target)
    assert not target.exists()
    monkeypatch.undo()
    (tmp_path / "step-00000001").mkdir()  # else it is taken for one that was being replaced
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["step-00000001"]
    assert names(target) == [], "what was set aside takes nobody's place"
