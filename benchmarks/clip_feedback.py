"""What CLIP's feedback is worth: how often pictures are right, as a network says that is no CLIP.

    python benchmarks/clip_feedback.py

Prompts such as "a purple owl above a blue tree" are drawn once, as the best of several by CLIP,
with CLIP's gradient, and again and again from the best so far. CLIP's own cosine mostly grows
in these, as it is what they look for. The bundled detector (src/unclip/weights/scene-judge) has not
seen it: right is a picture with exactly the two things, in these colours, one above the other.
"""

from __future__ import annotations

import argparse
import itertools
import random
import warnings
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image

import unclip
from unclip.bulk.scores import Judge
from unclip.emoji.detector import Detector
from unclip.emoji.judges import bundled_detector

OWN = {"owl": "brown", "tree": "green", "car": "red", "house": "", "star": "yellow", "apple": "red",
       "fox": "orange", "rocket": ""}  # fmt: skip
"""Nouns, and the colours of their drawings, which are not asked for: a judge names tints alone."""
COLOURS = ("red", "green", "blue", "purple", "orange")
Asked = tuple[tuple[str, str], ...]  # from top to bottom


def prompts(count: int) -> list[tuple[str, Asked]]:
    """As many, and what each asks for; always the same ones."""
    pairs = itertools.product(itertools.permutations(OWN, 2), COLOURS, COLOURS)
    every = [
        ((first, upper), (second, lower))
        for (first, second), upper, lower in pairs
        if OWN[first] != upper and OWN[second] != lower
    ]
    return [
        (" above ".join(f"{'an' if c == 'orange' else 'a'} {c} {noun}" for noun, c in asked), asked)
        for asked in random.Random(0).sample(every, count)
    ]


def is_right(judge: Detector, picture: Image.Image, asked: Asked) -> bool:
    """As the detector sees it."""
    (seen,) = judge.look(np.asarray(picture)[None])
    things = sorted(seen.things, key=lambda thing: thing.centre[1])
    return [(one.noun, one.tint) for one in things] == list(asked)


def drawn(pipe: unclip.Pipeline, clip: Judge, prompt: str, seed: int) -> dict[str, Image.Image]:
    """One picture of each way, all of them from the same seeds."""

    def best(pictures: Sequence[Image.Image]) -> Image.Image:
        return pictures[int(np.argmax(clip.scores(pictures, [prompt] * len(pictures))))]

    pool = pipe.generate(prompt, n=12, seed=seed)
    made = {"one picture": pool[0]}
    made |= {f"best of {count}": best(pool[:count]) for count in (4, 12)}
    again = made["best of 4"]
    for turn in (1, 2):
        more = pipe.image_to_image(again, prompt, strength=0.7, n=4, seed=seed + 100 * turn)
        again = best([again, *more])
    made["best of 4, twice 4 more from the best"] = again
    for scale in (50.0, 300.0, 1800.0, 10800.0):
        (one,) = pipe.generate(prompt, seed=seed, clip_guidance_scale=scale)
        made[f"CLIP guidance {scale:g}"] = one
    return made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure CLIP's feedback.")
    parser.add_argument("--prompts", type=int, default=60)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    pipe = unclip.load(device="cpu", dtype="float32")
    clip, judge = Judge(pipe), bundled_detector()
    cosines: dict[str, list[float]] = defaultdict(list)
    right: dict[str, list[bool]] = defaultdict(list)
    for number, (prompt, wanted) in enumerate(prompts(asked.prompts)):
        for way, picture in drawn(pipe, clip, prompt, 1000 * number).items():
            cosines[way] += clip.scores([picture], [prompt])
            right[way].append(is_right(judge, picture, wanted))
    print("| way | CLIP's cosine | right |\n|---|---:|---:|")
    for way, fits in cosines.items():
        print(f"| {way} | {np.mean(fits):.3f} | {sum(right[way])} of {len(fits)} |")


if __name__ == "__main__":
    main()
