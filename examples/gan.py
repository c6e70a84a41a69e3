"""The GAN that articles take DALL·E 2 for, with the three dots filled in: on coloured shapes.

    python examples/gan.py

Text -> CLIP's z_t -> a prior's z_i -> the generator's picture in one step, which a discriminator
judges and CLIP compares with the text. `gan.webp` has curves and pictures. docs/gan.md says what
it reaches, docs/evening/not-a-gan.md what DALL·E 2 does instead.
"""

import argparse
import copy
from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from unclip.data.shapes import COLOURS, SHAPES, Shapes, ShapesConfig, recognised
from unclip.media import from_uint8, to_pictures
from unclip.media.grid import make_grid
from unclip.nn.clip import Clip, ClipConfig
from unclip.nn.critic import Critic
from unclip.nn.dit import DiT, DiTConfig
from unclip.nn.tokenizer import Tokenizer
from unclip.pages.raster import png
from unclip.pages.report import Curve, Line
from unclip.train.critics import constant, pairwise

SIDE, BATCH, DIM, SEEDS = 16, 64, 32, 8
TEXT = {"width": 32, "depth": 1, "heads": 2, "vocab_size": 320, "context": 8}
VISION = {"width": 32, "depth": 1, "heads": 2, "image_size": SIDE, "patch_size": 4}
DIT = {"patch_size": 4, "width": 64, "depth": 3, "heads": 4}
PROMPTS = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]

data = Shapes(ShapesConfig(), (SIDE, SIDE))
tokenizer = Tokenizer.train(data.captions(500), vocab_size=320, context=8)


