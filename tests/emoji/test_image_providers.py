"""A model as a provider of images: they depend on scene, number and seed alone."""

from __future__ import annotations

import numpy as np

import unclip
from unclip.emoji.image_providers import from_model
from unclip.emoji.scenes import Scene
from unclip.train.run import Run


def test_a_models_pictures_do_not_depend_on_the_batch_or_the_order(trained: Run) -> None:
    pipe = unclip.load(trained.model, device="cpu", dtype="float32")
    scenes = [
        Scene(f"single-{n}", "single", "seen", prompt, (), None, None, {})
        for n, prompt in enumerate(("a red square", "a blue circle"))
    ]
    orders = [(scene, number) for scene in scenes for number in range(2)]
    together = [np.asarray(one).astype(int) for one in from_model(pipe, seed=3)(orders)]
    for order, expected in zip(reversed(orders), reversed(together), strict=True):
        alone = np.asarray(from_model(pipe, seed=3)([order])[0]).astype(int)
        assert np.abs(alone - expected).max() <= 1  # the batch may round otherwise
    assert np.abs(together[0] - together[1]).max() > 1
    other = np.asarray(from_model(pipe, seed=4)(orders[:1])[0]).astype(int)
    assert np.abs(other - together[0]).max() > 1
