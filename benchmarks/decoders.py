"""Decoders side by side: what they cost, and what their pictures show. Makes docs/decoders.md.

    .venv/bin/python benchmarks/decoders.py [ROWS.toml] [-o docs/decoders.md] [--scenes 16]

Every row of benchmarks/decoders.toml is a decoder of a model with settings of its sampling. Every
row draws the same scenes, captions and prompts from the same seeds, the bundled upsampler enlarges
what it draws (latents need none), and the same two judges look.
A miniature draws coloured shapes, and benchmarks/gan.py judges them. What was measured of pictures
is kept in --work, so that a stopped command goes on, and a row that is trained later joins the
others; costs are measured anew. A row whose model is not there is left out, and the page says which
command trains it. Needs the corpus (make corpus) with its features, and an idle machine for the
times.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import time
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, median
from typing import Any

import gan
import torch
from _machine import add_options, quiet
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import unclip
from unclip.config import Config
from unclip.device import describe
from unclip.emoji.extractors import NAMES, of_corpus
from unclip.emoji.judges import choose
from unclip.emoji.scenes import CATEGORIES, Scene, make_scenes
from unclip.emoji.source import EmojiScenes
from unclip.emoji.verifier import BOTH, verify
from unclip.errors import PromptWarning
from unclip.evaluate.diversity import pairwise_distance, pixel_deviation
from unclip.evaluate.features import features
from unclip.evaluate.image_set import ImageSet, of_source
from unclip.evaluate.metrics import frechet
from unclip.evaluate.run import write
from unclip.evaluate.sharpness import laplacian_energy
from unclip.files import write_json
from unclip.loading import BUNDLED
from unclip.media import from_uint8, to_pictures
from unclip.nn.layers import parameter_count
from unclip.pages.intervals import Share
from unclip.pages.report import Cell, Grid, Part, Report, Section, Table, number, row, share, shown
from unclip.plain import read_json
from unclip.train.cost import estimate
from unclip.train.recipe import load_recipe
from unclip.train.recorded import Recorded
from unclip.train.run import Run

PROMPTS = (
    "a fox", "a red car", "two bananas", "a cat on a green background", "a rocket above a house",
    "three red apples", "a blue butterfly", "a frog to the left of a cake", "a pizza",
    "a purple owl and a heart", "a snowman", "a yellow fish below a moon",
)  # fmt: skip
SPREAD = 8
"""Of `PROMPTS`, so many are drawn from several seeds."""
SCENES, FRESH = 3, 60_000_000  # seeds: of the scenes, and of captions that no recipe draws
BATCH = 16
SIDE = 128  # of the pictures shown
BUNDLED_SAMPLES = 1_304_000
"""Pictures that the bundled decoder was trained on, in all its parts (docs/recipe.md)."""
MINIATURE_SEEDS = 8  # of each prompt of benchmarks/gan.py

ENLARGING = "upsampler"
"""The stage that all rows share."""

PEAK = """
import sys, unclip
pipe = unclip.load(sys.argv[1]).with_decoder(sys.argv[2] or None)
if shared := sys.argv[5:]:
    stages = unclip.load(shared[0]).stages
    pipe = pipe.with_stages({**pipe.stages, shared[1]: stages[shared[1]]})
pipe.sample(pipe.read([sys.argv[4]]), [0], settings=__import__("json").loads(sys.argv[3]))
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


class Decoder(Config):
    """A row: a decoder, settings of its sampling, and how it was trained."""

    title: str
    run: str | None = None  # folder of its training; None: it is bundled
    decoder: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    stages: tuple[str, ...] = ("decoder",)  # whose training counts
    train: str = ""  # the command
    note: str = ""

    @property
    def model(self) -> str:
        """What is loaded."""
        return BUNDLED if self.run is None else f"{self.run}/model"

    @property
    def there(self) -> bool:
        """Whether it is trained to its end."""
        recipe = None if self.run is None else Recorded(Path(self.run)).recipe()
        if self.run is None or recipe is None:
            return self.run is None
        run = Run(recipe, Path(self.run), torch.device("cpu"))
        return all(map(run.finished, recipe.stages))


