"""The process that owns the models: it reads what to draw from stdin and answers on stdout.

The server starts it as `python -m unclip.server.worker`, and again when it dies. It ends when its
stdin does, so it never outlives the server. `protocol` lists what is said.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from . import protocol
from .protocol import ANSWERED, Message

Load = Callable[[Message], Any]
"""Makes the function that loads a model by its name, of what `begin` says."""


class Worker:
    """Reads messages in one thread; checks and draws in another, the only one that uses PyTorch.

    Args:
        lines: what the server says.
        out: where answers go.
        load: see `Load`; tests give their own.
    """

    def __init__(self, lines: Iterator[bytes], out: IO[bytes], load: Load | None = None) -> None:
        self._lines, self._out, self._load = lines, out, load or loader
        self._orders: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._checks: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._writing = threading.Lock()

    def tell(self, message: Message) -> None:
        """Write a message; from any thread."""
        line = protocol.encode(message)
        with self._writing:
            self._out.write(line)
            self._out.flush()

    def run(self) -> int:
        """Work until the server has gone. Returns the exit code."""
        from ..errors import UnclipError
        from .credentials import Signer
        from .hooks import load_hook
        from .painter import Models, Painter, memory

        begin = protocol.decode(next(self._lines))
        models = Models(self._load(begin), list(begin["models"]), begin.get("memory"))
        try:
            hooks = [load_hook(name) for name in begin.get("hooks", ())]
            sign = Signer(*begin["c2pa"]) if begin.get("c2pa") else None
            self.painter = Painter(models, self.tell, bool(begin.get("exact")), hooks, sign)
            self.painter.between_steps = self._answer_checks
            infos = [asdict(models.info(name)) for name in reversed(models.names)]
            self._read_weights(models.names[0])
        except (UnclipError, OSError, MemoryError) as error:
            self.tell({"kind": "broken", "message": " ".join(str(error).split())})
            return 1
        threading.Thread(target=self._read, daemon=True).start()
        self.tell({"kind": "ready", "models": infos[::-1]})
        self.tell(memory())
        with suppress(BrokenPipeError):  # the server has gone
            while (order := self._orders.get()) is not None:
                self._answer_checks()
                if order["kind"] == "draw":
                    self.painter.draw(_tasks(order["jobs"]))
                    self.tell({"kind": "idle"})
        return 0

    def _read_weights(self, name: str) -> None:
        """Read a model's weights, which would be read when it first draws: damage is found now."""
        pipe = self.painter.models[name]
        for stage in pipe.stages.values():
            stage.net  # noqa: B018 - reading it reads the weights

    def _read(self) -> None:
        """Take messages until stdin ends; a cancellation reaches what is drawn right now."""
        try:
            for line in self._lines:
                self._take(protocol.decode(line))
        finally:
            self.painter.stopped.set()
            self._orders.put(None)

    def _take(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "draw":
            self._orders.put(message)
        elif kind == "cancel":
            self.painter.cancelled.add(message["id"])
        elif kind == "watch":
            watched = self.painter.watched
            for job, count in message["previews"].items():
                watched[job] = max(count, watched.get(job, 0))
        elif kind in ANSWERED:
            self._checks.put(message)
            self._orders.put({"kind": "check"})

    def _answer_checks(self) -> None:
        """Answer what waits, in the thread that draws.

        A second thread that uses PyTorch makes a second pool of OpenMP's threads; with more of
        them than cores, every picture takes longer from then on.
        """
        with suppress(queue.Empty):
            while True:
                message = self._checks.get_nowait()
                answer = self._answered(message)
                kind = ANSWERED[message["kind"]]
                self.tell({"kind": kind, "number": message["number"], **answer})

    def _answered(self, message: Message) -> Message:
        from .painter import failure_of

        try:
            return {"failure": None, **self._answer(message)}
        except Exception as error:  # noqa: BLE001 - it is told
            return {"failure": asdict(failure_of(error))}

    def _answer(self, message: Message) -> Message:
        from .painter import Task
        from .recall import of_parameters

        model, painter = message.get("model", ""), self.painter
        if message["kind"] == "probe":
            image, labels = message["inputs"]["image"], message["labels"]
            return {"shares": painter.probe(model, image, labels)}
        if message["kind"] == "recall":
            return {"recalled": of_parameters(message["notes"], painter.models[model])}
        task = {"id": "", "spec": message["spec"], "inputs": message["inputs"]}
        return {"steps": painter.check(Task.of(task))}


def _tasks(jobs: Sequence[Message]) -> list[Any]:
    from .painter import Task

    return [Task.of(one) for one in jobs]


def loader(begin: Message) -> Callable[[str], Any]:
    """What loads the models of `begin`."""
    from ..loading import load

    def by_name(name: str) -> Any:
        return load(begin["models"][name], begin.get("device"), begin.get("dtype"))

    return by_name


def main() -> int:
    """Serve stdin and stdout; what else this process prints goes to stderr."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return Worker(iter(sys.stdin.buffer.readline, b""), out).run()


if __name__ == "__main__":
    sys.exit(main())
