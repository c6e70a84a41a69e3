"""What every format shares: found by content, checked before it is read, let go of again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import unclip
from unclip.checkpoints import native
from unclip.checkpoints.archive import Tensors
from unclip.checkpoints.format import FORMATS, Options, Part, find_format, need, open_model
from unclip.errors import CheckpointError, UsageError
from unclip.images import to_pictures
from unclip.nn.tokenizer import Tokenizer
from unclip.pipeline import Pipeline
from unclip.stages import Stage
from unclip.types import Cond

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(
    make_stage: Callable[..., Stage],
    tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder")}
    path = tmp_path_factory.mktemp("models") / "tiny"
    native.save_model(path, "tiny", tokenizer, stages)
    return path


class Unread(Tensors):
    """Tensors that may be looked at and not read."""

    def __getitem__(self, key: str) -> Tensor:
        raise AssertionError(f"{key} was read")


@pytest.mark.parametrize("name", FORMATS.names())
def test_no_format_takes_what_is_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "model_index.json").write_text('{"_class_name": "Unheard"}')
    (tmp_path / "empty.pt").write_bytes(b"")
    assert not FORMATS[name].matches(tmp_path)
    for file in tmp_path.iterdir():
        assert not FORMATS[name].matches(file)


@pytest.mark.parametrize("name", FORMATS.names())
def test_no_other_format_takes_a_native_folder(name: str, folder: Path) -> None:
    assert FORMATS[name].matches(folder) == (name == "native")


def test_every_format_has_a_name_of_its_own() -> None:
    names = [FORMATS[name].name for name in FORMATS.names()]
    assert len(set(names)) == len(names) and all(names)


def test_what_is_no_model_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is an empty folder \(read are: CLIP, .*unclip"):
        find_format(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        find_format(tmp_path / "nothing")


def test_a_dialect_of_none_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"unclip has no dialect '1\.1\.0'; it has none"):
        open_model(folder, Options(dialect="1.1.0"))


def test_a_check_reads_nothing(folder: Path) -> None:
    found = open_model(folder).parts["prior"]
    part = Part(found.config, lambda: Unread(found.tensors()._entries))
    part.check(part.build().net, "it")
    with pytest.raises(AssertionError, match="was read"):
        part.fill(part.build(), "it", torch.float32, CPU)


def test_weights_are_cast_as_they_are_read(folder: Path) -> None:
    part = open_model(folder).parts["decoder"]
    for dtype in (torch.float32, torch.bfloat16):
        stage = part.build()
        part.fill(stage, "it", dtype, CPU)
        assert {value.dtype for value in stage.net.parameters()} == {dtype}
        assert not any(value.is_meta or value.requires_grad for value in stage.net.parameters())


def test_one_stage_at_a_time_has_its_weights(folder: Path) -> None:
    model = open_model(folder, Options()).load(torch.float32, low_memory=True)
    stages = model.stages

    def awake() -> list[str]:
        first = {n: next(stage.net_at_rest.parameters()) for n, stage in stages.items()}
        return [name for name, value in first.items() if not value.is_meta]

    assert awake() == []
    for name in ("clip", "decoder", "clip"):
        assert not next(stages[name].net.parameters()).is_meta
        assert awake() == [name]
    assert stages["prior"].consumes and awake() == ["clip"], "what it is needs no weights"


def test_low_memory_draws_the_same(folder: Path) -> None:
    def embed(low_memory: bool) -> Tensor:
        model = open_model(folder).load(torch.float32, low_memory=low_memory)
        pipe = Pipeline.of(model)
        return pipe.draw([1, 2], lambda rng: pipe.read(["a fox"] * len(rng.seeds)), {})

    assert torch.equal(embed(False), embed(True))


def test_a_setting_that_is_not_read_is_named() -> None:
    need({"act": "silu", "more": 3}, Path("config.json"), act=("silu", "gelu"), absent=1)
    with pytest.raises(
        CheckpointError, match=r"config\.json: act is 'relu'; only 'silu' or 'gelu'"
    ):
        need({"act": "relu"}, Path("config.json"), act=("silu", "gelu"))


def test_a_negative_prompt_is_read_as_a_null(folder: Path) -> None:
    pipe = Pipeline.of(open_model(folder).load(torch.float32))
    plain, negative = pipe.read(["a fox"]), pipe.read(["a fox"], "the dog")
    assert plain.null_text_tokens is None, "this model's null is learnt"
    cond: Cond = pipe.clip("reading").encode_text(negative)
    alone = pipe.clip("reading").encode_text(pipe.read(["the dog"]))
    assert cond.null_text_embed is not None and alone.text_embed is not None
    assert torch.allclose(cond.null_text_embed, alone.text_embed, atol=1e-6)


def test_a_model_without_clip_is_judged_by_another(
    folder: Path, make_stage: Callable[..., Stage], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    decoder = make_stage(
        "decoder", network={**make_stage("decoder").config.dump()["network"], "embed_dim": 0}
    )
    native.save_model(tmp_path / "blind", "blind", tokenizer, {"decoder": decoder})
    alone = unclip.load(tmp_path / "blind", "cpu", torch.float32)
    with pytest.raises(UsageError, match="has no CLIP, which re-ranking needs"):
        alone.generate("a fox", best_of=3)
    judged = unclip.load(tmp_path / "blind", "cpu", torch.float32, clip=folder)
    (best,) = judged.generate("a fox", seed=4, best_of=3)
    drawn = alone.draw(
        ["4", "4/candidate1", "4/candidate2"],
        lambda rng: alone.read(["a fox"] * len(rng.seeds)),
        {},
    )
    drawn[:1] = alone.draw([4], lambda rng: alone.read(["a fox"]), {})
    whole = unclip.load(folder, "cpu", torch.float32)
    clip = whole.clip("judging")
    z_t = clip.encode_text(whole.read(["a fox"])).text_embed
    assert z_t is not None
    score = clip.net.encode_image(drawn) @ z_t[0]
    assert to_pictures(drawn)[int(score.argmax())].tobytes() == best.tobytes()
