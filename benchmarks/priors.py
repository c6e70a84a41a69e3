"""What each prior of a model is worth: does the z_i it draws find its own picture among 1,000?

    .venv/bin/python benchmarks/priors.py [MODEL] --data data/emoji [-o docs/priors.md]

A thousand captions that the composer makes at least twice under a fresh seed, and two scenes of
each. The first scene's CLIP embedding is the truth; the second's, put through the same questions,
is what a perfect prior would score, as a caption does not say where things stand. "None" hands
z_t on as if it were a z_i. Everything but the times follows from the seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from _timing import seconds
from torch import Tensor

from unclip.checkpoints import native
from unclip.data import Source
from unclip.device import describe
from unclip.files import write_text
from unclip.nn.layers import parameter_count
from unclip.pipeline import BUNDLED, find_model
from unclip.rng import Rng
from unclip.stages.clip import ClipStage
from unclip.train.loader import collate, pictures
from unclip.train.recipe import load_recipe
from unclip.types import Cond

CAPTIONS, POOL, BATCH = 1000, 60_000, 16
DRAWS, VARIED = 4, 200  # draws of each of the first so many captions, for diversity
HEAD = (
    "| prior | R@1 of 1,000 | R@5 | cosine to the truth | diversity | ms each | parameters | MB |",
    "|---|--:|--:|--:|--:|--:|--:|--:|",
)

Draw = Callable[[Cond, list[str]], Tensor]
"""(condition, a seed a sample) -> (B, D) z_i."""


@dataclass(frozen=True)
class Held:
    """What is drawn from, and the truth."""

    cond: Cond  # text fields
    truth: Tensor  # (1000, D)
    other: Tensor  # (1000, D), other pictures of the same captions


def twice(source: Source) -> list[tuple[int, int]]:
    """Positions of two scenes of each of the first captions that come twice."""
    first: dict[str, int] = {}
    pairs: dict[str, tuple[int, int]] = {}
    for position, caption in enumerate(source.captions(POOL)):
        if caption in first:
            pairs.setdefault(caption, (first[caption], position))
        first.setdefault(caption, position)
    return sorted(pairs.values())[:CAPTIONS]


def hold(source: Source, model: native.Model, clip: ClipStage) -> Held:
    """Compose both scenes of each caption and encode them."""
    pairs = twice(source)
    parts: list[tuple[Cond, Tensor, Tensor]] = []
    for start in range(0, len(pairs), 250):
        chunk = pairs[start : start + 250]
        one, two = (
            collate([source.sample(pair[k]) for pair in chunk], model.tokenizer) for k in (0, 1)
        )
        text = Cond(text_tokens=one["text_tokens"], text_mask=one["text_mask"])
        z_i, other = (clip.net.encode_image(pictures(batch["image"])) for batch in (one, two))
        parts.append((clip.encode_text(text), z_i, other))
    fields = [dict(cond.items()) for cond, _, _ in parts]
    cond = Cond(**{name: torch.cat([field[name] for field in fields]) for name in fields[0]})
    truth, other = (torch.cat([part[k] for part in parts]) for k in (1, 2))
    return Held(cond, truth, other)


def in_batches(draw: Draw, cond: Cond, seeds: list[str]) -> Tensor:
    """(B, D), drawn a few at a time."""
    drawn = []
    for start in range(0, cond.batch, 4 * BATCH):
        part = slice(start, start + 4 * BATCH)
        drawn.append(draw(cond.map(lambda value, p=part: value[p]), seeds[part]))
    return torch.cat(drawn)


def scores(z: Tensor, truth: Tensor) -> list[str]:
    """R@1, R@5 and the mean cosine."""
    likeness = z @ truth.T  # (1000, 1000)
    own = likeness.diagonal()[:, None]
    rank = (likeness > own).sum(1)
    values = [(rank < 1).float().mean(), (rank < 5).float().mean(), own.mean()]
    return [f"{float(value):.3f}" for value in values]


def diversity(draw: Draw, cond: Cond, seed: int) -> str:
    """Mean 1 - cosine of different draws of one caption."""
    few = cond.map(lambda value: value[:VARIED])
    z = torch.stack(
        [
            in_batches(draw, few, [f"{seed}/{k}/{i}" for i in range(VARIED)])
            for k in range(1, DRAWS + 1)
        ]
    )
    likeness = torch.einsum("abd,cbd->bac", z, z)  # (VARIED, DRAWS, DRAWS)
    apart = 1 - likeness[:, *torch.triu_indices(DRAWS, DRAWS, 1)]
    return f"{abs(float(apart.mean())):.3f}"


def rows(model: native.Model, folder: Path, held: Held, seed: int) -> Iterator[list[str]]:
    """One row of the table a prior, then the ceiling."""
    z_t = held.cond.text_embed
    assert z_t is not None
    yield ["none: z_t as z_i", *scores(z_t, held.truth), "0.000", "0", "0", "0"]
    for name, stage in model.stages.items():
        if "image_embed" not in stage.produces:
            continue

        def draw(cond: Cond, seeds: list[str], stage: native.Stage = stage) -> Tensor:
            z = stage.sample(cond, Rng(seeds)).image_embed
            assert z is not None
            return z

        z = in_batches(draw, held.cond, [f"{seed}/0/{i}" for i in range(CAPTIONS)])
        some = held.cond.map(lambda value: value[:BATCH])
        each = seconds(lambda d=draw, c=some: d(c, [str(i) for i in range(BATCH)]), 3) / BATCH
        size = sum(file.stat().st_size for file in (folder / name).glob("weights*"))
        shown = f"**{name}**" if name == model.prior else name
        row = [shown, *scores(z, held.truth), diversity(draw, held.cond, seed)]
        yield [*row, f"{1e3 * each:.1f}", f"{parameter_count(stage.net):,}", f"{size / 1e6:.2f}"]
    apart = f"{float(1 - (held.truth * held.other).sum(-1).mean()):.3f}"
    yield ["another true picture", *scores(held.other, held.truth), apart, "", "", ""]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default=BUNDLED)
    parser.add_argument("--data", default="data/emoji", help="the emoji corpus")
    parser.add_argument("--split", default="any", help="train, any, heldout or a kind of it")
    parser.add_argument("--seed", type=int, default=2204)
    parser.add_argument("-o", "--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    folder = find_model(args.model)
    model = native.load_model(folder)
    clip = next(stage for stage in model.stages.values() if isinstance(stage, ClipStage))
    settings = [f"data.{key}={getattr(args, key)}" for key in ("split", "seed")]
    recipe = load_recipe("emoji-cpu", [f"data.path={args.data}", *settings])
    assert clip.image_size is not None
    held = hold(recipe.source(clip.image_size), model, clip)
    lines = [
        f"Model {model.name} {model.hash}; the default prior in bold; seed {args.seed}, split "
        f"`{args.split}`; {describe(torch.device('cpu'))}, float32, batches of {BATCH}.",
        "",
        *HEAD,
    ]
    print("\n".join(lines), flush=True)
    for row in rows(model, folder, held, args.seed):
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)
    if args.out:
        write_text(args.out, "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
