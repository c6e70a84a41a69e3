"""The page of a run: what is in its folder, in one file that needs nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from unclip.pages.report import Curve, Grid, Report, Table
from unclip.train import report as module
from unclip.train.loggers import Place
from unclip.train.loggers.jsonl import JsonLines
from unclip.train.recipe import load_recipe
from unclip.train.report import POINTS, report_of, write_report
from unclip.train.run import Run
from unclip.train.state import Best, State, mark_best, save_state

LOSSES = [2.0 / (1 + step / 50) for step in range(1, 601)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of `tiny` whose CLIP has trained for a while, and whose prior has begun."""
    settings = ["stages.clip.train.steps=1000", "name='<b>mine</b>'"]
    run = Run(load_recipe("tiny", settings), tmp_path / "run", torch.device("cpu"))
    for stage, losses in (("clip", LOSSES), ("prior", LOSSES[:2])):
        logger = JsonLines(Place(run.folder, "mine", stage, 0, {}))
        for step, loss in enumerate(losses, start=1):
            more = {"images_per_second": 50.0, "grad_norm": 1.0, "share_of_peak": 0.25}
            logger.scalars(step, {"loss": loss, **more})
            if step % 200 == 0:
                levels = {"validation_level_1": loss, "validation_level_2": 3 * loss}
                logger.scalars(step, {"validation": 2 * loss, **levels})
        logger.note(7, "2 steps skipped & <gone>")
        logger.close()
    states = run.folder / "clip" / "states"
    save_state(states, State({"step": 600, "seconds": 7200.0}))
    mark_best(states, Best(600, 0.31))
    previews = run.folder / "clip" / "previews"
    previews.mkdir()
    for step in (100, 200, 300, 400, 500):
        Image.new("RGB", (8, 8), (step % 256, 0, 0)).save(previews / f"step-{step:08}.png")
    return run


def parts(report: Report, section: str, kind: type) -> list:  # type: ignore[type-arg]
    (found,) = [one for one in report.sections if one.name == section]
    return [part for part in found.parts if isinstance(part, kind)]


def test_the_stages_are_as_far_as_they_are(run: Run) -> None:
    report = report_of(run)
    (table,) = parts(report, "stages", Table)
    rows = {row[0].text: [(cell.text, cell.note) for cell in row[1:]] for row in table.rows}
    assert list(rows) == ["clip", "prior", "decoder", "upsampler"]
    steps, batch, loss, best, speed, peak, time = rows["clip"]
    assert steps == ("600", "of 1,000")
    assert batch == ("64", "")
    assert float(loss[0]) == pytest.approx(LOSSES[-1], abs=1e-3)
    assert best == ("0.310", "step 600")
    assert (speed[0], peak[0], time[0]) == ("50.0", "25%", "2 h 00")
    assert rows["decoder"][0] == ("0", "of 400")
    assert "0 of 4 stages trained" in report.lead


def test_curves_are_those_of_the_log(run: Run) -> None:
    curves = {curve.title: curve for curve in parts(report_of(run), "stage-clip", Curve)}
    raw, mean = curves["Loss"].lines
    assert raw.faint and not mean.faint
    assert len(raw.points) <= POINTS
    for line in (raw, mean):
        for x, y in line.points[5:-5]:
            assert y == pytest.approx(2.0 / (1 + x / 50), rel=0.05)
    assert curves["Loss"].log
    held = curves["Loss on held out pictures"]
    assert [line.name for line in held.lines] == ["mean", "level 1", "level 2"]
    assert [x for x, _ in held.lines[0].points] == [200, 400, 600]
    assert held.lines[2].points[1][1] == 3 * LOSSES[399]


def test_previews_are_the_first_the_last_and_one_between(run: Run) -> None:
    (grid,) = parts(report_of(run), "stage-clip", Grid)
    assert grid.labels == ("step 100", "step 300", "step 500")
    assert [picture.getpixel((0, 0))[0] for picture in grid.pictures] == [100, 300 % 256, 500 % 256]


def test_what_happened_and_how_to_go_on(run: Run) -> None:
    report = report_of(run, "unclip train mine --resume")
    (table,) = parts(report, "happened", Table)
    assert [row[0].text for row in table.rows] == ["clip, step 7", "prior, step 7"]
    assert ("go on", "unclip train mine --resume") in report.facts
    (settings,) = parts(report, "recipe", Table)
    told = {row[0].text: row[1].text for row in settings.rows}
    assert told["stages.clip.train.steps"] == "1000"