class Rows(Config):
    """The file of rows."""

    decoders: tuple[Decoder, ...]
    miniatures: tuple[Decoder, ...] = ()  # of coloured shapes
    findings: str = ""  # what the last measurement showed, in words


@dataclass
class Measured:
    """A row, and what was found of it."""

    asked: Decoder
    enlarges: bool = True  # pictures of 64x64, which the bundled upsampler enlarges
    quality: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    pictures: tuple[Image.Image, ...] = ()  # one of each prompt, for the grid

    @cached_property
    def shares(self) -> bool:
        """Whether the bundled upsampler takes the place of its model's own."""
        return self.enlarges and ENLARGING in unclip.load(self.asked.model).stages

    @cached_property
    def pipe(self) -> unclip.Pipeline:
        """Its model, with the decoder chosen and the bundled upsampler."""
        pipe = unclip.load(self.asked.model).with_decoder(self.asked.decoder)
        if not self.shares:
            return pipe
        shared = unclip.load(BUNDLED).stages[ENLARGING]
        return pipe.with_stages({**pipe.stages, ENLARGING: shared})

    @property
    def key(self) -> str:
        """What its pictures depend on."""
        bundled = unclip.load(BUNDLED).hash if self.shares else ""
        own = [self.pipe.model.hash, self.asked.decoder, self.asked.settings]
        text = json.dumps([*own, bundled])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @torch.inference_mode()
    def draw(self, prompts: Sequence[str], seeds: Sequence[int | str]) -> Tensor:
        """(B, 3, H, W)."""
        made = self.pipe.sample(self.pipe.read(prompts), seeds, settings=self.asked.settings)
        return made.float().cpu()


class Bench:
    """The scenes, captions, judges and networks that all rows meet."""

    def __init__(self, data: Path, scenes: int, pictures: int, seeds: int) -> None:
        self.seeds, self.asked = seeds, (scenes, pictures, seeds)
        self.config: Any = load_recipe("emoji-cpu").data.model_copy(
            update={"path": data, "languages": {"en": 1.0}, "wrong": False}
        )
        kinds: dict[str, list[Scene]] = {}
        for scene in make_scenes(self.config, seed=SCENES):
            kinds.setdefault(scene.category, []).append(scene)
        self.scenes = [one for every in kinds.values() for one in every[:scenes]]
        self.judges, _ = choose(self.config, None, data / "features" / "detector")
        self.extractors = [of_corpus(data / "features", name) for name in NAMES]
        self.real, self.told = self._images(pictures, 0), self._images(pictures, 1)
        self.seen = {one.name: features(one, self.real) for one in self.extractors}

    def _images(self, count: int, number: int) -> ImageSet:
        """True pictures, each number others."""
        seeded = self.config.model_copy(update={"seed": FRESH + number})
        return of_source(EmojiScenes(seeded, (256, 256)), count)

    @cached_property
    def true_energy(self) -> float:
        """Sharpness of true pictures of the scenes."""
        composer = EmojiScenes(self.config, (256, 256))
        true = [torch.from_numpy(composer.render(one.spec)) for one in self.scenes]
        return float(laplacian_energy(from_uint8(torch.stack(true).permute(0, 3, 1, 2))).mean())

    def floor(self) -> dict[str, float]:
        """The Fréchet distances of other true pictures."""
        return {
            one.name: frechet(self.seen[one.name], features(one, self.told))
            for one in self.extractors
        }

    def quality(self, one: Measured) -> dict[str, Any]:
        """What the judges say, how far sets are apart, what seeds change, how sharp it is."""
        energy: list[float] = []

        def provider(orders: Sequence[tuple[Scene, int]]) -> Any:
            drawn = one.draw([s.prompt for s, _ in orders], [f"{s.name}/{n}" for s, n in orders])
            energy.extend(laplacian_energy(drawn).tolist())
            return to_pictures(drawn)

        found = verify(provider, self.scenes, self.judges, 1, batch=BATCH)
        spread = [
            one.draw([prompt] * self.seeds, list(range(self.seeds))) for prompt in PROMPTS[:SPREAD]
        ]
        look = self.extractors[-1].see
        return {
            "verdicts": found.summary(),
            "frechet": self._frechet(one),
            "pixels": [pixel_deviation(drawn) for drawn in spread],
            "apart": [pairwise_distance(look(drawn)) for drawn in spread],
            "energy": fmean(energy),
        }

    @torch.inference_mode()
    def _frechet(self, one: Measured) -> dict[str, float]:
        """By extractor, with the captions of the second set of true pictures."""
        seen: dict[str, list[Tensor]] = {each.name: [] for each in self.extractors}
        captions = self.told.captions
        for start in range(0, len(captions), BATCH):
            part = captions[start : start + BATCH]
            drawn = one.draw(part, [f"fd/{start + at}" for at in range(len(part))])
            for each in self.extractors:
                seen[each.name].append(each.see(drawn).double())
        return {name: frechet(self.seen[name], torch.cat(s)) for name, s in seen.items()}


