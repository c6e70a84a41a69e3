"""Run the official clients of OpenAI's API against `unclip serve`, and write docs/clients.md.

    python3 scripts/clients.py              make what is missing of .venv-clients, run, write
    python3 scripts/clients.py --set-up     only make the environments

Every client has an environment of its own. The cases are in tests/clients; the project's .venv
runs the server and pytest.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".venv-clients"
PAGE = ROOT / "docs" / "clients.md"

PYTHON = {
    "0.28.1": ("pillow",),
    "1.3.0": ("httpx<0.28",),
    "1.109.1": (),
    "2.54.0": (),
    "3.57.0": (),
}
"""Version of openai -> what it needs besides."""
NODE = ("4.104.0", "6.49.0", "7.59.0")
APPLICATIONS = {
    "langchain-0.4.2": ("langchain-community==0.4.2", "openai==3.57.0"),
    "llama-index-0.7.0": (
        "llama-index-tools-openai-image-generation==0.7.0",
        "openai==3.57.0",
        "pillow",
    ),
}

PASSED, SKIPPED, FAILED = "✓", "–", "✗"
NAME = re.compile(r"test_(\w+)\[(?:(python|node)-([0-9.]+)(?:-(sync|async))?)?-?(.*)\]")


def main() -> None:
    parser = argparse.ArgumentParser(description="Run OpenAI's clients against `unclip serve`.")
    parser.add_argument("--set-up", action="store_true", help="only make the environments")
    given = parser.parse_args()
    for version, more in PYTHON.items():
        python(f"openai-{version}", f"openai=={version}", *more)
    for name, packages in APPLICATIONS.items():
        python(name, *packages)
    for version in NODE:
        node(f"node-{version}", f"openai@{version}")
    if given.set_up:
        return
    code, cases = tested()
    PAGE.write_text(page(cases), encoding="utf-8")
    print(f"clients: {PAGE}")
    raise SystemExit(code)


def python(name: str, *packages: str) -> None:
    """Make an environment of Python packages, if it is missing."""
    folder = ENVIRONMENTS / name
    if begun(folder, *packages):
        run(sys.executable, "-m", "venv", str(folder))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
        run(*pip, "install", "--quiet", *packages)
        (folder / "done").write_text("\n".join(packages))


def node(name: str, package: str) -> None:
    """Make a folder of a package of npm, if it is missing."""
    folder = ENVIRONMENTS / name
    if begun(folder, package):
        quiet = ("--silent", "--no-fund", "--no-audit", "--ignore-scripts")
        run("npm", "install", *quiet, "--prefix", str(folder), package)
        (folder / "done").write_text(package)


def begun(folder: Path, *packages: str) -> bool:
    """Whether it has to be made of these; then what was left of it is removed."""
    done = folder / "done"
    if done.is_file() and done.read_text().split("\n") == list(packages):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"clients: {folder.relative_to(ROOT)}", flush=True)
    return True


def run(*command: str) -> None:
    if subprocess.run(command).returncode:
        raise SystemExit(f"clients: {' '.join(command[:6])} failed; see the output above")


def tested() -> tuple[int, list[ElementTree.Element]]:
    """The exit code of pytest, and its cases."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        pytest = (str(ROOT / ".venv" / "bin" / "pytest"), "tests/clients", "-m", "slow or not slow")
        code = subprocess.run([*pytest, "-q", f"--junitxml={report}"], cwd=ROOT).returncode
        if not report.is_file():
            raise SystemExit(f"clients: pytest wrote no report (exit {code})")
        return code, list(ElementTree.parse(report).iter("testcase"))


def page(cases: list[ElementTree.Element]) -> str:
    """docs/clients.md."""
    results: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    applications: dict[str, str] = {}
    lacks: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        found = NAME.fullmatch(case.get("name", ""))
        if found is None:
            continue
        name, kind, version, _, more = found.groups()
        row = name.replace("_", " ") + (f": `{more}`" if more else "")
        if kind is None:
            applications[row] = result(case)
            continue
        client = f"{kind.title()} {version}"
        results[row][client].append(result(case))
        skipped = case.find("skipped")
        if skipped is not None:
            lacks[skipped.get("message", "")].append(client)
    return text(results, applications, lacks)


def result(case: ElementTree.Element) -> str:
    """How a case ended."""
    if case.find("skipped") is not None:
        return SKIPPED
    return PASSED if case.find("failure") is None and case.find("error") is None else FAILED


HEAD = """# OpenAI's clients

`make clients` runs the official clients of OpenAI's API against `unclip serve` and writes this
page. Every client is in an environment of its own, those for Python run synchronously and
asynchronously, and all of them run the same cases (`tests/clients`): ✓ passed, ✗ failed, – the
client cannot ask for that. The server draws with a tiny model whose weights are random.

"""

APPLIED = """
## Applications

LangChain and LlamaIndex run themselves against the server. Requests of these two and of other
applications are also replayed, as their packages send them, or, where there is no package, as they
were seen (`tests/clients/test_applications.py` says which), and the answers are read as they read
them.

"""


def text(
    results: dict[str, dict[str, list[str]]],
    applications: dict[str, str],
    lacks: dict[str, list[str]],
) -> str:
    """Of the tables."""
    clients = [*(f"Python {one}" for one in PYTHON), *(f"Node {one}" for one in NODE)]
    rows = [
        [row, *("".join(sorted(set(cells.get(one, [SKIPPED])))) for one in clients)]
        for row, cells in results.items()
    ]
    why = [f"- {reason}: {', '.join(dict.fromkeys(who))}" for reason, who in lacks.items()]
    applied = [list(one) for one in applications.items()]
    return (
        HEAD
        + table(["case", *clients], rows)
        + "\nWhy a client cannot:\n\n"
        + "\n".join(why)
        + "\n"
        + APPLIED
        + table(["request", "result"], applied)
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---", *(len(head) - 1) * [":-:"]], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
