"""One evaluation from model and data to a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import UsageError, nearest
from ..files import write_json, write_text
from ..pipeline import Pipeline
from . import copying, distribution, features, origins, scores
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
from .judges import detector_of, matcher_of
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
        model: where the model was loaded from, to find its recipe.
        recipe: what the model was trained with, where it is not found by itself.
        trained_on: a folder of the model's training pictures, for memorisation on a folder.
        eyes: the networks that look at pictures of the corpus; its folder `eyes` if left out.
        eye: a CLIP to look with beside them, of any format.
        detector: the folder of the judge that has learnt; `detector` of the eyes if left out.
        only: some of `PARTS`, or all.
        sizes: how much is measured.
        seed: of everything drawn.
        anyway: evaluate a model and data that do not seem to fit each other.
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
    command: str = ""

    @property
    def corpus_eyes(self) -> Path:
        """Where the corpus' eyes lie."""
        return self.eyes or self.data / "eyes"


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
    pipe.check_prior(None)
    bench, left_out = _prepare(pipe, request, only, work, tell)
    sections: list[Section] = []
    for name, make in _SECTIONS.items():
        why = _impossible(name, bench.ground)
        if name not in only:
            continue
        if why:
            left_out.append((name, why))
        else:
            sections.append(make(bench))
    left_out += [
        (name, f"not asked for: --only {','.join(only)}") for name in PARTS if name not in only
    ]
    if not sections:
        raise UsageError("nothing is left to measure: " + "; ".join(why for _, why in left_out))
    left_out += [*bench.left_out, *(("pictures", note) for note in bench.ground.notes)]
    return _report(bench, request, sections, left_out)


_SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "verifier": scores.section,
    "distribution": distribution.section,
    "science": origins.section,
    "memorisation": copying.section,
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
) -> tuple[Bench, list[tuple[str, str]]]:
    """Everything that can be found wrong before the first picture is drawn."""
    left_out: list[tuple[str, str]] = []
    data = recipe_data(pipe, request.model, request.recipe)
    ground = _ground(pipe, request, data, tell)
    if not request.anyway:
        check_fit(pipe, ground)
    nets = _nets(pipe, request, ground)
    have = f"give --pictures {max(max(_least(net).values()) for net in nets)} or more"
    if ground.kind == "folder":
        have = f"half of what {request.data} holds"
    if "distribution" in only:
        for net in nets:
            check_enough(len(ground.reference), _least(net), have)
    if "science" in only and ground.kind == "emoji":
        have = "give --science-pictures more"
        for net in nets:
            check_enough(request.sizes.science, _least(net), have)
    key = {
        "version": __version__,
        "model": [pipe.name, pipe.hash, str(request.model or "")],
        "data": [ground.name, ground.hash, ground.side],
        "sizes": request.sizes.dump(),
        "seed": request.seed,
    }
    judges = _judges(request, ground, only, left_out)
    bench = Bench(pipe, ground, nets, request.sizes, request.seed, Work(work, key), judges, tell)
    return bench, left_out


def _least(net: Net) -> dict[str, int]:
    titles = {
        "frechet": f"FD-{net.name}",
        "kid": "KID",
        "mmd": "MMD",
        "precision_recall": "precision and recall",
        "density_coverage": "density and coverage",
    }
    return {titles[name]: least for name, least in needed(net.dims).items()}


def _ground(pipe: Pipeline, request: Request, data: Mapping[str, Any], tell: Tell) -> Ground:
    sizes = GroundSizes(request.sizes.pictures, request.sizes.pool)
    trained = data.get("source")
    if is_corpus(request.data):
        if trained not in (None, "emoji") and not request.anyway:
            raise UsageError(
                f"model '{pipe.name}' was trained on source '{trained}' and {request.data} is an "
                "emoji corpus: they do not fit each other; give the model's own data, or --anyway"
            )
        own = data if trained == "emoji" else {}
        return emoji_ground(request.data, own, pipe.side, sizes, request.seed)
    if trained == "emoji" and not request.anyway:
        raise UsageError(
            f"model '{pipe.name}' was trained on an emoji corpus and {request.data} is none (it "
            "has no corpus.json): they do not fit each other; build one with `unclip data emoji`, "
            "or give --anyway"
        )
    report = lambda done, total: tell("reading", done, total)  # noqa: E731
    return folder_ground(request.data, pipe.side, sizes, request.seed, request.trained_on, report)


def _nets(pipe: Pipeline, request: Request, ground: Ground) -> tuple[Net, ...]:
    """The corpus' own eyes for composed scenes, a CLIP for everything else."""
    nets: list[Net] = []
    if ground.kind == "emoji":
        nets += [features.of_corpus(request.corpus_eyes, name) for name in features.EYES]
    if request.eye is not None:
        nets.append(features.from_clip(request.eye, pipe.device))
    if not nets:
        nets.append(features.of_pipeline(pipe))
    names = [net.name for net in nets]
    if len(set(names)) < len(names):
        nets[-1] = features.from_clip(request.eye, pipe.device, "eye")  # type: ignore[arg-type]
    return tuple(nets)


def _judges(
    request: Request, ground: Ground, only: tuple[str, ...], left_out: list[tuple[str, str]]
) -> tuple[Judge, ...]:
    """Those that say what pictures of scenes show; the learnt one where there is one."""
    if ground.config is None or not {"verifier", "science"} & set(only):
        return ()
    folder = request.detector or request.corpus_eyes / "detector"
    if not folder.is_dir():
        if request.detector is not None:
            raise UsageError(f"no folder {folder} with a judge that has learnt (--detector)")
        why = f"none in {folder} (--detector DIR); the one that compares judges alone"
        left_out.append(("the judge that has learnt", why))
        return (matcher_of(ground.config),)
    return (detector_of(ground.config, folder), matcher_of(ground.config))


def _impossible(part: str, ground: Ground) -> str:
    """Why a part cannot be measured on this ground, empty where it can."""
    if part == "memorisation" and ground.trained is None:
        return (
            "needs pictures that training saw and pictures that it did not; give the first as "
            "--trained-on DIR and keep --data for the others"
        )
    if part in ("science", "verifier") and ground.kind == "folder":
        return "needs scenes whose content is known, and pictures of a folder are not (yet)"
    return ""


def _report(
    bench: Bench,
    request: Request,
    sections: Sequence[Section],
    left_out: list[tuple[str, str]],
) -> Report:
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
        "left_out": dict(left_out),
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
        left_out=tuple(left_out),
        facts=tuple((name, value) for name, value in facts if value),
        values=values,
    )


def _said(eye: Mapping[str, Any]) -> str:
    """An eye's facts on one line."""
    extra = [f"{key} {value}" for key, value in eye.items() if key not in ("hash", "dims", "kind")]
    return ", ".join([str(eye["hash"]), f"{eye['dims']} numbers", *extra])


def _headline(bench: Bench) -> list[tuple[str, Cell]]:
    """Distances in floors, the CLIP score, likely copies."""
    found: list[tuple[str, Cell]] = []
    values = bench.values
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
