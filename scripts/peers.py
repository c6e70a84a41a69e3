"""Create `.venv-peers` with other implementations, and generate the parity fixtures.

    python3 scripts/peers.py              create the environment if it is missing
    python3 scripts/peers.py --fixtures   also regenerate tests/parity/fixtures

Two peers are not in the package index. --sources is a folder with clones of openai/glide-text2im
and kakaobrain/karlo; without it their fixtures are not regenerated.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-peers"
PYTHON = VENV / "bin" / "python"
HERE = ROOT / "tests" / "parity" / "peers"
FIXTURES = ROOT / "tests" / "parity" / "fixtures"
DIALECTS = ("1.1.0", "0.15.4")
"""Other versions of DALLE2-pytorch, each in a separate folder of the environment."""

NEED_SOURCES = {"glide": ("glide-text2im",), "karlo_original": ("karlo", "glide-text2im")}
BY_HAND = ("karlo_defaults", "metrics")
"""The docstrings of these scripts say how to run them."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Set up the peers of the parity tests.")
    parser.add_argument("--fixtures", action="store_true", help="regenerate the fixtures")
    parser.add_argument("--sources", type=Path, help="folder of clones of glide-text2im and karlo")
    given = parser.parse_args()
    if not (VENV / "done").is_file():
        set_up()
    print(f"peers: {PYTHON}")
    if given.fixtures:
        for script in sorted(HERE.glob("[a-z]*.py")):
            write(script, given.sources)


def set_up() -> None:
    """Install the pinned torch, the peers without their requirements, and a torchvision stub."""
    shutil.rmtree(VENV, ignore_errors=True)
    run(sys.executable, "-m", "venv", str(VENV))
    pinned = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned, "constraints.txt pins torch"
    pip("install", pinned[0])
    pip("install", "--no-deps", "--requirement", str(HERE / "requirements.txt"))
    for version in DIALECTS:
        wanted = f"dalle2-pytorch=={version}"
        pip("install", "--no-deps", "--target", str(dialect(version)), wanted)
    packages = next((VENV / "lib").glob("python3*/site-packages"))
    shutil.copytree(HERE / "stand_in" / "torchvision", packages / "torchvision")
    (VENV / "done").touch()


def dialect(version: str) -> Path:
    """The folder of an older DALLE2-pytorch."""
    return VENV / f"dalle2-pytorch-{version}"


def write(script: Path, sources: Path | None) -> None:
    """Run a script if everything that it needs is there."""
    needed = NEED_SOURCES.get(script.stem, ())
    if script.stem in BY_HAND or (needed and sources is None):
        print(f"peers: skipping {script.name}: its docstring says what it needs")
        return
    older = {f"DALLE2_PYTORCH_{v.replace('.', '_')}": str(dialect(v)) for v in DIALECTS}
    clones = os.pathsep.join(str(sources / name) for name in needed) if sources else ""
    environment = {**os.environ, **older, "PYTHONPATH": clones}
    print(f"peers: {script.name}", flush=True)
    subprocess.run([PYTHON, script, FIXTURES], check=True, env=environment, cwd=HERE)


def pip(*arguments: str) -> None:
    run(str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments)


def run(*command: str) -> None:
    if subprocess.run(command).returncode:
        raise SystemExit(f"peers: {' '.join(command[:6])} failed; see the output above")


if __name__ == "__main__":
    main()
