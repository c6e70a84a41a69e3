"""Write docs/settings.md from the settings themselves: python scripts/settings.py."""

from __future__ import annotations

from pathlib import Path

from unclip.train.settings import every_section, markdown

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

HEAD = """# Settings of a recipe

Every key of a recipe's TOML file. `unclip train --settings` prints the same, and
`unclip train --settings RECIPE` those of one recipe with its values; `--set KEY=VALUE` changes one,
such as `--set stages.decoder.train.steps=500`. NAME stands for a stage's name, which a recipe
chooses. A section with a `kind` may be one of several: its first line says of which it tells.
`python scripts/settings.py` writes this page. [training.md](training.md) says what to change first.

"""


def page() -> str:
    """The whole page."""
    return HEAD + markdown(every_section())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
