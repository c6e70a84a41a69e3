"""GLIDE: openai/glide-text2im's `base.pt`, `upsample.pt`, and those two for inpainting.

Each is a bare state dict. What it is of, its names and shapes say, but for what the published
networks agree in: heads of 64 numbers, a side of 4 pixels at the deepest level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from torch import Tensor

from ...checkpoints._state_dicts import open_weights
from ...checkpoints._unread import check_file
from ...checkpoints.archive import Tensors
from ...checkpoints.format import TEXT_ALONE, Format, Options, Plan
from ...checkpoints.keymap import KeyMap, Take, same, under
from ...checkpoints.part import Part
from ...checkpoints.settings import shapes_of
from ...checkpoints.tokenizers import gpt2_of_files
from ...diffusion.schedule import Cosine, Linear
from ...errors import CheckpointError, UsageError
from ...nn.text import TextConfig
from ...nn.tokenizer import Tokenizer
from ...nn.unet import UNetConfig
from ...stages.decoder import DecoderConfig
from ...stages.sampling import Sampling
from ...stages.upsampler import Corruption, UpsamplerConfig, UpsamplerSampling
from ..adm._names import HEAD, adm_table, count_of, transformer_table, unet_size
from ..adm.guided_unet import GuidedUNetConfig

ENDINGS = (".pt", ".pth", ".bin", ".safetensors")
Kind = Literal["base", "upsample", "base-inpaint", "upsample-inpaint"]
KINDS: dict[int, Kind] = {3: "base", 6: "upsample", 7: "base-inpaint", 10: "upsample-inpaint"}
"""By channels that go in: a noisy picture; a small one; what is known, and where."""
SAMPLING: dict[Kind, Sampling] = {
    "base": Sampling(sampler="ddpm", steps=100, guidance_scale=3.0, threshold="clamp"),
    "base-inpaint": Sampling(sampler="ddpm", steps=100, guidance_scale=5.0, threshold="clamp"),
    "upsample": UpsamplerSampling(
        sampler="ddim", steps=27, spacing="fast27", eta=0.0, threshold="clamp"
    ),
    "upsample-inpaint": UpsamplerSampling(
        sampler="ddpm", steps=27, spacing="fast27", threshold="clamp"
    ),
}
"""As in the repository's notebooks."""
DIALECTS = ("generate", "inpaint")
FACTOR = 4
ADVICE = {
    **TEXT_ALONE,
    "decoder": "lay GLIDE's decoder (base.pt) beside it",
}
NOTES = (
    "it has no CLIP: abilities that need one (variations, text diffs, ...) do not work with it",
    "the published upsampler's noise is 0.997 times as strong",
)


def is_glide(tensors: Tensors) -> bool:
    """Whether these are the names of GLIDE's networks."""
    names = ("input_blocks.0.0.weight", "token_embedding.weight", "transformer_proj.weight")
    return all(name in tensors for name in names)


def kind_of(tensors: Tensors, where: Path) -> Kind:
    """Which of its networks it is. Raises CheckpointError."""
    channels = tensors.shape("input_blocks.0.0.weight")[1]
    if channels not in KINDS:
        raise CheckpointError(
            f"{where}: input_blocks.0.0.weight takes {channels} channels; "
            f"GLIDE's networks take {', '.join(map(str, KINDS))}"
        )
    return KINDS[channels]


def network(tensors: Tensors, kind: Kind, where: Path) -> GuidedUNetConfig:
    """The U-Net that names and shapes tell of. Raises CheckpointError."""
    with shapes_of(f"{where} is not a whole network of GLIDE's"):
        size = {**unet_size(tensors), "in_channels": 3}  # what comes beside is said below
        return GuidedUNetConfig(
            **size,
            low_res=kind.startswith("upsample"),
            low_res_level=False,
            inpaint=kind.endswith("inpaint"),
            mask_of="known",
            text=_text(tensors),
            project_text=False,
        )


