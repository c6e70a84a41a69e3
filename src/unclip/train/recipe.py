"""A recipe: everything needed to train a model, in one TOML file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from ..checkpoints.part import Part
from ..config import Config, override, read_toml
from ..data import SOURCES, Source
from ..device import fast_dtype
from ..errors import UsageError, nearest
from ..loading import plan
from ..stages import STAGES, StageConfig
from .budget import minutes_of

PRESETS = Path(__file__).parent.parent / "presets"

Beta = Annotated[float, Field(ge=0, lt=1)]


def _minutes(value: object) -> float | None:
    return None if value is None else minutes_of(value)


class TrainConfig(Config):
    """How one stage is trained."""

    steps: int = Field(1000, ge=1)
    batch_size: int = Field(64, ge=1)
    ramp: tuple[tuple[NonNegativeInt, PositiveInt], ...] = Field(
        (), description="(step, batch size) pairs: from that step on, that size"
    )
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(3e-4, gt=0)
    warmup: int = Field(200, ge=0, description="steps of linear warm-up")
    decay: float = Field(0.25, ge=0, le=1, description="last share of the steps: down to zero")
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    clip_grad: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    workers: int = Field(1, ge=0, description="processes that make batches; 0 is in the loop")
    log_every: int = Field(20, ge=1)
    preview_every: int = Field(1000, ge=1)
    checkpoint_minutes: float = Field(3.0, gt=0)
    share: float | None = Field(
        None, gt=0, description="weight of this stage in a budget; without any: what steps take"
    )

    def dtype(self, device: torch.device) -> torch.dtype:
        """What networks multiply in on a device."""
        if self.precision == "auto":
            return fast_dtype(device)
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def edges(self) -> list[int]:
        """The steps from which on a batch size holds: 0 and the ramp's, rising."""
        return sorted({0, *(start for start, _ in self.ramp)})

    def batch_at(self, step: int) -> int:
        """The batch size of a step, counted from 0."""
        size = self.batch_size
        for start, value in self.ramp:
            size = value if step >= start else size
        return size


class TokenizerConfig(Config):
    """The tokenizer, learnt from the data's captions."""

    vocab_size: int = Field(2048, ge=300)
    context: int = Field(32, ge=4)
    captions: int = Field(20_000, ge=1, description="how many to learn from")
    model: str | None = Field(None, description="take this model's, and learn none")


