"""A network in windows: what the network gives of the whole picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unclip.nn import windows as windows_module
from unclip.nn.tiling import wrapping
from unclip.nn.unet import UNetConfig
from unclip.nn.windows import SIDE, in_windows, windows
from unclip.rng import Rng
from unclip.stages import Stage
from unclip.stages.large import divided
from unclip.types import Cond

LOCAL: dict[str, Any] = {"image_size": 32, "channels": 32, "norm": "layer"}


def network(**changes: Any) -> Any:
    """A U-Net without zeros among its weights."""
    torch.manual_seed(0)
    net = UNetConfig.parse({**LOCAL, "multipliers": [1, 2], "depth": 1, **changes}).build()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    side=st.integers(8, 70),
    reach=st.integers(0, 30),
)
def test_every_pixel_is_in_one_window_with_all_that_is_around_it(
    size: tuple[int, int], side: int, reach: int
) -> None:
    seen = torch.zeros(size, dtype=torch.long)
    for window in windows(size, side, reach):
        seen[window.kept] += 1
        pairs = zip(window.inner, window.outer, size, strict=True)
        for (a, b), (first, last), length in pairs:
            assert first == max(0, a - reach) and last == min(length, b + reach)
            assert 0 < b - a <= side
        cut = torch.arange(size[0] * size[1]).view(size)
        assert torch.equal(cut[window.seen][window.kept_of_seen], cut[window.kept])
    assert (seen == 1).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"multipliers": [1]},
        {"space_to_depth": 2, "low_res": True},
        {"multipliers": [1, 1, 1], "inpaint": True, "scale_shift": False},
    ],
)
@torch.no_grad()
def test_windows_give_what_the_whole_gives(changes: dict[str, Any]) -> None:
    net = network(**changes)
    x, t, mask = torch.randn(2, 3, 48, 96), torch.tensor([700.0, 20.0]), torch.rand(2, 1, 48, 96)
    given = {"low_res": torch.randn(2, 3, 48, 96), "low_res_level": torch.tensor([0.1, 0.7])}
    given |= {"known": torch.randn(2, 3, 48, 96), "mask": (mask > 0.5).float()}
    encoded = net.encode(given)
    whole: Tensor = net(x, t, encoded)
    parts = in_windows(net, x, t, encoded, net.config.reach, side=32)
    assert torch.allclose(parts, whole, atol=2e-5 * float(whole.abs().max()))
    less = in_windows(net, x, t, encoded, net.config.unit, side=32)
    assert not torch.allclose(less, whole, atol=1e-3 * float(whole.abs().max()))


@pytest.mark.parametrize("changes", [{}, {"multipliers": [1, 2, 2], "depth": 2}])
def test_a_pixel_depends_on_nothing_beyond_the_reach(changes: dict[str, Any]) -> None:
    """By its gradient, which has to reach most of the way, too."""
    net = network(**changes)
    reach, side = net.config.reach, 2 * net.config.reach + 64
    x = torch.randn(1, 3, 8 * net.config.unit, side, requires_grad=True)
    middle = side // 2
    net(x, torch.tensor([500.0]), net.encode({}))[0, :, 5, middle].sum().backward()
    assert x.grad is not None
    touched = x.grad[0].abs().amax((0, 1)).nonzero().flatten()
    assert middle - reach <= int(touched.min()) < middle - reach // 2
    assert middle + reach // 2 < int(touched.max()) <= middle + reach


@pytest.mark.parametrize("changes", [{"norm": "group"}, {"attention": [16]}, {"coordinates": True}])
def test_some_networks_look_at_the_whole_picture(changes: dict[str, Any]) -> None:
    assert UNetConfig.parse({**LOCAL, "multipliers": [1, 2], "depth": 1, **changes}).reach is None


def test_an_upsampler_draws_large_pictures_in_windows(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture that it draws in one piece, in several steps with fresh noise."""
    network = {**LOCAL, "multipliers": [1], "depth": 1, "low_res": True, "space_to_depth": 4}
    stage: Any = make_stage("upsampler", network=network, low_res_size=8)
    small = torch.rand(1, 3, 4, (SIDE + 64) // 4) * 2 - 1
    reach, sides = stage.config.network.reach, list[int]()
    stage.net.register_forward_pre_hook(lambda net, given: sides.append(given[0].shape[3]))
    drawn = stage.sample(Cond(image=small), Rng([0])).image
    assert sides == [SIDE + reach, 64 + reach] * 3
    sides.clear()
    with wrapping("x"):  # whose first column is beside its last
        stage.sample(Cond(image=small), Rng([0]))
    monkeypatch.setattr("unclip.nn.windows.fits", lambda x: True)
    whole = stage.sample(Cond(image=small), Rng([0])).image
    assert sides == [SIDE + 64] * 6
    assert drawn is not None and torch.allclose(drawn, whole, atol=1e-4)


@pytest.mark.parametrize(
    ("sharpen", "enlarge"),
    [(0.0, "nearest"), (3.0, "nearest"), (0.0, "bilinear"), (2.0, "bicubic")],
)
def test_without_noise_whole_windows_are_drawn_one_by_one(
    sharpen: float, enlarge: str, make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in one piece, with each number checked, and a step told of each."""
    network = {**LOCAL, "multipliers": [1], "depth": 1, "low_res": True, "space_to_depth": 4}
    network |= {"noise_input": False, "residual": enlarge == "bicubic"}
    more: Any = {"sampling": {"steps": 1, "threshold": "clamp", "sharpen": sharpen}}
    more |= {"parameterization": {"kind": "x0"}, "corruption": {"at_sampling": 0.0}}
    stage: Any = make_stage("upsampler", network=network, low_res_size=8, enlarge=enlarge, **more)
    for parameter in stage.net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    monkeypatch.setattr("unclip.stages.large.SIDE", 192)
    small, sizes, steps = torch.rand(2, 3, 24, 60) * 2 - 1, list[Any](), list[Any]()
    hook = stage.net.register_forward_pre_hook(lambda net, given: sizes.append(given[0].shape))
    drawn = stage.sample(Cond(image=small), Rng([0, 1]), on_step=steps.append).image
    assert len(sizes) > 4 and max(max(size[2:]) for size in sizes) <= 192
    count = len(sizes)
    assert [(one.index, one.total) for one in steps] == [(n, count) for n in range(1, count + 1)]
    assert {one.x0.shape for one in steps} == {(2, 3, 96, 240)}
    assert (stage.windows((96, 240)), stage.windows((96, 192))) == (count, 1)
    hook.remove()
    monkeypatch.setattr("unclip.stages.large.SIDE", 1024)
    whole = stage.sample(Cond(image=small), Rng([5, 6])).image
    assert drawn is not None and torch.allclose(drawn, whole, atol=1e-3)
    assert float(whole.std()) > 0.05


def test_a_network_with_another_for_its_last_step_is_run_on_windows_too(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows_module, "SIDE", 16)
    stage: Any = make_stage("upsampler")
    network = {**stage.config.network.dump(), "norm": "layer"}
    stage = make_stage("upsampler", network=network, last_network=True)
    seen: list[Tensor] = []
    for net in (stage.net.net, stage.net.last):
        net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    image = torch.rand(1, 3, 40, 40) * 2 - 1
    sampling = {"steps": 2}
    cut = stage.sample(Cond(image=image), Rng([0]), sampling).image
    assert len(seen) == 2 * 5**2  # windows of 16 in 80 pixels, in two steps
    monkeypatch.setattr(windows_module, "SIDE", 1024)
    assert torch.allclose(cut, stage.sample(Cond(image=image), Rng([0]), sampling).image, atol=1e-4)


def test_windows_of_a_network_that_looks_far_are_not_empty(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {**LOCAL, "multipliers": [1], "depth": 1, "low_res": True, "noise_input": False}
    stage: Any = make_stage(
        "upsampler", network=network, low_res_size=8, parameterization={"kind": "x0"}
    )
    monkeypatch.setattr("unclip.stages.large.SIDE", stage.config.network.reach)
    small = torch.rand(1, 3, 16, 16) * 2 - 1
    every = divided(stage, stage.shape(Cond(image=small))[1:], {})
    assert all(a < b for one in every for a, b in one.inner)
    assert sum((b - a) * (d - c) for (a, b), (c, d) in (one.inner for one in every)) == 64**2
