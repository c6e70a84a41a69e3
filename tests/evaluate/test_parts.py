"""The report's parts on judges, languages and ways, before judges whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image

from unclip.emoji import benchmark, judges, languages, verifier_report
from unclip.emoji.calibration import Calibration
from unclip.emoji.image_providers import ImageProvider, Order
from unclip.emoji.judge import Detection, Detections, Pictures
from unclip.emoji.options import EmojiSizes
from unclip.emoji.scenes import CATEGORIES, FULL, Scene, make_scenes
from unclip.emoji.source import EmojiConfig
from unclip.errors import CheckpointError
from unclip.evaluate import embedding_sources, run
from unclip.evaluate.benchmark import Request
from unclip.evaluate.embedding_sources import EmbeddingSource
from unclip.facade import Pipeline
from unclip.pages.intervals import Share
from unclip.pages.render import html, write_markdown
from unclip.pages.report import Report, Section, Table

SIZES = EmojiSizes(
    pictures=10, pool=12, ablations=9, scales=(1,), captions=4, inversions=1,
    scenes=1, each=1, source_prompts=1, sample=4, calibration=1, languages=2,
)  # fmt: skip


@pytest.fixture
def request_(corpus: Path, wee_features: Path) -> Request:
    """With untrained extractors of six numbers, and no trained judge."""
    return Request(corpus, sizes=SIZES, anyway=True, features=wee_features)


class Knowing:
    """Sees what the scene shows whose number is the picture's first pixel, else nothing."""

    name, hash = "knowing", "0"

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.scenes = scenes
        self.nouns = tuple({thing.noun for scene in scenes for thing in scene.wanted})

    def look(self, pictures: Pictures) -> list[Detections]:
        return [self._one(int(picture[0, 0, 0])) for picture in pictures]

    def _one(self, number: int) -> Detections:
        if number >= len(self.scenes):
            return Detections((), "white")
        spec = self.scenes[number].spec
        things = [Detection(o["noun"], o["tint"], tuple(o["box"]), 1.0) for o in spec["objects"]]
        return Detections(tuple(things), spec["background"]["colour"])


class Counted:
    """`Shared` without processes, which notes that it was used and closed."""

    made: ClassVar[list[Counted]] = []

    def __init__(self, judge: Any, workers: int) -> None:
        self.judge, self.workers, self.closed = judge, workers, False
        self.name, self.hash, self.nouns = judge.name, judge.hash, judge.nouns
        self.looks = 0
        Counted.made.append(self)

    def look(self, pictures: Pictures) -> list[Detections]:
        self.looks += len(pictures)
        found: list[Detections] = self.judge.look(pictures)
        return found

    def close(self) -> None:
        self.closed = True


