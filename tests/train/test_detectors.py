"""What shows that a student or its critic fails, and what is left when it does."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.diffusion.limits import Limits
from unclip.errors import TrainingError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import Rng
from unclip.stages import Stage
from unclip.train.adversarial import AdversarialTask
from unclip.train.config import TrainConfig
from unclip.train.detectors import Detectors, Probe
from unclip.train.distillation import ConsistencyTask
from unclip.train.loader import Loader
from unclip.train.state import saved_states
from unclip.train.trainer import Trainer
from unclip.types import Cond

GOOD = {
    "diversity": 1.0,
    "sharpness": 1.0,
    "text_kept": 1.0,
    "mismatch_found": 0.9,
    "saturated_above_truth": 0.0,
}
BAD = [
    ("seed collapse", {"diversity": 0.5}),
    ("blur", {"sharpness": 0.8}),
    ("grain", {"sharpness": 1.3}),
    ("text ignored", {"text_kept": 0.8}),
    ("condition ignored", {"mismatch_found": 0.5}),
    ("oversaturation", {"saturated_above_truth": 0.3}),
]


class Painter:
    """A stage that draws what a test says of each seed: grey, spread by so much."""

    factor, device, light = 1, torch.device("cpu"), 0.0

    def __init__(self, spread: float, sharp: float = 0.1) -> None:
        self.spread, self.sharp, self.asked = spread, sharp, list[dict[str, Any]]()

    def condition_for(self, cond: Cond, image: Tensor) -> Cond:
        return cond

    def sample(self, cond: Cond, rng: Rng, sampling: dict[str, Any]) -> Cond:
        self.asked.append(sampling)
        rows = (torch.arange(16) % 2 * 2.0 - 1)[:, None].expand(16, 16)  # +-1 by turns
        grey = self.light + self.spread * rng.randn(1, 1, 1)
        return Cond(image=grey + self.sharp * rows.expand(1, 3, 16, 16))


@pytest.mark.parametrize(("failure", "bad"), BAD)
def test_what_was_good_and_is_bad_for_long_stops(failure: str, bad: dict[str, float]) -> None:
    seen = Detectors(Limits(patience=3), against_reference=True)
    seen.look(GOOD)
    for _ in range(2):
        seen.look(GOOD | bad)
        assert seen.failing
    seen.look(GOOD)  # which is a recovery
    assert not seen.failing
    for _ in range(2):
        seen.look(GOOD | bad)
    ((metric, value),) = bad.items()
    with pytest.raises(TrainingError, match=rf"^{failure}: {metric} is {value:.2f} .* 3 looks"):
        seen.look(GOOD | bad)


@pytest.mark.parametrize(("failure", "bad"), BAD)
def test_what_never_was_good_yet_may_become_so(failure: str, bad: dict[str, float]) -> None:
    seen = Detectors(Limits(patience=1), against_reference=True)
    for _ in range(5):
        seen.look(GOOD | bad | {"gap": math.nan})
    assert not seen.failing, failure


def test_without_a_reference_no_sharpness_is_wrong() -> None:
    seen = Detectors(Limits(patience=1), against_reference=False)
    for value in (1.0, 0.1, 5.0, math.nan):
        seen.look({"sharpness": value})
    assert not seen.failing


@pytest.mark.parametrize("kind", ["consistency", "adversarial"])
@pytest.mark.parametrize(("failure", "bad"), BAD)
def test_what_is_advised_is_a_setting_of_the_objective(
    failure: str, bad: dict[str, float], kind: str, make_stage: Callable[..., Any]
) -> None:
    """Of the metrics that are measured: without a critic nobody finds mismatches."""
    few = {"steps": 1, "guidance_scale": 1.0}
    student = make_stage("decoder", objective={"kind": kind, "teacher": "decoder"}, sampling=few)
    of = ConsistencyTask if kind == "consistency" else AdversarialTask
    task = of(student, make_stage("clip"), None, make_stage("decoder"))
    task.detectors.look(GOOD)
    with pytest.raises(TrainingError) as caught:
        for _ in range(20):
            task.detectors.look(GOOD | bad)
    advised = re.findall(r"(?:objective|train)\.(\w+)", str(caught.value).partition("state: ")[2])
    assert len(advised) >= 2 and advised[-1] == "limits"
    if kind == "adversarial" or failure in ("seed collapse", "blur", "grain"):
        known = {**type(student.config.objective).model_fields, **TrainConfig.model_fields}
        assert set(advised) <= known.keys()


def test_limits_rise() -> None:
    with pytest.raises(UsageError, match=r"sharpness must rise from at least 0, got 1\.1 and 0\.9"):
        Limits.parse({"sharpness": [1.1, 0.9]})


def test_a_student_is_compared_with_its_teachers_long_path() -> None:
    """Of known pictures: half the spread, and rows of twice the height have four times the energy.

    Rows that alternate by a have the Laplacian -4a·sign, and no seed changes it.
    """
    teacher: Any = Painter(0.4)
    probe = Probe(Cond(image=torch.zeros(9, 3, 16, 16)), teacher, guidance_scale=2.5)
    student: Any = Painter(0.2, sharp=0.2)
    for _ in range(2):
        found = probe.measure(student)
    assert found["diversity"] == pytest.approx(0.5, rel=1e-4)
    assert found["sharpness"] == pytest.approx(4.0, rel=1e-4)
    assert found["energy"] == pytest.approx((4 * 0.2) ** 2, rel=1e-4)
    assert teacher.asked == [{"steps": 30, "guidance_scale": 2.5}]  # once
    assert student.asked == [{}, {}]


class Eye:
    """A CLIP of two axes: text 1 is the first, a picture lies between them by its brightness."""

    reads = sees = True
    net = SimpleNamespace(
        encode_text=lambda tokens, mask: (F.one_hot(tokens[:, 0] - 1, 2).float(),)
    )

    def embed_images(self, image: Tensor) -> Tensor:
        angle = image.mean((1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], dim=1)


@pytest.mark.parametrize("held", [True, False])
def test_what_a_student_keeps_of_the_text_is_a_share_of_what_its_teacher_shows(held: bool) -> None:
    """Pictures at pi/3 of the text have a cosine of 1/2, at pi/4 of its root; the axis is 1."""
    tokens = torch.ones(5, 3, dtype=torch.long)
    text = {"text_embed": torch.tensor([[2.0, 0.0]]).expand(5, 2)} if held else {}
    cond = Cond(image=torch.zeros(5, 3, 16, 16), text_tokens=tokens, text_mask=tokens > 0, **text)
    teacher, eye = Painter(0.0), Eye()
    teacher.light, student = math.pi / 4, Painter(0.0)
    student.light = math.pi / 3
    probe = Probe(cond, teacher, clip=eye)  # type: ignore[arg-type]
    found = probe.measure(student)  # type: ignore[arg-type]
    assert found["text_cosine"] == pytest.approx(0.5, rel=1e-4)
    assert found["text_kept"] == pytest.approx(0.5**0.5, rel=1e-4)
    alone = Probe(cond, clip=eye).measure(student)  # type: ignore[arg-type]
    assert alone["text_cosine"] == found["text_cosine"] and "text_kept" not in alone
    eye.sees = False
    assert "text_cosine" not in Probe(cond, teacher, clip=eye).measure(student)  # type: ignore[arg-type]


def test_an_upsampler_is_compared_with_the_truth() -> None:
    truth = Painter(0.0, sharp=0.3).sample(Cond(), Rng(range(4)), {}).image
    student: Any = Painter(0.0, sharp=0.15)
    student.factor = 4
    teacher: Any = Painter(0.0)
    found = Probe(Cond(image=truth), teacher).measure(student)
    assert found["sharpness"] == pytest.approx(0.25, rel=1e-4)
    assert "diversity" not in found and teacher.asked == []


@pytest.fixture
def distilled(
    make_stage: Callable[..., Stage], tokenizer: Tokenizer, speckles: Any, tmp_path: Path
) -> Callable[[str], Trainer]:
    """`distilled(folder)`: a student of a tiny decoder, whose path's end is short."""

    def make(folder: str) -> Trainer:
        objective = {"kind": "consistency", "levels": 4, "limits": {"patience": 2}}
        few = {"steps": 1, "guidance_scale": 1.0, "threshold": "clamp"}
        student = make_stage("decoder", objective=objective, sampling=few)
        task = ConsistencyTask(student, make_stage("clip"), None, make_stage("decoder"))
        given = {"steps": 40, "batch_size": 4, "workers": 0, "precision": "float32"}
        given |= {"log_every": 1, "checkpoint_minutes": 1e-9, "keep_states": 2}
        config = TrainConfig.parse(given)
        loader = Loader(speckles(task.source_size), task.collate(tokenizer), 4, 0)
        return Trainer(task, loader, config, tmp_path / folder)

    return make


