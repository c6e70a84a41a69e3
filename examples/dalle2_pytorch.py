"""A script for DALLE2-pytorch in miniature: only its import is another.

    python examples/dalle2_pytorch.py

It trains a CLIP, a prior and a decoder on coloured shapes of 16 pixels, writes their weights and
reads them again, and draws four captions, a row each, into dalle2_pytorch.png. What is
learnt in a minute or two on a CPU is colours and a place; more --steps make shapes of it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from unclip.compat.dalle2_pytorch import (
    CLIP,
    DALLE2,
    Decoder,
    DiffusionPrior,
    DiffusionPriorNetwork,
    Unet,
    load,
)
from unclip.compat.dalle2_pytorch.tokenizer import tokenizer

SIDE, BATCH = 16, 32
COLOURS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.7, 0.2), "blue": (0.1, 0.3, 0.9)}
SHAPES = ("circle", "square")
WORDS = list(product(COLOURS, SHAPES))
DRAWN = ["a red circle", "a blue circle", "a green square", "a red square"]


def picture(colour: str, shape: str) -> Tensor:
    """(3, SIDE, SIDE) in [0, 1]: the shape on white, somewhere near the middle."""
    middle = SIDE / 2 - 0.5 + 4 * torch.rand(2, 1, 1) - 2
    place = torch.stack(torch.meshgrid(*[torch.arange(SIDE)] * 2, indexing="ij")) - middle
    far = place.norm(dim=0) if shape == "circle" else place.abs().amax(0)
    inside = (5.0 - far).clamp(0, 1)
    return 1 - inside * (1 - torch.tensor(COLOURS[colour]).view(3, 1, 1))


def batch(tokens: dict[tuple[str, str], Tensor]) -> tuple[Tensor, Tensor]:
    """Captions (BATCH, N) and pictures (BATCH, 3, SIDE, SIDE)."""
    chosen = [WORDS[int(i)] for i in torch.randint(len(WORDS), (BATCH,))]
    return torch.stack([tokens[one] for one in chosen]), torch.stack([picture(*o) for o in chosen])


def train(name: str, model: nn.Module, loss_of: Callable[[], Tensor], steps: int) -> None:
    """As many steps of Adam."""
    learnt = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(learnt, lr=2e-3)
    for step in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        if step % max(1, steps // 5) == 0 or step == steps - 1:
            print(f"{name} {step + 1}/{steps}: loss {loss.item():.3f}")


def unet_loss(decoder: Decoder, tokens: dict[tuple[str, str], Tensor], number: int) -> Tensor:
    """Of one U-Net."""
    _, images = batch(tokens)
    loss: Tensor = decoder(images, unet_number=number)
    return loss


def make_clip() -> CLIP:
    """As wide as it needs to be for three colours."""
    return CLIP(
        dim_text=32,
        dim_image=32,
        dim_latent=32,
        num_text_tokens=49408,
        text_enc_depth=1,
        text_seq_len=4,
        text_heads=1,
        visual_enc_depth=1,
        visual_image_size=SIDE,
        visual_patch_size=4,
        visual_heads=1,
        extra_latent_projection=True,
    )


def make_prior(clip: CLIP) -> DiffusionPrior:
    """Text to z_i."""
    net = DiffusionPriorNetwork(dim=32, depth=2, dim_head=16, heads=2, max_text_len=4)
    return DiffusionPrior(
        net=net, clip=clip, timesteps=100, sample_timesteps=16, cond_drop_prob=0.1
    )


def make_decoder(clip: CLIP) -> Decoder:
    """z_i to pictures of 8 pixels, and those to pictures of 16."""
    first = Unet(dim=16, image_embed_dim=32, cond_dim=16, channels=3, dim_mults=(1, 2))
    second = Unet(dim=16, image_embed_dim=32, cond_dim=16, channels=3, dim_mults=(1, 2))
    return Decoder(
        unet=(first, second),
        image_sizes=(SIDE // 2, SIDE),
        clip=clip,
        timesteps=100,
        sample_timesteps=(16, 8),
        image_cond_drop_prob=0.1,
        text_cond_drop_prob=0.5,
    )


def sheet(drawn: Tensor, across: int) -> Image.Image:
    """(B, 3, H, W) pictures in [0, 1], `across` in a row, six times as large."""
    rows = [torch.cat(list(row), dim=2) for row in drawn.clamp(0, 1).split(across)]
    pixels = (255 * torch.cat(rows, dim=1)).round().byte().permute(1, 2, 0)
    image = Image.fromarray(pixels.numpy())
    return image.resize((image.width * 6, image.height * 6), Image.Resampling.NEAREST)


def main() -> None:
    """Train, save, load, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of each of the four networks")
    parser.add_argument("--pictures", type=int, default=4, help="of each caption")
    parser.add_argument("--out", type=Path, default=Path("dalle2_pytorch.png"))
    given = parser.parse_args()
    torch.manual_seed(0)
    ids = tokenizer.tokenize([" ".join(("a", *one)) for one in WORDS], context_length=4)
    tokens = dict(zip(WORDS, ids, strict=True))

    clip = make_clip()
    train("clip", clip, lambda: clip(*batch(tokens), return_loss=True), given.steps)
    prior, decoder = make_prior(clip), make_decoder(clip)
    train("prior", prior, lambda: prior(*batch(tokens)), given.steps)
    for number in (1, 2):
        loss = partial(unet_loss, decoder, tokens, number)
        train(f"unet {number}", decoder.get_unet(number), loss, given.steps)

    with tempfile.TemporaryDirectory() as folder:
        torch.save(prior.state_dict(), f"{folder}/prior.pth")
        torch.save(decoder.state_dict(), f"{folder}/decoder.pth")
        clip = make_clip()
        prior, decoder = make_prior(clip), make_decoder(clip)
        prior.load_state_dict(load(f"{folder}/prior.pth"), strict=True)
        decoder.load_state_dict(load(f"{folder}/decoder.pth"), strict=True)

    dalle2 = DALLE2(prior=prior, decoder=decoder)
    images = dalle2([text for text in DRAWN for _ in range(given.pictures)], cond_scale=2.0)
    sheet(images, across=given.pictures).save(given.out)
    print(f"the pictures are in {given.out}, a row for each of {', '.join(DRAWN)}")


if __name__ == "__main__":
    main()
