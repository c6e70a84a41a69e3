"""Sample grids of a stage that trains: what it draws, or which pictures it finds for a text."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..checkpoints import native
from ..media import scale_to, to_pictures
from ..media.grid import GAP, make_grid
from ..pipeline import Chain
from ..rng import Rng
from ..stages import Stage
from ..stages.autoencoder import AutoencoderStage
from ..stages.clip import ClipStage
from ..stages.model import NO_PRIOR, Model
from ..types import Cond
from .collate import pictures as from_pixels
from .run import Run

SMALLEST = 192
"""Pixels: a smaller picture is enlarged to it, each of its pixels to a square."""

SAMPLES, FOUND = 64, 4
"""Pictures of the data among which a text's nearest are looked for, and how many are shown."""

_FONT, _HEAD = 16, 26  # pixels


def sheet(run: Run, name: str, averaged: Stage, raw: Stage | None) -> Image.Image | None:
    """What a stage makes of the run's prompts; None where it can show nothing yet.

    A stage that draws shows pictures by its averaged weights beside those by its raw ones, if
    these are given, with the same seeds. CLIP and a prior show which pictures of the data are the
    nearest to each prompt; an autoencoder shows what comes back of pictures of the data.

    Args:
        averaged: the stage with averaged weights, in evaluation mode.
        raw: the same with the weights that are trained; before the first step, `averaged`.

    Raises:
        UnclipError: what it makes is not finite, or the data cannot be read.
    """
    if "image" in averaged.produces:
        return _drawn(run, name, averaged, raw)
    if isinstance(averaged, AutoencoderStage):
        return _given_back(run, averaged)
    return _found(run, name, averaged)


def _given_back(run: Run, stage: AutoencoderStage) -> Image.Image | None:
    """Pictures of the data, each beside what its latents are decoded to."""
    count = 2 * FOUND
    samples = [one for one in islice(run.recipe.source(stage.image_size), count) if "image" in one]
    if not samples:
        return None
    seen = from_pixels(torch.from_numpy(np.stack([one["image"] for one in samples])))
    with torch.inference_mode():
        said = stage.net.decode(stage.net.encode(seen.to(run.device))).clamp(-1, 1)
    pairs = zip(to_pictures(seen), to_pictures(said), strict=True)
    cells = [scale_to(one, max(SMALLEST, *one.size)) for pair in pairs for one in pair]
    return _titled(make_grid(cells, columns=4), "left: a picture, right: out of its latents")


def _drawn(run: Run, name: str, averaged: Stage, raw: Stage | None) -> Image.Image | None:
    chain = chain_of(run, name, averaged)
    if chain is None:
        return None
    by_average = _pictures(run, chain)
    if raw is None:
        return _titled(make_grid(by_average, labels=run.prompts), "averaged weights")
    by_raw = by_average
    if raw is not averaged:
        training = raw.net.training
        stages = {**chain.model.stages, name: raw.eval()}
        by_raw = _pictures(run, Chain(replace(chain.model, stages=stages), run.device))
        raw.train(training)
    both = zip(by_average, by_raw, strict=True)
    pairs = [make_grid([left, right], columns=2) for left, right in both]
    title = "left: averaged weights, right: raw weights"
    return _titled(make_grid(pairs, labels=run.prompts), title)


def _pictures(run: Run, chain: Chain) -> list[Image.Image]:
    seeds = [f"{run.recipe.settings.seed}/{i}" for i in range(len(run.prompts))]
    prior = None if chain.model.priors else NO_PRIOR
    rng = Rng(seeds, run.device)
    image = chain.fold(chain.read(list(run.prompts)), rng, prior=prior).image
    assert image is not None
    return [scale_to(one, max(SMALLEST, *one.size)) for one in to_pictures(image)]


def chain_of(run: Run, name: str, stage: Stage) -> Chain | None:
    """The run's trained stages before `name`, then `stage`, then upsamplers that are there.

    None where one before it is not there yet.
    """
    stages: dict[str, Stage] = {}
    names = list(run.recipe.stages)
    for place, other in enumerate(names):
        after = place > names.index(name)
        there = stage if other == name else _ready(run, other)
        if there is None and not after:
            return None
        if there is None or (after and "image" not in there.consumes):
            continue
        stages[other] = there
    draws = name if "image" not in stage.consumes else run.recipe.settings.decoder
    prior = run.recipe.settings.prior
    prior = prior if prior in stages else None
    # one that runs only where it is asked for is asked for
    model = Model(run.tokenizer(), stages, prior=prior, decoder=draws, running=(name,))
    return Chain(model, run.device)


def _ready(run: Run, name: str) -> Stage | None:
    """A stage as this run has trained it, or as the model has it that it is taken from."""
    if (run.model / name).is_dir():
        return native.load_stage(run.model, name)
    return run.build(name).eval() if run.recipe.stage(name).part else None


def _found(run: Run, name: str, stage: Stage) -> Image.Image | None:
    """Each prompt, and the pictures of the data that are nearest to it."""
    clip = stage if isinstance(stage, ClipStage) else _ready(run, run.recipe.clip() or name)
    if not isinstance(clip, ClipStage) or not (clip.sees and clip.reads):
        return None
    assert clip.image_size is not None
    samples = list(islice(run.recipe.source(clip.image_size), SAMPLES))
    if not all("image" in one and "caption" in one for one in samples):
        return None
    pictures = [Image.fromarray(one["image"]) for one in samples]
    with torch.inference_mode():
        wanted = _embeddings(run, clip, stage)  # (prompts, D)
        seen = from_pixels(torch.from_numpy(np.stack([one["image"] for one in samples])))
        near = (wanted @ clip.embed_images(seen).T).topk(min(FOUND, len(samples))).indices
    cells, labels = [], []
    for prompt, row in zip(run.prompts, near.tolist(), strict=True):
        cells += [_blank(prompt), *(scale_to(pictures[one], SMALLEST) for one in row)]
        labels += ["", *(samples[one]["caption"] for one in row)]
    title = "for each text the nearest of 64 pictures of the data, by averaged weights"
    return _titled(make_grid(cells, columns=1 + near.shape[1], labels=labels), title)


def _embeddings(run: Run, clip: ClipStage, stage: Stage) -> torch.Tensor:
    """(prompts, D) z_t by CLIP, or z_i by a prior."""
    tokens, mask = run.tokenizer().encode(list(run.prompts))
    cond = Cond(text_tokens=tokens.to(run.device), text_mask=mask.to(run.device))
    clip.to(run.device)
    cond = clip.encode_text(cond)
    if stage is not clip:
        cond = stage.sample(cond, Rng(range(len(run.prompts)), run.device))
    embed = cond.text_embed if stage is clip else cond.image_embed
    assert embed is not None
    return embed.float()


def _blank(text: str) -> Image.Image:
    """A cell that says a text."""
    return make_grid([Image.new("RGB", (SMALLEST, SMALLEST // 2), "white")], labels=[text])


def _titled(grid: Image.Image, title: str) -> Image.Image:
    """A grid below a line of text."""
    whole = Image.new("RGB", (grid.width, grid.height + _HEAD), "white")
    font = ImageFont.load_default(_FONT)
    ImageDraw.Draw(whole).text((GAP, GAP), title, "black", font)
    whole.paste(grid, (0, _HEAD))
    return whole
