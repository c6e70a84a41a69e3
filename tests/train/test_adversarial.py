"""What a critic judges, what the log says of it, and what it cannot judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.config import read_toml
from unclip.errors import UsageError
from unclip.loading import PRESETS
from unclip.rng import BatchRng
from unclip.stages import Stage
from unclip.train import cost
from unclip.train.adversarial import AdversarialTask
from unclip.train.recipe import Recipe, load_recipe
from unclip.train.run import Run
from unclip.types import Cond

ALONE = {"kind": "adversarial", "critic": "patches"}
UNGUIDED = {"steps": 3, "guidance_scale": 1.0}
TOKENS = torch.tensor([[7], [7], [9], [9]]).expand(4, 8)  # of four captions


@pytest.fixture
def make_task(make_stage: Callable[..., Stage]) -> Callable[..., AdversarialTask]:
    """`make_task(**objective)`: a decoder that only a critic and CLIP teach."""

    def make(**objective: Any) -> AdversarialTask:
        given = {"objective": {**ALONE, **objective}, "sampling": UNGUIDED, "drop_text": 0.0}
        return AdversarialTask(make_stage("decoder", **given), make_stage("clip"))

    return make


def given(task: AdversarialTask, tokens: Tensor = TOKENS) -> Cond:
    """Captions, embeddings and noise for pictures."""
    rng, network = BatchRng("given", len(tokens)), task.stage.config.network  # type: ignore[attr-defined]
    return Cond(
        text_tokens=tokens,
        text_mask=tokens > 0,
        text_embed=torch.nn.functional.normalize(rng.randn(network.embed_dim)),
        image_embed=torch.nn.functional.normalize(rng.randn(network.embed_dim)),
        image=rng.rand(3, *task.source_size) * 2 - 1,
    )


def test_a_caption_is_found_by_the_mean_logit_and_equal_captions_do_not_count(
    make_task: Callable[..., AdversarialTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four, the second and the last get the caption that they have.

    The first is right by its mean of 1 over 2/3, and in one place of three; the third is wrong.
    """
    task = make_task(penalty=0.0)
    cond = given(task)
    real = [torch.tensor([[3.0, 0.0, 0.0], [9.0, 9.0, 9.0], [0.0, 1.0, 1.0], [9.0, 9.0, 9.0]])]
    other = [torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])]
    monkeypatch.setattr(task, "logits", lambda *_: other)
    shown = cond.replace(keep_text=torch.ones(4, dtype=torch.bool))
    pairs = [(cond.image, real), (cond.image, real)]
    every = torch.ones(4, dtype=torch.bool)
    _, noted = task._judged(pairs, shown, None, every, BatchRng(0, 4))  # type: ignore[arg-type]
    assert noted["mismatch_found"].tolist() == [2.0, 0.0, 0.0, 0.0]
    assert float(noted["mismatch_found"].mean()) == 0.5


def test_clip_and_critic_judge_what_sampling_makes_and_the_log_has_their_mean_of_it(
    make_task: Callable[..., AdversarialTask],
) -> None:
    def losses(**weights: float) -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(0)  # of the critic
        usual = {"adversarial_weight": 0.0, "clip_weight": 0.0}
        return make_task(noise_share=0.5, **{**usual, **weights}).loss(cond, BatchRng("loss", 16))

    task, rng = make_task(noise_share=0.5), BatchRng("loss", 16)
    cond = given(task, TOKENS.repeat(4, 1))
    counts = task.segment(*task.training_example(cond, rng), rng).as_sampled
    assert 0 < int(counts.sum()) < 16
    plain, metrics = losses()
    for setting, name in (
        ("adversarial_weight", "adversarial"),
        ("clip_weight", "clip"),
        ("embed_weight", "clip_image"),
    ):
        apart = (losses(**{setting: 1.0})[0] - plain).detach()
        assert not apart[~counts].any() and apart[counts].all(), name
        torch.testing.assert_close(metrics[name].mean(), apart[counts].mean())


def test_latents_are_not_saturated() -> None:
    """Their values have no bounds, whatever share of them is beyond .98."""
    for preset, expected in (("tiny-latent", False), ("tiny", True)):
        settings = ["sampling.guidance_scale=1", "objective={kind='adversarial',critic='patches'}"]
        recipe = load_recipe(preset, [f"stages.decoder.{one}" for one in settings])
        task = cost.task_on_meta(recipe, "decoder", torch.float32)
        rng: Any = cost._NoRng(0, 2, "meta")
        with torch.device("meta"):
            _, metrics = task.loss(task.cond(task.blank(2, 8), rng), rng)
        assert "adversarial" in metrics
        assert ("saturated_above_truth" in metrics) == expected


def test_what_makes_no_picture_is_refused_by_name(make_stage: Callable[..., Stage]) -> None:
    for critic in ("patches", "features"):
        stage = make_stage("prior", objective={**ALONE, "critic": critic}, sampling=UNGUIDED)
        with pytest.raises(UsageError, match=r"'stages\.one\.objective': .*'prior' makes none"):
            AdversarialTask(stage, make_stage("clip"), name="one")


def test_a_network_without_features_is_named(make_stage: Callable[..., Stage]) -> None:
    """Where there is no teacher it is the stage's own that is at fault."""
    objective = {**ALONE, "critic": "features"}
    network = {"kind": "dit", "image_size": 8, "patch_size": 4, "width": 16, "depth": 1, "heads": 1}
    parts = {"network": {**network, "embed_dim": 16}, "sampling": UNGUIDED}
    stage = make_stage("decoder", objective=objective, **parts)
    with pytest.raises(UsageError, match=r"stages\.decoder\.network' must be a U-Net.*got a DiT"):
        AdversarialTask(stage, make_stage("clip"))
    objective["teacher"] = "one"
    student = make_stage("decoder", objective={**objective, "guidance_scale": 2.0}, **parts)
    teacher = make_stage("decoder", **parts)
    with pytest.raises(UsageError, match=r"objective\.teacher' must be a stage with a U-Net"):
        AdversarialTask(student, make_stage("clip"), None, teacher)


@pytest.mark.parametrize("teacher", [None, "from"])
def test_first_weights_without_a_teacher_are_remarked_on(
    teacher: str | None, tiny_model: Path, tmp_path: Path
) -> None:
    objective = {**ALONE, **({"teacher": teacher, "guidance_scale": 2.0} if teacher else {})}
    values: dict[str, Any] = read_toml(PRESETS / "tiny.toml")
    train = {"workers": 0, "batch_size": 8, "steps": 3}
    student = {"from": str(tiny_model), "objective": objective, "sampling": UNGUIDED}
    stages = {"clip": {"from": str(tiny_model)}, "decoder": {**student, "train": train}}
    tokenizer = {"model": str(tiny_model), "context": 8, "vocab_size": 320}
    run, told = Run(Recipe.parse({**values, "tokenizer": tokenizer, "stages": stages}), tmp_path,
                    torch.device("cpu")), list[str]()  # fmt: skip
    run.warn = told.append
    run.check()
    run.untrained("decoder")
    assert told == []
    run.trainer("decoder")
    if teacher:
        assert told == []
    else:
        assert len(told) == 1 and "stages.decoder.objective.teacher = 'from'" in told[0]
