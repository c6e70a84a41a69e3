"""Compare the priors of a model: does a sampled z_i retrieve its own picture among 1,000?

    .venv/bin/python benchmarks/priors.py [MODEL] --data data/emoji [-o docs/priors.md]

`unclip.evaluate.priors` defines the measures; this adds time and size. The seed determines
everything but the times.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from _timing import seconds

from unclip.data import IndexedSource
from unclip.device import describe
from unclip.evaluate import priors
from unclip.evaluate.priors import BATCH, Found, Held
from unclip.files import write_text
from unclip.loading import BUNDLED, find_model, load
from unclip.nn.layers import parameter_count
from unclip.stages import Stage
from unclip.stages.clip import ClipStage
from unclip.stages.model import Model
from unclip.train.recipe import load_recipe

INTRODUCTION = """# Priors

How good is a sampled image embedding z_i? `python benchmarks/priors.py --data data/emoji`
samples z_i for 1,000 captions of the corpus and looks for the true picture's embedding nearest
to it. R@1 and R@5 are the shares of captions whose own picture is the nearest, or among the
five nearest. The cosine is between the sampled and the true z_i. Diversity is 1 minus the mean
cosine of two samples for one caption. The last row uses another true picture of the same
caption, as an upper reference.
"""
HEAD = (
    "| prior | R@1 of 1,000 | R@5 | cosine to true z_i | diversity | ms each | parameters | MB |",
    "|---|--:|--:|--:|--:|--:|--:|--:|",
)
TITLES = {"none": "none: the text embedding as z_i"}


def cost(stage: Stage, folder: Path, held: Held) -> list[str]:
    """Milliseconds per z_i, parameters, and megabytes of weights."""
    draw = priors.drawing(stage)
    some = held.cond.map(lambda value: value[:BATCH])
    each = seconds(lambda: draw(some, [str(i) for i in range(BATCH)]), 3) / BATCH
    size = sum(file.stat().st_size for file in folder.glob("weights*"))
    return [f"{1e3 * each:.1f}", f"{parameter_count(stage.net):,}", f"{size / 1e6:.2f}"]


def numbers(one: Found) -> list[str]:
    """R@1, R@5, the mean cosine, diversity."""
    values = (one.first.value, one.fifth.value, one.cosine, one.diversity or 0.0)
    return [f"{value:.3f}" for value in values]


def rows(model: Model, folder: Path, held: Held, seed: int) -> Iterator[list[str]]:
    """One row per prior, then the ceiling."""
    for name, one in priors.compare(model.stages, held, seed):
        title = f"**{name}**" if name == model.prior else TITLES.get(name, name)
        costs = {"none": ["0", "0", "0"]}.get(name, ["", "", ""])
        if name in model.stages:
            costs = cost(model.stages[name], folder / name, held)
        yield [title, *numbers(one), *costs]


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
    model = load(folder, device="cpu", dtype="float32").model
    clip = next(stage for stage in model.stages.values() if isinstance(stage, ClipStage))
    settings = [f"data.{key}={getattr(args, key)}" for key in ("split", "seed")]
    recipe = load_recipe("emoji-cpu", [f"data.path={args.data}", *settings])
    assert clip.image_size is not None
    source = recipe.source(clip.image_size)
    assert isinstance(source, IndexedSource)
    held = priors.hold(source, model.tokenizer, clip, priors.twice(source))
    lines = [
        INTRODUCTION,
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
