"""The report's part on unCLIP itself: where z_i comes from, guidance, priors, inversion."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..abilities._latent import decode_latents, of_picture
from ..errors import DataError, counted
from ..facade import Pipeline
from ..pages.intervals import Share
from ..pages.report import (
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
from ..stages.stage import DiffusionStage
from . import embedding_sources, metrics, priors
from .benchmark import Checked, Session
from .embedding_sources import EmbeddingSource, has_tower
from .features import FeatureExtractor
from .image_set import ImageSet

SIDE = 96
COLUMNS = 8

TEXT = (
    "The same captions and seeds each time; what differs is where z_i comes from, and whether the "
    "decoder also reads the text. A prior that lost nothing would do as well as the true picture's "
    "z_i, and the paper finds that a prior beats handing z_t on as if it were z_i (arXiv "
    "2204.06125, section 5.1). A z_i carries badly which thing has which colour, stands where and "
    "comes how often: what the decoder's own reading of the text is worth shows there."
)


def section(session: Session) -> Section:
    """Every source of z_i, guidance, the priors by themselves, inversion."""
    ablation = Ablation(session)
    values = ablation.values
    sources = embedding_sources.embedding_sources(ablation.pipe)
    parts: list[Part] = []
    if sources:
        parts += [ablation.distances(sources), *_checked(session, sources, values)]
        parts += session.benchmark.calibration(session) if "judged" in values else []
        parts += [ablation.grid(sources), *ablation.guidance(sources)]
    else:
        session.left_out.append(("where z_i comes from", "this model's decoder reads no z_i"))
    parts += [*_priors(session, values), *_inversion(session, values)]
    session.values["science"] = values
    return Section("ablations", "Where z_i comes from", TEXT, tuple(parts))


class Ablation:
    """Fréchet distances by source of z_i, from the decoder's own pictures."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pipe = embedding_sources.decoder_only(session.pipe.inverting())
        small, count = session.benchmark.at(self.pipe.model.size), session.sizes.ablations
        self.real, self.true = small.reference.part(0, count), small.held_out.part(0, count)
        self.values: dict[str, Any] = {"pictures": len(self.true)}

    def drawn(self, source: EmbeddingSource) -> ImageSet:
        """Pictures of the true images' captions."""
        return self.session.drawn(source, self.true, f"science-{source.name}", self.pipe)

    def measured(self, source: EmbeddingSource) -> dict[str, Any]:
        """By extractor: the distance, its deviation, recall."""
        return {one.name: self._measured(one, source) for one in self.session.extractors}

    def _measured(self, extractor: FeatureExtractor, source: EmbeddingSource) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            real = self.session.features(extractor, "science-reference", self.real)
            drawn = self.session.features(extractor, f"science-{source.name}", self.drawn(source))
            _, recall = metrics.precision_recall(real, drawn)
            return {
                "frechet": metrics.frechet(real, drawn),
                "deviation": metrics.frechet_deviation(real, drawn, self.session.seed),
                "recall": [recall.right, recall.total],
            }

        name = f"science/{extractor.key}/{source.name}"
        made: dict[str, Any] = self.session.cache.value(name, make)
        return made

    def _floor(self, extractor: FeatureExtractor) -> float:
        """The distance of the true pictures from the reference."""
        real = self.session.features(extractor, "science-reference", self.real)
        return metrics.frechet(real, self.session.features(extractor, "science-true", self.true))

    def distances(self, sources: list[EmbeddingSource]) -> Table:
        """The table, and its values."""
        extractors = self.session.extractors
        found = {source.name: self.measured(source) for source in sources}
        floor = {one.name: self._floor(one) for one in extractors}
        order = _order(found, self.pipe)
        self.values |= {"ways": found, "floor": floor, "prior_beats_z_t": order}
        last = extractors[-1].name
        rows = []
        for source in sources:
            one = found[source.name]
            cells = [estimate(each["frechet"], each["deviation"]) for each in one.values()]
            rows.append(row(source.title, *cells, share(Share(*one[last]["recall"]))))
        rows.append(row("floor: real against real", *map(number, floor.values()), ""))
        head = ("", *(f"FD-{one.name}@{len(self.true)}" for one in extractors), f"recall, {last}")
        note = "The decoder alone, without upsamplers, at its own size."
        if order is not None:
            said = (f"{'yes' if holds else 'no'} by {name}" for name, holds in order.items())
            note += f" The paper's order, a prior before z_t: {', '.join(said)}."
        return Table("Distances from real pictures", head, tuple(rows), note)

    def grid(self, sources: list[EmbeddingSource]) -> Grid:
        """The first true pictures, and the same captions from every source."""
        numbers = range(min(COLUMNS, len(self.true)))
        pictures = self.true.pictures(numbers)
        labels = [self.true.captions[number] for number in numbers]
        for source in sources:
            pictures += self.drawn(source).pictures(numbers)
            labels += [source.title, *[""] * (len(numbers) - 1)]
        title = "The true pictures, and the same captions and seeds from each source of z_i"
        return Grid(title, shown(pictures, SIDE), tuple(labels), columns=len(numbers))

    def guidance(self, sources: list[EmbeddingSource]) -> list[Part]:
        """FD and recall against guidance, with a z_i that guidance leaves alone and with none."""
        known = {source.name: source for source in sources}
        own = f"prior-{self.pipe.model.priors[0]}" if self.pipe.model.priors else "oracle"
        curves = {
            title: [self._at(known[name], scale) for scale in self.session.sizes.scales]
            for title, name in (("z_i frozen", own), ("no z_i", "text"))
            if name in known
        }
        self.values["guidance"] = curves
        last = self.session.extractors[-1].name
        frechet, recall = [], []
        for title, points in curves.items():
            scales, found = [one["scale"] for one in points], [one[last] for one in points]
            distances = zip(scales, (one["frechet"] for one in found), strict=True)
            spread = tuple(one["deviation"] for one in found)
            frechet.append(Line(title, tuple(distances), spread))
            shares = (Share(*one["recall"]).value for one in found)
            recall.append(Line(title, tuple(zip(scales, shares, strict=True))))
        note = (
            "Guidance pushes the decoder towards the caption. With z_i given, what the picture "
            "shows is settled before guidance begins; without, guidance settles it too (section "
            "5.3)."
        )
        x, y = "guidance scale of the decoder", f"FD-{last}@{len(self.true)}"
        floor = (("floor", self.values["floor"][last]),)
        return [
            Curve("Fréchet distance against guidance", x, y, tuple(frechet), floor, note),
            Curve("Recall against guidance", x, f"recall, {last}", tuple(recall)),
        ]

    def _at(self, source: EmbeddingSource, scale: float) -> dict[str, Any]:
        """What a source measures at a guidance scale."""
        first = next(iter(self.pipe.model.image_stages.values()))
        usual = first.config.sampling.guidance_scale if isinstance(first, DiffusionStage) else 1.0
        if scale != usual:
            source = source.guided(scale, f"{source.name}-guided-{scale:g}")
        return {"scale": scale, **self.measured(source)}


