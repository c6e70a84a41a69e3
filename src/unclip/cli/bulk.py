"""Draw pictures of many prompts, to train on.

PROMPTS is a .txt with one prompt a line, or a .csv or .jsonl with settings of each, as for `unclip
generate --prompts`; - is stdin. Pictures come with their captions as a folder (name.png and
name.txt), as COCO captions or as webdataset tars, which `unclip train` reads.

They are drawn in shards. Each is written whole or not at all, and the same command goes on after a
stop; manifest.json says what was drawn and dropped, and shards/ has every picture's seed.
With --ray the machines of a cluster draw, and draw the same.

\b
Examples:
  unclip bulk prompts.txt --out drawn --seed 7
  unclip bulk prompts.csv --out drawn -n 4 --min-score 0.2 --dedupe
  unclip bulk prompts.csv --out drawn --dry-run
  unclip bulk prompts.txt --out tars --format webdataset --shard-size 1000
  unclip bulk prompts.txt --out coco --format coco --judge clip-vit/   # that CLIP scores
  unclip bulk prompts.txt --out /shared/drawn --ray auto --ray-gpus 1
"""
# Without `from __future__ import annotations`: see `_options`.

import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ..errors import UsageError, counted
from ._ability import AbilityOptions, add_command
from ._draw import Combinatorial, Seed, WildcardFolder, random_seed
from ._options import MODEL, flag, option
from ._shards import ClusterOptions, anywhere, folder_of, plan, run_shards, tell

if TYPE_CHECKING:
    from ..bulk.generating import Generating
    from ..cost import Cost
    from ..facade import Pipeline

Format = Annotated[
    str, option("--format", "NAME", "How pictures lie there: folder, coco or webdataset.")
]
ShardSize = Annotated[int, option("--shard-size", "N", "Most pictures of a shard.")]
MinScore = Annotated[
    float | None,
    option(
        "--min-score",
        "COSINE",
        "Drop pictures whose embedding is further from their caption's than this, as CLIP sees "
        "both; -1 drops none, and notes the scores.",
    ),
]
JudgeModel = Annotated[
    str | None,
    option("--judge", "MODEL", "The model whose CLIP scores pictures.", "the same model", MODEL),
]
Dedupe = Annotated[bool, flag("--dedupe", "Drop pictures that look like an earlier one.")]


@dataclass(frozen=True, kw_only=True)
class Bulk(AbilityOptions, ClusterOptions):
    """What `unclip generate` is asked for, in shards of pictures with captions."""

    prompts: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file of prompts, or -.")]
    out: Annotated[Path, option("--out", "DIR", "The folder to write.")]
    seed: Seed = None
    format: Format = "folder"
    shard_size: ShardSize = 256
    min_score: MinScore = None
    judge: JudgeModel = None
    dedupe: Dedupe = False
    wildcards: WildcardFolder = None
    combinatorial: Combinatorial = False
    left_out: ClassVar[frozenset[str]] = frozenset(("prompt",))
    output: ClassVar[str | None] = None

    def run(self) -> None:
        """Draw what is missing, drop what is to be dropped, say so."""
        from ..bulk.generating import finish
        from ..bulk.shards import Shards

        self._check()
        folder, engine = folder_of(self.out), self.engine()
        work, cost = anywhere(self)._work(folder)
        shards = Shards(work, folder)
        if self.dry_run:
            plan(shards, self.out, str(cost))
            return
        done = run_shards(shards, engine, "pictures")
        found = finish(shards, work)
        dropped = "".join(f", {n:,} dropped ({why})" for why, n in found.dropped.items())
        tell(
            done,
            self.out,
            f"{counted(found.kept, 'picture')}{dropped}",
            pictures=found.kept,
            drawn=found.drawn,
            dropped=dict(found.dropped),
        )

    def _check(self) -> None:
        """Raise UsageError for what is known to be wrong before anything is read."""
        from ..bulk.formats import LAYOUTS, needs
        from ..errors import unknown

        if self.format not in LAYOUTS:
            raise unknown("format", self.format, LAYOUTS).about("format")
        if self.shard_size < 1:
            text = f"--shard-size must be at least 1, got {self.shard_size}"
            raise UsageError(text).about("shard_size")
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            text = f"--min-score must be from -1 to 1, got {self.min_score:g}"
            raise UsageError(text).about("min_score")
        if self.judge is not None and self.min_score is None:
            text = "--judge scores pictures for --min-score: give that too (-1 drops none)"
            raise UsageError(text).about("judge")
        if self.dedupe:
            needs("imagehash", "data", "pictures that look alike")

    def _work(self, folder: Path) -> "tuple[Generating, Cost]":
        """What there is to draw, checked, and what it takes. Raises UsageError."""
        from ..bulk.generating import Asked, Generating, random_seed_of
        from ..bulk.jobs import Job
        from ..bulk.scores import Judge
        from ._jobs import Jobs

        given = None if self.seed is None or self.seed < 0 else self.seed
        before = random_seed_of(folder) if given is None else given
        seed = random_seed() if before is None else before
        numbers = random.Random(seed)
        jobs: list[Job] = Jobs(self).all(fresh=lambda: numbers.randrange(2**31))
        pipe = self.load()
        load, judge = self.loader(), self._judge()
        cost = _check_jobs(pipe, jobs, self.shard_size)
        if self.min_score is not None:
            Judge(judge() if judge else pipe)
        work = Generating(
            [Asked.of(job) for job in jobs],
            load,
            pipe.hash,
            judge,
            judge().hash if judge else "",
            self.format,
            self.shard_size,
            given,
            seed,
            self.min_score,
            self.dedupe,
        )
        return work, cost

    def _judge(self) -> Any:
        """What loads the judge, if there is another than the model."""
        if self.judge is None:
            return None
        return anywhere(replace(self, model=self.judge, clip=None, lora=None)).loader()


def _check_jobs(pipe: "Pipeline", jobs: "list[Any]", most: int) -> "Cost":
    """What all take; raises UsageError for the first row that this model cannot draw."""
    from ..bulk.drawing import checked
    from ..bulk.places import Place

    def at_once(job: Any) -> Any:  # no more pictures than a shard has are in memory
        few = {"n": min(job.request.n, most)}
        return replace(job, request=job.request.model_copy(update=few))

    good, _ = checked(pipe, [Place(at_once(job), [], []) for job in jobs])
    costs = [
        place.cost.times(math.ceil(job.request.n / most))
        for place, job in zip(good, jobs, strict=True)
        if place.cost is not None
    ]
    return replace(sum(costs[1:], costs[0]), pictures=sum(job.request.n for job in jobs))


def register(app: typer.Typer) -> None:
    """Add the command, which takes what `unclip generate` does."""
    add_command(app, "bulk", __name__, "generate", Bulk)
