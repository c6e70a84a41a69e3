"""Each loss of CLIP by hand, and what every one of them must keep to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unclip.errors import UsageError
from unclip.rng import BatchRng
from unclip.stages.clip import ClipStage
from unclip.stages.comparing import Everyone, Samples
from unclip.stages.contrastive import LOSSES
from unclip.stages.contrastive.filip import late_interaction
from unclip.stages.contrastive.mlm import hidden_words
from unclip.stages.contrastive.objective import ContrastiveObjective
from unclip.stages.contrastive.scores import Scores, dcl, infonce, siglip
from unclip.stages.contrastive.simclr import nt_xent
from unclip.stages.contrastive.simsiam import distance
from unclip.types import Cond

TABLE = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 0.3], [0.2, -0.4, 3.0]])
ALONE = torch.eye(3)


def table(same: Tensor = ALONE, negative: Tensor | None = None) -> Scores:
    return Scores(TABLE, TABLE.T, same, negative)


def test_infonce_with_two_pairs() -> None:
    """Cosines 1 and 0 at a scale of 1: log(1 + 1/e) in both directions."""
    eye = torch.eye(2)
    expected = math.log(1 + math.exp(-1))
    assert infonce(Scores(eye, eye, eye)).tolist() == pytest.approx([expected] * 2)


def test_infonce_is_the_softplus_of_dcl() -> None:
    """-log(e^p / (e^p + n)) = log(1 + n / e^p), for each direction; one direction alone here."""
    rows = Scores(TABLE, TABLE, ALONE)
    assert torch.allclose(infonce(rows), nn.functional.softplus(dcl(rows, math.inf)), atol=1e-6)


def test_dcl_by_hand() -> None:
    row = math.log(math.exp(0.5) + math.exp(-1)) - 2
    column = math.log(math.exp(0.0) + math.exp(0.2)) - 2
    assert float(dcl(table(), math.inf)[0]) == pytest.approx((row + column) / 2)


def test_equal_captions_are_not_in_the_denominator_of_dcl() -> None:
    same = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    row = 0.5 - (2 - 1) / 2
    column = 0.0 - (2 + 0.2) / 2
    assert float(dcl(table(same), math.inf)[0]) == pytest.approx((row + column) / 2)


def test_dcl_ends_at_its_floor_without_a_gradient() -> None:
    logits = (1000 * torch.eye(3)).requires_grad_()
    loss = dcl(Scores(logits, logits.T, ALONE), 5.0)
    assert loss.tolist() == [-5.0] * 3
    loss.sum().backward()
    assert not logits.grad.any()  # type: ignore[union-attr]
    only = torch.ones(2, 2)  # one caption alone: nothing to tell apart
    assert dcl(Scores(TABLE[:2, :2], TABLE[:2, :2].T, only), 5.0).tolist() == [-5.0] * 2


def test_siglip_by_hand() -> None:
    bias = torch.tensor(-0.5)
    loss = siglip(table(), bias)
    signs = [1, -1, -1]
    terms = [
        -math.log(1 / (1 + math.exp(-s * (v - 0.5))))
        for s, v in zip(signs, TABLE[0].tolist(), strict=True)
    ]
    assert float(loss[0]) == pytest.approx(sum(terms))
    true = siglip(table(torch.ones(3, 3)), bias)
    assert float(true[1]) == pytest.approx(float(nn.functional.softplus(0.5 - TABLE[1]).sum()))


@pytest.mark.parametrize("loss", [infonce, lambda one: dcl(one, math.inf)])
def test_almost_true_captions_join_the_pictures_denominator(loss: Callable[..., Tensor]) -> None:
    """They raise it as one more caption of that score would; minus 1e4 counts as none."""
    none = torch.full((3, 3), -1e4)
    assert torch.allclose(loss(table(negative=none)), loss(table()))
    added = none.clone()
    added[0, 1] = 0.7
    rows = torch.cat([TABLE, torch.tensor([[0.7], [-1e4], [-1e4]])], 1)
    wider = loss(table(negative=added))
    by_text = 2 * loss(table()) - 2 * loss(Scores(TABLE, TABLE, ALONE)) / 2
    other = torch.cat([TABLE[0], torch.tensor([0.7])])
    of_row = other.logsumexp(0) - 2 if loss is infonce else other[1:].logsumexp(0) - 2
    assert float(wider[0]) == pytest.approx(float((of_row + by_text[0]) / 2), rel=1e-4)
    assert rows.shape == (3, 4)


def test_late_interaction_by_hand() -> None:
    """One picture of two patches, one caption of two words and padding that would fit best."""
    patches = torch.tensor([[[1.0, 0], [0, 1]]])
    words = torch.tensor([[[1.0, 0], [0.6, 0.8], [0, 1]]])
    by_patch, by_word = late_interaction(patches, words, torch.tensor([[True, True, False]]))
    assert float(by_patch) == pytest.approx((1.0 + 0.8) / 2)
    assert float(by_word) == pytest.approx((1.0 + 0.8) / 2)
    by_patch, by_word = late_interaction(patches, words, torch.tensor([[False, True, False]]))
    assert float(by_patch) == pytest.approx((0.6 + 0.8) / 2)
    assert float(by_word) == pytest.approx(0.8)


def test_simclr_by_hand() -> None:
    """Two pictures whose views agree, orthogonal to each other's: log(1 + 2/e^(1/t))."""
    views = torch.eye(2)
    loss = nt_xent((views, views), (views, views), 0, temperature=0.5)
    assert loss.tolist() == pytest.approx([math.log(1 + 2 * math.exp(-2))] * 2)
    last = nt_xent((views[1:], views[1:]), (views, views), 1, temperature=0.5)
    assert last.tolist() == pytest.approx(loss[1:].tolist())


