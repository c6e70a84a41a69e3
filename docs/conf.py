"""How Sphinx builds the site; `scripts/website.py` lays the pages out and calls it."""

from __future__ import annotations

import re
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import sphinx
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from pydantic import BaseModel
from pygments.lexers import TextLexer
from sphinx import addnodes, locale
from sphinx.application import Sphinx
from sphinx.domains.python import ObjectEntry, PythonDomain
from sphinx.ext.napoleon import Config as Napoleon
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.search.en import SearchEnglish
from sphinx.util import logging

from unclip import __version__

project = "unclip"
copyright = "the authors of unclip, MIT licence"
release = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
]

# Pages are Markdown as GitHub reads it, with equations; headings are linked to by GitHub's anchors.
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 6
suppress_warnings = ["myst.header"]  # how-tos may leave out a level of headings

# Cells run when the site is built. What one prints or raises that it should not is an error.
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "remove-warn"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would be fetched from elsewhere

# Docstrings are Google's, with `names` between single backquotes.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
autodoc_class_signature = "mixed"
add_module_names = False
smartquotes = False  # prompts are shown as they are typed; Chinese has no spaces to tell quotes by
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
nitpicky = True

html_theme = "furo"
html_title = "unclip"
html_logo = html_favicon = "../studio/src/mark.svg"
html_theme_options = {
    "dark_css_variables": {
        "color-background-primary": "#161412",
        "color-background-secondary": "#1e1b18",
        "color-background-hover": "#27231f",
        "color-background-border": "#38332d",
        "color-foreground-primary": "#f1ede6",
        "color-foreground-secondary": "#cfc7bb",
        "color-foreground-muted": "#b3aba0",
        "color-brand-primary": "#ff9a5c",
        "color-brand-content": "#ff9a5c",
        "color-brand-visited": "#d99a78",
        "color-inline-code-background": "#27231f",
        "color-code-background": "#1e1b18",
        "color-highlight-on-target": "#3d2617",
    }
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_math_renderer = "mathml"
html_search_language = "en-zh"
html_search_options: dict[str, str] = {}
templates_path = ["_templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/language.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
pygments_style, pygments_dark_style = "friendly", "github-dark"
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

CHINESE = re.compile(r"[\u3400-\u9fff]+")


class Search(SearchEnglish):
    """English words, and Chinese by every two characters that follow each other."""

    lang = "en-zh"
    js_splitter_code = r"""
var splitQuery = (query) => query.replace(/[\u3400-\u9fff]+/gu, (run) =>
    ` ${run.length < 2 ? run : [...run].slice(1).map((c, i) => run[i] + c).join(" ")} `)
  .split(/[^\p{Letter}\p{Number}_\p{Emoji_Presentation}]+/gu).filter((term) => term);
"""

    def split(self, text: str) -> list[str]:
        """The words of a text."""
        return super().split(CHINESE.sub(lambda found: f" {' '.join(pairs(found[0]))} ", text))


def pairs(run: str) -> list[str]:
    """Each character with the next one; one alone is itself."""
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


class Names(PythonDomain):
    """Finds a name as Python does, or else the only one that ends in it."""

    @cached_property
    def ends(self) -> dict[str, list[str]]:
        """Full names by their last word."""
        found = dict[str, list[str]]()
        for full, entry in self.objects.items():
            if entry.objtype in ("class", "exception", "function"):
                found.setdefault(full.rpartition(".")[2], []).append(full)
        return found

    def find_obj(
        self, env: Any, modname: str, classname: str, name: str, *_: Any
    ) -> list[tuple[str, ObjectEntry]]:
        """As the base class, but in no time."""
        name = name.removesuffix("()")
        exact = [f"{modname}.{classname}.{name}", f"{modname}.{name}", name]
        ends = self.ends.get(name.rpartition(".")[2], [])
        return [(one, self.objects[one]) for one in exact if one in self.objects][:1] or [
            (one, self.objects[one]) for one in ends if len(ends) == 1
        ]


def plain(_: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """A docstring as reStructuredText."""
    parts = re.split(r"(`[^`]+`)", "\n".join(lines))
    parts[::2] = [re.sub(r"([*|]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    text = re.sub(r"(?<=[^:]\n\n)((?: {4}.*\n?)+)", r"::\n\n\1\n", "".join(parts))
    google = GoogleDocstring(text, Napoleon(napoleon_use_rtype=False), what=what)
    lines[:] = text.split("\n") if what in ("attribute", "data") else google.lines()


def brief(_: Any, what: str, name: str, of: Any, options: Any, *shown: Any) -> Any:
    """A class of settings is shown without a signature: its fields follow, or are in a table."""
    return ("", None) if isinstance(of, type) and issubclass(of, BaseModel) else None


def without_checks(app: Sphinx, page: nodes.document) -> None:
    """Types of fields that hold their validators are left out."""
    for note in list(page.findall(addnodes.desc_annotation)):
        if "Annotated[" in note.astext():
            note.parent.remove(note)


def equation(self: Any, node: nodes.math | nodes.math_block) -> None:
    """MathML, which browsers draw by themselves."""
    block = isinstance(node, nodes.math_block)
    try:
        drawn = tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("%s: %s", error, node.astext(), location=node)
        drawn = ""
    self.body.append(f'<div class="math">{drawn}</div>' if block else drawn)
    raise nodes.SkipNode


def elsewhere(app: Sphinx, env: Any, node: Any, shown: nodes.Node) -> nodes.Node | None:
    """What the reference has no page of stays a word: code in docstrings, types of others."""
    return shown if node.get("refdomain") == "py" else None


def context(app: Sphinx, page: str, template: str, given: dict[str, Any], _: Any) -> None:
    """What templates are given: the navigation, and that pages of docs/zh are Chinese."""
    chinese = page.startswith("zh/")
    other = page.removeprefix("zh/") if chinese else f"zh/{page}"
    found = other in app.env.all_docs
    given["other_language"] = other if found else "index" if chinese else ""
    given["toctree"] = lambda **_: navigation(app, page, "zh/index" if chinese else "index")
    if chinese:
        translated = locale.get_translation("sphinx", "zh_CN")
        given.update(language="zh-CN", _=translated, gettext=translated)


def navigation(app: Sphinx, page: str, root: str) -> str:
    """The pages under a root as nested lists; Sphinx's own takes half of the time of a build."""
    html = ""
    for table in app.env.tocs[root].findall(addnodes.toctree):
        if table.get("caption"):
            caption = f'<span class="caption-text">{escape(table["caption"])}</span>'
            html += f'<p class="caption">{caption}</p>'
        html += listing(app, page, table["entries"], 1)
    return html


def listing(app: Sphinx, page: str, entries: list[tuple[str | None, str]], level: int) -> str:
    """One list of pages, with those under each."""
    html = ""
    for title, name in entries:
        inner = [] if name == "zh/index" else app.env.toctree_includes.get(name, [])
        under = listing(app, page, [(None, one) for one in inner], level + 1) if inner else ""
        here = "current " if name == page or 'class="current ' in under else ""
        to = "#" if name == page else app.builder.get_relative_uri(page, name)
        link = f'<a class="{here}reference internal" href="{to}">'
        shown = escape(title or app.env.titles[name].astext())
        html += f'<li class="{here}toctree-l{level}">{link}{shown}</a>{under}</li>'
    return f"<ul>{html}</ul>"


def setup(app: Sphinx) -> None:
    locale.init([str(Path(sphinx.__file__).parent / "locale")], "zh_CN", "sphinx", "zh_CN")
    app.add_html_math_renderer("mathml", (equation, None), (equation, None))
    app.add_search_language(Search)
    app.add_lexer("csv", TextLexer)
    app.add_domain(Names, override=True)
    app.connect("autodoc-process-docstring", plain)
    app.connect("autodoc-process-signature", brief)
    app.connect("doctree-read", without_checks)
    app.connect("missing-reference", elsewhere)
    app.connect("html-page-context", context, priority=100)  # before furo
