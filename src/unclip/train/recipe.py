"""A recipe: everything needed to train a model, in one TOML file, parsed once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from ..checkpoints.format import Plan
from ..checkpoints.part import Part
from ..checkpoints.settings import leaves
from ..config import Config, check_keys, override, read_toml, shown
from ..data import SOURCES, Source, opened, source_at
from ..data.framing import FrameSettings
from ..diffusion.few_steps import ConsistencyObjective
from ..errors import SettingWarning, UsageError, nearest, warn
from ..loading import PRESETS, plan
from ..stages import STAGES, StageConfig
from ..stages.clip import ClipStageConfig
from .config import Minutes, TrainConfig, minutes_of
from .latents import autoencoder_of, with_settings
from .section import DATA_KEYS, check_section, source_settings
from .skipped import MOST
from .teaching import taught_by
from .validation import ValidationConfig

FROM = "from"
"""The teacher that is what a stage is taken from."""


Base = tuple[str | None, str | None]
"""The model that a stage is taken from and twelve hex digits of its weights; None if fresh."""

CHAIN = ("text_embed", "image_embed", "image")
"""What the stages of a chain make, in the order in which they run."""

OWN_KEYS = ("train", "from", "from_stage")
"""Keys of a stage's section that are not settings of the stage."""


class TokenizerConfig(Config):
    """The tokenizer, learnt from the data's captions."""

    vocab_size: int = Field(2048, ge=300, description="most tokens")
    context: int = Field(32, ge=4, description="tokens that a caption is cut or filled up to")
    captions: int = Field(20_000, ge=1, description="how many to learn from")
    model: str | None = Field(None, description="take this model's, and learn none")


class RecipeSettings(Config):
    """What a recipe's file holds. `stages` are trained in the order in which a model runs them.

    `data` holds `source`, a data source's name, and that source's own settings. Training stops
    where more than `data.max_skipped` of the samples cannot be made (0.01, 1 %). A section of
    `stages` holds the stage's configuration (`kind` is its name unless said otherwise) and a
    `train` table. With `from`, a model of any format, a stage takes its configuration and weights
    from there, from the stage of its name or `from_stage`: to go on with where there is a `train`
    table, as it is where there is none. Of
    several stages that make an image embedding the model uses `prior` unless asked for another,
    and the first where it is not given; of several that draw from it, `decoder`. With a `budget`,
    each stage takes as many steps as fit into its share of that time, and its own `steps` count
    for nothing but a share not given.
    """

    name: str = Field(description="of the model, and of the run's folder in runs/")
    seed: int = Field(0, ge=0, lt=2**32, description="of weights, noise and order")
    data: dict[str, Any]
    tokenizer: TokenizerConfig = TokenizerConfig()
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
    prior: str | None = Field(None, description="the stage that makes z_i, where there are several")
    decoder: str | None = Field(None, description="the stage that draws, where there are several")
    prompts: tuple[str, ...] = Field(
        (), description="captions of the sample grids; none: those of the data"
    )
    card: str = Field("", description="what the model card says of data and licences")
    loggers: tuple[str, ...] | None = Field(None, description="none: TensorBoard, if there")
    validation: ValidationConfig | None = Field(None, description="what is held out")
    budget: Minutes = Field(
        None, description="time for all stages, such as '3h' or '45min'; kept as minutes"
    )

    @model_validator(mode="after")
    def _data_names_its_source(self) -> Self:
        check_section(self.data)
        return self


@dataclass(frozen=True)
class StageRecipe:
    """One stage of a recipe.

    Args:
        config: what it is.
        train: how it is trained; None: it is taken from a model as it is.
        part: the stage of that model, whose weights it begins with.
        base: the name of that model.
        origin: that stage as the model has it.
        autoencoder: the stage of the recipe whose latents it diffuses.
    """

    config: StageConfig
    train: TrainConfig | None
    part: Part | None = field(default=None, compare=False)
    base: str | None = None
    origin: Part | None = field(default=None, compare=False)
    autoencoder: str | None = None

    @property
    def teacher(self) -> str | None:
        """The stage that it learns from: see `ConsistencyObjective`."""
        objective = getattr(self.config, "objective", None)
        return objective.teacher if isinstance(objective, ConsistencyObjective) else None


