"""Draws jobs with loaded models: requests in batches, pictures as finished files."""

from __future__ import annotations

import base64
import io
import logging
import math
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageOps

from ..abilities import ABILITIES
from ..abilities._capabilities import capabilities
from ..abilities._preview import preview
from ..abilities._several import Known, cost_of, shared
from ..abilities._sized import Sized
from ..abilities.probe import ProbeRequest
from ..errors import Cancelled, UnclipError, UsageError, is_of_memory, unknown
from ..facade import Pipeline
from ..media.notes import COMPOSITE, GENERATED, TRAINED
from ..media.writing import encode as encode_picture
from ..record import Record
from ..request import Drawing
from ..stages.sizes import covering, words
from ..types import Step
from .hooks import Hook, check_pictures, check_texts
from .job import Failure, Finish, Format, Spec
from .protocol import LONGEST, Message, ModelInfo
from .settings import settings_of

_log = logging.getLogger(__name__)

OFTEN = 0.1
"""Seconds between two reports of steps."""

SETTINGS = 64
"""Settings of requests whose cost is remembered: that of the last ones."""

MOST_SENT = LONGEST - 2**20
"""Most characters of a job's files, which are one line."""

COMPOSITES = frozenset({"edit", "outpaint"})
"""Abilities whose pictures keep pixels of the one that was given."""

Load = Callable[[str], Pipeline]


class Sign(Protocol):
    """Signs files."""

    def __call__(self, data: bytes, format: Format, source: str = TRAINED) -> bytes:
        """The signed file of a picture's file; `source`: its digital source type."""


@dataclass(frozen=True)
class Task:
    """A job as the worker gets it: what to draw, and where its input pictures are."""

    id: str
    spec: Spec
    inputs: Mapping[str, str]

    @classmethod
    def of(cls, values: Message) -> Task:
        """From plain data."""
        return cls(values["id"], Spec.of(values["spec"]), values["inputs"])

    @property
    def source(self) -> str:
        """The digital source type of its pictures, by IPTC's name."""
        return COMPOSITE if self.spec.ability in COMPOSITES else TRAINED

    def request(self) -> Drawing:
        """The ability's request. Raises UsageError."""
        if self.spec.ability not in ABILITIES.names():
            raise unknown("ability", self.spec.ability, ABILITIES.names())
        kind = ABILITIES[self.spec.ability].request
        if not issubclass(kind, Drawing):
            raise UsageError(f"'{self.spec.ability}' draws no pictures")
        return kind.of(**self.spec.fields, **self.inputs)


class Models:
    """Served models, of which as many stay loaded as memory allows.

    Args:
        load: makes the pipeline of a name.
        names: of all that are served.
        memory: most bytes that this process may hold before another model is loaded; None: all
            stay.
    """

    def __init__(self, load: Load, names: Sequence[str], memory: int | None = None) -> None:
        self._load, self.names, self._memory = load, list(names), memory
        self._loaded: OrderedDict[str, Pipeline] = OrderedDict()
        self._infos: dict[str, ModelInfo] = {}

    def __getitem__(self, name: str) -> Pipeline:
        name = name or self.names[0]
        if name not in self.names:
            raise unknown("model", name, self.names)
        if name not in self._loaded:
            while self._loaded and self._is_full:
                self._loaded.popitem(last=False)
            self._loaded[name] = self._load(name)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    @property
    def _is_full(self) -> bool:
        """Whether one has to go before another is loaded."""
        return self._memory is not None and resident() > self._memory

    def at_hand(self, name: str) -> bool:
        """Whether a model is there without another going for it. Raises UsageError."""
        name = name or self.names[0]
        if name not in self.names:
            raise unknown("model", name, self.names)
        return name in self._loaded or not self._is_full

    def info(self, name: str) -> ModelInfo:
        """What clients may know of a model; it is loaded once for that."""
        name = name or self.names[0]
        if name not in self._infos:
            self._infos[name] = self._info(name)
        return self._infos[name]

    def _info(self, name: str) -> ModelInfo:
        pipe = self[name]
        model, (height, width) = pipe.model, pipe.model.size
        return ModelInfo(
            name=name,
            size=(width, height),
            abilities=tuple(capabilities(pipe.stages)),
            priors=tuple(model.priors),
            decoders=tuple(model.decoders),
            optional=tuple(model.waiting),
            settings=settings_of(pipe),
            words=tuple(pipe.vocabulary.counts),
            hash=pipe.hash,
        )


