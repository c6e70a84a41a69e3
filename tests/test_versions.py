"""scripts/versions.py: which pairs it tries; no CUDA comes to a machine without a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import pytest
import versions

HERE = ".".join(map(str, sys.version_info[:3]))


def test_interpreters_are_asked_for_their_version(tmp_path: Path) -> None:
    assert versions.found([sys.executable]) == {sys.executable: HERE}
    assert HERE in versions.found([]).values()
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 3.10.2 /usr\n")
    old.chmod(0o755)
    for one in (old, tmp_path / "none"):
        with pytest.raises(SystemExit, match=r"is no Python of at least 3\.11"):
            versions.found([str(one)])


def test_the_oldest_the_pinned_and_the_newest_torch_are_tried() -> None:
    oldest, pinned, newest = versions.usual()
    assert (oldest, newest) == ("2.11", "newest") and pinned.startswith("2.")


class Place:
    """Stands in for an environment: nothing is installed, and what would be is written down."""

    builds: ClassVar = {
        "2.11": ("2.11.0", True),
        "2.13.0": ("2.13.0", False),
        "newest": ("2.13.0", False),
    }
    filled: list[str | None]

    def __init__(self, python: str, folder: Path, constraints: Path) -> None:
        assert folder.is_dir()

    def torch(self, wanted: str) -> tuple[str, bool]:
        return self.builds[wanted]

    def fill(self, wheel: Path, torch: str | None) -> None:
        self.filled.append(torch)

    def results(self, root: Path, bare: bool) -> dict[str, str]:
        assert bare == (self.filled[-1] is None)
        return {"imports": "ok"}


@pytest.mark.parametrize(
    ("wanted", "cuda", "filled", "torches"),
    [
        (["2.11", "2.13.0", "newest"], False, ["torch==2.13.0"], ["2.11.0", "2.13.0"]),
        (["2.11", "newest"], True, ["torch==2.11.0", "torch==2.13.0"], ["2.11.0", "2.13.0"]),
        (["2.11"], False, [None], ["2.11.0", "none"]),
    ],
)
def test_pairs(
    monkeypatch: pytest.MonkeyPatch,
    wanted: list[str],
    cuda: bool,
    filled: list[str | None],
    torches: list[str],
) -> None:
    monkeypatch.setattr(versions, "Environment", Place)
    monkeypatch.setattr(Place, "filled", [], raising=False)
    file = Path("it")
    rows = list(versions.tried("python", "3.12.1", wanted, cuda, file, file))
    assert Place.filled == filled
    assert [row.torch for row in rows] == torches
    assert not any(row.failed for row in rows)
    assert ("CUDA" in rows[0].results["imports"]) == (not cuda and "2.11" in wanted)


def test_cuda_is_told_by_what_a_build_asks_for() -> None:
    assert versions.is_cuda(
        {"requires_dist": ["sympy", "nvidia-nccl-cu13==2; sys_platform=='linux'"]}
    )
    assert versions.is_cuda({"requires_dist": ["cuda-toolkit==13"]})
    assert not versions.is_cuda({"requires_dist": ["sympy", 'nvidia-x; extra == "gpu"']})
    assert not versions.is_cuda({})


def test_a_row_with_a_failure_is_told() -> None:
    row = versions.Row("3.13.0", "2.13.0", {"imports": "ok", "doctor": "FAILED: no"})
    assert row.failed
    assert versions.table([row]).splitlines()[-1] == "| 3.13.0 | 2.13.0 | ok | FAILED: no | – | – |"
