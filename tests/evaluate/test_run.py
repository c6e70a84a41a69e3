"""A whole evaluation in miniature: deterministic, gone on with where it was broken off."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unclip.config import read_toml
from unclip.emoji import extractors
from unclip.emoji.benchmark import EmojiBenchmark
from unclip.emoji.options import EmojiSizes
from unclip.emoji.source import EmojiConfig, EmojiScenes
from unclip.errors import Cancelled, DataError, OutputError, UsageError
from unclip.evaluate import ablations, cache, checks, embedding_sources, metrics, run
from unclip.evaluate.benchmark import Request
from unclip.evaluate.image_set import ImageSet, of_files, of_source
from unclip.facade import Pipeline
from unclip.loading import PRESETS
from unclip.pages import render
from unclip.stages import Stage
from unclip.stages.model import Model

SMALL = EmojiSizes(
    pictures=10, pool=12, ablations=9, scales=(1, 2), captions=4, inversions=2,
    scenes=1, each=1, source_prompts=0, sample=4, calibration=1, languages=1,
)  # fmt: skip
PARTS = ("distribution", "ablations", "memorisation")
WAYS = ["oracle", "oracle-embedding", "prior-prior", "embedding", "z_t", "text"]


@pytest.fixture
def request_(corpus: Path, wee_features: Path) -> Request:
    command = "unclip evaluate wee"
    return Request(
        corpus, sizes=SMALL, anyway=True, command=command, only=PARTS, features=wee_features
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty coloured pictures with captions."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.RandomState(3)
    for number in range(30):
        colour = tuple(int(value) for value in rng.randint(0, 256, 3))
        Image.new("RGB", (20, 24), colour).save(folder / f"{number:02}.png")
        (folder / f"{number:02}.txt").write_text(f"picture {number}\n")
    return folder


def test_an_evaluation_measures_every_part(
    pipe: Pipeline, request_: Request, tmp_path: Path
) -> None:
    report = run.evaluate(pipe, request_, tmp_path / "work")
    assert [section.name for section in report.sections] == list(PARTS)
    values = report.values
    assert values["command"] == "unclip evaluate wee"
    assert values["model"] == {"name": "wee", "hash": pipe.hash}
    hashes = {name: extractors.of_corpus(request_.features, name).hash for name in extractors.NAMES}
    assert {name: one["hash"] for name, one in values["eyes"].items()} == hashes
    drawn = values["distribution"]["clip"]["drawn"]
    floors = values["distribution"]["clip"]["floor"]
    assert len(floors) == 6
    # noise is farther from scenes than scenes are
    assert drawn["frechet"] > 2 * max(one["frechet"] for one in floors)
    assert list(values["science"]["ways"]) == WAYS
    assert [one["scale"] for one in values["science"]["guidance"]["no z_i"]] == [1, 2]
    assert values["science"]["priors"]["prior"]["first"][1] == 4
    assert len(values["science"]["inversion"]) == 2
    assert values["memorisation"]["pool"] == 12
    assert ("verifier", "not asked for: --only distribution,ablations,memorisation") in (
        report.left_out
    )


def test_scenes_are_judged(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise is hardly ever right, real renderings are, even this small; ways are judged too."""
    first = embedding_sources.embedding_sources(pipe)[:1]
    monkeypatch.setattr(
        embedding_sources, "embedding_sources", lambda pipe: first
    )  # the judges are slow with noise
    sizes = SMALL.model_copy(
        update={"scenes": 1, "source_prompts": 1, "ablations": 8, "inversions": 1}
    )
    request_ = replace(request_, only=("verifier", "ablations"), sizes=sizes)
    report = run.evaluate(pipe, request_, tmp_path / "work")
    found = report.values["verifier"]
    assert list(found["judges"]) == ["matcher"]
    why = dict(report.left_out)["the trained judge"]
    assert "--detector" in why and "never seen 'french fries'" in why
    every = {name: found[name]["both"]["all"]["any"] for name in ("model", "ceiling", "floor")}
    assert every["model"]["share"] < 0.2 and every["ceiling"]["share"] > 0.4
    assert every["model"]["total"] == every["ceiling"]["total"] == found["prompts"]
    judged = report.values["science"]["judged"]
    assert judged["oracle"]["both"]["all"]["any"]["total"] == judged["prompts"]
    page = render.html(report)
    assert "held-out colours" in page and "What the judges say of each source of z_i" in page
    again = run.evaluate(pipe, request_, tmp_path / "work")
    assert again.values == report.values


