"""A Transformer from text to pixels, as articles sketch it, and what it lacks: noise to start from.

    python examples/transformer_toy.py

Both networks see the same small pictures ("a red circle" somewhere on white) for the same time.
The article's (an embedding, `nn.Transformer`, a linear layer to pixels, squared error) learns the
mean of all pictures of a text: a blur. The denoiser is a Transformer too, and draws one of them.
Takes about half a minute on one core; docs/transformer.md explains what comes out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from unclip.data.shapes import COLOURS, SHAPES, Shapes, ShapesConfig
from unclip.nn.critic import laplacian
from unclip.rng import BatchRng, Rng
from unclip.stages.decoder import Decoder, DecoderConfig
from unclip.train.config import TrainConfig
from unclip.train.optim import make_optimizers
from unclip.types import Cond

SIDE, PICTURES, BATCH, RATE = 16, 6000, 32, 6e-3
WORDS = {word: number for number, word in enumerate(("a", *COLOURS, *SHAPES))}
SHOWN = ("a red circle", "a green square", "a blue triangle", "a yellow square", "a black circle")


class Toy(nn.Module):
    """What the article has: words in, all pixels out, in one go."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(WORDS), width)
        self.transformer = nn.Transformer(width, 4, 2, 2, 2 * width, 0.0, batch_first=True)
        self.pixels = nn.Linear(width, 3 * SIDE * SIDE)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 3) words -> (B, 3, SIDE, SIDE)."""
        words = self.embed(tokens)
        seen = self.transformer(words, words).mean(1)  # (B, width)
        out: Tensor = self.pixels(seen).view(-1, 3, SIDE, SIDE)
        return out


def denoiser() -> Decoder:
    """A Transformer too, which predicts the picture in a noisy one: the package's decoder."""
    text = {"width": 64, "depth": 1, "heads": 2, "vocab_size": len(WORDS), "context": 3}
    sizes = {"image_size": SIDE, "patch_size": 4, "width": 96, "depth": 3, "heads": 3}
    settings = {
        "network": {"kind": "dit", **sizes, "text": text},
        "parameterization": {"kind": "x0"},
        "objective": {"flow": {}},
        "sampling": {"sampler": "ddim", "steps": 20, "guidance_scale": 2.0, "threshold": "clamp"},
        "drop_text": 0.1,
    }
    return Decoder(DecoderConfig.parse(settings))


def words_of(captions: Sequence[str]) -> Tensor:
    """(B, 3) numbers of words."""
    return torch.tensor([[WORDS[word] for word in one.split()] for one in captions])


def pictures_and_captions(count: int) -> tuple[Tensor, list[str]]:
    """(count, 3, SIDE, SIDE) in [-1, 1], and what they show."""
    source = Shapes(ShapesConfig(), (SIDE, SIDE))
    samples = [source.sample(number) for number in range(count)]
    pixels = np.stack([one["image"] for one in samples])
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pictures, [one["caption"] for one in samples]


def train(net: nn.Module, seconds: float, count: int, loss: Callable[[Tensor, int], Tensor]) -> int:
    """Muon for so long, its rate falling to 0; `loss` is of some pictures' numbers and the step."""
    optimizers = make_optimizers(net, TrainConfig(optimizer="muon", precision="float32"))
    order, start, step = torch.Generator().manual_seed(0), time.process_time(), 0
    while (left := 1 - (time.process_time() - start) / seconds) > 0:
        some = torch.randint(count, (BATCH,), generator=order)
        net.zero_grad()
        loss(some, step).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(left, (step + 1) / 20)
            optimizer.step()
        step += 1
    return step


class Findings(NamedTuple):
    """What came out, over the texts of SHOWN: squared distances of pixels, and edges."""

    true_to_mean: float  # of true pictures to the mean of all that have their text
    toy_to_mean: float
    drawn_to_mean: float
    toy_edges: float  # energy of the Laplacian, that of true pictures being 1
    drawn_edges: float
    spread: float  # deviation between seeds, that between true pictures being 1


