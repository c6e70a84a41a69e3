"""Quality and diversity of the decoder by sampler, number of steps and spacing, for docs/.

    .venv/bin/python benchmarks/samplers.py [MODEL] [-o docs/samplers.md] [--prompts 6] [--seeds 8]

Every sampler gets the same prompts, noise and z_i. The seed determines everything but the times,
on one kind of machine.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import normalize

import unclip
from unclip.device import describe
from unclip.diffusion.samplers import SAMPLERS
from unclip.diffusion.spacing import SPACINGS
from unclip.emoji.english import article
from unclip.evaluate.diversity import pairwise_distance, pixel_deviation
from unclip.evaluate.sharpness import laplacian_energy
from unclip.files import write_text
from unclip.loading import BUNDLED
from unclip.rng import Rng
from unclip.stages import DiffusionStage
from unclip.stages.model import MAIN_STAGE
from unclip.train.recipe import load_recipe
from unclip.types import Cond

BATCH = 16  # larger batches are slower on two cores
COUNTS = (1, 3, 5, 10, 15, 20, 30, 50)
MORE = 30  # evaluations of the run that diversity and sharpness are compared with
FULL = 250
ENOUGH = 0.97  # of the reference's cosine
DIVERSE = (0.85, float("inf"))  # of the diversity at MORE
SHARP = (0.9, 1.1)  # of the sharpness at MORE
SPACED = (("ddim", 10), ("ddim", 20), ("dpmpp_2m", 10), ("dpmpp_2m", 20))
LEAST = {"pndm": 2}  # its first step makes two evaluations
SAME = {"euler": "ddim"}  # without added noise Euler's method is DDIM


@dataclass(frozen=True)
class Drawn:
    """What was measured of one run's pictures."""

    cosines: Tensor  # (pictures, 2): to z_i and to z_t
    pixels: list[float]  # of each prompt: deviation over seeds
    apart: list[float]  # mean distance between seeds in CLIP
    energy: list[float]  # sharpness

    def mean(self, column: int = 0) -> float:
        """Of the cosines to z_i (column 0) or z_t (1)."""
        return float(self.cosines[:, column].mean())


Results = dict[tuple[str, int], Drawn]
ByPrompt = Callable[[Drawn], list[float]]


