"""The U-Net as GLIDE, Karlo and Kandinsky vary it: CLIP's text, where the mask is 1, and nulls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unclip.errors import UsageError
from unclip.families.adm.guided_unet import GuidedUNetConfig, guided
from unclip.nn.unet import UNet, UNetConfig
from unclip.stages.decoder import DecoderConfig
from unclip.types import Cond

TEXT = {"width": 16, "depth": 1, "heads": 2, "vocab_size": 20, "context": 5}
BASE = {"image_size": 16, "channels": 32, "multipliers": [1, 2], "depth": 1, "head_dim": 32}
FULL = {**BASE, "attention": [8], "embed_dim": 12, "text": TEXT}
OLDER = GuidedUNetConfig.once_usual
T = torch.tensor([3.0, 800.0])


def of(cond: Cond) -> dict[str, Tensor]:
    """What a network is told."""
    return dict(cond.items())


def loud(net: UNet) -> UNet:
    """With random numbers in its zero-initialised layers, so that all of it matters."""
    for parameter in net.eval().requires_grad_(False).parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return net


def make(**changes: Any) -> UNet:
    torch.manual_seed(0)
    return loud(GuidedUNetConfig.parse({**FULL, **changes}).build())


@pytest.fixture
def cond() -> Cond:
    torch.manual_seed(1)
    return Cond(
        text_tokens=torch.randint(20, (2, 5)),
        text_mask=torch.arange(5) < torch.tensor([[5], [3]]),
        image_embed=nn.functional.normalize(torch.randn(2, 12), dim=-1),
    )


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(2, 3, 16, 16)


def run(net: UNet, x: Tensor, cond: Cond, t: Tensor = T) -> Tensor:
    out: Tensor = net(x, t, net.encode(of(cond)))
    return out


def moved(a: Tensor, b: Tensor) -> list[bool]:
    """Which samples differ."""
    return ((a - b).abs().flatten(1).amax(1) > 1e-4).tolist()


def test_without_further_settings_it_is_the_cores(x: Tensor, cond: Cond) -> None:
    torch.manual_seed(0)
    own = UNetConfig.parse({**FULL, "inpaint": True})
    usual = loud(own.build())
    net = make(inpaint=True)
    assert guided(own) == net.config
    assert [(n, v.shape) for n, v in net.named_parameters()] == [
        (n, v.shape) for n, v in usual.named_parameters()
    ]
    net.load_state_dict(usual.state_dict())
    bound = cond.replace(known=torch.randn(2, 3, 16, 16), mask=torch.ones(2, 1, 16, 16))
    assert torch.equal(run(net, x, bound), run(usual, x, bound))


@pytest.mark.parametrize("change", [{}, {"unit_embed": False}, {"mask_of": "known"}])
def test_a_decoder_saved_when_its_settings_stood_among_the_cores_is_read(
    change: dict[str, Any],
) -> None:
    """Files without `kind`, in which every setting was written, whatever its value."""
    saved = {"kind": "decoder", "network": {**FULL, **OLDER, **change}}
    network = DecoderConfig.parse(saved).network
    assert isinstance(network, GuidedUNetConfig) == bool(change)
    assert guided(network) == GuidedUNetConfig.parse({**FULL, **OLDER, **change})
    assert DecoderConfig.parse(DecoderConfig.parse(saved).dump()).network == network


def test_the_usual_network_knows_no_foreign_setting() -> None:
    with pytest.raises(UsageError, match=r"unknown setting 'network\.unit_embed'"):
        DecoderConfig.parse({"network": {**FULL, "kind": "unet", "unit_embed": False}})
    plain = DecoderConfig.parse({"network": {**FULL, "kind": "unet", "unit_embed": True}})
    assert plain.network == UNetConfig.parse(FULL)


def test_a_kind_that_is_not_known_is_named() -> None:
    with pytest.raises(UsageError, match=r"network 'guided_nut' \(did you mean 'guided_unet'\?\)"):
        DecoderConfig.parse({"network": {**FULL, "kind": "guided_nut"}})


CLIP = {"text": None, "clip_text": {"embed_dim": 6, "width": 7}, "context_dim": 16}


@pytest.fixture
def heard(cond: Cond) -> Cond:
    """A condition with CLIP's view of the text: five and three words."""
    torch.manual_seed(3)
    return cond.replace(text_embed=torch.randn(2, 6), text_encodings=torch.randn(2, 5, 7))


def test_text_of_clip_in_place_of_its_own(x: Tensor, heard: Cond) -> None:
    net = make(**CLIP)
    assert net.config.reads == {"text_mask", "text_embed", "text_encodings", "image_embed"}
    a = run(net, x, heard)
    assert heard.text_embed is not None and heard.text_encodings is not None
    assert moved(a, run(net, x, heard.replace(text_embed=-heard.text_embed))) == [True, True]
    noise = torch.zeros(2, 5, 7)
    noise[:, 4] = 3
    other = run(net, x, heard.replace(text_encodings=heard.text_encodings + noise))
    assert moved(a, other) == [True, False], "the second has but three words"


def test_padding_that_no_prompt_needs_is_trimmed(x: Tensor, heard: Cond) -> None:
    net = make(**CLIP)
    encoded = net.encode(of(heard.map(lambda value: value[1:])))
    assert encoded.mask is None
    assert encoded.context[0].shape[1] == 4 + 3, "four tokens of z_i, three words"
    together = net.encode(of(heard))
    assert together.mask is not None and together.mask.sum(1).tolist() == [4 + 5, 4 + 3]
    alone: Tensor = net(x[1:], T[1:], encoded)
    assert torch.allclose(alone, net(x, T, together)[1:], atol=1e-5)


def test_text_comes_from_one_place() -> None:
    with pytest.raises(UsageError, match="the text comes from one of them"):
        GuidedUNetConfig.parse({**FULL, **CLIP, "text": TEXT})


def test_a_mask_of_what_is_known_is_the_others_complement(x: Tensor, cond: Cond) -> None:
    """One network whose mask channel counts the other way round draws the same inside."""
    unknown, known = make(inpaint=True), make(inpaint=True, mask_of="known")
    shown = cond.replace(known=torch.randn(2, 3, 16, 16), mask=torch.ones(2, 1, 16, 16))
    hidden = cond.replace(known=shown.known, mask=torch.zeros(2, 1, 16, 16))
    for net, plain in ((unknown, shown), (known, shown)):
        assert torch.allclose(run(net, x, plain), run(net, x, cond), atol=1e-6), "all unknown"
        assert moved(run(net, x, hidden), run(net, x, cond)) == [True, True]
    encoded = known.encode(of(hidden)).known
    assert encoded is not None and encoded[:, 3].eq(1).all()
