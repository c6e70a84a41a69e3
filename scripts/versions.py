"""Try the package on other versions of Python and PyTorch: a table of what works.

    python3 scripts/versions.py                             every Python that is found
    python3 scripts/versions.py python3.12 --torch 2.12     these

A wheel is built, and installed into an empty environment for each pair of a Python and a PyTorch,
by default the oldest that is supported, the pinned and the newest. There it has to import,
pass `unclip doctor`, draw the picture that the others draw, and pass tests of the networks and
samplers. Versions of other packages are those of constraints.txt.

CUDA packages are several gigabytes: without a GPU a pair whose PyTorch would bring them is left out
(--cuda takes it). A Python that no PyTorch is left for is tried without: see BARE. `TORCH_INDEX`
selects another index for PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from setup import CONSTRAINTS, OLDEST, ROOT, has_gpu, is_cuda

NEWEST = "newest"
DEV = ("pytest", "pytest-timeout", "hypothesis")
TESTS = ("tests/diffusion", "tests/nn", "tests/contracts/test_samplers.py")
PROMPT = ("generate", "a red car", "--seed", "7", "--dtype", "float32")
IMPORTS = """
import importlib, pathlib, sys, unclip
root = pathlib.Path(unclip.__file__).parent
lacks, good, every = set(), 0, 0
for file in sorted(root.rglob("*.py")):
    compile(file.read_text("utf-8"), file, "exec")
    parts = file.relative_to(root.parent).with_suffix("").parts
    if "migrations" in parts or "__main__" in parts:
        continue
    every += 1
    try:
        importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        good += 1
    except ModuleNotFoundError as error:
        lacks.add(error.name.partition(".")[0])
wrong = lacks - set(sys.argv[1:])
sys.exit(f"missing: {wrong}") if wrong else print(f"{good} of {every} modules")
"""
EXTRAS = (
    *("alembic", "c2pa", "cryptography", "datasets", "fastapi", "h11", "huggingface_hub"),
    *("httptools", "imagehash", "mcp", "mcp_types", "prometheus_client", "pyarrow"),
    *("python_multipart", "ray", "resvg_py", "sqlalchemy", "starlette", "tensorboard"),
    *("uvicorn", "wandb", "webdataset"),
)
"""What the package does without, unless an extra asks for it."""
BARE = ("tests/test_config.py", "tests/test_weighting.py", "tests/parameters")
"""Tests that need no PyTorch, nor anything of conftest.py."""


@dataclass
class Row:
    """What came out of one pair."""

    python: str
    torch: str
    results: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether something did not work."""
        return any(one.startswith("FAILED") for one in self.results.values())


def main() -> None:
    parser = argparse.ArgumentParser(description="Try other versions of Python and PyTorch.")
    parser.add_argument("pythons", nargs="*", help="interpreters; default: what is found")
    parser.add_argument("--torch", action="append", help="a version, such as 2.12; or newest")
    parser.add_argument("--cuda", action="store_true", default=has_gpu(), help="also CUDA builds")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        wheel = built(work)
        constraints = work / "constraints.txt"
        constraints.write_text(re.sub("^torch==.*$", "", CONSTRAINTS.read_text(), flags=re.M))
        for python, version in found(given.pythons).items():
            rows += tried(python, version, given.torch or usual(), given.cuda, wheel, constraints)
    print(table(rows))
    raise SystemExit(any(row.failed for row in rows))


def usual() -> list[str]:
    """The oldest PyTorch that pyproject.toml takes, the pinned one, the newest."""
    oldest = re.search(r'"torch>=([\d.]+)', (ROOT / "pyproject.toml").read_text())
    pinned = re.search(r"^torch==(\S+)$", CONSTRAINTS.read_text(), re.M)
    assert oldest and pinned
    return [oldest[1], pinned[1], NEWEST]


def found(named: Sequence[str]) -> dict[str, str]:
    """Interpreters and their versions: those named, or of each minor version the newest."""
    pyenv = Path.home() / ".pyenv" / "versions"
    known = [sys.executable, *(f"python3.{minor}" for minor in range(OLDEST[1], 20))]
    known += [str(one) for one in sorted(pyenv.glob("*/bin/python"))]
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.base_prefix)"
    versions: dict[tuple[int, ...], str] = {}
    for one in named or known:
        try:
            said = subprocess.run([one, "-c", code], capture_output=True, text=True)
        except OSError:
            said = None
        version = tuple(map(int, said.stdout.split()[0].split("."))) if said and said.stdout else ()
        if version >= OLDEST:
            versions.setdefault(version, one)
        elif named:
            raise SystemExit(f"versions: {one} is no Python of at least {OLDEST[0]}.{OLDEST[1]}")
    newest = {version[:2]: version for version in sorted(versions)}
    kept = versions if named else newest.values()
    return {versions[one]: ".".join(map(str, one)) for one in kept}


def built(folder: Path) -> Path:
    """The wheel of the files that git knows."""
    asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "source" / name)
    python = str(ROOT / ".venv" / "bin" / "python")
    build = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, folder / "source"], check=True)
    return next(folder.glob("*.whl"))


def tried(
    python: str, version: str, torches: Sequence[str], cuda: bool, wheel: Path, constraints: Path
) -> Iterator[Row]:
    """A row for each PyTorch that is to be had, one without it if none is."""
    with tempfile.TemporaryDirectory() as folder:
        place = Environment(python, Path(folder), constraints)
        builds = {wanted: place.torch(wanted) for wanted in torches}
    ready = {torch for torch, brings_cuda in builds.values() if torch and (cuda or not brings_cuda)}
    for wanted, (torch, _) in builds.items():
        if torch not in ready:
            why = "its build here is for CUDA" if torch else "no build here"
            yield said(Row(version, torch or wanted, {"imports": f"not tried: {why}"}))
    for torch in sorted(ready) or [None]:
        with tempfile.TemporaryDirectory() as folder:
            place = Environment(python, Path(folder), constraints)
            place.fill(wheel, torch and f"torch=={torch}")
            yield said(Row(version, torch or "none", place.results(ROOT, bare=torch is None)))


