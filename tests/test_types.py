"""Cond: what is dropped for guidance, and copies."""

from __future__ import annotations

import torch

from unclip.types import Cond, Control

EMBED = torch.arange(6.0).view(3, 2)
BOTH, IMAGE, NEITHER = (True, True), (False, True), (False, False)


def test_dropped_is_the_condition_several_times_over() -> None:
    cond = Cond(image_embed=EMBED).dropped(BOTH, IMAGE, NEITHER)
    assert len(cond) == 9
    assert torch.equal(cond.image_embed, EMBED.repeat(3, 1))  # type: ignore[arg-type]
    assert cond.keep_text is not None and cond.keep_image is not None
    assert cond.keep_text.tolist() == [True] * 3 + [False] * 6
    assert cond.keep_image.tolist() == [True] * 6 + [False] * 3
    assert cond.text_tokens is None


def test_what_was_dropped_before_stays_dropped() -> None:
    text, image = torch.tensor([True, False, True]), torch.tensor([False, True, True])
    cond = Cond(image_embed=EMBED, keep_text=text, keep_image=image).dropped(BOTH, IMAGE)
    assert cond.keep_text is not None and cond.keep_image is not None
    assert cond.keep_text.tolist() == [True, False, True, False, False, False]
    assert cond.keep_image.tolist() == [False, True, True] * 2


def test_one_pair_alone_changes_no_batch() -> None:
    cond = Cond(image_embed=EMBED)
    assert len(cond.dropped(NEITHER)) == 3
    assert cond.keep_text is None, "the original is left alone"


def test_items_are_the_fields_that_are_there() -> None:
    cond = Cond(image_embed=EMBED, mask=EMBED[:, :1])
    assert [name for name, _ in cond.items()] == ["image_embed", "mask"]
    doubled = cond.map(lambda value: 2 * value)
    assert torch.equal(doubled.image_embed, 2 * EMBED)  # type: ignore[arg-type]
    assert doubled.text_embed is None


def test_a_null_takes_the_place_of_what_is_hidden() -> None:
    cond = Cond(text_embed=EMBED, image_embed=2 * EMBED, null_text_embed=-EMBED).dropped(
        BOTH, IMAGE, NEITHER
    )
    assert cond.text_embed is not None and cond.null_text_embed is None
    assert torch.equal(cond.text_embed, torch.cat([EMBED, -EMBED, -EMBED]))
    assert cond.keep_text is not None and cond.keep_text.all(), "what stands there now is shown"
    assert cond.keep_image is not None, "which has no null here"
    assert cond.keep_image.tolist() == [True] * 6 + [False] * 3


def test_a_null_of_what_is_not_there_is_no_condition() -> None:
    cond = Cond(text_embed=EMBED, null_image_embed=EMBED).dropped(BOTH, NEITHER)
    assert cond.image_embed is None
    assert cond.keep_image is not None and cond.keep_image.tolist() == [True] * 3 + [False] * 3


def test_both_nulls() -> None:
    nulls = {"null_text_embed": -EMBED, "null_image_embed": 5 * EMBED}
    cond = Cond(text_embed=EMBED, image_embed=EMBED, **nulls).dropped(NEITHER, BOTH)
    assert torch.equal(cond.image_embed, torch.cat([5 * EMBED, EMBED]))  # type: ignore[arg-type]
    assert torch.equal(cond.text_embed, torch.cat([-EMBED, EMBED]))  # type: ignore[arg-type]


def test_a_part_holds_those_samples_and_memory_of_its_own() -> None:
    keep = torch.tensor([True, False, True])
    cond = Cond(image_embed=EMBED, keep_text=keep)
    part = cond[1:9]
    assert (len(cond), len(part), len(Cond())) == (3, 2, 0)
    assert torch.equal(part.image_embed, EMBED[1:])  # type: ignore[arg-type]
    assert torch.equal(part.keep_text, keep[1:])  # type: ignore[arg-type]
    many = Cond(image_embed=EMBED[:1]).expand(10**12)
    assert len(many) == 10**12, "in the memory of one"
    few = many[5:8].image_embed
    assert few is not None and few.is_contiguous() and torch.equal(few, EMBED[:1].repeat(3, 1))


def test_a_part_of_what_steers_keeps_what_is_said_of_all() -> None:
    control = Control(noise=EMBED, strength=0.3, score=torch.Tensor.sum)
    part = control[2:3]
    assert (len(control), len(part), len(Control(strength=0.3))) == (3, 1, 0)
    assert torch.equal(part.noise, EMBED[2:])  # type: ignore[arg-type]
    assert (part.start, part.strength, part.score) == (None, 0.3, torch.Tensor.sum)
    assert torch.equal(Control(start=EMBED)[:1].start, EMBED[:1])  # type: ignore[arg-type]
