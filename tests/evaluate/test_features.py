"""Features of a model's CLIP, and how well pictures suit captions by them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unclip.errors import DataError, UsageError
from unclip.evaluate import features
from unclip.evaluate.features import FeatureExtractor, clip_score
from unclip.evaluate.image_set import ImageSet
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage

CPU = torch.device("cpu")


def test_any_model_with_a_clip_can_look(
    tmp_path: Path,
    make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
) -> None:
    clip = make_stage("clip")
    manifest = save_model(tmp_path / "m", "m", tokenizer, {"clip": clip}, dtype=torch.float32)
    net = features.from_clip(tmp_path / "m", CPU)
    assert (net.name, net.hash, net.dims) == ("m", manifest.hash, 16)
    picture = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    one = ImageSet(1, [picture].__getitem__, lambda: ["the fox"])
    seen = features.features(net, one)
    with torch.inference_mode():
        z_i = clip.net.encode_image(one.tensor([0])).double()  # type: ignore[operator]
    # the fast number format of this machine may be bfloat16
    cosine = torch.nn.functional.cosine_similarity(seen, z_i)
    assert float(cosine) > 0.99
    assert net.read is not None and net.read(["the fox"]).shape == (1, 16)


def test_half_a_clip_or_none_is_refused(
    tmp_path: Path,
    make_stage: Callable[..., Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
) -> None:
    save_model(tmp_path / "m", "m", tokenizer, {"prior": make_stage("prior")})
    with pytest.raises(UsageError, match="holds no CLIP"):
        features.from_clip(tmp_path / "m", CPU)


def plain(see: Callable[[Tensor], Tensor]) -> FeatureExtractor:
    """Reads a caption as one of the two axes."""
    axes = {"x": [1.0, 0], "y": [0, 1.0]}
    return FeatureExtractor(
        "plain", "", 2, see, lambda words: torch.tensor([axes[word] for word in words])
    )


def test_clip_scores_that_are_known() -> None:
    seen = torch.tensor([[3.0, 4], [5, 0], [-2, 0]]).double()
    found = clip_score(plain(lambda x: x), seen, ["x", "x", "x"])
    assert found.value == pytest.approx((60 + 100 + 0) / 3, rel=1e-6)
    spread = torch.tensor([60.0, 100, 0]).std() / 3**0.5
    assert found.error == pytest.approx(float(spread), rel=1e-5)
    with pytest.raises(UsageError, match="each of 3 pictures needs a caption, got 1"):
        clip_score(plain(lambda x: x), seen, ["x"])
    with pytest.raises(UsageError, match="cannot read"):
        clip_score(FeatureExtractor("blind", "", 2, lambda x: x), seen, ["x"] * 3)


def test_nan_in_features_is_refused() -> None:
    def see(images: Tensor) -> Tensor:
        out = images.mean((2, 3))[:, :2].clone()
        out[1] = torch.nan
        return out

    pictures = ImageSet(3, [np.zeros((4, 4, 3), np.uint8)].__mul__(3).__getitem__)
    with pytest.raises(
        DataError, match="extractor 'plain' gives NaN or infinity for 1 of 3 pictures"
    ):
        features.features(plain(see), pictures)
