"""Judge text diffs on attribute pairs: did the attribute flip, and did the others stay?

    .venv/bin/python benchmarks/text_diff.py [MODEL] --data data/emoji [-o docs/text_diff.md]

Starts from correct renderings of the corpus, and judges the frames of `Pipeline.text_diff` at
theta 0 to 1. The decoder's inversion is measured separately.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import unclip
from unclip.emoji.backgrounds import PALETTE
from unclip.emoji.colours import COLOURS, distance, name_pixels, oklab
from unclip.emoji.english import article
from unclip.emoji.source import EmojiScenes
from unclip.files import write_text
from unclip.loading import BUNDLED
from unclip.media import to_tensor
from unclip.rng import Rng
from unclip.stages import DiffusionStage
from unclip.stages.model import MAIN_STAGE
from unclip.train.recipe import load_recipe
from unclip.types import Control

Bytes = NDArray[np.uint8]
THETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
KINDS = ("background", "colour", "object")
TITLES = {
    "background": "a fox on a green → yellow background",
    "colour": "a red → blue car",
    "object": "a fox → a cat",
}
GROUNDS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "light blue")
QUIET = ("white", "light yellow", "light blue", "light green", "pink")
TINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
GREYS = ("black", "white", "gray")
APART = 0.2  # OKLab: separates an object from its background
SAME_SHAPE = 0.7  # intersection over union of two outlines
FLIPPED, STAYED, PSNR, INVERTED = 85, 90, 35, 16


@dataclass(frozen=True)
class Pair:
    """A picture, its caption and the target caption; `truth` is a rendering of the target."""

    kind: str
    source: str
    target: str
    picture: Bytes
    truth: Bytes
    noun: str  # the object
    was: str  # the changed attribute, before and after
    wanted: str


@dataclass(frozen=True)
class Verdict:
    """The judges' findings on one picture."""

    background: str
    colour: str
    object: str
    shape: NDArray[np.bool_]  # outside the background


@dataclass(frozen=True)
class Judged:
    """A pair and the verdicts on its pictures."""

    kind: str
    noun: str
    was: str
    wanted: str
    picture: Verdict
    truth: Verdict
    frames: tuple[Verdict, ...]


# --- pairs -------------------------------------------------------------------------------------


def pairs(scenes: EmojiScenes, kind: str, seed: int) -> Iterator[Pair]:
    """Endless pairs of a kind."""
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    singles = (spec for spec in (scenes.sample(i)["spec"] for i in count()) if _simple(spec))
    for spec in singles:
        thing = spec["objects"][0]
        glyph = scenes.corpus[thing["id"]]
        if kind == "background":
            shades = _apart(GROUNDS, glyph["mean"])
            if len(shades) < 2:
                continue
            was, wanted = rng.permutation(shades)[:2].tolist()
            ends = [(_on(spec, shade), _phrase(thing) + _place(shade)) for shade in (was, wanted)]
        elif kind == "colour":
            if not glyph["tint"]:
                continue
            was, wanted = rng.permutation(TINTS)[:2].tolist()
            shade = rng.choice(_apart(QUIET, COLOURS[was], COLOURS[wanted]) or ["white"])
            ends = [
                (_on(_tinted(spec, tint), str(shade)), _phrase(thing, tint))
                for tint in (was, wanted)
            ]
        else:
            other = next(singles)
            was, wanted = thing["noun"], other["objects"][0]["noun"]
            if was == wanted:
                continue
            means = [scenes.corpus[one["objects"][0]["id"]]["mean"] for one in (spec, other)]
            shade = rng.choice(_apart(QUIET, *means) or ["white"])
            ends = [(_on(one, str(shade)), _phrase(one["objects"][0])) for one in (spec, other)]
        (first, source), (second, target) = ends
        drawn = [scenes.render(one) for one in (first, second)]
        yield Pair(kind, source, target, drawn[0], drawn[1], thing["noun"], was, wanted)


def _simple(spec: dict[str, Any]) -> bool:
    """One object of normal size in its own colours."""
    thing = spec["objects"][0]
    return spec["kind"] == "single" and not thing["tint"] and not thing["size"]


def _apart(shades: Sequence[str], *means: Sequence[int]) -> list[str]:
    """Backgrounds on which objects of these mean colours stand out."""
    far = 1.25 * APART
    return [s for s in shades if all(distance(PALETTE[s], list(mean)) > far for mean in means)]


def _on(spec: dict[str, Any], shade: str) -> dict[str, Any]:
    backdrop = {"kind": "plain", "colour": shade, "rgb": list(PALETTE[shade]), "said": False}
    return {**spec, "background": backdrop}


