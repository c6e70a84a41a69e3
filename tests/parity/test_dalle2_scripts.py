"""DALLE2-pytorch's classes against `unclip.compat.dalle2_pytorch`: the same seed, the same loss.

Weights go in under the peer's names, and come out under them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unclip.compat.dalle2_pytorch import (
    CLIP,
    DALLE2,
    Decoder,
    DiffusionPrior,
    DiffusionPriorNetwork,
    Unet,
)

CONSTANT = ("noise_scheduler", "rotary_emb.freqs")
"""What the peer's state dicts hold beside weights."""
AGAIN = re.compile(r"visual_ssl\.(net\.net|online_encoder\.net|net(?!\.(net|projector)))\.")
"""How names begin that stand for the image encoder again."""


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("dalle2_scripts")


@pytest.fixture(scope="module")
def state(peer: Any, fixture: Any) -> Callable[[str], dict[str, Tensor]]:
    """`state(model)`: the state dict that the peer's model had."""

    @cache
    def made(model: str) -> dict[str, Tensor]:
        return dict(_state(peer, fixture, model))

    return made


def _state(peer: Any, fixture: Any, model: str) -> Any:
    for name, shape in peer.said["shapes"][model].items():
        if any(part in name for part in CONSTANT):
            yield name, peer[f"{model}/{name}"]
        elif "running_" in name or "num_batches" in name:  # which training does not read
            yield name, torch.ones(shape)
        elif name.startswith("clip.clip."):
            yield name, fixture.filled(f"clip_plain.{name[10:]}", tuple(shape))
        else:
            first = AGAIN.sub("visual_transformer.", name)
            yield name, fixture.filled(f"{model}.{first}", tuple(shape))


@pytest.fixture(scope="module")
def loaded(state: Any) -> Callable[[str, Any], Any]:
    """`loaded(name, module)`: with the peer's weights, strictly."""

    def load(name: str, module: Any) -> Any:
        theirs = state(name)
        module.load_state_dict(theirs, strict=True)
        ours = module.state_dict()
        assert {k: tuple(v.shape) for k, v in ours.items()} == {
            k: tuple(v.shape) for k, v in theirs.items()
        }
        off = [k for k, v in ours.items() if not torch.allclose(v, theirs[k].to(v), rtol=1e-3)]
        assert off == []
        return module

    return load


class Models:
    """Of each name one, with the peer's weights, made when it is first asked for."""

    def __init__(self, said: Any, loaded: Callable[[str, Any], Any]) -> None:
        self.said, self.loaded, self.made = said, loaded, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self.made:
            kind, _, which = name.partition("_")
            self.made[name] = self.loaded(name, getattr(self, kind)(which))
        return self.made[name]

    def clip(self, which: str) -> CLIP:
        return CLIP(**self.said["sizes"], **self.said["clips"][which])

    def prior(self, which: str) -> DiffusionPrior:
        told = self.said["priors"][which]
        clip = {} if "image_embed_dim" in told else {"clip": self["clip_plain"]}
        return DiffusionPrior(DiffusionPriorNetwork(**self.said["nets"][which]), **clip, **told)

    def decoder(self, which: str) -> Decoder:
        told = dict(self.said["decoders"][which])
        unets = [Unet(**one) for one in told.pop("unets")]
        given = {} if told.get("unconditional") else {"clip": self["clip_plain"]}
        return Decoder(unets, **given, **told)


@pytest.fixture(scope="module")
def models(peer: Any, loaded: Any) -> Models:
    return Models(peer.said, loaded)


def seeded(peer: Any) -> None:
    torch.manual_seed(peer.said["seed"])
    random.seed(peer.said["seed"])


