"""What a prior is worth: does the z_i that it draws find its own picture among a thousand?

Captions that the composer makes at least twice, and two scenes of each. The first scene's CLIP
embedding is the truth; the second's, put through the same questions, is what a perfect prior would
score, as a caption does not say where things stand. "None" hands z_t on as if it were a z_i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.source import IndexedSource
from ..errors import DataError
from ..facade import Pipeline
from ..nn.tokenizer import Tokenizer
from ..pages.intervals import Share
from ..rng import Rng
from ..stages import Stage
from ..stages.clip import ClipStage
from ..types import Cond
from .image_set import ImageSet

CAPTIONS, BATCH = 1000, 16
SCENES_EACH = 60  # scenes that are searched for each caption that is to come twice
DRAWS, VARIED = 4, 200  # draws of each of the first so many captions, for diversity

Draw = Callable[[Cond, list[str]], Tensor]
"""(condition, a seed a sample) -> (B, D) z_i."""


@dataclass(frozen=True)
class Held:
    """What is drawn from, and the truth."""

    cond: Cond  # text fields
    truth: Tensor  # (captions, D)
    other: Tensor  # (captions, D), other pictures of the same captions


@dataclass(frozen=True)
class Found:
    """How well z_i find their pictures.

    `first` and `fifth` are the shares that come first, or among the first five, of all pictures;
    `cosine` is the mean to the true z_i, `diversity` the mean 1 - cosine of different draws for
    one caption (None where it was not asked for).
    """

    first: Share
    fifth: Share
    cosine: float
    diversity: float | None = None


def twice(
    source: IndexedSource, captions: int = CAPTIONS, pool: int = SCENES_EACH * CAPTIONS
) -> list[tuple[int, int]]:
    """Positions of two scenes of each of the first captions that come twice.

    Raises:
        DataError: among `pool` scenes there are too few.
    """
    first: dict[str, int] = {}
    pairs: dict[str, tuple[int, int]] = {}
    for position, caption in enumerate(source.captions(pool)):
        if caption in first:
            pairs.setdefault(caption, (first[caption], position))
        first.setdefault(caption, position)
    if len(pairs) < captions:
        raise DataError(
            f"{captions} captions that come twice are needed; the first {pool} scenes of this "
            f"corpus have {len(pairs)}"
        )
    return sorted(pairs.values())[:captions]


@torch.inference_mode()
def hold(
    source: IndexedSource, tokenizer: Tokenizer, clip: ClipStage, pairs: list[tuple[int, int]]
) -> Held:
    """Compose both scenes of each caption and encode them with the model's CLIP."""
    captions = [source.sample(first)["caption"] for first, _ in pairs]
    tokens, mask = tokenizer.encode(captions)
    text = Cond(text_tokens=tokens.to(clip.device), text_mask=mask.to(clip.device))
    parts = [dict(clip.encode_text(text[at : at + 250]).items()) for at in range(0, len(text), 250)]
    cond = Cond(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def encoded(which: int) -> Tensor:
        images = ImageSet(len(pairs), lambda at: source.sample(pairs[at][which])["image"])
        batches = (batch.to(clip.device) for batch in images.batches(250))
        return torch.cat([clip.net.encode_image(batch) for batch in batches])

    return Held(cond, encoded(0), encoded(1))


def in_batches(draw: Draw, cond: Cond, seeds: list[str]) -> Tensor:
    """(B, D), drawn a few at a time."""
    parts = [slice(start, start + 4 * BATCH) for start in range(0, len(cond), 4 * BATCH)]
    return torch.cat([draw(cond[part], seeds[part]) for part in parts])


def found(z: Tensor, truth: Tensor) -> Found:
    """Rank each of (N, D) `z` by how near it is to its own row of `truth`."""
    likeness = z @ truth.T  # (N, N)
    own = likeness.diagonal()[:, None]
    rank = (likeness > own).sum(1)
    shares = [Share(int((rank < k).sum()), len(rank)) for k in (1, 5)]
    return Found(shares[0], shares[1], float(own.mean()))


def diversity(draw: Draw, cond: Cond, seed: int) -> float:
    """Mean 1 - cosine of different draws of one caption."""
    few = cond[:VARIED]
    seeds = [[f"{seed}/{k}/{i}" for i in range(len(few))] for k in range(1, DRAWS + 1)]
    z = torch.stack([in_batches(draw, few, some) for some in seeds])
    likeness = torch.einsum("abd,cbd->bac", z, z)  # (VARIED, DRAWS, DRAWS)
    apart = 1 - likeness[:, *torch.triu_indices(DRAWS, DRAWS, 1)]
    return abs(float(apart.mean()))


def drawing(stage: Stage) -> Draw:
    """A prior as a `Draw`."""

    def draw(cond: Cond, seeds: list[str]) -> Tensor:
        z = stage.sample(cond, Rng(seeds, stage.device)).image_embed
        assert z is not None
        return z

    return draw


@torch.inference_mode()
def compare(stages: dict[str, Stage], held: Held, seed: int) -> Iterator[tuple[str, Found]]:
    """What z_t, each prior, and another true picture are worth: (name, how well it does)."""
    z_t = held.cond.text_embed
    assert z_t is not None
    base = found(z_t, held.truth)
    yield "none", Found(base.first, base.fifth, base.cosine, 0.0)
    for name, stage in stages.items():
        if "image_embed" not in stage.produces:
            continue
        draw = drawing(stage)
        z = in_batches(draw, held.cond, [f"{seed}/0/{i}" for i in range(len(held.cond))])
        one = found(z, held.truth)
        varied = diversity(draw, held.cond, seed)
        yield name, Found(one.first, one.fifth, one.cosine, varied)
    true = found(held.other, held.truth)
    apart = float(1 - (held.truth * held.other).sum(-1).mean())
    yield "another true picture", Found(true.first, true.fifth, true.cosine, apart)


def table(pipe: Pipeline, source: IndexedSource, captions: int, seed: int) -> dict[str, Any]:
    """What `compare` finds for a pipeline, as plain data. Raises DataError, as `twice` does."""
    pairs = twice(source, captions, SCENES_EACH * captions)
    held = hold(source, pipe.tokenizer, pipe.model.clip("a prior's evaluation"), pairs)
    return {
        name: {
            "first": [one.first.right, one.first.total],
            "fifth": [one.fifth.right, one.fifth.total],
            "cosine": one.cosine,
            "diversity": one.diversity,
        }
        for name, one in compare(pipe.stages, held, seed)
    }
