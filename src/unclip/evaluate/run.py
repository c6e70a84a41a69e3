"""One evaluation from model and data to a report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import CheckpointError, PromptWarning, UsageError, nearest
from ..facade import Pipeline
from ..files import write_json, write_text
from ..loading import bundled_models
from ..pages.render import html, write_markdown
from ..pages.report import Report, Section
from . import ablations, distribution, diversity, features, limits, memorisation
from .benchmark import BENCHMARKS, Benchmark, OnTask, Request, Session, benchmark_for
from .cache import Cache
from .checks import check_enough, check_fit, check_source, recipe_data
from .features import FeatureExtractor
from .options import OLD_PARTS

SECTIONS: dict[str, Callable[[Session], Section]] = {
    "distribution": distribution.section,
    "diversity": diversity.section,
    "ablations": ablations.section,
    "memorisation": memorisation.section,
}


def parts() -> tuple[str, ...]:
    """Every part of a report by its name, in order; those of single benchmarks among them."""
    own = (part for name in BENCHMARKS.names() for part in BENCHMARKS[name].own_parts)
    return (*own, *SECTIONS)


def check_parts(only: Sequence[str]) -> tuple[str, ...]:
    """Parts by name, in the report's order. Raises UsageError where there is no such part."""
    known = parts()
    only = [OLD_PARTS.get(name, name) for name in only]
    for name in only:
        if name not in known:
            raise UsageError(
                f"--only knows no '{name}'{nearest(name, known)}; parts: {', '.join(known)}"
            )
    return tuple(name for name in known if not only or name in only)