def said(row: Row) -> Row:
    """Print it already."""
    print(f"versions: Python {row.python}, PyTorch {row.torch}: {row.results}", flush=True)
    return row


class Environment:
    """An environment of an interpreter.

    Args:
        python: the interpreter.
        folder: an empty one.
        constraints: of the packages.
    """

    def __init__(self, python: str, folder: Path, constraints: Path) -> None:
        self.folder = folder
        subprocess.run([python, "-m", "venv", str(folder / "it")], check=True)
        self.bin = folder / "it" / "bin"
        self.limits = ["--constraint", str(constraints)]
        self.pip = [str(self.bin / "python"), "-m", "pip", "--disable-pip-version-check"]
        index = os.environ.get("TORCH_INDEX")
        self.source = ["--index-url", index] if index else []
        self.call(*self.pip, "install", "--quiet", "--upgrade", "pip", *self.limits)

    def call(self, *command: str, **more: object) -> None:
        """Raises CalledProcessError."""
        subprocess.run(command, check=True, **more)  # type: ignore[call-overload]

    def torch(self, wanted: str) -> tuple[str, bool]:
        """The version that pip would install, empty if none, and whether it brings CUDA."""
        name = "torch" if wanted == NEWEST else f"torch=={wanted}.*"
        if wanted.count(".") == 2:
            name = f"torch=={wanted}"
        look = ["install", "--dry-run", "--quiet", "--no-deps", "--report", "-", name, *self.source]
        said = subprocess.run([*self.pip, *look], stdout=subprocess.PIPE, text=True)
        if said.returncode:
            return "", False
        metadata = json.loads(said.stdout)["install"][0]["metadata"]
        return metadata["version"].partition("+")[0], is_cuda(metadata)

    def fill(self, wheel: Path, torch: str | None) -> None:
        """Install the wheel and what it needs; PyTorch first, and alone."""
        install = [*self.pip, "install", "--quiet"]
        if torch:
            self.call(*install, torch, *self.source)
            self.call(*install, str(wheel), *DEV, *self.limits)
            return
        self.call(*install, "--no-deps", str(wheel))
        code = "from importlib.metadata import requires; print(*requires('unclip'), sep='\\n')"
        said = subprocess.run([self.pip[0], "-c", code], capture_output=True, text=True, check=True)
        needs = [
            one for one in said.stdout.splitlines() if "extra" not in one and "torch" not in one
        ]
        self.call(*install, *needs, *DEV, *self.limits)

    def results(self, root: Path, bare: bool) -> dict[str, str]:
        """Name of a check -> what came out; `bare`: without PyTorch, of what needs none."""
        if bare:
            return {
                "imports": self.check([self.pip[0], "-c", IMPORTS, "torch", *EXTRAS], says=True),
                "doctor": "needs PyTorch",
                "picture": "needs PyTorch",
                "tests": self.tests(root, "--noconftest", *BARE),
            }
        unclip = str(self.bin / "unclip")
        picture = self.folder / "car.png"
        drawn = self.check([unclip, *PROMPT, "-o", str(picture)])
        return {
            "imports": self.check([self.pip[0], "-c", IMPORTS, *EXTRAS], says=True),
            "doctor": self.check([unclip, "doctor"]),
            "picture": self.red(picture) if drawn == "ok" else drawn,
            "tests": self.tests(root, *TESTS),
        }

    def check(self, command: list[str], says: bool = False) -> str:
        """ok, or what it says; or what was wrong."""
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, cwd=self.folder, env=kept, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip() if says else "ok"
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        return f"FAILED: {(done.stderr or done.stdout).strip().splitlines()[-1][:200]}"

    def red(self, picture: Path) -> str:
        """Whether the car is red, and a digest of its pixels."""
        code = (
            "import hashlib, sys; from PIL import Image; import numpy as np\n"
            "a = np.asarray(Image.open(sys.argv[1]).convert('RGB')).astype(int)\n"
            "red = (a[..., 0] - a[..., 1:].max(-1) > 60).mean()\n"
            "assert a.shape == (256, 256, 3) and .1 < red < .6, (a.shape, red)\n"
            "print(hashlib.sha256(a.astype('u1').tobytes()).hexdigest()[:8])"
        )
        command = [self.pip[0], "-c", code, str(picture)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout.strip() or f"FAILED: {done.stderr.strip().splitlines()[-1]}"

    def tests(self, root: Path, *names: str) -> str:
        """How many passed; they see the wheel, not `src`."""
        command = [self.pip[0], "-m", "pytest", "-q", "-o", "pythonpath=scripts", "--no-header"]
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        more = ["-p", "no:cacheprovider", *names]
        done = subprocess.run([*command, *more], cwd=root, env=kept, capture_output=True, text=True)
        passed = re.search(r"\d+ passed", done.stdout)
        if done.returncode == 0 and passed:
            return passed[0]
        print(done.stdout[-6000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
        return f"FAILED: {done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr}"


def table(rows: Sequence[Row]) -> str:
    """In Markdown."""
    head = ["Python", "PyTorch", "imports", "doctor", "picture", "tests"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row.results.get(one, "–") for one in head[2:]]
        lines.append([row.python, row.torch, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