def _text(tensors: Tensors) -> TextConfig:
    vocab, width = tensors.shape("token_embedding.weight")
    return TextConfig(
        width=width,
        depth=count_of(tensors, "transformer.resblocks.{}.ln_1.bias", 0),
        heads=max(1, width // HEAD),
        vocab_size=vocab,
        context=tensors.shape("positional_embedding")[0],
        learned_padding="padding_embedding" in tensors,
    )


def table_of(config: UNetConfig) -> KeyMap:
    """Where each tensor of one of GLIDE's networks stands."""
    assert config.text
    table = adm_table(config) | same("text_vector", "transformer_proj")
    table |= under("text", "", _text_table(config.text))
    if config.low_res and config.inpaint:
        source = ("input_blocks.0.0.weight",)
        table["conv_in.weight"] = Take(source, _small_picture_first, _small_picture_last)
    return table


def _text_table(config: TextConfig) -> KeyMap:
    table: KeyMap = {"positions": Take(("positional_embedding",))}
    if config.learned_padding:
        table["padding"] = Take(("padding_embedding",))
    table |= same("embed", "token_embedding", "weight") | same("norm", "final_ln")
    return table | transformer_table(config)


def _small_picture_first(weight: Tensor) -> Tensor:
    """From (noisy, known, mask, small) to (noisy, small, known, mask)."""
    return weight[:, [0, 1, 2, 7, 8, 9, 3, 4, 5, 6]]


def _small_picture_last(weight: Tensor) -> Tensor:
    return weight[:, [0, 1, 2, 6, 7, 8, 9, 3, 4, 5]]


def glide_part(file: Path) -> Part:
    """One of its networks as a stage. Raises CheckpointError."""
    return replace(part_of(open_weights(file), file), tensors=partial(open_weights, file))


def part_of(tensors: Tensors, where: Path) -> Part:
    """The stage that some tensors make. Raises CheckpointError."""
    kind = kind_of(tensors, where)
    config = network(tensors, kind, where)
    if not config.low_res:
        stage = DecoderConfig(network=config, schedule=Cosine(), sampling=SAMPLING[kind])
        return Part(stage, lambda: tensors, table_of(config))
    upsampler = UpsamplerConfig(
        network=config,
        low_res_size=config.image_size // FACTOR,
        corruption=Corruption(blur=0.0, noise=0.0),
        enlarge="bilinear",
        schedule=Linear(),
        parameterization=DecoderConfig(network=config).parameterization,
        sampling=SAMPLING[kind],
    )
    return Part(upsampler, lambda: tensors, table_of(config))


class Glide(Format):
    """A file of one network, or a folder with the files of several."""

    name = "GLIDE"
    dialects = DIALECTS

    def matches(self, path: Path) -> bool:
        """By the names of the tensors."""
        return next(_files(path), None) is not None

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`. The dialect `inpaint` chooses the networks for it, where there are both."""
        dialect = options.dialect or DIALECTS[0]
        files = _chosen(path, dialect)
        parts = {name: glide_part(file) for name, file in files.items()}
        text = next(iter(parts.values())).config.network.text  # type: ignore[attr-defined]
        folder = path if path.is_dir() else path.parent
        return Plan(
            name=path.stem if path.is_file() else path.name,
            family=self.name,
            where=path,
            parts=parts,
            read_tokenizer=lambda: glide_tokenizer(options.tokenizer or folder, text),
            licence="MIT",
            notes=NOTES,
            advice=ADVICE,
        )


def _files(path: Path) -> Iterator[tuple[Tensors, Path]]:
    """Its networks that lie at `path`, in the order of their names."""
    for file in _weights(path):
        try:
            tensors = open_weights(file)
        except CheckpointError:  # some other file, which is not this format's to judge
            continue
        if is_glide(tensors):
            yield tensors, file


def _weights(path: Path) -> list[Path]:
    inside = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    return [file for file in inside if file.suffix in ENDINGS and file.is_file()]


def _chosen(path: Path, dialect: str) -> dict[str, Path]:
    """Stage -> file. Raises CheckpointError where two files are of one kind."""
    for file in _weights(path):
        check_file(file)  # a missing network is no fault, a damaged one is
    found: dict[str, Path] = {}
    for tensors, file in _files(path):
        kind = kind_of(tensors, file)
        if kind in found:
            raise CheckpointError(f"{found[kind]} and {file} are both GLIDE's '{kind}'; keep one")
        found[kind] = file
    files: dict[str, Path] = {}
    for stage, kind in (("decoder", "base"), ("upsampler", "upsample")):
        wanted = (kind, f"{kind}-inpaint")
        for one in wanted if dialect == "generate" else wanted[::-1]:
            if one in found:
                files[stage] = found[one]
                break
    return files


def glide_tokenizer(folder: Path, text: TextConfig) -> Tokenizer:
    """GPT-2's BPE, which GLIDE's files do not hold.

    Raises:
        UsageError: it is not there.
        CheckpointError: it is damaged, or has more tokens than the network knows.
    """
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    missing = [file.name for file in (vocab, merges) if not file.is_file()]
    if missing:
        raise UsageError(
            f"GLIDE reads GPT-2's tokens, and {folder} has no {' and no '.join(missing)}: lay "
            "GPT-2's vocab.json and merges.txt beside its files, or name their folder "
            "with --tokenizer (tokenizer= in Python)"
        )
    tokenizer = gpt2_of_files(vocab, merges, text.context)
    if tokenizer.vocab_size != text.vocab_size:
        raise CheckpointError(
            f"{vocab} has {tokenizer.vocab_size} tokens; the network knows {text.vocab_size}"
        )
    return tokenizer


FORMAT = Glide()
