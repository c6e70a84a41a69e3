"""Build the site: `python scripts/website.py` lays its pages out in build/pages and calls Sphinx.

Pages are the Markdown files of docs/ and of the root, and what `reference.py` makes. A relative
link must lead to a file of the repository: to a page, to a page that shows that file or folder, or
to the `Repository` of pyproject.toml's `[project.urls]` where that is given. Sphinx checks the
anchors, runs the cells, and takes any warning for an error.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import posixpath
import re
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = r"^ *(?P<fence>`{3,}|~{3,}).*?^ *(?P=fence)|`+[^`\n]+`+"
LINK = r"(?P<words>!?\[[^\[\]]*\])\((?!\w+:|#)(?P<target>[^()\s#]+)(?P<anchor>#[^()\s]*)?\)"
CODE_OR_LINK = re.compile(f"{CODE}|{LINK}", re.MULTILINE | re.DOTALL)
TOCTREE = re.compile(r"^```\{toctree\}\n((?::[^\n]*\n)*)\n?(.*?)^```\n", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"[^\s<>]+(?=>?$)", re.MULTILINE)  # `page`, or `Title <page>`
CELLS = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n  language: python\n---\n\n"
FIRST = ("index.md", "README.md")
FENCE = "`" * 8
ASIDE = "---\norphan: true\nnosearch: true\n---\n\n"
LANGUAGES = {".py": "python", ".sh": "sh", ".sbatch": "sh", ".toml": "toml", ".yaml": "yaml"}
SHOWN = {".md", ".txt", ".LICENSE", *LANGUAGES}


class Pages:
    """Texts of the site's pages, and files to copy, by their place in it.

    Args:
        root: of the repository.
        files: where the repository's files are shown on the web; else the site shows them.
    """

    def __init__(self, root: Path, files: str = "") -> None:
        self.root, self.files = root, files
        self.texts = dict[str, str]()
        self.copies = dict[str, Path]()
        self.broken = list[str]()  # links
        self.waiting = [*root.glob("docs/**/*.md"), *root.glob("*.md")]
        while self.waiting:
            file = self.waiting.pop()
            place = self.place(file)
            if place not in self.texts:
                self.texts[place] = self.page(file, place)

    def place(self, file: Path) -> str:
        """Where a file is in the site, itself or shown on a page."""
        path = file.relative_to(self.root).as_posix()
        if file.is_dir():
            return f"source/{path}/index.md"
        if path.startswith("docs/"):
            return re.sub(r"\bREADME\.md$", "index.md", path.removeprefix("docs/"))
        if "/" not in path and file.suffix == ".md":
            return "zh/readme.md" if path == "README.zh.md" else path.lower()
        return f"source/{path}.md" if file.suffix in SHOWN - {".md"} else f"source/{path}"

    def page(self, file: Path, place: str) -> str:
        """A file as a page: Markdown with its links led to their places, or what is in it."""
        head = ASIDE if place.startswith("source/") else ""
        title = f"# {file.relative_to(self.root).as_posix()}\n\n"
        if file.is_dir():
            inside = sorted(one for one in file.iterdir() if one.name[0] not in "._")
            return head + title + "".join(f"- {self.entry(one, place)}\n" for one in inside)
        text = file.read_text(encoding="utf-8")
        if file.suffix != ".md":
            language = LANGUAGES.get(file.suffix, "text")
            return f"{head}{title}{FENCE}{language}\n{text}\n{FENCE}\n"
        text = CODE_OR_LINK.sub(lambda found: self.linked(file, place, found), text)
        cells = "```{code-cell}" in text
        return (head or (CELLS if cells else "")) + text

    def linked(self, file: Path, place: str, found: re.Match[str]) -> str:
        """A link as it is in the site; code is left alone."""
        if found["target"] is None:
            return found[0]
        target = Path(os.path.normpath(file.parent / found["target"]))
        if not (target.exists() and target.is_relative_to(self.root)):
            self.broken.append(f"{file.relative_to(self.root)}: {found[0]} leads nowhere")
            return found[0]
        return f"{found['words']}({self.reach(target, place)}{found['anchor'] or ''})"

    def reach(self, target: Path, place: str) -> str:
        """The address of a file from a page; of a folder of pages, that of its first."""
        if target.is_dir() and target.is_relative_to(self.root / "docs"):
            target = next((one for one in map(target.joinpath, FIRST) if one.exists()), target)
        to = self.place(target)
        if self.files and to.startswith("source/"):
            return f"{self.files}/{target.relative_to(self.root).as_posix()}"
        if to.endswith(".md"):
            self.waiting.append(target)
        else:
            self.copies[to] = target
        return posixpath.relpath(to, posixpath.dirname(place))

    def entry(self, file: Path, place: str) -> str:
        """A line of a folder's page."""
        return f"[{file.name}]({self.reach(file, place)})" if file.suffix in SHOWN else file.name

    def listed(self) -> dict[str, str]:
        """The texts, in which every page is listed: by index.md, or by the first of its folder."""
        names = {place[:-3] for place in self.texts if not place.startswith("source/")}
        done = dict(self.texts)
        for name in sorted(one for one in names if posixpath.basename(one) == "index"):
            folder, text = posixpath.dirname(name), self.texts[f"{name}.md"]
            if not TOCTREE.search(text):
                text += "\n```{toctree}\n:hidden:\n\n*\n*/index\n```\n"
            done[f"{name}.md"] = expanded(text, folder, names - {name})
        return done

    def write(self, to: Path) -> None:
        """Bring a folder up to date; what did not change keeps its time."""
        files = {to / place: text.encode() for place, text in self.listed().items()}
        files |= {to / place: file.read_bytes() for place, file in self.copies.items()}
        for old in to.rglob("*"):
            if old.is_file() and old not in files:
                old.unlink()
        for file, content in files.items():
            if not (file.exists() and file.read_bytes() == content):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)


