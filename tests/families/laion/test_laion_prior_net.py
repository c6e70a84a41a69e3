"""LAION's prior: the cached prefix is exact, nulls and padding mean what they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.families.laion._layers import COSINE_SCALE, SharedKeyAttention, turned
from unclip.families.laion._prior import LaionPriorConfig, LaionPriorNet, SineTime
from unclip.types import Cond

WIDTH, CONTEXT = 16, 6
VARIANTS: dict[str, dict[str, Any]] = {
    "usual": {},
    "old": {"dialect": "1.1.0", "norm_hidden": True},
    "oldest": {"dialect": "0.15.4"},
    "oldest, z_t alone": {"dialect": "0.15.4", "read_text": False, "text_tokens": 2},
    "many tokens": {"text_tokens": 2, "time_tokens": 3, "image_tokens": 2, "timesteps": None},
    "plain": {"rotary": False, "norm_in": True, "norm_out": False, "project_out": False},
}


def of(cond: Cond) -> dict[str, Tensor]:
    """What a network is told."""
    return dict(cond.items())


def make(**changes: Any) -> LaionPriorNet:
    torch.manual_seed(0)
    sizes = {"width": WIDTH, "depth": 2, "heads": 3, "head_dim": 8, "context": CONTEXT}
    net = LaionPriorNet(LaionPriorConfig(**{**sizes, **changes})).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 1.0 if parameter.eq(1).all() else 0.0, 0.3)
    return net


@pytest.fixture
def cond() -> Cond:
    torch.manual_seed(1)
    mask = torch.arange(CONTEXT) < torch.tensor([2, 6, 4])[:, None]
    return Cond(
        text_embed=F.normalize(torch.randn(3, WIDTH), dim=-1),
        text_encodings=torch.randn(3, CONTEXT, WIDTH),
        text_mask=mask,
    )


@pytest.fixture
def noisy() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(3, WIDTH), torch.tensor([0.0, 400.0, 999.0])


def whole(net: LaionPriorNet, cond: Cond, x: Tensor, t: Tensor) -> Tensor:
    """The network with all its tokens in one run."""
    config, batch = net.config, len(x)
    z_t = net._text_embed(of(cond))
    tokens = [
        net._text(of(cond), z_t),
        z_t,
        net.time(t).view(batch, config.time_tokens, -1),
        net.image_embed_in(x).view(batch, config.image_tokens, -1),
        net.query.expand(batch, 1, -1),
    ]
    h = net.norm_in(torch.cat(tokens, dim=1))
    hidden = net._hidden(of(cond), h[:, : config.prefix]) if config.masks else None
    bias, angles = net._places(0, h.shape[1], hidden)
    for layer in net.layers:
        h, _ = layer(h, None, bias, angles)
    stable = config.norm_out and not config.masks
    h = h[:, -1] / (h[:, -1].amax(-1, keepdim=True) if stable else 1)
    out: Tensor = net.proj(net.norm_out(h))
    return out


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_cached_prefix_is_exact(variant: str, cond: Cond, noisy: tuple[Tensor, Tensor]) -> None:
    net = make(**VARIANTS[variant])
    encoded = net.encode(of(cond))
    for shift in (0.0, 1.0):  # the same prefix serves every step
        x, t = noisy[0] + shift, noisy[1]
        torch.testing.assert_close(net(x, t, encoded), whole(net, cond, x, t), atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_a_token_sees_what_is_before_it_and_itself(cond: Cond) -> None:
    net = make()
    before, _ = net._places(0, 5)
    seen = before.isfinite().view(5, 3, 6)[:, 0]
    assert torch.equal(seen, torch.ones(5, 6, dtype=torch.bool).tril(1))  # key 0 is the learned one


@pytest.mark.parametrize("dialect", ["0.15.4", "1.1.0", "1.15.6"])
@torch.no_grad()
def test_padding_is_not_read(dialect: str, cond: Cond, noisy: tuple[Tensor, Tensor]) -> None:
    net = make(dialect=dialect)
    out = net(*noisy, net.encode(of(cond)))
    assert cond.text_encodings is not None and cond.text_mask is not None
    junk = torch.where(cond.text_mask[..., None], cond.text_encodings, torch.randn(1))
    torch.testing.assert_close(out, net(*noisy, net.encode(of(cond.replace(text_encodings=junk)))))
    short = cond.replace(text_encodings=cond.text_encodings[:, :4], text_mask=cond.text_mask[:, :4])
    other = net(*noisy, net.encode(of(short)))
    torch.testing.assert_close(out[[0, 2]], other[[0, 2]])  # theirs were no longer than that
    assert not torch.allclose(out[1], other[1])
    longer = cond.replace(
        text_encodings=F.pad(cond.text_encodings, (0, 0, 0, 3), value=1.0),
        text_mask=F.pad(cond.text_mask, (0, 3), value=True),
    )
    torch.testing.assert_close(out, net(*noisy, net.encode(of(longer))))


@torch.no_grad()
def test_what_is_hidden_is_hidden_sample_by_sample(
    cond: Cond, noisy: tuple[Tensor, Tensor]
) -> None:
    net = make()
    keep = torch.tensor([True, False, True])
    shown = net(*noisy, net.encode(of(cond)))
    hidden = net(*noisy, net.encode(of(cond.replace(keep_text=~keep, keep_image=~keep))))
    mixed = net(*noisy, net.encode(of(cond.replace(keep_text=keep, keep_image=keep))))
    torch.testing.assert_close(mixed[keep], shown[keep])
    other = net(*noisy, net.encode(of(cond.map(lambda v: v.flip(0)).replace(keep_text=keep))))
    alone = net(*noisy, net.encode(of(cond.replace(keep_text=keep))))
    torch.testing.assert_close(other[1], alone[1])  # nothing of the text gets through
    assert not torch.allclose(hidden[0], shown[0])


@torch.no_grad()
def test_the_null_hides_the_noised_embedding_too(cond: Cond, noisy: tuple[Tensor, Tensor]) -> None:
    """As the weights were trained (issue 285 of DALLE2-pytorch)."""
    x, t = noisy
    gone = torch.zeros(3, dtype=torch.bool)
    net = make()
    encoded = net.encode(of(cond.replace(keep_text=gone, keep_image=gone)))
    torch.testing.assert_close(net(x, t, encoded), net(x.flip(0), t, encoded))
    first = make(dialect="0.15.4")  # whose null is what no text and no z_t leave to look at
    hidden = first.encode(of(cond.replace(keep_text=gone, keep_image=gone)))
    other = first.encode(of(cond.map(lambda v: v.flip(0)).replace(keep_text=gone, keep_image=gone)))
    torch.testing.assert_close(first(x, t, hidden), first(x, t, other))
    assert not torch.allclose(first(x, t, hidden), first(x.flip(0), t, hidden))
    assert not torch.allclose(first(x, t, hidden), first(x, t, first.encode(of(cond))))
    old = make(dialect="1.1.0")
    hidden = old.encode(of(cond.replace(keep_text=gone, keep_image=gone)))
    torch.testing.assert_close(old(x, t, hidden), old(x, t, old.encode(of(cond))))


@torch.no_grad()
def test_without_the_text_only_z_t_is_read(cond: Cond, noisy: tuple[Tensor, Tensor]) -> None:
    net = make(read_text=False)
    assert net.config.reads == {"text_embed"}
    full, alone = net.encode(of(cond)), net.encode(of(Cond(text_embed=cond.text_embed)))
    torch.testing.assert_close(net(*noisy, full), net(*noisy, alone))


@torch.no_grad()
def test_the_old_version_keeps_whole_numbers_of_its_sines() -> None:
    new, old = (SineTime(8, 8, whole=whole) for whole in (False, True))
    old.load_state_dict(new.state_dict())
    t = torch.tensor([0.0, 3.0, 700.0])
    assert torch.equal(new(t)[:1], old(t)[:1])  # of zero all are whole
    assert torch.equal(old(t[1:]), old(torch.tensor([3.0, 700.0])))
    assert not torch.allclose(new(t)[2], old(t)[2])
    # the lowest frequency's cosine is the last to leave 1
    torch.testing.assert_close(old(torch.tensor([40.0])), old(torch.tensor([50.0])))


@pytest.mark.parametrize("cosine", [False, True])
@torch.no_grad()
def test_heads_share_keys_and_look_at_a_learned_one(cosine: bool) -> None:
    torch.manual_seed(0)
    attention = SharedKeyAttention(WIDTH, heads=3, head_dim=4, scale=0.4, cosine=cosine)
    x = torch.randn(2, 5, WIDTH)
    normed = attention.norm(x)
    q = attention.q(normed).view(2, 5, 3, 4)
    k, v = attention.kv(normed).chunk(2, -1)
    k = torch.cat([attention.null[0].expand(2, 1, 4), k], 1)
    v = torch.cat([attention.null[1].expand(2, 1, 4), v], 1)
    if cosine:
        q, k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
    logits = torch.einsum("bnhd,bmd->bhnm", q, k) * (COSINE_SCALE if cosine else 0.4)
    mixed = torch.einsum("bhnm,bmd->bnhd", logits.softmax(-1), v)
    expected = attention.norm_out(attention.proj(mixed.flatten(2)))
    torch.testing.assert_close(attention(x)[0], expected)


def test_turning_keeps_lengths_and_tells_only_distances() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 6)
    angles = torch.tensor([0.3, 1.1])
    assert torch.equal(turned(q, 0 * angles), q)
    assert turned(q, angles).norm() == pytest.approx(float(q.norm()), rel=1e-6)
    assert torch.equal(turned(q, angles)[4:], q[4:])
    near = turned(q, 3 * angles) @ turned(k, angles)
    far = turned(q, 7 * angles) @ turned(k, 5 * angles)
    torch.testing.assert_close(near, far)


@torch.no_grad()
def test_bfloat16_is_near_float32(cond: Cond, noisy: tuple[Tensor, Tensor]) -> None:
    net = make()
    exact = net(*noisy, net.encode(of(cond)))
    half = net.to(torch.bfloat16)
    out = half(noisy[0].bfloat16(), noisy[1], half.encode(of(cond)))
    assert out.dtype == torch.bfloat16
    assert (out.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(("dialect", "same"), [("0.15.4", False), ("1.1.0", True)])
@torch.no_grad()
def test_the_last_norm_does_not_mind_how_large_its_numbers_are(
    dialect: str, same: bool, cond: Cond, noisy: tuple[Tensor, Tensor]
) -> None:
    net = make(dialect=dialect)
    net.layers = torch.nn.ModuleList()  # the query then goes straight to the norm
    large = net(*noisy, net.encode(of(cond)))
    net.query.mul_(1e-3)
    assert torch.allclose(net(*noisy, net.encode(of(cond))), large, rtol=1e-4) == same
