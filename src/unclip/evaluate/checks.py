"""What can be found wrong with an evaluation before the first picture is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import read_toml
from ..errors import DataError, UsageError
from ..facade import Pipeline
from ..loading import PRESETS
from ..plain import read_json
from .benchmark import BENCHMARKS, Benchmark, Request, benchmark_for
from .features import FeatureExtractor
from .metrics import needed

FIT, CHANCE_HITS = 64, 3


def recipe_data(pipe: Pipeline, where: Path | None, recipe: Path | None) -> dict[str, Any]:
    """The `data` section that a model was trained with, empty where nobody knows.

    From `recipe`, from the recipe.json of the run that the model lies in, or from the preset of
    the model's name.

    Raises:
        UsageError: the recipe is not there or has no data section.
    """
    beside = where.resolve().parent / "recipe.json" if where is not None else None
    others = [path for path in (beside, PRESETS / f"{pipe.name}.toml") if path and path.is_file()]
    recipe = recipe or next(iter(others), None)
    if recipe is None:
        return {}
    try:
        values = read_json(recipe) if recipe.suffix == ".json" else read_toml(recipe)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {recipe}: {error}") from None
    data = values.get("data") if isinstance(values, dict) else None
    if not isinstance(data, dict):
        raise UsageError(f"{recipe} is no recipe: it has no [data]")
    return data


def check_source(pipe: Pipeline, request: Request, trained: str | None) -> None:
    """Raise UsageError where a model was trained on another kind of data than is given."""
    given = benchmark_for(request.data)
    if request.anyway or trained is None or given == trained:
        return
    special = {name for name in BENCHMARKS.names() if name != "folder"}
    if given in special:
        found = f"source '{trained}' and {request.data} is of source '{given}'"
    elif trained in special:
        found = BENCHMARKS[trained].missing(request.data)
    else:
        return
    raise UsageError(
        f"model '{pipe.name}' was trained on {found}: they do not fit each other; give the model's "
        "own data, or --anyway"
    )


@torch.inference_mode()
def check_fit(pipe: Pipeline, benchmark: Benchmark) -> None:
    """Let the model's own CLIP match pictures to captions; at chance the two do not fit.

    Of 64 different captions one is found by chance, and more than three 1.9 % of the time.

    Raises:
        UsageError: it finds no more than that.
    """
    clip = pipe.model.clip_stage
    if clip is None or not (clip.sees and clip.reads):
        return
    images = benchmark.reference
    first: dict[str, int] = {}
    for number, caption in enumerate(images.captions):
        first.setdefault(caption, number)
    numbers = list(first.values())[:FIT]
    if len(numbers) < FIT:
        return
    stage = pipe.model.clip("the check")
    cond = stage.encode_text(pipe.read([images.captions[number] for number in numbers]))
    assert cond.text_embed is not None
    z_i = stage.net.encode_image(images.tensor(numbers).to(pipe.device))
    hits = _hits(z_i, cond.text_embed)
    if hits <= CHANCE_HITS:
        raise UsageError(
            f"model '{pipe.name}' and {benchmark.name} do not fit each other: of {FIT} captions "
            f"the model's CLIP finds {hits} by their pictures, and chance finds 1; give the data "
            "that it was trained on, or --anyway"
        )


def _hits(z_i: Tensor, z_t: Tensor) -> int:
    own = torch.arange(len(z_i), device=z_i.device)
    return int(((z_i.float() @ z_t.float().T).argmax(1) == own).sum())


def check_enough(
    request: Request,
    benchmark: Benchmark,
    extractors: Sequence[FeatureExtractor],
    only: Sequence[str],
) -> None:
    """Raise DataError where a metric needs more pictures; says how many, and how to give them."""
    most = max((max(_least(one).values()) for one in extractors), default=0)
    sides = {
        "distribution": (
            len(benchmark.reference),
            benchmark.more or f"give --pictures {most} or more",
        ),
        "ablations": (request.sizes.ablations, f"give --size ablations={most} or more"),
    }
    for part, (count, advice) in sides.items():
        for metric, least in (pair for one in extractors for pair in _least(one).items()):
            if part in only and count < least:
                raise DataError(
                    f"{metric} needs at least {least} pictures on each side, and there are "
                    f"{count}: {advice}"
                )


def _least(extractor: FeatureExtractor) -> dict[str, int]:
    titles = {
        "frechet": f"FD-{extractor.name}",
        "kid": "KID",
        "mmd": "MMD",
        "precision_recall": "precision and recall",
        "density_coverage": "density and coverage",
    }
    return {titles[name]: least for name, least in needed(extractor.dims).items()}