def expanded(text: str, folder: str, names: set[str]) -> str:
    """A page whose tables of contents name the pages that stood for a pattern.

    Pages come in the order in which the text links to them, which links to their headings do not
    change, then by name. One that a line of its own names comes under no pattern, and a folder with
    an index is that page alone.
    """
    under = f"{folder}/" if folder else ""
    inside = {one.removeprefix(under) for one in names if one.startswith(under)}
    rest = inside - {one for _, lines in TOCTREE.findall(text) for one in NAMED.findall(lines)}

    def fitting(pattern: str) -> list[str]:
        first, depth = pattern.replace("*", "index"), pattern.count("/")
        fits = [one for one in rest if fnmatchcase(one, pattern) and one.count("/") == depth]
        at = {one: text.find(f"({one}.md)") % (len(text) + 1) for one in fits}
        return [first] if first in fits else sorted(fits, key=lambda one: (at[one], one))

    def fill(found: re.Match[str]) -> str:
        lines = list[str]()
        for line in filter(None, found[2].split("\n")):
            lines += fitting(line) if "*" in line else [line]
            rest.difference_update(lines)
        return f"```{{toctree}}\n{found[1]}\n" + "\n".join([*lines, "```\n"]) if lines else ""

    return TOCTREE.sub(fill, text)


def shown_at(root: Path) -> str:
    """Where the version's files are on the web, or an empty string."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    from unclip import __version__

    repository = project.get("urls", {}).get("Repository", "").rstrip("/")
    return f"{repository}/blob/v{__version__}" if repository else ""


def digest(folder: Path) -> str:
    """Of all files; what cells gave holds as long as the package is the same."""
    files = sorted(one for one in folder.rglob("*") if one.is_file() and one.suffix != ".pyc")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def build(site: Pages, work: Path, output: Path, cells: bool = True) -> int:
    """Make HTML of pages, with a folder for what is kept. Returns an exit code."""
    from sphinx.cmd.build import main as sphinx

    site.write(work / "pages")
    options = {
        "nb_execution_mode": "cache" if cells else "off",
        "nb_execution_cache_path": str(work / "cells" / digest(ROOT / "src/unclip")),
    }
    given = [word for key, value in options.items() for word in ("-D", f"{key}={value}")]
    given += ["-c", str(ROOT / "docs"), "-d", str(work / "doctrees")]
    return sphinx(["-W", "-q", *given, str(work / "pages"), str(output)])


def main() -> int:
    """Build it. Returns an exit code."""
    parser = argparse.ArgumentParser(description="Build the site into build/site.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/site")
    parser.add_argument("--no-cells", action="store_true", help="do not run the pages' cells")
    asked = parser.parse_args()
    package = str(ROOT / "src")
    sys.path.insert(0, package)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.getenv("PYTHONPATH")]))
    os.environ["UNCLIP_CONFIG"] = ""  # pages show what the package does without a user's defaults
    from reference import pages

    site = Pages(ROOT, shown_at(ROOT))
    if site.broken:
        print(*sorted(site.broken), sep="\n", file=sys.stderr)
        return 1
    site.texts |= pages()
    code = build(site, ROOT / "build", asked.output, cells=not asked.no_cells)
    if code == 0:
        print(asked.output / "index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
