"""The native model folder.

model.json            format, name, stages in order, their files with SHA-256, the words it knows
tokenizer.json        the tokenizers library's own format
STAGE/config.json     all that is not a weight
STAGE/weights*.safetensors
README.md             the model card, where there is one
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, field_validator, model_validator

from ..config import Config
from ..errors import CheckpointError
from ..files import atomic_folder, write_json
from ..nn.tokenizer import Tokenizer
from ..stages import STAGES, Stage
from ..stages.clip import ClipStageConfig
from ..stages.model import TRAIN_ONE
from ..vocabulary import Vocabulary
from .archive import member, open_tensors
from .companions import completed, folder_tokenizer
from .format import Format, Options, Plan
from .part import Part
from .settings import read_json
from .tensors import cast, check_sum, save_tensors, sha256
from .tokenizers import load_tokenizer

VERSION = 1

CONVERT_AGAIN: Mapping[str, str] = {
    "clip": "convert it again with CLIP weights (--clip)",
    "text": "convert it again with a whole CLIP (--clip)",
    "vision": "convert it again with a whole CLIP (--clip)",
    "prior": "convert it again from a folder with its prior",
    "decoder": "convert it again from a folder with its decoder",
}
"""How a model that was converted comes to a part that it lacks."""


LONGEST = 2**16
"""Most tokens of a caption."""


class TokenizerEntry(Config):
    """The tokenizer's file and the length captions are padded to."""

    file: str = "tokenizer.json"
    context: int = Field(gt=0, le=LONGEST)


SEE_CARD = "see its README.md"
"""The licence of a model whose model.json names none."""


