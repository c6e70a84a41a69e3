"""One evaluation from model and data to a report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import CheckpointError, PromptWarning, UsageError, nearest
from ..facade import Pipeline
from ..files import write_json, write_text
from ..loading import bundled_models
from . import distribution, features, languages, limits, memorisation, origins, scores
from .bench import FULL, PARTS, Bench, Sizes, Tell
from .features import Net
from .ground import (
    Ground,
    check_enough,
    check_fit,
    emoji_ground,
    folder_ground,
    is_corpus,
    recipe_data,
)
from .ground import Sizes as GroundSizes
from .judges import Shared, bundled_detector, detector_of, matcher_of
from .markdown import write_markdown
from .metrics import needed
from .page import html
from .report import Cell, Report, Section, number
from .seen import Judge
from .verifier import BOTH
from .work import Work


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and on what.

    Args:
        data: an emoji corpus, or a folder of pictures with captions.
        model: where the model was loaded from, to find its recipe and its card.
        recipe: what the model was trained with, where it is not found by itself.
        trained_on: a folder of the model's training pictures, for memorisation on a folder.
        eyes: the networks that look at pictures of the corpus; its folder `eyes` if left out.
        eye: a CLIP to look with beside them, of any format.
        detector: the folder of the judge that has learnt; if left out `detector` of the eyes, or
            else the one that comes with the package.
        only: some of `PARTS`, or all.
        sizes: how much is measured.
        seed: of everything drawn.
        anyway: evaluate a model and data that do not seem to fit each other.
        workers: processes for the judge that compares, 0 for none; no number depends on it.
        command: what a person typed, for the report.
    """

    data: Path
    model: Path | None = None
    recipe: Path | None = None
    trained_on: Path | None = None
    eyes: Path | None = None
    eye: Path | None = None
    detector: Path | None = None
    only: tuple[str, ...] = PARTS
    sizes: Sizes = FULL
    seed: int = 0
    anyway: bool = False
    workers: int = 0
    command: str = ""

    @property
    def corpus_eyes(self) -> Path:
        """Where the corpus' eyes lie."""
        return self.eyes or self.data / "eyes"


@contextmanager
def _captions_unheeded() -> Iterator[None]:
    """Captions of the data are no prompts that somebody typed: nobody is warned of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)
        yield


@_captions_unheeded()
def evaluate(
    pipe: Pipeline, request: Request, work: Path, tell: Tell = lambda what, done, total: None
) -> Report:
    """Measure all that was asked for.

    What is finished is kept in `work`: broken off and called again, it goes on.

    Raises:
        UsageError: something that cannot be measured was asked for, or model and data do not fit.
        DataError: the data are missing, damaged, or too few.
        CheckpointError: an eye is missing or damaged.
        OutputError: `work` cannot be written to.
    """
    only = check_parts(request.only)
    pipe.model.check_prior(None)
    bench = _prepare(pipe, request, only, work, tell)
    impossible = dict(bench.left_out)
    makers = [make for name, make in _SECTIONS.items() if name in only and name not in impossible]
    with _shared(bench, request.workers):
        sections = [make(bench) for make in makers]
    where = request.model or bundled_models().get(pipe.name)
    said = limits.section(where) if where else None
    sections += [said] if said else []
    asked = f"not asked for: --only {','.join(only)}"
    bench.left_out += [(name, asked) for name in PARTS if name not in only]
    bench.left_out += [("pictures", note) for note in bench.ground.notes]
    return _report(bench, request, sections)


@contextmanager
def _shared(bench: Bench, workers: int) -> Iterator[None]:
    """The slow judge in processes of its own while the work lasts."""
    if workers < 1 or not bench.judges:
        yield
        return
    alone = bench.judges
    shared = Shared(alone[-1], workers)
    bench.judges = (*alone[:-1], shared)
    try:
        yield
    finally:
        bench.judges = alone
        shared.close()


JUDGED = ("verifier", "languages", "science")
"""The parts that need scenes whose content is known."""

SEEN = ("distribution", "science", "memorisation")
"""The parts that look at pictures through nets."""

_SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "verifier": scores.section,
    "languages": languages.section,
    "distribution": distribution.section,
    "science": origins.section,
    "memorisation": memorisation.section,
}


def check_parts(only: Sequence[str]) -> tuple[str, ...]:
    """Parts by name, in the report's order. Raises UsageError where there is no such part."""
    for name in only:
        if name not in PARTS:
            raise UsageError(
                f"--only knows no '{name}'{nearest(name, PARTS)}; parts: {', '.join(PARTS)}"
            )
    if not only:
        raise UsageError(f"--only wants at least one of: {', '.join(PARTS)}")
    return tuple(name for name in PARTS if name in only)