def find(true: Sequence[Tensor], toy: Tensor, drawn: Tensor) -> Findings:
    """Compare.

    Args:
        true: (K, 3, SIDE, SIDE) all pictures of each text.
        toy: (texts, 3, SIDE, SIDE) what the article's network says.
        drawn: (texts, seeds, 3, SIDE, SIDE) what the denoiser draws.
    """
    means = torch.stack([one.mean(0) for one in true])

    def mean(values: Sequence[Tensor]) -> float:
        return float(torch.stack(list(values)).mean())

    def edges(pictures: Tensor) -> Tensor:
        return laplacian(pictures).pow(2).mean()

    of_true = mean([edges(one) for one in true])
    return Findings(
        mean([(one - one.mean(0)).pow(2).mean() for one in true]),
        float((toy - means).pow(2).mean()),
        float((drawn - means[:, None]).pow(2).mean()),
        float(edges(toy)) / of_true,
        float(edges(drawn.flatten(0, 1))) / of_true,
        mean([one.std(0).mean() for one in drawn]) / mean([one.std(0).mean() for one in true]),
    )


def sheet(rows: Sequence[tuple[str, Tensor]], enlarge: int = 5) -> Image.Image:
    """Rows of pictures (B, 3, SIDE, SIDE), each under its name."""
    side, gap, head = enlarge * SIDE, 6, 18
    columns = max(len(pictures) for _, pictures in rows)
    size = (gap + columns * (side + gap), len(rows) * (head + side + gap))
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    for place, (name, pictures) in enumerate(rows):
        top = place * (head + side + gap)
        pen.text((gap, top + 4), name, "black")
        pixels = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        for column, one in enumerate(pixels):
            big = Image.fromarray(one).resize((side, side), Image.Resampling.NEAREST)
            canvas.paste(big, (gap + column * (side + gap), top + head))
            left, bottom = gap + column * (side + gap), top + head
            pen.rectangle((left - 1, bottom - 1, left + side, bottom + side), outline="#cccccc")
    return canvas


def main(arguments: Sequence[str] | None = None) -> Findings:
    """Train both, draw with both, say what is to be seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seconds", type=float, default=15.0, help="of a core, for each network")
    parser.add_argument("--out", type=Path, default=Path("transformer_toy.webp"))
    asked = parser.parse_args(arguments)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    pictures, captions = pictures_and_captions(PICTURES)
    tokens = words_of(captions)

    toy = Toy()
    steps = train(
        toy,
        asked.seconds,
        PICTURES,
        lambda some, _: (toy(tokens[some]) - pictures[some]).pow(2).mean(),
    )
    print(f"article's Transformer: {steps} steps of {BATCH}")

    stage = denoiser().train()
    mask = torch.ones_like(tokens, dtype=torch.bool)

    def denoising(some: Tensor, step: int) -> Tensor:
        cond = Cond(text_tokens=tokens[some], text_mask=mask[some], image=pictures[some])
        return stage.loss(cond, BatchRng(step, len(some)))[0].mean()

    print(f"denoiser: {train(stage.net, asked.seconds, PICTURES, denoising)} steps of {BATCH}")
    stage.eval()

    shown, seeds = words_of(SHOWN), 4
    each = shown.repeat_interleave(seeds, 0)  # text by text
    cond = Cond(text_tokens=each, text_mask=torch.ones_like(each, dtype=torch.bool))
    image = stage.sample(cond, Rng(range(len(each)))).image
    assert image is not None
    drawn = image.unflatten(0, (len(SHOWN), seeds))
    true = [pictures[torch.tensor([one == text for one in captions])] for text in SHOWN]
    with torch.no_grad():
        said = toy.eval()(shown)
    found = find(true, said, drawn)
    report(found)
    sheet([
        ("true pictures of five texts", torch.stack([one[0] for one in true])),
        ("the mean of all true pictures of each text", torch.stack([one.mean(0) for one in true])),
        ("the article's Transformer", said),
        ("the denoiser", drawn[:, 0]),
        ("the denoiser, another seed", drawn[:, 1]),
    ]).save(asked.out, lossless=True)  # fmt: skip
    print(f"saved {asked.out}")
    return found


def report(found: Findings) -> None:
    """In words."""
    print(
        f"squared distance to the mean of all pictures of a text: true pictures "
        f"{found.true_to_mean:.3f}, the article's {found.toy_to_mean:.3f}, the denoiser's "
        f"{found.drawn_to_mean:.3f}: the article's network learns the mean, which is no picture\n"
        f"edges, true pictures 1: the article's {found.toy_edges:.2f}, the denoiser's "
        f"{found.drawn_edges:.2f}\n"
        f"difference between seeds, true pictures 1: the article's 0 (it has none), the "
        f"denoiser's {found.spread:.2f}"
    )


if __name__ == "__main__":
    main()
