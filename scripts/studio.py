"""Build the page of `unclip studio`, or check that the build is what its source gives.

    python3 scripts/studio.py              studio/ -> src/unclip/web (needs npm)
    python3 scripts/studio.py --check      types, style, unit tests, the build, a visit by Chromium

The build is committed, so that nobody who installs the package needs npm. A check without npm or
without Chromium (CHROMIUM=PATH) says what it leaves out, and fails where the variable CI is set.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUDIO = ROOT / "studio"
WEB = ROOT / "src" / "unclip" / "web"
PYTHON = ROOT / ".venv" / "bin" / "python"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUICK = "e2e/make.e2e.ts"
"""The one visit that every check makes; `make nightly` makes all."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the page of `unclip studio`.")
    parser.add_argument("--check", action="store_true", help="check the build that is there")
    parser.add_argument("--all", action="store_true", help="with --check: all visits by Chromium")
    asked = parser.parse_args()
    if shutil.which("npm") is None:
        sys.exit(_without_npm(asked.check))
    _install()
    if asked.check:
        _check(asked.all)
    else:
        _run(str(PYTHON), "scripts/openapi.py", where=ROOT)
        _npm("types")
        _build(WEB)


def _without_npm(checking: bool) -> int:
    if not checking:
        print("npm is not installed: the page was not built")
        return 1
    return _left_out(
        "npm is not installed: types, style, unit tests, the build and the visit were left out"
    )


def _left_out(text: str) -> int:
    """Say what was not checked. The exit code: continuous integration leaves nothing out."""
    print(text)
    return 1 if os.environ.get("CI", "").lower() not in ("", "0", "false") else 0


def _install() -> None:
    """Install what package-lock.json names, unless it is there."""
    lock, done = STUDIO / "package-lock.json", STUDIO / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        _run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")


def _check(every: bool) -> None:
    _npm("check")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "web"
        _build(built)
        if different := sorted(_differences(built, WEB)):
            names = ", ".join(different)
            sys.exit(f"src/unclip/web is not what studio/ gives (run `make studio`): {names}")
    if not Path(CHROMIUM).exists():
        sys.exit(_left_out(f"{CHROMIUM} is not there: the visit was left out (CHROMIUM=PATH)"))
    _npm("e2e", *([] if every else [QUICK]))


def _differences(built: Path, kept: Path) -> Iterator[str]:
    """Files that only one has, or that differ."""
    names = {
        file.relative_to(folder).as_posix()
        for folder in (built, kept)
        for file in folder.rglob("*")
        if file.is_file()
    }
    for name in names:
        one, other = built / name, kept / name
        if not (one.exists() and other.exists() and filecmp.cmp(one, other, shallow=False)):
            yield name


def _build(folder: Path) -> None:
    _npm("build", "--outDir", str(folder), "--emptyOutDir", "--logLevel", "warn")


def _npm(script: str, *given: str) -> None:
    _run("npm", "run", "--silent", script, *(["--", *given] if given else []))


def _run(*command: str, where: Path = STUDIO) -> None:
    code = subprocess.run(command, cwd=where).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
