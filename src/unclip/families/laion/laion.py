"""LAION's models and all others of DALLE2-pytorch: a prior and a decoder of one or more U-Nets.

Files:     a `.pth` with a bare state dict, or as `DiffusionPriorTrainer`, `DecoderTrainer` or a
           tracker save it; averaged (EMA) weights are taken where there are any
Folders:   such a file and its training configuration (`prior_config.json`, `decoder_config.json`,
           or any name), or subfolders of that kind
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from ...checkpoints._state_dicts import state_dict
from ...checkpoints.archive import Tensors, open_pickle, tensors_of, version_text
from ...checkpoints.companions import open_clip_part
from ...checkpoints.format import GIVE_CLIP, Format, Options, Plan, needs_clip
from ...checkpoints.keymap import complain
from ...checkpoints.part import Part
from ...checkpoints.settings import read_json
from ...errors import CheckpointError, UsageError
from ...nn.tokenizer import Tokenizer
from ..clip.clip import tokenizer_for
from ._config import decoder_configs, faults_named, prior_config, prior_from_shapes
from ._keys import DECODER_IGNORED, PRIOR_IGNORED, prior_table, unet_ignored, unet_table
from ._layers import Dialect
from .laion_prior import LaionPriorStageConfig
from .laion_upsampler import LaionUpsamplerConfig

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
SIGNS = {"prior": "net.learned_query", "decoder": "unets.0.null_image_embed"}
"""A name that every prior, and every decoder, has."""

ADVICE = {
    "clip": GIVE_CLIP,
    "text": GIVE_CLIP,
    "vision": GIVE_CLIP,
    "prior": "lay a prior's files (prior/latest.pth, prior/prior_config.json) into its folder",
    "decoder": "lay a decoder's files (decoder/latest.pth, with its decoder_config.json) into its "
    "folder",
}
UNKNOWN = "not recorded in the files: see where the weights are from"


@dataclass(frozen=True)
class Saved:
    """A weights file: what it is, its weights, and what else was saved with them.

    `config` is the `prior` or `decoder` of its training configuration, from `config_file`.
    """

    file: Path
    kind: str
    tensors: Tensors
    config: Mapping[str, Any] | None
    config_file: Path
    version: str

    def dialect(self, wanted: str | None) -> Dialect:
        """What `wanted` says, else what the names and shapes tell.

        Raises:
            CheckpointError: the file is of a version between the two.
        """
        if wanted is not None:
            return cast(Dialect, wanted)
        if any(re.fullmatch(r"(net|unets)\..*\.gamma", name) for name in self.tensors):
            return "0.15.4"
        if self.kind == "prior":
            return "1.1.0" if "net.null_text_embed" in self.tensors else "1.15.6"
        wrapped = "unets.0.mid_block1.cross_attn.fn.null_kv" in self.tensors
        if wrapped not in self._halves_with_four():
            raise CheckpointError(
                f"{self.file} is of a version of DALLE2-pytorch between 1.1.0 and 1.15.6, "
                "which computes something else again"
            )
        return "1.1.0" if wrapped else "1.15.6"

    def _halves_with_four(self) -> set[bool]:
        """Whether convolutions of 4×4 halve the picture; both where nothing tells."""
        for level in (0, 1):
            for place in (0, 4):
                name = f"unets.0.downs.{level}.{place}"
                if f"{name}.1.weight" in self.tensors:
                    return {False}
                if self._shape(f"{name}.weight")[2:] == (4, 4):
                    return {True}
        return {True, False}

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.tensors.shape(name) if name in self.tensors else ()

    @property
    def clip(self) -> str:
        """The CLIP that it was trained with, as far as it says."""
        told = (self.config or {}).get("clip")
        return str(told.get("model") or told.get("make")) if isinstance(told, Mapping) else ""


def saved_of(data: Any, file: Path) -> Saved | None:
    """What `open_pickle` gave of a file, or None where it is none of DALLE2-pytorch's.

    Raises:
        CheckpointError: its configuration is damaged, or could be any of several.
    """
    kind = _kind(data)
    if kind is None:
        return None
    weights = _weights(data)
    told = data.get("config")
    version = version_text(data["version"]) if "version" in data else ""
    found, place = (told.get(kind), file) if isinstance(told, Mapping) else (None, file)
    if found is None:
        found, place = _config_beside(file, kind)
    return Saved(file, kind, tensors_of(weights, str(file)), found, place, version)


def _kind(data: Any) -> str | None:
    """Whether what a file holds is a prior or a decoder of DALLE2-pytorch; None where neither."""
    if not isinstance(data, Mapping):
        return None
    weights = _weights(data)
    return next((kind for kind, sign in SIGNS.items() if sign in weights), None)


def _weights(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict, with the averaged weights in place of the last step's."""
    model, averages = data.get("model"), data.get("ema")
    if not isinstance(model, Mapping) or not isinstance(averages, Mapping) or "ema_model" in data:
        return state_dict(data) or data
    weights = dict(model)
    for name, value in averages.items():  # of U-Net i: "i.ema_model.*"
        index, _, rest = str(name).partition(".ema_model.")
        if rest:
            weights[f"unets.{index}.{rest}"] = value
    return weights


