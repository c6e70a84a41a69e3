"""What a task makes of a batch, for each stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from unclip.errors import DataError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import BatchRng
from unclip.stages import STAGES
from unclip.train.collate import Collate, pictures
from unclip.train.loader import Batch
from unclip.train.task import Task
from unclip.types import Cond


@pytest.fixture
def batch(speckles: Any, tokenizer: Tokenizer) -> Callable[[tuple[int, int]], Batch]:
    return lambda size: Collate(tokenizer)([speckles(size).sample(i) for i in range(4)])


@pytest.mark.parametrize("kind", STAGES.names())
def test_a_stage_gets_every_field_it_trains_on(
    kind: str, make_stage: Callable[..., Any], batch: Callable[[tuple[int, int]], Batch]
) -> None:
    task = Task(make_stage(kind), make_stage("clip"))
    cond = task.cond(batch(task.source_size), BatchRng(0, 4))
    given = dict(cond.items())
    assert task.stage.trains_on <= given.keys()
    assert len(cond.text_tokens) == 4  # type: ignore[arg-type]
    if "image" in given:
        assert given["image"].shape == (4, 3, *task.source_size)
        assert given["image"].min() < -0.9
        assert given["image"].max() > 0.9
    loss, metrics = task(batch(task.source_size), BatchRng(0, 4))
    one_by_one, _ = task.stage.loss(cond, BatchRng(0, 4))
    assert float(loss.detach()) == pytest.approx(float(one_by_one.detach().mean()))
    assert all(value.shape == () for value in metrics.values())


def test_embeddings_are_the_frozen_clips(
    make_stage: Callable[..., Any], batch: Callable[[tuple[int, int]], Batch]
) -> None:
    clip = make_stage("clip")
    task = Task(make_stage("prior"), clip)
    assert task.source_size == clip.image_size
    cond = task.cond(batch((8, 8)), BatchRng(0, 4))
    seen = Cond(
        batch((8, 8))["text_tokens"],
        batch((8, 8))["text_mask"],
        image=pictures(batch((8, 8))["image"]),
    )
    with torch.no_grad():
        expected = clip.encode_image(clip.encode_text(seen))
    for name in ("text_embed", "text_encodings", "image_embed"):
        value = getattr(cond, name)
        assert torch.equal(value, getattr(expected, name))
        assert not value.requires_grad
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    assert len(list(task.parameters())) == len(list(task.stage.parameters()))
    task.train()
    assert not clip.training


def test_a_frozen_prior_predicts_what_it_would_sample(
    make_stage: Callable[..., Any], batch: Callable[[tuple[int, int]], Batch]
) -> None:
    clip, prior = make_stage("clip"), make_stage("prior")
    stage = make_stage("decoder", predicted_share=0.5)
    task = Task(stage, clip, prior)
    given = batch(task.source_size)
    cond = task.cond(given, BatchRng(0, 4))
    text = clip.encode_text(Cond(given["text_tokens"], given["text_mask"]))
    expected = prior.sample(text, BatchRng(0, 4).fork("prior"))
    assert torch.equal(cond.predicted_embed, expected.image_embed)  # type: ignore[arg-type]
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    assert len(list(task.parameters())) == len(list(stage.parameters()))
    loss, _ = task(given, BatchRng(0, 4))
    loss.backward()
    assert all(parameter.grad is None for parameter in prior.parameters())
    with pytest.raises(UsageError, match="the recipe has no prior"):
        Task(stage, clip)


@pytest.mark.parametrize("kind", ["prior", "decoder"])
def test_a_stage_that_needs_clip_says_so(kind: str, make_stage: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match=f"stage '{kind}' needs a stage 'clip' before it"):
        Task(make_stage(kind), None)
    assert Task(make_stage("upsampler"), None).source_size == (16, 16)


def test_pictures_have_the_height_and_width_of_the_stage(
    make_stage: Callable[..., Any],
    speckles: Any,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = Task(make_stage("upsampler"))
    monkeypatch.setattr(type(task.stage), "image_size", (16, 32))
    assert task.source_size == (16, 32)
    assert task.blank(2, 5)["image"].shape == (2, 16, 32, 3)
    batch = task.collate(tokenizer)([speckles(task.source_size).sample(0)])
    assert task.cond(batch, BatchRng(0, 1)).image.shape == (1, 3, 16, 32)  # type: ignore[union-attr]


def test_a_batch_is_pixels_and_tokens(speckles: Any, tokenizer: Tokenizer) -> None:
    samples = [speckles((4, 4)).sample(i) for i in range(3)]
    batch = Collate(tokenizer)(samples)
    assert batch.keys() == {"image", "text_tokens", "text_mask"}
    assert batch["image"].dtype == torch.uint8
    for index, sample in enumerate(samples):
        assert (batch["image"][index].numpy() == sample["image"]).all()
    tokens, mask = tokenizer.encode([sample["caption"] for sample in samples])
    assert torch.equal(batch["text_tokens"], tokens)
    assert torch.equal(batch["text_mask"], mask)


def test_pictures_run_from_minus_one_to_one() -> None:
    images = torch.tensor([[0, 51, 255], [255, 0, 102]], dtype=torch.uint8).view(1, 1, 2, 3)
    x = pictures(images)
    assert x.shape == (1, 3, 1, 2)
    assert x[0, :, 0, 0].tolist() == pytest.approx([-1, -0.6, 1])
    assert x[0, :, 0, 1].tolist() == pytest.approx([1, -1, -0.2])
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_false_captions_are_for_clip_alone(
    make_stage: Callable[..., Any], speckles: Any, tokenizer: Tokenizer
) -> None:
    samples = [{**speckles((8, 8)).sample(i), "wrong": "the fox"} for i in range(3)]
    of_clip = Task(make_stage("clip")).collate(tokenizer)(samples)
    assert torch.equal(of_clip["negative_tokens"], tokenizer.encode(["the fox"] * 3)[0])
    assert "negative_tokens" in of_clip
    assert "negative_tokens" not in Task(make_stage("upsampler")).collate(tokenizer)(samples)
    some = [*samples, speckles((8, 8)).sample(3)]
    assert "negative_tokens" not in Task(make_stage("clip")).collate(tokenizer)(some)


@pytest.mark.parametrize("kind", ["prior", "decoder", "latent_decoder", "latent_unclip"])
def test_what_samples_hold_already_is_not_encoded_again(
    kind: str,
    make_stage: Callable[..., Any],
    speckles: Any,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What CLIP and the autoencoder said before comes from the samples: the same loss."""
    clip = make_stage("clip")
    task = Task(make_stage(kind), clip)
    samples = [speckles(task.source_size).sample(i) for i in range(4)]
    pictures = task.collate(tokenizer)(samples)
    plain, expected = task.cond(pictures, BatchRng(0, 4)), task(pictures, BatchRng(0, 4))[0]
    endings = ("embed", "encodings", "latents")
    for index, sample in enumerate(samples):
        held = [name for name, _ in plain.items() if name.endswith(endings)]
        sample |= {name: getattr(plain, name)[index].numpy() for name in held}
        if kind != "decoder":
            del sample["image"]
    for name in ("encode_text", "encode_image", "encode_patches"):
        monkeypatch.setattr(clip, name, None)
    if kind.startswith("latent"):
        monkeypatch.setattr(task.stage.net.autoencoder, "encode", None)
    batch = task.collate(tokenizer)(samples)
    assert ("image" in batch) == (kind == "decoder")
    loss, _ = task(batch, BatchRng(0, 4))
    assert torch.equal(loss, expected)


