"""The report's part on languages: the same scenes, asked for in English and in Chinese."""

from __future__ import annotations

from ..data.emoji import Language
from .bench import Bench
from .drawers import by_model
from .report import Cell, Part, Section, Table, row, share
from .scenes import CATEGORIES, Scene, make_scenes
from .scores import TITLES, admission, verdicts_on
from .verifier import BOTH, Verdicts

LANGUAGES: dict[Language, str] = {"en": "English", "zh": "Chinese"}

TEXT = (
    "Each scene is asked for twice, in English and in Chinese, with the same seed: the comparison "
    "is paired. Scenes are like those of training, with nothing held out."
)
UNTAUGHT = (
    " This model's recipe has no Chinese captions, as far as is known: it is not expected to read "
    "Chinese, and its column shows what guessing gives."
)


def section(bench: Bench) -> Section:
    """Draw every scene in both languages and have every judge look."""
    config = bench.ground.config
    assert config is not None
    sizes = {(category, "seen"): bench.sizes.languages for category in CATEGORIES}
    scenes = {one: make_scenes(config, sizes, language=one) for one in LANGUAGES}
    found = {one: _verdicts(bench, one, scenes[one]) for one in LANGUAGES}
    known = sorted(config.languages)
    alone = _alone(found)
    bench.values["languages"] = {
        "prompts": len(scenes["en"]),
        "recipe": known,
        **{one: verdicts.summary() for one, verdicts in found.items()},
        "right_in_one_alone": alone,
        "examples": [[a.prompt, b.prompt] for a, b in _examples(scenes)],
    }
    text = TEXT if "zh" in known else TEXT + UNTAUGHT
    parts: list[Part] = [_table(found, len(scenes["en"]), alone), _prompts(scenes)]
    return Section("languages", "English and Chinese", text, (*parts, *admission(bench)))


def _verdicts(bench: Bench, language: Language, scenes: list[Scene]) -> Verdicts:
    drawer = by_model(bench.pipe, bench.seed)
    return verdicts_on(bench, f"language-{language}", drawer, scenes, 1)


def _alone(found: dict[Language, Verdicts]) -> dict[str, int]:
    """How many scenes come out right in every aspect in one language and not in the other."""
    right = {
        one: [verdicts.right(row, BOTH, everything=True) for row in verdicts.rows]
        for one, verdicts in found.items()
    }
    pairs = list(zip(right["en"], right["zh"], strict=True))
    return {"en": sum(a and not b for a, b in pairs), "zh": sum(b and not a for a, b in pairs)}


def _table(found: dict[Language, Verdicts], prompts: int, alone: dict[str, int]) -> Table:
    judges = found["en"].judges
    shown = (BOTH, *judges) if len(judges) > 1 else judges
    names = {BOTH: "both judges agree"}
    head = [""]
    for judge in shown:
        head += [f"{names.get(judge, judge)}: {said}" for said in LANGUAGES.values()]
    rows = []
    for category in (*CATEGORIES, None):
        if not found["en"].share(BOTH, category).total:
            continue
        cells: list[Cell] = []
        for judge in shown:
            cells += [
                share(verdicts.share(judge, category), bar=False, strong=judge == BOTH)
                for verdicts in found.values()
            ]
        rows.append(row(TITLES[category], *cells))
    note = (
        f"{prompts:,} scenes, one picture of each in each language; intervals are Wilson's, 95 %. "
        f"Right in every aspect in English alone: {alone['en']}; in Chinese alone: {alone['zh']}."
    )
    return Table(
        "Shares of pictures that are right, by the prompt's language",
        tuple(head),
        tuple(rows),
        note,
    )


def _examples(scenes: dict[Language, list[Scene]]) -> list[tuple[Scene, Scene]]:
    """The first scene of each category, in both languages."""
    pairs: dict[str, tuple[Scene, Scene]] = {}
    for one, other in zip(scenes["en"], scenes["zh"], strict=True):
        pairs.setdefault(one.category, (one, other))
    return list(pairs.values())


def _prompts(scenes: dict[Language, list[Scene]]) -> Table:
    rows = [row(one.prompt, other.prompt) for one, other in _examples(scenes)]
    return Table("The first prompt of each kind", tuple(LANGUAGES.values()), tuple(rows))
