"""The decoders of models side by side: what is right, how seeds differ, sharpness, FLOPs and time.

    .venv/bin/python benchmarks/decoders.py [MODEL] [--row "turbo steps=2"]... [-o TABLE.md]

A row is a decoder of the model and settings of its sampling; a MODEL may stand in front, as in
`--row "runs/turbo/model turbo steps=1"`. Every row draws the same scenes from the same seeds. A
scene is right if the bundled judge finds everything in it that its prompt asks for. Deviation is
that of pixels over the seeds of a prompt, sharpness the Laplacian energy: the first is divided by
that of the first row, the second by that of the composer's own pictures of the scenes. Needs the
corpus (make corpus), and an idle machine for the times.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from _machine import add_options, quiet
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import unclip
from unclip.config import override
from unclip.device import describe
from unclip.emoji.detector import Detector
from unclip.emoji.scenes import Scene, make_scenes
from unclip.emoji.source import EmojiScenes
from unclip.emoji.verifier import Verdicts, verify
from unclip.evaluate.diversity import pixel_deviation
from unclip.evaluate.sharpness import laplacian_energy
from unclip.files import write_text
from unclip.loading import BUNDLED, weights
from unclip.media import from_uint8, to_pictures
from unclip.nn.layers import parameter_count
from unclip.train.recipe import load_recipe

PROMPTS = (
    "a fox", "a red car", "two bananas", "a cat on a green background", "a rocket above a house",
    "three red apples", "a blue butterfly", "a frog to the left of a cake",
)  # fmt: skip
SCENES = 3  # the seed of the scenes that are asked for


@dataclass
class Row:
    """A decoder with settings, and what was measured of it."""

    text: str
    pipe: unclip.Pipeline
    settings: dict[str, Any]
    verdicts: Verdicts | None = None
    deviation: list[float] = field(default_factory=list)
    energy: float = 0.0
    flops: float = 0.0
    seconds: dict[int, float] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Of the decoder."""
        return parameter_count(next(iter(self.pipe.model.image_stages.values())))

    def draw(self, prompts: Sequence[str], seeds: Sequence[int | str]) -> Tensor:
        """(B, 3, H, W)."""
        return self.pipe.sample(self.pipe.read(prompts), seeds, settings=self.settings)


def rows(model: str, texts: Sequence[str], dtype: str | None) -> Iterator[Row]:
    """The rows that `texts` ask for, each model loaded once."""
    pipes: dict[str, unclip.Pipeline] = {}
    for text in texts:
        words = shlex.split(text)
        settings = override({}, [word for word in words if "=" in word])
        *where, decoder = [word for word in words if "=" not in word]
        named = where[0] if where else model
        if named not in pipes:
            pipes[named] = unclip.load(named, dtype=dtype)
        yield Row(text, pipes[named].with_decoder(decoder), settings)


def usual(model: str) -> list[str]:
    """30 steps of what can be inverted, then every decoder with its own steps and with half."""
    known = unclip.load(model).model
    teacher, asked = known.inverting().decoders[0], []
    for name in known.decoders:
        steps = known.stages[name].config.sampling.steps  # type: ignore[attr-defined]
        asked += [f"{name} steps={steps}", f"{name} steps={max(1, steps // 2)}"]
    return list(dict.fromkeys([f"{teacher} steps=30", *asked]))


def judge(row: Row, scenes: Sequence[Scene], each: int) -> None:
    """What is right, and how sharp it is."""
    energy: list[float] = []

    def provider(orders: Sequence[tuple[Scene, int]]) -> Any:
        drawn = row.draw([one.prompt for one, _ in orders], [f"{s.name}/{n}" for s, n in orders])
        energy.extend(laplacian_energy(drawn).tolist())
        return to_pictures(drawn)

    looks = Detector.load(weights() / "scene-judge")
    row.verdicts = verify(provider, scenes, [looks], each)
    row.energy = fmean(energy)


def spread(row: Row, seeds: int) -> None:
    """The deviation of each prompt."""
    for prompt in PROMPTS:
        row.deviation.append(pixel_deviation(row.draw([prompt] * seeds, list(range(seeds)))))


def cost(row: Row, repeat: int) -> None:
    """FLOPs of one picture, and seconds of one and of four, a picture each."""
    with FlopCounterMode(display=False) as counter:
        row.draw(PROMPTS[:1], [0])
    row.flops = float(counter.get_total_flops())
    for count in (1, 4):
        spent = []
        for _ in range(repeat):
            begun = time.perf_counter()
            row.draw(["a red car"] * count, list(range(count)))
            spent.append((time.perf_counter() - begun) / count)
        row.seconds[count] = median(spent)


def table(found: Sequence[Row], true: float, scenes: int) -> Iterator[str]:
    """Markdown."""
    yield (
        f"| decoder | parameters | GFLOP a picture | s a picture, alone · of four "
        f"| right of {scenes} | binding | deviation (least) | sharpness |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for row in found:
        assert row.verdicts is not None
        name = row.verdicts.judges[0]
        every, pairs = row.verdicts.share(name), row.verdicts.share(name, "binding")
        over = [a / b for a, b in zip(row.deviation, found[0].deviation, strict=True)]
        yield (
            f"| {row.text} | {row.parameters / 1e6:.1f} M | {row.flops / 1e9:.1f} "
            f"| {row.seconds[1]:.2f} · {row.seconds[4]:.2f} | {every.value:.3f} "
            f"| {pairs.value:.3f} | {fmean(over):.2f} ({min(over):.2f}) | {row.energy / true:.2f} |"
        )


def main(options: argparse.Namespace) -> None:
    config = load_recipe("emoji-cpu").data.model_copy(
        update={"path": options.data, "languages": {"en": 1.0}, "wrong": False}
    )
    kinds: dict[str, list[Scene]] = {}
    for scene in make_scenes(config, seed=SCENES):
        kinds.setdefault(scene.category, []).append(scene)
    scenes = [one for every in kinds.values() for one in every[: options.scenes]]
    composer = EmojiScenes(config, (256, 256))
    true = torch.stack([torch.from_numpy(composer.render(one.spec)) for one in scenes])
    energy = float(laplacian_energy(from_uint8(true.permute(0, 3, 1, 2))).mean())
    found = list(rows(options.model, options.row or usual(options.model), options.dtype))
    for row in found:
        judge(row, scenes, options.pictures)
        spread(row, options.seeds)
        cost(row, options.repeat)
        print(f"{row.text}: done", file=sys.stderr, flush=True)
    lines = [
        *table(found, energy, len(scenes) * options.pictures),
        "",
        f"{describe(found[0].pipe.device)}, {found[0].pipe.model.dtype}: "
        f"`{shlex.join(['python', *sys.argv])}`",
    ]
    print("\n".join(lines))
    if options.output:
        write_text(options.output, "\n".join(lines) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("model", nargs="?", default=BUNDLED)
    parser.add_argument("--row", action="append", metavar="'[MODEL] DECODER [SETTING=VALUE]...'")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"))
    parser.add_argument("--scenes", type=int, default=16, help="of each of six kinds")
    parser.add_argument("--pictures", type=int, default=1, help="of each scene")
    parser.add_argument("--seeds", type=int, default=8, help="of each of eight prompts")
    parser.add_argument("--dtype")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--repeat", type=int, default=3, help="of each time")
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    options = parsed()
    with quiet(torch.get_num_threads(), options.busy):
        main(options)
