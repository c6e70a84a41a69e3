"""The README's commands run from top to bottom; `scripts/readme.py` reads them from the page."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "readme.py"
needs_venv = pytest.mark.skipif(
    not (Path(sys.prefix) / "bin" / "activate").is_file(), reason="this Python is of no .venv"
)

PAGE = """
# A page

```sh
source .venv/bin/activate   # first
# a remark
one \\
  two
```
<!-- slow: an hour -->
```python
print("three")
```

<!-- not run: npm -->
```sh
four
```

```toml
five = 5
```
"""


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["readme"] = module  # where dataclass looks its types up
    spec.loader.exec_module(module)
    return module


def run(page: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(page), *options]
    env = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_what_a_page_asks_for(readme: ModuleType) -> None:
    found = readme.blocks(PAGE)
    assert [one.commands() for one in found] == [
        ["source .venv/bin/activate   # first", "one    two"],
        ["python - <<'END'\nprint(\"three\")\nEND"],
        ["four"],
    ]
    assert [(one.mark, one.why) for one in found] == [
        ("", ""),
        ("slow", "an hour"),
        ("not run", "npm"),
    ]


def test_a_mark_that_is_none_is_refused(readme: ModuleType) -> None:
    with pytest.raises(ValueError, match="unknown mark 'skip'"):
        readme.blocks("<!-- skip: later -->\n```sh\nfalse\n```\n")


def test_every_block_of_the_readme_is_read(readme: ModuleType) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    fences = [line for line in page.splitlines() if line in ("```sh", "```python")]
    found = readme.blocks(page)
    assert [f"```{one.language}" for one in found] == fences
    assert sum(not one.mark for one in found) >= 4  # what is left out stays the smaller part


@needs_venv
def test_one_session_from_top_to_bottom(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    lines = ["mkdir inner", "cd inner", "source ../.venv/bin/activate", "touch made"]
    page.write_text("```sh\n" + "\n".join(lines) + "\n```\n```python\nopen('made')\n```\n")
    done = run(page)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ran 5 commands" in done.stdout


@needs_venv
@pytest.mark.parametrize("command", ["false", "unclip --version", "python no-such-file.py"])
def test_the_first_failure_ends_it(command: str, tmp_path: Path) -> None:
    """`unclip` is not found by a page that never activates the .venv."""
    page = tmp_path / "page.md"
    page.write_text(f"```sh\necho before\n{command}\necho after\n```\n")
    done = run(page)
    assert done.returncode == 1
    assert "\nbefore\n" in done.stdout and "\nafter\n" not in done.stdout
    assert f": {command}\n" in done.stdout


@needs_venv
def test_a_forked_command_has_its_folder_variables_streams_and_exit_code(tmp_path: Path) -> None:
    lines = ["mkdir inner", "cd inner", "export UNCLIP_STEPS=7"]
    lines += ["unclip config > said", "grep STEPS ../inner/said"]
    lines += ["unclip inspect roadless.png", "echo after"]
    page = tmp_path / "page.md"
    page.write_text("```sh\n" + "\n".join(lines) + "\n```\n")
    done = run(page, "--forked")
    assert done.returncode == 1
    assert "UNCLIP_STEPS" in done.stdout and "\nafter\n" not in done.stdout
    assert "FAILED with 2: unclip inspect roadless.png" in done.stdout
    assert done.stderr.startswith("unclip: ")


@needs_venv
@pytest.mark.timeout(1200)
def test_the_readme_runs() -> None:
    """In a few steps, without a start for each command; the slow test below is as readers do it."""
    done = run(ROOT / "README.md", "--forked", UNCLIP_STEPS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical to out.png" in done.stdout


@needs_venv
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_readme_runs_with_its_training() -> None:
    done = run(ROOT / "README.md", "--slow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the model is ready" in done.stdout


@needs_venv
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_first_steps_run() -> None:
    done = run(ROOT / "docs" / "first-steps.md", "--forked", UNCLIP_STEPS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical to fox.png" in done.stdout


@needs_venv
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_gallery_runs() -> None:
    done = run(ROOT / "docs" / "gallery.md", "--activated")
    assert done.returncode == 0, done.stdout + done.stderr
