"""What a prior is worth: does the z_i that it draws find its own picture among a thousand?

Captions that the composer makes at least twice, and two scenes of each. The first scene's CLIP
embedding is the truth; the second's, put through the same questions, is what a perfect prior would
score, as a caption does not say where things stand. "None" hands z_t on as if it were a z_i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.source import IndexedSource
from ..errors import DataError
from ..media import from_arrays
from ..nn.tokenizer import Tokenizer
from ..rng import Rng
from ..stages import Stage
from ..stages.clip import ClipStage
from ..types import Cond
from .intervals import Share

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
    parts: list[tuple[Cond, Tensor, Tensor]] = []
    for start in range(0, len(pairs), 250):
        chunk = pairs[start : start + 250]
        one, two = ([source.sample(pair[k]) for pair in chunk] for k in (0, 1))
        tokens, mask = tokenizer.encode([sample["caption"] for sample in one])
        text = Cond(text_tokens=tokens.to(clip.device), text_mask=mask.to(clip.device))
        images = [from_arrays([sample["image"] for sample in scenes]) for scenes in (one, two)]
        z_i, other = (clip.net.encode_image(batch.to(clip.device)) for batch in images)
        parts.append((clip.encode_text(text), z_i, other))
    fields = [dict(cond.items()) for cond, _, _ in parts]
    cond = Cond(**{name: torch.cat([field[name] for field in fields]) for name in fields[0]})
    truth, others = torch.cat([z for _, z, _ in parts]), torch.cat([z for _, _, z in parts])
    return Held(cond, truth, others)


def in_batches(draw: Draw, cond: Cond, seeds: list[str]) -> Tensor:
    """(B, D), drawn a few at a time."""
    drawn = []
    for start in range(0, len(cond), 4 * BATCH):
        part = slice(start, start + 4 * BATCH)
        drawn.append(draw(cond[part], seeds[part]))
    return torch.cat(drawn)


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
    z = torch.stack(
        [
            in_batches(draw, few, [f"{seed}/{k}/{i}" for i in range(len(few))])
            for k in range(1, DRAWS + 1)
        ]
    )
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
