"""The pictures of a dataset that a model finds hardest: rare, broken, or with another's caption."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from ..data import Item, Sample, Source
from ..errors import UsageError
from ..loading import load
from ..media import fit_image, read_image
from ..rng import Rng
from ..stages.model import Model
from .needs import needs_clip, needs_prior
from .task import Task

BATCH, DRAWS = 16, 6
"""Pictures at once, and levels of noise that each is shown at."""


class Loss(NamedTuple):
    """A picture's mean loss."""

    loss: float
    name: str
    caption: str


def hardest(
    model: str,
    source: Source,
    count: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Loss]:
    """The pictures with the highest loss of a model's decoder, the highest first.

    Every picture is shown at the same levels with the same noise, and the same of its condition is
    hidden, so that losses can be compared. Pictures that cannot be read are passed over.

    Args:
        model: see `load`.
        source: its stored pictures, with the first caption of each.
        count: how many to name.
        on_progress: told how many are done, and of how many.

    Raises:
        UsageError: the model has no decoder that denoises.
        CheckpointError: it is damaged.
    """
    pipe = load(model)
    total = source.count or 0
    losses = losses_of(pipe.model, source.items())
    found: list[Loss] = []
    for done, one in enumerate(losses, 1):
        on_progress(done, max(total, done))
        (heapq.heappush if len(found) < count else heapq.heappushpop)(found, one)
    return sorted(found, reverse=True)


def losses_of(model: Model, items: Iterable[Item]) -> Iterator[Loss]:
    """Of every picture that can be read, in their order. Raises UsageError."""
    task = _task(model)
    collate = task.collate(model.tokenizer)
    readable = _samples(items, task.source_size)
    while several := list(islice(readable, BATCH)):
        device = task.stage.device
        batch = {key: one.to(device) for key, one in collate([one for _, one in several]).items()}
        with torch.no_grad():
            draws = [_rng(draw, len(several), device) for draw in range(DRAWS)]
            losses = torch.stack([task.loss(task.cond(batch, rng), rng)[0] for rng in draws])
        for (name, sample), loss in zip(several, losses.float().mean(0).tolist(), strict=True):
            yield Loss(loss, name, sample["caption"])


def _rng(draw: int, batch: int, device: torch.device) -> Rng:
    """The same numbers for every picture."""
    return Rng([f"hardest/{draw}"] * batch, device)


def _task(model: Model) -> Task:
    model = model.inverting()  # what is distilled has learnt no noise levels
    if not model.decoders:
        raise UsageError(f"--model: '{model.name}' has no decoder, whose loss could be looked at")
    stage = model.stages[model.decoders[0]]
    clip = model.clip("data check --model") if needs_clip(stage) else None
    prior = model.stages[model.priors[0]] if needs_prior(stage) and model.priors else None
    return Task(stage, clip, prior).eval()


def _samples(items: Iterable[Item], size: tuple[int, int]) -> Iterator[tuple[str, Sample]]:
    for item in items:
        if item.fault:
            continue
        try:
            image = np.asarray(fit_image(read_image(item.picture), size))
        except (UsageError, OSError):
            continue
        yield item.name, {"image": image, "caption": item.captions[0] if item.captions else ""}
