"""What is published: a source distribution, a wheel, and what that does without the repository."""

from __future__ import annotations

import email
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

import unclip
from unclip.media import read_image
from unclip.record import Record

ROOT = Path(__file__).parents[1]
OF_GIT = (".ci/", ".git")
BUILD = "import sys, setuptools.build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"
USERS_MYPY = "[mypy]\n[mypy-torch.*,numpy.*]\nfollow_imports = skip\n"
Unclip = Callable[..., "subprocess.CompletedProcess[str]"]


def tracked() -> set[str]:
    """The repository's files."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in said.split("\0") if name and (ROOT / name).is_file()}


@dataclass(frozen=True)
class Published:
    """Files of the source distribution, by their paths in it, and the wheel built of it alone."""

    files: set[str]
    wheel: Path

    def read(self, name: str) -> str:
        """A file of the wheel, by the end of its name."""
        with zipfile.ZipFile(self.wheel) as opened:
            (found,) = [one for one in opened.namelist() if one.endswith(name)]
            return opened.read(found).decode()

    @property
    def metadata(self) -> Message:
        """What an index is told."""
        return email.message_from_string(self.read(".dist-info/METADATA"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Built as `python -m build` does, with the setuptools that is here."""
    clone, out = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name)
    build(clone, "build_sdist", out)
    with tarfile.open(next(out.glob("*.tar.gz"))) as packed:
        packed.extractall(out, filter="data")
    (source,) = (one for one in out.iterdir() if one.is_dir())
    files = {str(one.relative_to(source)) for one in source.rglob("*") if one.is_file()}
    build(source, "build_wheel", out)
    return Published(files, next(out.glob("*.whl")))


