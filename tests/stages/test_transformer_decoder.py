"""A decoder whose network is a Transformer: the chain, its abilities, and what training does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unclip
from unclip import Pipeline
from unclip.nn.dit import DiTBlock
from unclip.nn.tokenizer import Tokenizer
from unclip.train.blocks import compile_blocks, repeated_blocks, sharded_units
from unclip.train.config import LoraConfig
from unclip.train.lora import targeted
from unclip.train.optim import hidden_matrices

TEXT = {"width": 16, "depth": 2, "heads": 2, "vocab_size": 320, "context": 8}
NETWORK = {
    "kind": "dit", "image_size": 8, "patch_size": 4, "width": 16, "depth": 2, "heads": 2,
    "inpaint": True, "embed_dim": 16, "text": TEXT,
}  # fmt: skip


@pytest.fixture(scope="module")
def decoder(make_stage: Callable[..., Any]) -> Any:
    return make_stage("decoder", network=NETWORK, parameterization={"kind": "x0"})


@pytest.fixture(scope="module")
def pipe(
    decoder: Any,
    make_stage: Callable[..., Any],
    save_model: Callable[..., Any],
    tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pipeline:
    """Saved and loaded, of random weights; its pictures are 16 x 16."""
    folder = tmp_path_factory.mktemp("patches") / "patches"
    own = {"decoder": decoder}
    names = ("clip", "prior", "decoder", "upsampler")
    stages = {name: own.get(name) or make_stage(name) for name in names}
    save_model(folder, "patches", tokenizer, stages)
    return unclip.load(folder, device="cpu")


def test_a_loaded_model_draws_by_its_network(pipe: Pipeline) -> None:
    assert pipe.stages["decoder"].config.network.kind == "dit"
    one, two = (np.asarray(pipe.generate("a red car", seed=seed)[0]) for seed in (0, 1))
    again = np.asarray(pipe.generate("a red car", seed=0)[0])
    assert one.shape == (16, 16, 3)
    assert np.array_equal(one, again) and not np.array_equal(one, two)


def test_a_picture_is_varied_and_edited(pipe: Pipeline) -> None:
    picture = Image.effect_noise((16, 16), 90).convert("RGB")
    varied = pipe.variations(picture, n=2, seed=0)
    assert len({one.tobytes() for one in varied}) == 2
    mask = Image.new("L", (16, 16))
    mask.paste(255, (8, 0, 16, 16))
    kept = np.asarray(pipe.edit(picture, mask, "a dog", seed=0)[0])
    assert np.array_equal(kept[:, :8], np.asarray(picture)[:, :8])
    assert not np.array_equal(kept[:, 8:], np.asarray(picture)[:, 8:])


def test_blocks_are_recomputed_compiled_and_sharded_each(decoder: Any) -> None:
    net = decoder.net
    blocks = [one for one in net.modules() if isinstance(one, DiTBlock)]
    assert [one for one in repeated_blocks(net) if isinstance(one, DiTBlock)] == blocks
    assert [one for one in sharded_units(net) if isinstance(one, DiTBlock)] == blocks


def test_what_muon_and_a_lora_learn_are_its_inner_matrices(decoder: Any) -> None:
    net = decoder.net
    learnt = targeted(net, LoraConfig(), "stages.decoder")
    assert {"blocks.0.attention.qkv", "blocks.1.mlp_in", "image_context"} < learnt.keys()
    assert not {"patch", "unpatch"} & learnt.keys()
    assert {id(one.weight) for one in learnt.values()} == {id(one) for one in hidden_matrices(net)}
    some = targeted(net, LoraConfig(targets=("attention.qkv",)), "stages.decoder")
    assert {"blocks.0.attention.qkv", "blocks.1.attention.qkv"} <= some.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_it_is_the_same(decoder: Any, make_cond: Callable[..., Any]) -> None:
    net, given = decoder.net, dict(make_cond(2).items())
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([5.0, 900.0])
    with torch.no_grad():
        plain = net(x, t, net.encode(given))
        compile_blocks(net)
        assert torch.allclose(net(x, t, net.encode(given)), plain, atol=1e-5)