def _prepare(
    pipe: Pipeline, request: Request, only: tuple[str, ...], work: Path, tell: Tell
) -> Bench:
    """Everything that can be found wrong before the first picture is drawn."""
    data = recipe_data(pipe, request.model, request.recipe)
    _check_source(pipe, request, data.get("source"))
    ground = _ground(pipe, request, data, tell)
    left_out = [(name, why) for name in only if (why := _impossible(name, ground))]
    if len(left_out) == len(only):
        raise UsageError("nothing is left to measure: " + "; ".join(why for _, why in left_out))
    if not request.anyway:
        check_fit(pipe, ground)
    nets = _nets(pipe, request) if set(SEEN) & set(only) else ()
    _check_counts(request, ground, nets, only)
    judges = _judges(request, ground, only, left_out)
    key = {
        "version": __version__,
        "model": [pipe.name, pipe.hash, str(request.model or "")],
        "data": [ground.name, ground.hash, ground.side],
        "sizes": request.sizes.dump(),
        "seed": request.seed,
    }
    return Bench(
        pipe, ground, nets, request.sizes, request.seed, Work(work, key), judges, tell,
        left_out=left_out,
    )  # fmt: skip


def _check_counts(
    request: Request, ground: Ground, nets: Sequence[Net], only: Sequence[str]
) -> None:
    """Raise DataError where a metric needs more pictures; says how many, and how to give them."""
    most = max((least for net in nets for least in _least(net).values()), default=0)
    for net in nets:
        if "distribution" in only:
            half = f"half of what {request.data} holds"
            have = half if ground.kind == "folder" else f"give --pictures {most} or more"
            check_enough(len(ground.reference), _least(net), have)
        if "science" in only and ground.kind == "emoji":
            have = f"give --set science={most} or more"
            check_enough(request.sizes.science, _least(net), have)


def _least(net: Net) -> dict[str, int]:
    titles = {
        "frechet": f"FD-{net.name}",
        "kid": "KID",
        "mmd": "MMD",
        "precision_recall": "precision and recall",
        "density_coverage": "density and coverage",
    }
    return {titles[name]: least for name, least in needed(net.dims).items()}


def _check_source(pipe: Pipeline, request: Request, trained: str | None) -> None:
    """Raise UsageError where a model was trained on another kind of data than is given."""
    if request.anyway or trained is None or is_corpus(request.data) == (trained == "emoji"):
        return
    if is_corpus(request.data):
        raise UsageError(
            f"model '{pipe.name}' was trained on source '{trained}' and {request.data} is an "
            "emoji corpus: they do not fit each other; give the model's own data, or --anyway"
        )
    raise UsageError(
        f"model '{pipe.name}' was trained on an emoji corpus and {request.data} is none (it has no "
        "corpus.json): they do not fit each other; build one with `unclip data emoji`, or give "
        "--anyway"
    )


def _ground(pipe: Pipeline, request: Request, data: Mapping[str, Any], tell: Tell) -> Ground:
    sizes = GroundSizes(request.sizes.pictures, request.sizes.pool)
    if is_corpus(request.data):
        own = data if data.get("source") == "emoji" else {}
        return emoji_ground(request.data, own, pipe.model.side, sizes, request.seed)
    report = lambda done, total: tell("reading", done, total)  # noqa: E731
    return folder_ground(
        request.data, pipe.model.side, sizes, request.seed, request.trained_on, report
    )


def _nets(pipe: Pipeline, request: Request) -> tuple[Net, ...]:
    """The corpus' own eyes for composed scenes, a CLIP for everything else."""
    nets: list[Net] = []
    if is_corpus(request.data):
        nets += [features.of_corpus(request.corpus_eyes, name) for name in features.EYES]
    if request.eye is not None:
        nets.append(_eye(request.eye, pipe, [net.name for net in nets]))
    return tuple(nets) or (features.of_pipeline(pipe),)


def _eye(path: Path, pipe: Pipeline, taken: Sequence[str]) -> Net:
    """The CLIP that a person brought, under a name that is not taken."""
    try:
        net = features.from_clip(path, pipe.device)
    except (CheckpointError, UsageError) as error:
        raise type(error)(f"no CLIP to look with (--eye): {error}") from None
    return replace(net, name="eye") if net.name in taken else net


def _judges(
    request: Request, ground: Ground, only: tuple[str, ...], left_out: list[tuple[str, str]]
) -> tuple[Judge, ...]:
    """Those that say what pictures of scenes show; the learnt one where there is one."""
    if ground.config is None or not set(JUDGED) & set(only):
        return ()
    if request.detector is not None and not request.detector.is_dir():
        raise UsageError(f"no folder {request.detector} with a judge that has learnt (--detector)")
    matcher = matcher_of(ground.config)
    folder = request.detector or request.corpus_eyes / "detector"
    if folder.is_dir():
        return (detector_of(ground.config, folder), matcher)
    bundled = bundled_detector()
    if unknown := set(matcher.nouns) - set(bundled.nouns):
        why = f"none in {folder} (--detector DIR), and the one that comes along has never seen "
        why += f"'{min(unknown)}'; the one that compares judges alone"
        left_out.append(("the judge that has learnt", why))
        return (matcher,)
    return (bundled, matcher)