class Manifest(Config):
    """model.json."""

    format: int
    name: str
    stages: tuple[str, ...]
    tokenizer: TokenizerEntry
    files: dict[str, str] = Field(description="path in the folder -> SHA-256")
    prior: str | None = Field(None, description="the stage that makes z_i unless another is named")
    decoder: str | None = Field(None, description="the one that draws unless another is named")
    licence: str = Field("", description="of the weights, where it is known")
    vocabulary: dict[str, int] = Field(
        default_factory=dict, description="words of the captions it learnt from, with how often"
    )

    @field_validator("stages")
    @classmethod
    def _stages_are_folders(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not re.fullmatch(r"(?!\.)[\w.-]+", name) or names.count(name) > 1:
                raise ValueError(f"stage {name!r} is no name of one folder inside the model's")
        return names

    @model_validator(mode="after")
    def _chosen_are_there(self) -> Self:
        for what, name in (("prior", self.prior), ("decoder", self.decoder)):
            if name is not None and name not in self.stages:
                raise ValueError(f"{what} '{name}' is none of its stages")
        return self

    def dump(self) -> dict[str, Any]:
        """Without what is not given, as models were before there was such a thing."""
        return {
            key: value
            for key, value in super().dump().items()
            if value or key not in ("prior", "decoder", "licence", "vocabulary")
        }

    @property
    def hash(self) -> str:
        """Twelve hex digits that name these very weights and settings; words are no part."""
        own = {key: value for key, value in self.dump().items() if key != "vocabulary"}
        text = json.dumps(own, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_manifest(folder: Path | str) -> Manifest:
    """Read model.json.

    Raises:
        CheckpointError: there is none, or it is of another format, or damaged.
    """
    file = Path(folder) / "model.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} is not a model folder: it has no model.json")
    values = read_json(file)
    found = values.get("format")
    if found != VERSION:
        later = isinstance(found, int) and found > VERSION
        update = ": a later version of unclip wrote it, update unclip" if later else ""
        raise CheckpointError(f"{file} has format {found!r}; this reads {VERSION}{update}")
    try:
        return Manifest.parse(values, str(file))
    except ValueError as error:
        later = not values.keys() <= Manifest.model_fields.keys()
        update = "; if a later version of unclip wrote it, update unclip" if later else ""
        raise CheckpointError(f"{error}{update}") from None


def read_config(folder: Path | str, stage: str) -> Any:
    """The typed configuration of one stage. Raises CheckpointError."""
    file = Path(folder) / stage / "config.json"
    if not file.is_file():
        raise CheckpointError(f"stage '{stage}' of {folder} is missing its config.json")
    values = read_json(file)
    try:
        return STAGES[str(values.get("kind"))].Config.parse(values, str(file))
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def part(folder: Path | str, name: str, manifest: Manifest | None = None) -> Part:
    """One stage of a folder; with its `manifest`, files of no other content are read.

    Raises:
        CheckpointError: something is missing or damaged, or weights are there that it names not.
    """
    home = Path(folder)
    place = member(home, name, home / "model.json")
    config = read_config(folder, name)
    files = sorted(place.glob("weights*.safetensors"))
    if not files:
        raise CheckpointError(f"weights file {place / 'weights.safetensors'} is missing")
    if manifest is None:
        return Part(config, lambda: open_tensors(files))
    names = [file.relative_to(home).as_posix() for file in files]
    own = [member(home, one, home / "model.json") for one in names]
    return Part(
        config,
        lambda: open_tensors(files),
        sums=_sums(own, home, manifest),
        sums_now=lambda: _sums(own, home, read_manifest(home)),
    )


def _sums(files: Sequence[Path], folder: Path, manifest: Manifest) -> dict[Path, str]:
    return {file: _sum_of(file, folder, manifest) for file in files}


def _sum_of(file: Path, folder: Path, manifest: Manifest) -> str:
    """The SHA-256 that model.json has for a file. Raises CheckpointError where it has none."""
    digest = manifest.files.get(file.relative_to(folder).as_posix())
    if digest is None:
        raise CheckpointError(f"{file} is not named in {folder / 'model.json'}, so it is not read")
    return digest


def load_stage(folder: Path | str, name: str, dtype: torch.dtype = torch.float32) -> Stage:
    """Build one stage and fill it with its weights, cast to `dtype`, in evaluation mode."""
    found = part(folder, name)
    stage = found.build()
    found.fill(stage, str(Path(folder) / name), dtype, torch.device("cpu"))
    return stage


def save_stage(
    folder: Path | str, stage: Stage, dtype: torch.dtype = torch.float16
) -> dict[Path, str]:
    """Write one stage's folder whole, and give its files' SHA-256."""
    config: Config = stage.config
    with atomic_folder(folder) as beside:
        write_json(beside / "config.json", config.dump())
        digests = save_tensors(beside, "weights", cast(stage.net, dtype))
        digests["config.json"] = sha256(beside / "config.json")
        return {Path(folder) / file: digest for file, digest in digests.items()}


def hashes(folder: Path) -> dict[Path, str]:
    """The SHA-256 of each file of a stage's folder, in order."""
    return {file: sha256(file) for file in sorted(folder.iterdir()) if file.is_file()}


def write_manifest(
    folder: Path,
    name: str,
    stages: Sequence[str],
    context: int,
    known: Mapping[Path, str] | None = None,
    **more: Any,
) -> Manifest:
    """Hash what is in `folder` and write its model.json; hashes that are `known` are believed.

    `more` are other fields of a `Manifest`: `prior`, `decoder`, `licence`, `vocabulary`.
    """
    files = [folder / "tokenizer.json"]
    for stage in stages:
        files += sorted(file for file in (folder / stage).iterdir() if file.is_file())
    known = known or {}
    manifest = Manifest(
        format=VERSION,
        name=name,
        stages=tuple(stages),
        tokenizer=TokenizerEntry(context=context),
        files={f.relative_to(folder).as_posix(): known.get(f) or sha256(f) for f in files},
        **more,
    )
    write_json(folder / "model.json", manifest.dump())
    return manifest


def verify(folder: Path | str) -> list[str]:
    """Faults of a model folder, one line each: files missing or changed since it was written."""
    folder = Path(folder)
    faults = []
    for name, digest in read_manifest(folder).files.items():
        if not member(folder, name, folder / "model.json").is_file():
            faults.append(f"{name} is missing")
        elif sha256(folder / name) != digest:
            faults.append(f"{name} is not the file that model.json names")
    return faults


class Native(Format):
    """Model folders of this package."""

    name = "unclip"

    def matches(self, path: Path) -> bool:
        """It has a model.json."""
        return (path / "model.json").is_file()

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`."""
        manifest = read_manifest(path)
        parts = {name: part(path, name, manifest) for name in manifest.stages}
        edited = tuple(_edited(path, manifest))
        if options.clip:
            for name, one in parts.items():
                is_clip = isinstance(one.config, ClipStageConfig)
                parts[name] = completed(one, options.clip) if is_clip else one
        card = SEE_CARD if (path / "README.md").is_file() else ""
        return Plan(
            name=manifest.name,
            family=self.name,
            where=path,
            parts=parts,
            read_tokenizer=partial(folder_tokenizer, options.tokenizer, manifest.tokenizer.context)
            if options.tokenizer
            else partial(_read_tokenizer, path, manifest),
            prior=manifest.prior,
            decoder=manifest.decoder,
            licence=manifest.licence or card,
            hash="" if options.clip or edited else manifest.hash,
            notes=edited,
            vocabulary=Vocabulary(manifest.vocabulary),
            advice=CONVERT_AGAIN if manifest.licence else TRAIN_ONE,
        )


def _edited(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Settings changed by hand: they are followed, and the model is no longer the one hashed."""
    for name in manifest.stages:
        file = folder / name / "config.json"
        if sha256(file) != manifest.files.get(f"{name}/config.json"):
            yield f"{name}/config.json was changed since the model was written"


def _read_tokenizer(folder: Path, manifest: Manifest) -> Tokenizer:
    file = member(folder, manifest.tokenizer.file, folder / "model.json")
    tokenizer = load_tokenizer(file, manifest.tokenizer.context)
    check_sum(file, _sum_of(file, folder, manifest))
    return tokenizer


FORMAT = Native()
