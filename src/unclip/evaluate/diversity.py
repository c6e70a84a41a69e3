"""The report's part on what seeds change, and on how sharp pictures are.

Few steps and strong guidance draw nearly the same picture from every seed. Sets with one picture
a prompt hardly show that, and the cosine to the text rewards it. Here pictures of one prompt are
compared with each other, as in BicycleGAN (arXiv 1711.11586: mean distance of pairs) and, for
guidance, in CADS (arXiv 2310.17347), and each number is divided by that of the same model with
more steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import override
from ..cost import Work
from ..errors import UsageError, counted
from ..facade import Pipeline
from ..media.measures import SATURATED, pixel_deviation
from ..pages.intervals import Numbers, bootstrap
from ..pages.report import Cell, Grid, Section, Table, number, row, shown
from ..stages.stage import DiffusionStage
from . import sharpness
from .benchmark import Session
from .embedding_sources import DEFAULT, EmbeddingSource
from .image_set import ImageSet

REAL = 256
"""Real pictures, at most, that sharpness is compared with."""
SHOWN, SIDE = 3, 96
REFERENCE = "reference"

TEXT = (
    "The same prompts and seeds with the model's own settings and with more steps. The pixel "
    "deviation is the standard deviation over the seeds of a prompt, averaged over pixels; the "
    "distance is the mean between two pictures of a prompt in the features of a network. A ratio "
    "well below 1 says that seeds have collapsed: the steps are too few, or guidance is too strong."
)

Values = Mapping[str, Sequence[float]]
"""By what is measured, a number for each prompt."""


def pairwise_distance(features: Tensor) -> float:
    """The mean Euclidean distance of two of (K, D), K of at least 2."""
    return float(torch.pdist(features).mean())


def ratio(values: Sequence[float], reference: Sequence[float], seed: int) -> dict[str, Any] | None:
    """Of each prompt's number over the reference's: mean, its 95 % interval over prompts, least.

    Prompts whose reference is 0 count for nothing; None where all are.
    """
    pairs = zip(values, reference, strict=True)
    each = np.asarray([a / b for a, b in pairs if b > 0])
    if not len(each):
        return None
    low, high = bootstrap(lambda some: some.mean(-1), each, seed=seed)
    return {"mean": float(each.mean()), "low": low, "high": high, "least": float(each.min())}


def ratio_of_means(
    values: Sequence[float], real: Sequence[float], seed: int
) -> dict[str, Any] | None:
    """Of two independent samples, with its 95 % interval; None where `real` is all 0."""
    if not any(real):
        return None

    def over(a: Numbers, b: Numbers) -> Numbers:
        made: Numbers = a.mean(-1) / b.mean(-1).clip(1e-12)
        return made

    a, b = np.asarray(values), np.asarray(real)
    low, high = bootstrap(over, a, b, seed=seed)
    return {"mean": float(over(a, b)), "low": low, "high": high}


def parse_settings(text: str) -> dict[str, Any]:
    """Sampling settings of a text such as `steps=15; sampler=ddpm`. Raises UsageError."""
    each = [one.strip() for one in text.split(";")]
    for one in each:
        if "=" not in one:
            raise UsageError(f"settings are 'NAME=VALUE; NAME=VALUE', got '{text}'")
    return override({}, each)


def check(pipe: Pipeline, settings: Sequence[str]) -> None:
    """Raise UsageError where a model cannot follow some of the settings."""
    for text in settings:
        pipe.cost(Work(1, parse_settings(text), 1, prior_runs=1))


def section(session: Session) -> Section:
    """Draw every prompt from several seeds, with each of the settings, and measure."""
    prompts, each = _prompts(session), session.sizes.seeds
    images = ImageSet(
        len(prompts) * each,
        lambda at: prompts.read(at // each),
        lambda: [caption for caption in prompts.captions for _ in range(each)],
    )
    reference = _reference(session)
    others = [
        replace(DEFAULT, name=f"settings-{at}", title=text, settings=parse_settings(text))
        for at, text in enumerate(session.sizes.settings)
    ]
    sources = [DEFAULT, *others, *([reference] if reference else [])]
    found = {source.name: _measured(session, source, images) for source in sources}
    real = _real(session)
    base = found[reference.name] if reference else {}
    runs = {one.title: _summary(found[one.name], base, real, session.seed) for one in sources}
    session.values["diversity"] = {
        "captions": list(prompts.captions),
        "seeds": each,
        "reference": reference.title if reference else None,
        "real": {what: fmean(values) for what, values in real.items()},
        "runs": {one.title: {"settings": dict(one.settings), **runs[one.title]} for one in sources},
    }
    own, versus = runs[DEFAULT.title], f"of {reference.title}" if reference else ""
    session.headline.append((f"diversity over {each} seeds", _cell(own["pixels"], versus)))
    session.headline.append(("sharpness", _cell(own["energy"], "of real pictures", "real")))
    parts = (_spread(runs, versus), _grid(session, sources, images, found), _sharp(runs, real))
    return Section("diversity", "Diversity and sharpness", TEXT, parts)


def _prompts(session: Session) -> ImageSet:
    """The first different captions of the held-out pictures."""
    held_out = session.benchmark.held_out
    first: dict[str, int] = {}
    for at, caption in enumerate(held_out.captions):
        first.setdefault(caption, at)
    captions = list(first)[: session.sizes.prompts]
    return ImageSet(len(captions), lambda at: held_out.read(first[captions[at]]), lambda: captions)


def _reference(session: Session) -> EmbeddingSource | None:
    """With more steps of the decoder; None where it has none, or no fewer itself.

    Of a decoder that was distilled the reference is its teacher, if the model has that.
    """
    name, first = next(iter(session.pipe.model.inverting().image_stages.items()))
    steps = session.sizes.reference_steps
    if isinstance(first, DiffusionStage) and first.config.sampling.steps < steps:
        more = {f"{name}_steps": steps}
        return replace(DEFAULT, name=REFERENCE, title=f"{steps} steps", settings=more)
    why = f"the {name} of the model takes no fewer steps; give --size reference_steps=N with more"
    session.left_out.append(("diversity over that of more steps", why))
    return None


def _measured(session: Session, source: EmbeddingSource, images: ImageSet) -> Values:
    """Every number of each prompt, from its pictures."""
    name, each = f"diversity-{source.name}", session.sizes.seeds
    pipe = session.pipe.inverting() if source.name == REFERENCE else session.pipe
    drawn = session.drawn(source, images, name, pipe)

    def make() -> dict[str, list[float]]:
        starts = range(0, len(drawn), each)
        made = {"pixels": [pixel_deviation(drawn.tensor(range(at, at + each))) for at in starts]}
        for one in session.extractors:
            seen = session.features(one, name, drawn)
            made[one.name] = [pairwise_distance(seen[at : at + each]) for at in starts]
        report = session.on_progress(f"sharpness, {source.title}")
        for what, values in sharpness.measure(drawn, report).items():
            made[what] = [fmean(values[at : at + each]) for at in starts]
        return made

    kept: Values = session.cache.value(f"diversity/{source.name}", make)
    return kept


def _real(session: Session) -> Values:
    """Sharpness and saturation of each of the real pictures."""
    images = session.benchmark.reference.part(0, REAL)
    report = session.on_progress("sharpness of real pictures")
    measured = partial(sharpness.measure, images, report)
    kept: Values = session.cache.value("sharpness/reference", measured)
    return kept


def _summary(values: Values, base: Values, real: Values, seed: int) -> dict[str, Any]:
    """Of each number: its mean, and its ratios to the reference run's and to real pictures'."""
    return {
        what: {
            "mean": fmean(each),
            "each": list(each),
            "ratio": ratio(each, base[what], seed) if base else None,
            "real": ratio_of_means(each, real[what], seed) if what == "energy" else None,
        }
        for what, each in values.items()
    }


def _cell(one: dict[str, Any], versus: str = "", to: str = "ratio") -> Cell:
    """A ratio with its interval."""
    found = one[to]
    if found is None:
        return Cell("–")
    if found["low"] == found["high"] == 1:  # the reference itself
        return Cell("1")
    return Cell(number(found["mean"]), f"{found['low']:.2f}–{found['high']:.2f} {versus}".strip())


def _spread(runs: Mapping[str, dict[str, Any]], versus: str) -> Table:
    """What seeds change."""
    rows, others = [], ("energy", "saturated")
    names = [name for name in next(iter(runs.values())) if name not in others]
    for title, run in runs.items():
        cells: list[Cell | str] = []
        for one in (run[name] for name in names):
            least = number(one["ratio"]["least"], 2) if one["ratio"] else "–"
            cells += [number(one["mean"]), _cell(one), least]
        rows.append(row(title, *cells))
    columns = ["pixel deviation", *(f"distance, {name}" for name in names[1:])]
    head = [name for one in columns for name in (one, versus or "ratio", "least prompt")]
    prompts = len(next(iter(runs.values()))["pixels"]["each"])
    note = (
        f"{counted(prompts, 'prompt')}; ratios are the mean of the prompts' own, intervals are "
        "95 %, by the bootstrap over prompts. Pixels are in [-1, 1]."
    )
    return Table("What seeds change", ("", *head), tuple(rows), note)


def _sharp(runs: Mapping[str, dict[str, Any]], real: Values) -> Table:
    """Sharpness and saturation."""
    rows = []
    for title, run in runs.items():
        energy, saturated = run["energy"], run["saturated"]
        ratios = _cell(energy, to="real"), _cell(energy)
        rows.append(row(title, number(1e3 * energy["mean"]), *ratios, number(saturated["mean"])))
    sharp, full = fmean(real["energy"]), fmean(real["saturated"])
    rows.append(row("real pictures", number(1e3 * sharp), "1", "", number(full)))
    note = (
        f"The mean square of luma's Laplacian, at {sharpness.SIDE} px or the pictures' own smaller "
        "side: below the real pictures' is blur, above it grain or halos. Saturated are values of "
        f"more than {SATURATED} in [-1, 1]."
    )
    head = (
        "", "Laplacian energy ×10³", "of real pictures", "of the reference run", "saturated share"
    )  # fmt: skip
    return Table("Sharpness and saturation", head, tuple(rows), note)


def _grid(
    session: Session,
    sources: Sequence[EmbeddingSource],
    images: ImageSet,
    found: Mapping[str, Values],
) -> Grid:
    """The prompts whose seeds differ least, from the model as it comes and with more steps."""
    each, pixels = session.sizes.seeds, found[DEFAULT.name]["pixels"]
    least = sorted(range(len(pixels)), key=lambda at: pixels[at])[:SHOWN]
    pictures, labels = [], []
    for at in least:
        numbers = range(at * each, (at + 1) * each)
        for source in (sources[0], *sources[1:][-1:]):
            pictures += session.drawn(source, images, f"diversity-{source.name}").pictures(numbers)
            first = f"{images.captions[numbers[0]]}, {source.title}"
            labels += [first, *[""] * (each - 1)]
    title = "The prompts whose seeds differ least"
    return Grid(title, shown(pictures, SIDE), tuple(labels), columns=each)
