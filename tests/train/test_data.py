"""The data as a stage sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from unclip.data import Source
from unclip.data.buckets import Bucketed
from unclip.data.framing import Framed
from unclip.errors import UsageError
from unclip.rng import BatchRng
from unclip.train.caching import Cached
from unclip.train.collate import middle
from unclip.train.recipe import Recipe, load_recipe
from unclip.train.run import Run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        size = (40, 24) if number % 3 else (24, 40)
        Image.new("RGB", size, (20 * number, 80, 90)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a picture {number}")
    return folder


def recipe(photos: Path, *changes: str) -> Recipe:
    data = ["data.source=folder", f"data.path={photos}"]
    return load_recipe("tiny", [*data, *changes])


def source_of(run: Run, name: str) -> Source:
    return run.untrained(name).loader.source


def test_a_stage_sees_what_the_recipe_says(photos: Path, tmp_path: Path) -> None:
    buckets = ["data.buckets=true", "data.flip=true", "data.bucket_step=8"]
    run = Run(recipe(photos, *buckets), tmp_path / "run", torch.device("cpu"))
    run.check()
    assert isinstance(source_of(run, "decoder"), Bucketed)
    assert type(source_of(run, "clip")) is Framed
    assert type(source_of(run, "upsampler")) is Framed


def test_losses_of_buckets_are_finite_and_the_same_again(photos: Path, tmp_path: Path) -> None:
    small = ["stages.decoder.train.batch_size=4", "data.buckets=true", "data.bucket_step=2"]
    run = Run(recipe(photos, *small), tmp_path / "run", torch.device("cpu"))
    trainers = [run.untrained("decoder") for _ in range(2)]
    seen = set()
    for _ in range(4):
        batches = [next(one.loader) for one in trainers]
        assert torch.equal(batches[0]["image"], batches[1]["image"])
        seen.add(tuple(batches[0]["image"].shape[1:3]))
        rngs = [BatchRng("a", 4, "cpu", one.loader.first) for one in trainers]
        losses = [one.task(batches[0], rng)[0] for one, rng in zip(trainers, rngs, strict=True)]
        assert torch.isfinite(losses[0]) and losses[0] == losses[1]
    assert len(seen) == 2 and (16, 16) not in seen


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (["data.crop=middle"], r"data.crop' must be 'centre' or 'random'"),
        (["data.flp=true"], r"unknown setting 'data.flp' \(did you mean 'flip'"),
        (["data.buckets=true", "stages.decoder.train.ramp=[[5, 8]]"], "decoder.train.ramp"),
        (["data.buckets=true", "data.bucket_step=3"], "bucket_step' must be a multiple of 2"),
    ],
)
def test_what_does_not_fit_is_said_before_any_work(
    changes: list[str], part: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=part):
        Run(recipe(photos, *changes), tmp_path / "run", torch.device("cpu")).check()


@pytest.mark.parametrize("stage", ["clip", "prior", "decoder"])
@pytest.mark.parametrize(
    "seen",
    [
        [],
        ["data.flip=true"],
        ["data.crop=random"],
        ["data.flip=true", "data.buckets=true", "data.bucket_step=8"],
        ["data.flip=true", "stages.prior.train.cache=true"],
    ],
)
def test_nothing_that_is_measured_is_trained_on(
    stage: str, seen: list[str], photos: Path, tmp_path: Path
) -> None:
    settings = [*seen, "validation.share=0.3", "stages.decoder.train.batch_size=2"]
    run = Run(recipe(photos, *settings), tmp_path / "run", torch.device("cpu"))
    if stage == "prior":
        run.export("clip", run.build("clip"))  # which a cache is of
    trainer = run.untrained(stage)
    source: Any = trainer.loader.source
    assert isinstance(source, Cached) == (
        stage == "prior" and "cache" in seen[-1] if seen else False
    )
    assert trainer.validation is not None
    pairs: Any = trainer.validation.pairs
    trained = [source.stored(position).name for position in range(200)]
    held = [pairs.source.stored(position).name for position in pairs.positions]
    assert len(set(held)) == len(held), "each once"
    assert set(held) | set(trained) == {f"{number}.png" for number in range(12)}
    assert not set(held) & set(trained)
    assert {source.key(n) for n in range(200)} == set(trained)
    listed = {item.name for item in source.items()}
    assert listed == set(trained), "a cache is filled with what is trained on"
    assert trainer.validation.measure(trainer.averaged())["validation"] > 0


def test_data_of_its_own_are_measured_whole(photos: Path, tmp_path: Path) -> None:
    own = f"validation={{data={{source='folder',path='{photos}'}}}}"
    for more in ([], ["data.buckets=true", "data.flip=true"]):
        run = Run(recipe(photos, own, *more), tmp_path / "run", torch.device("cpu"))
        pairs: Any = run.untrained("decoder").validation.pairs  # type: ignore[union-attr]
        held = [pairs.source.stored(position).name for position in pairs.positions]
        assert sorted(held) == sorted(f"{number}.png" for number in range(12))


def test_clip_sees_the_middle_of_a_wide_picture() -> None:
    image = torch.arange(2 * 3 * 4 * 10.0).view(2, 3, 4, 10)
    assert torch.equal(middle(image), image[..., 3:7])
    assert torch.equal(middle(image.mT), image.mT[..., 3:7, :])
    assert middle(image[..., :4]).shape == (2, 3, 4, 4)
