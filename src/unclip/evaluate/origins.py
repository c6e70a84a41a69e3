"""The report's part on unCLIP itself: where z_i comes from, guidance, priors, inversion."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from ..errors import DataError
from ..facade import Pipeline
from ..stages.stage import DiffusionStage
from . import metrics, priors, science
from .album import Album
from .bench import Bench
from .features import Net
from .intervals import Share
from .report import (
    Cell,
    Curve,
    Grid,
    Line,
    Part,
    Section,
    Table,
    estimate,
    number,
    row,
    share,
    shown,
)
from .science import Way
from .scores import OF_WAYS, TITLES, admission, of_way, way_scenes
from .verifier import BOTH

SIDE = 96
COLUMNS = 8

TEXT = (
    "The same captions and seeds each time; what differs is where z_i comes from, and whether the "
    "decoder also reads the text. A prior that lost nothing would do as well as the true picture's "
    "z_i, and the paper finds that a prior beats handing z_t on as if it were z_i (arXiv "
    "2204.06125, section 5.1). A z_i carries badly which thing has which colour, stands where and "
    "comes how often: what the decoder's own reading of the text is worth shows there."
)


def section(bench: Bench) -> Section:
    """Every way to z_i, guidance, the priors by themselves, inversion."""
    pipe = science.decoder_only(bench.pipe)
    assert bench.ground.at is not None
    small = bench.ground.at(pipe.model.side)
    count = bench.sizes.science
    real, true = small.reference.first(count), small.twin.first(count)
    parts: list[Part] = []
    values: dict[str, Any] = {"pictures": len(true)}
    found = _Measured(bench, pipe, real, true)
    ways = science.ways(pipe)
    if ways:
        values["ways"] = {way.name: found.all(way) for way in ways}
        values["floor"] = found.floor()
        values["prior_beats_z_t"] = _order(values["ways"], pipe, bench.nets)
        parts += [_ways_table(found, ways, values), *_judged(bench, ways, values)]
        parts += admission(bench) if "judged" in values else []
        parts.append(_ways_grid(found, ways))
        parts += _guidance(found, ways, values)
    else:
        bench.left_out.append(("where z_i comes from", "this model's decoder reads no z_i"))
    parts += _priors(bench, values)
    parts += _inversion(bench, values)
    bench.values["science"] = values
    return Section("science", "Where z_i comes from", TEXT, tuple(parts))


class _Measured:
    """Fréchet distances of ways, each drawn once."""

    def __init__(self, bench: Bench, pipe: Pipeline, real: Album, true: Album) -> None:
        self.bench, self.pipe, self.real, self.true = bench, pipe, real, true

    def drawn(self, way: Way) -> Album:
        return self.bench.drawn(way, self.true, f"science-{way.name}", self.pipe)

    def all(self, way: Way) -> dict[str, Any]:
        """Of each net: the distance, its deviation, recall."""
        return {net.name: self._one(net, way) for net in self.bench.nets}

    def _one(self, net: Net, way: Way) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            real = self.bench.seen(net, "science-reference", self.real)
            drawn = self.bench.seen(net, f"science-{way.name}", self.drawn(way))
            _, recall = metrics.precision_recall(real, drawn)
            return {
                "frechet": metrics.frechet(real, drawn),
                "deviation": metrics.frechet_deviation(real, drawn, self.bench.seed),
                "recall": [recall.right, recall.total],
            }

        made: dict[str, Any] = self.bench.work.value(f"science/{net.key}/{way.name}", make)
        return made

    def floor(self) -> dict[str, float]:
        """Of each net: the distance of the true pictures from the reference."""
        out = {}
        for net in self.bench.nets:
            real = self.bench.seen(net, "science-reference", self.real)
            true = self.bench.seen(net, "science-true", self.true)
            out[net.name] = metrics.frechet(real, true)
        return out


def _order(ways: dict[str, Any], pipe: Pipeline, nets: tuple[Net, ...]) -> dict[str, bool] | None:
    """Whether the model's own prior is nearer to real pictures than z_t, by each net."""
    if "z_t" not in ways or not pipe.model.priors:
        return None
    own = ways[f"prior-{pipe.model.priors[0]}"]
    return {n.name: own[n.name]["frechet"] < ways["z_t"][n.name]["frechet"] for n in nets}