class Recipe(Config):
    """A recipe. `stages` are trained in the order they are written.

    `data` holds `source`, a data source's name, and that source's own settings. A section of
    `stages` holds the stage's configuration (`kind` is its name unless said otherwise) and a
    `train` table. With `from`, a model of any format, a stage takes its configuration and weights
    from there: to go on with where there is a `train` table, as it is where there is none. Of
    several stages that make an image embedding the model uses `prior` unless asked for another,
    and the first where it is not given. With a `budget`, each stage takes as many steps as fit
    into its share of that time, and its own `steps` count for nothing but a share not given.
    """

    name: str
    seed: int = Field(0, ge=0, lt=2**32)
    data: dict[str, Any]
    tokenizer: TokenizerConfig = TokenizerConfig()
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
    prior: str | None = Field(None, description="the stage that makes z_i, where there are several")
    prompts: tuple[str, ...] = Field((), description="captions of the sample grids")
    card: str = Field("", description="what the model card says of data and licences")
    budget: Annotated[float | None, BeforeValidator(_minutes)] = Field(
        None, description="time for all stages, such as '3h' or '45min'; kept as minutes"
    )

    @model_validator(mode="after")
    def _data_names_its_source(self) -> Recipe:
        if "source" not in self.data:
            raise ValueError("data.source is missing")
        return self

    def stage(self, name: str) -> StageConfig:
        """The typed configuration of a stage. Raises UsageError."""
        table = self._table(name)
        values = {key: value for key, value in table.items() if key not in ("train", "from")}
        given = self.given(name)
        if given is not None:
            values = merged(given.config.dump(), {k: v for k, v in values.items() if k != "kind"})
        kind = str(values.get("kind", name))
        return STAGES[kind].Config.parse({**values, "kind": kind}, f"stages.{name}")

    def given(self, name: str) -> Part | None:
        """What a stage is taken from, if its section says `from`.

        Raises:
            UsageError: there is no such model, or no such stage in it.
            CheckpointError: the model is damaged.
        """
        table = self._table(name)
        if "from" not in table:
            return None
        parts, kind = plan(str(table["from"])).parts, table.get("kind", name)
        alike = [part for part in parts.values() if part.config.kind == kind]
        if name not in parts and len(alike) != 1:
            raise UsageError(
                f"setting 'stages.{name}.from': {table['from']} has no stage '{name}'"
                f"{nearest(name, parts)}; it has: {', '.join(parts)}"
            )
        return parts.get(name) or alike[0]

    def readers_from(self) -> list[str]:
        """The models that stages which read texts are taken from, each once."""
        tables = {name: self._table(name) for name in self.stages}
        given = {name: part for name in tables if (part := self.given(name)) is not None}
        reads = [name for name, part in given.items() if "text_tokens" in part.build().consumes]
        return list(dict.fromkeys(str(tables[name]["from"]) for name in reads))

    def is_frozen(self, name: str) -> bool:
        """Whether a stage is taken from a model and used as it is."""
        table = self._table(name)
        return "from" in table and "train" not in table

    def train(self, name: str) -> TrainConfig:
        """How a stage is trained. Raises UsageError."""
        return TrainConfig.parse(self._table(name).get("train", {}), f"stages.{name}.train")

    @property
    def trained(self) -> list[str]:
        """The stages that are not frozen, in order."""
        return [name for name in self.stages if not self.is_frozen(name)]

    def shares(self) -> dict[str, float]:
        """Each trained stage's weight in a budget; empty where none is given.

        Raises:
            UsageError: some have one and others do not.
        """
        given = {name: self.train(name).share for name in self.trained}
        shares = {name: share for name, share in given.items() if share is not None}
        missing = [name for name in given if name not in shares]
        if shares and missing:
            raise UsageError(
                f"setting 'stages.{missing[0]}.train.share' is missing: "
                "give every trained stage a share, or none"
            )
        return shares

    def with_train(self, name: str, **changes: Any) -> Recipe:
        """A copy with other values in the `train` table of a stage."""
        table = self._table(name)
        changed = {**table, "train": {**table.get("train", {}), **changes}}
        return self.model_copy(update={"stages": {**self.stages, name: changed}})

    def source(self, size: int) -> Source:
        """The data, with pictures of side `size`. Raises UsageError or DataError."""
        values = {key: value for key, value in self.data.items() if key != "source"}
        kind = SOURCES[str(self.data["source"])]
        return kind(kind.Config.parse(values, "data"), size)  # type: ignore[call-arg]

    def check(self) -> Recipe:
        """Parse every section, so that a mistake is found before any work. Returns self.

        Raises:
            UsageError: a misspelt key, a value out of range, or sections that do not fit together.
        """
        for name in self.stages:
            self.train(name)
            for key, value in _leaves(self.stage(name).dump(), f"stages.{name}"):
                self._check_fit(key, value)
        self._check_prior()
        if self.budget is not None:
            self.shares()
        kind = SOURCES[str(self.data["source"])]
        kind.Config.parse({k: v for k, v in self.data.items() if k != "source"}, "data")
        return self

    def chosen_prior(self) -> str | None:
        """The stage that makes z_i: `prior`, or the first there is."""
        return self.prior or next(iter(self._priors()), None)

    def _priors(self) -> list[str]:
        return [n for n in self.stages if "image_embed" in STAGES[self.stage(n).kind].produces]

    def _check_prior(self) -> None:
        """`prior` must name a stage that makes an image embedding. Raises UsageError."""
        priors = self._priors()
        if self.prior is not None and self.prior not in priors:
            raise UsageError(
                f"setting 'prior' must name a stage that makes an image embedding, "
                f"got '{self.prior}'{nearest(self.prior, priors)}; "
                f"the recipe has: {', '.join(priors) or 'none'}"
            )

    def _check_fit(self, key: str, value: Any) -> None:
        """A size that another section decides must be the same here. Raises UsageError."""
        clips = [self.stage(name) for name in self.stages]
        clip = next((one.dump()["network"] for one in clips if one.kind == "clip"), None)
        wanted = {"context": ("tokenizer.context", self.tokenizer.context)}
        if clip is not None:
            wanted["embed_dim"] = ("CLIP's network.embed_dim", clip["embed_dim"])
            wanted["text_width"] = ("CLIP's network.text.width", clip["text"]["width"])
        leaf = key.rpartition(".")[2]
        if leaf == "vocab_size" and value < self.tokenizer.vocab_size:
            raise UsageError(
                f"setting '{key}' must be at least tokenizer.vocab_size, "
                f"{self.tokenizer.vocab_size}, got {value}"
            )
        unconditional = leaf == "embed_dim" and value == 0
        if leaf in wanted and value != wanted[leaf][1] and not unconditional:
            owner, right = wanted[leaf]
            raise UsageError(f"setting '{key}' must be {owner}, {right}, got {value}")

    def _table(self, name: str) -> dict[str, Any]:
        if name not in self.stages:
            raise UsageError(
                f"the recipe has no stage '{name}'{nearest(name, self.stages)}; "
                f"it has: {', '.join(self.stages)}"
            )
        return self.stages[name]


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested tables with some values changed."""
    done = dict(values)
    for key, value in changes.items():
        old = done.get(key)
        nested = isinstance(old, dict) and isinstance(value, dict)
        done[key] = merged(old, value) if nested else value  # type: ignore[arg-type]
    return done


def _leaves(values: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every value in nested tables."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{where}.{key}")
        else:
            yield f"{where}.{key}", value


def load_recipe(path: str | Path, assignments: Sequence[str] = ()) -> Recipe:
    """Read a recipe, or a preset by its name, and apply `--set` assignments.

    Raises:
        UsageError: no such file or preset, or a setting that is unknown or out of range.
    """
    file = Path(os.path.expanduser(path))
    if not file.is_file() and file.name == str(path):  # a mistyped path is no preset's name
        file = PRESETS / f"{path}.toml"
    if not file.is_file():
        known = sorted(preset.stem for preset in PRESETS.glob("*.toml"))
        raise UsageError(
            f"no recipe '{path}'{nearest(str(path), known)}; presets: {', '.join(known)}"
        )
    values = override(read_toml(file), list(assignments))
    return Recipe.parse(values).check()
