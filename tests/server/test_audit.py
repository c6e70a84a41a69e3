"""Versions: floors for security, and an audit in which a package that was skipped is a fault."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import audit
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
FLOORS = {
    "starlette": "1.3.1",  # CVE-2025-62727, CVE-2026-48710, CVE-2026-54283
    "python-multipart": "0.0.31",
    "pillow": "13.0",
    "h11": "0.16",
    "ray": "2.60",  # CVE-2025-62593
}


def required() -> list[Requirement]:
    """Every dependency of pyproject.toml, those of extras too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for every in lists for text in every]


@pytest.mark.parametrize("name", FLOORS)
def test_pyproject_allows_no_version_below_the_floors(name: str) -> None:
    found = [one for one in required() if audit.canonical(one.name) == name]
    assert found, f"{name} has no floor in pyproject.toml"
    for one in found:
        lowest = [Version(part.version) for part in one.specifier if part.operator == ">="]
        assert lowest and max(lowest) >= Version(FLOORS[name]), one


def test_the_pinned_versions_keep_the_floors() -> None:
    pinned = dict(pin.split("==") for pin in audit.pins((ROOT / "constraints.txt").read_text()))
    versions = {audit.canonical(name): Version(version) for name, version in pinned.items()}
    assert {"starlette", "python-multipart", "pillow", "h11"} <= versions.keys()
    for name in FLOORS.keys() & versions.keys():
        assert versions[name] >= Version(FLOORS[name]), name


def test_local_versions_are_left_out() -> None:
    assert audit.pins("# why\ntorch==2.13.0+cpu\nh11==0.16.0  # floor\n\n") == [
        "torch==2.13.0",
        "h11==0.16.0",
    ]


def package(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": [], **more}


GOOD = package("h11")
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
BAD = package("Pillow", vulns=[{"id": "CVE-1", "fix_versions": ["2.0"]}])


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([GOOD, package("torch")], 0, "2 packages, no known vulnerability"),
        ([GOOD, SKIPPED], 1, "torch was skipped"),
        ([GOOD], 1, "torch was not looked up"),
        ([GOOD, package("torch"), BAD], 1, "pillow 1.0: CVE-1, mended in 2.0"),
        ([SKIPPED, {**SKIPPED, "name": "h11"}], 0, "not audited"),
    ],
)
def test_an_audit_is_good_where_every_package_was_looked_up(
    packages: list[Any],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended(monkeypatch, json.dumps({"dependencies": packages})) == code
    assert re.match(re.escape(said), capsys.readouterr().out)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("requests.exceptions.ConnectionError: Max retries exceeded", 0),
        ("pip_audit._service.interface.ServiceError: connection timed out", 0),
        ("ERROR: invalid requirement", 1),
        ("", 1),
    ],
)
def test_without_advisories_it_says_that_nothing_was_audited(
    error: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "", error) == code
    assert capsys.readouterr().out.startswith("not audited") == (code == 0)


def ended(monkeypatch: pytest.MonkeyPatch, out: str, error: str = "") -> int:
    """The exit code where pip-audit says this, of h11 and torch."""
    monkeypatch.setattr(audit, "pins", lambda text: ["h11==1.0", "torch==1.0"])
    told = subprocess.CompletedProcess([], 0, out, error)
    monkeypatch.setattr(audit, "audit", lambda asked: told)
    return audit.main()
