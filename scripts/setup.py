"""Install this package and the given extras into `.venv`, unless that is already done.

    python3 scripts/setup.py               what `unclip generate` needs
    python3 scripts/setup.py train data    also what training and building the corpus need

Torch is installed first and alone, so that no other package can install another build. A machine
without an NVIDIA GPU never downloads CUDA packages: the metadata of the build in the index is
checked before the download. `TORCH_INDEX` selects another index for torch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "unclip-setup.json"
CONSTRAINTS = ROOT / "constraints.txt"
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
OLDEST = (3, 11)
IS_SUPPORTED = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Install into .venv what is missing.")
    parser.add_argument("extras", nargs="*", help="extras of pyproject.toml: train, data, dev")
    wanted = set(parser.parse_args().extras)
    done = stamped()
    if done is not None and wanted <= done and works():
        return
    STAMP.unlink(missing_ok=True)
    make_venv()
    pip("install", "--quiet", "--upgrade", "pip", "setuptools", "--constraint", str(CONSTRAINTS))
    install_torch()
    install_package(wanted | (done or set()))


def digest() -> str:
    """A digest of everything that the environment depends on."""
    files = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content + str(ROOT).encode()).hexdigest()


def stamped() -> set[str] | None:
    """The extras of the last complete set-up, or None."""
    try:
        stamp = json.loads(STAMP.read_text())
        return set(stamp["extras"]) if stamp["digest"] == digest() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def works() -> bool:
    """Whether the environment's Python starts, is new enough and has pip."""
    try:
        return subprocess.run([PYTHON, "-c", IS_SUPPORTED], capture_output=True).returncode == 0
    except OSError:
        return False


def make_venv() -> None:
    if works():
        return
    say(f"creating {VENV.name}")
    if subprocess.run([find_python(), "-m", "venv", "--clear", str(VENV)]).returncode != 0:
        raise problem(
            "python -m venv failed; on Debian and Ubuntu, install the package python3-venv"
        )


def find_python() -> str:
    """This Python if it is new enough, otherwise the newest on the path."""
    if sys.version_info >= OLDEST:
        return sys.executable
    for minor in (14, 13, 12, 11):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found
    raise problem(f"unclip needs Python 3.{OLDEST[1]} or newer, this is {sys.version.split()[0]}")


def install_torch() -> None:
    pinned = re.search(r"^torch==(\S+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    assert pinned, "constraints.txt pins torch"
    if installed_torch() == pinned[1]:
        return
    torch = f"torch=={pinned[1]}"
    index = os.environ.get("TORCH_INDEX")
    source = ["--index-url", index] if index else []
    gpu = has_gpu()
    say(f"installing {torch} for {'an NVIDIA GPU' if gpu else 'the CPU'}")
    cuda = wants_cuda(torch, source)
    if gpu or not cuda:
        if gpu and not cuda:
            say("the index has only a CPU build, without GPU support; see TORCH_INDEX")
        pip("install", "--no-deps", torch, *source)
    elif index or not install_with_uv(torch):
        raise problem(
            f"the package index has a CUDA build of {torch}, and this machine has no NVIDIA GPU."
            " Set TORCH_INDEX to an index with CPU builds (see CONTRIBUTING.md) and run this again"
        )


def installed_torch() -> str | None:
    """The version of torch in the environment without its local part, or None."""
    code = "import importlib.metadata as m; print(m.version('torch').split('+')[0])"
    found = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True)
    return found.stdout.strip() or None


def has_gpu() -> bool:
    """Whether the NVIDIA driver lists a GPU."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    except OSError:
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def wants_cuda(torch: str, source: list[str]) -> bool:
    """Whether pip would install a CUDA build of torch; reads only metadata."""
    look = ["install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--report", "-"]
    asked = subprocess.run([*PIP, *look, torch, *source], stdout=subprocess.PIPE, text=True)
    if asked.returncode != 0:
        raise problem(f"pip found no {torch} for this machine")
    return is_cuda(json.loads(asked.stdout)["install"][0]["metadata"])


def is_cuda(metadata: dict[str, Any]) -> bool:
    """Whether a package's metadata ask for CUDA packages here."""
    here = (need for need in metadata.get("requires_dist", []) if "extra ==" not in need)
    return any(re.match(r"nvidia|cuda|triton", need) for need in here)


def install_with_uv(torch: str) -> bool:
    """Install a CPU build with uv, which knows their index."""
    say("the package index has a CUDA build; installing a CPU build with uv")
    uv = shutil.which("uv") or str(VENV / "bin" / "uv")
    if not Path(uv).exists():
        subprocess.run([*PIP, "install", "--quiet", "uv", "--constraint", str(CONSTRAINTS)])
    into = ["--python", str(PYTHON), "--no-deps", "--torch-backend", "cpu"]
    try:
        return subprocess.run([uv, "pip", "install", *into, torch]).returncode == 0
    except OSError:
        return False


def install_package(extras: set[str]) -> None:
    """Install this folder, editable, with the extras; check torch; write the stamp."""
    names = ",".join(sorted(extras))
    target = f"{ROOT}[{names}]" if names else str(ROOT)
    say(f"installing unclip{f'[{names}]' if names else ''}")
    editable = ["--no-build-isolation", "--editable", target]
    pip("install", "--quiet", *editable, "--constraint", str(CONSTRAINTS))
    if subprocess.run([PYTHON, "-c", "import torch"]).returncode != 0:
        raise problem(
            f"torch cannot be imported; remove {VENV} and run this again (see TORCH_INDEX)"
        )
    STAMP.write_text(json.dumps({"digest": digest(), "extras": sorted(extras)}) + "\n")


def pip(*arguments: str) -> None:
    if subprocess.run([*PIP, *arguments]).returncode != 0:
        raise problem("pip failed; see its output above")


def say(line: str) -> None:
    print(f"set-up: {line}", flush=True)


def problem(line: str) -> SystemExit:
    return SystemExit(f"set-up: {line}")


if __name__ == "__main__":
    main()
