"""Draw the README's pictures with the bundled model: a fixed seed, no hand-picked prompts.

    .venv/bin/python scripts/pictures.py

`docs/pictures/singles.png` shows ten objects that Python's `random.Random(7)` selects from the
model's nouns, `docs/pictures/prompts.png` the prompts of the recipe.
"""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import unclip
from unclip.emoji.english import article
from unclip.files import atomic_file
from unclip.media.grid import make_grid
from unclip.train.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parent.parent
SEED = 7


def objects(recipe: Recipe, count: int) -> list[str]:
    """Captions of `count` objects that the recipe's model knows, drawn by lot."""
    file = ROOT / "src/unclip/emoji/everyday.toml"
    sections = tomllib.loads(file.read_text(encoding="utf-8")).values()
    entries = [entry for section in sections for entry in section.values()]
    words = [entry if isinstance(entry, dict) else {"noun": entry} for entry in entries]
    known = sorted(caption(one) for one in words if one["noun"] in recipe.settings.data["nouns"])
    return random.Random(SEED).sample(known, count)


def caption(words: dict[str, Any]) -> str:
    """ "a fox", or the noun alone if it takes no article."""
    noun = str(words["noun"])
    return noun if words.get("plural") == "" else f"{article(noun)} {noun}"


def sheet(pipe: unclip.Pipeline, prompts: list[str], columns: int, path: Path) -> None:
    """One picture per prompt at half size, with the prompt underneath."""
    pictures = [pipe.generate(prompt, seed=SEED)[0].reduce(2) for prompt in prompts]
    with atomic_file(path) as beside:
        make_grid(pictures, columns, prompts).save(beside, format="PNG", optimize=True)
    print(path.relative_to(ROOT))


def main() -> None:
    pipe = unclip.load()
    recipe = load_recipe(pipe.name)
    folder = ROOT / "docs" / "pictures"
    sheet(pipe, objects(recipe, 10), 5, folder / "singles.png")
    sheet(pipe, list(recipe.settings.prompts), 8, folder / "prompts.png")


if __name__ == "__main__":
    main()
