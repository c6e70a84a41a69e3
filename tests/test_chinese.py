"""The Chinese pages say what the English ones say, in the glossary's words."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ALONE = ("README.md", "docs/index.md", "docs/first-steps.md", "docs/glossary.md")
FOLDERS = ("docs/evening", "docs/examples")
GLOSSARY = "docs/glossary.md"
OTHER_LANGUAGE = re.compile(r"^(English: |中文：)\[README[.\w]*\]\([^)]*\)\n", re.MULTILINE)
FENCED = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
EQUATION = re.compile(r"^\$\$\n(.*?)^\$\$$", re.MULTILINE | re.DOTALL)
REMARK = re.compile(r"(^|(?<=\s))# .*$", re.MULTILINE)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
HAN = r"\u3400-\u9fff"
OTHER_SENSES = {
    ("docs/evening/prior.md", "mask"),  # of attention
    ("docs/first-steps.md", "step"),
}
STUDIO = {  # keys of the page's catalogue and the terms that they name
    "stage.prior": "prior",
    "stage.decoder": "decoder",
    "stage.upsampler": "upsampler",
    "ability.vary": "variation",
    "ability.interpolate": "interpolation",
    "ability.textdiff": "text diff",
    "ability.outpaint": "outpainting",
    "ability.reconstruct": "reconstruction",
    "send.probe": "probe",
    "make.negative": "negative prompt",
    "make.seed": "seed",
    "field.guidance_scale": "guidance scale",
    "field.sampler": "sampler",
    "field.best_of": "best-of",
}


def chinese_of(page: str) -> str:
    """The path of a page's counterpart."""
    return "README.zh.md" if page == "README.md" else page.replace("docs/", "docs/zh/", 1)


def pages() -> list[str]:
    """The English pages that have one."""
    inside = [one for folder in FOLDERS for one in sorted(ROOT.glob(f"{folder}/*.md"))]
    return [*ALONE, *(str(one.relative_to(ROOT)) for one in inside)]


@cache
def text(page: str) -> str:
    """A page without its front matter and its link to the other language."""
    whole = (ROOT / page).read_text(encoding="utf-8")
    return OTHER_LANGUAGE.sub("", re.sub(r"\A---\n.*?\n---\n", "", whole, flags=re.DOTALL))


def prose(page: str) -> str:
    """A page without blocks."""
    return re.sub("<!--.*?-->", "", EQUATION.sub("", FENCED.sub("", page)), flags=re.DOTALL)


def seen(page: str) -> str:
    """A page's prose as a reader sees it; Latin code and files' names become a letter."""
    shown = re.sub(r"\bdocs/[\w/-]+\.md", "x", LINK.sub(r"\2", prose(page)))
    return re.sub(r"\*+", "", re.sub(rf"`+[^`{HAN}]+`+", "x", shown).replace("`", ""))


def headings(page: str) -> list[str]:
    """All of them with their number signs."""
    return re.findall(r"^#+ .*$", FENCED.sub("", page), re.MULTILINE)


def anchor(heading: str) -> str:
    """GitHub's address of a heading."""
    words = LINK.sub(r"\2", heading.lstrip("# "))
    return re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")


def blocks(page: str) -> list[tuple[str, str]]:
    """Kinds and contents of blocks of code: cells to the letter, others without remarks."""
    found = list[tuple[str, str]]()
    for kind, inside in FENCED.findall(page):
        if kind != "{toctree}":
            found.append((kind, inside if "cell" in kind else REMARK.sub("", inside)))
    return found


def links(page: str, of: str) -> Counter[str]:
    """Where a page's links and pictures lead, as the English page would say it."""
    found = Counter[str]()
    for sign, _, target in LINK.findall(FENCED.sub("", of)):
        if re.match(r"\w+:", target):
            found[sign + target] += 1
            continue
        path, _, place = target.partition("#")
        full = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        english = "README.md" if full == "README.zh.md" else full.replace("docs/zh/", "docs/")
        assert page in pages() or english == full or english in pages(), f"{page}: {target}"
        if place and english in pages():
            all_of = [anchor(one) for one in headings(text(full))]
            assert place in all_of, f"{page}: no heading {target}"
            place = f"heading {all_of.index(place)}"
        found[f"{sign}{english}#{place}"] += 1
    return found


def figures(of: str) -> set[str]:
    """The digits of numbers in sentences, for 428 million is 4.28 times 10⁸ in Chinese."""
    numbers = re.findall(r"\d[\d.,]*", seen(of))
    return {re.sub("[.,]", "", one).strip("0") for one in numbers} - {""}


