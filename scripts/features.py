"""Train the feature extractors that `unclip evaluate` compares pictures with, and measure them.

    .venv/bin/python scripts/features.py --data data/emoji [-o data/emoji/features]

A classifier and a CLIP: most of an hour on two threads. Prints their hashes, which every report
names: results of other extractors are other numbers. The detector that judges scenes comes with
the package; `--only detector` trains another, which is then preferred to it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from unclip.cli._progress import counting_progress
from unclip.emoji import extractor_training as training
from unclip.emoji import extractors
from unclip.emoji.detector_training import DetectorConfig, train_detector
from unclip.emoji.source import EmojiScenes
from unclip.train.recipe import load_recipe

SEED = 90_210  # of no recipe: what the extractors learnt from, no model has seen
ALONE = {"single": 1, "count": 0, "pair": 0, "group": 0, "tinted": 0.3, "small": 0.2}
MIXED = {"single": 0.35, "count": 0.2, "pair": 0.3, "group": 0.15, "tinted": 0.4}


def scenes(path: Path, mix: dict[str, float], seed: int) -> EmojiScenes:
    """Scenes of every split, as an extractor has to know what models are tested with."""
    values = {"path": path, "split": "any", "seed": seed, "mix": mix}
    return EmojiScenes(EmojiScenes.Config.parse(values), 64)


def classifier(args: argparse.Namespace) -> None:
    """Train and judge the classifier."""
    source = scenes(args.data, ALONE, SEED)
    nouns = tuple(sorted(source.corpus.nouns))
    config = extractors.ExtractorConfig(kind="classifier", nouns=nouns, seed=SEED)
    with counting_progress("classifier") as on_progress:
        steps = args.steps or 3000
        net = training.train_classifier(config, source, steps, on_progress=on_progress)
    unseen = scenes(args.data, ALONE, SEED + 1)
    right, of = training.accuracy(net, unseen, args.judged)
    scale = round(training.scale(net, unseen, 1000), 4)
    net.config = net.config.model_copy(update={"scale": scale})
    finish(args.out / "classifier", net, {"steps": steps, "accuracy": [right, of]})


def clip(args: argparse.Namespace) -> None:
    """Train and judge the evaluation CLIP."""
    source = scenes(args.data, MIXED, SEED + 2)
    config = extractors.ExtractorConfig(kind="clip", channels=(64, 96, 160), seed=SEED + 2)
    with counting_progress("clip") as on_progress:
        steps = args.steps or 1600
        net, tokenizer = training.train_clip(config, source, steps, on_progress=on_progress)
    unseen = scenes(args.data, MIXED, SEED + 3)
    right, of = training.retrieval(net, tokenizer, unseen, min(1000, args.judged))
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
    net: extractors.Network,
    trained: dict[str, object],
    tokenizer: extractors.Tokenizer | None = None,
) -> None:
    """Write an extractor with what is known of it."""
    net.config = net.config.model_copy(update={"trained": trained})
    print(folder, extractors.save(folder, net, tokenizer), trained, flush=True)


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