def check(peer: Any, name: str, module: nn.Module, compute: Callable[[], Tensor]) -> None:
    """The loss, and the size of its gradient."""
    seeded(peer)
    module.zero_grad()
    loss = compute()
    loss.backward()  # type: ignore[no-untyped-call]
    squares = [(p.grad.double() ** 2).sum() for p in module.parameters() if p.grad is not None]
    size = float(torch.stack(squares).sum().sqrt())
    assert [loss.item(), size] == pytest.approx(peer.said["losses"][name], rel=2e-4)


@pytest.mark.parametrize(
    "name",
    [*(pytest.param(one, marks=pytest.mark.slow) for one in ("readme", "simsiam")), "plain"],
)
def test_the_losses_of_clip(peer: Any, models: Any, name: str) -> None:
    clip = models[f"clip_{name}"].train().requires_grad_(True)
    views = iter([lambda x: x, lambda x: x.flip(-1)])
    clip.augment = lambda image: next(views)(image)
    tokens, images = peer["tokens"], peer["images"]
    check(peer, f"clip_{name}", clip, lambda: clip(tokens, images, return_loss=True))
    clip.eval()  # others are given it


@pytest.mark.parametrize("name", ["readme", "plain"])
def test_how_well_pairs_fit(peer: Any, models: Any, off: Any, name: str) -> None:
    clip = models[f"clip_{name}"].eval()
    with torch.no_grad():
        similarity = clip(peer["tokens"], peer["images"])
    assert off(similarity, peer[f"clip_{name}/similarity"]) < 1e-4


def test_the_prior_of_texts_and_pictures(peer: Any, models: Any) -> None:
    prior = models["prior_readme"]
    check(peer, "prior_readme", prior, lambda: prior(peer["tokens"], peer["images"]))


def test_the_prior_of_embeddings_which_stay_as_they_are(peer: Any, models: Any) -> None:
    prior, (text_embed, image_embed) = models["prior_embeds"], peer["embeds"]
    given = image_embed.clone()
    check(peer, "prior_embeds", prior, lambda: prior(text_embed=text_embed, image_embed=given))
    assert torch.equal(given, image_embed)  # the peer multiplies what it is given


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(f"readme_{number}", marks=pytest.mark.slow) for number in (1, 2)),
        "others_1",
        "others_2",
        pytest.param("unconditional_1", marks=pytest.mark.slow),
    ],
)
def test_the_losses_of_u_nets(peer: Any, models: Any, name: str) -> None:
    which, _, number = name.rpartition("_")
    decoder, images = models[f"decoder_{which}"], peer["large"]
    images = 2 * images - 1 if which == "others" else images  # auto_normalize_img is off there
    words = {"text": peer["tokens"]} if which == "readme" else {}
    check(
        peer,
        f"decoder_{name}",
        decoder,
        lambda: decoder(images, unet_number=int(number), **words),
    )


def test_pictures_larger_than_clips_own(peer: Any, models: Any, off: Any) -> None:
    embedded = models["decoder_readme"].clip.embed_image(peer["large"]).image_embed
    assert off(embedded, peer["embedded"]) < 1e-4


def test_the_same_seed_draws_the_same_embedding(peer: Any, models: Any, off: Any) -> None:
    seeded(peer)
    drawn = models["prior_readme"].sample(peer["tokens"][:2], cond_scale=2.0)
    assert off(drawn, peer["prior_readme/sampled"]) < 1e-3


@pytest.mark.slow
def test_the_same_seed_draws_the_same_picture(peer: Any, models: Any, off: Any) -> None:
    """But for the learned variance, which guidance there extrapolates too."""
    decoder, tokens = models["decoder_readme"], peer["tokens"][:2]
    seeded(peer)
    drawn = decoder.sample(image_embed=peer["embeds"][1][:2], text=tokens, cond_scale=2.0)
    assert off(drawn, peer["decoder_readme/sampled"]) < 0.05
    seeded(peer)
    whole = DALLE2(prior=models["prior_readme"], decoder=decoder)
    assert off(whole(tokens, cond_scale=2.0), peer["drawn"]) < 0.05
