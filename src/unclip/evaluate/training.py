"""Training of the eyes: minutes on a CPU, from scenes that no model was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.source import IndexedSource
from ..device import autocast, place
from ..media import from_arrays
from ..nn.text import TextConfig
from ..nn.tokenizer import Tokenizer
from .eyes import Classifier, Eye, EyeClip, EyeConfig, build

OnProgress = Callable[[int, int], None]
CAPTIONS, VOCAB, CONTEXT = 20_000, 1024, 40
TEXT = {"width": 96, "depth": 3, "heads": 3, "vocab_size": VOCAB, "context": CONTEXT}
PEAK, WARMUP, DECAY = 2e-3, 0.05, 0.05


def train_classifier(
    config: EyeConfig,
    source: IndexedSource,
    steps: int,
    batch: int = 64,
    on_progress: OnProgress | None = None,
) -> Classifier:
    """Teach the noun of pictures of one object. `source` gives a `spec` with every sample."""
    eye = build(config)
    assert isinstance(eye, Classifier)
    number = {noun: index for index, noun in enumerate(config.nouns)}

    def loss(samples: list[Any]) -> Tensor:
        wanted = [number[one["spec"]["objects"][0]["noun"]] for one in samples]
        logits = eye(from_arrays([one["image"] for one in samples]))
        return F.cross_entropy(logits, torch.tensor(wanted), label_smoothing=0.05)

    _descend(eye, loss, source, (steps, batch), on_progress)
    return eye


def train_clip(
    config: EyeConfig,
    source: IndexedSource,
    steps: int,
    batch: int = 128,
    on_progress: OnProgress | None = None,
) -> tuple[EyeClip, Tokenizer]:
    """Teach which caption belongs to which picture (arXiv 2103.00020, figure 3).

    Of captions that come twice in a batch each has a share of the other's picture.
    """
    tokenizer = Tokenizer.train(source.captions(CAPTIONS), VOCAB, CONTEXT)
    text = TextConfig.parse({**TEXT, "vocab_size": tokenizer.vocab_size})
    eye = build(config.model_copy(update={"text": text}))
    assert isinstance(eye, EyeClip)

    def loss(samples: list[Any]) -> Tensor:
        captions = [one["caption"] for one in samples]
        tokens, mask = tokenizer.encode(captions)
        z_i = eye.encode_image(from_arrays([one["image"] for one in samples]))
        z_t = eye.encode_text(tokens, mask)
        logits = eye.log_scale.exp().clamp(max=100) * z_i @ z_t.T  # (B, B)
        same = (tokens[:, None] == tokens[None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    _descend(eye, loss, source, (steps, batch), on_progress)
    return eye, tokenizer


def _descend(
    eye: Eye,
    loss: Callable[[list[Any]], Tensor],
    source: IndexedSource,
    length: tuple[int, int],
    on_progress: OnProgress | None,
) -> None:
    """AdamW with a warm-up and a cosine to zero; (steps, batch) long."""
    steps, batch = length
    place(eye, torch.device("cpu"))
    optimizer = torch.optim.AdamW(eye.parameters(), PEAK, weight_decay=DECAY)
    warm = max(1, round(WARMUP * steps))

    def height(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, height)
    eye.train()
    for step in range(steps):
        samples = [source.sample(step * batch + index) for index in range(batch)]
        with autocast(torch.device("cpu")):
            value = loss(samples)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(eye.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_progress:
            on_progress(step + 1, steps)
    eye.eval().requires_grad_(False)


@torch.inference_mode()
def accuracy(eye: Classifier, source: IndexedSource, count: int, start: int = 0) -> tuple[int, int]:
    """(right, of) on samples from `start` on."""
    right = 0
    for first in range(start, start + count, 100):
        samples = [source.sample(at) for at in range(first, min(first + 100, start + count))]
        logits = eye(from_arrays([one["image"] for one in samples]))
        for index, one in zip(logits.argmax(1).tolist(), samples, strict=True):
            right += eye.config.nouns[index] == one["spec"]["objects"][0]["noun"]
    return right, count


@torch.inference_mode()
def scale(eye: Classifier, source: IndexedSource, count: int) -> float:
    """Root mean square of the features' numbers: kernels want it to be 1."""
    images = from_arrays([source.sample(position)["image"] for position in range(count)])
    return float(eye.encode_image(images).square().mean().sqrt())


@torch.inference_mode()
def retrieval(
    eye: EyeClip, tokenizer: Tokenizer, source: IndexedSource, count: int, start: int = 0
) -> tuple[int, int]:
    """(right, of): pictures that find their own caption among `count` different ones."""
    found: dict[str, Any] = {}
    position = start
    while len(found) < count:
        sample = source.sample(position)
        found.setdefault(sample["caption"], sample["image"])
        position += 1
    images = list(found.values())
    z_i = torch.cat(
        [eye.encode_image(from_arrays(images[at : at + 100])) for at in range(0, count, 100)]
    )
    z_t = eye.encode_text(*tokenizer.encode(list(found)))
    return int(((z_i @ z_t.T).argmax(1) == torch.arange(count)).sum()), count