class Bench:
    """The decoder and its conditions: each prompt from several seeds."""

    def __init__(self, pipe: unclip.Pipeline, nouns: list[str], each: int, seed: int) -> None:
        self.pipe, self.decoder = pipe, cast(DiffusionStage, pipe.stages[MAIN_STAGE])
        self.net, self.each = pipe.model.clip("measuring").net, each
        words = [f"{article(noun)} {noun}" for noun in nouns for _ in range(each)]
        self.seeds = [seed + i for i in range(len(words))]
        self.conds: list[tuple[Cond, list[int]]] = []
        for start in range(0, len(words), BATCH):
            seeds = self.seeds[start : start + BATCH]
            rng = Rng(seeds, pipe.device)
            cond = pipe.sample_prior(pipe.read(words[start : start + BATCH]), rng)
            self.conds.append((cond, seeds))
        self.seconds: dict[tuple[str, int, str | None], float] = {}  # a picture
        self.draw("ddim", 2)  # warm-up

    def draw(self, sampler: str, count: int, spacing: str | None = None) -> Drawn:
        """All pictures, each sampled with at most `count` evaluations."""
        options: dict[str, Any] = {"sampler": sampler, "spacing": spacing}
        # two but the last one, and PNDM two in the first
        options["steps"] = {"heun": (count + 1) // 2, "pndm": count - 1}.get(sampler, count)
        images, seen, cosines, spent = [], [], [], 0.0
        for cond, seeds in self.conds:
            begun = time.perf_counter()
            rng = Rng(seeds, self.pipe.device).fork(MAIN_STAGE)
            image = self.decoder.sample(cond, rng, options).image
            assert image is not None and cond.image_embed is not None
            z = self.net.encode_image(image.float()).cpu()
            spent += time.perf_counter() - begun
            assert cond.text_embed is not None
            wanted = torch.stack([cond.image_embed.cpu(), cond.text_embed.cpu()], dim=1)
            cosines.append((wanted.float() * z[:, None]).sum(-1))
            images.append(image.float().cpu())
            seen.append(normalize(z.float(), dim=-1))
        self.seconds[sampler, count, spacing] = spent / len(self.seeds)
        prompts = torch.cat(images).split(self.each)
        return Drawn(
            torch.cat(cosines),
            [pixel_deviation(one) for one in prompts],
            [pairwise_distance(one) for one in torch.cat(seen).split(self.each)],
            [float(laplacian_energy(one).mean()) for one in prompts],
        )


def measure(bench: Bench) -> Results:
    """Every sampler at every count; the references first."""
    results: Results = {}
    for name in ("ddpm", "ddim"):
        results[name, FULL] = bench.draw(name, FULL)
        print(f"{name} {FULL}: cosine {results[name, FULL].mean():.4f}", flush=True)
    for name in sorted(SAMPLERS, key=lambda name: name in SAME):
        counts = [count for count in COUNTS if count >= LEAST.get(name, 1)]
        for count in counts:
            if name in SAME:
                results[name, count] = results[SAME[name], count]
            else:
                results[name, count] = bench.draw(name, count)
        row = " ".join(f"{results[name, count].mean():.4f}" for count in counts)
        print(f"{name}: {row}", flush=True)
    for name, same in SAME.items():
        again = bench.draw(name, COUNTS[0]).cosines
        if float((again - results[same, COUNTS[0]].cosines).abs().max()) > 0.02:
            raise SystemExit(f"{name} and {same} differ: measure both")
    return results


def grid(results: Results, cell: Callable[[Drawn], str]) -> Iterator[str]:
    """Samplers × evaluations."""
    yield f"| sampler | {' | '.join(str(count) for count in COUNTS)} | {FULL} |"
    yield f"|---|{'--:|' * (len(COUNTS) + 1)}"
    for name in SAMPLERS:
        found = [results.get((name, count)) for count in (*COUNTS, FULL)]
        cells = ["" if one is None else cell(one) for one in found]
        shown = f"{name} (is {SAME[name]})" if name in SAME else name
        yield f"| {shown} | {' | '.join(cells)} |"


def share(drawn: Drawn, reference: Drawn, column: int = 0) -> str:
    """A cell: the cosine in % of the reference's, bold from ENOUGH on."""
    value = drawn.mean(column) / reference.mean(column)
    return f"**{100 * value:.1f}**" if value >= ENOUGH else f"{100 * value:.1f}"


def ratios(drawn: Drawn, reference: Drawn, read: ByPrompt) -> list[float]:
    """Of each prompt, over the reference's."""
    return [a / b for a, b in zip(read(drawn), read(reference), strict=True)]


def spread(
    drawn: Drawn, reference: Drawn, read: ByPrompt, good: tuple[float, float] = DIVERSE
) -> str:
    """A cell: % of the reference, mean and least prompt; bold where the mean is good."""
    found = ratios(drawn, reference, read)
    mean = f"{100 * fmean(found):.0f}"
    shown = f"**{mean}**" if good[0] <= fmean(found) <= good[1] else mean
    return f"{shown} ({100 * min(found):.0f})"


def fewest(results: Results, reference: Drawn, more: Drawn) -> Iterator[str]:
    """The answer: which sampler needs the fewest evaluations, by the cosine and by both."""
    near = {at: one.mean() / reference.mean() for at, one in results.items() if at[1] != FULL}
    good = {at: value for at, value in near.items() if value >= ENOUGH}
    within = f"within {100 * (1 - ENOUGH):.0f} % of the reference's cosine"
    yield _fewest(f"Fewest evaluations {within}", good)
    pixels = {at: fmean(ratios(results[at], more, lambda one: one.pixels)) for at in good}
    both = {at: value for at, value in pixels.items() if value >= DIVERSE[0]}
    yield ""
    yield _fewest(f"… and with {100 * DIVERSE[0]:.0f} % of the deviation at {MORE}", both)


def _fewest(what: str, good: dict[tuple[str, int], float]) -> str:
    if not good:
        return f"{what}: no sampler at up to {COUNTS[-1]}."
    count = min(at[1] for at in good)
    some = {name: value for (name, at), value in good.items() if at == count}
    order = sorted(some, key=lambda name: (-some[name], name in SAME))
    best = f"**{count}**, best with **{order[0]}** ({100 * some[order[0]]:.1f} %)"
    return f"{what}: {best}; at that number all of: {', '.join(order)}."


def spacings(bench: Bench, results: Results, reference: Drawn, more: Drawn) -> Iterator[str]:
    """Spacings of the steps on the schedule: the cosine, and the deviation over seeds."""
    own = bench.decoder.config.sampling.spacing
    yield f"| spacing | {' | '.join(f'{name}, {count}' for name, count in SPACED)} |"
    yield f"|---|{'--:|' * len(SPACED)}"
    for spacing in SPACINGS:
        drawn = [results[at] if spacing == own else bench.draw(*at, spacing) for at in SPACED]
        cells = [
            f"{share(one, reference)} · {spread(one, more, lambda one: one.pixels)}"
            for one in drawn
        ]
        yield f"| {spacing} | {' | '.join(cells)} |"
        print(f"{spacing}: {' '.join(cells)}", flush=True)


def report(bench: Bench, results: Results, seed: int) -> Iterator[str]:
    """The page."""
    best = max(("ddpm", "ddim"), key=lambda name: results[name, FULL].mean())
    reference, other = results[best, FULL], "ddim" if best == "ddpm" else "ddpm"
    pipe, own = bench.pipe, bench.decoder.config.sampling
    more, pictures = results[own.sampler, MORE], len(bench.seeds)
    prompts = pictures // bench.each
    cells = [results[n, count].cosines for n in SAMPLERS for count in COUNTS if count >= 10]
    apart = [(one - reference.cosines)[:, 0].view(prompts, -1).mean(1) for one in cells]
    errors = torch.stack(apart).std(1) / prompts**0.5 / reference.mean()
    worst, median = 100 * float(errors.max()), 100 * float(errors.median())
    yield f"""# Samplers and steps, measured

Generated by `{shlex.join(["python", "benchmarks/samplers.py", *sys.argv[1:]])}`:
decoder of model {pipe.name} {pipe.hash}, {prompts} prompts (“a fox”, …) × {bench.each} seeds,
guidance {own.guidance_scale:g}, z_i from the default prior, seed {seed};
{describe(pipe.device)}; {next(bench.decoder.net.parameters()).dtype}.

**How to read it.** Columns are network evaluations per picture; with guidance each covers two
conditions. Heun's method makes two per step and gets half the steps. A cell is the mean cosine
between CLIP's embedding of the picture and the z_i that it was sampled from, in % of the
reference; {100 * ENOUGH:.0f} % and more is bold. The decoder's task is to invert z_i, so this
cosine measures the decoder alone. The cosine to the text, in the second table, also measures the
prior. CLIP here is the model's own. It does not see fine grain: a cell above 100 is not a better
picture than the reference.
The reference is {best} at {FULL} steps, {reference.mean():.4f}: the better of ddpm and ddim
({other}: {results[other, FULL].mean():.4f}). From 10 evaluations on, with the same prompts and
noise, the standard error over prompts of a cell is at most {worst:.1f} points, median {median:.1f}.

**Cosines do not see that seeds collapse**: few evaluations draw nearly the same picture from every
seed, which CLIP likes. The tables on diversity and sharpness are in % of {own.sampler} at {MORE}
evaluations, each prompt's ratio by itself: their mean, and in brackets the least. A mean diversity
of {100 * DIVERSE[0]:.0f} % and more is bold. Sharpness is the mean square of luma's Laplacian: bold
from {100 * SHARP[0]:.0f} to {100 * SHARP[1]:.0f} %, blur below, grain above.
"""
    yield from fewest(results, reference, more)
    for title, cell in _tables(reference, more, own.sampler).items():
        yield from ("", f"## {title}", "", *grid(results, cell))
    yield ""
    yield f"## Seconds per picture (ddim, in batches of {min(BATCH, pictures)})"
    yield ""
    yield f"| {' | '.join(str(count) for count in (*COUNTS, FULL))} |"
    yield f"|{'--:|' * (len(COUNTS) + 1)}"
    spent = [bench.seconds["ddim", count, None] for count in (*COUNTS, FULL)]
    yield f"| {' | '.join(f'{value:.2f}' for value in spent)} |"
    yield ""
    yield "## Spacings (`spacing`): cosine to z_i · pixel deviation over seeds, in %"
    yield from ("", *spacings(bench, results, reference, more), "")


def _tables(reference: Drawn, more: Drawn, sampler: str) -> dict[str, Callable[[Drawn], str]]:
    """By title, what a cell shows."""
    of = f"% of {sampler} at {MORE}"
    return {
        "Cosine to z_i, % of the reference": lambda one: share(one, reference),
        f"Cosine to the text, % of the reference ({reference.mean(1):.4f})": lambda one: share(
            one, reference, 1
        ),
        f"Diversity: pixel deviation over seeds, {of} ({fmean(more.pixels):.4f})": lambda one: (
            spread(one, more, lambda one: one.pixels)
        ),
        f"Diversity: distance between seeds in CLIP, {of} ({fmean(more.apart):.4f})": lambda one: (
            spread(one, more, lambda one: one.apart)
        ),
        f"Sharpness, {of}": lambda one: spread(one, more, lambda one: one.energy, SHARP),
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default=BUNDLED)
    parser.add_argument("--recipe", default="emoji-cpu", help="recipe whose nouns are drawn")
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=8, help="pictures of each prompt")
    parser.add_argument("--seed", type=int, default=2204, help="of the first picture")
    parser.add_argument("-o", "--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    begun = time.perf_counter()
    known = list(load_recipe(args.recipe).settings.data["nouns"])
    nouns = [known[i * len(known) // args.prompts % len(known)] for i in range(args.prompts)]
    bench = Bench(unclip.load(args.model), nouns, args.seeds, args.seed)
    page = "\n".join(report(bench, measure(bench), args.seed))
    print(page)
    if args.out:
        write_text(args.out, page)
    print(f"{time.perf_counter() - begun:.0f} s in total")


if __name__ == "__main__":
    main()