class Links(HTMLParser):
    """Everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe")
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_opens_offline_and_texts_are_escaped(run: Run) -> None:
    page = write_report(run).read_text("utf-8")
    assert page.startswith("<!doctype html>")
    links = Links()
    links.feed(page)
    assert links.found
    assert all(link.startswith(("#", "data:image/")) for link in links.found)
    assert "url(" not in page
    assert "&lt;b&gt;mine&lt;/b&gt;" in page and "<b>mine" not in page
    assert "2 steps skipped &amp; &lt;gone&gt;" in page


def test_the_loss_is_a_picture_too(run: Run) -> None:
    """The curve falls from the upper left to the lower right, in its colour."""
    write_report(run)
    assert not (run.folder / "decoder" / "loss.png").exists()
    with Image.open(run.folder / "clip" / "loss.png") as opened:
        sheet = opened.convert("RGB")
    mean = [(x, y) for x in range(sheet.width) for y in range(sheet.height)
            if sheet.getpixel((x, y)) == (0xC4, 0x57, 0x2B)]  # fmt: skip
    left = [y for x, y in mean if 130 < x < 180]
    right = [y for x, y in mean if 1000 < x < 1100]
    assert max(left) < min(right)


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    run = Run(load_recipe("tiny"), tmp_path / "new", torch.device("cpu"))
    assert "0 of 4 stages trained" in write_report(run).read_text("utf-8")
    assert report_of(run).headline == ()


def test_torn_logs_and_pictures_do_not_stop_it(run: Run) -> None:
    (run.folder / "clip" / "previews" / "step-00000100.png").write_bytes(b"\x89PNG")
    file = run.folder / "clip" / "log.jsonl"
    file.write_text('[]\n{"step": "x"}\nnull\n' + file.read_text()[:-9])
    (run.folder / "clip" / "states" / "step-00000600" / "state.json").write_text("{")
    assert re.search(r"600\s*<small>of 1,000", write_report(run).read_text("utf-8"))


@pytest.mark.parametrize("count", [1, 2, 239, 240, 241, 5000])
def test_thinned_points_are_means_of_all(count: int) -> None:
    points = [(float(n), float(n % 7)) for n in range(count)]
    thin = module._thin(points)
    assert len(thin) <= POINTS
    assert thin[0][0] >= 0 and thin[-1][0] <= count - 1
    if count <= POINTS:
        assert [tuple(point) for point in thin] == points


def test_what_is_taken_as_it_is_is_not_counted_as_trained(run: Run, tmp_path: Path) -> None:
    stages = {**run.recipe.stages, "prior": replace(run.recipe.stage("prior"), train=None)}
    taken = Run(replace(run.recipe, stages=stages), run.folder, run.device)
    report = report_of(taken)
    assert report.lead.startswith("0 of 3 stages trained, 1 taken as it is, as of ")
    (table,) = parts(report, "stages", Table)
    assert (table.rows[1][0].note, {cell.text for cell in table.rows[1][1:]}) == (
        "taken as it is",
        {"–"},
    )
    assert table.texts == [True, *[False] * 7]


def test_a_stage_of_a_few_steps_has_no_mean_and_one_point_is_no_diagram(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = parts(report_of(run), "stage-prior", Curve)[0]
    assert [(line.name, line.faint, len(line.points)) for line in loss.lines] == [("", False, 2)]
    (run.folder / "prior" / "log.jsonl").write_text('{"step": 1, "loss": 2.0, "grad_norm": 1.0}\n')
    assert [one.lines for one in parts(report_of(run), "stage-prior", Curve)] == [(), ()]
    assert "Too few points yet." in write_report(run).read_text("utf-8")


def test_what_a_loss_is_made_of_is_drawn(run: Run) -> None:
    """Of two players, each by its name; of what was not logged, nothing."""
    logger = JsonLines(Place(run.folder, "mine", "decoder", 0, {}))
    for step in range(1, 31):
        players = {"adversarial": 1.0 + step, "critic": 1.0 / step, "clip": 0.5, "gap": 2.0}
        logger.scalars(step, {"loss": 1.0, **players})
    logger.close()
    curves = {curve.title: curve for curve in parts(report_of(run), "stage-decoder", Curve)}
    both = curves["Generator and critic"]
    assert [line.name for line in both.lines] == ["generator", "critic"]
    assert [line.points[-1][0] for line in both.lines] == [30, 30]
    assert both.lines[0].points[14] == (15, 16.0)
    assert "CLIP's feedback" in curves and "Of the teacher's" not in curves
    assert "Generator and critic" not in {
        curve.title for curve in parts(report_of(run), "stage-clip", Curve)
    }
