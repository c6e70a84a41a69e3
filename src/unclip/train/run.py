"""A run: the folder in which a recipe becomes a model.

.lock                       held by the process that trains, which it names
recipe.json                 what is trained; with a budget, also how many steps fit into it
tokenizer.json
STAGE/states/step-N/        saved training states, the newest two
STAGE/previews/             sample grids
STAGE/events/               TensorBoard scalars
model/                      a native model folder of all stages so far, usable at any time
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..checkpoints import native
from ..data import Source
from ..errors import OutputError, TrainingError, UsageError
from ..files import remove_leftovers, write_json, write_text
from ..loading import plan
from ..nn.tokenizer import Tokenizer
from ..plain import read_json
from ..stages import STAGES, Stage, on_meta
from ..stages.clip import ClipStage
from ..vocabulary import Vocabulary
from .budget import fit, minutes_of
from .loader import Loader
from .lock import Lock
from .recipe import Recipe
from .state import load_values, saved_states, step_of
from .task import Task
from .trainer import Trainer

LOCK = ".lock"
"""The file in a run's folder that says who trains there."""


class Run:
    """A recipe, its folder, and what has come of it so far."""

    def __init__(self, recipe: Recipe, folder: Path, device: torch.device) -> None:
        self.recipe, self.folder, self.device = recipe, folder, device
        self._lock: Lock | None = None

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "model"

    def check(self) -> Source:
        """Find faults before anything is written, and return the data, which are there.

        Raises:
            UsageError: a network cannot be built from its configuration, or an upsampler enlarges
                another size than is drawn before it.
            DataError: the data are not there.
        """
        drawn: int | None = None
        for name in self.recipe.stages:
            config = self.recipe.stage(name)
            stage = on_meta(config)
            wanted = getattr(config, "low_res_size", drawn)
            if drawn is not None and wanted != drawn:
                raise UsageError(
                    f"setting 'stages.{name}.low_res_size' must be {drawn}, the side of the "
                    f"pictures of the stage before it, got {wanted}"
                )
            drawn = stage.image_size if "image" in stage.produces else drawn
        return self.recipe.source(64)

    def begin(self, resume: bool) -> None:
        """Make the folder, or check that it may be gone on with, and keep others out until `end`.

        What a killed process left half-written in it is removed, where others are kept out.

        Raises:
            UsageError: it holds a run already and `resume` was not asked for, or another process
                trains in it.
            OutputError: it cannot be made.
            TrainingError: its recipe.json is damaged.
        """
        try:
            there = self.folder.iterdir() if self.folder.exists() else ()
            if not resume and any(one.name != LOCK for one in there):
                raise UsageError(
                    f"{self.folder} holds a run already; go on with --resume, "
                    "or choose another --out"
                )
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from None
        self._lock = Lock(self.folder / LOCK, str(self.folder))
        if self._lock.held:  # else they may be what another process is writing
            remove_leftovers(self.folder)
        self.recipe = self._carried()
        self._record()

    @property
    def is_locked(self) -> bool:
        """Whether others are kept out: not on every file system."""
        return self._lock is not None and self._lock.held

    def end(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.release()

    def _record(self) -> None:
        write_json(self.folder / "recipe.json", self.recipe.dump())

    def _carried(self) -> Recipe:
        """The recipe with what a budget has settled before: shares, and the steps of what began."""
        recorded = self._recorded()
        budget = self.recipe.budget or recorded.get("budget")
        if budget is None or not recorded:
            return self.recipe
        before = Recipe.parse(recorded, str(self.folder / "recipe.json"))
        recipe = self.recipe.model_copy(update={"budget": minutes_of(budget)})
        known = {name: before.stages.get(name, {}).get("train", {}) for name in recipe.trained}
        if not recipe.shares():
            for name in recipe.trained:
                recipe = recipe.with_train(name, **_some(known[name], "share"))
        for name in filter(self.begun, recipe.trained):
            recipe = recipe.with_train(name, **_some(known[name], "steps"))
        return recipe.check()

    def _recorded(self) -> dict[str, Any]:
        """What this folder was last trained with, as plain values; empty where it is new."""
        file = self.folder / "recipe.json"
        try:
            values = read_json(file) if file.is_file() else {}
        except (OSError, ValueError) as error:
            raise TrainingError(f"{file} is damaged: {error}") from None
        return values if isinstance(values, dict) else {}

    def begun(self, name: str) -> bool:
        """Whether there is a saved state of a stage to go on with."""
        return self.steps_done(name) > 0

    def spent(self) -> float:
        """Seconds that the stages begun took or, where not finished, will take at this pace.

        Raises:
            TrainingError: a saved state is damaged.
        """
        return sum(self._seconds(name) for name in filter(self.begun, self.recipe.trained))

    def _seconds(self, name: str) -> float:
        state = saved_states(self.folder / name / "states")[-1]
        try:
            seconds, done = float(load_values(state)["seconds"]), step_of(state)
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{state / 'state.json'} is damaged: {error!r}") from None
        return seconds / done * max(done, self.recipe.train(name).steps)

    def finished(self, name: str) -> bool:
        """Whether a stage has reached the recipe's last step, and its weights are in `model`."""
        done = self.recipe.is_frozen(name) or (
            self.steps_done(name) >= self.recipe.train(name).steps
        )
        exported = (self.model / "model.json").is_file() and (self.model / name).is_dir()
        return done and exported and name in native.read_manifest(self.model).stages

    def take(self, name: str) -> None:
        """Put a stage that another model gives into this one, as it is."""
        self.export(name, self.build(name))

    def steps_done(self, name: str) -> int:
        """Steps in the newest saved state of a stage, 0 where there is none."""
        states = saved_states(self.folder / name / "states")
        return step_of(states[-1]) if states else 0

    def tokenizer(self) -> Tokenizer:
        """Load the run's tokenizer, or learn it from the data's captions first."""
        config, file = self.recipe.tokenizer, self.folder / "tokenizer.json"
        if not file.is_file() and config.model:
            write_text(file, plan(config.model).read_tokenizer().to_json())
        elif not file.is_file():
            captions = self.recipe.source(64).captions(config.captions)
            tokenizer = Tokenizer.train(captions, config.vocab_size, config.context)
            write_text(file, tokenizer.to_json())
        return Tokenizer.load(file, config.context)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of the data's captions, and of the models that readers of text come from.

        Empty where one of those models lists none: nobody can say what it knows.
        """
        words = self.recipe.source(64).vocabulary()
        for model in self.recipe.readers_from():
            before = plan(model).vocabulary
            if not before:
                return Vocabulary()
            words |= before
        return words

    def trainer(self, name: str) -> Trainer:
        """A trainer for one stage: prepared, or gone on with where a state was saved.

        With a budget, the steps of a stage not begun are worked out first, and written down.

        Raises:
            TrainingError: a stage that it needs is not trained, or its saved state is damaged.
            UsageError: not one of its steps fits into its share of the budget.
        """
        _ = self.vocabulary  # now, while the data are there, and in nobody's share of a budget
        started = time.monotonic()
        if self.recipe.budget is not None and not self.begun(name):
            self.recipe = fit(self, name)
            self._record()
        trainer = self._trainer(name)
        if not trainer.resume():
            trainer.prepare()
        trainer.seconds += time.monotonic() - started
        return trainer

    def untrained(self, name: str) -> Trainer:
        """A trainer to measure with; a CLIP that is not trained yet is as good for that."""
        return self._trainer(name, trained=False)

    def _trainer(self, name: str, trained: bool = True) -> Trainer:
        torch.manual_seed(self.recipe.seed)
        stage = self.build(name)
        clip = self._clip(stage, trained)
        if clip is not None and self.recipe.given(name) is None:
            stage.init_from_clip(clip)
        prior = self._prior(stage, trained)
        task = Task(stage, clip, prior)
        config = self.recipe.train(name)
        loader = Loader(
            self.recipe.source(task.source_size),
            self.tokenizer(),
            config.batch_at(0),
            config.workers,
            pin=self.device.type == "cuda",
        )
        states = self.folder / name / "states"
        return Trainer(task, loader, config, states, self.recipe.seed, self.device)

    def build(self, name: str) -> Stage:
        """A stage with fresh weights, or those of the model that it is taken from."""
        config, given = self.recipe.stage(name), self.recipe.given(name)
        if given is None:
            return STAGES[config.kind](config)
        part = replace(given, config=config)
        stage = part.build()
        part.fill(stage, f"stages.{name}.from", torch.float32, torch.device("cpu"))
        return stage.requires_grad_(True).train()

    def _clip(self, stage: Stage, trained: bool) -> ClipStage | None:
        """The CLIP of this run, where the stage needs one."""
        if not Task.needs_clip(stage):
            return None
        for name in self.recipe.stages:
            if self.recipe.stage(name).kind == "clip":
                clip = self._helper(name, stage, trained)
                assert isinstance(clip, ClipStage)
                return clip
        return None

    def _prior(self, stage: Stage, trained: bool) -> Stage | None:
        """The prior that the recipe chooses, where the stage needs one."""
        name = self.recipe.chosen_prior() if Task.needs_prior(stage) else None
        return self._helper(name, stage, trained) if name else None

    def _helper(self, name: str, stage: Stage, trained: bool) -> Stage:
        """A stage of this run that `stage` learns with."""
        known = (self.model / name).is_dir()
        if trained and not known:
            raise TrainingError(f"train stage '{name}' first: '{stage.kind}' needs it")
        return native.load_stage(self.model, name) if known else self.build(name)

    def export(self, name: str, stage: Stage) -> None:
        """Put a stage's weights into the model folder and bring its manifest up to date.

        Others may be reading it: between the two nothing is done that can be done before.
        """
        self.tokenizer().save(self.model / "tokenizer.json")
        if self.recipe.card:
            write_text(self.model / "README.md", self.recipe.card)
        there = {one for one in self.recipe.stages if (self.model / one).is_dir()}
        done = [one for one in self.recipe.stages if one in there | {name}]
        context, prior = self.recipe.tokenizer.context, self.recipe.prior
        chosen = prior if prior in done else None
        words = self.vocabulary
        known: dict[Path, str] = {}
        for one in there - {name}:
            known |= native.hashes(self.model / one)
        known |= native.save_stage(self.model / name, stage)
        native.write_manifest(
            self.model, self.recipe.name, done, context, chosen, known=known, vocabulary=words
        )


def _some(values: dict[str, Any], key: str) -> dict[str, Any]:
    """That value alone, if it is there."""
    return {key: values[key]} if values.get(key) is not None else {}
