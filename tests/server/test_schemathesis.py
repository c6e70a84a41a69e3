"""Schemathesis asks whatever the OpenAPI document allows and forbids: nothing of it is a 5xx."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .house import a_house

PROGRAM = Path(sys.executable).with_name("schemathesis")
SECONDS = float(os.environ.get("UNCLIP_FUZZ_SECONDS", "600"))
"""How long the long run asks."""


def explore(folder: Path, *options: str, seconds: float) -> None:
    """Ask a server without keys, so that every route is reached, and find no 5xx."""
    with a_house(folder / "data", keys=(), aliases={"gpt-image-1": ""}) as house:
        command = [str(PROGRAM), "run", f"{house.url}/openapi.json", "--no-color"]
        command += ["--checks", "not_a_server_error", "--request-timeout", "20", *options]
        command += ["--exclude-path", "/v1/events"]  # it never ends
        command += ["--generation-database", "none", "--suppress-health-check", "all"]
        ended = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
        counts = re.search(r"(\d+) generated, (\d+) passed", ended.stdout)
        assert counts and counts[1] == counts[2] and int(counts[1]) > 60, ended.stdout[-2000:]
        assert house.engine.ready and house.worker.drawn, "it came to no job"


@pytest.mark.timeout(300)
def test_few_requests_of_every_route_are_no_5xx(tmp_path: Path) -> None:
    seeded = ("--phases", "fuzzing", "--max-examples", "4", "--seed", "16", "--no-shrink")
    explore(tmp_path, *seeded, seconds=240)


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS + 600)
def test_no_request_is_a_5xx(tmp_path: Path) -> None:
    explore(tmp_path, "--max-time", f"{SECONDS:.0f}", seconds=3 * SECONDS + 500)
