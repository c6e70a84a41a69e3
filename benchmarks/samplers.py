"""Steps against quality of the decoder for each sampler and spacing, as a table for docs/.

    .venv/bin/python benchmarks/samplers.py [MODEL] [-o docs/samplers.md] [--pictures 12]

The decoder draws the same prompts from the same noise and the same z_i with every sampler.
Everything but the times follows from the seed, on one kind of machine.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

import unclip
from unclip.device import describe
from unclip.diffusion.samplers import SAMPLERS
from unclip.diffusion.schedule import SPACINGS
from unclip.emoji.english import article
from unclip.files import write_text
from unclip.loading import BUNDLED
from unclip.rng import Rng
from unclip.stages import DiffusionStage
from unclip.stages.model import MAIN_STAGE
from unclip.train.recipe import load_recipe
from unclip.types import Cond

BATCH = 16  # larger ones are slower on two cores
COUNTS = (5, 10, 15, 20, 30, 50)
FULL = 250
ENOUGH = 0.97
SPACED = (("ddim", 10), ("ddim", 20), ("dpmpp_2m", 10), ("dpmpp_2m", 20))
SAME = {"euler": "ddim"}  # without fresh noise Euler's method is DDIM

Scores = Tensor  # (pictures, 2): cosine to z_i and to z_t
Results = dict[tuple[str, int], Scores]


class Bench:
    """The decoder with its conditions, drawn from again and again."""

    def __init__(self, pipe: unclip.Pipeline, nouns: list[str], seed: int) -> None:
        self.pipe, self.decoder = pipe, cast(DiffusionStage, pipe.stages[MAIN_STAGE])
        self.net = pipe.model.clip("measuring").net
        self.seeds = [seed + i for i in range(len(nouns))]
        self.conds: list[tuple[Cond, list[int]]] = []
        for start in range(0, len(nouns), BATCH):
            words = [f"{article(noun)} {noun}" for noun in nouns[start : start + BATCH]]
            seeds = self.seeds[start : start + BATCH]
            rng = Rng(seeds, pipe.device)
            self.conds.append((pipe.sample_prior(pipe.read(words), rng), seeds))
        self.seconds: dict[tuple[str, int, str | None], float] = {}  # a picture
        self.draw("ddim", 2)  # to warm up

    def draw(self, sampler: str, count: int, spacing: str | None = None) -> Scores:
        """Scores of all pictures, each made with at most `count` evaluations."""
        options: dict[str, Any] = {"sampler": sampler, "spacing": spacing}
        options["steps"] = (count + 1) // 2 if sampler == "heun" else count  # two but the last one
        scores, spent = [], 0.0
        for cond, seeds in self.conds:
            begun = time.perf_counter()
            rng = Rng(seeds, self.pipe.device).fork(MAIN_STAGE)
            image = self.decoder.sample(cond, rng, options).image
            assert image is not None and cond.image_embed is not None
            z = self.net.encode_image(image.float()).cpu()
            spent += time.perf_counter() - begun
            assert cond.text_embed is not None
            wanted = torch.stack([cond.image_embed.cpu(), cond.text_embed.cpu()], dim=1)
            scores.append((wanted.float() * z[:, None]).sum(-1))
        self.seconds[sampler, count, spacing] = spent / len(self.seeds)
        return torch.cat(scores)


def measure(bench: Bench) -> Results:
    """Every sampler at every count; the references first."""
    results: Results = {}
    for name in ("ddpm", "ddim"):
        results[name, FULL] = bench.draw(name, FULL)
        print(f"{name} {FULL}: cosine {mean(results[name, FULL]):.4f}", flush=True)
    for name in sorted(SAMPLERS, key=lambda name: name in SAME):
        for count in COUNTS:
            if name in SAME:
                results[name, count] = results[SAME[name], count]
            else:
                results[name, count] = bench.draw(name, count)
        row = " ".join(f"{mean(results[name, count]):.4f}" for count in COUNTS)
        print(f"{name}: {row}", flush=True)
    for name, same in SAME.items():
        if float((bench.draw(name, COUNTS[0]) - results[same, COUNTS[0]]).abs().max()) > 0.02:
            raise SystemExit(f"{name} and {same} differ: measure both")
    return results


def mean(scores: Scores, column: int = 0) -> float:
    """Of the cosines to z_i (column 0) or z_t (1)."""
    return float(scores[:, column].mean())


def grid(results: Results, reference: Scores, column: int) -> Iterator[str]:
    """Samplers × evaluations, as % of the reference, bold where that is enough."""
    yield f"| sampler | {' | '.join(str(count) for count in COUNTS)} | {FULL} |"
    yield f"|---|{'--:|' * (len(COUNTS) + 1)}"
    for name in SAMPLERS:
        cells = []
        for count in (*COUNTS, FULL):
            scores = results.get((name, count))
            cells.append("" if scores is None else share(scores, reference, column))
        shown = f"{name} (is {SAME[name]})" if name in SAME else name
        yield f"| {shown} | {' | '.join(cells)} |"


def share(scores: Scores, reference: Scores, column: int = 0) -> str:
    """A cell: % of the reference."""
    value = mean(scores, column) / mean(reference, column)
    return f"**{100 * value:.1f}**" if value >= ENOUGH else f"{100 * value:.1f}"


def fewest(results: Results, reference: Scores) -> str:
    """The answer: which sampler needs the fewest evaluations."""
    enough = ENOUGH * mean(reference)
    for count in COUNTS:
        good = {n: mean(results[n, count]) for n in SAMPLERS if mean(results[n, count]) >= enough}
        if good:
            best = max(sorted(good, key=lambda name: name in SAME), key=lambda name: good[name])
            every = ", ".join(sorted(good, key=lambda name: -good[name]))
            return (
                f"Fewest evaluations within {100 * (1 - ENOUGH):.0f} %: **{count}**, best with "
                f"**{best}** ({share(results[best, count], reference)} %); "
                f"within it there: {every}."
            )
    return f"No sampler is within {100 * (1 - ENOUGH):.0f} % at {COUNTS[-1]} evaluations."


def spacings(bench: Bench, results: Results, reference: Scores) -> Iterator[str]:
    """How the steps lie on the schedule."""
    own = bench.decoder.config.sampling.spacing
    yield f"| spacing | {' | '.join(f'{name}, {count}' for name, count in SPACED)} |"
    yield f"|---|{'--:|' * len(SPACED)}"
    for spacing in SPACINGS:
        drawn = [results[at] if spacing == own else bench.draw(*at, spacing) for at in SPACED]
        cells = [share(scores, reference) for scores in drawn]
        yield f"| {spacing} | {' | '.join(cells)} |"
        print(f"{spacing}: {' '.join(cells)}", flush=True)


def report(bench: Bench, results: Results, seed: int) -> Iterator[str]:
    """The page."""
    best = max(("ddpm", "ddim"), key=lambda name: mean(results[name, FULL]))
    reference, other = results[best, FULL], "ddim" if best == "ddpm" else "ddpm"
    pictures = len(bench.seeds)
    cells = [results[n, count] for n in SAMPLERS for count in COUNTS[1:]]
    errors = [(one - reference)[:, 0].std() / pictures**0.5 / mean(reference) for one in cells]
    pipe, own = bench.pipe, bench.decoder.config.sampling
    yield "# Samplers and steps, measured"
    yield ""
    yield f"Made by `{shlex.join(['python', 'benchmarks/samplers.py', *sys.argv[1:]])}`:"
    yield f"model {pipe.name} {pipe.hash}, its decoder alone, {pictures} pictures (“a fox”, …),"
    yield f"guidance {own.guidance_scale:g}, the default prior's z_i, seed {seed};"
    yield f"{describe(pipe.device)}; {next(bench.decoder.net.parameters()).dtype}."
    yield ""
    yield "**How to read it.** Columns are network evaluations a picture (Heun's method makes two"
    yield "a step and gets half the steps; with guidance each is of two conditions). A cell is the"
    yield "mean cosine between CLIP's embedding of the picture and the z_i that it was drawn from,"
    yield f"in % of the reference; bold is {100 * ENOUGH:.0f} % or more. That cosine is the number"
    yield "because the decoder's work is to invert z_i: the text's cosine would also measure the"
    yield "prior, and is given below for comparison. It is the model's own CLIP, which does not see"
    yield "fine grain: a cell above 100 is no better picture than the reference."
    yield f"The reference is {best} at {FULL} steps, {mean(reference):.4f}, the better of ddpm and"
    yield f"ddim ({other}: {mean(results[other, FULL]):.4f}). Standard error of a cell from 10"
    yield f"evaluations on, same prompts and noise: at most {100 * float(max(errors)):.1f} points,"
    yield f"median {100 * float(torch.stack(errors).median()):.1f}."
    yield ""
    yield fewest(results, reference)
    yield ""
    yield from ("## Cosine to z_i, % of the reference", "", *grid(results, reference, 0), "")
    yield f"## Cosine to the text, % of the reference ({mean(reference, 1):.4f})"
    yield from ("", *grid(results, reference, 1), "")
    yield f"## Seconds a picture (ddim, in batches of {min(BATCH, pictures)})"
    yield ""
    yield f"| {' | '.join(str(count) for count in (*COUNTS, FULL))} |"
    yield f"|{'--:|' * (len(COUNTS) + 1)}"
    spent = [bench.seconds["ddim", count, None] for count in (*COUNTS, FULL)]
    yield f"| {' | '.join(f'{value:.2f}' for value in spent)} |"
    yield ""
    yield "## Spacings (`spacing`), cosine to z_i in % of the reference"
    yield from ("", *spacings(bench, results, reference), "")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default=BUNDLED)
    parser.add_argument("--recipe", default="emoji-cpu", help="whose nouns to draw")
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--seed", type=int, default=2204)
    parser.add_argument("-o", "--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    begun = time.perf_counter()
    known = list(load_recipe(args.recipe).data["nouns"])
    nouns = [known[i * len(known) // args.pictures % len(known)] for i in range(args.pictures)]
    bench = Bench(unclip.load(args.model), nouns, args.seed)
    page = "\n".join(report(bench, measure(bench), args.seed))
    print(page)
    if args.out:
        write_text(args.out, page)
    print(f"{time.perf_counter() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