def _config_beside(file: Path, kind: str) -> tuple[Mapping[str, Any] | None, Path]:
    """The configuration that lies in the file's folder."""
    damaged: list[CheckpointError] = []
    found = list(_configs(file.parent, kind, damaged))
    if not found and damaged:
        raise damaged[0]
    if len(found) > 1:
        same_stem = [place for place in found if place.stem.startswith(file.stem)]
        if len(same_stem) != 1:
            names = ", ".join(place.name for place in found)
            raise CheckpointError(f"{file} could belong to any of {names}")
        found = same_stem
    return (read_json(found[0])[kind], found[0]) if found else (None, file)


def _configs(
    folder: Path, kind: str, damaged: list[CheckpointError] | None = None
) -> Iterator[Path]:
    """Training configurations of a prior or a decoder; what cannot be read goes to `damaged`."""
    inside = {"prior": "net", "decoder": "unets"}[kind]
    for file in sorted(folder.glob("*.json")):
        try:
            section = read_json(file).get(kind)
        except CheckpointError as error:
            if damaged is not None:
                damaged.append(error)
            continue
        if isinstance(section, Mapping) and inside in section:
            yield file


def _candidates(path: Path) -> Iterator[Path]:
    """Files that may hold weights: this one, or those of the folder and of two levels below.

    Of several in one folder, the last step's stands for all.
    """
    if path.is_file():
        yield path
        return
    for folder in (path, *_folders(path)):
        files = [f for f in sorted(folder.iterdir()) if f.is_file() and f.suffix in SUFFIXES]
        latest = [file for file in files if file.stem == "latest"]
        yield from latest or files


def _folders(path: Path) -> list[Path]:
    return sorted(f for pattern in ("*", "*/*") for f in path.glob(pattern) if f.is_dir())


