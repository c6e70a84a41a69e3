"""The denoising Transformer: its blocks by hand, its places, its condition, its sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unclip.errors import UsageError
from unclip.nn.dit import DiT, DiTBlock, DiTConfig, as_picture, rotations, turned

TEXT = {"width": 16, "depth": 1, "heads": 2, "vocab_size": 20, "context": 5}
SMALL = {"image_size": 16, "patch_size": 4, "width": 32, "depth": 3, "heads": 2}
FULL = {**SMALL, "bottleneck": 8, "inpaint": True, "embed_dim": 12, "text": TEXT, "align_dim": 6}
T = torch.tensor([3.0, 800.0])


def make(loud: bool = True, **changes: Any) -> DiT:
    """A network; `loud` makes its zero-initialised weights random, so that all of it matters."""
    torch.manual_seed(0)
    net = DiT(DiTConfig.parse({**FULL, **changes})).eval().requires_grad_(False)
    for parameter in net.parameters():
        if loud and not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return net


@pytest.fixture
def given() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        "text_tokens": torch.randint(20, (2, 5)),
        "text_mask": torch.arange(5) < torch.tensor([[4], [2]]),
        "image_embed": F.normalize(torch.randn(2, 12), dim=-1),
    }


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(2, 3, 16, 16)


def run(net: DiT, x: Tensor, given: dict[str, Tensor], t: Tensor = T) -> Tensor:
    out: Tensor = net(x, t, net.encode(given))
    return out


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5)


def test_a_new_network_puts_out_zero_and_its_blocks_are_the_identity(
    x: Tensor, given: dict[str, Tensor]
) -> None:
    net = make(loud=False)
    assert not run(net, x, given).any()
    assert run(make(), x, given).abs().mean() > 1e-3
    tokens, seen = torch.randn(2, 5, 32), torch.randn(2, 2, 5, 8)
    assert torch.equal(net.blocks[0](tokens, torch.zeros(2, 6, 32), seen[0], None), tokens)


def test_a_pooled_input_is_three_numbers_of_unit_variance_beside_the_timestep(
    x: Tensor, given: dict[str, Tensor]
) -> None:
    net, plain = make(pooled_input=True), make()
    shared = {name: one for name, one in net.state_dict().items() if not name.startswith("pool.")}
    plain.load_state_dict(shared)
    pooled = x.sum(dim=(2, 3)) / 16
    encoded = plain.encode(given)
    assert encoded.vector is not None
    beside = replace(encoded, vector=encoded.vector + pooled @ net.pool.weight.T + net.pool.bias)
    assert close(run(net, x, given), plain(x, T, beside))
    assert not close(run(net, x, given), run(plain, x, given))


def test_a_block_is_its_equations() -> None:
    """RMS norm, modulation, attention with complex rotations, SwiGLU, one sample and one head."""
    torch.manual_seed(0)
    block, count, width = DiTBlock(8, heads=1, hidden=5).double().requires_grad_(False), 6, 8
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    x, shared = torch.randn(count, width).double(), torch.randn(6, width).double()
    angles = torch.randn(count, width // 2).double()
    a1, b1, g1, a2, b2, g2 = shared + block.modulation

    def rms(h: Tensor, weight: Tensor) -> Tensor:
        return h / (h.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    def spun(h: Tensor, weight: Tensor) -> Tensor:
        h = rms(h, weight)
        pairs = torch.complex(h[:, : width // 2], h[:, width // 2 :])
        return pairs * torch.polar(torch.ones_like(angles), angles)

    own = block.attention
    h = rms(x, block.norm1.weight) * (1 + b1) + a1
    q, k, v = (h @ own.qkv.weight.T + own.qkv.bias).split(width, dim=1)
    scores = (spun(q, own.norm_q.weight) @ spun(k, own.norm_k.weight).conj().T).real
    mixed = (scores / width**0.5).softmax(-1) @ v
    middle = x + g1 * (mixed @ own.proj.weight.T + own.proj.bias)
    h = rms(middle, block.norm2.weight) * (1 + b2) + a2
    gate, value = (h @ block.mlp_in.weight.T + block.mlp_in.bias).split(5, dim=1)
    hidden = gate * torch.sigmoid(gate) * value
    expected = middle + g2 * (hidden @ block.mlp_out.weight.T + block.mlp_out.bias)
    turn = torch.stack([angles.cos(), angles.sin()])
    assert torch.allclose(block(x[None], shared[None], turn, None)[0], expected)


def test_rotations_tell_how_far_places_are_apart_and_not_where() -> None:
    like, q, k = torch.zeros(1), torch.randn(16), torch.randn(16)

    def score(size: tuple[int, int], one: tuple[int, int], other: tuple[int, int]) -> Tensor:
        angles = rotations(size, 16, like)
        turn = torch.stack([angles.cos(), angles.sin()])
        first, second = (
            turned(vector.expand(1, 1, len(angles), 16), turn)[0, 0, row * size[1] + column]
            for vector, (row, column) in ((q, one), (k, other))
        )
        return first @ second

    near = score((4, 4), (1, 1), (2, 3))
    assert close(near, score((4, 4), (0, 0), (1, 2)))
    assert close(near, score((8, 6), (5, 2), (6, 4)))  # whatever the picture's size
    assert not close(near, score((4, 4), (1, 1), (3, 2)))  # rows are no columns
    assert not close(near, score((4, 4), (2, 3), (1, 1)))


def test_tokens_are_patches_row_by_row() -> None:
    x = torch.randn(2, 3, 8, 12)
    patches = F.unfold(x, 4, stride=4).transpose(1, 2)  # (2, 6, 48), PyTorch's own order
    assert torch.equal(F.pixel_shuffle(as_picture(patches, (2, 3)), 4), x)


def test_a_sample_is_its_own_and_padding_is_nothing(x: Tensor, given: dict[str, Tensor]) -> None:
    net, both = make(), run(make(), x, given)
    for i in (0, 1):  # alone, the second text is shorter than in the batch
        alone = {name: value[i : i + 1] for name, value in given.items()}
        assert close(run(net, x[i : i + 1], alone, T[i : i + 1]), both[i : i + 1])
    other = given["text_tokens"].where(given["text_mask"], 7)
    assert close(run(net, x, {**given, "text_tokens": other}), both)


@pytest.mark.parametrize("name", ["text", "image"])
def test_a_hidden_condition_is_the_learned_null(
    name: str, x: Tensor, given: dict[str, Tensor]
) -> None:
    net, field = make(), {"text": "text_tokens", "image": "image_embed"}[name]
    changed = {**given, field: given[field].flip(0)}
    hidden = {f"keep_{name}": torch.zeros(2, dtype=torch.bool)}
    assert not close(run(net, x, given), run(net, x, changed))
    assert close(run(net, x, {**given, **hidden}), run(net, x, {**changed, **hidden}))


def test_it_sees_what_is_known_and_only_that(x: Tensor, given: dict[str, Tensor]) -> None:
    net, mask = make(), torch.zeros(2, 1, 16, 16)
    mask[..., 8:] = 1  # to paint
    told = {**given, "known": x.flip(0), "mask": mask}
    plain = run(net, x, told)
    assert not close(plain, run(net, x, given))
    assert close(plain, run(net, x, {**told, "known": x.flip(0) + mask}))
    assert not close(plain, run(net, x, {**told, "known": x.flip(0) + 1 - mask}))
    whole = {"known": x, "mask": torch.ones_like(mask)}
    assert close(run(net, x, {**given, **whole}), run(net, x, given))


def test_where_a_thing_lies_matters(x: Tensor, given: dict[str, Tensor]) -> None:
    """Attention alone would give the same patches in another order."""
    net = make(inpaint=False)
    moved = run(net, x.roll(4, dims=3), given).roll(-4, dims=3)
    assert not torch.allclose(run(net, x, given), moved, atol=1e-2)


def test_in_half_precision_it_says_about_the_same(x: Tensor, given: dict[str, Tensor]) -> None:
    net = make()
    plain = run(net, x, given)
    with torch.autocast("cpu", torch.bfloat16):  # a warning would be an error
        assert (run(net, x, given) - plain).abs().mean() < 0.03 * plain.abs().mean()
    half = {name: one.bfloat16() if one.is_floating_point() else one for name, one in given.items()}
    out = run(net.bfloat16(), x.bfloat16(), half)
    assert out.dtype == torch.bfloat16
    assert (out - plain).abs().mean() < 0.05 * plain.abs().mean()


def test_other_sizes_are_drawn(given: dict[str, Tensor]) -> None:
    assert run(make(), torch.randn(2, 3, 8, 24), given).shape == (2, 3, 8, 24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 18}, "image_size 18 is not a multiple of 4"),
        ({"width": 36}, "width 36 is not a multiple of 4 x heads 2"),
        ({"text": None, "text_of_clip": True}, "text_of_clip needs text"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DiTConfig.parse({**FULL, **changes})