def test_simsiam_by_hand() -> None:
    predicted = torch.tensor([[1.0, 0], [1, 1], [-2, 0]], requires_grad=True)
    projected = torch.tensor([[2.0, 0], [0, 1], [1, 0]], requires_grad=True)
    loss = distance(predicted, projected)
    assert loss.tolist() == pytest.approx([0, 1 - 0.5**0.5, 2])
    loss.sum().backward()
    assert predicted.grad is not None and projected.grad is None


def test_words_are_hidden_by_their_share_and_never_the_end() -> None:
    mask = torch.arange(20)[None] < torch.tensor([[1], [2], [8], [20]])
    hidden = hidden_words(mask, 0.15, BatchRng(0, 4))
    assert hidden.sum(1).tolist() == [0, 1, 2, 3]  # of 0, 1, 7 and 19 words, rounded up
    ends = mask.sum(1) - 1
    assert not hidden[torch.arange(4), ends].any()
    assert not (hidden & ~mask).any()
    many = torch.stack([hidden_words(mask, 0.15, BatchRng(i, 4))[3] for i in range(400)])
    rate = many.float().mean(0)[:19]
    assert float(rate.min()) > 0.09 and float(rate.max()) < 0.23  # 3 of 19: .158 +- .018 each


def objective(name: str, **settings: Any) -> ContrastiveObjective:
    return ContrastiveObjective.parse(
        {"infonce": {"weight": 0.0}, name: {"weight": 1.0, **settings}}
    )


GENTLE = {"views": {"area": 0.8, "flip": 0.0, "colour": 0.1, "grey": 0.0, "blur": 0.0}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in LOSSES.names()},
    "simclr": ("simclr", GENTLE),  # six pictures of noise are hard to know again
    "infonce, extra projection": ("infonce", {"extra_projection": True}),
    "filip, extra projection": ("filip", {"extra_projection": True, "form": "dcl", "floor": 50.0}),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> ContrastiveObjective:
    name, settings = CASES[request.param]
    return objective(name, **settings)


@pytest.fixture
def clip(make_stage: Callable[..., Any]) -> Any:
    return make_stage("clip")


def each(case: ContrastiveObjective, clip: Any, cond: Cond, rng: BatchRng) -> Tensor:
    torch.manual_seed(3)
    heads = case.heads(clip.net)
    features = case.features(clip.net, heads, cond, rng)
    return case.loss(Samples(features), clip.net, heads)[0]


def test_features_of_a_sample_depend_on_that_sample_alone(
    case: ContrastiveObjective, clip: Any, make_cond: Callable[..., Cond]
) -> None:
    """Which is what lets a batch be worked on piece by piece, on any process."""
    heads, cond = case.heads(clip.net), with_negatives(make_cond(5))
    whole = case.features(clip.net, heads, cond, BatchRng(0, 5))
    part = case.features(clip.net, heads, cond[2:4], BatchRng(0, 2, first=2))
    assert whole.keys() == part.keys()
    for name, value in part.items():
        assert torch.allclose(whole[name][2:4].float(), value.float(), atol=1e-5), name


def with_negatives(cond: Cond) -> Cond:
    assert cond.text_tokens is not None
    return cond.replace(negative_tokens=cond.text_tokens.roll(1, 1), negative_mask=cond.text_mask)


class Half(Everyone):
    """One of two processes; the other's features are known."""

    def __init__(self, rank: int, features: dict[str, Tensor], size: int) -> None:
        self.rank, self.features, self.size = rank, features, size

    def gather(self, own: Tensor) -> Tensor:
        start = self.rank * self.size
        here = slice(start, start + self.size)
        found = [
            v
            for v in self.features.values()
            if v[here].shape == own.shape and torch.equal(v[here], own)
        ]
        return found[0]


