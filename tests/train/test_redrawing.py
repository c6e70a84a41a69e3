"""An upsampler that learns from small pictures as a decoder draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.errors import UsageError
from unclip.rng import BatchRng
from unclip.stages import Stage
from unclip.stages.upsampler import Corruption
from unclip.train.adversarial import AdversarialTask
from unclip.train.redrawing import Redrawer
from unclip.train.task import Task
from unclip.types import Cond, Level, Prediction

MakeStage = Callable[..., Stage]


@pytest.fixture
def redrawer(make_stage: MakeStage) -> Callable[..., Redrawer]:
    """`redrawer(share, begin)`: `begin` is where on the decoder's path it begins."""

    def make(share: float = 0.5, begin: float = 0.5) -> Redrawer:
        corruption = {"blur": 0.0, "noise": 1.0, "redrawn_by": "decoder", "redrawn_share": share}
        corruption["redrawn_from"] = (begin, begin)
        upsampler: Any = make_stage("upsampler", corruption=corruption)
        return Redrawer(upsampler, make_stage("decoder"))

    return make


def given(redrawer: Redrawer, batch: int) -> Cond:
    rng, network = BatchRng("given", batch), redrawer.decoder.config.network
    tokens = torch.ones(batch, network.text.context, dtype=torch.long)
    return Cond(
        text_tokens=tokens,
        text_mask=tokens > 0,
        text_embed=F.normalize(rng.randn(network.embed_dim)),
        image_embed=F.normalize(rng.randn(network.embed_dim)),
        image=rng.rand(3, *redrawer.upsampler.image_size) * 2 - 1,
    )


def test_some_are_redrawn_and_the_others_are_corrupted(
    redrawer: Callable[..., Redrawer],
) -> None:
    one = redrawer()
    cond = given(one, 40)
    done = one(cond, BatchRng(0, 40))
    level = done.low_res_level
    assert level is not None and done.low_res is not None and cond.image is not None
    drawn = level == 0
    assert 8 < int(drawn.sum()) < 32
    small = one.upsampler.shrunk(cond.image)
    off = (done.low_res - small).flatten(1).std(1)
    assert torch.allclose(off[~drawn], level[~drawn], rtol=0.2)  # noise of strength 1
    assert done.low_res[drawn].abs().max() <= 1  # the decoder's pictures are clamped


def test_it_is_the_decoder_that_draws_from_a_little_noise(
    redrawer: Callable[..., Redrawer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that knows the truth gives the truth; it is shown as much noise as is asked."""
    one = redrawer(share=1.0, begin=0.75)
    cond = given(one, 4)
    assert cond.image is not None
    truth, seen = one.upsampler.shrunk(cond.image), []

    def knows(cond: Cond, options: Any) -> Any:
        def denoise(x: Tensor, level: Level) -> Prediction:
            alpha, sigma = level.like(x)
            seen.append((x - alpha * truth).std() / sigma.mean())
            return Prediction(truth, x)

        return denoise

    monkeypatch.setattr(one.decoder, "thresholded", knows)
    done = one(cond, BatchRng(0, 4))
    assert torch.equal(done.low_res, truth)  # type: ignore[arg-type]
    assert float(seen[0]) == pytest.approx(1, abs=0.1)


def test_a_task_asks_for_what_the_decoder_reads(
    redrawer: Callable[..., Redrawer], make_stage: MakeStage, tokenizer: Any, speckles: Any
) -> None:
    one = redrawer()
    task = Task(one.upsampler, make_stage("clip"))
    plain = task._wanted
    task.redrawer = one
    assert task._wanted - plain >= one.decoder.consumes
    assert one.decoder in task.frozen
    source = speckles(task.source_size)
    batch = task.collate(tokenizer)([source.sample(i) for i in range(3)])
    cond = task.cond(batch, BatchRng(0, 3))
    assert cond.low_res is not None and len(cond.low_res) == 3
    loss, _ = task.loss(cond, BatchRng(1, 3))
    assert torch.isfinite(loss).all()


def test_a_decoder_of_another_size(make_stage: MakeStage) -> None:
    upsampler: Any = make_stage("upsampler", low_res_size=4)
    with pytest.raises(UsageError, match="redrawn_by' must be a decoder or an upsampler of 4x4"):
        Redrawer(upsampler, make_stage("decoder"))


def test_the_upsampler_before_draws_what_the_next_one_enlarges(make_stage: MakeStage) -> None:
    """From the true picture made smaller; what is drawn is told to be as clean as in sampling."""
    before = make_stage("upsampler", corruption={"blur": 0.0, "at_sampling": 0.0})
    corruption = {"redrawn_by": "upsampler", "redrawn_share": 1.0, "at_sampling": 0.25}
    network = {**make_stage("upsampler").config.network.dump(), "image_size": 32}
    upsampler: Any = make_stage(
        "upsampler", network=network, low_res_size=16, corruption=corruption
    )
    one = Redrawer(upsampler, before, "upsampler_32")
    cond = Cond(image=torch.rand(2, 3, 32, 32) * 2 - 1)
    assert cond.image is not None
    seen: list[Tensor] = []
    sample = before.sample

    def spy(given: Cond, rng: Any) -> Cond:
        assert given.image is not None
        seen.append(given.image)
        return sample(given, rng)

    before.sample = spy  # type: ignore[method-assign, assignment]
    done = one(cond, BatchRng(0, 2))
    assert done.low_res is not None and done.low_res_level is not None
    assert torch.allclose(seen[0], F.avg_pool2d(cond.image, 4), atol=1e-6)
    again = sample(Cond(image=seen[0]), BatchRng(0, 2).fork("enlarged")).image
    assert again is not None and torch.equal(done.low_res, again)
    assert done.low_res_level.tolist() == [0.25, 0.25]
    assert not done.low_res.is_inference()  # it can be learnt from
    assert torch.isfinite(upsampler.loss(done, BatchRng(1, 2))[0]).all()


def test_a_critic_of_patches_sees_what_is_enlarged(make_stage: MakeStage) -> None:
    """Beside the picture; it learns to tell pictures that do not belong to the small one."""
    objective = {"kind": "adversarial", "critic": "patches", "noise_share": 1.0, "mismatch": 0.0}
    stage: Any = make_stage("upsampler", objective=objective)
    task = AdversarialTask(stage)
    x0 = torch.randn(2, 3, 8, 8)
    renoising = task._renoising(x0, BatchRng(0, 2))
    small = torch.randn(2, 3, 8, 8)
    one, other = (task.logits(x0, Cond(low_res=low), renoising) for low in (small, -small))
    assert len(one) == 1
    assert not torch.allclose(one[0], other[0])
    cond = Cond(image=torch.rand(2, 3, *stage.image_size))
    loss, metrics = task.loss(cond, BatchRng(0, 2))
    assert torch.isfinite(loss).all() and "penalty" in metrics


@pytest.mark.parametrize("part", [(0.9, 7.0), (-0.1, 0.5), (0.8, 0.2)])
def test_a_part_that_is_none_of_the_path(part: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="redrawn_from"):
        Corruption.parse({"redrawn_from": part})
    redrawn = Corruption.parse({"redrawn_from": (1.0, 1.0)})
    assert redrawn.redrawn_from == (1.0, 1.0)


def test_the_clean_end_of_the_path_is_there(redrawer: Callable[..., Redrawer]) -> None:
    one = redrawer(share=1.0, begin=1.0)
    assert one(given(one, 2), BatchRng(0, 2)).low_res is not None
