"""x-clip's files: known by their names, and which variants are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import unclip
from unclip.checkpoints.companions import open_clip_part
from unclip.checkpoints.format import find_format, open_model
from unclip.errors import CheckpointError, UsageError
from unclip.families.clip.x_clip import XClipConfig

FIXTURES = Path(__file__).parents[2] / "parity" / "fixtures"
SHAPES: dict[str, list[int]] = json.loads((FIXTURES / "x_clip.json").read_text())["shapes"][
    "x_clip"
]


def write(folder: Path, **changes: Any) -> Path:
    """`changes` replaces tensors, None leaves one out; a dot in a name is written __."""
    tensors = {key: torch.randn(shape) * 0.1 for key, shape in SHAPES.items()}
    tensors["temperature"] = torch.tensor(1.0)
    tensors |= {key.replace("__", "."): value for key, value in changes.items()}
    file = folder / "it.pt"
    torch.save({key: value for key, value in tensors.items() if value is not None}, file)
    return file


def test_its_sizes_are_told_by_its_shapes(tmp_path: Path) -> None:
    config: Any = open_clip_part(write(tmp_path)).config
    network = config.network
    assert isinstance(network, XClipConfig)
    assert (network.embed_dim, network.head_dim) == (24, 64)
    text, vision = network.text, network.vision
    assert text is not None and vision is not None
    assert (text.width, text.depth, text.heads, text.vocab_size, text.context) == (32, 2, 2, 60, 7)
    assert (vision.width, vision.depth, vision.heads) == (48, 2, 3)
    assert (vision.image_size, vision.patch_size) == (8, 4)


def test_it_is_a_model(tmp_path: Path) -> None:
    file = write(tmp_path, text_transformer__token_emb__weight=torch.randn(49408, 32))
    assert find_format(file).name == "CLIP"
    pipe = unclip.load(file, "cpu", torch.float32)
    assert pipe.tokenizer.context == 7
    assert pipe.tokenizer.encode([""])[1].sum() == 0
    said = pipe.probe(Image.new("RGB", (8, 8), "red"), ["a fox", "a car"])
    assert len(said) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"text_transformer__rotary_pos_emb__inv_freq": torch.ones(16)},
            "rotary positions is not read",
        ),
        ({"to_visual_latent__1__weight": torch.ones(2)}, "fine-grained loss is not read"),
        ({"text_transformer__cls_token": None}, "causal is not read"),
        ({"visual_transformer__pos_emb__weight": None}, "not a whole x-clip: .*pos_emb"),
    ],
)
def test_other_variants_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = write(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=rf"it\.pt.*{message}"):
        open_model(file)


def test_what_only_training_uses_is_left_alone(tmp_path: Path) -> None:
    file = write(tmp_path, mlm__to_logits__weight=torch.ones(2), visual_ssl__x=torch.ones(2))
    part = open_clip_part(file)
    part.check(part.build().net, "it")
    file = write(tmp_path, other=torch.ones(2))
    with pytest.raises(CheckpointError, match="1 not used: other"):
        part.check(part.build().net, "it")


def test_half_of_it_is_none(tmp_path: Path) -> None:
    config = open_clip_part(write(tmp_path)).config.network  # type: ignore[attr-defined]
    for tower in ("text", "vision"):
        with pytest.raises(UsageError, match="needs both vision and text"):
            XClipConfig.parse({**config.dump(), tower: None})
