"""Look up known vulnerabilities of the versions in constraints.txt, with pip-audit.

    python3 scripts/audit.py

Exit code 0: every package was looked up and none has an advisory, or "not audited": no advisories
can be had here, as without a network. 1: an advisory, or a package that was skipped: pip-audit
passes over what its service does not know, which proves nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
VERSION = "2.10.1"
NO_ADVISORIES = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|Max retries exceeded|Name or service not known|"
    r"resolve host|Connection (refused|aborted|reset)|timed out|unreachable|SSLError|ProxyError|"
    r"50[0-9] Server Error",
    re.IGNORECASE,
)


def pins(text: str) -> list[str]:
    """The lines `name==version` of a file of constraints, without local versions as of `+cpu`."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [re.sub(r"\+[\w.]+$", "", line) for line in lines if line]


def judged(report: dict[str, object], asked: Sequence[str]) -> list[str]:
    """What is wrong, a line each, by pip-audit's report on these pins."""
    found: list[str] = []
    known: set[str] = set()
    packages = report.get("dependencies", [])
    assert isinstance(packages, list)
    for package in packages:
        name = canonical(package["name"])
        if reason := package.get("skip_reason"):
            found.append(f"{name} was skipped: {reason}")
        else:
            known.add(name)
        for one in package.get("vulns", []):
            mended = ", ".join(one.get("fix_versions", [])) or "no version yet"
            found.append(f"{name} {package['version']}: {one['id']}, mended in {mended}")
    named = {line.split(" was skipped")[0] for line in found}
    missing = {canonical(pin.partition("==")[0]) for pin in asked} - known - named
    return found + [f"{name} was not looked up" for name in sorted(missing)]


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def audit(asked: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run pip-audit in an environment of its own. Raises OSError where it cannot be installed."""
    with tempfile.TemporaryDirectory() as folder:
        file, python = Path(folder) / "requirements.txt", Path(folder) / "venv" / "bin" / "python"
        file.write_text("\n".join(asked) + "\n")
        venv.create(python.parent.parent, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", f"pip-audit=={VERSION}"]
        if subprocess.run(install, timeout=600, check=False).returncode != 0:
            raise OSError(f"pip-audit {VERSION} cannot be installed")
        command = [str(python), "-m", "pip_audit", "--requirement", str(file)]
        command += ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
        return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def main() -> int:
    asked = pins(CONSTRAINTS.read_text())
    try:
        ended = audit(asked)
        report = json.loads(ended.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"not audited: {error}")
        return 0
    except ValueError:
        said = ended.stderr.strip()
        if NO_ADVISORIES.search(said):
            print(f"not audited: no advisories can be had here ({said.splitlines()[-1][:200]})")
            return 0
        print(said)
        return 1
    wrong = judged(report, asked)
    if len(wrong) == len(asked) and all("was skipped" in line for line in wrong):
        print("not audited: the service of advisories knows none of the packages")
        return 0
    print("\n".join(wrong) or f"{len(asked)} packages, no known vulnerability")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