def test_halves_of_a_batch_make_the_whole(
    case: ContrastiveObjective, clip: Any, make_cond: Callable[..., Cond]
) -> None:
    """The loss of a process's samples is theirs of the whole batch."""
    cond = with_negatives(make_cond(6))
    assert cond.text_tokens is not None
    cond.text_tokens[4] = cond.text_tokens[0]  # equal captions on different processes
    torch.manual_seed(3)
    heads = case.heads(clip.net)
    with torch.no_grad():
        features = case.features(clip.net, heads, cond, BatchRng(0, 6))
        whole, told = case.loss(Samples(features), clip.net, heads)
        for rank in (0, 1):
            here = slice(3 * rank, 3 * rank + 3)
            own = {name: value[here] for name, value in features.items()}
            loss, metrics = case.loss(Samples(own, Half(rank, features, 3)), clip.net, heads)
            assert torch.allclose(loss, whole[here], atol=1e-4)
            for name in (one for one in told if "accuracy" in one):
                assert torch.equal(metrics[name], told[name][here]), name


def test_every_loss_trains_what_it_should(
    case: ContrastiveObjective, clip: Any, make_cond: Callable[..., Cond]
) -> None:
    """It falls on one batch, and each of its heads moves."""
    torch.manual_seed(0)
    cond, heads = make_cond(6), case.heads(clip.net)
    assert cond.image is not None  # smooth, so that a crop of it is still that picture
    cond = cond.replace(image=nn.functional.interpolate(cond.image[..., :2, :2], (8, 8)))
    every = [*clip.net.parameters(), *heads.parameters()]
    before = [one.detach().clone() for one in heads.parameters()]
    optimizer = torch.optim.Adam(every, lr=5e-3)
    losses = []
    for step in range(15):
        features = case.features(clip.net, heads, cond, BatchRng(step, 6))
        loss = case.loss(Samples(features), clip.net, heads)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(map(math.isfinite, losses))
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])
    assert all(
        not torch.equal(one, was) for one, was in zip(heads.parameters(), before, strict=True)
    )


def test_the_sum_is_weighted(clip: Any, make_cond: Callable[..., Cond]) -> None:
    both = ContrastiveObjective.parse({"infonce": {"weight": 0.5}, "dcl": {"weight": 0.25}})
    cond, rng = make_cond(4), BatchRng(0, 4)
    parts = [each(objective(name), clip, cond, rng) for name in ("infonce", "dcl")]
    assert torch.allclose(each(both, clip, cond, rng), 0.5 * parts[0] + 0.25 * parts[1])
    told = both.loss(
        Samples(both.features(clip.net, nn.ModuleDict(), cond, rng)), clip.net, nn.ModuleDict()
    )[1]
    assert torch.equal(told["dcl"], parts[1])


@pytest.mark.parametrize(
    ("given", "losses"),
    [
        ({}, {"infonce"}),
        ({"siglip": {}}, {"siglip"}),
        ({"mlm": {}, "dcl": {}}, {"dcl", "mlm"}),
        ({"filip": {}}, {"filip", "infonce"}),  # z_i and z_t must be learnt by somebody
        ({"filip": {}, "infonce": {"weight": 0}}, {"filip"}),
    ],
)
def test_what_is_learnt(given: dict[str, Any], losses: set[str]) -> None:
    parsed = ContrastiveObjective.parse(given)
    assert set(parsed.losses) == losses
    assert ContrastiveObjective.parse(parsed.dump()) == parsed


def test_mistakes_are_named() -> None:
    with pytest.raises(UsageError, match=r"'o.infonse' \(did you mean 'infonce'\?\)"):
        ContrastiveObjective.parse({"infonse": {}}, "o")
    with pytest.raises(UsageError, match=r"setting 'o.dcl.floor' must be above 0, got 0"):
        ContrastiveObjective.parse({"dcl": {"floor": 0}}, "o")
    with pytest.raises(UsageError, match="one loss at least a weight above 0"):
        ContrastiveObjective.parse({"infonce": {"weight": 0}}, "o")


def test_a_sigmoid_begins_at_its_own_temperature(make_stage: Callable[..., Any]) -> None:
    """arXiv 2303.15343, section 3: t' = log 10, b = -10."""
    stage = make_stage("clip", objective="siglip")
    assert isinstance(stage, ClipStage)
    assert float(stage.net.log_scale.detach()) == pytest.approx(math.log(10))
    heads = stage.config.objective.heads(stage.net)
    assert [float(one.detach()) for one in heads.parameters()] == [-10.0]


def test_heads_are_made_for_losses_that_are_asked_for(clip: Any) -> None:
    assert not list(clip.config.objective.heads(clip.net).parameters())
    side = ContrastiveObjective.parse({"mlm": {}, "simclr": {"weight": 0}})
    assert set(side.heads(clip.net)) == {"mlm"}
