"""One side of `benchmarks/learning.py`, run in the environment of the measured implementation.

Reads one line of JSON, trains for as long as it says, and answers one line of JSON at each mark:
how long and how many steps it has trained, and the PSNR of pictures that it restores. What it draws
it writes into a file. Imports this project only to measure it.
"""

from __future__ import annotations

import json
import math
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _peer
import numpy as np
import torch
from torch import Tensor

STEPS, GUIDANCE = 20, 2.0
"""Of drawing, for both sides: DDIM without noise."""

Batches = Callable[[int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Side:
    """What an implementation does.

    Args:
        step: trains once.
        restore: (B, 3, S, S) at timestep t, t and z_i (B, D) -> x0 in [-1, 1], by the averages.
        draw: z_i (B, D) -> (B, 3, S, S) in [-1, 1].
        parameters: of its network.
        planned: seconds that it took to find out how many steps there will be; they count, too.
    """

    step: Callable[[], Any]
    restore: Callable[[Tensor, int, Tensor], Tensor]
    draw: Callable[[Tensor], Tensor]
    parameters: int
    planned: float = 0.0


def theirs(given: dict[str, Any], data: dict[str, Tensor], batches: Batches) -> Side:
    """DALLE2-pytorch, as its README trains a decoder, with `dim` as given."""
    from dalle2_pytorch.trainer import DecoderTrainer

    peer = _peer._quiet_peer()
    torch.manual_seed(given["seed"])
    unet = peer.Unet(
        dim=given["dim"],
        image_embed_dim=data["embeds"].shape[1],
        cond_dim=128,
        dim_mults=(1, 2, 4, 8),
    )
    size = data["images"].shape[1]
    decoder = peer.Decoder(
        unet=(unet,), image_sizes=(size,), timesteps=1000, sample_timesteps=STEPS
    )
    averaging = {"ema_beta": 0.99, "ema_update_after_step": 1000, "ema_update_every": 10}
    trainer = DecoderTrainer(decoder, lr=3e-4, wd=1e-2, **averaging).train()
    noise = decoder.noise_schedulers[0]
    assert torch.allclose(noise.sqrt_alphas_cumprod[data["times"]], data["alphas"], atol=1e-5)

    def step() -> None:
        images, embeds = batches(32)
        trainer(images.permute(0, 3, 1, 2).float() / 255, unet_number=1, image_embed=embeds)
        trainer.update(1)

    @torch.no_grad()
    def restore(x: Tensor, t: int, embeds: Tensor) -> Tensor:
        times = torch.full((len(x),), t)
        eps = trainer.unets[0].eval()(x, times, image_embed=embeds).chunk(2, dim=1)[0]
        return noise.predict_start_from_noise(x, times, eps).clamp(-1, 1)

    def draw(embeds: Tensor) -> Tensor:
        return trainer.sample(image_embed=embeds, cond_scale=GUIDANCE) * 2 - 1

    return Side(step, restore, draw, sum(one.numel() for one in decoder.parameters()))


class _Rows:
    """A loader that takes batches out of memory."""

    world = 1

    def __init__(self, batches: Batches, size: int) -> None:
        self.batches, self.batch_size, self.first = batches, size, -size

    def __next__(self) -> dict[str, Tensor]:
        self.first += self.batch_size
        return dict(zip(("image", "image_embed"), self.batches(self.batch_size), strict=True))

    def resize(self, batch_size: int) -> None:
        """Batches are of that size from now on."""
        self.batch_size = batch_size

    def state_dict(self) -> dict[str, Any]:
        """Nothing goes on from here."""
        return {}


def ours(given: dict[str, Any], data: dict[str, Tensor], batches: Batches) -> Side:
    """A decoder of the recipe `folder-scratch`, in the picture's size and without the text.

    Its learning rate falls at the end, so it has to know how many steps there will be: it times
    some first, as `--budget` does.
    """
    from unclip.rng import Rng
    from unclip.stages.decoder import Decoder, DecoderConfig
    from unclip.train.config import TrainConfig
    from unclip.train.measuring import seconds_per_step
    from unclip.types import Cond, Level

    recipe = tomllib.loads(Path(given["recipe"]).read_text(encoding="utf-8"))["stages"]["decoder"]
    settings = TrainConfig.parse({**recipe.pop("train"), "precision": "float32"})
    network = recipe["network"] | {
        "image_size": data["images"].shape[1],
        "embed_dim": data["embeds"].shape[1],
        **given["network"],
    }
    for name in ("text", "text_of_clip", "inpaint", "align_dim"):
        network.pop(name, None)
    config = DecoderConfig.parse({**recipe, "predicted_share": 0.0, "network": network})

    def trainer(settings: TrainConfig) -> Any:
        torch.manual_seed(given["seed"])
        loader = _Rows(batches, settings.batch_size)
        return _peer._trainer(Decoder(config), loader, settings, given["seed"])

    started = time.perf_counter()
    pace = seconds_per_step(trainer(settings), settings.batch_size, given["marks"][-1] / 60)
    planned = time.perf_counter() - started
    steps = max(1, int((given["marks"][-1] - planned) / pace))
    made = trainer(settings.model_copy(update={"steps": steps}))

    def restore(x: Tensor, t: int, embeds: Tensor) -> Tensor:
        stage, alpha = made.averaged(), data["alphas"][data["times"] == t][0]
        level = Level(torch.tensor(float(t)), alpha, (1 - alpha**2).sqrt())
        with torch.no_grad():
            net = stage.bind(Cond(image_embed=embeds))
            return config.parameterization.denoiser(net)(x, level).x0.clamp(-1, 1)

    def draw(embeds: Tensor) -> Tensor:
        sampling = {"sampler": "ddim", "steps": STEPS, "guidance_scale": GUIDANCE}
        rng = Rng(range(len(embeds)))
        return made.averaged().sample_data(Cond(image_embed=embeds), rng, sampling)

    def step() -> None:
        if made.step == steps:
            raise StopIteration
        made.advance()

    parameters = sum(one.numel() for one in made.net.parameters())
    return Side(step, restore, draw, parameters, planned)


def shuffled(data: dict[str, Tensor], seed: int) -> Batches:
    """Batches of pictures (B, S, S, 3) and z_i (B, D), all of them in each epoch."""
    random = torch.Generator().manual_seed(seed)
    count = len(data["images"])
    waiting = torch.empty(0, dtype=torch.long)

    def batch(size: int) -> tuple[Tensor, Tensor]:
        nonlocal waiting
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(count, generator=random)])
        chosen, waiting = waiting[:size], waiting[size:]
        return data["images"][chosen], data["embeds"][chosen]

    return batch


