"""What each of several GPUs has to hold: against arithmetic done by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from unclip.errors import UsageError
from unclip.nn.layers import parameter_count
from unclip.nn.transformer import Block, TransformerConfig
from unclip.train.cost import task_on_meta
from unclip.train.memory import Memory, copied_bytes, gathered_bytes, held_numbers, plan_memory
from unclip.train.recipe import Recipe, load_recipe


def planned(gpus: list[int], *settings: str) -> list[Memory]:
    words = [f"stages.prior.{one}" for one in ("train.batch_size=64", *settings)]
    return plan_memory(load_recipe("tiny", words), "prior", gpus)


def test_a_tensor_is_divided_along_its_first_axis() -> None:
    """(10, 3) on 4: the first has 3 rows; a vector of 5 on 8: one number; a scalar is whole."""
    tensors = [torch.zeros(10, 3), torch.zeros(5), torch.zeros(())]
    assert held_numbers(tensors, 1) == 36
    assert held_numbers(tensors, 4) == 3 * 3 + 2 + 1
    assert held_numbers(tensors, 8) == 2 * 3 + 1 + 1


def test_what_passes_by_hand() -> None:
    """Two blocks of 12·8² + 13·8 numbers, and a layer of 8·4 + 4. Attention is called apart."""
    net = nn.Module()
    config = TransformerConfig(width=8, depth=2, heads=1)
    net.blocks = nn.ModuleList(Block(config) for _ in range(2))
    net.out = nn.Linear(8, 4)
    block, mlp, rest = 12 * 64 + 13 * 8, 8 * 64 + 5 * 8, 36
    assert gathered_bytes(net, torch.bfloat16) == 2 * 2 * (rest + mlp) + 4 * mlp
    assert gathered_bytes(net, torch.float32) == 2 * 4 * (rest + mlp) + 4 * mlp
    assert copied_bytes(net, torch.bfloat16) == 2 * (2 * block + rest)
    assert copied_bytes(net, torch.float32) == 0


def test_a_small_network_in_closed_form() -> None:
    """The tiny prior: every axis of its tensors is a multiple of 8 or a single row."""
    parameters = 118_240
    ddp, fsdp = planned([8])
    assert (ddp.engine, fsdp.engine, ddp.batch) == ("ddp", "fsdp", 8)
    for one, numbers in ((ddp, parameters), (fsdp, held(8))):
        assert one.weights == one.gradients == one.average == 4 * numbers
        assert one.optimizer == 8 * numbers
    clip = 4 * 44_993  # its embeddings are what the prior learns with
    assert ddp.frozen == fsdp.frozen == pytest.approx(clip, rel=0.2)
    assert ddp.total - ddp.state == ddp.activations == fsdp.activations
    assert fsdp.least - fsdp.state == fsdp.checkpointed < fsdp.activations


def held(parts: int) -> int:
    recipe: Recipe = load_recipe("tiny")
    config: Any = recipe.stage("prior").config
    tensors = list(config.network.build().parameters())
    return sum(-(-len(one) // parts) * one[0].numel() for one in tensors)


def test_muon_keeps_one_moment_and_smaller_pieces_keep_less() -> None:
    adamw, _ = planned([1], "train.optimizer=adamw")
    muon, _ = planned([1], "train.optimizer=muon")
    assert adamw.optimizer == 2 * adamw.weights
    assert adamw.weights < muon.optimizer < 1.1 * adamw.weights + 4 * 64 * 400
    two, _, four, _ = planned([2, 4])
    assert (two.batch, four.batch) == (32, 16)
    assert two.activations == pytest.approx(2 * four.activations, rel=0.02)


def test_a_batch_that_cannot_be_divided_is_named() -> None:
    with pytest.raises(UsageError, match="a batch of 64 cannot be divided among 3 processes"):
        planned([3])


def test_a_critic_is_whole_on_every_gpu_and_has_no_average() -> None:
    """What eight hold more with a critic that begins halfway than one network alone would."""
    name = "upsampler_1024"
    objective = "{kind='adversarial',critic='patches',data_weight=4,critic_from=0.5}"
    own = [f"objective={objective}", "train.batch_size=8", "train.optimizer=adamw"]
    recipe = load_recipe("emoji-1024", [f"stages.{name}.{one}" for one in own])
    task = task_on_meta(recipe, name, torch.bfloat16)
    critic = parameter_count(task.learners(recipe.trained[name])["critic_"][0])
    net = list(task.stage.net.parameters())
    ddp, fsdp = plan_memory(recipe, name, [8])
    for one, parts in ((ddp, 1), (fsdp, 8)):
        numbers = held_numbers(net, parts)
        assert one.weights == one.gradients == 4 * (numbers + critic)
        assert one.optimizer == 8 * (numbers + critic)
        assert one.average == 4 * numbers
    assert ddp.passing == copied_bytes(task.stage.net, torch.bfloat16) + 2 * critic