@dataclass(frozen=True)
class Recipe:
    """A recipe whose every section has been parsed and holds together.

    Args:
        settings: what was written, and what `recipe.json` keeps.
        stages: each stage, in the order that they are trained in: of what one reads, another was
            trained before it. Those of one kind stand as they are written.
        data: of the source that `settings.data` names.
        framing: how the pictures of any source are cut and mirrored.
        models: those that stages are taken from, opened once, by the names that are given.
    """

    settings: RecipeSettings
    stages: Mapping[str, StageRecipe]
    data: Config
    framing: FrameSettings
    models: Mapping[str, Plan] = field(compare=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Recipe:
        """Parse every section, so that a mistake is found before any work.

        Raises:
            UsageError: a misspelt key, a value out of range, a model that is not there, or
                sections that do not fit together.
            CheckpointError: a model that a stage is taken from is damaged.
        """
        settings = RecipeSettings.parse(values)
        given = (table["from"] for table in settings.stages.values() if "from" in table)
        models = {name: plan(name) for name in dict.fromkeys(map(str, given))}
        stages: dict[str, StageRecipe] = {}
        for name, table in settings.stages.items():
            whole = with_settings(name, table, {n: one.config for n, one in stages.items()})
            stages[name] = _stage(name, whole, models.get(str(table.get("from"))))
            stages[name] = replace(stages[name], autoencoder=autoencoder_of(name, table))
        stages = dict(sorted(stages.items(), key=lambda one: _place(one[1].config.kind)))
        data = source_settings(settings.data)
        recipe = cls(settings, stages, data, FrameSettings.of(settings.data), models)
        _check_sizes(recipe)
        recipe._check_chosen("prior", settings.prior, recipe._priors(), "makes an image embedding")
        recipe._check_chosen("decoder", settings.decoder, recipe._decoders(), "draws a picture")
        for name in recipe.stages:
            recipe._check_helpers(name)
        if settings.budget is not None:
            recipe.shares()
        if settings.validation:
            settings.validation.settings()
        return recipe

    def dump(self) -> dict[str, Any]:
        """Plain data that `parse` reads back to an equal recipe."""
        return self.settings.dump()

    def stage(self, name: str) -> StageRecipe:
        """A stage by its name. Raises UsageError."""
        if name not in self.stages:
            raise UsageError(
                f"the recipe has no stage '{name}'{nearest(name, self.stages)}; "
                f"it has: {', '.join(self.stages)}"
            )
        return self.stages[name]

    def base(self, name: str) -> Base:
        """What names the weights that a stage begins with; the hash is of that stage alone,
        where its files' hashes are known.
        """
        stage = self.stage(name)
        if stage.origin is None:
            return None, None
        if not stage.origin.sums:
            return stage.base, self.models[str(stage.base)].digest
        sums = sorted(f"{file.name} {one}" for file, one in stage.origin.sums.items())
        return stage.base, hashlib.sha256("\n".join(sums).encode()).hexdigest()[:12]

    @property
    def trained(self) -> dict[str, TrainConfig]:
        """How each stage is trained that is not taken as it is."""
        return {name: one.train for name, one in self.stages.items() if one.train is not None}

    def shares(self) -> dict[str, float]:
        """Each trained stage's weight in a budget; empty where none is given.

        Raises:
            UsageError: some have one and others do not.
        """
        trained = self.trained
        shares = {name: one.share for name, one in trained.items() if one.share is not None}
        missing = [name for name in trained if name not in shares]
        if shares and missing:
            raise UsageError(
                f"setting 'stages.{missing[0]}.train.share' is missing: "
                "give every trained stage a share, or none"
            )
        return shares

    def with_budget(self, minutes: float) -> Recipe:
        """A copy with another budget."""
        return replace(self, settings=self.settings.model_copy(update={"budget": minutes}))

    def with_train(self, name: str, **changes: Any) -> Recipe:
        """A copy with other values in the `train` table of a stage. Raises UsageError."""
        table, stage = self.settings.stages[name], self.stage(name)
        train = {**table.get("train", {}), **changes}
        tables = {**self.settings.stages, name: {**table, "train": train}}
        config = TrainConfig.parse(train, f"stages.{name}.train")
        stages = {**self.stages, name: replace(stage, train=config)}
        settings = self.settings.model_copy(update={"stages": tables})
        return replace(self, settings=settings, stages=stages)

    def source(self, size: tuple[int, int] = (64, 64)) -> Source:
        """The data, with (height, width) pictures. Raises UsageError or DataError."""
        return opened(str(self.settings.data["source"]), self.data, size)

    @property
    def max_skipped(self) -> float:
        """Largest share of the data's samples that may be skipped because they cannot be made."""
        return float(self.settings.data.get("max_skipped", MOST))

    def chosen_prior(self) -> str | None:
        """The stage that makes z_i: `prior`, or the first there is."""
        return self.settings.prior or next(iter(self._priors()), None)

    def clip(self) -> str | None:
        """The stage whose CLIP the others learn with, if there is one."""
        stages = self.stages.items()
        return next((n for n, s in stages if isinstance(s.config, ClipStageConfig)), None)

    def _priors(self) -> list[str]:
        kinds = {name: STAGES[one.config.kind] for name, one in self.stages.items()}
        return [name for name, kind in kinds.items() if "image_embed" in kind.produces]

    def _check_helpers(self, name: str) -> None:
        """What a stage learns with must be there, and trained before. Raises UsageError."""
        recipe = self.stages[name]
        if recipe.train is None:
            return
        if recipe.train.lora and recipe.origin is None:
            raise UsageError(
                f"setting 'stages.{name}.train.lora' learns a change of another model's stage, and "
                f"the stage has no `{FROM}`: name a model"
            )
        if recipe.teacher == FROM and recipe.origin is None:
            raise UsageError(
                f"setting 'stages.{name}.objective.teacher' is '{FROM}', and the stage has no "
                f"`{FROM}`: name a stage"
            )
        before = list(self.stages)[: list(self.stages).index(name)]
        for key, named, able in (
            ("objective.teacher", recipe.teacher, [FROM, *before]),
            ("corruption.redrawn_by", redrawn_by(recipe.config), before),
        ):
            if named is not None and named not in able:
                choice = "a stage" if able == before else f"'{FROM}' or a stage"
                raise UsageError(
                    f"setting 'stages.{name}.{key}' must be {choice} before it, got '{named}'"
                    f"{nearest(named, before)}; before it: {', '.join(before) or 'none'}"
                )

    def _decoders(self) -> list[str]:
        kinds = {name: STAGES[one.config.kind] for name, one in self.stages.items()}
        made = {name: kind for name, kind in kinds.items() if "image" in kind.produces}
        return [name for name, kind in made.items() if "image" not in kind.consumes]

    def _check_chosen(self, what: str, named: str | None, able: list[str], does: str) -> None:
        """Of several stages that do one thing, the one that is named must. Raises UsageError."""
        if named is not None and named not in able:
            raise UsageError(
                f"setting '{what}' must name a stage that {does}, got '{named}'"
                f"{nearest(named, able)}; the recipe has: {', '.join(able) or 'none'}"
            )


def _place(kind: str) -> int:
    """Where a kind of stage runs in a chain: CLIP, priors, decoders, upsamplers."""
    made = STAGES[kind].produces
    place = next((n for n, one in enumerate(CHAIN) if one in made), 0)
    return place + ("image" in made and "image" in STAGES[kind].consumes)


def redrawn_by(config: StageConfig) -> str | None:
    """The stage of the recipe that redraws an upsampler's small pictures."""
    by: str | None = getattr(getattr(config, "corruption", None), "redrawn_by", None)
    return by


def _stage(name: str, table: Mapping[str, Any], model: Plan | None) -> StageRecipe:
    """Parse the section of a stage. Raises UsageError."""
    part = None if model is None else _part(name, table, model)
    values = {key: value for key, value in table.items() if key not in OWN_KEYS}
    if part is not None:
        own = {key: value for key, value in values.items() if key != "kind"}
        base = part.config.dump()
        if isinstance(part.config, ClipStageConfig) and "objective" in own:
            del base["objective"]  # losses that are named take the place of the model's
        values = merged(base, own)
    kind = str(values.get("kind", name))
    check_keys(table, f"stages.{name}", [*STAGES[kind].Config.model_fields, *OWN_KEYS])
    config = STAGES[kind].Config.parse({**values, "kind": kind}, f"stages.{name}")
    if part is None:
        return StageRecipe(config, _train(name, table))
    train = _train(name, table) if "train" in table else None
    return StageRecipe(config, train, replace(part, config=config), str(table["from"]), part)


def _train(name: str, table: Mapping[str, Any]) -> TrainConfig:
    values, where = table.get("train", {}), f"stages.{name}.train"
    if not isinstance(values, dict):
        raise UsageError(f"setting '{where}' must be a section, got {shown(values)}")
    return TrainConfig.parse(values, where)


def _part(name: str, table: Mapping[str, Any], model: Plan) -> Part:
    """The stage of a model that `from_stage` names, or which has this one's name, or its kind.

    Raises:
        UsageError: there is none, or there are several of the kind and none has the name.
    """
    parts, kind = model.parts, table.get("kind", name)
    key = "from_stage" if "from_stage" in table else "from"
    wanted = str(table.get("from_stage", name))
    alike = [part for part in parts.values() if part.config.kind == kind]
    if wanted not in parts and (key == "from_stage" or len(alike) != 1):
        raise UsageError(
            f"setting 'stages.{name}.{key}': {table['from']} has no stage '{wanted}'"
            f"{nearest(wanted, parts)}; it has: {', '.join(parts)}"
        )
    return parts.get(wanted) or alike[0]


def _check_sizes(recipe: Recipe) -> None:
    """A size that another section decides must be the same in a stage. Raises UsageError."""
    tokenizer, clip = recipe.settings.tokenizer, recipe.clip()
    wanted = {"context": ("tokenizer.context", tokenizer.context)}
    if clip is not None:
        network = recipe.stages[clip].config.dump()["network"]
        wanted["embed_dim"] = ("CLIP's network.embed_dim", network["embed_dim"])
        wanted["text_width"] = ("CLIP's network.text.width", network["text"]["width"])
    for name, stage in recipe.stages.items():
        for key, value in leaves(stage.config.dump(), f"stages.{name}"):
            leaf = key.rpartition(".")[2]
            if leaf == "vocab_size" and value < tokenizer.vocab_size:
                raise UsageError(
                    f"setting '{key}' must be at least tokenizer.vocab_size, "
                    f"{tokenizer.vocab_size}, got {value}"
                )
            unconditional = leaf in ("embed_dim", "text_width") and value == 0
            if leaf == "context" and stage.base and stage.base == tokenizer.model:
                continue  # as in the model that both are taken from, which may cut or fill up
            if leaf in wanted and value != wanted[leaf][1] and not unconditional:
                owner, right = wanted[leaf]
                raise UsageError(f"setting '{key}' must be {owner}, {right}, got {value}")


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested tables with some values changed. A table of another `kind` takes the place of one."""
    done = dict(values)
    for key, value in changes.items():
        old = done.get(key)
        nested = isinstance(old, dict) and isinstance(value, dict)
        alike = nested and ("kind" not in value or old.get("kind") == value["kind"])  # type: ignore[union-attr]
        done[key] = merged(old, value) if alike else value  # type: ignore[arg-type]
    return done


def _of_another_source(values: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A recipe without the settings of its data source, where assignments name another one.

    What the source of a file is told says nothing to another source: its `path` least of all.
    """
    naming = [one for one in assignments if one.partition("=")[0].strip() == "data.source"]
    data, name = values.get("data"), override({}, naming).get("data", {}).get("source")
    if name is None or not isinstance(data, dict) or data.get("source") in (None, name):
        return values
    _ = SOURCES[str(name)]  # raises where there is no such source
    left = [key for key in data if key not in DATA_KEYS]
    if left:
        warn(
            f"data.source is '{name}' now: the recipe's settings of '{data['source']}' do not "
            f"count ({', '.join(left)})",
            SettingWarning,
        )
    return {**values, "data": {key: one for key, one in data.items() if key in DATA_KEYS}}


def presets() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(preset.stem for preset in PRESETS.glob("*.toml"))


def data_settings(path: Path) -> list[str]:
    """The `--set` assignments by which a recipe trains on a folder, whichever source reads it.

    Raises:
        DataError: it has no pictures or no captions.
    """
    found = type(source_at(path.expanduser(), (64, 64)))
    name = next(name for name in SOURCES.names() if SOURCES[name] is found)
    return [f"data.source={name}", f"data.path={json.dumps(str(path))}"]


def load_recipe(
    path: str | Path,
    assignments: Sequence[str] = (),
    budget: str | None = None,
    teacher: str | None = None,
    data: Path | None = None,
) -> Recipe:
    """Read a recipe, or a preset by its name, and apply its options: `--set` and those beside it.

    Raises:
        UsageError: no such file or preset, or a setting that is unknown or out of range.
        DataError: `data` has no pictures or no captions.
    """
    file = Path(os.path.expanduser(path))
    if not file.is_file() and file.name == str(path):  # a mistyped path is no preset's name
        file = PRESETS / f"{path}.toml"
    if not file.is_file():
        known = presets()
        raise UsageError(
            f"no recipe '{path}'{nearest(str(path), known)}; presets: {', '.join(known)}"
        )
    taken = {} if budget is None else {"budget": f"--budget {budget}"}
    given = data_settings(data) if data else []
    taken |= {one.partition("=")[0]: f"--data {data}" for one in given}
    read = read_toml(file)
    read = taught_by(read, teacher) if teacher else read
    read = override(_of_another_source(read, given or assignments), given)
    values = override(read, assignments, taken=taken)
    return Recipe.parse(values if budget is None else {**values, "budget": minutes_of(budget)})
