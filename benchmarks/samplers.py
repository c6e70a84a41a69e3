"""Quality of the decoder by sampler, number of steps and spacing, as a table for docs/.

    .venv/bin/python benchmarks/samplers.py [MODEL] [-o docs/samplers.md] [--pictures 12]

Every sampler gets the same prompts, noise and z_i. The seed determines everything but the times,
on one kind of machine.
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

BATCH = 16  # larger batches are slower on two cores
COUNTS = (5, 10, 15, 20, 30, 50)
FULL = 250
ENOUGH = 0.97
SPACED = (("ddim", 10), ("ddim", 20), ("dpmpp_2m", 10), ("dpmpp_2m", 20))
SAME = {"euler": "ddim"}  # without added noise Euler's method is DDIM

Scores = Tensor  # (pictures, 2): cosine to z_i and to z_t
Results = dict[tuple[str, int], Scores]


class Bench:
    """The decoder and its conditions."""

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
        self.draw("ddim", 2)  # warm-up

    def draw(self, sampler: str, count: int, spacing: str | None = None) -> Scores:
        """Scores of all pictures, each sampled with at most `count` evaluations."""
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
    """Samplers × evaluations, in % of the reference, bold from ENOUGH on."""
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
                f"at that number also within: {every}."
            )
    return f"No sampler is within {100 * (1 - ENOUGH):.0f} % at {COUNTS[-1]} evaluations."


def spacings(bench: Bench, results: Results, reference: Scores) -> Iterator[str]:
    """Spacings of the steps on the schedule."""
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
    worst, median = (100 * float(value) for value in (max(errors), torch.stack(errors).median()))
    yield f"""# Samplers and steps, measured

Generated by `{shlex.join(["python", "benchmarks/samplers.py", *sys.argv[1:]])}`:
decoder of model {pipe.name} {pipe.hash}, {pictures} pictures (“a fox”, …),
guidance {own.guidance_scale:g}, z_i from the default prior, seed {seed};
{describe(pipe.device)}; {next(bench.decoder.net.parameters()).dtype}.

**How to read it.** Columns are network evaluations per picture; with guidance each covers two
conditions. Heun's method makes two per step and gets half the steps. A cell is the mean cosine
between CLIP's embedding of the picture and the z_i that it was sampled from, in % of the
reference; {100 * ENOUGH:.0f} % and more is bold. The decoder's task is to invert z_i, so this
cosine measures the decoder alone. The cosine to the text, in the second table, also measures the
prior. CLIP here is the model's own. It does not see fine grain: a cell above 100 is not a better
picture than the reference.
The reference is {best} at {FULL} steps, {mean(reference):.4f}: the better of ddpm and ddim
({other}: {mean(results[other, FULL]):.4f}). From 10 evaluations on, with the same prompts and
noise, the standard error of a cell is at most {worst:.1f} points, median {median:.1f}.
"""
    yield fewest(results, reference)
    yield ""
    yield from ("## Cosine to z_i, % of the reference", "", *grid(results, reference, 0), "")
    yield f"## Cosine to the text, % of the reference ({mean(reference, 1):.4f})"
    yield from ("", *grid(results, reference, 1), "")
    yield f"## Seconds per picture (ddim, in batches of {min(BATCH, pictures)})"
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
    parser.add_argument("--recipe", default="emoji-cpu", help="recipe whose nouns are drawn")
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--seed", type=int, default=2204)
    parser.add_argument("-o", "--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    begun = time.perf_counter()
    known = list(load_recipe(args.recipe).settings.data["nouns"])
    nouns = [known[i * len(known) // args.pictures % len(known)] for i in range(args.pictures)]
    bench = Bench(unclip.load(args.model), nouns, args.seed)
    page = "\n".join(report(bench, measure(bench), args.seed))
    print(page)
    if args.out:
        write_text(args.out, page)
    print(f"{time.perf_counter() - begun:.0f} s in total")


if __name__ == "__main__":
    main()
