"""LoRA files of Stable Diffusion and Kandinsky, as kohya's scripts and diffusers write them.

lora_unet_..._attn1_to_q.lora_down.weight, .lora_up.weight, .alpha    kohya (LoCon's convolutions)
unet. ... .attn1.to_q.lora_A.weight, lora_B.weight                     diffusers with peft
unet. ... .attn1.to_q.lora.down.weight                                 diffusers before it
unet. ... .attn1.processor.to_q_lora.down.weight                       its attention processors
text_encoder. ... .q_proj.lora_linear_layer.down.weight                of the text encoder then
text_encoder. ... .self_attn.to_q_lora.down.weight                     and before that

Their names are those of the modules in diffusers' folders, whatever the model's own file is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from ...checkpoints.keymap import KeyMap
from ...checkpoints.lora import Change, Layout, Pair, Place, pairs
from ...checkpoints.part import Part
from ...errors import CheckpointError
from ...stages import StageConfig
from . import kandinsky, stable_diffusion
from .latent_decoder import LatentDecoderConfig
from .latent_unclip import LatentUnclipConfig

ENDINGS = (
    r"\.lora_(down|up)\.weight",
    r"\.lora_(A|B)(?:\.default)?\.weight",
    r"\.lora\.(down|up)\.weight",
    r"\.lora_linear_layer\.(down|up)\.weight",
    r"_lora\.(down|up)\.weight",
    r"\.(alpha)",
)
ROLES = {"A": "down", "B": "up"}
OTHER_KINDS = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "a LoRA with a third matrix",
    "dora_scale": "DoRA",
    "lora_magnitude": "DoRA",
    "oft_": "OFT",
}
"""What stands in the names of what is not read."""

V2 = 1024
"""Width of Stable Diffusion v2's text encoder."""

KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_"}
"""How kohya's names begin, by the folder."""


class _Lora:
    """See `Layout`."""

    def matches(self, keys: Iterable[str], metadata: Mapping[str, str]) -> bool:
        ends = re.compile("|".join(f".+{ending}" for ending in ENDINGS))
        return any(ends.fullmatch(key) or any(m in key for m in OTHER_KINDS) for key in keys)

    def places(
        self, keys: Iterable[str], metadata: Mapping[str, str], stages: Mapping[str, StageConfig]
    ) -> dict[Place, Pair]:
        places = {
            name: found for stage, one in stages.items() for name, found in _places(stage, one)
        }
        spelt = {name.removeprefix("unet."): name for name in places}
        spelt |= {_kohya(name): name for name in places} | {name: name for name in places}
        named, alphas = pairs(keys, lambda key: _split(key, spelt)), _alphas(metadata)
        return {
            places[name]: pair
            if pair.alpha is not None
            else pair._replace(alpha=alphas.get(name.partition(".")[0]))
            for name, pair in named.items()
        }

    def written(
        self, stage: str, part: Part, changes: Mapping[str, Change]
    ) -> tuple[str, dict[str, Tensor]] | None:
        """See `Layout`: diffusers with peft, alpha/r being part of lora_B.

        What is one matrix here and several there has one lora_A, which stands with each.
        """
        tensors: dict[str, Tensor] = {}
        for name, place in _places(stage, part.config):
            if place.name not in changes:
                continue
            down, up, alpha = changes[place.name]
            up = up.detach().flatten(1).tensor_split(place.parts)[place.number] * alpha / len(down)
            axes = (1,) * (len(_shape(part, place)) - 2)
            down = down.reshape(*down.shape[:2], *axes) if down.ndim == 2 else down
            tensors[f"{name}.lora_A.weight"] = down
            tensors[f"{name}.lora_B.weight"] = up.reshape(*up.shape, *axes)
        return ("diffusers", tensors) if tensors else None


def _places(stage: str, config: StageConfig) -> Iterable[tuple[str, Place]]:
    """diffusers' names of a stage's modules."""
    table: KeyMap = {}
    if isinstance(config, LatentDecoderConfig):
        table = stable_diffusion.decoder_table(config)
    elif isinstance(config, LatentUnclipConfig):
        table = kandinsky.decoder_table(config)
    for name, take in table.items():
        for index, source in enumerate(take.sources):
            if source.endswith(".weight"):
                yield source.removesuffix(".weight"), Place(stage, name, index, len(take.sources))


def _shape(part: Part, place: Place) -> tuple[int, ...]:
    """Of a weight in diffusers' network, where some linear layers are convolutions of a pixel.

    The model's own file has it so. A file of our own names does not say; v2's networks, whose text
    encoder is wider, have linear layers (`use_linear_projection`).
    """
    if part.table is not None:
        return part.tensors().shape(part.table[place.name].sources[0])
    shape = tuple(part.build().net_at_rest.get_parameter(place.name).shape)
    ends = place.name.endswith((".proj_in.weight", ".proj_out.weight"))
    return (*shape, 1, 1) if ends and part.config.dump()["network"]["text"]["width"] < V2 else shape


def _split(key: str, spelt: Mapping[str, str]) -> tuple[str, str]:
    """A key to its module in `spelt` and its role. Raises LookupError or CheckpointError."""
    for mark, kind in OTHER_KINDS.items():
        if mark in key:
            raise CheckpointError(f"'{key}' is of {kind}; only plain LoRA is read")
    for ending in ENDINGS:
        if found := re.fullmatch(f"(.+?){ending}", key):
            name = found[1].removeprefix("base_model.model.").replace(".processor.", ".")
            name = re.sub(r"(self_attn)\.to_(q|k|v|out)$", r"\1.\2_proj", name)
            name = re.sub(r"\.to_out$", ".to_out.0", name)
            if name not in spelt:
                raise LookupError(f"'{key}' fits nothing in it")
            return spelt[name], ROLES.get(found[2], found[2])
    raise LookupError(f"'{key}' is of no layout that is known here (docs/models)")


def _kohya(name: str) -> str:
    folder, _, rest = name.partition(".")
    return KOHYA.get(folder, f"{folder}_") + rest.replace(".", "_")


def _alphas(metadata: Mapping[str, str]) -> dict[str, float]:
    """What newer files say of alpha in their metadata, by folder.

    Raises:
        CheckpointError: they ask for what is not read.
    """
    try:
        said = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        found = {f: float(said[f"{f}.lora_alpha"]) for f in KOHYA if f"{f}.lora_alpha" in said}
        special = [key for key in said if key.endswith(("alpha_pattern", "rslora", "dora"))]
        unread = next((key for key in special if said[key]), None)
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the metadata of a LoRA file is damaged: {error}") from None
    if unread:
        raise CheckpointError(f"a LoRA file asks for {unread}, which is not read")
    return found


LORA: Layout = _Lora()