def test_a_clip_whose_null_is_a_text_reads_every_text(
    make_stage: Callable[..., Any], tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For guidance and dropping it reads the empty text beside each."""
    clip = make_stage("clip")
    monkeypatch.setattr(type(clip), "null_is_text", True)
    keys = Task(make_stage("prior"), clip).collate(tokenizer).keys
    assert "image_embed" in keys
    assert "text_embed" not in keys


def test_a_hidden_text_is_the_empty_one_where_the_model_draws_with_that(
    make_stage: Callable[..., Any], speckles: Any, tokenizer: Tokenizer
) -> None:
    """As guidance has it when it samples, and never the network's own null."""
    clip = make_stage("clip", null="text")
    task = Task(make_stage("prior", drop_text=1.0), clip)
    samples = [speckles(task.source_size).sample(i) for i in range(4)]
    cond = task.cond(task.collate(tokenizer)(samples), BatchRng(0, 4))
    empty = clip.encode_text(Cond(*tokenizer.encode([""])))
    assert torch.allclose(cond.null_text_embed, empty.text_embed.expand(4, -1), atol=1e-6)  # type: ignore[arg-type]
    loss, _ = task.loss(cond, BatchRng(0, 4))
    mute = [{**one, "caption": ""} for one in samples]
    said = Task(make_stage("prior", drop_text=0.0), clip)
    wanted, _ = said(said.collate(tokenizer)(mute), BatchRng(0, 4))
    assert float(loss.detach().mean()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    half = cond.replace(keep_text=torch.tensor([True, False, True, False])).hidden()
    for name in ("text_tokens", "text_mask", "text_embed", "text_encodings"):
        own, null = getattr(cond, name), getattr(cond, f"null_{name}")
        assert torch.equal(getattr(half, name), torch.stack([own[0], null[1], own[2], null[3]]))
    assert half.keep_text is None


@pytest.mark.parametrize("kind", ["decoder", "latent_decoder", "upsampler", "laion_upsampler"])
def test_a_mask_among_the_samples_says_what_counts(
    kind: str, make_stage: Callable[..., Any], speckles: Any, tokenizer: Tokenizer
) -> None:
    """A whole mask changes nothing, an empty one leaves no loss; priors have no use for one."""
    task = Task(make_stage(kind), make_stage("clip"))
    samples = [speckles(task.source_size).sample(i) for i in range(3)]

    def loss(value: int | None) -> float:
        mask = {} if value is None else {"mask": np.full(task.source_size, value, np.uint8)}
        batch = task.collate(tokenizer)([{**one, **mask} for one in samples])
        return float(task(batch, BatchRng(0, 3))[0].detach())

    assert loss(255) == pytest.approx(loss(None), rel=1e-5)
    assert loss(0) == 0
    assert "mask" not in Task(make_stage("prior"), make_stage("clip")).collate(tokenizer).keys


@pytest.mark.parametrize("kind", ["prior", "ar_prior", "linear_prior", "eclipse_prior"])
@pytest.mark.parametrize("captioned", [True, False])
def test_every_prior_learns_from_embeddings_alone(
    kind: str, captioned: bool, make_stage: Callable[..., Any], tokenizer: Tokenizer
) -> None:
    """No picture, and no network of CLIP's: the same data that a step with both would see."""
    clip = make_stage("clip")
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((16, 16)).astype(np.float32)
    samples: list[Any] = []
    for _ in range(64):
        z_t = rng.standard_normal(16).astype(np.float32)
        z_t /= np.linalg.norm(z_t)
        z_i = truth @ z_t
        held = {"text_embed": z_t, "image_embed": z_i / np.linalg.norm(z_i)}
        held["text_encodings"] = np.tile(z_t, (8, 1))
        held["text_encodings"][5:] = 0
        samples.append({**held, "caption": "the fox"} if captioned else held)
    for name in ("encode_text", "encode_image"):
        setattr(clip, name, None)
    task = Task(make_stage(kind), clip)
    batch = task.collate(tokenizer)(samples)
    assert "image" not in batch
    if not captioned and "text_mask" in task.stage.consumes:
        assert task.cond(batch, BatchRng(0, 64)).text_mask.sum(1).tolist() == [5] * 64
        del (bare := dict(batch))["text_encodings"]
        with pytest.raises(DataError, match="trains on captions: the data have none"):
            task.cond(bare, BatchRng(0, 64))
    if task.stage.prepare_samples:
        task.stage.prepare([task.cond(batch, BatchRng(0, 64))])
    optimizer = torch.optim.Adam(task.parameters(), 1e-2)
    losses = []
    for step in range(25):
        loss, _ = task(batch, BatchRng(step, 64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:2])
