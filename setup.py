"""What pyproject.toml cannot say: the README as a package index shows it, away from its repository.

Links to files lead to the version's tag in the `Repository` of `[project.urls]`. Where that is not
given nothing could be linked to: the words stay, and pictures are left out.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`(?!\])", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<picture>!?)\[(?P<words>[^\[\]]*)\]\((?!\w+:|#)(?P<file>[^()\s]+)\)")


def long_description(page: str, repository: str | None, tag: str) -> str:
    """A Markdown page whose links need no file beside it.

    Args:
        page: links are relative to the repository's root; those in code are left as they are.
        repository: its address, if it has one.
        tag: the version of the files that links lead to.
    """

    repository = repository and repository.rstrip("/")

    def linked(found: re.Match[str]) -> str:
        picture, words, file = found["picture"], found["words"], found["file"]
        if not repository:
            return "" if picture else words
        view = "raw" if picture else "blob"
        return f"{picture}[{words}]({repository}/{view}/{tag}/{file})"

    parts = re.split(f"({CODE.pattern})", page, flags=CODE.flags)
    done = [part if at % 2 else LINK.sub(linked, part) for at, part in enumerate(parts)]
    return "".join(done).replace("<this repository>", repository or "<this repository>")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = (ROOT / "src/unclip/_version.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.+)"', said)
    assert version, "src/unclip/_version.py holds the version"
    repository = project.get("urls", {}).get("Repository")
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=long_description(page, repository, f"v{version[1]}"),
        long_description_content_type="text/markdown",
    )


if __name__ == "__main__":
    main()
