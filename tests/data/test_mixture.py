from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unclip.data.mixture import Mixture
from unclip.data.shapes import Shapes
from unclip.errors import UsageError
from unclip.train.recipe import load_recipe


def mixed(*weights: float, seed: int = 0) -> Mixture:
    """Shapes of as many seeds."""
    parts = [{"source": "shapes", "seed": n, "weight": w} for n, w in enumerate(weights)]
    return Mixture(Mixture.Config.parse({"parts": parts, "seed": seed}), (8, 8))


@settings(max_examples=20)
@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=4), st.integers(0, 3))
def test_each_part_comes_in_its_own_order_and_as_often_as_it_weighs(
    weights: list[float], block: int
) -> None:
    mixture = mixed(*weights)
    length = len(mixture._dealt(block)[0])
    places = [mixture._place(position) for position in range((block + 1) * length)]
    seen: Counter[int] = Counter()
    for part, inner in places:
        assert inner == seen[part]  # without a gap
        seen[part] += 1
    for part, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(seen[part] / len(places) - share) < 0.002


def test_samples_are_those_of_the_parts() -> None:
    mixture = mixed(1, 3)
    parts = [iter(part) for part in mixture.parts]
    for position, sample in enumerate(islice(mixture, 40)):
        own = next(parts[mixture._place(position)[0]])
        assert (sample["image"] == own["image"]).all() and sample["caption"] == own["caption"]
    assert isinstance(mixture.parts[0], Shapes)


def test_parts_of_pictures_and_what_one_lacks(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"night {number}")
    (tmp_path / "0.png").write_bytes(b"broken")
    values = {"parts": [{"source": "folder", "path": str(tmp_path)}, {"source": "shapes"}]}
    mixture = Mixture(Mixture.Config.parse(values), (8, 8))
    samples = list(islice(mixture, 60))
    assert {"night 1", "night 2"} <= {sample["caption"] for sample in samples}
    assert {line for one in samples for line in one.get("skipped", ())} == {
        f"cannot read {tmp_path / '0.png'}: it is not a picture (PNG, JPEG, WEBP, GIF, BMP, TIFF, "
        "AVIF, PPM)"
    }
    assert "night" in mixture.vocabulary().counts and "circle" in mixture.vocabulary().counts


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "setting 'data.parts' must have at least 1 value"),
        ([{"weight": 2}], "setting 'data.parts[0].source' is missing"),
        ([{"source": "shapes"}, {"source": "shape"}], "unknown data source 'shape'"),
        ([{"source": "shapes", "sead": 1}], "unknown setting 'data.parts[0].sead'"),
        ([{"source": "folder", "pth": "x"}], "'data.parts[0].pth' (did you mean 'path'?); the"),
        ([{"source": "folder"}], "setting 'data.parts[0].path' is missing"),
        ([{"source": "shapes", "seed": -1}], "setting 'data.parts[0].seed' must be at least 0"),
        ([{"source": "shapes", "weight": 0}], "setting 'data.parts[0].weight' must be a number"),
        (
            [{"source": "shapes"}, {"source": "mixture", "parts": [{"source": "folder"}]}],
            "setting 'data.parts[1].parts[0].path' is missing",
        ),
    ],
)
def test_a_fault_in_a_part_is_named_by_its_place(parts: Any, message: str) -> None:
    import json

    text = json.dumps(parts).replace(": ", " = ")
    with pytest.raises(UsageError) as caught:
        load_recipe("tiny", [f"data={{source='mixture', parts={text}}}"])
    assert message in str(caught.value)
