"""x-clip's losses against itself: the same latents give the same number."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.stages.contrastive.filip import late_interaction
from unclip.stages.contrastive.scores import Scores, dcl, infonce


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("x_clip_losses")


def latents(peer: Any, case: str) -> list[Tensor]:
    """Texts, pictures, and both in the second space, if there is one."""
    kinds = ("text", "image", "extra_text", "extra_image")
    return [peer[f"{case}/{kind}"] for kind in kinds if f"{case}/{kind}" in peer.tensors]


def scores(peer: Any, by_image: Tensor, by_text: Tensor) -> Scores:
    scale = torch.tensor(peer.said["temperature"]).exp()
    return Scores(scale * by_image, scale * by_text, torch.eye(len(by_image)))


@pytest.mark.parametrize("case", ["infonce", "dcl", "extra", "extra_dcl"])
def test_embeddings(peer: Any, case: str) -> None:
    text, image, *extra = latents(peer, case)
    second_text, second_image = extra or (text, image)
    # x-clip's pictures are the ones that seek in the second space: the names are exchanged
    table = scores(peer, second_image @ second_text.T, text @ image.T)
    loss = dcl(table, inf) if case.endswith("dcl") else infonce(table)
    assert float(loss.mean()) == pytest.approx(float(peer[f"{case}/loss"]), abs=1e-5)


@pytest.mark.parametrize("case", ["filip", "filip_dcl", "filip_extra_dcl"])
def test_tokens(peer: Any, case: str) -> None:
    """x-clip compares both scores over pictures; the paper (2111.07783, section 3.1), as we do,
    compares those of patches over captions. So its own sum is made here of our scores."""
    text, image, *extra = latents(peer, case)
    second_text, second_image = extra or (text, image)
    mask = peer["tokens"] != 0
    by_word = late_interaction(image, text, mask)[1]  # (pictures, captions)
    by_patch = late_interaction(second_image, second_text, mask)[0]
    table = scores(peer, by_patch.T, by_word.T)
    loss = dcl(table, inf) if case.endswith("dcl") else infonce(table)
    assert float(loss.mean()) == pytest.approx(float(peer[f"{case}/loss"]), abs=1e-5)
    assert torch.allclose(image, F.normalize(image, dim=-1), atol=1e-6)
