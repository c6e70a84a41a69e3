"""Size, proportions and tiles as a person asks for them: read, refused, recorded, drawn again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip import Pipeline
from unclip.abilities.generate import GenerateRequest
from unclip.abilities.vary import VariationsRequest
from unclip.cost import Cost, Policy
from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.record import Record
from unclip.stages import Stage
from unclip.stages.model import Model

WORDS = "a fox"
PICTURE = Image.radial_gradient("L").resize((40, 40)).convert("RGB")


@pytest.fixture(scope="module")
def pipe(make_stage: Callable[..., Stage], tokenizer: Tokenizer) -> Pipeline:
    """Draws latents of 4 x 4 and pictures of 8 x 8."""
    stages = {name: make_stage(name) for name in ("clip", "prior")}
    stages |= {"decoder": make_stage("latent_decoder")}
    return Pipeline(Model(tokenizer, stages, "it"))


def said(**asked: Any) -> str:
    with pytest.raises(UsageError) as caught:
        GenerateRequest.of(prompt=WORDS, **asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_size_is_width_by_height_however_it_is_written() -> None:
    for text, size in (
        *(("768x512", "768x512"), ("768X512", "768x512"), (" 768 × 512 ", "768x512")),
        ("512", "512x512"),
    ):
        assert GenerateRequest.of(prompt=WORDS, size=text).size == size
    for text in ("3:2", "3/2", " 3 : 2"):
        assert GenerateRequest.of(prompt=WORDS, aspect=text).aspect == "3:2"
    for value, tile in ((True, "both"), (False, None), ("x", "x"), (None, None)):
        assert GenerateRequest.of(prompt=WORDS, tile=value).tile == tile


@pytest.mark.parametrize("size", ["", "x", "512x", "-1x5", "5.5x5", "1x2x3", (512, 768), 512])
def test_what_is_no_size_is_named(size: Any) -> None:
    assert said(size=size).startswith("size must be WIDTHxHEIGHT, such as '768x512', got ")


def test_other_faults_are_named() -> None:
    assert said(size="0x5").startswith("size must be 1 to ")
    assert said(size="99999x99999").startswith("size must be 1 to ")
    for aspect in ("3", "3:0", "a:b", 1.5):
        assert said(aspect=aspect).startswith("aspect must be WIDTH:HEIGHT, such as '3:2', got ")
    assert said(aspect="1:17").startswith("aspect must be 1:16 to 16:1")
    assert said(size="8x8", aspect="1:1") == "size and aspect both say how large: give one of them"
    assert said(tile="both of them").startswith("tile must be 'both', 'x' or 'y'")


def test_a_picture_of_that_size_is_drawn_and_drawn_again(pipe: Pipeline) -> None:
    costs: list[Cost] = []
    watched = Pipeline(pipe.model, policy=Policy(on_cost=costs.append))
    (picture,) = watched.generate(WORDS, seed=3, size="12x6", steps=2)
    assert (picture.size, costs[0].size) == ((12, 6), (6, 12))
    record = Record.of(picture)
    assert record.settings == {"size": "12x6", "steps": 2}
    (again,) = pipe.run(GenerateRequest.of_record(record))
    assert np.array_equal(picture, again)
    assert pipe.generate(WORDS, aspect="2:1", steps=2)[0].size == (12, 6)
    assert pipe.model.size == (8, 8), "it is for one call"
    assert pipe.image_to_image(PICTURE, WORDS, size="6x10", steps=2)[0].size == (6, 10)


def test_its_own_size_changes_nothing(pipe: Pipeline) -> None:
    (usual,), (asked,) = (pipe.generate(WORDS, steps=2, **more) for more in ({}, {"size": "8x8"}))
    assert np.array_equal(usual, asked)
    assert "size" not in Record.of(usual).settings


def test_tiles_are_recorded_and_only_they_are_tiles(pipe: Pipeline) -> None:
    (usual,), (tile,), (after,) = (
        pipe.generate(WORDS, steps=2, **more) for more in ({}, {"tile": True}, {})
    )
    assert np.array_equal(usual, after)
    assert not np.array_equal(usual, tile)
    assert Record.of(tile).settings == {"steps": 2, "tile": "both"}
    (again,) = pipe.run(GenerateRequest.of_record(Record.of(tile)))
    assert np.array_equal(tile, again)


def test_it_is_refused_before_any_work(pipe: Pipeline) -> None:
    with pytest.raises(UsageError, match=r"size 9x8 is not possible: .* nearest is 8x8"):
        pipe.generate(WORDS, size="9x8")
    with pytest.raises(UsageError, match="unknown setting 'size'"):
        pipe.edit(PICTURE, Image.new("L", (40, 40), 255), WORDS, size="8x8")


def test_old_records_have_none_of_it() -> None:
    assert VariationsRequest.of(image=PICTURE).record().settings == {"eta": 0.8}
