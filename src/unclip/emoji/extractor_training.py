"""Training of the feature extractors: minutes on a CPU, from scenes that no model saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Source
from ..device import autocast
from ..nn.text import TextConfig
from ..nn.tokenizer import Tokenizer
from .extractors import Classifier, EvalClip, ExtractorConfig, Network, build
from .fit import Descent, Fit

OnProgress = Callable[[int, int], None]
CAPTIONS, VOCAB, CONTEXT = 20_000, 1024, 40
TEXT = {"width": 96, "depth": 3, "heads": 3, "vocab_size": VOCAB, "context": CONTEXT}
CPU = torch.device("cpu")


def images_of(pictures: list[np.ndarray]) -> Tensor:
    """Pictures (H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], channels last."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_classifier(
    config: ExtractorConfig,
    source: Source,
    steps: int,
    batch: int = 64,
    on_progress: OnProgress | None = None,
) -> Classifier:
    """Teach the noun of pictures of one object. `source` gives a `spec` with every sample."""
    net = build(config)
    assert isinstance(net, Classifier)
    number = {noun: index for index, noun in enumerate(config.nouns)}

    def loss(samples: list[Any]) -> Tensor:
        wanted = [number[one["spec"]["objects"][0]["noun"]] for one in samples]
        logits = net(images_of([one["image"] for one in samples]))
        return F.cross_entropy(logits, torch.tensor(wanted), label_smoothing=0.05)

    _descend(net, loss, source, (steps, batch), on_progress)
    return net


def train_clip(
    config: ExtractorConfig,
    source: Source,
    steps: int,
    batch: int = 128,
    on_progress: OnProgress | None = None,
) -> tuple[EvalClip, Tokenizer]:
    """Teach which caption belongs to which picture (arXiv 2103.00020, figure 3).

    Of captions that come twice in a batch each has a share of the other's picture.
    """
    tokenizer = Tokenizer.train(source.captions(CAPTIONS), VOCAB, CONTEXT)
    text = TextConfig.parse({**TEXT, "vocab_size": tokenizer.vocab_size})
    net = build(config.model_copy(update={"text": text}))
    assert isinstance(net, EvalClip)

    def loss(samples: list[Any]) -> Tensor:
        captions = [one["caption"] for one in samples]
        tokens, mask = tokenizer.encode(captions)
        z_i = net.encode_image(images_of([one["image"] for one in samples]))
        z_t = net.encode_text(tokens, mask)
        logits = net.log_scale.exp().clamp(max=100) * z_i @ z_t.T  # (B, B)
        same = (tokens[:, None] == tokens[None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    _descend(net, loss, source, (steps, batch), on_progress)
    return net, tokenizer


def _descend(
    net: Network,
    loss: Callable[[list[Any]], Tensor],
    source: Source,
    length: tuple[int, int],
    on_progress: OnProgress | None,
) -> None:
    """Train for (steps, batch)."""
    steps, batch = length

    def loss_of(step: int) -> Tensor:
        samples = [source.sample(step * batch + index) for index in range(batch)]
        with autocast(CPU):
            return loss(samples)

    report = (lambda step, steps, loss: on_progress(step, steps)) if on_progress else None
    Fit(net, Descent(steps, 2e-3, 0.05, 1.0, 0.05), CPU).run(loss_of, report)


@torch.inference_mode()
def accuracy(net: Classifier, source: Source, count: int, start: int = 0) -> tuple[int, int]:
    """(right, of) on samples from `start` on."""
    right = 0
    for first in range(start, start + count, 100):
        samples = [source.sample(at) for at in range(first, min(first + 100, start + count))]
        logits = net(images_of([one["image"] for one in samples]))
        for index, one in zip(logits.argmax(1).tolist(), samples, strict=True):
            right += net.config.nouns[index] == one["spec"]["objects"][0]["noun"]
    return right, count


@torch.inference_mode()
def scale(net: Classifier, source: Source, count: int) -> float:
    """Root mean square of the features' numbers: kernels want it to be 1."""
    images = images_of([source.sample(position)["image"] for position in range(count)])
    return float(net.encode_image(images).square().mean().sqrt())


@torch.inference_mode()
def retrieval(
    net: EvalClip, tokenizer: Tokenizer, source: Source, count: int, start: int = 0
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
        [net.encode_image(images_of(images[at : at + 100])) for at in range(0, count, 100)]
    )
    z_t = net.encode_text(*tokenizer.encode(list(found)))
    return int(((z_i @ z_t.T).argmax(1) == torch.arange(count)).sum()), count
