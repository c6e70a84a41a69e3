"""Processes that agree over gloo: what one fails with, all raise."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from unclip.errors import DataError, OutputError


def _process(rank: int, port: int, folder: Path) -> None:
    from unclip.train.distributed.processes import Processes

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world = Processes(rank, 2, torch.device("cpu"), 1.0)
    said = [str(world.total([rank, 10])), str(world.each(lambda: rank)), world.first(lambda: "one")]

    def full() -> None:
        raise OutputError("no room")

    def gone() -> None:
        if rank == 1:
            raise DataError("the data are gone")

    for ask in (lambda: world.first(full), lambda: world.each(gone)):
        try:
            ask()
        except (OutputError, DataError) as error:
            said.append(repr(error))
    said.append(str(world.any(rank == 1)))  # they still talk
    (folder / str(rank)).write_text("\n".join(said))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun is not there")
def test_what_one_fails_with_all_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And they go on talking, as a disk that is full now may have room later."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3])  # where processes find this file
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_process, (port, tmp_path), nprocs=2)  # type: ignore[no-untyped-call]
    for rank in range(2):
        assert (tmp_path / str(rank)).read_text().splitlines() == [
            "[1, 20]",
            str(rank),
            "one",
            "OutputError('no room')",
            "DataError('the data are gone')",
            "True",
        ]
