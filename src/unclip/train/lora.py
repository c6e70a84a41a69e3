"""Training a LoRA: which layers learn it, what of a network is saved, and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.lora import WORDS, Change, save_for_others, save_lora
from ..errors import UsageError
from ..nn.lora import adapt, adapted, can_adapt
from ..vocabulary import Vocabulary
from .config import LoraConfig
from .optim import EDGES
from .recipe import Recipe
from .sharded import assign


def learn_low_rank(net: nn.Module, config: LoraConfig, where: str) -> None:
    """Make a network learn a LoRA and nothing else.

    Raises:
        UsageError: no layer is of a name that `targets` has; `where` is the stage's section.
    """
    adapt(net, targeted(net, config, where).values(), config.rank, config.alpha or config.rank)


def targeted(net: nn.Module, config: LoraConfig, where: str) -> dict[str, nn.Module]:
    """The layers that learn, by name. Raises as `learn_low_rank`."""
    able = {
        name: one
        for name, one in net.named_modules()
        if can_adapt(one) and one.get_parameter("weight").requires_grad
    }
    if not config.targets:
        return {name: one for name, one in able.items() if name.rpartition(".")[2] not in EDGES}
    for pattern in config.targets:
        if not any(_is_named(name, pattern) for name in able):
            some = ", ".join([*able][:: max(1, len(able) // 4)][:4])
            raise UsageError(
                f"setting '{where}.train.lora.targets' has '{pattern}', which is the name of no "
                f"layer that can learn; its layers are such as {some or 'none'}"
            )
    return {
        name: one
        for name, one in able.items()
        if any(_is_named(name, pattern) for pattern in config.targets)
    }


def _is_named(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def kept(net: nn.Module) -> dict[str, Tensor]:
    """What a saved state holds of a network: all, or of one that learns a LoRA that alone."""
    layers = adapted(net)
    if not layers:
        return dict(net.state_dict())
    state = net.state_dict()
    names = [f"{name}.{part}" for name in layers for part in ("lora_down", "lora_up")]
    return {name: state[name] for name in names}


@torch.no_grad()
def put_back(net: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Undo `kept`: all its tensors have to be there, in their shapes."""
    for name, value in kept(net).items():
        assign(value, saved[name])


def changes_of(net: nn.Module) -> dict[str, Change]:
    """The LoRA that a network has learnt, by the weights that it changes."""
    return {
        f"{name}.weight" if name else "weight": Change(one.lora_down, one.lora_up, one.alpha)
        for name, one in adapted(net).items()
    }


def write_loras(
    recipe: Recipe, name: str, net: nn.Module, folder: Path, words: Vocabulary
) -> list[Path]:
    """Write what a stage of a recipe has learnt, for `--lora` and for other programs.

    STAGE.lora.safetensors is in this package's layout, STAGE.PROGRAM.safetensors in that of a
    program that has one for such a model. `words` are those that the model knows with it.

    Returns:
        The files; none where the stage learns no LoRA.
    """
    changes, stage = changes_of(net), recipe.stage(name)
    if not changes or stage.origin is None:
        return []
    plan = recipe.models[str(stage.base)]
    theirs = next(one for one, part in plan.parts.items() if part is stage.origin)
    about = {"model": plan.name, "model_hash": plan.digest}
    if words:
        about[WORDS] = json.dumps(words.counts, ensure_ascii=False)
    own = folder / f"{name}.lora.safetensors"
    save_lora(own, theirs, changes, about)
    return [own, *save_for_others(folder, name, theirs, stage.origin, changes)]
