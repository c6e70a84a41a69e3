"""Workers of a Ray cluster: a node that is killed under load loses no job."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unclip.server.engine import Engine, EngineOptions
from unclip.server.job import Spec
from unclip.server.store import Store

from .conftest import FEW, spec

os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads it when it is imported
pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that runs no worker, and two nodes that run one each."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_node_killed_under_load_loses_no_job(tmp_path: Path, model: Path, cluster: Any) -> None:
    from unclip.server.ray import RayLauncher

    async def within() -> None:
        store, launch = Store(tmp_path), RayLauncher(cluster.address)
        options = EngineOptions({"tiny": str(model)}, "cpu", "float32", batch=1, workers=2)
        engine = Engine(store, options, launch)
        await engine.start()
        while engine.idle < 2:
            await asyncio.sleep(0.1)
        slow = {**FEW, "steps": 100}
        jobs = []
        for seed in range(12):
            asked = spec("a fox", seed)
            asked.fields["settings"] = slow
            jobs.append(await engine.submit("me", asked))
        await engine.wait(jobs[1].id)
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
        ended = [await engine.wait(job.id) for job in jobs]
        assert [one.state for one in ended if one] == ["done"] * 12
        assert engine.figures.deaths >= 1
        assert len({one.pictures[0].id for one in ended if one}) == 12
        cluster.add_node(num_cpus=1)
        picture = await engine.read(ended[0].pictures[0])  # type: ignore[union-attr]
        varied = await engine.submit("me", Spec("vary", {"n": 1}, model="tiny"), {"image": picture})
        done = await engine.wait(varied.id)
        assert done is not None and done.state == "done", done
        await engine.stop()
        store.close()

    asyncio.run(asyncio.wait_for(within(), 300))