def cost(one: Measured, repeat: int, prompt: str = "a red car") -> dict[str, Any]:
    """Parameters, FLOPs and seconds of a picture, peak memory, FLOPs of the training."""
    stages = one.pipe.model.image_stages
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        one.draw([prompt], [0])
    seconds = {}
    for count in (1, 4):
        spent = []
        for _ in range(repeat):
            begun = time.perf_counter()
            one.draw([prompt] * count, list(range(count)))
            spent.append((time.perf_counter() - begun) / count)
        seconds[count] = median(spent)
    return {
        "parameters": parameter_count(next(iter(stages.values()))),
        "flops": float(counter.get_total_flops()),
        "seconds": seconds,
        "memory": peak(one, prompt),
        "training": training(one.asked),
    }


def peak(one: Measured, prompt: str) -> float:
    """GiB of a process that draws one picture."""
    asked = one.asked
    given = [asked.model, asked.decoder or "", json.dumps(asked.settings), prompt]
    given += [BUNDLED, ENLARGING] if one.shares else []
    command = [sys.executable, "-c", PEAK, *given]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(said.stdout) / 2**20


def training(asked: Decoder) -> float:
    """FLOPs that its stages were trained with."""
    cpu = torch.device("cpu")
    if asked.run is None:
        cost = estimate(load_recipe(BUNDLED), "decoder", cpu)
        return cost.total_flops * BUNDLED_SAMPLES / cost.samples
    return sum(_trained(Path(asked.run), name, cpu) for name in asked.stages)


def _trained(run: Path, name: str, device: torch.device) -> float:
    """Of one stage, there or in the run that its recipe takes it from."""
    recipe = Recorded(run).recipe()
    if recipe is not None and name in recipe.trained:
        return estimate(recipe, name, device).total_flops
    return _trained(Path(Recorded(run).values()["stages"][name]["from"]).parent, name, device)


def quality_table(bench: Bench, found: Sequence[Measured]) -> Table:
    """What both judges call right, of each kind, and in all."""
    lines = []
    for one in found:
        verdicts = one.quality["verdicts"]
        cells = [_share(verdicts, BOTH, kind) for kind in CATEGORIES]
        alone = [f"{_value(verdicts, judge.name):.3f}" for judge in bench.judges]
        whole = _share(verdicts, BOTH, "all")
        lines.append(row(one.asked.title, whole, *cells, " · ".join(alone)))
    judges = " · ".join(judge.name for judge in bench.judges)
    return Table(
        "Shares of pictures that are right, both judges agreeing",
        ("decoder", "all as asked", *CATEGORIES, f"all, by {judges}"),
        tuple(lines),
        f"{len(bench.scenes)} scenes, one picture of each. Intervals are Wilson's, 95 %.",
    )


def _share(verdicts: dict[str, Any], judge: str, score: str) -> Cell:
    found = verdicts[judge].get(score, {}).get("any")
    return share(Share.parse(found) if found else None, bar=False, strong=score == "all")


def _value(verdicts: dict[str, Any], judge: str) -> float:
    return float(verdicts[judge]["all"]["any"]["share"])


