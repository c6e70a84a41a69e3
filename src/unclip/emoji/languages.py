"""The report's part on languages: the same scenes, asked for in English and in Chinese."""

from __future__ import annotations

from functools import partial

from ..evaluate.benchmark import Session
from ..pages.report import Section, Table, row
from .image_providers import from_model
from .judges import Panel
from .options import emoji_sizes
from .scenes import CATEGORIES, Scene, make_scenes
from .source import Language
from .verifier import BOTH, Verdicts
from .verifier_report import by_category, calibration, verdicts_on

LANGUAGES: dict[Language, str] = {"en": "English", "zh": "Chinese"}

TEXT = (
    "Each scene is asked for twice, in English and in Chinese, with the same seed: the comparison "
    "is paired. Scenes are like those of training, with nothing held out."
)
UNTAUGHT = (
    " This model's recipe has no Chinese captions, as far as is known: it is not expected to read "
    "Chinese, and its column shows what guessing gives."
)


def section(session: Session, panel: Panel) -> Section:
    """Draw every scene in both languages and have every judge look."""
    each = emoji_sizes(session.sizes).languages
    sizes = {(category, "seen"): each for category in CATEGORIES}
    scenes = {one: make_scenes(panel.config, sizes, language=one) for one in LANGUAGES}
    provider = from_model(session.pipe, session.seed)
    found = {
        one: verdicts_on(session, panel, f"language-{one}", provider, scenes[one], 1)
        for one in LANGUAGES
    }
    known = sorted(panel.config.languages)
    alone, examples = _alone(found), _examples(scenes)
    session.values["languages"] = {
        "prompts": len(scenes["en"]),
        "recipe": known,
        **{one: verdicts.summary() for one, verdicts in found.items()},
        "right_in_one_alone": alone,
        "examples": [list(pair) for pair in examples],
    }
    rows = tuple(row(*pair) for pair in examples)
    prompts = Table("The first prompt of each kind", tuple(LANGUAGES.values()), rows)
    table = _table(found, len(scenes["en"]), alone)
    text = TEXT if "zh" in known else TEXT + UNTAUGHT
    parts = (table, prompts, *calibration(session, panel))
    return Section("languages", "English and Chinese", text, parts)


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
    names = {BOTH: "both judges agree"} if len(judges) > 1 else {}
    names |= {judge: judge for judge in judges}
    columns = {
        f"{name}: {said}": partial(found[language].share, judge)
        for judge, name in names.items()
        for language, said in LANGUAGES.items()
    }
    note = (
        f"{prompts:,} scenes, one picture of each in each language; intervals are Wilson's, 95 %. "
        f"Right in every aspect in English alone: {alone['en']}; in Chinese alone: {alone['zh']}."
    )
    title = "Shares of pictures that are right, by the prompt's language"
    return by_category(title, columns, note, strong=len(LANGUAGES) if BOTH in names else 0)


def _examples(scenes: dict[Language, list[Scene]]) -> list[tuple[str, str]]:
    """The first prompt of each category, in both languages."""
    pairs: dict[str, tuple[str, str]] = {}
    for one, other in zip(scenes["en"], scenes["zh"], strict=True):
        pairs.setdefault(one.category, (one.prompt, other.prompt))
    return list(pairs.values())