def test_workers_change_nothing_and_are_sent_home(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = make_scenes(EmojiConfig(path=request_.data), {("two", "seen"): 40})
    monkeypatch.setattr(judges, "matcher_of", lambda config: Blind(scenes))
    monkeypatch.setattr(benchmark, "Shared", Counted)
    asked = replace(request_, only=("languages",))
    alone = run.evaluate(pipe, asked, tmp_path / "alone")
    assert not Counted.made
    shared = run.evaluate(pipe, replace(asked, workers=3), tmp_path / "shared")
    (one,) = Counted.made
    assert shared.values == alone.values and one.workers == 3 and one.looks and one.closed


class Blind:
    """Sees nothing, and knows every noun."""

    name, hash = "blind", "1"

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.nouns = Knowing(scenes).nouns

    def look(self, pictures: Pictures) -> list[Detections]:
        return [Detections((), "white") for _ in pictures]


def test_languages_are_held_against_each_other_on_the_same_scenes(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that reads English alone, seen by a judge that knows."""
    sizes = {(category, "seen"): 2 for category in CATEGORIES}
    scenes = make_scenes(EmojiConfig(path=request_.data), sizes)
    number = {scene.prompt: at for at, scene in enumerate(scenes)}
    asked: list[str] = []

    def from_model(*_: Any) -> ImageProvider:
        def draw(orders: Sequence[Order]) -> list[Image.Image]:
            asked.extend(scene.prompt for scene, _ in orders)
            values = [number.get(scene.prompt, 255) for scene, _ in orders]
            return [Image.new("RGB", (4, 4), (value,) * 3) for value in values]

        return draw

    monkeypatch.setattr(languages, "from_model", from_model)
    monkeypatch.setattr(judges, "matcher_of", lambda config: Knowing(scenes))
    report = run.evaluate(pipe, replace(request_, only=("languages",)), tmp_path / "work")
    values = report.values["languages"]
    assert values["prompts"] == 12 and values["recipe"] == ["en"]
    assert asked[:12] == [scene.prompt for scene in scenes]
    assert not any(prompt.isascii() for prompt in asked[12:24])
    for name, right in (("en", 2), ("zh", 0)):
        shares = values[name]["knowing"]
        assert {shares[category]["seen"]["right"] for category in CATEGORIES} == {right}
    assert values["right_in_one_alone"] == {"en": 12, "zh": 0}
    text = html(report)
    assert "English alone: 12; in Chinese alone: 0" in text
    assert "no Chinese captions" in text and asked[12] in text
    kept = len(asked)
    again = run.evaluate(pipe, replace(request_, only=("languages",)), tmp_path / "work")
    assert again.values == report.values and len(asked) == kept


def test_a_judge_that_is_not_admitted_is_called_so_once_and_plainly(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the page, in Markdown, in the numbers and among the first of them; and it is kept."""
    scenes = make_scenes(EmojiConfig(path=request_.data), {("two", "seen"): 40})
    monkeypatch.setattr(judges, "matcher_of", lambda config: Blind(scenes))
    request_ = replace(request_, only=("verifier", "languages"))
    report = run.evaluate(pipe, request_, tmp_path / "work")
    found = report.values["admission"]
    assert found["bar"] == 0.99 and found["each"] == 1
    judge = found["judges"]["blind"]
    assert judge["admitted"] is False and judge["right"]["all"]["right"] == 0
    write_markdown(report, tmp_path / "report.md")
    for text in (html(report), (tmp_path / "report.md").read_text()):
        assert text.count("Are the judges reliable?") == 1
        assert "The blind is NOT reliable: it stays below 99%" in text
    assert ("judge blind", "NOT reliable") in [(what, cell.text) for what, cell in report.headline]

    def never(*_: Any, **__: Any) -> Calibration:
        raise AssertionError("it was admitted before")

    monkeypatch.setattr(verifier_report, "calibrate", never)
    again = run.evaluate(pipe, request_, tmp_path / "work")
    assert again.values == report.values


def test_the_admissions_table_names_the_lowest() -> None:
    right = {"single": Share(100, 100), "binding": Share(97, 100), "all": Share(197, 200)}
    colours = {"red": Share(30, 30), "blue": Share(19, 20)}
    rejected = {"object": Share(200, 200)}
    judges = [
        Calibration(
            "good", "0", {"single": Share(5, 5), "all": Share(5, 5)}, {}, rejected, None, ()
        ),
        Calibration("poor", "1", right, colours, rejected, Share(9, 10), ()),
    ]
    table = verifier_report.calibration_table(judges, 100)
    assert table.head == ("", "good", "poor")
    rows = {first.text: [cell.text for cell in rest] for first, *rest in table.rows}
    assert rows[""] == ["reliable", "NOT reliable"]
    assert rows["right in every aspect"] == ["1", "0.985"]
    assert rows["lowest of the categories"] == ["1", "0.970"]
    assert rows["lowest of the colours"] == ["–", "0.950"]
    assert rows["rejects another object"] == ["1", "1"]
    assert rows["rejects the opposite relation"] == ["–", "–"]
    assert rows["renderings"] == ["5", "200"]
    notes = {first.text: rest[-1].note for first, *rest in table.rows}
    assert notes["lowest of the categories"].startswith("binding")
    assert notes["lowest of the colours"].startswith("blue")
    assert "The poor is NOT reliable" in table.note and "The good" not in table.note
    assert "right: binding 97.0%" in table.note
    html(Report("t", "l", sections=(Section("s", "S", "", (table,)),)))


def test_every_way_is_judged_on_the_same_scenes(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is worth what the ways with and without it differ by."""
    sizes = {cell: 1 for cell in FULL if cell[0] in benchmark.CHECKED}
    scenes = make_scenes(EmojiConfig(path=request_.data), sizes)
    shown: dict[str, int] = {"prior-prior": 0, "embedding": 255}

    def provider(self: EmbeddingSource, *_: Any) -> Callable[[Sequence[int]], torch.Tensor]:
        """The right picture with the text; none that is known without."""

        def draw(numbers: Sequence[int]) -> torch.Tensor:
            values = [number if shown.get(self.name, 255) == 0 else 255 for number in numbers]
            pixels = torch.tensor(values, dtype=torch.float32) / 127.5 - 1
            return pixels[:, None, None, None].expand(-1, 3, 16, 16)

        return draw

    ways = [
        way for way in embedding_sources.embedding_sources(pipe) if way.name in {*shown, "text"}
    ]
    monkeypatch.setattr(embedding_sources, "embedding_sources", lambda pipe: ways)
    monkeypatch.setattr(EmbeddingSource, "provider", provider)
    monkeypatch.setattr(judges, "matcher_of", lambda config: Knowing(scenes))
    report = run.evaluate(pipe, replace(request_, only=("ablations",)), tmp_path / "work")
    judged = report.values["science"]["judged"]
    assert judged["prompts"] == len(scenes)
    for name, right in (("prior-prior", 1.0), ("embedding", 0.0), ("text", 0.0)):
        for category in (*benchmark.CHECKED, "all"):
            assert judged[name]["both"][category]["any"]["share"] == right
        assert set(judged[name]["both"]["single"]) == set()
    table = next(
        part
        for section in report.sections
        for part in section.parts
        if isinstance(part, Table) and part.title == "What the judges say of each source of z_i"
    )
    titles = [row[0].text for row in table.rows]
    assert titles == [
        "prior, decoder with its text", "prior, text hidden (z_i only)", "text only (z_i hidden)",
    ]  # fmt: skip
    low, high = Share(len(scenes), len(scenes)).interval
    assert table.rows[0][4].note == f"{low:.3f}–{high:.3f}"
    assert float(table.rows[0][-1].text) > 0 and table.head[-1] == "FD-clip@9"
    said = "1.000 with its text, 0.000 with the text hidden, 0.000 from the text alone"
    assert said in table.note


def test_a_model_that_draws_no_numbers_is_refused(
    pipe: Pipeline, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sample(self: Pipeline, cond: Any, seeds: Sequence[Any], **_: Any) -> torch.Tensor:
        return torch.full((len(seeds), 3, 16, 16), torch.nan)

    monkeypatch.setattr(Pipeline, "sample", sample)
    scenes = make_scenes(EmojiConfig(path=request_.data), {("two", "seen"): 40})
    monkeypatch.setattr(judges, "matcher_of", lambda config: Blind(scenes))
    for part in ("distribution", "verifier"):
        with pytest.raises(CheckpointError, match="draws NaN or infinity in"):
            run.evaluate(pipe, replace(request_, only=(part,)), tmp_path / part)
    assert not list(tmp_path.rglob("*.png"))  # nothing that would be taken up again
