"""What a critic and its rival lose, by hand, and when the critic has won."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.errors import TrainingError
from unclip.rng import BatchRng
from unclip.train.critics import check_gap, constant, critic_loss, mean_of, rival_loss

REAL = [torch.tensor([[1.0, 2.0], [3.0, 3.0]]), torch.tensor([[0.0], [1.0]])]
FAKE = [torch.tensor([[0.0, 0.0], [4.0, 1.0]]), torch.tensor([[2.0], [1.0]])]
GAPS = [[1.5, -2.0], [0.5, 0.0]]  # real less fake: the mean of each head, of each sample


def options(**changes: Any) -> Any:
    usual = {"penalty": 0.0, "penalty_noise": 0.1, "largest_gap": 4.0}
    return SimpleNamespace(**{**usual, **changes})


def test_the_losses_are_those_of_the_paper() -> None:
    """R3GAN, eq. 2: softplus of how much more real each thinks the other's picture, over places."""
    softplus = F.softplus(torch.tensor([[-1.0, -2.0], [1.0, -2.0]])).mean(1)  # of the first head
    second = F.softplus(torch.tensor([2.0, 0.0]))
    pairs = [(torch.zeros(2, 1), REAL), (torch.ones(2, 1), FAKE)]
    loss, noted = critic_loss(pairs, lambda x: REAL, options(), BatchRng(0, 2))
    torch.testing.assert_close(loss, (softplus + second) / 2)
    torch.testing.assert_close(noted["gap"], torch.tensor([sum(one) / 2 for one in GAPS]))
    other = F.softplus(torch.tensor([[1.0, 2.0], [-1.0, 2.0]])).mean(1)
    torch.testing.assert_close(
        rival_loss(FAKE, REAL), (other + F.softplus(torch.tensor([-2.0, 0.0]))) / 2
    )


def test_a_picture_that_does_not_count_is_penalised_alone() -> None:
    """Of a critic that says 3 times the mean: the penalty is 9 noise², of two pictures."""

    def critic(x: Tensor) -> list[Tensor]:
        return [3 * x]

    true, made = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [4.0]])
    pairs = [(true, critic(true)), (made, critic(made))]
    counts = torch.tensor([True, False])
    loss, noted = critic_loss(pairs, critic, options(penalty=0.5), BatchRng(0, 2), counts)
    noise = 0.1 * BatchRng(0, 2).randn(1)
    penalty = 2 * (9 * noise**2).flatten()
    torch.testing.assert_close(noted["penalty"], penalty)
    told = F.softplus(torch.tensor([-3.0, 0.0])) * counts
    torch.testing.assert_close(loss, told + 0.5 * penalty)
    assert noted["gap"].tolist() == [6.0, 0.0]  # whose mean is that of the picture that counts
    torch.testing.assert_close(noted["critic"].mean(), told[0])  # as well, beside its rival's
    none = torch.tensor([False, False])
    assert mean_of(torch.ones(2), none).tolist() == [0.0, 0.0]


def test_what_is_computed_while_a_net_is_constant_does_not_move_it() -> None:
    net, x = torch.nn.Linear(1, 1), torch.ones(1, 1, requires_grad=True)
    with constant(net):
        net(x).sum().backward()
    assert net.weight.grad is None and x.grad is not None
    assert all(one.requires_grad for one in net.parameters())


def test_a_critic_that_wins_is_named_with_its_settings() -> None:
    check_gap({"gap": 4.0}, options(), "objective", "critic_rate")
    check_gap({}, options(), "objective", "critic_rate")
    with pytest.raises(TrainingError, match=r"4\.1 apart.*critic\.penalty or lower critic\.rate$"):
        check_gap({"gap": 4.1}, options(), "critic", "rate")
