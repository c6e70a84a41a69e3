"""CLIP as feedback, as articles describe DALL·E 2: text -> picture -> how well it fits -> again.

    python examples/clip_feedback.py
    python examples/clip_feedback.py "a red fox" --model runs/mine/model

Three ways to use what CLIP says, a row each in clip_feedback.webp: keep the best of more and more
pictures; draw again from the best so far; follow CLIP's gradient while drawing, ever harder.
The articles' "An owl sitting on a tree branch" has words that the bundled model has never read, so
it is asked for an owl above a tree. CLIP's word on what CLIP chose is worth little: with the
bundled model a detector says what it sees. docs/examples/clip-feedback.md says what helps.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import unclip
from unclip.bulk.scores import Judge
from unclip.emoji.judges import bundled_detector
from unclip.errors import PromptWarning
from unclip.media.grid import make_grid

PROMPT = "an owl above a tree"
Step = tuple[str, Image.Image]  # what was done, and the picture that was kept


class Feedback:
    """A model, the text, and CLIP's opinion: cos(z_t, z_i)."""

    def __init__(self, pipe: unclip.Pipeline, prompt: str, seed: int) -> None:
        self.pipe, self.prompt, self.seed = pipe, prompt, seed
        self.clip = Judge(pipe)

    def fit(self, picture: Image.Image) -> float:
        """How well CLIP finds that it fits the text."""
        return self.clip.scores([picture], [self.prompt])[0]

    def best_of(self, rounds: int, each: int) -> Iterator[Step]:
        """Draw more, keep the best."""
        kept = self.pipe.generate(self.prompt, seed=self.seed)
        yield "first", kept[0]
        for turn in range(1, rounds):
            seed = self.seed + 1 + (turn - 1) * each
            drawn = self.pipe.generate(self.prompt, n=each, seed=seed)
            kept = [max(kept + drawn, key=self.fit)]
            yield f"best of {1 + turn * each}", kept[0]

    def redrawn(self, rounds: int, each: int) -> Iterator[Step]:
        """Noise the best so far, draw from there, keep the best: the picture goes back in."""
        kept = self.pipe.generate(self.prompt, seed=self.seed)
        yield "first", kept[0]
        for turn in range(1, rounds):
            seed = self.seed + 1000 * turn
            drawn = self.pipe.image_to_image(kept[0], self.prompt, strength=0.7, n=each, seed=seed)
            kept = [max(kept + drawn, key=self.fit)]
            yield f"redrawn {turn} x {each}", kept[0]

    def guided(self, scales: list[float]) -> Iterator[Step]:
        """The first seed, with CLIP's gradient in every step of the decoder."""
        for scale in scales:
            (drawn,) = self.pipe.generate(self.prompt, seed=self.seed, clip_guidance_scale=scale)
            yield f"guidance {scale:g}", drawn


def seen(picture: Image.Image) -> str:
    """What the detector sees, from top to bottom; it has never seen CLIP."""
    (found,) = bundled_detector().look(np.asarray(picture.convert("RGB"))[None])
    things = sorted(found.things, key=lambda thing: thing.centre[1])
    return ", ".join(" ".join(filter(None, (one.tint, one.noun))) for one in things) or "nothing"


def main() -> None:
    """Run all three, print each round, save the strip."""
    parser = argparse.ArgumentParser(description="Draw with CLIP's feedback.")
    parser.add_argument("prompt", nargs="?", default=PROMPT)
    parser.add_argument("--model", help="whatever `unclip.load` opens; default: the bundled one")
    parser.add_argument("--clip", help="a CLIP, for a model that has none")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--each", type=int, default=4, help="pictures a round")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("clip_feedback.webp"))
    asked = parser.parse_args()
    warnings.simplefilter("once", PromptWarning)
    feedback = Feedback(unclip.load(asked.model, clip=asked.clip), asked.prompt, asked.seed)
    pictures, labels = [], []
    for steps in (
        feedback.best_of(asked.rounds, asked.each),
        feedback.redrawn(asked.rounds, asked.each),
        feedback.guided([50.0 * 6**turn for turn in range(asked.rounds)]),
    ):
        for name, picture in steps:
            label = f"{name}: {feedback.fit(picture):.3f}"
            print(label, "" if asked.model else f"the detector sees: {seen(picture)}", flush=True)
            pictures.append(picture)
            labels.append(label)
    make_grid(pictures, asked.rounds, labels).save(asked.out, quality=90)
    print(f"saved {asked.out}")


if __name__ == "__main__":
    main()
