"""How well `unclip train folder` learns pictures of one's own, told by a CLIP that never saw them.

    npm install --prefix assets @iconify-json/fluent-emoji-flat@1.2.6
    python benchmarks/own_pictures.py --budget 10m

It draws 300 captioned pictures of 20 objects that the bundled model does not know
(examples/own_pictures.py), fine-tunes on them by the command of the README, and trains a judge, a
small CLIP from nothing, on pictures of other seeds. Then it draws 20 captions that were held out,
with the bundled model and with the tuned one: how often does the judge rank a picture's own caption
first of ten? The nine others are held out too. A stricter figure has nine captions that differ in
one word. Real pictures of the same captions say how far the judge is to be trusted.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import unclip
from unclip.media import fit_image, read_image
from unclip.media.grid import make_grid
from unclip.rng import Rng
from unclip.types import Cond

ROOT = Path(__file__).parents[1]
CAPTIONS, AMONG = 20, 10
FORM = re.compile(r"(?:an? )?(\w+) (\w+) on a (\w+) background")

JUDGE = """
name = "judge"
prompts = ["a red anchor on a yellow background"]
data = { source = "folder", path = "PATH" }
tokenizer = { vocab_size = 512, context = 24 }
[stages.clip.network]
embed_dim = 128
vision = { width = 128, depth = 4, heads = 2, image_size = 64, patch_size = 8 }
text = { width = 64, depth = 2, heads = 1, vocab_size = 512, context = 24 }
[stages.clip.train]
steps = STEPS
batch_size = 96
optimizer = "muon"
learning_rate = 2e-3
warmup = 10
decay = 0.6
ema = 0.97
log_every = 10
preview_minutes = 1000
"""


def main() -> None:
    """Draw, train, judge."""
    given = arguments()
    mine, judges = given.work / "photos", given.work / "judge-photos"
    draw(mine, given, pictures=300, held_out=60, seed=given.seed)
    draw(judges, given, pictures=1200, held_out=0, seed=given.seed + 1000)
    judge = Judge(trained_judge(given, judges / "train"))
    rows = list(csv.DictReader((mine / "held-out" / "metadata.csv").open(encoding="utf-8")))
    captions = [row["text"] for row in rows]
    asked = captions[:CAPTIONS]
    real = [read_image(mine / "held-out" / row["file_name"], (256, 256)) for row in rows]
    tell("real pictures", judge, real[:CAPTIONS], captions)
    drawn = {"untuned": pictures("emoji-cpu", asked)}
    tell("untuned", judge, drawn["untuned"], captions)
    if not given.model:
        train = ["train", "folder", "--data", str(mine / "train"), "--budget", given.budget]
        command(*train, "--resume", "--out", str(given.work / "run"))
    drawn["tuned"] = pictures(str(given.model or given.work / "run" / "model"), asked)
    tell("tuned", judge, drawn["tuned"], captions)
    both = zip(real, drawn["untuned"], drawn["tuned"], strict=False)
    cells = [make_grid([one.resize((192, 192)) for one in row], columns=3) for row in both]
    make_grid(cells, columns=2, labels=asked).save(given.work / "grid.png")
    print(f"{given.work / 'grid.png'}: held-out picture, untuned, tuned")


def arguments() -> argparse.Namespace:
    """Those of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="10m", help="of the fine-tuning")
    parser.add_argument("--model", type=Path, help="judge this model and train none")
    parser.add_argument("--judge-steps", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/own_pictures"))
    parser.add_argument("--assets", type=Path, default=Path("assets/node_modules"))
    return parser.parse_args()


def draw(out: Path, given: argparse.Namespace, **settings: int) -> None:
    """Pictures by the example's script, once."""
    if not out.is_dir():
        options = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
        script = [str(ROOT / "examples" / "own_pictures.py"), str(out), f"--assets={given.assets}"]
        subprocess.run([sys.executable, *script, *options], check=True)


def command(*words: str) -> None:
    """Run `unclip`."""
    subprocess.run([sys.executable, "-m", "unclip", *words], check=True)


def trained_judge(given: argparse.Namespace, photos: Path) -> Path:
    """A CLIP's model folder, trained once."""
    recipe, out = given.work / "judge.toml", given.work / "judge"
    recipe.write_text(JUDGE.replace("PATH", str(photos)).replace("STEPS", str(given.judge_steps)))
    command("train", str(recipe), "--resume", "--out", str(out))
    return out / "model"


class Judge:
    """Ranks captions of a picture by a CLIP."""

    def __init__(self, model: Path) -> None:
        found = unclip.load(str(model)).model
        self.clip, self.tokenizer = found.stages["clip"], found.tokenizer

    def scores(self, shown: Sequence[Image.Image], captions: Sequence[str]) -> np.ndarray:
        """(pictures, captions) cosines."""
        arrays = [np.asarray(fit_image(one.convert("RGB"), (64, 64))) for one in shown]
        image = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1
        tokens, mask = self.tokenizer.encode(list(captions))
        with torch.inference_mode():
            read = self.clip.sample(Cond(text_tokens=tokens, text_mask=mask), Rng(captions))
        return (self.clip.embed_images(image) @ read.text_embed.T).numpy()


def tell(name: str, judge: Judge, shown: Sequence[Image.Image], captions: Sequence[str]) -> None:
    """Print how often a picture's own caption is first: of held-out ones, and of near ones."""
    scores, hits, strict = judge.scores(shown, captions), [], []
    rng = np.random.default_rng(0)
    for place in range(len(shown)):
        others = [n for n, text in enumerate(captions) if text != captions[place]]
        chosen = rng.choice(others, AMONG - 1, replace=False)
        hits.append(scores[place, place] > scores[place, chosen].max())
        texts = [captions[place], *near(captions[place], captions, rng)]
        strict.append(judge.scores([shown[place]], texts)[0].argmax() == 0)
    print(
        f"{name}: own caption first of {AMONG} in {np.mean(hits):.0%}, "
        f"of {AMONG} that differ in one word in {np.mean(strict):.0%} of {len(shown)}",
        flush=True,
    )


def near(caption: str, captions: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Nine captions with another tint, another object or another background."""
    every = [found.groups() for found in map(FORM.match, captions) if found]
    own, found = FORM.match(caption).groups(), dict[str, None]()
    while len(found) < AMONG - 1:
        words, place = list(own), rng.integers(len(own))
        words[place] = every[rng.integers(len(every))][place]
        tint, noun, ground = words
        article = "" if noun == "scissors" else "an " if tint == "orange" else "a "
        if tuple(words) != own:
            found[f"{article}{tint} {noun} on a {ground} background"] = None
    return list(found)


def pictures(model: str, captions: Sequence[str]) -> list[Image.Image]:
    """One picture of each caption, by the model's own settings."""
    pipe = unclip.load(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of words that the untuned model does not know
        drawn = [pipe.generate(caption, seed=0)[0] for caption in captions]
    return [one.resize((256, 256)) for one in drawn]


if __name__ == "__main__":
    main()