def sets_table(bench: Bench, found: Sequence[Measured], first: Measured) -> Table:
    """Fréchet distances, diversity and sharpness."""
    floor = bench.floor()
    lines = [row("true pictures", *(number(floor[name]) for name in NAMES), "–", "–", "1.00")]
    for one in found:
        ratios = []
        for what in ("pixels", "apart"):
            pairs = zip(one.quality[what], first.quality[what], strict=True)
            over = [a / b for a, b in pairs]
            ratios.append(f"{fmean(over):.2f} (least {min(over):.2f})")
        distances = [number(one.quality["frechet"][name]) for name in NAMES]
        sharp = f"{one.quality['energy'] / bench.true_energy:.2f}"
        lines.append(row(one.asked.title, *distances, *ratios, sharp))
    count = len(bench.told)
    head = [f"FD-{name}@{count}" for name in NAMES]
    return Table(
        "As sets, by seeds, and by edges",
        ("decoder", *head, "pixel deviation", f"distance of seeds, {NAMES[-1]}", "sharpness"),
        tuple(lines),
        "Fréchet distances to true pictures: less is better. Deviation and distance are over "
        f"{bench.seeds} seeds of {SPREAD} prompts, as a share of those of “{first.asked.title}”. "
        "Sharpness is the Laplacian energy over that of true pictures: 1 is as sharp.",
    )


def cost_table(found: Sequence[Measured]) -> Table:
    """What each costs."""
    lines = []
    for one in found:
        spent = one.cost["seconds"]
        trained = one.cost["training"]
        lines.append(
            row(
                one.asked.title,
                f"{one.cost['parameters'] / 1e6:.1f} M",
                f"{one.cost['flops'] / 1e9:.1f}",
                f"{spent[1]:.2f} · {spent[4]:.2f}",
                f"{one.cost['memory']:.2f}",
                f"{trained / 1e15:.2f}",
                one.asked.note or "–",
            )
        )
    return Table(
        "What each costs",
        (
            "decoder", "parameters", "GFLOP a picture", "s a picture, alone · of four",
            "peak memory, GiB", "training, 10¹⁵ FLOP", "",
        ),
        tuple(lines),
        "A picture is 256×256, text, prior and upsampler included. Parameters are the decoder's, "
        "with its autoencoder. "
        f"{describe(torch.device('cpu'))}. Memory is a process's that draws one picture.",
    )  # fmt: skip


