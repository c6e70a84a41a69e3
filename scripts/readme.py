"""Run the README's commands from top to bottom, as a reader would.

    python scripts/readme.py [--slow] [--activated] [--forked] [README.md]

Runs every `sh` and `python` block in one bash session, in an empty folder that looks like a fresh
clone with a `.venv`. A comment before a block, invisible on the rendered page, can exclude it:

    <!-- not run: REASON -->       never: needs the network, foreign weights or hours
    <!-- slow: REASON -->          only with --slow, as in `make nightly`

With `--forked` each `unclip` is a fork of one process (`scripts/forked.py`), which has imported
PyTorch: that saves half of the time.

Prints each command with its seconds, then those not run and why. Stops with exit code 1 at the
first command that fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORKED = ROOT / "scripts" / "forked.py"
CLONED = ("assets", "benchmarks", "docs", "scripts", "src")
"""The parts of the clone that commands may read."""

BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^:\n]*): (?P<why>[^\n]*) -->\n)?"
    r"```(?P<language>sh|python)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

SESSION = """
unclip_readme_run() {
    printf '\\n$ %s\\n' "$1"
    local began=$SECONDS
    eval "$1" || { echo "FAILED with $?: $1"; exit 1; }
    echo "# $((SECONDS - began)) s"
}
"""


@dataclass(frozen=True)
class Block:
    """A block of commands; `mark` is "" (always run), "slow" or "not run"."""

    language: str
    body: str
    mark: str = ""
    why: str = ""

    def commands(self) -> list[str]:
        """The commands for bash, in order; a `python` block is one command."""
        if self.language == "python":
            return [f"python - <<'END'\n{self.body}END"]
        joined = self.body.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line.strip() and line.strip()[0] != "#"]


def blocks(page: str) -> list[Block]:
    """The blocks of a Markdown page, in order. Raises ValueError for an unknown mark."""
    found = [
        Block(one["language"], one["body"], one["mark"] or "", one["why"] or "")
        for one in BLOCK.finditer(page)
    ]
    for one in found:
        if one.mark not in ("", "slow", "not run"):
            raise ValueError(f"unknown mark '{one.mark}' ({one.why}): use 'slow' or 'not run'")
    return found


def session(wanted: list[Block], beginning: str = "") -> str:
    """A bash script that runs all commands in one shell and stops at the first that fails."""
    commands = [command for block in wanted for command in block.commands()]
    runs = "".join(f"unclip_readme_run {shlex.quote(one)}\n" for one in commands)
    return SESSION + beginning + runs


@contextmanager
def forking() -> Iterator[str]:
    """Within, a process waits to be forked; yields what has bash call that for `unclip`."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "unclip"
        server = subprocess.Popen([sys.executable, str(FORKED), "--serve", str(place)])
        try:
            while not place.exists():
                if server.poll() is not None:
                    raise RuntimeError(f"{FORKED} ended with {server.returncode}")
                time.sleep(0.05)
            call = shlex.join([sys.executable, "-I", "-S", str(FORKED), str(place)])
            yield f'unclip() {{ {call} "$@"; }}\n'
        finally:
            server.kill()
            server.wait()


def run(wanted: list[Block], folder: Path, activated: bool = False, beginning: str = "") -> int:
    """Run blocks in an empty folder; returns bash's exit code.

    Args:
        wanted: in the order of the page.
        folder: where.
        activated: the virtual environment is, before the first command.
        beginning: of the bash script.
    """
    for name in CLONED:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    own = str(Path(sys.prefix) / "bin")
    path = [part for part in os.environ["PATH"].split(os.pathsep) if part != own]
    path = [own, *path] if activated else path  # the README must set PATH itself
    env = {**os.environ, "PATH": os.pathsep.join(path), "UNCLIP_CONFIG": ""}
    script = session(wanted, beginning)
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env, check=False)
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the commands of a README.")
    parser.add_argument("page", nargs="?", type=Path, default=ROOT / "README.md")
    parser.add_argument("--slow", action="store_true", help="also run the blocks that take minutes")
    parser.add_argument("--activated", action="store_true", help="with the .venv already active")
    parser.add_argument("--forked", action="store_true", help="import PyTorch once for all")
    args = parser.parse_args()
    found = blocks(args.page.read_text(encoding="utf-8"))
    wanted = [one for one in found if one.mark in ("", "slow" if args.slow else "")]
    forked = forking() if args.forked else nullcontext("")
    with tempfile.TemporaryDirectory() as folder, forked as beginning:
        code = run(wanted, Path(folder), args.activated, beginning)
    if code == 0:
        print(f"\nran {sum(len(one.commands()) for one in wanted)} commands; not run:")
        for one in found:
            for command in one.commands() if one not in wanted else ():
                print(f"  {one.why}: {command}")
    return code


if __name__ == "__main__":
    sys.exit(main())
