"""CLIP: unit embeddings, a causal end of text, pictures of any size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.errors import UsageError
from unclip.nn.clip import Clip, ClipConfig, VisionConfig
from unclip.nn.text import TextConfig, TextEncoder
from unclip.nn.transformer import Transformer

SIZES = {"width": 16, "depth": 2, "heads": 2}
TEXT = {**SIZES, "vocab_size": 30, "context": 8}


@pytest.fixture
def clip() -> Clip:
    torch.manual_seed(0)
    config = ClipConfig.parse(
        {"embed_dim": 12, "vision": {**SIZES, "image_size": 8, "patch_size": 4}, "text": TEXT}
    )
    net = Clip(config)
    for parameter in net.parameters():
        if parameter.ndim:
            torch.nn.init.normal_(parameter, std=0.3)
    return net.requires_grad_(False)


@pytest.fixture
def caption() -> tuple[Tensor, Tensor]:
    """Two captions, of 4 and of 8 tokens."""
    torch.manual_seed(1)
    return torch.randint(30, (2, 8)), torch.arange(8) < torch.tensor([[4], [8]])


def unit(x: Tensor) -> bool:
    return torch.allclose(x.norm(dim=-1), torch.ones(len(x)), atol=1e-5)


def test_embeddings_are_unit_vectors_and_differ(clip: Clip, caption: tuple[Tensor, Tensor]) -> None:
    z_t, encodings = clip.encode_text(*caption)
    z_i = clip.encode_image(torch.randn(3, 3, 8, 8))
    assert z_t.shape == (2, 12)
    assert z_i.shape == (3, 12)
    assert encodings.shape == (2, 8, 16)
    assert unit(z_t)
    assert unit(z_i)
    for z in (z_t, z_i):
        off_diagonal = (z @ z.T)[~torch.eye(len(z), dtype=torch.bool)]
        assert float(off_diagonal.max()) < 0.999
    assert float(clip.log_scale.exp()) == pytest.approx(1 / 0.07)


def test_patches_come_row_by_row(clip: Clip) -> None:
    images = torch.randn(1, 3, 8, 8).expand(4, -1, -1, -1).clone()
    for number in range(4):  # another picture in one corner each
        row, column = divmod(number, 2)
        images[number, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 3
    assert clip.config.vision is not None
    clip.vision.transformer = Transformer(clip.config.vision.model_copy(update={"depth": 0}), False)
    z_i, patches = clip.see(images)
    assert torch.equal(z_i, clip.encode_image(images))
    assert patches.shape == (4, 4, 16)
    changed = (patches - patches.mean(0)).abs().sum(-1)  # (picture, patch)
    assert torch.equal(changed.argmax(1), torch.arange(4))


def test_half_precision_still_gives_float32_unit_vectors(
    clip: Clip, caption: tuple[Tensor, Tensor]
) -> None:
    clip = clip.bfloat16()
    for z in (clip.encode_text(*caption)[0], clip.encode_image(torch.randn(2, 3, 9, 9))):
        assert z.dtype == torch.float32
        assert unit(z)


def test_z_t_is_read_at_the_end_of_text_and_nothing_after_it_matters(
    clip: Clip, caption: tuple[Tensor, Tensor]
) -> None:
    tokens, mask = caption
    z_t, encodings = clip.encode_text(tokens, mask)
    assert torch.allclose(z_t[0], F.normalize(clip.text_proj(encodings[0, 3]), dim=-1), atol=1e-6)
    assert torch.allclose(z_t[1], F.normalize(clip.text_proj(encodings[1, 7]), dim=-1), atol=1e-6)
    padded = tokens.clone()
    padded[0, 4:] = (padded[0, 4:] + 1) % 30
    assert torch.equal(clip.encode_text(padded, mask)[0], z_t)
    for position in range(4):
        changed = tokens.clone()
        changed[0, position] = (changed[0, position] + 1) % 30
        new, new_encodings = clip.encode_text(changed, mask)
        assert not torch.allclose(new[0], z_t[0], atol=1e-4)
        assert torch.equal(new[1], z_t[1])
        assert torch.allclose(new_encodings[0, :position], encodings[0, :position], atol=1e-6)


def test_a_longer_mask_reads_a_later_token(clip: Clip, caption: tuple[Tensor, Tensor]) -> None:
    tokens, mask = caption
    longer = mask.clone()
    longer[0, 4] = True
    z_t, longer_z_t = clip.encode_text(tokens, mask)[0], clip.encode_text(tokens, longer)[0]
    assert not torch.allclose(z_t[0], longer_z_t[0], atol=1e-4)
    assert torch.equal(z_t[1], longer_z_t[1])


def test_pictures_of_another_size_are_resized_with_antialiasing(clip: Clip) -> None:
    """A flat colour stays what it is, and stripes narrower than a new pixel become their mean."""
    flat = torch.tensor([0.5, -0.5, 0.9]).view(1, 3, 1, 1)
    expected = clip.encode_image(flat.expand(1, 3, 8, 8))
    for size in ((32, 32), (4, 4), (12, 20)):
        assert torch.allclose(clip.encode_image(flat.expand(1, 3, *size)), expected, atol=1e-4)
    seen: list[Tensor] = []
    clip.vision.patch.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    stripes = torch.where(torch.arange(32) % 4 == 0, 1.0, -1.0)  # a quarter is lit
    clip.encode_image(stripes.expand(1, 3, 32, 32))
    assert seen[0].shape == (1, 3, 8, 8)
    inside = seen[0][..., 2:-2]  # the filter is cut off at the edges
    assert torch.allclose(inside, torch.full_like(inside, -0.5), atol=0.05)


def test_the_image_encoder_sees_where_a_patch_is(clip: Clip) -> None:
    image = torch.randn(1, 3, 8, 8)
    moved = image.roll(4, dims=-1)  # the same four patches in another order
    assert not torch.allclose(clip.encode_image(image), clip.encode_image(moved), atol=1e-3)


def test_patches_must_tile_the_picture() -> None:
    with pytest.raises(UsageError, match="image_size 10 is not a multiple of patch_size 4"):
        VisionConfig.parse({**SIZES, "image_size": 10, "patch_size": 4})


@pytest.mark.parametrize("causal", [True, False])
def test_a_text_of_padding_alone_is_the_learned_null(
    causal: bool, caption: tuple[Tensor, Tensor]
) -> None:
    torch.manual_seed(0)
    net = TextEncoder(TextConfig.parse(TEXT), causal)
    tokens, mask = caption
    null = net(tokens, torch.zeros_like(mask))
    assert torch.allclose(null[0], null[1])
    assert torch.allclose(null[0], net.norm(net.transformer(net.padding[None])[0])[0], atol=1e-6)
    assert not torch.allclose(null[1], net(tokens, mask)[1], atol=1e-3)
    earlier_moved = net(tokens, mask)[0, 0] - net(tokens, mask.roll(-1, 0))[0, 0]
    assert bool(earlier_moved.abs().max() < 1e-6) == causal, (
        "only a causal one ignores what follows"
    )