class Painter:
    """Draws tasks, tells how they go, and stops those that are cancelled.

    Args:
        models: to draw with.
        tell: gets every message for the server; called from the drawing thread alone.
        exact: draw every picture in a batch of its own, so that its bytes never depend on others.
        hooks: asked about every text and picture.
        sign: what signs files, if they are signed.
    """

    def __init__(
        self,
        models: Models,
        tell: Callable[[Message], None],
        exact: bool = False,
        hooks: Sequence[Hook] = (),
        sign: Sign | None = None,
    ) -> None:
        self.models, self._tell, self._exact, self._hooks = models, tell, exact, hooks
        self._sign = sign
        self.cancelled: set[str] = set()  # other threads add to these two
        self.watched: dict[str, int] = {}  # how many previews, see `protocol`
        self._costs: OrderedDict[str, Known] = OrderedDict()
        self.stopped = threading.Event()  # nobody waits for anything
        self.between_steps: Callable[[], None] = lambda: None

    def check(self, task: Task) -> int:
        """The sampling steps that a task takes. Raises what drawing it would raise at its start.

        Of a model for which another would have to go, such as the one that is drawing, only what
        is known without it: 0 steps.
        """
        check_texts(self._hooks, task.spec.fields)
        request = task.request()
        at_hand = self.models.at_hand(task.spec.model)
        info = self.models.info(task.spec.model)
        if task.spec.ability not in info.abilities:
            raise UsageError(f"the model '{info.name}' cannot {task.spec.ability}").about("model")
        return self._steps([task], [self._sized(task, request)]) if at_hand else 0

    def _sized(self, task: Task, request: Drawing) -> Drawing:
        """A task's request: where its model has stages for larger pictures, as large as wanted."""
        wanted = task.spec.finish.size
        if wanted is None or not isinstance(request, Sized) or request.size or request.aspect:
            return request
        size = covering(self.models[task.spec.model].model, (wanted[1], wanted[0]))
        return request.model_copy(update={"size": words(size)}) if size else request

    def _steps(self, tasks: Sequence[Task], requests: Sequence[Drawing]) -> int:
        """Sampling steps of requests of the same settings. Raises UsageError, see `cost_of`.

        They are found out anew where a picture has to be read.
        """
        pipe, model = self.models[tasks[0].spec.model], tasks[0].spec.model
        settings = {shared(request) for request in requests}
        if any(task.inputs for task in tasks) or len(settings) > 1 or "" in settings:
            return cost_of(pipe, *requests).total
        key = f"{model} {settings.pop()}"
        known = self._costs.setdefault(key, {})
        self._costs.move_to_end(key)
        while len(self._costs) > SETTINGS:
            self._costs.popitem(last=False)
        return cost_of(pipe, *requests, known=known).total

    def probe(self, model: str, image: str, labels: Sequence[str]) -> list[float]:
        """Which of several descriptions fits a picture: a share of each. Raises UnclipError."""
        check_texts(self._hooks, {"captions": list(labels)})
        request = ProbeRequest.of(image=image, labels=labels)
        request.check_inputs()
        return self.models[model].run(request)

    def draw(self, tasks: Sequence[Task]) -> None:
        """Draw a batch; each task is told to be done, failed or cancelled."""
        try:
            for alike in self._alike(tasks):
                self._draw_all(alike)
        finally:  # with what came too late for the batch before: there is one at a time
            self.cancelled.clear()
            self.watched.clear()

    def _alike(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Tasks by the size that they are drawn in: those of two sizes share no batch.

        That is of no job's `batch`, which is made where no model is.
        """
        if len({task.spec.finish.size for task in tasks}) < 2:
            return [list(tasks)]
        groups: dict[str, list[Task]] = {}
        for task in tasks:
            try:
                key = shared(self._sized(task, task.request()))
            except Exception:  # noqa: BLE001 - it is told where the task is drawn
                key = ""
            groups.setdefault(key, []).append(task)
        return list(groups.values())

    def _draw_all(self, tasks: Sequence[Task]) -> None:
        """Draw tasks of one size."""
        left = [task for task in tasks if not self._is_cancelled(task)]
        try:
            if left:
                self._draw(left)
        except Cancelled:
            for task in left:
                self._tell({"kind": "cancelled", "id": task.id})
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
            if len(left) > 1 or (is_of_memory(error) and left[0].spec.pictures > 1):
                self._apart(left)
            else:
                self._fail(left[0], error)

    def _apart(self, tasks: Sequence[Task]) -> None:
        """What failed together, each alone and picture by picture: one fault hits one task."""
        for task in tasks:
            try:
                if not self._is_cancelled(task):
                    self._draw([task], singly=True)
            except Cancelled:
                self._tell({"kind": "cancelled", "id": task.id})
            except Exception as error:  # noqa: BLE001
                self._fail(task, error)

    def _draw(self, tasks: Sequence[Task], singly: bool = False) -> None:
        pipe = self.models[tasks[0].spec.model]
        for task in tasks:
            check_texts(self._hooks, task.spec.fields)
        requests = [self._sized(task, task.request()) for task in tasks]
        steps = self._steps(tasks, requests)
        watch = Watch(self, tasks, pipe, steps)
        if self._exact or singly:
            drawn = [self._one_by_one(pipe, request, watch) for request in requests]
        else:
            drawn = pipe.run_many(requests, watch)
        for task, pictures in zip(tasks, drawn, strict=True):
            self._deliver(task, pictures)

    def _deliver(self, task: Task, pictures: Sequence[Image.Image]) -> None:
        """Tell that a task is done, unless a hook refuses its pictures."""
        if self._is_cancelled(task):
            return
        try:
            check_pictures(self._hooks, pictures)
            finish, source = task.spec.finish, task.source
            files = [finished(picture, finish, self._sign, source) for picture in pictures]
            if sum(len(one["data"]) for one in files) > MOST_SENT:
                raise UsageError("the files are too large together: ask for fewer or smaller ones")
        except Exception as error:  # noqa: BLE001 - of this task alone
            self._fail(task, error)
        else:
            self._tell({"kind": "done", "id": task.id, "pictures": files})

    def _one_by_one(self, pipe: Pipeline, request: Drawing, watch: Watch) -> list[Image.Image]:
        count = getattr(request, "n", 1)
        if count == 1 or request.one_seed:
            return pipe.run(request, watch)
        each = (request.model_copy(update={"n": 1, "seed": request.seed + i}) for i in range(count))
        return [picture for one in each for picture in pipe.run(one, watch)]

    def _is_cancelled(self, task: Task) -> bool:
        """Whether it is; then that is told."""
        if task.id not in self.cancelled:
            return False
        self._tell({"kind": "cancelled", "id": task.id})
        return True

    def _fail(self, task: Task, error: Exception) -> None:
        if not isinstance(error, UnclipError):
            _log.error("job %s failed", task.id, exc_info=error)
        self._tell({"kind": "failed", "id": task.id, "failure": asdict(failure_of(error))})

    def tell_step(self, tasks: Sequence[Task], step: Step, share: float, steps: int) -> None:
        """Say how far a batch is, and how many steps it took since it was last said."""
        where = {"stage": step.stage, "index": step.index, "total": step.total, "share": share}
        self._tell({**memory(), "steps": steps})
        for task in tasks:
            self._tell({"kind": "step", "id": task.id, **where})

    def tell_previews(
        self, tasks: Sequence[Task], pictures: Sequence[Image.Image], **more: object
    ) -> None:
        """Show those that somebody watches, where it is known whose they are."""
        if sum(task.spec.pictures for task in tasks) != len(pictures):
            return
        left = iter(pictures)
        for task in tasks:
            for index, picture in zip(range(task.spec.pictures), left, strict=False):
                if task.id in self.watched:
                    data = base64.b64encode(file_of(picture, Finish())).decode()
                    about = {"id": task.id, "index": index, "picture": data}
                    self._tell({"kind": "preview", **about, **more})


class Watch:
    """An `on_step` that reports, shows previews, and stops a batch that nobody wants any more."""

    def __init__(self, painter: Painter, tasks: Sequence[Task], pipe: Pipeline, steps: int) -> None:
        self._painter, self._tasks, self._pipe, self._steps = painter, tasks, pipe, steps
        self._taken, self._counted, self._told = 0, 0, 0.0
        self._drawing = [name for name, one in pipe.stages.items() if "image" in one.produces]
        self._before, self._shown = 0, 0  # steps before those of a picture; previews since
        self._cheap = pipe.previews(lambda some: painter.tell_previews(tasks, some))

    def __call__(self, step: Step) -> None:
        """After a step. Raises Cancelled where every task is cancelled."""
        gone = all(task.id in self._painter.cancelled for task in self._tasks)
        if gone or self._painter.stopped.is_set():
            raise Cancelled("cancelled")
        self._painter.between_steps()
        self._taken += len(step.x0)
        now = time.monotonic()
        share = round(min(1.0, self._taken / max(1, self._steps)), 4)
        if now - self._told >= OFTEN or step.index == step.total:
            self._painter.tell_step(self._tasks, step, share, self._taken - self._counted)
            self._told, self._counted = now, self._taken
        watched = self._painter.watched
        wanted = [watched[task.id] for task in self._tasks if task.id in watched]
        if most := max(wanted, default=0):
            self._preview(step, most, share)
        elif wanted:
            self._cheap(step)

    def _preview(self, step: Step, most: int, share: float) -> None:
        """Show a preview where the next of `most` is due, whatever time it takes."""
        if step.stage not in self._drawing:
            self._before = self._taken
            return
        done = (self._taken - self._before) / max(1, self._steps - self._before)
        left = step.total - step.index if step.stage == self._drawing[-1] else math.inf
        missing = most - self._shown
        if missing > 0 and (done >= (self._shown + 1) / (most + 1) or left < missing):
            self._shown += 1
            pictures = preview(self._pipe, step)
            self._painter.tell_previews(self._tasks, pictures, number=self._shown, share=share)


def finished(
    picture: Image.Image, finish: Finish, sign: Sign | None = None, source: str = TRAINED
) -> Message:
    """A picture as it is delivered, with its record: `Drawn` but for the id, and its `data`."""
    native, wanted = picture.size, finish.size or picture.size
    info, seed = picture.info, 0
    with suppress(UsageError):
        seed = Record.of(picture).seed
    if wanted != native:
        picture = ImageOps.fit(picture, wanted, Image.Resampling.LANCZOS)  # its middle
    picture.info = {**(info if finish.record else {}), GENERATED: finish.marked and source}
    data = file_of(picture, finish)
    data = data if sign is None else sign(data, finish.format, source)
    made = {"seed": seed, "width": wanted[0], "height": wanted[1], "native": list(native)}
    encoded = base64.b64encode(data).decode()
    return {**made, "bytes": len(data), "format": finish.format, "data": encoded}


def file_of(picture: Image.Image, finish: Finish) -> bytes:
    """The bytes of its file."""
    file = io.BytesIO()
    encode_picture(picture, file, finish.format.upper(), finish.quality)
    return file.getvalue()


def failure_of(error: Exception) -> Failure:
    """What a client is told of an error; what is unforeseen stays in the log."""
    if isinstance(error, UnclipError):
        return Failure(error.code, " ".join(str(error).split()), error.field or None)
    if is_of_memory(error):
        return Failure("memory", "there is not enough memory: ask for fewer or smaller pictures")
    return Failure("internal", "an error in the server itself; its log says more")


def memory() -> Message:
    """What this process holds, as it is told."""
    cuda = sys.modules["torch"].cuda  # a pipeline has imported it
    held = cuda.memory_reserved() if cuda.is_initialized() else 0
    return {"kind": "memory", "bytes": resident(), "gpu": held}


def resident() -> int:
    """Bytes of memory that this process holds now; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