def test_scenes_need_no_feature_extractors(
    pipe: Pipeline, request_: Request, tmp_path: Path
) -> None:
    """And the judge that comes with the package judges what it has learnt."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\nsource = "emoji"\nnouns = ["fox", "car", "star", "house"]\n')
    sizes = SMALL.model_copy(update={"scenes": 2})
    request_ = replace(
        request_, only=("verifier",), sizes=sizes, recipe=recipe, features=tmp_path / "none"
    )
    report = run.evaluate(pipe, request_, tmp_path / "work")
    found = report.values["verifier"]
    assert list(found["judges"]) == ["detector", "matcher"]
    assert found["ceiling"]["detector"]["all"]["any"]["share"] > 0.6  # it is used to larger ones
    assert found["model"]["detector"]["all"]["any"]["share"] < 0.2
    assert report.values["eyes"] == {}


def test_the_same_seed_gives_the_same_report(
    pipe: Pipeline, request_: Request, tmp_path: Path
) -> None:
    request_ = replace(request_, only=("distribution", "memorisation"))
    one, two, three = (
        run.evaluate(pipe, asked, tmp_path / name)
        for name, asked in (("a", request_), ("b", request_), ("c", replace(request_, seed=1)))
    )
    assert one.values == two.values
    run.write(one, tmp_path / "a.html")
    run.write(two, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert three.values["distribution"] != one.values["distribution"]


class Stop:
    """Ends the work after so many reports of progress, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, what: str, done: int, total: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled("stopped")