class Laion(Format):
    """DALLE2-pytorch's priors and decoders."""

    name = "LAION (DALLE2-pytorch)"
    dialects = get_args(Dialect)

    def matches(self, path: Path) -> bool:
        """By names of tensors; a damaged file by the training configuration beside it."""
        for file in _candidates(path):
            try:
                if _kind(open_pickle(file)):
                    return True
            except CheckpointError:
                if file.suffix in SUFFIXES and _has_config(file.parent):
                    return True
        return False

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`."""
        found = _found(path)
        if not found:
            raise CheckpointError(f"{path} holds no weights of DALLE2-pytorch")
        prior = _only([saved for saved in found if saved.kind == "prior"], path)
        decoders = [saved for saved in found if saved.kind == "decoder"]
        parts: dict[str, Part] = {}
        if prior:
            parts["prior"] = prior_part(prior, options.dialect)
        for part in _decoder_parts(decoders, options, path):
            parts[_name(part, parts)] = part
        clip = _clip_name(found, parts)
        if options.clip:
            clip_part = open_clip_part(options.clip, _width(parts), _text_width(parts))
            parts = {"clip": clip_part, **parts}
        return Plan(
            name=path.stem if path.is_file() else path.name,
            family=self.name,
            where=path,
            parts=parts,
            read_tokenizer=partial(_tokenizer, options, clip),
            licence=UNKNOWN,
            notes=tuple(_notes(found, options, path, clip)),
            advice=ADVICE,
        )


def prior_part(saved: Saved, dialect: str | None) -> Part:
    """The prior. Raises CheckpointError."""
    which = saved.dialect(dialect)
    if saved.config is None:
        config = prior_from_shapes(saved.tensors, which)
    else:
        with faults_named(saved.config_file):
            config = prior_config(saved.config, which, saved.config_file)
    return Part(config, lambda: saved.tensors, prior_table(config.network), PRIOR_IGNORED)


def unet_parts(saved: Saved, dialect: str | None) -> list[Part]:
    """The decoder and its upsamplers. Raises CheckpointError."""
    if saved.config is None:
        raise CheckpointError(
            f"{saved.file} is a decoder without its configuration: "
            "put its decoder_config.json beside it"
        )
    which = saved.dialect(dialect)
    with faults_named(saved.config_file):
        configs = decoder_configs(saved.config, which, saved.config_file)
    _check_rest(saved, len(configs))
    parts = []
    for index, config in enumerate(configs):
        network = config.network
        tensors = partial(saved.tensors.under, f"unets.{index}.")
        parts.append(Part(config, tensors, unet_table(network), unet_ignored(network)))
    return parts


def _check_rest(saved: Saved, count: int) -> None:
    """Raise CheckpointError where names belong to none of `count` U-Nets."""
    known = re.compile("|".join([*DECODER_IGNORED, *(rf"unets\.{i}\..*" for i in range(count))]))
    left = sorted(name for name in saved.tensors if not known.fullmatch(name))
    complain(str(saved.file), "not used", left)


def _found(path: Path) -> list[Saved]:
    """What the files hold.

    Raises:
        CheckpointError: one is damaged that has a configuration, or that lies with sound ones.
    """
    found: list[Saved] = []
    damaged: list[CheckpointError] = []
    for file in _candidates(path):
        try:
            data = open_pickle(file)
        except CheckpointError as error:
            if path.is_file() or _has_config(file.parent):
                raise
            damaged.append(error)
            continue
        saved = saved_of(data, file)
        found += [saved] if saved else []
    if found and damaged:  # a missing prior is no fault, a damaged one is
        raise damaged[0]
    return found


def _has_config(folder: Path) -> bool:
    return any(True for kind in SIGNS for _ in _configs(folder, kind))


def _decoder_parts(decoders: list[Saved], options: Options, path: Path) -> list[Part]:
    """Of one decoder, or of one U-Net and of another's upsamplers."""
    several = [unet_parts(saved, options.dialect) for saved in decoders]
    if len(several) == 2 and {len(parts) > 1 for parts in several} == {False, True}:
        first, later = sorted(several, key=len)
        return [*first, *later[1:]]
    _only(decoders, path)
    return several[0] if several else []


def _only(found: list[Saved], path: Path) -> Saved | None:
    if len(found) > 1:
        names = ", ".join(str(saved.file.relative_to(path)) for saved in found)
        raise UsageError(f"{path} holds several: {names}; give one of them, or a folder of its own")
    return found[0] if found else None


def _name(part: Part, taken: Mapping[str, Part]) -> str:
    if not isinstance(part.config, LaionUpsamplerConfig):
        return "decoder"
    count = 1 + sum(name.startswith("upsampler") for name in taken)
    return "upsampler" if count == 1 else f"upsampler_{count}"


def _width(parts: Mapping[str, Part]) -> int | None:
    """Of the embeddings that the stages work with."""
    for part in parts.values():
        if isinstance(part.config, LaionPriorStageConfig):
            return part.config.network.width
        return cast(Any, part.config).network.embed_dim or None
    return None


def _text_width(parts: Mapping[str, Part]) -> int | None:
    """Of the encodings that a decoder reads, if one does."""
    networks = [cast(Any, part.config).network for part in parts.values()]
    return next((n.text_width for n in networks if getattr(n, "text_width", 0)), None)


def _tokenizer(options: Options, clip: str) -> Tokenizer:
    if options.clip is None:
        raise needs_clip(clip, "drawing from text")
    return tokenizer_for(options.clip, options, 77)


def _clip_name(found: list[Saved], parts: Mapping[str, Part]) -> str:
    """The CLIP that belongs to the weights, or what is known of it."""
    told = next((saved.clip for saved in found if saved.clip), "")
    width = _width(parts)
    return told or ("ViT-L/14" if width == 768 else f"with embeddings of {width} numbers")


def _notes(found: list[Saved], options: Options, path: Path, clip: str) -> Iterator[str]:
    for saved in found:
        dialect = saved.dialect(options.dialect)
        name = saved.file.name if path.is_file() else saved.file.relative_to(path)
        written = f", written by {saved.version}" if saved.version else ""
        yield f"{name}: read as DALLE2-pytorch {dialect} computes it{written}"
        if saved.kind == "prior" and dialect == "1.1.0":
            yield "guidance changes nothing in a prior of DALLE2-pytorch 1.1.0"
    if options.clip is None:
        yield f"needs CLIP {clip}, which it does not carry"


FORMAT = Laion()