def _impossible(part: str, ground: Ground) -> str:
    """Why a part cannot be measured on this ground, empty where it can."""
    if part == "memorisation" and ground.trained is None:
        return (
            "needs pictures that training saw and pictures that it did not; give the first as "
            "--trained-on DIR and keep --data for the others"
        )
    if part in JUDGED and ground.kind == "folder":
        return "needs scenes whose content is known, and pictures of a folder are not (yet)"
    return ""


def _report(bench: Bench, request: Request, sections: Sequence[Section]) -> Report:
    pipe, ground = bench.pipe, bench.ground
    eyes = {net.name: {"hash": net.hash, "dims": net.dims, **net.facts} for net in bench.nets}
    facts = [
        ("command", request.command),
        ("unclip", __version__),
        ("model", f"{pipe.name} {pipe.hash}".strip()),
        ("data", f"{ground.name}, {ground.hash}"),
        ("seed", str(bench.seed)),
        *((f"eye {name}", _said(one)) for name, one in eyes.items()),
        *((f"judge {judge.name}", judge.hash) for judge in bench.judges),
    ]
    values = {
        "format": 1,
        "command": request.command,
        "unclip": __version__,
        "model": {"name": pipe.name, "hash": pipe.hash},
        "data": {"name": ground.name, "kind": ground.kind, "hash": ground.hash},
        "seed": bench.seed,
        "sizes": request.sizes.dump(),
        "eyes": eyes,
        "left_out": dict(bench.left_out),
        **bench.values,
    }
    lead = (
        f"{pipe.name} ({pipe.hash or 'no hash'}) drew at {ground.side}×{ground.side} and is held "
        f"against {ground.name}. Every number follows from the seed; what it cannot do is shown "
        "beside what it can."
    )
    return Report(
        title=f"What {pipe.name} is worth",
        lead=lead,
        headline=tuple(_headline(bench)),
        sections=tuple(sections),
        left_out=tuple(bench.left_out),
        facts=tuple((name, value) for name, value in facts if value),
        values=values,
    )


def _said(eye: Mapping[str, Any]) -> str:
    """An eye's facts on one line."""
    extra = [f"{key} {value}" for key, value in eye.items() if key not in ("hash", "dims", "kind")]
    return ", ".join([str(eye["hash"]), f"{eye['dims']} numbers", *extra])


def _headline(bench: Bench) -> list[tuple[str, Cell]]:
    """What judges say, distances in floors, the CLIP score, likely copies."""
    found: list[tuple[str, Cell]] = []
    values = bench.values
    for name, judge in values.get("admission", {}).get("judges", {}).items():
        if not judge["admitted"]:
            found.append((f"judge {name}", Cell("NOT admitted", "its table says why")))
    if "verifier" in values:
        for score in ("all", "binding"):
            one = values["verifier"]["model"][BOTH].get(score, {}).get("any")
            if one:
                note = f"{one['low']:.2f}–{one['high']:.2f}"
                title = "all as asked" if score == "all" else score
                found.append((title, Cell(f"{one['share']:.3f}", note)))
    if "distribution" in values:
        one = values["distribution"]
        for net in bench.nets:
            drawn, floors = one[net.name]["drawn"], one[net.name]["floor"]
            floor = distribution.mean(floors, "frechet")
            note = f"{number(drawn['frechet'] / max(floor, 1e-12), 2)} × floor"
            name = f"FD-{net.name}@{one['pictures']}"
            found.append((name, Cell(number(drawn["frechet"]), note)))
        for name, score in one.get("clip_score", {}).items():
            note = f"of {number(score['ceiling']['value'])}"
            found.append((f"CLIP score, {name}", Cell(number(score["drawn"]["value"]), note)))
    if "memorisation" in values:
        first = values["memorisation"][bench.nets[0].name]["drawn"]["nearer"]
        cell = Cell(f"{100 * first[0] / first[1]:.0f} %", "50 % is none")
        found.append(("nearer to training", cell))
    return found


def write(report: Report, path: Path) -> Path:
    """Write the page, HTML or Markdown by its suffix, and its numbers as JSON beside it.

    The page is the last to be written: where it is new, all of it is.

    Returns:
        The JSON file's path.

    Raises:
        OutputError: one of them cannot be written.
    """
    beside = path.with_suffix(".json")
    page = "" if path.suffix == ".md" else html(report)
    write_json(beside, report.values)
    if path.suffix == ".md":
        write_markdown(report, path)
    else:
        write_text(path, page)
    return beside
