"""What the pages of docs/evening say of their pictures holds; the site's test runs every cell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

EVENING = Path(__file__).parents[1] / "docs/evening"
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def names_of(page: str, cells: int | None = None) -> dict[str, Any]:
    """The names that a page has after so many of its cells."""
    names: dict[str, Any] = {}
    for cell in CELL.findall((EVENING / f"{page}.md").read_text(encoding="utf-8"))[:cells]:
        exec(compile(cell, f"{page}.md", "exec"), names)
    return names


def test_clip_knows_things_but_not_places_and_scores_noise_above_a_fox() -> None:
    names = names_of("clip")
    cosines, things = names["cosines"], 4  # the last two differ in what stands where
    own = cosines.diag()
    others = cosines - 2 * torch.eye(len(cosines))
    assert (own[:things] > others[:things].amax(1) + 0.15).all()
    assert (own[things:] > 0.7).all() and (cosines[things:, things:].diff() < 0.05).all()
    assert names["climbed"][-1] > own[0] + 0.05  # of noise


def test_the_walk_by_hand_is_the_sampler_and_first_guesses_are_blurs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = names_of("diffusion", 3)
    assert "decoder.sample: True" in capsys.readouterr().out

    def edges(pictures: Tensor) -> list[float]:
        return [float(one.diff(dim=-1).abs().mean()) for one in pictures]

    once = edges(names["guess"])
    assert once[-1] < 0.8 * once[0]  # from noise alone, and from nearly all
    far = [float((one - names["x0"]).abs().mean()) for one in names["guesses"]]
    assert far[-1] < far[3] < far[0]


def test_the_loop_lowers_both_losses() -> None:
    losses = names_of("training")["losses"]
    for name, share in (("CLIP", 0.75), ("prior", 0.75)):
        each = losses[name]
        assert np.isfinite(each).all()
        assert np.mean(each[-5:]) < share * np.mean(each[:5])


@pytest.mark.slow
def test_guidance_moves_pictures_away_and_in_the_end_too_far() -> None:
    names = names_of("decoder")
    sweep = torch.stack(names["sweep"])  # (scales, 2, 3, H, W)
    away = (sweep - sweep[0]).abs().mean((1, 2, 3, 4)).tolist()
    assert away[0] == 0 and away[1] > 0.005 and away[-1] == max(away)
    saturated = (sweep.abs() > 0.98).float().mean((1, 2, 3, 4)).tolist()
    assert saturated[-1] > saturated[0]


@pytest.mark.slow
def test_both_latents_give_the_picture_back() -> None:
    names = names_of("inversion", 1)
    assert names["psnr"] > 26
    assert 0.9 < float(names["x_T"].std()) < 1.15
    assert float((names["other"] - names["picture"]).square().mean()) > 4 * float(
        (names["again"] - names["picture"]).square().mean()
    )
