"""Shards on a Ray cluster, by Ray Data (extra `ray`); only this file and the server know Ray.

Ray Data gives numbers of shards to actors, each of which holds the model. Where a machine is lost,
it gives what that one held to another, where the shard is made unless it is there already. The
folder is one that all machines share, models and data are under the same paths there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import OutputError, UnclipError, UsageError
from .shards import Shards, Tell

REACHING = 10.0
"""Seconds that a cluster's head has to take a connection."""

Row = Mapping[str, Any]


class Actor:
    """Does shards in a process of a cluster's machine; what goes wrong comes back as a text."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def __call__(self, batch: Row) -> dict[str, list[Any]]:
        """Do the shards of a batch, of one row."""
        fault = ""
        for number in batch["shard"]:
            try:
                self.shards.do(int(number))
            except UnclipError as error:
                fault = f"shard {number}: {error}"
        return {"shard": list(batch["shard"]), "fault": [fault] * len(batch["shard"])}


@dataclass(frozen=True)
class RayEngine:
    """Does shards on a cluster. It grows and shrinks with the cluster while it works.

    Args:
        address: of the cluster's head, or "auto" for one that runs here.
        cpus, gpus: what each process takes of its machine.
        workers: most processes; None: as many as there is room for.
    """

    address: str
    cpus: float = 1
    gpus: float = 0
    workers: int | None = None

    def __call__(self, shards: Shards, numbers: Sequence[int], tell: Tell) -> None:
        """See `Engine`. Raises UsageError where there is no cluster, OutputError of a shard."""
        join(self.address)
        import ray.data
        from ray.exceptions import RayError

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        most = min(self.workers or len(numbers), len(numbers))
        rows = ray.data.from_items(
            [{"shard": number} for number in numbers], override_num_blocks=len(numbers)
        ).map_batches(
            Actor,
            fn_constructor_args=(shards,),
            batch_size=1,
            num_cpus=self.cpus,
            num_gpus=self.gpus or None,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=most, max_tasks_in_flight_per_actor=1
            ),
        )
        things = shards.work.things
        try:
            for row in rows.iter_rows():
                if row["fault"]:
                    raise OutputError(row["fault"])
                tell(things[row["shard"]])
        except RayError as error:
            raise OutputError(f"the cluster failed: {str(error).splitlines()[0]}") from None


def join(address: str | None) -> None:
    """Join a cluster, or start one that nobody else reaches (None). Raises UsageError."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise UsageError("work on a cluster needs Ray: pip install 'unclip[ray]'") from None
    if ray.is_initialized():
        return
    _reach(address or "")
    own = {} if address else {"dashboard_host": "127.0.0.1", "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = address or "here"
        raise UsageError(f"cannot join the Ray cluster {where}: {error}").about("ray") from None


def _reach(address: str) -> None:
    """Raise UsageError where nothing listens at HOST:PORT, where Ray itself asks on for ever."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACHING).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot join the Ray cluster {address}: {error}").about("ray") from None
