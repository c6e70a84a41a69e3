"""The U-Net: where it attends, what its conditions do, and that a sample is its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unclip.errors import UsageError
from unclip.nn.blocks import AttentionBlock
from unclip.nn.last_step import LastStep
from unclip.nn.layers import Dropout, dropout_from
from unclip.nn.unet import UNet, UNetConfig
from unclip.rng import Rng
from unclip.types import Cond

TEXT = {"width": 16, "depth": 1, "heads": 2, "vocab_size": 20, "context": 5}
BASE = {"image_size": 16, "channels": 32, "multipliers": [1, 2], "depth": 1, "head_dim": 32}
FULL = {**BASE, "attention": [8], "embed_dim": 12, "text": TEXT}
T = torch.tensor([3.0, 800.0])


def attention_block(channels: int) -> AttentionBlock:
    """One of heads of 32, that looks at context of 16."""
    return AttentionBlock(channels, 32, 16, make().norm)


def of(cond: Cond) -> dict[str, Tensor]:
    """What a network is told."""
    return dict(cond.items())


def make(loud: bool = True, **changes: Any) -> UNet:
    """A U-Net; `loud` makes its zero-initialised layers random, so that all of it matters."""
    torch.manual_seed(0)
    net = UNet(UNetConfig.parse({**FULL, **changes})).eval().requires_grad_(False)
    for parameter in net.parameters():
        if loud and not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return net


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


def test_a_new_network_puts_out_zero(x: Tensor, cond: Cond) -> None:
    out = run(make(loud=False), x, cond)
    assert out.shape == x.shape
    assert not out.any()
    assert run(make(), x, cond).abs().mean() > 1e-3


def test_a_new_networks_blocks_and_attention_are_the_identity() -> None:
    x = torch.randn(2, 32, 8, 8)
    assert torch.equal(make(loud=False).block(32, 32)(x, torch.randn(2, 128)), x)
    attention = attention_block(32)
    assert torch.equal(attention(x, iter([attention.keys_values(torch.randn(2, 4, 16))])), x)


@pytest.mark.parametrize(
    ("attention", "sides"),
    [
        ([], []),
        ([8], [8, 8, 8, 8]),  # down 1, middle 1, up 2
        ([16], [16, 16, 16]),  # down 1, up 2
        ([16, 8], [16, 8, 8, 8, 8, 16, 16]),
    ],
)
def test_attention_is_at_the_named_sides_alone(
    attention: list[int], sides: list[int], x: Tensor, cond: Cond
) -> None:
    net, seen = make(attention=attention), []
    for module in net.modules():
        if isinstance(module, AttentionBlock):
            module.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].shape[-1]))
    run(net, x, cond)
    assert seen == sides


def test_attention_is_one_softmax_over_context_and_pixels() -> None:
    torch.manual_seed(0)
    block = attention_block(64)
    nn.init.normal_(block.proj.weight, std=0.3)
    assert block.heads == 2
    assert block.context is not None
    x, context = torch.randn(1, 64, 3, 2), torch.randn(1, 4, 16)
    pixels = block.norm(x).flatten(2).transpose(1, 2)  # (1, 6, 64)
    q, k, v = block.qkv(pixels).split(64, dim=-1)
    context_k, context_v = block.context(context).split(64, dim=-1)
    k, v = torch.cat([context_k, k], 1), torch.cat([context_v, v], 1)
    halves = []
    for part in (slice(0, 32), slice(32, 64)):
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / 32**0.5).softmax(-1)
        assert weights.shape == (1, 6, 4 + 6)
        halves.append(weights @ v[..., part])
    mixed = block.proj(torch.cat(halves, -1)).transpose(1, 2).reshape(1, 64, 3, 2)
    assert torch.allclose(block(x, iter([block.keys_values(context)])), x + mixed, atol=1e-5)


def test_context_is_the_image_tokens_and_then_the_text(cond: Cond) -> None:
    """arXiv 2204.06125, section 2.1: z_i as 4 more tokens, and added to the timestep embedding."""
    net = make()
    encoded = net.encode(of(cond))
    assert [kv.shape for kv in encoded.context] == [(2, 4 + 5, 2 * 64)] * 4
    # a unit vector's numbers are tiny: they are brought to about 1 first
    z_i = cond.image_embed * 12**0.5  # type: ignore[operator]
    encodings = net.text(cond.text_tokens, cond.text_mask)
    expected = net.image_vector(z_i) + net.text_vector(encodings[:, -1])
    assert torch.allclose(encoded.vector, expected, atol=1e-5)  # type: ignore[arg-type]
    tokens = torch.cat([net.image_context(z_i).view(2, 4, 16), net.text_context(encodings)], dim=1)
    first = net.down[2].attention
    assert torch.allclose(encoded.context[0], first.keys_values(tokens), atol=1e-5)
    without_text = cond.replace(keep_text=torch.tensor([False, False]))
    without_image = cond.replace(keep_image=torch.tensor([False, False]))
    for dropped, stays in ((without_text, slice(0, 4)), (without_image, slice(4, 9))):
        again = net.encode(of(dropped))
        changed = (again.context[0] - encoded.context[0]).abs().amax((0, 2)) > 1e-6
        assert changed.tolist() == [not (stays.start <= i < stays.stop) for i in range(9)]
        assert not torch.allclose(again.vector, encoded.vector)  # type: ignore[arg-type]


def test_a_dropped_image_leaves_no_trace_and_only_where_dropped(x: Tensor, cond: Cond) -> None:
    net, keep = make(), torch.tensor([True, False])
    shown = run(net, x, cond)
    a = run(net, x, cond.replace(keep_image=keep))
    assert moved(shown, a) == [False, True]
    other = cond.replace(image_embed=cond.image_embed.flip(0), keep_image=keep)  # type: ignore[union-attr]
    assert moved(a, run(net, x, other)) == [True, False]


def test_a_dropped_text_leaves_no_trace_and_only_where_dropped(x: Tensor, cond: Cond) -> None:
    net, keep = make(), torch.tensor([True, False])
    shown = run(net, x, cond)
    a = run(net, x, cond.replace(keep_text=keep))
    assert moved(shown, a) == [False, True]
    other = cond.replace(
        text_tokens=(cond.text_tokens + 1) % 20,  # type: ignore[operator]
        text_mask=torch.ones(2, 5, dtype=torch.bool),
        keep_text=keep,
    )
    assert moved(a, run(net, x, other)) == [True, False]


def test_padding_does_not_matter(x: Tensor, cond: Cond) -> None:
    net = make()
    assert cond.text_tokens is not None
    tokens = cond.text_tokens.clone()
    tokens[1, 3:] = (tokens[1, 3:] + 7) % 20
    assert moved(run(net, x, cond), run(net, x, cond.replace(text_tokens=tokens))) == [False, False]
    tokens[1, 0] = (tokens[1, 0] + 7) % 20
    assert moved(run(net, x, cond), run(net, x, cond.replace(text_tokens=tokens))) == [False, True]


@pytest.mark.parametrize("scale_shift", [True, False])
def test_the_timestep_matters(scale_shift: bool, x: Tensor, cond: Cond) -> None:
    net = make(scale_shift=scale_shift)
    later = torch.tensor([3.0, 801.0])
    assert moved(run(net, x, cond), run(net, x, cond, later)) == [False, True]


def test_scale_and_shift_is_the_formula() -> None:
    """ADM, section 3: AdaGN(h, y) = y_s GroupNorm(h) + y_b, here with y_s = 1 + scale."""
    torch.manual_seed(0)
    x, emb = torch.randn(2, 32, 4, 4), torch.randn(2, 128)
    for scale_shift in (True, False):
        block = make(loud=False, scale_shift=scale_shift).block(32, 64)
        nn.init.normal_(block.conv2.weight, std=0.1)
        silu = nn.functional.silu
        h, e = block.conv1(silu(block.norm1(x))), block.emb(emb)[..., None, None]
        scaled = block.norm2(h) * (1 + e[:, :64]) + e[:, 64:] if scale_shift else block.norm2(h + e)
        expected = block.skip(x) + block.conv2(silu(scaled))
        assert torch.allclose(block(x, emb), expected, atol=1e-5)


def test_a_layer_norm_is_over_the_channels_of_each_pixel(x: Tensor, cond: Cond) -> None:
    net = make(norm="layer")
    assert not any(isinstance(module, nn.GroupNorm) for module in net.modules())
    norm = net.norm_out
    norm.weight.copy_(torch.linspace(0.5, 2, 32))
    h = torch.randn(2, 32, 4, 6)
    centred = h - h.mean(1, keepdim=True)
    expected = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    for layout in (torch.contiguous_format, torch.channels_last):
        assert torch.allclose(norm(h.contiguous(memory_format=layout)), expected, atol=1e-5)
    assert run(net, x, cond).shape == x.shape


def test_resampling_blocks_halve_and_double() -> None:
    """At initialisation they are plain averaging and repetition."""
    net, x = make(loud=False), torch.randn(1, 32, 4, 4)
    down = net.block(32, 32, "down")(x, torch.randn(1, 128))
    assert torch.allclose(down, x.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5)))
    up = net.block(32, 32, "up")(x, torch.randn(1, 128))
    assert torch.equal(up, x.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("fold", [1, 2, 4])
def test_space_to_depth_folds_pixels_into_channels_and_back(
    fold: int, x: Tensor, cond: Cond
) -> None:
    net = make(space_to_depth=fold, out_channels=6)
    inside: list[Tensor] = []
    net.conv_in.register_forward_hook(lambda _m, inputs, _o: inside.append(inputs[0]))
    net.conv_out.register_forward_hook(lambda _m, _i, output: inside.append(output))
    out = run(net, x, cond)
    side = 16 // fold
    assert [one.shape for one in inside] == [(2, n * fold**2, side, side) for n in (3, 6)]
    for picture, folded in zip((x, out), inside, strict=True):
        for channel in range(picture.shape[1]):
            for place in range(fold**2):
                pixels = picture[:, channel, place // fold :: fold, place % fold :: fold]
                assert torch.equal(pixels, folded[:, channel * fold**2 + place])


def test_coordinates_tell_each_place_where_it_lies(x: Tensor, cond: Cond) -> None:
    net = make(coordinates=True, space_to_depth=2)
    seen: list[Tensor] = []
    net.conv_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    wide = torch.cat([x, x], dim=3)  # (2, 3, 16, 32), folded to 8 x 16
    assert run(net, wide, cond).shape == wide.shape
    across, down = seen[0][:, -2:].unbind(1)
    assert torch.allclose(across, torch.linspace(-15 / 16, 15 / 16, 16).expand(2, 8, 16))
    assert torch.allclose(down, torch.linspace(-7 / 8, 7 / 8, 8)[:, None].expand(2, 8, 16))


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (8, 24)])
def test_it_runs_at_other_sizes(size: tuple[int, int], cond: Cond) -> None:
    out = run(make(space_to_depth=2), torch.randn(2, 3, *size), cond)
    assert out.shape == (2, 3, *size)
    assert out.isfinite().all()


def test_a_sample_does_not_depend_on_its_batch(x: Tensor, cond: Cond) -> None:
    net = make()
    both = run(net, x, cond)
    for index in range(2):
        one = slice(index, index + 1)
        alone = run(net, x[one], cond.map(lambda value: value[one]), T[one])  # noqa: B023
        assert torch.allclose(alone, both[one], atol=1e-5)


def test_an_upsampler_sees_the_small_picture_and_how_corrupted_it_is(x: Tensor) -> None:
    net = make(low_res=True, attention=[], embed_dim=0, text=None)
    cond = Cond(low_res=torch.randn(2, 3, 16, 16), low_res_level=torch.tensor([0.1, 0.5]))
    out = run(net, x, cond)
    assert net.encode(of(cond)).context == ()
    brighter = cond.low_res + torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)  # type: ignore[operator]
    assert moved(out, run(net, x, cond.replace(low_res=brighter))) == [False, True]
    worse = torch.tensor([0.2, 0.5])
    assert moved(out, run(net, x, cond.replace(low_res_level=worse))) == [True, False]


def test_a_network_without_noise_sees_its_condition_alone(x: Tensor) -> None:
    """With the weights of one that sees noise, and as that one does where there is none."""
    low = Cond(low_res=torch.randn_like(x), low_res_level=torch.tensor([0.1, 0.9]))
    changes = {"embed_dim": 0, "text": None, "low_res": True}
    seeing, blind = make(**changes), make(**changes, noise_input=False)
    assert torch.equal(run(blind, x, low), run(blind, 5 * x, low))
    assert torch.equal(run(blind, x, low), run(seeing, torch.zeros_like(x), low))
    other = low.replace(low_res=-low.low_res)  # type: ignore[operator]
    assert moved(run(blind, x, low), run(blind, x, other)) == [True, True]


def test_a_residual_is_added_to_the_low_resolution_picture(x: Tensor) -> None:
    """And is nothing before training: such an upsampler begins as the enlargement alone."""
    low = Cond(low_res=torch.randn_like(x), low_res_level=torch.tensor([0.1, 0.9]))
    changes = {"embed_dim": 0, "text": None, "low_res": True}
    plain, residual = make(**changes), make(**changes, residual=True)
    assert torch.allclose(run(residual, x, low), run(plain, x, low) + low.low_res, atol=1e-6)
    fresh = UNet(residual.config)
    assert torch.equal(run(fresh, x, low), low.low_res)
    with pytest.raises(UsageError, match="residual needs low_res"):
        make(residual=True)


def test_dropout_only_in_training(x: Tensor, cond: Cond) -> None:
    net = make(dropout=0.5)
    assert torch.equal(run(net, x, cond), run(net, x, cond))
    net.train()
    assert not torch.equal(run(net, x, cond), run(net, x, cond))


def test_dropout_draws_from_what_it_is_given(x: Tensor, cond: Cond) -> None:
    net = make(dropout=0.5).train()

    def dropped(seed: int) -> Tensor:
        with dropout_from(net, Rng([f"{seed}/{n}" for n in range(len(x))])):
            return run(net, x, cond)

    assert torch.equal(dropped(0), dropped(0))
    assert not torch.equal(dropped(0), dropped(1))
    assert not torch.equal(run(net, x, cond), run(net, x, cond)), "outside PyTorch draws"


def test_dropout_keeps_the_mean() -> None:
    layer, x = Dropout(0.25).train(), torch.ones(4, 10_000)
    with dropout_from(layer, Rng(range(4))):
        out = layer(x)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert out.mean(1).tolist() == pytest.approx([1.0] * 4, abs=0.03)
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 18, "space_to_depth": 2}, "image_size 18 is not a multiple of 4"),
        ({"channels": 48}, "channels 48 is not a multiple of 32"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        UNetConfig.parse({**FULL, **changes})


@pytest.mark.parametrize("fold", [1, 2])
def test_an_inpainting_network_sees_what_is_known_and_where(
    fold: int, x: Tensor, cond: Cond
) -> None:
    """GLIDE, section 4.1: four channels more, the known part and the mask."""
    net, plain = make(inpaint=True, space_to_depth=fold), make(space_to_depth=fold)
    assert plain.conv_in.weight.shape[1] == 3 * fold**2
    assert net.conv_in.weight.shape[1] == (3 + 4) * fold**2
    known, mask = torch.randn(2, 3, 16, 16), torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:12, 2:9] = 1
    bound = cond.replace(known=known, mask=mask)
    inside: list[Tensor] = []
    net.conv_in.register_forward_hook(lambda _m, inputs, _o: inside.append(inputs[0]))
    out = run(net, x, bound)
    seen = nn.functional.pixel_shuffle(inside[0], fold)
    assert torch.equal(seen[:, :3], x)
    assert torch.equal(seen[:, 3:6], torch.where(mask > 0, 0, known))
    assert torch.equal(seen[:, 6:], mask)
    hidden = bound.replace(known=known + mask * torch.tensor([0.0, 9.0]).view(2, 1, 1, 1))
    assert moved(out, run(net, x, hidden)) == [False, False]
    around = bound.replace(known=known + (1 - mask) * torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
    assert moved(out, run(net, x, around)) == [False, True]


def test_nothing_known_is_a_mask_of_ones(x: Tensor, cond: Cond) -> None:
    net = make(inpaint=True)
    whole = cond.replace(known=torch.randn(2, 3, 16, 16), mask=torch.ones(2, 1, 16, 16))
    assert torch.equal(run(net, x, cond), run(net, x, whole))
    nowhere = whole.replace(mask=torch.zeros(2, 1, 16, 16))
    assert moved(run(net, x, cond), run(net, x, nowhere)) == [True, True]


def test_a_network_that_cannot_inpaint_does_not_look(x: Tensor, cond: Cond) -> None:
    whole = cond.replace(known=torch.randn(2, 3, 16, 16), mask=torch.zeros(2, 1, 16, 16))
    assert torch.equal(run(make(), x, cond), run(make(), x, whole))


def test_two_networks_by_timestep(x: Tensor) -> None:
    config = UNetConfig.parse({**BASE, "low_res": True})
    nets = [make(low_res=True, text=None, embed_dim=0, attention=[])]
    last = UNet(config).requires_grad_(False)
    pair = LastStep(nets[0], last)
    cond = Cond(low_res=torch.randn(2, 3, 16, 16))
    for t, net in ((torch.zeros(2), last), (torch.ones(2), nets[0])):
        assert torch.equal(run(pair, x, cond, t), run(net, x, cond, t))  # type: ignore[arg-type]
