"""Models between two others: the ends are they themselves, the middle is the mean."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.checkpoints.convert import convert
from unclip.checkpoints.format import open_model
from unclip.checkpoints.interpolated import interpolated
from unclip.checkpoints.native import load_stage, read_manifest, verify
from unclip.checkpoints.tensors import sha256
from unclip.errors import CheckpointError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage

STAGES = ("clip", "prior", "decoder")


@pytest.fixture(scope="module")
def make(
    make_stage: Callable[..., Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """`make(name, shift, words, **decoder)`: a model whose every weight is moved by `shift`."""
    root = tmp_path_factory.mktemp("models")

    def model(name: str, shift: float = 0.0, words: Any = None, **decoder: Any) -> Path:
        stages = {one: make_stage(one, **(decoder if one == "decoder" else {})) for one in STAGES}
        for stage in stages.values():
            for parameter in stage.net.parameters():
                parameter.data += shift
        save_model(root / name, name, tokenizer, stages, dtype=torch.float32)
        file = root / name / "model.json"
        values = json.loads(file.read_text())
        file.write_text(json.dumps({**values, "vocabulary": words} if words else values))
        return root / name

    return model


def state(model: Path, stage: str) -> dict[str, Tensor]:
    return load_stage(model, stage).net.state_dict()


def test_weights_lie_between(make: Callable[..., Path], tmp_path: Path) -> None:
    one, other = make("one", words={"fox": 2}), make("other", 0.5, words={"fox": 1, "cat": 3})
    for weight in (0.0, 0.25, 1.0):
        made = tmp_path / str(weight)
        convert(interpolated(open_model(one), open_model(other), weight), made)
        assert verify(made) == []
        assert read_manifest(made).vocabulary == {"fox": 3, "cat": 3}
        for name in STAGES:
            first, second, found = state(one, name), state(other, name), state(made, name)
            for key, value in found.items():
                want = (1 - weight) * first[key].double() + weight * second[key].double()
                assert torch.allclose(value.double(), want, atol=1e-6)
                if weight in (0.0, 1.0):
                    assert torch.equal(value, (second if weight else first)[key])
        assert f"weights: {1 - weight:g} of one" in (made / "README.md").read_text()


def test_a_model_that_lists_no_words_leaves_none(make: Callable[..., Path]) -> None:
    """Nobody can say what it knows."""
    plans = open_model(make("first", words={"fox": 2})), open_model(make("second"))
    assert not interpolated(*plans, weight=0.5).vocabulary
    hashes = {interpolated(*plans, weight=w).digest for w in (0.1, 0.2)}
    assert len(hashes | {one.digest for one in plans}) == 4


def test_what_does_not_fit_is_named(make: Callable[..., Path], tmp_path: Path) -> None:
    one = open_model(make("whole"))
    wider = open_model(make("wider", network={**_network(one), "channels": 64}))
    with pytest.raises(
        CheckpointError, match=r"the weight '.*' of stage 'decoder' of the first: \("
    ):
        interpolated(one, wider, 0.5)
    other = open_model(make("eps", parameterization={"kind": "eps"}))
    with pytest.raises(CheckpointError, match=r"'decoder\.parameterization' of the first: .*'v'"):
        interpolated(one, other, 0.5)
    folder = Path(shutil.copytree(one.where, tmp_path / "less"))
    values = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**values, "stages": ["clip", "prior"]}))
    with pytest.raises(CheckpointError, match="stages of the first: clip, prior, decoder; of the"):
        interpolated(one, open_model(folder), 0.5)
    with pytest.raises(UsageError, match=r"weight must be from 0, .*, got 1\.5"):
        interpolated(one, one, 1.5)


def test_another_tokenizer(make: Callable[..., Path], tmp_path: Path) -> None:
    one = open_model(make("this"))
    other = Path(shutil.copytree(one.where, tmp_path / "other"))
    Tokenizer.train(["other words"] * 9, 310, 8).save(other / "tokenizer.json")
    values = json.loads((other / "model.json").read_text())
    values["files"]["tokenizer.json"] = sha256(other / "tokenizer.json")
    (other / "model.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="this and this have different tokenizers"):
        interpolated(one, open_model(other), 0.5)


def _network(plan: Any) -> dict[str, Any]:
    found: dict[str, Any] = plan.parts["decoder"].config.network.dump()
    return found
