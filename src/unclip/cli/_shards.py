"""What commands have in common that write shards: on a cluster or here, with progress."""
# Without `from __future__ import annotations`: see `_options`.

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import UsageError, counted
from ._options import LIMITS, flag, option
from ._progress import counting_progress
from ._result import report
from ._terminal import complain, duration, say

if TYPE_CHECKING:
    from ..bulk.shards import Done, Engine, Shards

Ray = Annotated[
    str | None,
    option(
        "--ray",
        "ADDRESS",
        "A Ray cluster that does the work; auto: this machine's. All its machines see the same "
        "files.",
        "none",
        LIMITS,
    ),
]
RayGpus = Annotated[
    float, option("--ray-gpus", "N", "GPUs that each process takes there.", group=LIMITS)
]
RayCpus = Annotated[
    float, option("--ray-cpus", "N", "Cores that each process takes there.", group=LIMITS)
]
RayWorkers = Annotated[
    int | None,
    option("--ray-workers", "N", "Most processes there.", "as many as have room", LIMITS),
]


DryRun = Annotated[bool, flag("--dry-run", "Say what is to be done, and do nothing.")]


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Where shards are made, if they are."""

    dry_run: DryRun = False

    ray: Ray = None
    ray_gpus: RayGpus = 0.0
    ray_cpus: RayCpus = 1.0
    ray_workers: RayWorkers = None

    def engine(self) -> "Engine":
        """What does them. Raises UsageError."""
        from ..bulk.cluster import RayEngine, join
        from ..bulk.shards import here

        for name in ("ray_gpus", "ray_cpus", "ray_workers"):
            value = getattr(self, name)
            if value is not None and (value < 0 or (value == 0 and name != "ray_gpus")):
                least = "at least 0" if name == "ray_gpus" else "above 0"
                text = f"--{name.replace('_', '-')} must be {least}, got {value:g}"
                raise UsageError(text).about(name)
        if self.ray is None:
            return here
        join(self.ray)  # before anything is read
        return RayEngine(self.ray, self.ray_cpus, self.ray_gpus, self.ray_workers)


def anywhere(command: Any) -> Any:
    """The same command with paths that other processes understand."""
    paths = {name: getattr(command, name) for name in ("model", "clip", "tokenizer")}
    known = {name: one for name, one in paths.items() if one and os.path.exists(one)}
    return replace(command, **{name: os.path.abspath(one) for name, one in known.items()})


def run_shards(shards: "Shards", engine: "Engine", what: str) -> "Done":
    """Do what is missing, with a bar of `what` is done."""
    from ..bulk.shards import complete

    try:
        with counting_progress(what) as on_progress:
            return complete(shards, engine, on_progress)
    except KeyboardInterrupt:
        complain(f"what is done is in {shards.folder}: the same command does the rest", "")
        raise


def plan(shards: "Shards", out: Path, what: str) -> None:
    """Say what there is to do, with `what` they are made of."""
    count, missing = len(shards.work.things), len(shards.missing())
    report(path=out, shards=count, missing=missing, dry_run=True)
    there = f", {count - missing:,} of them there" if missing < count else ""
    say(f"would write {what} in {counted(count, 'shard')}{there}, into {out}")


def tell(done: "Done", out: Path, shown: str, **found: Any) -> None:
    """Say what is there now: in words, and as the command's result."""
    report(path=out, **found, shards=done.made + done.kept, made=done.made)
    there = f", {counted(done.kept, 'shard')} there already" if done.kept else ""
    say(f"{out}: {shown}{there}, in {duration(done.seconds)}")


def folder_of(out: Path) -> Path:
    """Where shards go, from the root. Raises UsageError where it is a file."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: give a folder").about("out")
    return out.expanduser().absolute()
