"""Captions in Chinese, of the same scenes: what is said in English can be said here."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from itertools import groupby
from typing import Any

import numpy as np

from .corpus import Corpus, Glyph
from .plan import Spec, pick

COLOURS = {
    "red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色",
    "purple": "紫色", "pink": "粉色", "brown": "棕色", "black": "黑色", "white": "白色",
    "gray": "灰色", "light gray": "浅灰色", "light blue": "浅蓝色", "light green": "浅绿色",
    "light yellow": "浅黄色", "beige": "米色", "dark blue": "深蓝色", "dark green": "深绿色",
}  # fmt: skip
_KINDS = {
    "plain": "{}", "gradient": "{}渐变", "stripes": "{}条纹", "dots": "{}圆点", "checks": "{}格子",
    "rough": "{}纹理",
}  # fmt: skip
_RELATIONS = {
    "to the left of": ("左边", "左侧", "左面"),
    "to the right of": ("右边", "右侧", "右面"),
    "above": ("上面", "上方", "上边"),
    "below": ("下面", "下方", "下边"),
    "next to": ("旁边",),
}
_LINKS = ("在", "的", "和", "上", "大", "小", "张", "背景", "风格")
_NUMBERS = ("零", "一", "两", "三", "四", "五", "六")
_STYLES = {"flat": "扁平", "glossy": "光泽"}
_PICTURES = ("图片", "图画", "插画")


def caption(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> str:
    """One caption of the scene. It says nothing false and may leave things unsaid."""
    subject = _subject(spec, rng, corpus)
    style = spec["style"]
    style = "" if style == corpus.styles[0] else f"，{_STYLES.get(style, style)}风格"
    if spec["background"]["said"]:
        return _with_background(subject, spec, rng) + style
    if not spec["relation"] and rng.random() < 0.06:
        return f"一张{subject}的{pick(rng, _PICTURES)}{style}"
    return subject + style


def _subject(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> str:
    things = spec["objects"]
    if spec["relation"]:
        first, second = (_phrase([thing], rng, corpus) for thing in things)
        link = "的" if rng.random() < 0.5 else ""
        return f"{first}在{second}{link}{pick(rng, _RELATIONS[spec['relation']])}"
    groups = [list(same) for _, same in groupby(things, key=lambda thing: thing["noun"])]
    phrases = [_phrase(group, rng, corpus, len(groups) == 1) for group in groups]
    if len(phrases) == 1:
        return phrases[0]
    return f"{'、'.join(phrases[:-1])}和{phrases[-1]}"


def _phrase(
    same: list[dict[str, Any]], rng: np.random.Generator, corpus: Corpus, alone: bool = False
) -> str:
    """`一只狐狸`, `一辆红色的小汽车`, `三个苹果`: one or several of the same thing."""
    thing = same[0]
    glyph = corpus[thing["id"]]
    measure, noun = named(glyph)
    if thing["size"]:
        noun = ("小" if thing["size"] == "small" else "大") + noun
    colour = thing["colour"]
    if not colour and glyph["colour"] and rng.random() < 0.12:
        colour = glyph["colour"]
    if colour:
        noun = COLOURS[colour] + ("的" if rng.random() < 0.8 else "") + noun
    if len(same) == 1 and alone and rng.random() < 0.2:
        return noun
    return _NUMBERS[len(same)] + measure + noun


def _with_background(subject: str, spec: Spec, rng: np.random.Generator) -> str:
    background = spec["background"]
    where = _KINDS[background["kind"]].format(COLOURS[background["colour"]])
    if spec["relation"] or rng.random() < 0.4:
        return f"{subject}，{where}背景"
    return f"{where}背景上的{subject}"


def named(glyph: Glyph) -> tuple[str, str]:
    """Measure word and name of what a glyph shows; 个 and CLDR's name if the table has none."""
    return _table().get(glyph["noun"]) or ("个", glyph["names"].get("zh", glyph["noun"]))


def nouns(corpus: Corpus) -> list[str]:
    """What the things of a corpus are called."""
    return list(dict.fromkeys(named(glyph)[1] for glyph in corpus.glyphs))


def terms(corpus: Corpus) -> list[str]:
    """The words that captions are made of, which no spaces set apart."""
    kinds = (kind.removeprefix("{}") for kind in _KINDS.values())
    places = (word for words in _RELATIONS.values() for word in words)
    measures = (named(glyph)[0] for glyph in corpus.glyphs)
    own = (*COLOURS.values(), *kinds, *places, *_STYLES.values(), *_PICTURES, *_NUMBERS, *_LINKS)
    return [word for word in dict.fromkeys([*own, *measures, *nouns(corpus)]) if word]


@cache
def _table() -> dict[str, tuple[str, str]]:
    text = resources.files(__package__).joinpath("chinese.toml").read_text(encoding="utf-8")
    pairs = ((w, line) for w, lines in tomllib.loads(text)["measure"].items() for line in lines)
    return {noun: (w, name) for w, line in pairs for noun, name in [line.split("=")]}
