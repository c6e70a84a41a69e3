"""A recipe to begin with: a preset's, or one that fine-tunes any model that can be loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..checkpoints.format import Plan
from ..errors import UsageError, nearest
from ..loading import PRESETS, plan
from ..plain import parse_toml
from ..stages.clip import ClipStageConfig
from .recipe import Recipe, presets

HUB = {
    "karlo": "hub:kakaobrain/karlo-v1-alpha",
    "sd": "hub:stable-diffusion-v1-5/stable-diffusion-v1-5",
}
"""Models that recipes begin from by a short name, and where they are published."""

_STAGES = {"karlo": ("clip", "prior", "decoder", "upsampler"), "sd": ("clip", "decoder")}
_HEAD = """\
# Fine-tuning {model} on pictures of your own.
# `unclip train {file} --dry-run` says what it costs; `unclip train {file}` begins.
# `unclip train --settings {file}` prints every key that this file may have.
name = {name}
seed = 0
# budget = "8h"  # for all stages: each takes as many steps as fit into its share
# prompts = ["a photo of my dog"]  # of the sample grids; without them, captions of the data

[data]
source = "folder"  # `name.txt` beside `name.png`, or a metadata.csv with file_name,text
path = {data}

# The model's own tokenizer.
[tokenizer]
model = {model_text}
context = {context}
vocab_size = 300
"""
_TAKEN = """
# Taken as it is: a stage without a `train` table is not trained.
[stages.{stage}]
from = {model_text}
"""
_TRAINED = """
# {why}
[stages.{stage}]
from = {model_text}

[stages.{stage}.train]
steps = 1000
batch_size = 4  # as many as memory allows
learning_rate = 1e-5  # more forgets more of what the model knows
warmup = 50
ema = 0.99
share = {share}  # of a budget
# freeze = ["text"]  # parts of the network that keep their weights
"""
_WHY = {
    "prior": "Which embedding a text has: train it where your captions say new things.",
    "decoder": "What is drawn of it: most of the time belongs here.",
}


def starting_recipe(
    start: str, file: Path, data: str | None = None, model: str | None = None
) -> str:
    """The text of a commented recipe.

    Args:
        start: a preset, "karlo" or "sd", or any model, as `--model` takes one.
        file: where it will be written, which names it.
        data: the folder of pictures; None: the preset's own, or "photos".
        model: where the model of "karlo" or "sd" is, if not on the hub.

    Raises:
        UsageError: there is no such preset or model, or it makes no recipe.
    """
    if start in presets():
        if model is not None:
            raise UsageError(f"--model is for a model to fine-tune, and '{start}' is a preset")
        return _of_preset(start, file, data)
    return _of_model(start, file, data or "photos", model)


def validated(text: str) -> Recipe | None:
    """The recipe that a text is; None where its model is on the hub, and not fetched for this.

    Raises:
        UsageError: a setting is wrong, or the model is not there.
    """
    values = parse_toml(text)
    taken = [str(one.get("from", "")) for one in values["stages"].values()]
    return None if any(one.startswith("hub:") for one in taken) else Recipe.parse(values)


def _of_preset(preset: str, file: Path, data: str | None) -> str:
    name, text = file.stem, (PRESETS / f"{preset}.toml").read_text(encoding="utf-8")
    text = text.replace(f"unclip train {preset} --data photos/", f"unclip train {file}")
    text = text.replace(f"unclip train {preset}", f"unclip train {file}")
    text = text.replace(f"runs/{preset}/", f"runs/{name}/").replace(
        f"\n# {preset}\n", f"\n# {name}\n"
    )
    text = re.sub(r'^name = ".*"$', f"name = {json.dumps(name)}", text, count=1, flags=re.M)
    if data is None:
        return text
    return re.sub(r'^path = ".*"$', f"path = {json.dumps(data)}", text, count=1, flags=re.M)


def _of_model(start: str, file: Path, data: str, given: str | None) -> str:
    model = given or HUB.get(start, start)
    if start not in HUB and not model.startswith("hub:") and not Path(model).expanduser().exists():
        known = [*presets(), *HUB]
        raise UsageError(
            f"no preset or model '{start}'{nearest(start, known)}; "
            f"--from takes {', '.join(known)}, or a model's path"
        )
    opened = None if model.startswith("hub:") else plan(model)
    stages = tuple(opened.parts) if opened else _STAGES.get(start, _STAGES["sd"])
    words = {"model_text": json.dumps(model), "model": model}
    text = _HEAD.format(
        file=file, name=json.dumps(file.stem), data=json.dumps(data), context=_context(opened),
        **words,
    )  # fmt: skip
    if opened is not None and not _sees(opened) and "prior" in stages:
        text = _BLIND.format(model=model) + text
    for stage in stages:
        if stage in _WHY:
            share = 80 if stage == "decoder" else 20
            text += _TRAINED.format(stage=stage, why=_WHY[stage], share=share, **words)
        else:
            text += _TAKEN.format(stage=stage, **words)
    return text


_BLIND = """\
# This model's CLIP has no image encoder, which training needs. Any complete copy of it helps:
# `unclip convert {model} whole --clip ViT-L-14.pt`, and "whole" for the model below.
"""


def _context(model: Plan | None) -> int:
    return 77 if model is None else model.read_tokenizer().context


def _sees(model: Plan) -> bool:
    clips = [one.config for one in model.parts.values() if isinstance(one.config, ClipStageConfig)]
    return any(clip.network.vision for clip in clips)
