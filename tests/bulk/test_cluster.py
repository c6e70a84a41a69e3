"""Shards on a Ray cluster: the same bytes as here, each once, though a machine is killed."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import unclip
from unclip.abilities.generate import GenerateRequest
from unclip.bulk.cluster import RayEngine
from unclip.bulk.embedding import Embedding, ends_of, opened
from unclip.bulk.embedding import finish as finish_embedding
from unclip.bulk.generating import Asked, Generating
from unclip.bulk.generating import finish as finish_generating
from unclip.bulk.shards import Shards, Work, complete, here

os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads both when it is imported
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

SHARDS = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that does no work, and two nodes with a process each."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 0, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(num_cpus=1)
        yield made
        ray.shutdown()
        made.shutdown()


def generating(model: Path, tmp_path: Path) -> Generating:
    """Long enough that a machine can be killed within a shard."""
    slow = {"steps": 60, "prior_steps": 1, "upsampler_steps": 1}
    asked = [
        Asked(GenerateRequest.of(prompt="a fox", seed=seed, n=2, settings=slow))
        for seed in range(0, 10 * SHARDS, 10)
    ]
    load = partial(unclip.load, model, "cpu", "float32")
    return Generating(
        asked, load, load().hash, layout="webdataset", shard_size=2, min_score=-1.0, dedupe=True
    )


def embedding(model: Path, tmp_path: Path) -> Embedding:
    rng, data = np.random.default_rng(0), tmp_path / "pictures"
    data.mkdir()
    for number in range(2 * SHARDS):
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / f"{number:02d}.png")
        (data / f"{number:02d}.txt").write_text("a fox")
    (data / "03.png").write_bytes(b"no picture")
    read, load = partial(opened, data, {}), partial(unclip.load, model, "cpu", "float32")
    source = read((8, 8))
    ends = ends_of(source, 2)
    work = Embedding(read, str(data), source.count, ends, load, "tiny", load().hash, shard_size=2)
    return replace(work, encodings=True)


def files_of(folder: Path) -> dict[str, bytes]:
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def noted(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file each shard's note is, and when it was written."""
    stats = {file.name: file.stat() for file in (folder / "shards").glob("*.json")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


class Watched(RayEngine):
    """Kills a machine when two shards are there."""

    def __call__(self, shards: Shards, numbers: Sequence[int], tell: Any) -> None:
        killer = threading.Thread(target=self._kill, args=(shards.folder,))
        killer.start()
        super().__call__(shards, numbers, tell)
        killer.join()
        assert KILLED, "no machine was killed while there was work"

    def _kill(self, folder: Path) -> None:
        while len(before := noted(folder)) < 2:
            time.sleep(0.05)
        if len(before) < SHARDS - 1:
            cluster, node = NODES.pop()
            cluster.remove_node(node, allow_graceful=False)
            KILLED.update(noted(folder))


NODES: list[tuple[Any, Any]] = []
KILLED: dict[str, tuple[int, int]] = {}


@pytest.mark.parametrize(
    ("make", "finish"),
    [(generating, finish_generating), (embedding, finish_embedding)],
    ids=["bulk", "embed"],
)
def test_a_killed_machine_costs_no_shard_and_changes_no_byte(
    make: Callable[[Path, Path], Work],
    finish: Callable[[Shards, Any], Any],
    cluster: Any,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    work = make(tiny_model, tmp_path)
    alone, together = Shards(work, tmp_path / "alone"), Shards(work, tmp_path / "together")
    complete(alone, here)
    KILLED.clear()
    NODES[:] = [(cluster, cluster.list_all_nodes()[-1])]
    kills = isinstance(work, Generating)
    engine = (Watched if kills else RayEngine)(cluster.address)
    done = complete(together, engine)
    assert done.made == SHARDS
    after = noted(together.folder)
    assert all(after[name] == stat for name, stat in KILLED.items()), "none is written again"
    assert finish(alone, work) == finish(together, work)
    assert files_of(alone.folder) == files_of(together.folder)
    if kills:
        cluster.add_node(num_cpus=1)


def test_what_goes_wrong_there_is_one_line(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    from unclip.errors import OutputError

    work = generating(tiny_model, tmp_path)
    gone = replace(work, load=partial(unclip.load, tmp_path / "gone"))
    with pytest.raises(OutputError, match=r"shard \d: no model '.*gone'"):
        complete(Shards(gone, tmp_path / "out"), RayEngine(cluster.address))