def _order(found: dict[str, Any], pipe: Pipeline) -> dict[str, bool] | None:
    """Whether the model's own prior is nearer to real pictures than z_t, by extractor."""
    if "z_t" not in found or not pipe.model.priors:
        return None
    own, z_t = found[f"prior-{pipe.model.priors[0]}"], found["z_t"]
    return {name: own[name]["frechet"] < z_t[name]["frechet"] for name in z_t}


def _checked(
    session: Session, sources: list[EmbeddingSource], values: dict[str, Any]
) -> list[Part]:
    """What the benchmark's checks say of each source, with upsamplers: they see whole pictures."""
    benchmark, count = session.benchmark, session.sizes.source_prompts
    prompts = benchmark.prompts(count) if count else None
    if prompts is None:
        if benchmark.checkers:
            advice = "give --size source_prompts=15"
            session.left_out.append(("what judges say of each source of z_i", advice))
        return []
    last = session.extractors[-1].name
    rows, found = [], {}
    for source in sources:
        draw = source.provider(session.pipe, prompts.images, session.seed)
        one = found[source.name] = prompts.check(session, f"way-{source.name}", draw)
        cells = [share(part, bar=False) for part in one.shares.values()]
        distance = number(values["ways"][source.name][last]["frechet"])
        rows.append(row(source.title, *cells, distance))
    values["judged"] = {
        "prompts": len(prompts.images), **{name: one.summary for name, one in found.items()}
    }  # fmt: skip
    titles = next(iter(found.values())).shares
    note = (
        f"The same {counted(len(prompts.images), 'prompt')} for every source, whole pictures, "
        f"one each, {benchmark.checkers}; intervals are Wilson's, 95 %. The distance is that of "
        f"the table above.{_worth_of_text(session.pipe, found)}"
    )
    head = ("", *titles, f"FD-{last}@{values['pictures']}")
    return [Table("What the judges say of each source of z_i", head, tuple(rows), note)]


