"""What is asked of an ability: all its arguments, frozen, checked before any work.

Each field's type, bounds, default and description stand in one place. The options of the command
line, the record in a picture and `unclip replay` are made of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from PIL import Image
from pydantic import Field, field_validator

from .aliases import resolved_flat
from .arguments import MOST, Arguments, Count, NegativePrompt, Seed, Text, given, plain
from .arguments import Prompt as AnyPrompt
from .config import shown
from .errors import UsageError, about, nearest
from .keywords import translated
from .media import read_image
from .record import Record


@dataclass(frozen=True)
class Option:
    """How the command line shows a field, where name, type and default do not say it."""

    name: str = ""  # such as "-n"; else `--` and the field's name
    metavar: str = ""  # else the field's name in capitals
    default: str = ""  # what no value stands for, in words
    example: str = ""  # of several numbers in one
    positional: bool = False
    folder: bool = False  # of pictures
    sampling: bool = False  # listed with the settings of the sampling
    begins_with: Any = None  # the command's default, where it is not the field's


Input = Annotated[Any, Field(exclude=True)]
"""Pictures or a text that a record names among its inputs."""

Picture = Annotated[
    Any, Field(exclude=True, description="A picture file."), Option(positional=True)
]
"""A picture to begin from: a path, bytes, a file or a PIL picture."""

Prompt = Annotated[
    AnyPrompt, Field(description="What the whole picture shows."), Option(positional=True)
]

Pictures = Annotated[Count, Field(description="Number of pictures."), Option("-n", "N")]

Frames = Annotated[int, Field(ge=2, le=MOST, description="Number of pictures, both ends included.")]

Prior = Annotated[
    Text | None,
    Field(
        description="Which of the model's priors to use; 'none' uses the text embedding in place "
        "of a prior's."
    ),
    Option(metavar="NAME", default="the model's own", sampling=True),
]

Decoder = Annotated[
    Text | None,
    Field(
        description="Which of the model's decoders to use; 'fast' is the one that is distilled to "
        "a few steps."
    ),
    Option(metavar="NAME", default="the model's own", sampling=True),
]

Steps = Annotated[int | None, Field(description="Sampling steps of the decoder.")]

GuidanceScale = Annotated[
    float | None, Field(description="Guidance of the decoder; 1 is none."), Option(metavar="SCALE")
]


Sampler = Annotated[
    Text | None,
    Field(description="How the decoder is sampled, such as 'euler a'; see `unclip samplers`."),
    Option(metavar="NAME"),
]

Result = TypeVar("Result")


class Request(Arguments, Generic[Result]):
    """All arguments of an ability but `on_step`: one class an ability, in the ability's file.

    `Result` is what the ability returns. A `Drawing` returns pictures; the command of any other
    prints its `shares`.
    """

    ability: ClassVar[str]  # as in the record
    reads_text: ClassVar[bool] = True

    @property
    def one_pass(self) -> bool:
        """Whether each stage runs once, so that nobody needs its weights afterwards."""
        return False

    def arguments(self) -> dict[str, Any]:
        """By name, as the ability's function takes them."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        settings: dict[str, Any] = values.pop("settings", {})
        return values | settings

    def check_inputs(self) -> None:
        """Raise UsageError where a command cannot do it: known before a model is loaded.

        Such as a picture that cannot be read.
        """
        if "image" in type(self).model_fields:
            with about("image"):
                read_image(self.image)  # type: ignore[attr-defined]

    def shares(self, result: Result) -> dict[str, float]:
        """A result as its command prints it: shares of 1 by name."""
        raise NotImplementedError