def _tinted(spec: dict[str, Any], tint: str) -> dict[str, Any]:
    return {**spec, "objects": [{**spec["objects"][0], "tint": tint, "colour": tint}]}


def _phrase(thing: dict[str, Any], colour: str = "") -> str:
    phrase = f"{colour} {thing['noun']}".strip()
    return phrase if thing["plural"] is None else f"{article(phrase)} {phrase}"


def _place(shade: str) -> str:
    return f" on {article(shade)} {shade} background"


# --- judges ------------------------------------------------------------------------------------


def ground_of(pixels: Bytes) -> tuple[str, NDArray[Any]]:
    """The named background nearest to the median of the border, and that median in OKLab."""
    wide = max(len(pixels) // 32, 1)
    edge = np.ones(pixels.shape[:2], bool)
    edge[wide:-wide, wide:-wide] = False
    middle = np.median(pixels[edge], axis=0)
    rgb = [int(value) for value in middle]
    return min(PALETTE, key=lambda name: distance(PALETTE[name], rgb)), oklab(middle)


def colour_of(pixels: Bytes, shape: NDArray[np.bool_]) -> str:
    """The most frequent colour name outside the background; greys only if nothing else is there."""
    inside = pixels[shape]
    if not len(inside):
        return "none"
    names, counts = np.unique(name_pixels(inside), return_counts=True)
    found = {str(name): int(number) for name, number in zip(names, counts, strict=True)}
    hues = {name: number for name, number in found.items() if name not in GREYS}
    few = sum(hues.values()) < 0.1 * len(inside)
    ranked = found if few else hues
    return max(ranked, key=lambda name: ranked[name])


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union of two outlines."""
    return float((one & other).sum() / max((one | other).sum(), 1))


class Worker:
    """One process with the model."""

    here: Worker

    def __init__(self, model: str, nouns: Sequence[str]) -> None:
        torch.set_num_threads(1)
        self.pipe = unclip.load(model)
        self.clip = self.pipe.model.clip("judging")
        self.nouns = list(nouns)

    @torch.inference_mode()
    def judge(self, pictures: Sequence[Image.Image], pair: Pair) -> list[Verdict]:
        """All three judges on each picture."""
        z_i = self.clip.net.encode_image(to_tensor(pictures).to(self.pipe.device))
        shades = ["", *((pair.was, pair.wanted) if pair.kind != "object" else ())]
        likeness = torch.stack([z_i @ self.words(pair.kind, shade).T for shade in shades])
        nouns = [self.nouns[i] for i in likeness.amax(0).argmax(1).tolist()]
        verdicts = []
        for picture, noun in zip(pictures, nouns, strict=True):
            pixels = np.asarray(picture)
            name, middle = ground_of(pixels)
            shape = np.linalg.norm(oklab(pixels) - middle, axis=-1) > APART / 2
            verdicts.append(Verdict(name, colour_of(pixels, shape), noun, shape))
        return verdicts

    @cache  # noqa: B019 - one worker per process
    def words(self, kind: str, shade: str) -> Tensor:
        """(nouns, D): z_t of every noun in one wording."""
        tint = shade if kind == "colour" else ""
        words = [_phrase({"noun": noun, "plural": ""}, tint) for noun in self.nouns]
        words = [word + _place(shade) if shade and kind == "background" else word for word in words]
        z_t = self.clip.sample(self.pipe.read(words), Rng([0] * len(words))).text_embed
        assert z_t is not None
        return z_t

    def diff(self, pair: Pair, settings: dict[str, Any]) -> Judged:
        """Run one text diff and judge its frames."""
        picture, truth = Image.fromarray(pair.picture), Image.fromarray(pair.truth)
        frames = self.pipe.text_diff(
            picture, pair.source, pair.target, frames=len(THETAS), theta=THETAS[-1], **settings
        )
        first, last = self.judge([picture, truth], pair)
        seen = tuple(self.judge(frames, pair))
        return Judged(pair.kind, pair.noun, pair.was, pair.wanted, first, last, seen)

    @torch.inference_mode()
    def psnr(self, pictures: Sequence[Bytes], settings: dict[str, Any]) -> list[float]:
        """Picture -> x_T -> picture with the decoder, at its own size."""
        pipe, decoder = self.pipe, cast(DiffusionStage, self.pipe.stages[MAIN_STAGE])
        assert decoder.image_size is not None
        truth = to_tensor([Image.fromarray(one) for one in pictures]).to(pipe.device)
        cond = pipe.image_only(self.clip.net.encode_image(truth))
        small = F.interpolate(truth, decoder.image_size, mode="area")
        noise = decoder.invert(cond, small, settings)
        rng = Rng([0] * len(small), pipe.device)
        drawn = decoder.sample_data(cond, rng, settings, control=Control(noise=noise)).float()
        error = (drawn.clamp(-1, 1) - small).square().flatten(1).mean(1)
        values: list[float] = (10 * (4 / error.clamp(min=1e-9)).log10()).tolist()
        return values


def begin(model: str, nouns: Sequence[str]) -> None:
    """Load the model once per process."""
    Worker.here = Worker(model, nouns)


def diff(pair: Pair, settings: dict[str, Any]) -> Judged:
    """In a worker process."""
    return Worker.here.diff(pair, settings)


def psnr(pictures: Sequence[Bytes], settings: dict[str, Any]) -> list[float]:
    """In a worker process."""
    return Worker.here.psnr(pictures, settings)


# --- the page ----------------------------------------------------------------------------------


def flipped(one: Judged, seen: Verdict) -> bool:
    """Whether the attribute is that of the target."""
    return str(getattr(seen, one.kind)) == one.wanted


def stayed(one: Judged, seen: Verdict) -> bool:
    """Whether the other attributes are those of the first picture, by the same judges.

    A new object has its own colour and shape, so only the background must stay.
    """
    other = {"background": "colour", "colour": "background", "object": "background"}[one.kind]
    if getattr(seen, other) != getattr(one.picture, other):
        return False
    return one.kind == "object" or overlap(seen.shape, one.picture.shape) >= SAME_SHAPE


def rate(values: Sequence[bool], wanted: int | None = None) -> str:
    """A share with its 95 % Wilson interval; bold if it reaches the goal."""
    n, k, z = len(values), sum(values), 1.96
    middle, spread = (
        k / n + z * z / (2 * n),
        z * (k / n * (1 - k / n) / n + (z / (2 * n)) ** 2) ** 0.5,
    )
    low, high = ((middle + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
    shown = f"{100 * k / n:.0f} %"
    if wanted is not None and 100 * k >= wanted * n:
        shown = f"**{shown}**"
    return f"{shown} ({k}/{n}; {100 * max(low, 0):.0f}–{100 * min(high, 1):.0f})"


def cells(judged: Sequence[Judged], seen: Sequence[Verdict]) -> str:
    """Flipped, stayed, both."""
    flips = [flipped(*both) for both in zip(judged, seen, strict=True)]
    stays = [stayed(*both) for both in zip(judged, seen, strict=True)]
    every = [a and b for a, b in zip(flips, stays, strict=True)]
    return f"{rate(flips, FLIPPED)} | {rate(stays, STAYED)} | {rate(every)}"


def main_table(judged: Sequence[Judged]) -> Iterator[str]:
    """Kind × theta."""
    yield "| pair | theta | flipped | others stayed | both |"
    yield "|---|--:|---|---|---|"
    for kind in KINDS:
        mine = [one for one in judged if one.kind == kind]
        for index, theta in enumerate(THETAS):
            name = TITLES[kind] if index == 0 else ""
            yield f"| {name} | {theta:g} | {cells(mine, [one.frames[index] for one in mine])} |"
        yield f"| | a correct rendering | {cells(mine, [one.truth for one in mine])} |"


def guided_table(tried: dict[str, list[Judged]]) -> Iterator[str]:
    """Settings × theta, all kinds combined."""
    yield "| settings | theta | flipped | others stayed | both |"
    yield "|---|--:|---|---|---|"
    for name, judged in tried.items():
        for index, theta in list(enumerate(THETAS))[1:]:
            seen = [one.frames[index] for one in judged]
            yield f"| {name if index == 1 else ''} | {theta:g} | {cells(judged, seen)} |"


def best(tried: dict[str, list[Judged]]) -> str:
    """The settings and theta with the most successes."""
    scores = {
        (name, theta): sum(flipped(o, o.frames[i]) and stayed(o, o.frames[i]) for o in judged)
        for name, judged in tried.items()
        for i, theta in enumerate(THETAS)
        if theta > 0
    }
    (name, theta), most = max(scores.items(), key=lambda item: item[1])
    total = len(next(iter(tried.values())))
    return f"Most pictures with both: {name}, theta {theta:g} ({most} of {total})."


def page(
    judged: list[Judged], tried: dict[str, list[Judged]], values: list[float], about: str
) -> Iterator[str]:
    """The whole report."""
    yield f"""# Text diffs, measured

Generated by `{shlex.join(["python", "benchmarks/text_diff.py", *sys.argv[1:]])}`: {about}.

**How to read it.** `text_diff` edits correct renderings, with guidance 1. A row is one theta; theta
0 is the reconstruction. *Flipped*: the attribute is now that of the target; the goal is
≥ {FLIPPED} %. *Others stayed* (goal ≥ {STAYED} %): the object's outline and colour, if its
background changes; the outline and the background, if its colour changes; the background, if the
object changes. A reached goal is bold. Brackets give counts and 95 % Wilson intervals. The last row
of each kind judges a correct rendering of the target: it shows how far the judges can be trusted.

Judges: the background is the named colour nearest to the median pixel of the border. The object's
colour is the most frequent colour name outside the background. An outline stayed if it overlaps the
first picture's by ≥ {SAME_SHAPE:g} (intersection over union). The object is named zero-shot, among
the recipe's nouns, by the model's CLIP. The text diff follows the same CLIP, so this judge is
lenient. It also relies on an object's usual colours, as its figures on correct renderings show;
that is why the outline is judged too.
"""
    yield from main_table(judged)
    for kind in KINDS:
        mine = [one for one in judged if one.kind == kind]
        right = rate([getattr(one.picture, kind) == one.was for one in mine])
        named = rate([one.picture.object == one.noun for one in mine])
        yield ""
        yield f"Correct renderings before “{TITLES[kind]}”: {kind} judged correctly {right},"
        yield f"object named correctly by CLIP {named}."
    yield from ("", "## Guidance and other settings, all kinds combined", "")
    yield from guided_table(tried)
    yield from ("", best(tried), "", "## Inversion", "")
    low, mean = min(values), sum(values) / len(values)
    verdict = "reached" if mean >= PSNR else "not reached"
    reached = sum(value >= PSNR for value in values)
    yield f"""Picture → x_T → picture, by the decoder at its own size in 50 steps:
{len(values)} pictures, mean PSNR {mean:.1f} dB, minimum {low:.1f} dB
(goal ≥ {PSNR} dB: {verdict} by the mean, reached by {reached} of {len(values)} pictures).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default=BUNDLED)
    parser.add_argument("--data", default="data/emoji", help="the emoji corpus")
    parser.add_argument("--recipe", default="emoji-cpu", help="recipe whose nouns are used")
    parser.add_argument("--count", type=int, default=48, help="pairs, all kinds combined")
    parser.add_argument("--tries", type=int, default=9, help="pairs for each other setting")
    parser.add_argument("--seed", type=int, default=2204)
    parser.add_argument("-o", "--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    begun = time.perf_counter()
    own = unclip.load(args.model)
    settings = [f"data.path={args.data}", "data.split=any", f"data.seed={args.seed}"]
    recipe = load_recipe(args.recipe, settings)
    scenes = cast(EmojiScenes, recipe.source(own.model.size))
    each = [pairs(scenes, kind, args.seed) for kind in KINDS]
    mixed = [next(each[i % len(KINDS)]) for i in range(args.count)]
    singles = [one.picture for one in islice(pairs(scenes, "object", args.seed + 1), INVERTED)]
    tries: dict[str, dict[str, Any]] = {
        "guidance 1": {},
        "guidance 2": {"guidance_scale": 2.0},
        "guidance 3": {"guidance_scale": 3.0},
        "guidance 1, not clamped": {"threshold": "none"},
    }
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    given = (args.model, list(recipe.settings.data["nouns"]))
    with ProcessPoolExecutor(workers, get_context("spawn"), begin, given) as pool:
        halves = [singles[start : start + 8] for start in range(0, len(singles), 8)]
        plain = {"steps": 50, "guidance_scale": 1.0, "sampler": "ddim"}
        inverted = pool.map(partial(psnr, settings=plain), halves)
        values = [value for half in inverted for value in half]
        print(f"inversion {min(values):.1f} dB minimum", flush=True)
        judged = list(pool.map(partial(diff, settings={}), mixed))
        tried = {"guidance 1": judged[: args.tries]}
        for name, changes in list(tries.items())[1:]:
            print(f"{time.perf_counter() - begun:.0f} s; {name}", flush=True)
            tried[name] = list(pool.map(partial(diff, settings=changes), mixed[: args.tries]))
    dtype = next(own.stages[MAIN_STAGE].net.parameters()).dtype
    about = f"model {own.name} {own.hash}, {args.count} pairs, seed {args.seed}, {dtype}"
    text = "\n".join(page(judged, tried, values, about))
    print(text)
    if args.out:
        write_text(args.out, text)
    print(f"{time.perf_counter() - begun:.0f} s in total")


if __name__ == "__main__":
    main()
