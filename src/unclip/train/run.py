"""A run: the folder in which a recipe becomes a model.

.lock                       held by the process that trains, which it names
recipe.json                 what is trained; with a budget, also how many steps fit into it
tokenizer.json
STAGE.lora.safetensors      the LoRA of a stage that learns one, and beside it those for others
STAGE/states/step-N/        saved training states, the newest few
STAGE/previews/             sample grids
STAGE/log.jsonl             every number and note that was logged; STAGE/events/ is TensorBoard's
report.html                 curves, previews and what happened, in one page
cache/                      what frozen networks say of the data: see `train.caching`
skipped.log                 which samples could not be made, and why
model/                      a native model folder of all stages so far, usable at any time
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import torch

from ..checkpoints import native
from ..checkpoints.part import Part
from ..checkpoints.tokenizers import load_tokenizer
from ..data import Source
from ..errors import OutputError, TrainingError, UsageError, about
from ..files import remove_leftovers, write_text, writing
from ..loading import plan
from ..nn.lora import merged
from ..nn.tokenizer import Tokenizer
from ..stages import STAGES, Stage, on_meta
from ..vocabulary import Vocabulary
from .budget import Budget, Pacer
from .caching import OnProgress, cached
from .changes import changed_base, changes
from .checking import check_samples, check_stage
from .clock import Clock
from .config import TrainConfig
from .cost import phase_costs, share_ahead, task_on_meta
from .data import measured_by, seen_by
from .foreseen import foreseen
from .latents import fill, keep
from .loader import Loader
from .lock import Lock
from .lora import learn_low_rank, put_back, write_loras
from .measuring import seconds_per_step
from .recipe import FROM, Recipe
from .recorded import RECIPE, Recorded
from .saved import Saved
from .skipped import Skipped
from .spending import Spending
from .state import Best, best_state, load_state, state_at
from .task import Task
from .tasks import make_task, notice
from .trainer import Trainer
from .validation import Validation

LOCK = ".lock"
"""The file in a run's folder that says who trains there."""

PREPARED = (RECIPE, "tokenizer.json")
"""Files in a run's folder that are there before a stage begins."""

PROMPTS = 9
"""Captions that previews are of where the recipe names no prompts."""

SKIPPED = "skipped.log"
"""The file in a run's folder that names the samples that could not be made."""