class Drawing(Request[list[Image.Image]]):
    """A request for pictures.

    `settings` holds the sampling's, flat, as `Pipeline.generate` takes them; those that are None
    are left out. Which of them there are depends on the model: see `Model.by_stage`.
    """

    records_defaults: ClassVar[bool] = True
    one_seed: ClassVar[bool] = False  # all pictures are of `seed`, not picture i of seed + i
    film: ClassVar[bool] = False  # they are frames
    common: ClassVar[dict[str, Any]] = {
        "steps": Steps,
        "guidance_scale": GuidanceScale,
        "sampler": Sampler,
    }
    """Settings with an option of their own."""
    example: ClassVar[str] = "prior_steps=32"  # of another setting, for --help

    shared: ClassVar[frozenset[str]] = frozenset()
    """Fields of a base class, which functions take among their settings."""

    seed: Seed = 0
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("settings", mode="after")
    @classmethod
    def _simple(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Only what JSON can write, as the record has to."""
        simple = resolved_flat(given({key: plain(value) for key, value in settings.items()}))
        for key, value in simple.items():
            if key in cls.model_fields:
                raise UsageError(
                    f"unknown setting '{key}': it is not a setting of the sampling; it may have "
                    "an option of its own (see --help)"
                )
            try:
                json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
            except (TypeError, ValueError, RecursionError):
                wanted = "a finite number, a text, or a list of them"
                raise ValueError(f"{key} must be {wanted}, got {shown(value)}") from None
        return simple

    def title(self, command: str) -> list[str]:
        """Words that files are called after, before their seed; `command` draws them."""
        if "image" in type(self).model_fields:
            return [stem(self.image), command]  # type: ignore[attr-defined]
        return [getattr(self, "prompt", command)]

    def captions(self) -> list[str] | None:
        """What each picture of a series is called; None: by its number."""
        return None

    def record(self, **inputs: str) -> Record:
        """What the first picture tells of this request, but for the model.

        Args:
            inputs: digests or words of what it began from.
        """
        own = self.model_dump(
            exclude={"prompt", "n", "seed", "settings"},
            exclude_none=True,
            exclude_defaults=not self.records_defaults,
        )
        prompt, settings = getattr(self, "prompt", ""), {**self.settings, **own}
        return Record(prompt, self.seed, settings, ability=self.ability, inputs=inputs)

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Parse arguments. Raises UsageError, also for a setting that is outside of `settings`."""
        fields = cls.model_fields
        if isinstance(settings := values.get("settings"), Mapping):
            own = {name: one for name, one in settings.items() if name in cls.shared}
            rest = {name: one for name, one in settings.items() if name not in own}
            values = {**values, **own, "settings": rest}
        values = translated(values, fields)
        for name in values:
            if name not in fields and not nearest(name, fields):
                where = f"settings of the sampling belong in settings={{'{name}': ...}}"
                raise UsageError(f"{cls.__name__} has no field '{name}'; {where}").about(name)
        return super().of(**values)

    @classmethod
    def of_record(cls, record: Record, **inputs: Any) -> Self:
        """The request that made a picture.

        Args:
            inputs: the pictures that it began from.

        Raises:
            UsageError: it does not follow from the record.
        """
        settings, fields = dict(record.settings), cls.model_fields
        recorded = {name for name, info in fields.items() if not info.exclude}
        own = settings.keys() & (recorded - {"prompt", "n", "seed", "settings"})
        values = {name: settings.pop(name) for name in own}
        every = {"prompt": record.prompt, "n": record.n, "seed": record.seed, **values, **inputs}
        known = {name: value for name, value in every.items() if name in fields}
        request = cls.of(**known, settings=settings)
        if lacking := request.lacking(record.inputs):
            raise UsageError(lacking)
        return request

    def lacking(self, inputs: Mapping[str, Any]) -> str:
        """What is to be added of a record's inputs, in words; empty if nothing is."""
        for name, digest in inputs.items():
            if name in type(self).model_fields and getattr(self, name) is None:
                return f"it was made with {name} {digest}: add that file"
        return ""


class Guided(Drawing):
    """A drawing of a text, by stages that guidance may lead away from another."""

    prior_alone: ClassVar[bool] = False  # reads the text

    def record(self, **inputs: str) -> Record:
        """See `Drawing`; without a negative prompt there is none."""
        made = super().record(**inputs)
        if not self.negative_prompt:
            made.settings.pop("negative_prompt", None)
        return made

    negative_prompt: Annotated[NegativePrompt, Option(metavar="TEXT")] = Field(
        "", description="What guidance leads away from."
    )


def stem(picture: Any) -> str:
    """The name of a picture's file; empty where it has none."""
    return Path(picture).stem if isinstance(picture, str | Path) else ""