@contextmanager
def _captions_unheeded() -> Iterator[None]:
    """Captions of the data are no prompts that somebody typed: nobody is warned of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)
        yield


@_captions_unheeded()
def evaluate(
    pipe: Pipeline, request: Request, work: Path, on_task: OnTask = lambda what, done, total: None
) -> Report:
    """Measure all that was asked for.

    What is finished is kept in `work`: broken off and called again, it goes on.

    Raises:
        UsageError: something that cannot be measured was asked for, or model and data do not fit.
        DataError: the data are missing, damaged, or too few.
        CheckpointError: a feature extractor is missing or damaged.
        OutputError: `work` cannot be written to.
    """
    only = check_parts(request.only)
    pipe.model.check_prior(None)
    session, todo = _prepare(pipe, request, only, work, on_task)
    with session.benchmark.working(request.workers):
        sections = [_section(name, session) for name in todo]
    where = request.model or bundled_models().get(pipe.name)
    said = limits.section(where) if where else None
    sections += [said] if said else []
    asked = f"not asked for: --only {','.join(only)}"
    session.left_out += [(name, asked) for name in parts() if name not in only]
    session.left_out += [("pictures", note) for note in session.benchmark.notes]
    return _report(session, request, sections)


def _section(part: str, session: Session) -> Section:
    make = SECTIONS.get(part)
    return make(session) if make else session.benchmark.section(part, session)


def _prepare(
    pipe: Pipeline, request: Request, only: Sequence[str], work: Path, on_task: OnTask
) -> tuple[Session, list[str]]:
    """Find everything that is wrong before the first picture is drawn.

    Returns:
        The session, and the parts that can be measured.
    """
    recipe = recipe_data(pipe, request.model, request.recipe)
    check_source(pipe, request, recipe.get("source"))
    name = benchmark_for(request.data)
    request = replace(request, sizes=BENCHMARKS[name].sizes.of(request.sizes))
    benchmark = BENCHMARKS[name].open(
        request, recipe if recipe.get("source") == name else {}, pipe.model.size, on_task
    )
    left_out = [(part, why) for part in only if (why := benchmark.lacks(part))]
    todo = [part for part in only if part not in dict(left_out)]
    if not todo:
        raise UsageError("nothing is left to measure: " + "; ".join(why for _, why in left_out))
    if not request.anyway:
        check_fit(pipe, benchmark)
    if "diversity" in todo:
        diversity.check(pipe, request.sizes.settings)
    extractors = _extractors(pipe, request, benchmark) if set(SECTIONS) & set(todo) else ()
    check_enough(request, benchmark, extractors, todo)
    left_out += benchmark.prepare(request, todo)
    drawing = {"decoder": pipe.model.decoders[0]} if len(pipe.model.decoders) > 1 else {}
    key = {
        **drawing,
        "version": __version__,
        "model": [pipe.name, pipe.hash, str(request.model or "")],
        "data": [benchmark.name, benchmark.hash, _side(benchmark.size)],
        "sizes": request.sizes.dump(),
        "seed": request.seed,
    }
    cache = Cache(work, key)
    session = Session(pipe, benchmark, extractors, request.sizes, request.seed, cache, on_task)
    session.left_out = left_out
    return session, todo


def _side(size: tuple[int, int]) -> int | list[int]:
    """Squares are recorded by their side, as they were before there were other shapes."""
    return size[0] if size[0] == size[1] else list(size)


def _extractors(
    pipe: Pipeline, request: Request, benchmark: Benchmark
) -> tuple[FeatureExtractor, ...]:
    """The benchmark's own, and a CLIP that a person brought; without any, the model's CLIP."""
    found = benchmark.extractors(request)
    if request.clip is not None:
        try:
            one = features.from_clip(request.clip, pipe.device)
        except (CheckpointError, UsageError) as error:
            raise type(error)(
                f"no CLIP to extract features with (--clip-features): {error}"
            ) from None
        found.append(
            replace(one, name="given-clip") if one.name in [o.name for o in found] else one
        )
    return tuple(found) or (features.of_pipeline(pipe),)


def _report(session: Session, request: Request, sections: Sequence[Section]) -> Report:
    pipe, benchmark = session.pipe, session.benchmark
    extractors = {
        one.name: {"hash": one.hash, "dims": one.dims, **one.facts} for one in session.extractors
    }
    facts = [
        ("command", request.command),
        ("unclip", __version__),
        ("model", f"{pipe.name} {pipe.hash}".strip()),
        *([("decoder", pipe.model.decoders[0])] if len(pipe.model.decoders) > 1 else []),
        ("data", f"{benchmark.name}, {benchmark.hash}"),
        ("seed", str(session.seed)),
        *((f"features {name}", _line(one)) for name, one in extractors.items()),
        *benchmark.facts(),
    ]
    old = {new: name for name, new in OLD_PARTS.items()}
    values = {
        "format": 1,
        "command": request.command,
        "unclip": __version__,
        "model": {"name": pipe.name, "hash": pipe.hash},
        "data": {
            "name": benchmark.name,
            "kind": benchmark_for(request.data),
            "hash": benchmark.hash,
        },
        "seed": session.seed,
        "sizes": session.sizes.dump(),
        "eyes": extractors,
        "left_out": {old.get(what, what): why for what, why in session.left_out},
        **session.values,
    }
    height, width = benchmark.size
    lead = (
        f"{pipe.name} ({pipe.hash or 'no hash'}) drew pictures of {width}×{height}, which are "
        f"compared with {benchmark.name}. The seed determines every number; failures are shown too."
    )
    return Report(
        title=f"Evaluation of {pipe.name}",
        lead=lead,
        headline=tuple(session.headline),
        sections=tuple(sections),
        left_out=tuple(session.left_out),
        facts=tuple((name, value) for name, value in facts if value),
        values=values,
    )


def _line(extractor: Mapping[str, Any]) -> str:
    """An extractor's facts on one line."""
    known = ("hash", "dims", "kind")
    extra = [f"{key} {value}" for key, value in extractor.items() if key not in known]
    return ", ".join([str(extractor["hash"]), f"{extractor['dims']} numbers", *extra])


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