def _ways_table(found: _Measured, ways: list[Way], values: dict[str, Any]) -> Table:
    nets = found.bench.nets
    count = len(found.true)
    head = ["", *(f"FD-{net.name}@{count}" for net in nets), f"recall, {nets[-1].name}"]
    rows = []
    for way in ways:
        one = values["ways"][way.name]
        cells = [estimate(one[net.name]["frechet"], one[net.name]["deviation"]) for net in nets]
        rows.append(row(way.title, *cells, share(Share(*one[nets[-1].name]["recall"]))))
    floor = values["floor"]
    rows.append(row("floor: real against real", *(number(floor[n.name]) for n in nets), ""))
    order = values["prior_beats_z_t"]
    note = ""
    if order is not None:
        said = ", ".join(f"{'yes' if holds else 'no'} by {net}" for net, holds in order.items())
        note = f" The paper's order, a prior before z_t: {said}."
    note = f"The decoder alone, without upsamplers, at its own size.{note}"
    return Table("Distances from real pictures", tuple(head), tuple(rows), note)


def _judged(bench: Bench, ways: list[Way], values: dict[str, Any]) -> list[Part]:
    """What the judges say of each way, with upsamplers: they look at whole pictures."""
    scenes = way_scenes(bench)
    config = bench.ground.config
    if not scenes or config is None:
        if bench.ground.config is not None:
            bench.left_out.append(("what judges say of each way to z_i", "give --set ways=15"))
        return []
    net = bench.nets[-1].name
    rows, summaries = [], {}
    for way in ways:
        verdicts = of_way(bench, way, bench.pipe, scenes, config)
        summaries[way.name] = verdicts.summary()
        shares = [verdicts.share(BOTH, category) for category in (*OF_WAYS, None)]
        cells = [share(one, bar=False) if one.total else Cell("–") for one in shares]
        rows.append(row(way.title, *cells, number(values["ways"][way.name][net]["frechet"])))
    values["judged"] = {"prompts": len(scenes), **summaries}
    head = ("", *(TITLES[category] for category in (*OF_WAYS, None)))
    head = (*head, f"FD-{net}@{values['pictures']}")
    agreeing = "both judges agreeing" if len(bench.judges) > 1 else f"by the {bench.judges[0].name}"
    note = (
        f"The same {len(scenes)} prompts for every way, whole pictures, one each, {agreeing}; "
        "intervals are Wilson's, 95 %. The distance is that of the table above."
        f"{_text_path(bench.pipe, summaries)}"
    )
    return [Table("What the judges say of each way", head, tuple(rows), note)]


def _text_path(pipe: Pipeline, summaries: dict[str, Any]) -> str:
    """What binding owes to the text that the decoder reads, in a sentence; empty if not known."""
    names = {
        f"prior-{pipe.model.priors[0] if pipe.model.priors else ''}": "with its text",
        "embedding": "with the text hidden",
        "text": "from the text alone",
    }
    found = {
        title: summaries[name][BOTH]["binding"]["any"]["share"]
        for name, title in names.items()
        if summaries.get(name, {}).get(BOTH, {}).get("binding")
    }
    if len(found) < len(names):
        return ""
    said = ", ".join(f"{value:.3f} {title}" for title, value in found.items())
    return f" Binding, by the model's own prior: {said}."


def _ways_grid(found: _Measured, ways: list[Way]) -> Grid:
    numbers = range(min(COLUMNS, len(found.true)))
    pictures = [found.true.picture(number) for number in numbers]
    labels = [found.true.captions[number] for number in numbers]
    for way in ways:
        drawn = found.drawn(way)
        pictures += [drawn.picture(number) for number in numbers]
        labels += [way.title, *[""] * (len(numbers) - 1)]
    title = "The true pictures, and the same captions and seeds in each way"
    return Grid(title, shown(pictures, SIDE), tuple(labels), columns=len(numbers))


def _guidance(found: _Measured, ways: list[Way], values: dict[str, Any]) -> list[Part]:
    """FD and recall against guidance, with a z_i that guidance leaves alone and with none."""
    by_name = {way.name: way for way in ways}
    own = [f"prior-{name}" for name in found.pipe.model.priors[:1]]
    lines = {"z_i frozen": own[0] if own else "oracle", "no z_i": "text"}
    scales = found.bench.sizes.scales
    usual = _usual_scale(found.pipe)
    curves: dict[str, list[dict[str, Any]]] = {}
    for title, name in lines.items():
        if name not in by_name:
            continue
        curves[title] = []
        for scale in scales:
            way = by_name[name]
            way = way if scale == usual else way.at(scale, f"{name}-guided-{scale:g}")
            curves[title].append({"scale": scale, **found.all(way)})
    values["guidance"] = curves
    net = found.bench.nets[-1].name

    def line(title: str, read: str) -> Line:
        points = curves[title]
        if read == "frechet":
            ys = [one[net]["frechet"] for one in points]
            spread = tuple(one[net]["deviation"] for one in points)
        else:
            ys, spread = [one[net]["recall"][0] / one[net]["recall"][1] for one in points], ()
        return Line(title, tuple(zip(scales, ys, strict=True)), spread)

    note = (
        "Guidance pushes the decoder towards the caption. With z_i given, what the picture shows "
        "is settled before guidance begins; without, guidance settles it too (section 5.3)."
    )
    floor = values["floor"][net]
    count = len(found.true)
    fd = Curve(
        "Fréchet distance against guidance",
        "guidance scale of the decoder",
        f"FD-{net}@{count}",
        tuple(line(title, "frechet") for title in curves),
        (("floor", floor),),
        note,
    )
    recall = Curve(
        "Recall against guidance",
        "guidance scale of the decoder",
        f"recall, {net}",
        tuple(line(title, "recall") for title in curves),
    )
    return [fd, recall]