def grids(found: Sequence[Measured], labels: Sequence[str]) -> list[Part]:
    """The same prompts and seeds from each, failures included."""
    return [Grid(one.asked.title, one.pictures, tuple(labels), len(labels) // 2) for one in found]


def miniature_table(found: Sequence[Measured]) -> Table:
    """What the miniatures draw right, and what they cost."""
    true = gan.measured(gan.true(MINIATURE_SEEDS, gan.SIDE))
    lines = [row("true pictures", *_figures(true), "–", "–", "–", "–")]
    for one in found:
        spent = one.cost["seconds"]
        lines.append(
            row(
                one.asked.title,
                *_figures(gan.Figures(**one.quality)),
                f"{one.cost['parameters'] / 1e6:.2f} M",
                number(one.cost["flops"] / 1e9, 2),
                f"{1000 * spent[1]:.0f} · {1000 * spent[4]:.0f}",
                number(one.cost["training"] / 1e15, 2),
            )
        )
    return Table(
        "Coloured shapes of 16×16 pixels",
        (
            "decoder", "right colour", "right shape", "deviation over seeds", "Laplacian energy",
            "parameters", "GFLOP a picture", "ms a picture, alone · of four",
            "training, 10¹⁵ FLOP",
        ),
        tuple(lines),
        f"{len(gan.PROMPTS)} prompts, {MINIATURE_SEEDS} seeds of each, and one analytic judge. "
        "Training is the decoder's.",
    )  # fmt: skip


def _figures(found: gan.Figures) -> list[str]:
    shown = (found.colour, found.shape, found.deviation, found.energy)
    return [f"{one:.2f}" for one in shown]


TEXTS = {
    "quality": "Every decoder draws the same scenes from the same seeds, and the bundled upsampler "
    "enlarges what it draws; latents need none. Judges know what a "
    "prompt asks for, and say what a picture shows; they share neither method nor training.",
    "cost": "Each kind is trained from random weights on the same data, with one stated budget of "
    "2·10¹⁴ FLOP. Latents need an autoencoder besides, which takes as much again. The bundled "
    "decoder is trained longer, and its student starts from its weights.",
    "pictures": "The first picture of each prompt, none chosen.",
    "miniature": "A GAN from scratch wants far more pictures than these budgets hold, so it is "
    "trained on three shapes in six colours, beside a diffusion decoder. docs/gan.md has more.",
}


def page(bench: Bench, asked: Rows, found: Sequence[Measured], small: Sequence[Measured]) -> Report:
    """All of it."""
    first = found[0]
    drawn = [one.asked for one in (*found, *small)]
    absent = [one for one in (*asked.decoders, *asked.miniatures) if one not in drawn]
    sections = [
        Section("findings", "What comes out", asked.findings, ()),
        Section("quality", "What the pictures show", TEXTS["quality"], (
            quality_table(bench, found), sets_table(bench, found, first),
        )),
        Section("cost", "What it costs", TEXTS["cost"], (cost_table(found),)),
        Section("pictures", "Twelve prompts", TEXTS["pictures"], tuple(grids(found, PROMPTS))),
    ]  # fmt: skip
    if small:
        parts = (miniature_table(small), *grids(small, gan.PROMPTS[: len(PROMPTS)]))
        sections.append(Section("miniature", "A GAN, in miniature", TEXTS["miniature"], parts))
    return Report(
        title="Decoders, measured side by side",
        lead="Ways to paint a picture of z_i: diffusion of pixels in many steps and in few, of "
        "latents, by a Transformer, and a GAN. What loses is published as what loses.",
        sections=tuple(sections),
        left_out=tuple((one.title, f"not trained here: `{one.train}`") for one in absent),
        facts=(
            ("command", shlex.join(["python", *sys.argv])),
            *((one.asked.title, one.asked.train) for one in (*found, *small) if one.asked.train),
        ),
        values={one.asked.title: {**one.quality, "cost": one.cost} for one in (*found, *small)},
    )


def kept(work: Path, bench: Bench, one: Measured) -> dict[str, Any]:
    """`Bench.quality` of a row, from `work` where it is known."""
    path = work / f"{one.key}-{'-'.join(map(str, bench.asked))}.json"
    if path.is_file():
        return dict(read_json(path))
    found = bench.quality(one)
    work.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    return found


def main(options: argparse.Namespace) -> None:
    warnings.simplefilter("ignore", PromptWarning)  # captions name styles that no model knows
    asked = Rows.parse(tomllib.loads(options.rows.read_text(encoding="utf-8")), str(options.rows))
    bench = Bench(options.data, options.scenes, options.pictures, options.seeds)
    found = [Measured(one) for one in asked.decoders if one.there]
    for one in found:
        one.quality = kept(options.work, bench, one)
        one.pictures = shown(to_pictures(one.draw(PROMPTS, [7] * len(PROMPTS))), SIDE)
        one.cost = cost(one, options.repeat)
        share_right = _value(one.quality["verdicts"], BOTH)
        print(f"{one.asked.title}: {share_right:.3f} right", file=sys.stderr, flush=True)
    small = [Measured(one, enlarges=False) for one in asked.miniatures if one.there]
    for one in small:
        drawn = gan.draw(one.pipe, MINIATURE_SEEDS, one.asked.settings)
        one.quality = asdict(gan.measured(drawn))
        one.pictures = tuple(
            each[0].resize((SIDE, SIDE), Image.Resampling.NEAREST) for each in drawn[: len(PROMPTS)]
        )
        one.cost = cost(one, options.repeat, gan.PROMPTS[0])
    write(page(bench, asked, found, small), options.output)
    print(f"wrote {options.output}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    here = Path(__file__).resolve().parent
    parser.add_argument("rows", nargs="?", type=Path, default=here / "decoders.toml")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"))
    parser.add_argument("--scenes", type=int, default=40, help="of each of six kinds")
    parser.add_argument("--pictures", type=int, default=500, help="for Fréchet distances")
    parser.add_argument("--seeds", type=int, default=8, help=f"of each of {SPREAD} prompts")
    parser.add_argument("--work", type=Path, default=Path("runs/decoders"))
    parser.add_argument("-o", "--output", type=Path, default=Path("decoders.md"))
    parser.add_argument("--repeat", type=int, default=3, help="of each time")
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    options = parsed()
    with quiet(torch.get_num_threads(), options.busy):
        main(options)