def test_what_was_broken_off_goes_on(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run.evaluate(pipe, request_, tmp_path / "whole")
    counts: list[tuple[Any, ...]] = []
    original = Pipeline.sample

    def counted(self: Pipeline, cond: Any, seeds: Any, *rest: Any, **more: Any) -> Any:
        counts.append(tuple(seeds))
        return original(self, cond, seeds, *rest, **more)

    monkeypatch.setattr(Pipeline, "sample", counted)
    for after in (1, 9, 20):
        with pytest.raises(Cancelled):
            run.evaluate(pipe, request_, tmp_path / "broken", Stop(after))
    report = run.evaluate(pipe, request_, tmp_path / "broken")
    assert report.values == whole.values
    kept = len(counts)
    again = run.evaluate(pipe, request_, tmp_path / "broken")
    assert again.values == whole.values and len(counts) == kept  # nothing is drawn twice


def test_no_report_is_half_written(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run.evaluate(pipe, replace(request_, only=("memorisation",)), tmp_path / "work")
    run.write(report, tmp_path / "report.html")
    values = json.loads((tmp_path / "report.json").read_text())
    assert values == report.values
    before = (tmp_path / "report.html").read_bytes()

    def full(*_: Any) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(run, "write_json", full)
    with pytest.raises(OutputError):
        run.write(replace(report, title="another"), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == before
    assert not list(tmp_path.glob(".report*"))


def test_a_folder_of_ones_own(pipe: Pipeline, photos: Path, tmp_path: Path) -> None:
    request = Request(photos, sizes=SMALL.model_copy(update={"pictures": 17}), anyway=True)
    with pytest.raises(DataError, match=r"FD-own-clip needs at least 17 .* there are 15"):
        run.evaluate(pipe, request, tmp_path / "work")
    trained = tmp_path / "trained"
    trained.mkdir()
    for number in range(8):
        Image.new("RGB", (16, 16), (number * 30, 0, 0)).save(trained / f"{number}.png")
    request = replace(request, only=("memorisation",), trained_on=trained)
    report = run.evaluate(pipe, request, tmp_path / "work")
    assert report.values["memorisation"]["pool"] == 8
    assert report.values["data"]["kind"] == "folder"


def test_what_a_folder_does_not_allow_is_said(
    pipe: Pipeline, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = dict.fromkeys(metrics.needed(1), 2)
    monkeypatch.setattr(metrics, "needed", lambda dims: least)
    monkeypatch.setattr(checks, "needed", lambda dims: least)
    sizes = SMALL.model_copy(update={"prompts": 2, "seeds": 2, "reference_steps": 4})
    report = run.evaluate(pipe, Request(photos, sizes=sizes, anyway=True), tmp_path / "work")
    assert [one.name for one in report.sections] == ["distribution", "diversity"]
    why = dict(report.left_out)
    assert "--trained-on" in why["memorisation"]
    assert "content is known" in why["ablations"] and "content is known" in why["verifier"]
    scores = report.values["distribution"]["clip_score"]["own-clip"]
    assert set(scores) == {"drawn", "ceiling", "floor"}


def test_nothing_that_can_be_measured(pipe: Pipeline, photos: Path, tmp_path: Path) -> None:
    request = Request(photos, sizes=SMALL, anyway=True, only=("memorisation",))
    with pytest.raises(UsageError, match=r"nothing is left to measure: .*--trained-on"):
        run.evaluate(pipe, request, tmp_path / "work")


def test_too_few_pictures_are_refused_before_the_work(
    pipe: Pipeline, request_: Request, tmp_path: Path
) -> None:
    few = replace(request_, sizes=SMALL.model_copy(update={"pictures": 6}))
    with pytest.raises(DataError, match=r"FD-classifier needs at least 7 .* are 6: .*--pictures 7"):
        run.evaluate(pipe, few, tmp_path / "work")
    few = replace(request_, sizes=SMALL.model_copy(update={"ablations": 5}))
    with pytest.raises(
        DataError, match=r"FD-classifier needs at least 7 .* 5: .*--size ablations=7"
    ):
        run.evaluate(pipe, few, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_too_small_a_vocabulary_leaves_the_priors_out(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found only in the midst of the work, which is not thrown away for it."""
    monkeypatch.setattr(embedding_sources, "embedding_sources", lambda pipe: [])
    monkeypatch.setattr(ablations.priors, "SCENES_EACH", 1)
    sizes = SMALL.model_copy(update={"captions": 50})
    report = run.evaluate(pipe, replace(request_, sizes=sizes, only=("ablations",)), tmp_path / "w")
    why = dict(report.left_out)["how well priors find their pictures"]
    assert why.startswith("50 captions that come twice are needed") and "captions=N" in why
    assert "priors" not in report.values["science"]
    assert len(report.values["science"]["inversion"]) == 2


def test_without_a_clip_nothing_is_measured_that_needs_one(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = Pipeline(Model(pipe.tokenizer, {"decoder": pipe.stages["decoder"]}, "blind"))
    monkeypatch.setattr(Model, "check_prior", lambda self, prior: None)
    report = run.evaluate(blind, replace(request_, only=("ablations",)), tmp_path / "work")
    why = dict(report.left_out)
    assert "no CLIP that sees" in why["inversion"]
    assert "where z_i comes from" in why


def test_model_and_data_that_do_not_fit(
    pipe: Pipeline, corpus: Path, photos: Path, tmp_path: Path
) -> None:
    """An untrained CLIP finds nothing; a recipe of another source says so itself."""
    asked = Request(corpus, sizes=SMALL.model_copy(update={"pictures": 120}))
    with pytest.raises(UsageError, match="'wee' and scenes of 14 nouns do not fit each other"):
        run.evaluate(pipe, asked, tmp_path / "work")
    (tmp_path / "recipe.toml").write_text('[data]\nsource = "shapes"\n')
    with pytest.raises(UsageError, match="trained on source 'shapes'"):
        run.evaluate(pipe, replace(asked, recipe=tmp_path / "recipe.toml"), tmp_path / "work")
    (tmp_path / "recipe.toml").write_text('[data]\nsource = "emoji"\nnouns = ["zebra"]\n')
    with pytest.raises(UsageError, match="has no 'zebra'"):
        run.evaluate(pipe, replace(asked, recipe=tmp_path / "recipe.toml"), tmp_path / "work")
    with pytest.raises(UsageError, match=r"trained on an emoji corpus and .*photos is none"):
        asked = replace(asked, data=photos, recipe=tmp_path / "recipe.toml")
        run.evaluate(pipe, asked, tmp_path / "work")


def test_a_clip_of_any_kind_must_fit(
    pipe: Pipeline, corpus: Path, make_stage: Callable[[str], Stage]
) -> None:
    stages = {"clip": make_stage("x_clip"), "decoder": pipe.stages["decoder"]}
    other = Pipeline(Model(pipe.tokenizer, stages, "other"))
    scenes = EmojiBenchmark(corpus, {}, (16, 16), EmojiSizes(pictures=120, pool=1), 0)
    with pytest.raises(UsageError, match=r"'other' and scenes of .* do not fit each other"):
        checks.check_fit(other, scenes)


def test_a_part_that_is_none() -> None:
    with pytest.raises(UsageError, match=r"no 'distributions' .did you mean 'distribution'"):
        run.check_parts(["distributions"])
    assert run.check_parts(["ablations", "distribution"]) == ("distribution", "ablations")
    assert run.check_parts(["science"]) == ("ablations",)
    assert set(run.check_parts([])) == {*PARTS, "diversity", "verifier", "languages"}


def test_a_recipe_is_found(pipe: Pipeline, tmp_path: Path) -> None:
    assert checks.recipe_data(pipe, None, None) == {}
    (tmp_path / "recipe.json").write_text('{"data": {"source": "emoji", "nouns": ["fox"]}}')
    found = checks.recipe_data(pipe, tmp_path / "model", None)
    assert found["nouns"] == ["fox"]
    bundled = Pipeline(Model(pipe.tokenizer, pipe.stages, "emoji-cpu"))
    preset = read_toml(PRESETS / "emoji-cpu.toml")
    assert checks.recipe_data(bundled, None, None) == preset["data"]
    (tmp_path / "recipe.json").write_text('{"data": {}}', encoding="utf-8-sig")
    assert checks.recipe_data(pipe, tmp_path / "model", None) == {}
    for text in ("null", "[" * 100_000, "<html>"):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(UsageError, match=r"recipe\.json"):
            checks.recipe_data(pipe, tmp_path / "model", None)
    (tmp_path / "wrong.toml").write_text("name = 1\n")
    with pytest.raises(UsageError, match=r"wrong.toml is no recipe"):
        checks.recipe_data(pipe, None, tmp_path / "wrong.toml")


def test_scenes_of_an_evaluation_are_fresh(corpus: Path) -> None:
    sizes = EmojiSizes(pictures=20, pool=30)
    made = EmojiBenchmark(corpus, {"source": "emoji"}, (16, 16), sizes, 0)
    sets = [made.reference, made.held_out, *made.floors, made.unseen, made.trained]
    every = [one.read(number).tobytes() for one in sets for number in range(len(one))]
    assert len(set(every)) == len(every) == 7 * 20 + 2 * 30
    trained = EmojiScenes(EmojiConfig(path=corpus), (64, 64))
    np.testing.assert_array_equal(made.trained.read(4), trained.sample(4)["image"])
    larger = made.at((32, 32))
    assert larger.held_out.captions == made.held_out.captions
    assert larger.reference.read(0).shape == (32, 32, 3)


def test_unreadable_pictures_are_counted_and_skipped(tmp_path: Path) -> None:
    files = []
    for number in range(200):
        path = tmp_path / f"{number:03}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        files.append((path, f"picture {number}"))
    files[50][0].write_bytes(b"no picture")
    found = of_files(files, (4, 4))
    assert (len(found), found.skipped) == (199, 1)
    assert found.captions[50] == "picture 51"
    assert found.read(50)[0, 0, 0] == 51
    for number in (60, 61):
        files[number][0].write_bytes(b"")
    with pytest.raises(DataError, match=r"3 of 200 pictures cannot be read, more than 1 %.*050"):
        of_files(files, (4, 4))


@pytest.mark.parametrize("make", ["nothing", "missing"])
def test_an_empty_folder(tmp_path: Path, make: str, pipe: Pipeline) -> None:
    folder = tmp_path / "empty"
    if make == "nothing":
        folder.mkdir()
    with pytest.raises(DataError, match="empty"):
        run.evaluate(pipe, Request(folder, sizes=SMALL, anyway=True), tmp_path / "work")


def test_work_keeps_values_and_forgets_a_cut_line(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> dict[str, list[int]]:
        calls.append(1)
        return {"a": [len(calls)]}

    first = cache.Cache(tmp_path, {"seed": 1})
    assert first.value("x", make) == {"a": [1]} == first.value("x", make)
    file = first.folder / "values.jsonl"
    file.write_text(file.read_text() + '{"name": "y", "val')
    second = cache.Cache(tmp_path, {"seed": 1})
    assert second.value("x", make) == {"a": [1]} and len(calls) == 1
    assert second.value("y", make) == {"a": [2]}
    assert cache.Cache(tmp_path, {"seed": 1}).value("y", make) == {"a": [2]}
    assert cache.Cache(tmp_path, {"seed": 2}).value("x", make) == {"a": [3]}


def test_damaged_work_is_told(tmp_path: Path) -> None:
    kept = cache.Cache(tmp_path, {"seed": 1})
    kept.value("x", lambda: 1)
    kept.tensors("t", lambda: {"a": torch.zeros(2)})
    (kept.folder / "t.safetensors").write_bytes(b"oops")
    with pytest.raises(DataError, match=r"t.safetensors is damaged, remove it"):
        kept.tensors("t", dict)
    file = kept.folder / "values.jsonl"
    file.write_text("oops\n" + file.read_text())
    with pytest.raises(DataError, match=r"values.jsonl is damaged in line 1; remove .* anew"):
        cache.Cache(tmp_path, {"seed": 1})
    album = kept.drawn("p", ["a"], lambda numbers: torch.zeros(1, 3, 4, 4))
    (kept.folder / "p" / "000000.png").write_bytes(b"oops")
    with pytest.raises(DataError, match=r"000000.png is damaged, remove it"):
        album.read(0)


def test_drawn_pictures_are_kept_without_loss(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 256, (20, 3, 6, 9), generator=rng)
    asked: list[range] = []

    def draw(numbers: range) -> torch.Tensor:
        asked.append(numbers)
        return truth[list(numbers)].float() / 127.5 - 1

    kept = cache.Cache(tmp_path, {})
    words = [f"caption {number}" for number in range(20)]
    for _ in range(2):
        found: ImageSet = kept.drawn("some", words, draw)
        assert asked == [range(16), range(16, 20)]
    for number in (0, 15, 16, 19):
        want = truth[number].permute(1, 2, 0).to(torch.uint8).numpy()
        np.testing.assert_array_equal(found.read(number), want)
    (kept.folder / "some" / "000000.png").unlink()
    kept.drawn("some", words, draw)
    assert asked[2:] == [range(16)]


def test_scenes_are_composed_when_they_are_asked_for(corpus: Path) -> None:
    source = EmojiScenes(EmojiConfig(path=corpus, split="any"), (16, 16))
    composed: list[int] = []
    original = source.sample

    def sample(position: int) -> Any:
        composed.append(position)
        return original(position)

    source.sample = sample  # type: ignore[method-assign]
    made = of_source(source, 5)
    want = [original(number) for number in range(5)]
    assert len(made) == 5 and list(made.captions) == [one["caption"] for one in want]
    assert not composed  # a caption needs no picture
    np.testing.assert_array_equal(made.read(4), want[4]["image"])
    some = made.part(1, 9)
    assert len(some) == 4 and some.captions == made.captions[1:]
    np.testing.assert_array_equal(some.read(0), want[1]["image"])
    assert composed == [4, 1]


def test_images_in_memory() -> None:
    white = np.full((2, 2, 3), 255, np.uint8)
    one = ImageSet(2, [white, white * 0].__getitem__)
    assert one.captions == ("", "") and len(one.part(0, 1)) == 1
    assert [float(batch.mean()) for batch in one.batches(1)] == [1, -1]