def psnr(side: Side, data: dict[str, Tensor]) -> float:
    """Of held-out pictures restored from fixed noise, in dB: the mean over the noise levels.

    As a mean of logarithms it says the same of x0, eps and v: at a level their errors differ by a
    factor that both sides have.
    """
    levels = []
    for t, noisy in zip(data["times"].tolist(), data["noisy"], strict=True):
        restored = side.restore(noisy, t, data["held_embeds"])
        error = ((restored - data["held"]) / 2).square().mean()
        levels.append(-10 * math.log10(float(error)))
    return sum(levels) / len(levels)


def main() -> None:
    """Train, and measure at each mark; only training counts."""
    answer, sys.stdout = sys.stdout, sys.stderr  # libraries print, too
    given = json.loads(sys.stdin.readline())
    torch.set_num_threads(given["threads"])
    data = {key: torch.from_numpy(value) for key, value in np.load(given["data"]).items()}
    batches = shuffled(data, given["seed"])
    side = {"ours": ours, "theirs": theirs}[given["side"]](given, data, batches)
    trained, steps, over = side.planned, 0, False
    for number, mark in enumerate(given["marks"]):
        while trained < mark and not over:
            started = time.perf_counter()
            try:
                side.step()
                steps += 1
            except StopIteration:
                over = True
            trained += time.perf_counter() - started
        drawn = f"{given['out']}/{given['side']}-{number}.npy"
        np.save(drawn, side.draw(data["draw_embeds"]).clamp(-1, 1).numpy())
        said = {"seconds": trained, "steps": steps, "psnr": psnr(side, data), "drawn": drawn}
        print(json.dumps({**said, "parameters": side.parameters}), file=answer, flush=True)


if __name__ == "__main__":
    main()