def _worth_of_text(pipe: Pipeline, found: dict[str, Checked]) -> str:
    """What the first check owes to the text that the decoder reads; empty if not known."""
    names = {
        f"prior-{pipe.model.priors[0] if pipe.model.priors else ''}": "with its text",
        "embedding": "with the text hidden",
        "text": "from the text alone",
    }
    first = {name: next(iter(one.shares.items())) for name, one in found.items() if one.shares}
    if not all(name in first and first[name][1].total for name in names):
        return ""
    what = first["text"][0].partition(":")[0].capitalize()
    said = (f"{first[name][1].value:.3f} {title}" for name, title in names.items())
    return f" {what}, by the model's own prior: {', '.join(said)}."


def _priors(session: Session, values: dict[str, Any]) -> list[Part]:
    """How well each prior's z_i find their own pictures."""
    pipe, source, count = session.pipe, session.benchmark.source, session.sizes.captions
    what = "how well priors find their pictures"
    if source is None or not pipe.model.priors:
        return []
    if not all(has_tower(pipe, tower) for tower in ("vision", "text")):
        session.left_out.append((what, "needs both encoders of the model's own CLIP"))
        return []
    session.on_task("priors", 0, 1)
    try:
        measured = partial(priors.table, pipe, source, count, session.seed)
        values["priors"] = table = session.cache.value("priors", measured)
    except DataError as error:  # a small vocabulary says few things twice
        session.left_out.append((what, f"{error}; give --size captions=N with fewer"))
        return []
    session.on_task("priors", 1, 1)
    rows = []
    for name, one in table.items():
        title = {"none": "none: z_t as z_i"}.get(name, name)
        shares = [share(Share(*one[key])) for key in ("first", "fifth")]
        apart = number(round(one["diversity"], 4), 2)
        rows.append(row(title, *shares, number(one["cosine"]), apart))
    head = ("", "R@1", "R@5", "cosine to the truth", "diversity")
    note = (
        "A caption does not say where things stand: another true picture of the same caption is "
        "what a perfect prior would score. Diversity is the mean 1 - cosine of different draws."
    )
    title = f"Each prior's z_i, finding its picture among {count:,}"
    return [Table(title, head, tuple(rows), note)]


def _inversion(session: Session, values: dict[str, Any]) -> list[Part]:
    """How well pictures come back from (z_i, x_T)."""
    if not has_tower(session.pipe, "vision"):
        session.left_out.append(("inversion", "the model has no CLIP that sees, hence no z_i"))
        return []
    images = session.benchmark.held_out
    count = min(session.sizes.inversions, len(images))
    found: list[dict[str, float]] = []
    for at in range(count):
        session.on_task("inverting", at, count)
        inverted = partial(invert, session.pipe.inverting(), images, at)
        found.append(session.cache.value(f"inversion/{at}", inverted))
    session.on_task("inverting", count, count)
    values["inversion"] = found
    rows = []
    for key, title in (("decoder", "the decoder's own picture"), ("whole", "with upsamplers")):
        one = torch.tensor([item[key] for item in found], dtype=torch.float64)
        error = float(one.std() / len(one) ** 0.5) if len(one) > 1 else None
        low, high = number(float(one.min())), number(float(one.max()))
        rows.append(row(title, estimate(float(one.mean()), error), low, high))
    note = "DDIM inversion without guidance, drawn again; PSNR in dB, ± the standard error."
    head = ("", "mean", "least", "most")
    return [Table(f"{counted(count, 'picture')} inverted and drawn again", head, tuple(rows), note)]


def invert(pipe: Pipeline, images: ImageSet, number: int) -> dict[str, float]:
    """Invert one picture to (z_i, x_T) and draw it again.

    The detail that the abilities add to a redrawn picture is left out: this is what the networks
    carry themselves.

    Returns:
        Peak signal-to-noise ratios in dB: of the `decoder`'s own picture, and of the `whole`.
    """
    latent = of_picture(pipe, images.pictures([number])[0], 0, {}, None)
    whole, small = decode_latents(pipe, [latent], [0], {}, None)
    assert latent.picture is not None
    truth = F.interpolate(latent.picture, small.shape[-2:], mode="area")
    return {"decoder": psnr(small, truth), "whole": psnr(whole, latent.picture)}


def psnr(a: Tensor, b: Tensor) -> float:
    """Of pictures in [-1, 1], in dB; the range is 2."""
    error = float((a.float() - b.float()).square().mean())
    return float(10 * torch.log10(torch.tensor(4 / max(error, 1e-12), dtype=torch.float64)))