def differences(page: str, english: str, chinese: str) -> list[str]:
    """What one of two texts of a page has and the other lacks."""
    other = chinese_of(page)
    pairs: dict[str, list[Any]] = {
        "headings": [[one.split()[0] for one in headings(of)] for of in (english, chinese)],
        "blocks": [blocks(of) for of in (english, chinese)],
        "remarks for tests": [re.findall("<!--.*?-->", of) for of in (english, chinese)],
        "equations": [EQUATION.findall(of) for of in (english, chinese)],
        "rows of tables": [len(re.findall(r"^\|", of, re.MULTILINE)) for of in (english, chinese)],
    }
    pairs["figures"] = [figures(of) for of in (english, chinese)]
    if page != GLOSSARY:  # its Chinese links lead to what the words are used for
        pairs["links"] = [links(page, english), links(other, chinese)]
        words = [set(re.findall(r"`[^`\n]+`", prose(of))) for of in (english, chinese)]
        pairs["code in sentences"] = words
    return [f"{what}: {one} against {two}" for what, (one, two) in pairs.items() if one != two]


@cache
def glossary() -> dict[str, tuple[str, list[str]]]:
    """English terms, with the Chinese one and the words that are not used."""
    found = dict[str, tuple[str, list[str]]]()
    for row in re.findall(r"^\| (.*) \|$", text(chinese_of(GLOSSARY)), re.MULTILINE):
        term, chinese, rejected, _ = re.split(r" ?\| ?", row)
        if term not in found and term != "英文":
            found[term] = chinese, [one for one in rejected.split("、") if one]
    return found


def test_every_page_has_its_counterpart() -> None:
    written = {str(one.relative_to(ROOT)) for one in ROOT.glob("docs/zh/**/*.md")}
    assert written | {"README.zh.md"} == {chinese_of(one) for one in pages()}
    assert len(pages()) > 15


@pytest.mark.parametrize("page", pages())
def test_both_have_the_same_headings_code_links_and_pictures(page: str) -> None:
    assert differences(page, text(page), text(chinese_of(page))) == []


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("--seed 7", "--seed 8"),
        ("## 画图\n", "### 画图\n"),
        ("](../gallery.md)", "](../studio.md)"),
        ("`pip install .`", "`pip install unclip`"),
    ],
)
def test_a_difference_is_found(part: str, changed: str) -> None:
    page = "docs/first-steps.md"
    chinese = text(chinese_of(page))
    assert part in chinese
    assert differences(page, text(page), chinese.replace(part, changed, 1))


def test_each_term_has_one_word() -> None:
    terms = re.findall(r"^\| (?!term)(.*?) \|", text(GLOSSARY), re.MULTILINE)
    assert list(glossary()) == terms
    words = [word for word, _ in glossary().values()]
    assert len(set(words)) == len(words) and all(words)


def test_the_studio_says_the_same() -> None:
    files = sorted((ROOT / "studio/src/i18n/zh").glob("*.ts"))
    lines = "".join(one.read_text(encoding="utf-8") for one in files)
    for key, term in STUDIO.items():
        assert f'"{key}": "{glossary()[term][0]}"' in lines, key


@pytest.mark.parametrize("page", pages())
def test_pages_use_the_terms(page: str) -> None:
    if page == GLOSSARY:
        return
    english, chinese = seen(text(page)), prose(text(chinese_of(page)))
    for term, (word, rejected) in glossary().items():
        used = re.search(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", english)
        if used and (page, term) not in OTHER_SENSES:
            assert word in chinese, f"{page}: {term} is {word}"
        assert not [one for one in rejected if one in chinese], page


@pytest.mark.parametrize("page", [chinese_of(one) for one in pages()])
def test_punctuation_is_chinese(page: str) -> None:
    shown = seen(text(page))
    wrong = {
        "half-width sign beside Chinese": rf"[{HAN}][,;:!?()]|[,;:!?()][{HAN}]|[{HAN}]\.(?!\w)",
        "no space between Chinese and Latin": rf"[{HAN}][A-Za-z0-9]|[A-Za-z0-9%][{HAN}]",
        "space after a full-width sign": r"[，。；：！？（）、“”] (?![|])(?=\S)",
        "space before a full-width sign": r"(?<!\|) [，。；：！？）、]",
        "full-width letter": r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]",
        "other quotation marks": r"[「」『』]",
        "space between Chinese": rf"[{HAN}] [{HAN}]",
        "polite form": "您",
    }
    for what, pattern in wrong.items():
        found = re.findall(f".{{0,9}}(?:{pattern}).{{0,9}}", shown)
        assert not found, f"{what}: {found}"
    spans = re.findall(r"\*+([^*\n]+)\*+(.?)", prose(text(page)))
    stay = [one for one, then in spans if one[-1] in "，。；：！？（）“”" and then.isalnum()]
    assert not stay, "Markdown ends no emphasis between a sign and a letter"
    ends = re.findall(rf"[{HAN}，。；：、]\n *[{HAN}]", prose(text(page)))
    assert not ends, "a line's end inside a paragraph is shown as a space"
