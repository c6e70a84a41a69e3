"""The site: links, navigation, equations, search, cells, and a page for every public name."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from website import Pages, build, expanded

import unclip
from unclip.abilities import ABILITIES
from unclip.diffusion.samplers import SAMPLERS

pytest.importorskip("sphinx")
pytestmark = pytest.mark.timeout(600)  # whichever test comes first builds the whole site

ROOT = Path(__file__).parents[1]
CELL = "```{code-cell} python\n%s\n```\n"


def repository(at: Path, **files: str) -> Path:
    """A small one. Names have `__` for the slash and `_md` for the suffix."""
    for name, text in files.items():
        file = at / re.sub(r"_([a-z]+)$", r".\1", name.replace("__", "/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return at


def test_links_lead_to_pages_and_to_pages_that_show_files(tmp_path: Path) -> None:
    page = "[a](b.md#c) ![p](p.png) [r](../README.md) [x](../src/x.py) [f](../src) `[no](no.md)`"
    root = repository(
        tmp_path,
        docs__a_md=f"{page}\n\n```\n[no](no.md)\n```\n",
        docs__b_md="[m](models/README.md)",
        docs__models__README_md="[up](../a.md) [web](https://a.b/c) [here](#d)",
        docs__p_png="",
        README_md="[d](docs/a.md)",
        README_zh_md="[d](docs/zh/index.md)",
        docs__zh__index_md="[r](../../README.zh.md) [o](../../README.md)",
        src__x_py="x = 1",
    )
    (root / "README_zh.md").rename(root / "README.zh.md")
    made = Pages(root)
    assert not made.broken
    at = "[a](b.md#c) ![p](p.png) [r](readme.md) [x](source/src/x.py.md) [f](source/src/index.md)"
    assert made.texts["a.md"] == f"{at} `[no](no.md)`\n\n```\n[no](no.md)\n```\n"
    assert made.texts["b.md"] == "[m](models/index.md)"
    assert made.texts["models/index.md"] == "[up](../a.md) [web](https://a.b/c) [here](#d)"
    assert made.texts["readme.md"] == "[d](a.md)"
    assert made.texts["zh/readme.md"] == "[d](index.md)"
    assert made.texts["zh/index.md"] == "[r](readme.md) [o](../readme.md)"
    assert "\nx = 1\n" in made.texts["source/src/x.py.md"]
    assert "[x.py](x.py.md)" in made.texts["source/src/index.md"]
    assert made.copies == {"p.png": root / "docs/p.png"}
    web = Pages(root, "https://a.b/blob/v1").texts
    assert "[x](https://a.b/blob/v1/src/x.py)" in web["a.md"]
    assert "[r](readme.md)" in web["a.md"] and "source/src/x.py.md" not in web


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    made = Pages(repository(tmp_path, docs__a_md="[b](b.md) [c](../../c.md) ![d](d.png)"))
    assert [line.split(": ")[1] for line in made.broken] == [
        "[b](b.md) leads nowhere",
        "[c](../../c.md) leads nowhere",
        "![d](d.png) leads nowhere",
    ]


def test_every_link_of_the_repository_leads_somewhere() -> None:
    assert Pages(ROOT).broken == []


def test_new_pages_are_listed_by_existing() -> None:
    text = (
        "[d](d.md#e) [b](b.md) [d](d.md)\n"
        "```{toctree}\n:hidden:\n\nThe C <c>\nin/*\n*\n```\n```{toctree}\n\nzh/*\n```\n"
    )
    names = {"a", "b", "c", "d", "in/index", "in/d"}
    listed = "[d](d.md#e) [b](b.md) [d](d.md)\n"
    listed += "```{toctree}\n:hidden:\n\nThe C <c>\nin/index\nb\nd\na\n```\n"
    assert expanded(text, "", names) == listed
    below = "```{toctree}\n\n*\n*/index\n```\n"
    assert (
        expanded(below, "in", {"a", "in/d", "in/f/index", "in/f/g"})
        == "```{toctree}\n\nd\nf/index\n```\n"
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built strictly; cells that ran before with the same package are not rerun."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "scripts/website.py", "-o", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def public() -> dict[str, Any]:
    """What the reference must have, by its name there."""
    found = {f"unclip.{name}": getattr(unclip, name) for name in unclip.__all__}
    methods = inspect.getmembers(unclip.Pipeline, lambda of: callable(of) or type(of) is property)
    found |= {f"unclip.Pipeline.{name}": of for name, of in methods if name[0] != "_"}
    found |= {f"unclip.diffusion.samplers.{name}": of for name, of in SAMPLERS.items()}
    for name in ABILITIES.names():
        for of in (ABILITIES[name].request, ABILITIES[name].function):
            found[f"{of.__module__}.{of.__name__}"] = of
    return found


def test_the_reference_has_every_public_name(site: Path) -> None:
    from sphinx.util.inventory import InventoryFile

    listed = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    names = {name for kind, of in listed.items() if kind.startswith("py:") for name in of}
    assert set(public()) <= names
    for module in ("nn.prior.PriorNet", "nn.unet.UNet", "stages.decoder.Decoder", "types.Cond"):
        assert f"unclip.{module}" in names


def test_every_public_name_has_a_docstring() -> None:
    silent = [name for name, of in public().items() if not inspect.getdoc(of)]
    assert silent == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    outer = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"(?:https?:)?//")
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    assert [page for page in pages if outer.search(page.read_text(encoding="utf-8"))] == []
    styles = "".join(one.read_text(encoding="utf-8") for one in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//|@import", styles)


def test_requests_show_type_bounds_and_default(site: Path) -> None:
    page = (site / "reference/abilities.html").read_text(encoding="utf-8")
    row = re.search(r"<tr[^>]*><td><p><code[^>]*><span[^>]*>strength.*?</tr>", page, re.DOTALL)
    assert row
    words = re.sub(r"<[^>]+>", " ", row[0]).split()
    assert words[:8] == ["strength", "number", "0.6", "at", "least", "0,", "at", "most"]


def test_cells_draw_what_is_on_the_page(tmp_path: Path) -> None:
    code = "from PIL import Image\nImage.new('RGB', (3, 2), (7, 8, 9))"
    page = f'# 标题\n\n噪声表："a fox", $x_0$ and\n\n$$\n\\frac{{a}}{{b}}\n$$\n\n{CELL % code}'
    site = Pages(repository(tmp_path / "of", docs__index_md=page))
    assert build(site, tmp_path / "work", tmp_path / "site") == 0
    html = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    shown = re.findall(r'src="(_images/\w+\.png)"', html)
    from unclip.media import read_image

    (picture,) = [read_image(tmp_path / "site" / name) for name in shown]
    assert picture.size == (3, 2) and picture.getpixel((0, 0)) == (7, 8, 9)
    assert "<msub>" in html and "<mfrac>" in html
    assert "：&quot;a fox&quot;" in html or '："a fox"' in html
    index = (tmp_path / "site/searchindex.js").read_text(encoding="utf-8")
    terms = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))["terms"]
    assert {"噪声", "声表"} <= set(terms)
    assert build(site, tmp_path / "other", tmp_path / "unrun", cells=False) == 0
    assert not list((tmp_path / "unrun").glob("_images/*.png"))


@pytest.mark.parametrize(
    "page",
    [CELL % "1 / 0", "[a](#nowhere)", "$$\n\\nosuchcommand\n$$", "[a](b.md#nowhere)"],
    ids=["cell", "anchor", "equation", "other"],
)
def test_what_is_wrong_fails_the_build(tmp_path: Path, page: str) -> None:
    root = repository(tmp_path / "of", docs__index_md=f"# A\n\n{page}", docs__b_md="# B\n")
    assert build(Pages(root), tmp_path / "work", tmp_path / "site") != 0
