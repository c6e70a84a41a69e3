"""Build the page of `unclip studio`, or check that the build is what its source gives.

    python3 scripts/studio.py              studio/ -> src/unclip/web (needs npm)
    python3 scripts/studio.py --check      types, style, unit tests, the build, a visit by Chromium

The build is committed, so that nobody who installs the package needs npm, beside a digest of the
source that it was made of, which the tests compare. A check without npm's packages or without
Chromium (CHROMIUM=PATH) says what it leaves out, and fails where STUDIO_STRICT=1 is set.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
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
DIGEST = STUDIO / "built-from.sha256"
QUICK = "e2e/make.e2e.ts"
"""The one visit that every check makes; `make nightly` makes all."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the page of `unclip studio`.")
    parser.add_argument("--check", action="store_true", help="check the build that is there")
    parser.add_argument("--all", action="store_true", help="with --check: all visits by Chromium")
    asked = parser.parse_args()
    if shutil.which("npm") is None:
        sys.exit(_without_npm(asked.check))
    if code := _install():
        text = "npm's packages cannot be installed: the page was left out"
        sys.exit(_left_out(text) if asked.check else code)
    if asked.check:
        _check(asked.all)
    else:
        _run(str(PYTHON), "scripts/openapi.py", where=ROOT)
        _npm("types")
        _build(WEB)
        DIGEST.write_text(digest() + "\n")


def digest() -> str:
    """The SHA-256 of all that a build is made of."""
    files = [STUDIO / name for name in ("index.html", "package-lock.json", "vite.config.ts")]
    files += sorted(file for file in (STUDIO / "src").rglob("*") if file.is_file())
    found = hashlib.sha256()
    for file in files:
        name = file.relative_to(STUDIO).as_posix()
        found.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def _without_npm(checking: bool) -> int:
    if not checking:
        print("npm is not installed: the page was not built")
        return 1
    return _left_out(
        "npm is not installed: types, style, unit tests, the build and the visit were left out"
    )


def _left_out(text: str) -> int:
    """Say what was not checked. The exit code: 1 where nothing may be left out."""
    print(text)
    return int(os.environ.get("STUDIO_STRICT", "") == "1")


def _install() -> int:
    """Install what package-lock.json names, unless it is there. The exit code."""
    lock, done = STUDIO / "package-lock.json", STUDIO / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        return subprocess.run(command, cwd=STUDIO).returncode
    return 0


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