class Run:
    """A recipe, its folder, and what has come of it so far."""

    def __init__(
        self, recipe: Recipe, folder: Path, device: torch.device, clock: Clock | None = None
    ) -> None:
        self.recipe, self.folder, self.device = recipe, folder, device
        self.clock = clock or Clock()
        self.saved, self.recorded = Saved(folder), Recorded(folder)
        self.warn: Callable[[str], None] = lambda line: None
        self.world = self.clock.world  # the first of its processes writes, the others read
        self._lock: Lock | None = None
        self.on_progress: OnProgress = lambda what, done, total: None  # of what a cache lacks

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "model"

    def check(self) -> Source:
        """Find faults before anything is written, and return the data, which are there.

        Raises:
            UsageError: a network cannot be built from its configuration, an upsampler enlarges
                another size than is drawn before it, a stage cannot learn with those that it
                needs, or the data cannot be cut, kept or held out as is wanted.
            DataError: the data, or those of validation, are not there.
        """
        for name, config in self.recipe.trained.items():
            for _, size in config.stretches(config.steps):
                with about(f"stages.{name}.train.batch_size"):
                    self.world.share(size)
        drawn: tuple[int, int] | None = None
        tasks: list[Task] = []
        for name, recipe in self.recipe.stages.items():
            stage = on_meta(recipe.config)
            wanted = getattr(recipe.config, "low_res_size", None)
            if drawn and wanted and drawn != (wanted, wanted):
                raise UsageError(
                    f"setting 'stages.{name}.low_res_size' must be {max(drawn)}, the side of the "
                    f"pictures of the stage before it, got {wanted}"
                )
            drawn = stage.image_size if "image" in stage.produces else drawn
            if name in self.recipe.trained:
                tasks.append(check_stage(self.recipe, name))
        source = self.recipe.source()
        for task in tasks:
            check_samples(self.recipe, task, source)
        return source

    def exists(self) -> bool:
        """Whether the folder holds more than what is written before a stage begins.

        Raises OutputError if it cannot be read.
        """
        try:
            there = self.folder.iterdir() if self.folder.is_dir() else ()
            return any(one.name not in (LOCK, *PREPARED) for one in there)
        except OSError as error:
            raise OutputError(f"cannot read {self.folder}: {error.strerror or error}") from None

    def check_states(self) -> None:
        """Check that the saved states fit the recipe, by the recipe that they were trained with.

        Raises:
            TrainingError: a stage with a saved state has another network now, another optimizer,
                or is taken from another model.
        """
        before = self.recorded.recipe()
        for name, stage in self.recipe.stages.items():
            if not self.saved.begun(name):
                continue
            where, facts = f"stages.{name}", self.saved.facts(name)
            old = before.stages.get(name) if before else None
            changed = changes(old, stage, where) if old else ""
            was = before.base(name) if before and old else None
            if was := facts.get("base", was):
                changed = changed or changed_base(was, self.recipe.base(name), stage, where)
            if changed:
                raise TrainingError(
                    f"stage '{name}' in {self.folder} was begun with {changed}: set it back, "
                    "or train anew in another folder (--out)"
                )

    def begin(self, resume: bool) -> None:
        """Make the folder, or check that it may be gone on with, and keep others out until `end`.

        What a killed process left half-written in it is removed, where others are kept out.

        Raises:
            UsageError: it holds a run already and `resume` was not asked for, or another process
                trains in it.
            OutputError: it cannot be made.
            TrainingError: its recipe.json is damaged, or as for `check_states`.
        """
        self.world.first(lambda: self._begin(resume))
        self.recipe = self.recorded.settle(self.recipe, self.saved)

    def _begin(self, resume: bool) -> None:
        if not resume and self.exists():
            raise UsageError(
                f"{self.folder} holds a run already; go on with --resume, or choose another --out"
            )
        self.check_states()
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.folder / LOCK, str(self.folder))
        if self._lock.held:  # else they may be what another process is writing
            remove_leftovers(self.folder)
        if not resume:  # what was refused before, perhaps of other data
            for name in PREPARED:
                (self.folder / name).unlink(missing_ok=True)
        self.recipe = self.recorded.settle(self.recipe, self.saved)
        self.recorded.write(self.recipe)

    @property
    def is_locked(self) -> bool:
        """Whether others are kept out: not on every file system."""
        return not self.world.is_first or (self._lock is not None and self._lock.held)

    def end(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.release()

    def finished(self, name: str) -> bool:
        """Whether a stage has reached the recipe's last step, and its weights are in `model`."""
        train = self.recipe.stage(name).train
        done = train is None or self.saved.steps_done(name) >= train.steps
        exported = (self.model / "model.json").is_file() and (self.model / name).is_dir()
        return done and exported and name in native.read_manifest(self.model).stages

    def export_frozen(self, name: str) -> None:
        """Put a stage that another model gives into this one, as it is."""
        self.world.first(lambda: self.export(name, self.build(name)))

    def tokenizer(self) -> Tokenizer:
        """Load the run's tokenizer, or learn it from the data's captions first."""
        config, file = self.recipe.settings.tokenizer, self.folder / "tokenizer.json"
        if not file.is_file() and config.model:
            model = self.recipe.models.get(config.model) or plan(config.model)
            write_text(file, model.read_tokenizer().to_json())
        elif not file.is_file():
            captions = self.recipe.source().captions(config.captions)
            tokenizer = Tokenizer.train(captions, config.vocab_size, config.context)
            write_text(file, tokenizer.to_json())
        return load_tokenizer(file, config.context)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """The recipe's prompts; where it has none, the first captions of the data."""
        if self.recipe.settings.prompts:
            return self.recipe.settings.prompts
        return tuple(dict.fromkeys(self.recipe.source().captions(20 * PROMPTS)))[:PROMPTS]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of the data's captions, and of the models that readers of text come from.

        Empty where one of those models lists none: nobody can say what it knows.
        """
        words = self.recipe.source().vocabulary()
        stages = [(one.part, one.base) for one in self.recipe.stages.values()]
        reading = [base for part, base in stages if part and "text_tokens" in part.build().consumes]
        for base in dict.fromkeys(reading):
            before = self.recipe.models[str(base)].vocabulary
            if not before:
                return Vocabulary()
            words |= before
        return words

    @cached_property
    def spending(self) -> Spending:
        """What gives the stages their time, where there is a budget."""
        budget = Budget(lambda name: partial(seconds_per_step, self.untrained(name)), self.clock)
        return Spending(budget, self.saved, self.world)

    def trainer(self, name: str) -> Trainer:
        """A trainer for one stage: prepared, or gone on with where a state was saved.

        With a budget, the steps of a stage not begun are worked out first, and written down.

        Raises:
            TrainingError: a stage that it needs is not trained, or its saved state is damaged.
            UsageError: not one of its steps fits into its share of the budget.
        """
        self.world.first(self._read_texts)
        seconds = self._allowance(name) if self.recipe.settings.budget is not None else None
        facts, started = self.saved.facts(name), self.clock.now()
        trainer = self._trainer(name)
        if not trainer.resume(self.warn) and self.recipe.stage(name).part is None:
            trainer.prepare()
        took = self.clock.now() - started
        trainer.seconds += took
        trainer.facts = {
            "base": facts.get("base") or self.recipe.base(name),
            "allowance": seconds,
            "built": took + float(facts.get("built", 0.0)),
        }
        if seconds is not None:
            ahead = self._ahead(name, trainer)
            trainer.pacing.pacer = Pacer(seconds, partial(self._with_steps, name), ahead)
        return trainer

    def _ahead(self, name: str, trainer: Trainer) -> Callable[[float, float], float]:
        """See `Pacer`: by the arithmetic of a stage's steps, where these change."""
        if len(trainer.task.phases) == 1:
            return lambda then, now: 1.0
        task = task_on_meta(self.recipe, name, trainer.config.dtype(self.device))
        phases = phase_costs(task, 1, self.recipe.settings.tokenizer.context)
        return partial(share_ahead, phases)

    def _allowance(self, name: str) -> float:
        """Seconds that the budget gives a stage, whose steps are worked out if it has not begun."""
        if self.saved.begun(name):
            return self.spending.allowance(self.recipe, name)
        self.recipe, seconds = self.spending.fitted(self.recipe, name)
        self.world.first(lambda: self.recorded.write(self.recipe))
        return seconds

    def _with_steps(self, name: str, steps: int) -> TrainConfig:
        """Let a stage that trains have other steps, and write them down."""
        self.recipe = self.recipe.with_train(name, steps=steps)
        self.world.first(lambda: self.recorded.write(self.recipe))
        return self.recipe.trained[name]

    def _read_texts(self) -> None:
        """Now, while the data are there, and in nobody's share of a budget."""
        _ = self.vocabulary
        self.tokenizer()

    def untrained(self, name: str) -> Trainer:
        """A trainer to measure with; a CLIP that is not trained yet is as good for that."""
        return self._trainer(name, trained=False)

    def _trainer(self, name: str, trained: bool = True) -> Trainer:
        torch.manual_seed(self.recipe.settings.seed)
        stage, config = self.build(name, trained), self.recipe.trained[name]
        if self.recipe.stage(name).autoencoder and keep(stage, self.saved.states(name)):
            self.warn(f"'{name}' goes on with the autoencoder that it began with, an older one")
        task = make_task(self.recipe, name, stage, lambda one: self._helper(one, name, trained))
        if task.clip and self.recipe.stage(name).part is None:
            stage.init_from_clip(task.clip[0])
        if trained and (line := notice(self.recipe, task)):
            self.warn(line)
        if config.lora:
            learn_low_rank(stage.net, config.lora, f"stages.{name}")
        collate, source = task.collate(self.tokenizer()), self._source(name, task, trained)
        validation, held = None, self.recipe.settings.validation
        if held and task.unmeasured:
            self.warn(f"'{name}' has no validation loss: {task.unmeasured}")
        elif held and (pairs := measured_by(self.recipe, task)):
            size, dtype = min(64, config.batch_at(0)), config.dtype(self.device)
            validation = Validation(held, pairs, task, collate, size, dtype)
        loader = Loader(
            source,
            collate,
            self.world.share(config.batch_at(0)),
            config.workers,
            self.world.rank,
            self.world.size,
            pin=self.device.type == "cuda",
        )
        loader.skipped = Skipped(self.folder / SKIPPED, self.recipe.max_skipped, name)
        loader.warn = loader.skipped.warn = self.warn  # of what is met before the first step
        states, seed = self.folder / name / "states", self.recipe.settings.seed
        trainer = Trainer(task, loader, config, states, seed, self.device, self.clock)
        trainer.validation = validation
        return trainer

    def _source(self, name: str, task: Task, trained: bool) -> Source:
        """The data as a stage sees them; from a cache, which is left alone while measuring."""
        source, config = seen_by(self.recipe, name, task), self.recipe.trained[name]
        if not config.cache:
            return source
        if not trained:
            return foreseen(source, self.recipe, task)
        folder = self.folder / "cache" if config.cache is True else Path(config.cache)
        given = task, self.tokenizer(), folder, config, self.device, self.on_progress, self.world
        return cached(source, *given)

    def build(self, name: str, trained: bool = False) -> Stage:
        """A stage with fresh weights, or those of the model that it is taken from.

        `trained`: an autoencoder whose latents it diffuses has to be. Raises TrainingError.
        """
        recipe = self.recipe.stage(name)
        if recipe.part is None:
            stage, latents = STAGES[recipe.config.kind](recipe.config), recipe.autoencoder
            return fill(stage, self._helper(latents, name, trained)) if latents else stage
        stage = _filled(recipe.part, name).train()
        fresh = on_meta(recipe.config)  # which knows what does not learn, such as an autoencoder
        for mine, one in zip(stage.parameters(), fresh.parameters(), strict=True):
            mine.requires_grad_(one.requires_grad)
        return stage

    def _helper(self, name: str, student: str, trained: bool) -> Stage:
        """A stage of this run, or what the student is taken from, that it learns with."""
        origin = self.recipe.stage(student).origin
        if name == FROM and origin is not None:
            return _filled(origin, student)
        known = (self.model / name).is_dir()
        if trained and not known and name in self.recipe.trained:
            raise TrainingError(f"train stage '{name}' first: '{student}' needs it")
        return native.load_stage(self.model, name) if known else self.build(name)

    def export_best(self, name: str) -> Best:
        """Put the averaged weights of a stage's best state into the model folder.

        Raises:
            TrainingError: no validation loss was measured, or the state is damaged.
            CheckpointError: its tensors are.
        """
        folder = self.folder / name / "states"
        best = best_state(folder)
        if best is None:
            why = check_stage(self.recipe, name).unmeasured
            advice = why or "train with a setting `validation`, such as --set validation.share=0.05"
            raise TrainingError(f"stage '{name}' in {self.folder} has no best state: {advice}")
        stage, lora = self.build(name), self.recipe.trained[name].lora
        if lora:
            learn_low_rank(stage.net, lora, f"stages.{name}")
        put_back(stage.net, load_state(state_at(folder, best.step)).tensors["ema"])
        self.export(name, stage.eval())
        return best

    def export(self, name: str, stage: Stage) -> None:
        """Put a stage's weights into the model folder, a LoRA merged, and write its manifest.

        Others may be reading it: between the two nothing is done that can be done before.
        """
        settings = self.recipe.settings
        write_loras(self.recipe, name, stage.net, self.folder, self.vocabulary)
        self.tokenizer().save(self.model / "tokenizer.json")
        if settings.card:
            write_text(self.model / "README.md", settings.card)
        there = {one for one in self.recipe.stages if (self.model / one).is_dir()}
        done = [one for one in self.recipe.stages if one in there | {name}]
        words = self.vocabulary.counts
        known: dict[Path, str] = {}
        for one in there - {name}:
            known |= native.hashes(self.model / one)
        known |= native.save_stage(self.model / name, stage.with_net(merged(stage.net)))
        native.write_manifest(
            self.model,
            settings.name,
            done,
            settings.tokenizer.context,
            known,
            prior=settings.prior if settings.prior in done else None,
            decoder=settings.decoder if settings.decoder in done else None,
            vocabulary=words,
        )


def _filled(part: Part, name: str) -> Stage:
    """A stage with the weights of the model that stage `name` is taken from."""
    stage = part.build()
    part.fill(stage, f"stages.{name}.from", torch.float32, torch.device("cpu"))
    return stage
