"""What tests of the server share: a model with random weights, and a worker in a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import unclip
from unclip import Pipeline
from unclip.server import protocol
from unclip.server.job import Spec
from unclip.server.worker import Worker

FEW = {"steps": 3, "prior_steps": 2, "upsampler_steps": 2}
"""Settings under which everything is quick."""


@pytest.fixture(scope="session")
def model(tiny_model: Path) -> Path:
    """See `tiny_model`."""
    return tiny_model


@pytest.fixture(scope="session")
def pipe(model: Path) -> Pipeline:
    """Of that model."""
    return unclip.load(model, device="cpu", dtype=torch.float32)


def spec(prompt: str = "a fox", seed: int = 0, n: int = 1, **more: Any) -> Spec:
    """A generation of the served model."""
    fields = {"prompt": prompt, "seed": seed, "n": n, "settings": dict(FEW)}
    return Spec("generate", fields, model="tiny", pictures=n, batch="generate", **more)


class Talk:
    """A worker in a thread, and what it says."""

    def __init__(self, load: Callable[[str], Any], **begin: Any) -> None:
        self._to: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.said: queue.Queue[dict[str, Any]] = queue.Queue()
        self.before_step: Callable[[dict[str, Any]], None] = lambda message: None
        self.say(kind="begin", models={"tiny": "tiny"}, **begin)
        self.worker = Worker(self._lines(), self, lambda begin: load)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.worker.run, daemon=True)
        self.thread.start()

    def _lines(self) -> Iterator[bytes]:
        while (line := self._to.get()) is not None:
            yield line

    def write(self, line: bytes) -> None:
        """As a file of the worker's."""
        message = protocol.decode(line)
        self.before_step(message)
        self.said.put(message)

    def flush(self) -> None:
        """As a file's."""

    def say(self, **message: Any) -> None:
        """Send a message."""
        self._to.put(protocol.encode(message))

    def draw(self, **jobs: Spec) -> None:
        """Ask for a batch."""
        every = [{"id": i, "spec": one.to_json(), "inputs": {}} for i, one in jobs.items()]
        self.say(kind="draw", jobs=every)

    def until(self, kind: str) -> list[dict[str, Any]]:
        """What is said up to a message of this kind."""
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1]["kind"] != kind:
            heard.append(self.said.get(timeout=60))
        return heard

    def cancel(self, job: str) -> None:
        """Cancel a job, and wait until the worker knows."""
        self.say(kind="cancel", id=job)
        while job not in self.worker.painter.cancelled:
            time.sleep(0.001)

    def close(self) -> None:
        """The server has gone."""
        self.leave()
        self.thread.join(30)

    def leave(self) -> None:
        """As the server goes."""
        self._to.put(None)


@pytest.fixture
def talk(pipe: Pipeline) -> Iterator[Talk]:
    """A worker that is ready."""
    made = Talk(lambda name: pipe)
    made.until("memory")  # the last that it says of itself
    yield made
    made.close()