def test_training_stops_by_the_detectors_name_and_its_last_good_state_is_left(
    distilled: Callable[[str], Trainer], notes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = distilled("states")

    def measure(_average: object) -> dict[str, float]:
        return {"diversity": 1.0 if trainer.step <= 3 else 0.1}

    monkeypatch.setattr(trainer.task, "measure", measure)
    with pytest.raises(TrainingError, match=r"^seed collapse: diversity is 0\.10 and should be"):
        trainer.run(notes)
    assert trainer.step == 5  # two bad looks
    newest = saved_states(trainer.folder)[-1]
    assert newest.name.endswith("3")
    assert trainer.resume() and trainer.step == 3


def test_what_a_probe_draws_changes_nothing_that_is_learnt(
    distilled: Callable[[str], Trainer], notes: Any
) -> None:
    """Losses, weights and their average are those of a training that measures nothing."""
    learnt = []
    for probed in (True, False):
        trainer, seen = distilled(f"probed {probed}"), type(notes)()
        trainer.config = trainer.config.model_copy(update={"steps": 3})
        if not probed:
            trainer.task.measure = lambda _: {}  # type: ignore[method-assign]
        trainer.run(seen)
        values = [logged for _, logged in seen.logged]
        drawn = {"diversity", "sharpness", "deviation", "energy"} & values[-1].keys()
        assert len(drawn) == (4 if probed else 0)
        losses = [(one["loss"], one["grad_norm"]) for one in values]
        nets = trainer.net, trainer.averaged().net
        learnt.append((losses, [one for net in nets for one in net.state_dict().values()]))
    (losses, weights), (plain_losses, plain_weights) = learnt
    assert len(losses) == 3 and losses == plain_losses
    assert all(map(torch.equal, weights, plain_weights))