def build(folder: Path, what: str, out: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD, what, str(out)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone, which finds its dependencies here; read-only."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(published.wheel)], check=True)
    (site,) = folder.glob("lib/*/site-packages")
    here = next(path for path in sys.path if (Path(path) / "torch" / "__init__.py").is_file())
    (site / "dependencies.pth").write_text(here)  # its own .pth files are not read
    for one in [site, *site.rglob("*")]:
        one.chmod(one.stat().st_mode & ~0o222)
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Iterator[Unclip]:
    """A program of that environment, elsewhere and without a HOME; it writes nothing into it."""
    env = elsewhere(tmp_path)
    before = written(installed)

    def started(program: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [str(installed / "bin" / program), *options]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    yield started
    assert written(installed) == before


def elsewhere(folder: Path) -> dict[str, str]:
    """The environment of a process there, of a user without a home."""
    kept = os.environ.keys() & {"PATH", "LANG", "OMP_NUM_THREADS"}
    own = {"XDG_DATA_HOME": str(folder / "data"), "TMPDIR": str(folder)}
    return {name: os.environ[name] for name in kept} | own


def written(folder: Path) -> dict[str, int]:
    """Files and when they changed."""
    return {str(one): one.stat().st_mtime_ns for one in folder.rglob("*") if one.is_file()}


def test_a_source_distribution_is_the_repository(published: Published) -> None:
    generated = {"PKG-INFO", "setup.cfg"}
    found = {one for one in published.files if ".egg-info/" not in one} - generated
    assert found == {one for one in tracked() if not one.startswith(OF_GIT)}


def test_a_wheel_holds_the_package_and_all_its_data(published: Published) -> None:
    with zipfile.ZipFile(published.wheel) as opened:
        found = {one for one in opened.namelist() if ".dist-info/" not in one}
    assert found == {one.removeprefix("src/") for one in tracked() if one.startswith("src/")}
    assert "unclip/py.typed" in found


@pytest.mark.parametrize(
    ("file", "owner"),
    [
        ("licenses/LICENSE", "MIT License"),
        ("licenses/noto-emoji.txt", "Apache License"),
        ("licenses/unicode-cldr.txt", "UNICODE LICENSE V3"),
        ("licenses/preact.txt", "Jason Miller"),
        ("dist-info/licenses/src/unclip/families/clip/clip_bpe.LICENSE", "OpenAI"),
    ],
)
def test_a_wheel_holds_the_licences_of_all_in_it(
    published: Published, file: str, owner: str
) -> None:
    assert owner in published.read(file)


def test_an_index_is_told_one_version_and_gets_a_page_without_broken_links(
    published: Published,
) -> None:
    said = published.metadata
    (changes,) = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)[:1]
    assert said["Version"] == changes == unclip.__version__
    page = str(said.get_payload())
    assert page.lstrip().startswith("# unclip\n")
    links = re.findall(r"(?<!`)\]\(([^)]+)\)", page)
    assert links and all(one.startswith(("https://", "#")) for one in links)


@pytest.fixture(scope="module")
def long_description() -> Callable[[str, str | None, str], str]:
    """Of setup.py, which sets nothing up when it is imported."""
    spec = importlib.util.spec_from_file_location("unclip_setup", ROOT / "setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Callable[[str, str | None, str], str] = module.long_description
    return made


PAGE = """\
![a fox](docs/fox.png) [docs](docs/a.md#part) and [`nn/`](src/nn)
[the paper](https://arxiv.org/abs/1), [up](#top)
`[no](link)`
```sh
git clone <this repository>  # [no](link)
```
"""


def test_links_of_the_index_page_lead_into_the_version_that_it_describes(
    long_description: Callable[[str, str | None, str], str],
) -> None:
    at = "https://example.org/unclip"
    given = PAGE.replace("(docs/fox.png)", f"({at}/raw/v1/docs/fox.png)")
    given = given.replace("(docs/a.md#part)", f"({at}/blob/v1/docs/a.md#part)")
    given = given.replace("(src/nn)", f"({at}/blob/v1/src/nn)").replace("<this repository>", at)
    assert long_description(PAGE, f"{at}/", "v1") == given
    bare = PAGE.replace("![a fox](docs/fox.png)", "").replace("[docs](docs/a.md#part)", "docs")
    assert long_description(PAGE, None, "v1") == bare.replace("[`nn/`](src/nn)", "`nn/`")


def test_an_index_takes_both_files(published: Published) -> None:
    files = [str(one) for one in published.wheel.parent.iterdir() if one.is_file()]
    assert len(files) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_archive_says_that_it_must_be_installed(published: Published, tmp_path: Path) -> None:
    env = {**elsewhere(tmp_path), "PYTHONPATH": str(published.wheel)}
    command = [sys.executable, "-c", "import unclip"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f": pip install {published.wheel}")


def test_it_draws_without_the_repository(run: Unclip, tmp_path: Path) -> None:
    done = run("unclip", "generate", "a red car", "--seed", "7", "--steps", "2", "-o", "car.png")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    file = tmp_path / "car.png"
    assert read_image(file).size == (256, 256)
    assert (Record.of(file).seed, Record.of(file).version) == (7, unclip.__version__)


@pytest.mark.slow
def test_it_is_in_order_and_serves(run: Unclip, installed: Path, tmp_path: Path) -> None:
    done = run("unclip", "doctor", "--json")
    checks = json.loads(done.stdout)["checks"]
    assert (done.returncode, [one["name"] for one in checks if not one["ok"]]) == (0, [])
    command = [str(installed / "bin" / "unclip"), "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=elsewhere(tmp_path), stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        try:
            found = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stdout)
            at = next(one[0] for one in found if one)
            asked = urllib.request.Request(
                f"{at}/v1/images/generations",
                json.dumps({"prompt": "a red car", "response_format": "b64_json"}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=100) as answer:
                assert len(json.load(answer)["data"][0]["b64_json"]) > 1000
        finally:
            server.terminate()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_users_mypy_sees_the_types(installed: Path, tmp_path: Path) -> None:
    """Also the mistakes of `typed_user.py`, as it refuses ignores that nothing needs.

    It does not follow PyTorch and NumPy: the file has nothing of theirs, and they take most of the
    time.
    """
    file = shutil.copy(ROOT / "tests" / "typed_user.py", tmp_path)
    (tmp_path / "mypy.ini").write_text(USERS_MYPY)
    options = ["--strict", "--config-file=mypy.ini", f"--cache-dir={tmp_path / 'cache'}"]
    options += [f"--python-executable={installed / 'bin/python'}"]
    command = [sys.executable, "-m", "mypy", *options, str(file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
