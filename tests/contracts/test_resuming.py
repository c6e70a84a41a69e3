"""Every source: a training that was killed at any moment goes on as if it had not been.

Stopped and gone on with in one process: `test_sources.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from unclip.data import SOURCES

from ..train.lives import Lives, inline
from .test_sources import EXAMPLES, arrays


def lives_on(name: str, folder: Path, steps: int) -> Lives:
    """Trainings on a few samples of a source: an epoch ends after three or four steps."""
    (folder / "data").mkdir()
    if name == "embeddings":  # of the recipe's CLIP; there are no pictures
        stage, given = "prior", ["clip"]
        example = arrays(folder / "data", width=32)
    else:
        stage, given, example = "upsampler", [], EXAMPLES[name](folder / "data")
    return Lives(folder, stage, [f"data={inline({'source': name, **example})}"], given, steps=steps)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")
@pytest.mark.parametrize("name", SOURCES.names())
def test_killed_at_random_moments_it_is_the_same_training(name: str, tmp_path: Path) -> None:
    lives_on(name, tmp_path, steps=8).at_random(2, 8, name)
