"""A file in a package is an entry, with no list to edit."""

import importlib
import sys
from pathlib import Path

import pytest

from unclip.errors import (
    Cancelled,
    CheckpointError,
    DataError,
    OutputError,
    TrainingError,
    UnclipError,
    UsageError,
)
from unclip.registry import Registry


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[str]:
    """A package with two entries, a helper without the attribute, a private module and a folder."""
    package = tmp_path / "shapes_for_test"
    (package / "star").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "square.py").write_text("SHAPE = 'four corners'\n")
    (package / "star" / "__init__.py").write_text("SHAPE = 'five points'\n")
    (package / "helper.py").write_text("OTHER = 1\n")
    (package / "_private.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("shapes_for_test")]:
        monkeypatch.delitem(sys.modules, name)
    return Registry("shapes_for_test", "SHAPE", "shape")


def test_a_module_is_an_entry(shapes: Registry[str]) -> None:
    assert shapes["square"] == "four corners"
    assert shapes["star"] == "five points"


def test_names_are_sorted_and_leave_out_helpers(shapes: Registry[str]) -> None:
    assert shapes.names() == ["square", "star"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sqare", "unknown shape 'sqare' (did you mean 'square'?); known: square, star"),
        ("zzz", "unknown shape 'zzz'; known: square, star"),
        ("helper", "unknown shape 'helper'; known: square, star"),
        ("_private", "unknown shape '_private'; known: square, star"),
        ("os.path", "unknown shape 'os.path'; known: square, star"),
    ],
)
def test_an_unknown_name_says_what_is_known(shapes: Registry[str], name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        shapes[name]
    assert str(caught.value) == message


def test_looking_one_up_imports_no_other(shapes: Registry[str]) -> None:
    assert shapes["square"] == "four corners"
    assert "shapes_for_test.star" not in sys.modules


def test_further_packages_and_the_packages_in_one_hold_entries_too(
    shapes: Registry[str], tmp_path: Path
) -> None:
    room = tmp_path / "rooms_for_test" / "kitchen"
    room.mkdir(parents=True)
    (room.parent / "__init__.py").touch()
    (room / "__init__.py").touch()
    (room / "star.py").write_text("COLOUR = 'red'\n")
    (room / "oval.py").write_text("SHAPE = 'none'\n")
    for name in [name for name in sys.modules if name.startswith("rooms_for_test")]:
        del sys.modules[name]
    more = ("not_there_for_test", "rooms_for_test.*")
    every = Registry[str]("shapes_for_test", "SHAPE", "shape", more)
    assert every.names() == ["oval", "square", "star"]
    assert every["star"] == "five points"
    colours = Registry[str]("shapes_for_test", "COLOUR", "colour", more)
    assert colours["star"] == "red", "a module of that name gives something else"
    (room / "bow.py").write_text("SHAPE = 'two loops'\n")
    importlib.invalidate_caches()
    assert every["bow"] == "two loops", "a newcomer is found"


def test_two_entries_of_one_name_are_an_error(
    shapes: Registry[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "more_shapes_for_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "star.py").write_text("SHAPE = 'six points'\n")
    for name in [name for name in sys.modules if name.startswith("more_shapes_for_test")]:
        monkeypatch.delitem(sys.modules, name)
    every = Registry[str]("shapes_for_test", "SHAPE", "shape", ("more_shapes_for_test",))
    message = r"^shape 'star' is in shapes_for_test\.star and in more_shapes_for_test\.star; rename"
    with pytest.raises(UnclipError, match=message):
        every["star"]
    with pytest.raises(UnclipError, match=message):
        every.names()
    assert every["square"] == "four corners"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (UsageError, 2),
        (DataError, 1),
        (CheckpointError, 1),
        (OutputError, 1),
        (TrainingError, 1),
        (Cancelled, 130),
    ],
)
def test_every_error_has_one_base_and_an_exit_code(
    error: type[UnclipError], exit_code: int
) -> None:
    assert issubclass(error, UnclipError)
    assert error("why").exit_code == exit_code
