"""Draw the README's pictures from the bundled model: fixed seed, prompts not picked by hand.

    .venv/bin/python scripts/pictures.py

`docs/pictures/singles.png` shows ten objects drawn by lot (Python's `random.Random(7)`) from those
that the model knows, `docs/pictures/prompts.png` the prompts that the recipe names.
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
    known = sorted(caption(one) for one in words if one["noun"] in recipe.data["nouns"])
    return random.Random(SEED).sample(known, count)


def caption(words: dict[str, Any]) -> str:
    """ "a fox", or the bare word where English takes no article."""
    noun = str(words["noun"])
    return noun if words.get("plural") == "" else f"{article(noun)} {noun}"


def sheet(pipe: unclip.Pipeline, prompts: list[str], columns: int, path: Path) -> None:
    """One 256x256 picture a prompt, halved, with its prompt underneath."""
    pictures = [pipe.generate(prompt, seed=SEED)[0].reduce(2) for prompt in prompts]
    with atomic_file(path) as beside:
        make_grid(pictures, columns, prompts).save(beside, format="PNG", optimize=True)
    print(path.relative_to(ROOT))


def main() -> None:
    pipe = unclip.load()
    recipe = load_recipe(pipe.name)
    folder = ROOT / "docs" / "pictures"
    sheet(pipe, objects(recipe, 10), 5, folder / "singles.png")
    sheet(pipe, list(recipe.prompts), 8, folder / "prompts.png")


if __name__ == "__main__":
    main()