def batches(size: int, count: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pictures (B, 3, H, W) in [-1, 1], tokens and mask (B, N) of their captions; all are new."""
    for start in range(first, first + size * count, size):
        samples = [data.sample(start + number) for number in range(size)]
        pixels = torch.from_numpy(np.stack([one["image"] for one in samples]))
        captions = [one["caption"] for one in samples]
        yield from_uint8(pixels.permute(0, 3, 1, 2)), *tokenizer.encode(captions)


def train_clip(steps: int) -> Clip:
    """CLIP comes first: it learns which picture and which caption belong together."""
    clip = ClipConfig.parse({"embed_dim": DIM, "vision": VISION, "text": TEXT}).build()
    optimizer = torch.optim.AdamW(clip.parameters(), 3e-3)
    for image, tokens, mask in batches(64, steps):
        cosines = clip.encode_image(image) @ clip.encode_text(tokens, mask)[0].T  # (B, B)
        scores = clip.log_scale.exp() * cosines
        own = (tokens[:, None] == tokens).all(-1).float()  # many pictures have one caption
        own = own / own.sum(1, keepdim=True)
        optimizer.zero_grad()
        (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)).backward()
        optimizer.step()
    return clip.eval().requires_grad_(False)


class Prior:
    """z_t -> z_i: least squares, and a Gaussian for what a text leaves open, such as the place."""

    @torch.no_grad()
    def __init__(self, clip: Clip) -> None:
        image, tokens, mask = next(batches(2048, 1, first=10**6))
        z_t, z_i = (
            F.pad(clip.encode_text(tokens, mask)[0], (0, 1), value=1),
            clip.encode_image(image),
        )
        self.map = torch.linalg.lstsq(z_t, z_i).solution  # (D + 1, D)
        rest = (z_i - z_t @ self.map).T.cov()
        self.spread = torch.linalg.cholesky(rest + 1e-6 * torch.eye(DIM))

    def __call__(self, z_t: Tensor) -> Tensor:
        mean = F.pad(z_t, (0, 1), value=1) @ self.map
        return F.normalize(mean + torch.randn_like(z_t) @ self.spread.T, dim=1)


def draw(generator: DiT, z_i: Tensor) -> Tensor:
    """The generator: noise and z_i -> pictures, in one step; a decoder takes many.

    The noise is three numbers a picture. From noise of its own for every pixel, as diffusion begins
    with, the seeds collapse.
    """
    noise = torch.randn(len(z_i), 3, 1, 1).expand(-1, -1, SIDE, SIDE)
    t = torch.full((len(z_i),), 999.0)
    return torch.tanh(generator(noise, t, generator.encode({"image_embed": z_i})))


def train_gan(clip: Clip, steps: int) -> tuple[DiT, Tensor]:
    """The loop. Returns the averaged generator, and (steps, 3) its loss, the critic's, CLIP's."""
    generator = DiTConfig.parse({"image_size": SIDE, "embed_dim": DIM, **DIT}).build()
    critic = Critic([], condition=2 * DIM, width=32, whole=True)  # the discriminator
    average, log = copy.deepcopy(generator), []
    both = chain(generator.parameters(), critic.parameters())
    optimizer = torch.optim.Adam(both, 1e-3, betas=(0.0, 0.99))
    plan = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min(1.0, 3 - 3 * n / steps))
    for step, (image, tokens, mask) in enumerate(batches(BATCH, steps)):
        z_t, z_i = clip.encode_text(tokens, mask)[0], clip.encode_image(image)
        asked = torch.cat([z_i, z_t], dim=1)
        drawn = draw(generator, z_i)
        seen = drawn.detach()
        real, fake = critic(image, [], asked), critic(seen, [], asked)
        # each drawn picture against a true one of the same prompt (arXiv 2501.05441, eq. 2)
        of_critic = pairwise(real, fake, F.softplus)
        # a true picture beside another's caption is wrong too, or the text could be overlooked
        of_critic = of_critic + pairwise(real, critic(image, [], asked.roll(1, 0)), F.softplus)
        if step % 4 == 0:  # the critic may not change with a little noise: it would win, and teach
            noise = 0.1 * torch.randn_like(image)  # nothing (eq. 3 and 4, as differences)
            for one, said in ((image, real), (seen, fake)):
                moved = critic(one + noise, [], asked)
                of_critic = of_critic + 4 * 3 * pairwise(moved, said, torch.square)
        with constant(critic):  # the generator's gradient goes through the critic, not into it
            said = critic(drawn, [], asked)
        of_generator = pairwise(said, [one.detach() for one in real], F.softplus)
        sees = clip.encode_image(drawn)  # the feedback: of the text, and of the z_i drawn from,
        feedback = 1 - F.cosine_similarity(sees, z_t)  # which knows place and size as well
        own = 1 - F.cosine_similarity(sees, z_i)
        optimizer.zero_grad()
        (of_generator + 0.5 * (feedback + own) + of_critic).mean().backward()
        optimizer.step()
        plan.step()
        for mean, now in zip(average.parameters(), generator.parameters(), strict=True):
            mean.data.lerp_(now.data, max(0.01, 10 / (step + 10)))
        log.append(
            torch.stack([one.detach().mean() for one in (of_generator, of_critic, feedback)])
        )
    return average, torch.stack(log)


@torch.no_grad()
def show(generator: DiT, clip: Clip, prior: Prior, log: Tensor) -> Image.Image:
    """Curves, and pictures of every prompt. Prints how many show what was asked."""
    prompts = [prompt for prompt in PROMPTS for _ in range(SEEDS)]
    tokens, mask = tokenizer.encode(prompts)
    image = draw(generator, prior(clip.encode_text(tokens, mask)[0]))
    pictures = to_pictures(image)
    seen = [recognised(np.asarray(picture))[:2] for picture in pictures]
    right = np.array(seen) == [prompt.split()[1:] for prompt in prompts]  # (B, 2)
    spread = image.unflatten(0, (-1, SEEDS)).std(1).mean()
    colour, shape = right.mean(0)
    print(f"right colour {colour:.0%}, shape {shape:.0%}, both {right.all(1).mean():.0%}")
    print(f"deviation over seeds {spread:.2f}")
    means = [part.mean(0).tolist() for part in log.split(max(1, len(log) // 60))]
    names = ("generator", "critic", "1 - CLIP's cosine")
    lines = [
        Line(name, tuple(enumerate(each)))
        for name, each in zip(names, zip(*means, strict=True), strict=True)
    ]
    curves = png(Curve("A sixtieth of the steps each", "time", "loss", tuple(lines)))
    cells = [one.resize((80, 80), Image.Resampling.NEAREST) for one in pictures]
    grid = make_grid(cells, columns=2 * SEEDS)
    sheet = Image.new("RGB", (max(curves.width, grid.width), curves.height + grid.height), "white")
    sheet.paste(curves, (0, 0))
    sheet.paste(grid, (0, curves.height))
    return sheet


def main() -> None:
    """Train CLIP, its prior, generator and critic; write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1400, help="of generator and critic")
    parser.add_argument("--clip-steps", type=int, default=500, help="of CLIP, before")
    parser.add_argument("--out", default="gan.webp", help="the sheet")
    given = parser.parse_args()
    torch.manual_seed(0)
    clip = train_clip(given.clip_steps)
    prior = Prior(clip)
    generator, log = train_gan(clip, given.steps)
    show(generator, clip, prior, log).save(given.out)


if __name__ == "__main__":
    main()
