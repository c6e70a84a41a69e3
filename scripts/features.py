"""Train the feature extractors that `unclip evaluate` compares pictures with, and measure them.

    .venv/bin/python scripts/features.py --data data/emoji [-o data/emoji/features]

A classifier and a CLIP: most of an hour on two threads. Prints their hashes, which every report
names: results of other extractors are other numbers. The detector that judges scenes comes with
the package; `--only detector` trains another, which is then preferred to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _detector_training import DetectorConfig, train_detector
from _fit import Descent, Fit
from torch import Tensor
from torch.nn import functional as F

from unclip.cli._progress import counting_progress
from unclip.data import IndexedSource
from unclip.device import autocast
from unclip.emoji import extractors
from unclip.emoji.extractors import Classifier, EvalClip, ExtractorConfig, Network, build
from unclip.emoji.source import EmojiScenes
from unclip.media import from_arrays
from unclip.nn.text import TextConfig
from unclip.nn.tokenizer import Tokenizer
from unclip.train.recipe import load_recipe

OnProgress = Callable[[int, int], None]
CAPTIONS, VOCAB, CONTEXT = 20_000, 1024, 40
TEXT = {"width": 96, "depth": 3, "heads": 3, "vocab_size": VOCAB, "context": CONTEXT}
CPU = torch.device("cpu")
SEED = 90_210  # of no recipe: what the extractors learnt from, no model has seen
ALONE = {"single": 1, "count": 0, "pair": 0, "group": 0, "tinted": 0.3, "small": 0.2}
MIXED = {"single": 0.35, "count": 0.2, "pair": 0.3, "group": 0.15, "tinted": 0.4}


def scenes(path: Path, mix: dict[str, float], seed: int) -> EmojiScenes:
    """Scenes of every split, as an extractor has to know what models are tested with."""
    values = {"path": path, "split": "any", "seed": seed, "mix": mix}
    return EmojiScenes(EmojiScenes.Config.parse(values), (64, 64))


def classifier(args: argparse.Namespace) -> None:
    """Train and judge the classifier."""
    source = scenes(args.data, ALONE, SEED)
    nouns = tuple(sorted(source.corpus.nouns))
    config = ExtractorConfig(kind="classifier", nouns=nouns, seed=SEED)
    with counting_progress("classifier") as on_progress:
        steps = args.steps or 3000
        net = train_classifier(config, source, steps, on_progress=on_progress)
    unseen = scenes(args.data, ALONE, SEED + 1)
    right, of = accuracy(net, unseen, args.judged)
    size = round(scale(net, unseen, 1000), 4)
    net.config = net.config.model_copy(update={"scale": size})
    finish(args.out / "classifier", net, {"steps": steps, "accuracy": [right, of]})


def clip(args: argparse.Namespace) -> None:
    """Train and judge the evaluation CLIP."""
    source = scenes(args.data, MIXED, SEED + 2)
    config = ExtractorConfig(kind="clip", channels=(64, 96, 160), seed=SEED + 2)
    with counting_progress("clip") as on_progress:
        steps = args.steps or 1600
        net, tokenizer = train_clip(config, source, steps, on_progress=on_progress)
    unseen = scenes(args.data, MIXED, SEED + 3)
    right, of = retrieval(net, tokenizer, unseen, min(1000, args.judged))
    finish(args.out / "clip", net, {"steps": steps, "retrieval": [right, of]}, tokenizer)


def detector(args: argparse.Namespace) -> None:
    """Train the detector on the nouns of the bundled model; an interrupted training goes on."""
    nouns = load_recipe("emoji-cpu").data["nouns"]
    values = {"path": args.data, "styles": ["noto"], "nouns": nouns}
    config = DetectorConfig(**({"steps": args.steps} if args.steps else {}))
    with counting_progress("detector") as on_progress:
        made = train_detector(
            EmojiScenes.Config.parse(values),
            config,
            state=args.out / "detector.state",
            on_step=lambda step, steps, loss: on_progress(step, steps),
        )
    made.save(args.out / "detector")
    print(args.out / "detector", made.hash, flush=True)


def finish(
    folder: Path,
    net: Network,
    trained: dict[str, object],
    tokenizer: Tokenizer | None = None,
) -> None:
    """Write an extractor with what is known of it."""
    net.config = net.config.model_copy(update={"trained": trained})
    print(folder, extractors.save(folder, net, tokenizer), trained, flush=True)


def train_classifier(
    config: ExtractorConfig,
    source: IndexedSource,
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
        logits = net(from_arrays([one["image"] for one in samples]))
        return F.cross_entropy(logits, torch.tensor(wanted), label_smoothing=0.05)

    _descend(net, loss, source, (steps, batch), on_progress)
    return net


def train_clip(
    config: ExtractorConfig,
    source: IndexedSource,
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
        z_i = net.encode_image(from_arrays([one["image"] for one in samples]))
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
    source: IndexedSource,
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
def accuracy(net: Classifier, source: IndexedSource, count: int, start: int = 0) -> tuple[int, int]:
    """(right, of) on samples from `start` on."""
    right = 0
    for first in range(start, start + count, 100):
        samples = [source.sample(at) for at in range(first, min(first + 100, start + count))]
        logits = net(from_arrays([one["image"] for one in samples]))
        for index, one in zip(logits.argmax(1).tolist(), samples, strict=True):
            right += net.config.nouns[index] == one["spec"]["objects"][0]["noun"]
    return right, count


@torch.inference_mode()
def scale(net: Classifier, source: IndexedSource, count: int) -> float:
    """Root mean square of the features' numbers: kernels want it to be 1."""
    images = from_arrays([source.sample(position)["image"] for position in range(count)])
    return float(net.encode_image(images).square().mean().sqrt())


@torch.inference_mode()
def retrieval(
    net: EvalClip, tokenizer: Tokenizer, source: IndexedSource, count: int, start: int = 0
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
        [net.encode_image(from_arrays(images[at : at + 100])) for at in range(0, count, 100)]
    )
    z_t = net.encode_text(*tokenizer.encode(list(found)))
    return int(((z_i @ z_t.T).argmax(1) == torch.arange(count)).sum()), count


TRAINED = {"classifier": classifier, "clip": clip, "detector": detector}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="the emoji corpus")
    parser.add_argument("-o", "--out", type=Path, help="the corpus' folder `features` if left out")
    parser.add_argument("--steps", type=int, help="of each, in place of its own number")
    parser.add_argument("--judged", type=int, default=5000, help="pictures to judge each with")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=TRAINED, help="train just this one")
    args = parser.parse_args()
    args.out = args.out or args.data / "features"
    torch.set_num_threads(args.threads)
    for name, train in TRAINED.items():
        if name == args.only or (args.only is None and name in extractors.NAMES):
            train(args)


if __name__ == "__main__":
    main()