def _usual_scale(pipe: Pipeline) -> float:
    first = next(iter(pipe.model.image_stages.values()))
    return first.config.sampling.guidance_scale if isinstance(first, DiffusionStage) else 1.0


def _priors(bench: Bench, values: dict[str, Any]) -> list[Part]:
    """How well each prior's z_i find their own pictures."""
    source, what = bench.ground.source, "how well priors find their pictures"
    if source is None or not bench.pipe.model.priors:
        return []
    if not all(science.has_tower(bench.pipe, tower) for tower in ("vision", "text")):
        bench.left_out.append((what, "needs both encoders of the model's own CLIP"))
        return []
    bench.tell("priors", 0, 1)
    try:
        table = bench.work.value("priors", lambda: _compare(bench))
    except DataError as error:  # a small vocabulary says few things twice
        bench.left_out.append((what, f"{error}; give --set captions=N with fewer"))
        return []
    bench.tell("priors", 1, 1)
    values["priors"] = table
    rows = []
    for name, one in table.items():
        title = {"none": "none: z_t as z_i"}.get(name, name)
        first, fifth = Share(*one["first"]), Share(*one["fifth"])
        apart = number(round(one["diversity"], 4), 2)
        rows.append(row(title, share(first), share(fifth), number(one["cosine"]), apart))
    head = ("", "R@1", "R@5", "cosine to the truth", "diversity")
    note = (
        "A caption does not say where things stand: another true picture of the same caption is "
        "what a perfect prior would score. Diversity is the mean 1 - cosine of different draws."
    )
    count = bench.sizes.captions
    return [
        Table(f"Each prior's z_i, finding its picture among {count:,}", head, tuple(rows), note)
    ]


def _compare(bench: Bench) -> dict[str, Any]:
    pipe, source = bench.pipe, bench.ground.source
    assert source is not None
    clip, count = pipe.model.clip("a prior's evaluation"), bench.sizes.captions
    held = priors.hold(
        source, pipe.tokenizer, clip, priors.twice(source, count, priors.SCENES_EACH * count)
    )
    out = {}
    for name, one in priors.compare(pipe.stages, held, bench.seed):
        out[name] = {
            "first": [one.first.right, one.first.total],
            "fifth": [one.fifth.right, one.fifth.total],
            "cosine": one.cosine,
            "diversity": one.diversity,
        }
    return out


def _inversion(bench: Bench, values: dict[str, Any]) -> list[Part]:
    """How well pictures come back from (z_i, x_T)."""
    if not science.has_tower(bench.pipe, "vision"):
        bench.left_out.append(("inversion", "the model has no CLIP that sees, hence no z_i"))
        return []
    count = min(bench.sizes.inversions, len(bench.ground.twin))
    found: list[dict[str, float]] = []
    for index in range(count):
        bench.tell("inverting", index, count)

        def make(at: int = index) -> dict[str, float]:
            return asdict(science.inversion(bench.pipe, bench.ground.twin, at))

        found.append(bench.work.value(f"inversion/{index}", make))
    bench.tell("inverting", count, count)
    values["inversion"] = found
    rows = []
    for key, title in (("decoder", "the decoder's own picture"), ("whole", "with upsamplers")):
        one = torch.tensor([item[key] for item in found], dtype=torch.float64)
        error = float(one.std() / len(one) ** 0.5) if len(one) > 1 else None
        low, high = number(float(one.min())), number(float(one.max()))
        rows.append(row(title, estimate(float(one.mean()), error), low, high))
    note = "DDIM inversion without guidance, drawn again; PSNR in dB, ± the standard error."
    head = ("", "mean", "least", "most")
    return [Table(f"{count} pictures inverted and drawn again", head, tuple(rows), note)]
