"""One affine map."""

from __future__ import annotations

import torch

from unclip.nn.linear_prior import LinearPriorConfig, LinearPriorNet


def test_untrained_it_hands_z_t_on_and_trained_it_is_affine() -> None:
    net = LinearPriorNet(LinearPriorConfig(embed_dim=5)).requires_grad_(False)
    z = torch.randn(3, 5)
    assert torch.equal(net({"text_embed": z}), z)
    torch.nn.init.normal_(net.map.weight)
    torch.nn.init.normal_(net.map.bias)
    assert torch.allclose(net({"text_embed": z}), z @ net.map.weight.T + net.map.bias, atol=1e-6)
