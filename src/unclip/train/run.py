"""A run: the folder in which a recipe becomes a model.

recipe.json                 what is trained
tokenizer.json
STAGE/states/step-N/        saved training states, the newest two
STAGE/previews/             sample grids
STAGE/events/               TensorBoard scalars
model/                      a native model folder of all stages so far, usable at any time
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..checkpoints import native
from ..errors import OutputError, TrainingError, UsageError
from ..files import write_json, write_text
from ..nn.tokenizer import Tokenizer
from ..pipeline import plan
from ..stages import STAGES, Stage
from ..stages.clip import ClipStage
from .loader import Loader
from .recipe import Recipe
from .state import saved_states, step_of
from .task import Task
from .trainer import Trainer


class Run:
    """A recipe, its folder, and what has come of it so far."""

    def __init__(self, recipe: Recipe, folder: Path, device: torch.device) -> None:
        self.recipe, self.folder, self.device = recipe, folder, device

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "model"

    def check(self) -> None:
        """Find faults before anything is written.

        Raises:
            UsageError: a network cannot be built from its configuration.
            DataError: the data are not there.
        """
        with torch.device("meta"):
            for name in self.recipe.stages:
                config = self.recipe.stage(name)
                STAGES[config.kind](config)
        self.recipe.source(64)

    def begin(self, resume: bool) -> None:
        """Make the folder, or check that it may be gone on with.

        Raises:
            UsageError: it holds a run already and `resume` was not asked for.
            OutputError: it cannot be made.
        """
        try:
            if self.folder.exists() and any(self.folder.iterdir()) and not resume:
                raise UsageError(
                    f"{self.folder} holds a run already; go on with --resume, "
                    "or choose another --out"
                )
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from None
        write_json(self.folder / "recipe.json", self.recipe.dump())

    def finished(self, name: str) -> bool:
        """Whether a stage has reached the recipe's last step, and its weights are in `model`."""
        done = self.recipe.is_frozen(name) or (
            self.steps_done(name) >= self.recipe.train(name).steps
        )
        return done and (self.model / name).is_dir()

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

    def trainer(self, name: str) -> Trainer:
        """A trainer for one stage: prepared, or gone on with where a state was saved."""
        torch.manual_seed(self.recipe.seed)
        stage = self.build(name)
        task = Task(stage, self._clip(stage))
        config = self.recipe.train(name)
        source = self.recipe.source(task.source_size)
        loader = Loader(source, self.tokenizer(), config.batch_at(0), config.workers)
        states = self.folder / name / "states"
        trainer = Trainer(task, loader, config, states, self.recipe.seed, self.device)
        if not trainer.resume():
            trainer.prepare()
        return trainer

    def build(self, name: str) -> Stage:
        """A stage with fresh weights, or those of the model that it is taken from."""
        config, given = self.recipe.stage(name), self.recipe.given(name)
        if given is None:
            return STAGES[config.kind](config)
        part = replace(given, config=config)
        stage = part.build()
        part.fill(stage, f"stages.{name}.from", torch.float32, torch.device("cpu"))
        return stage.requires_grad_(True).train()

    def _clip(self, stage: Stage) -> ClipStage | None:
        """The trained CLIP of this run, where the stage needs one."""
        if not stage.trains_on & {"text_embed", "text_encodings", "image_embed"}:
            return None
        for name in self.recipe.stages:
            if self.recipe.stage(name).kind == "clip":
                if not (self.model / name).is_dir():
                    raise TrainingError(f"train stage '{name}' first: '{stage.kind}' needs it")
                clip = native.load_stage(self.model, name)
                assert isinstance(clip, ClipStage)
                return clip
        return None

    def export(self, name: str, stage: Stage) -> None:
        """Put a stage's weights into the model folder and bring its manifest up to date."""
        native.save_stage(self.model / name, stage)
        self.tokenizer().save(self.model / "tokenizer.json")
        if self.recipe.card:
            write_text(self.model / "README.md", self.recipe.card)
        done = [one for one in self.recipe.stages if (self.model / one).is_dir()]
        context, prior = self.recipe.tokenizer.context, self.recipe.prior
        chosen = prior if prior in done else None
        native.write_manifest(self.model, self.recipe.name, done, context, chosen)
