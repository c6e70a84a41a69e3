"""What every format shares: found by content, checked before it is read, let go of again."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any
from weakref import ReferenceType, ref

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import unclip
from unclip.checkpoints.archive import Tensors
from unclip.checkpoints.format import FORMATS, Options, Part, find_format, need, open_model
from unclip.errors import CheckpointError, UsageError
from unclip.facade import Pipeline
from unclip.media import to_pictures
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.types import Cond

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(
    make_stage: Callable[..., Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder")}
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_model(path, "tiny", tokenizer, stages)
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


def test_weights_are_read_once_and_where_they_are_used(folder: Path) -> None:
    stages = open_model(folder).load(torch.float32).stages
    decoder = stages["decoder"]
    with torch.inference_mode():
        net = decoder.net
    assert decoder.net is net and not any(p.is_inference() for p in net.parameters())
    assert next(stages["prior"].net_at_rest.parameters()).is_meta, "nobody has asked for it"
    assert stages["prior"].consumes and stages["prior"].source, "what it is needs no weights"


def test_a_file_that_does_not_fit_is_found_before_anything_is_used(
    folder: Path, tmp_path: Path
) -> None:
    broken = copytree(folder, tmp_path / "broken")
    save_file({"nothing": torch.zeros(1)}, broken / "prior" / "weights.safetensors")
    with pytest.raises(CheckpointError, match="prior does not fit"):
        open_model(broken).load(torch.float32)


def test_one_stage_at_a_time_has_its_weights(folder: Path) -> None:
    stages = open_model(folder).load(torch.float32, low_memory=True).stages
    seen: dict[str, ReferenceType[nn.Module]] = {}
    for name in ("clip", "decoder", "clip"):
        seen = {name: ref(stages[name].net), **{n: r for n, r in seen.items() if n != name}}
        assert not any(value.is_meta for value in stages[name].net.parameters())
        assert [n for n, one in seen.items() if one() is not None] == [name]


def test_who_is_at_work_with_a_network_keeps_it(folder: Path) -> None:
    stages = open_model(folder).load(torch.float32, low_memory=True).stages
    net = stages["decoder"].net
    before = [value.clone() for value in net.parameters()]
    assert stages["clip"].net is stages["clip"].net is not None
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("low_memory", [False, True])
def test_threads_share_a_pipeline(folder: Path, low_memory: bool) -> None:
    pipe = Pipeline(open_model(folder).load(torch.float32))
    alone = [pipe.generate("a fox", seed=seed)[0].tobytes() for seed in range(4)]
    shared = Pipeline(open_model(folder).load(torch.float32, low_memory=low_memory))
    with ThreadPoolExecutor(4) as pool:
        drawn = pool.map(lambda seed: shared.generate("a fox", seed=seed)[0].tobytes(), range(4))
        assert list(drawn) == alone


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda pipe: pickle.loads(pickle.dumps(pipe))])
def test_a_pipeline_can_be_copied_and_pickled(
    folder: Path, tmp_path: Path, low_memory: bool, way: Callable[[Pipeline], Pipeline]
) -> None:
    source = copytree(folder, tmp_path / "model")
    pipe = Pipeline(open_model(source).load(torch.float32, low_memory=low_memory))
    drawn = pipe.generate("a fox", seed=3)[0].tobytes()
    other = way(pipe)
    for stage in other.stages.values():
        assert stage.source is None and not next(stage.parameters()).is_meta
    rmtree(source)
    assert other.generate("a fox", seed=3)[0].tobytes() == drawn


LOOKS: dict[str, Callable[[Stage], Any]] = {
    "to": lambda stage: stage.to(torch.float64),
    "parameters": lambda stage: list(stage.parameters()),
    "state_dict": lambda stage: stage.state_dict(),
    "load_state_dict": lambda stage: stage.load_state_dict(stage.net.state_dict(prefix="net.")),
}


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("look", LOOKS)
def test_what_looks_at_weights_or_moves_them_reads_them(
    folder: Path, low_memory: bool, look: str
) -> None:
    stages = open_model(folder).load(torch.float32, low_memory=low_memory).stages
    LOOKS[look](stages["prior"])
    assert stages["decoder"].net, "which takes its place where memory is low"
    found = dict(stages["prior"].named_parameters())
    assert {value.dtype for value in found.values()} == {
        torch.float64 if look == "to" else torch.float32
    }
    truth = open_model(folder).load(torch.float32).stages["prior"].net
    for name, value in truth.named_parameters(prefix="net"):
        assert torch.equal(found[name].float(), value)


@pytest.mark.parametrize("guidance", [{}, {"clip_guidance_scale": 5.0}])
def test_low_memory_draws_the_same(folder: Path, guidance: dict[str, float]) -> None:
    def embed(low_memory: bool) -> Tensor:
        model = open_model(folder).load(torch.float32, low_memory=low_memory)
        pipe = Pipeline(model)
        return pipe.sample(pipe.read(["a fox"] * 2), [1, 2], settings=guidance)

    assert torch.equal(embed(False), embed(True))


def test_a_setting_that_is_not_read_is_named() -> None:
    need({"act": "silu", "more": 3}, Path("config.json"), act=("silu", "gelu"), absent=1)
    with pytest.raises(
        CheckpointError, match=r"config\.json: act is 'relu'; only 'silu' or 'gelu'"
    ):
        need({"act": "relu"}, Path("config.json"), act=("silu", "gelu"))


def test_a_negative_prompt_is_read_as_a_null(folder: Path) -> None:
    pipe = Pipeline(open_model(folder).load(torch.float32))
    plain, negative = pipe.read(["a fox"]), pipe.read(["a fox"], "the dog")
    assert plain.null_text_tokens is None, "this model's null is learnt"
    cond: Cond = pipe.model.clip("reading").encode_text(negative)
    alone = pipe.model.clip("reading").encode_text(pipe.read(["the dog"]))
    assert cond.null_text_embed is not None and alone.text_embed is not None
    assert torch.allclose(cond.null_text_embed, alone.text_embed, atol=1e-6)


def test_a_model_without_clip_is_judged_by_another(
    folder: Path,
    make_stage: Callable[..., Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path: Path,
) -> None:
    decoder = make_stage(
        "decoder", network={**make_stage("decoder").config.dump()["network"], "embed_dim": 0}
    )
    save_model(tmp_path / "blind", "blind", tokenizer, {"decoder": decoder})
    alone = unclip.load(tmp_path / "blind", "cpu", torch.float32)
    with pytest.raises(UsageError, match="has no CLIP, which re-ranking needs"):
        alone.generate("a fox", best_of=3)
    judged = unclip.load(tmp_path / "blind", "cpu", torch.float32, clip=folder)
    (best,) = judged.generate("a fox", seed=4, best_of=3)
    drawn = alone.sample(alone.read(["a fox"] * 3), [4, "4/candidate1", "4/candidate2"])
    whole = unclip.load(folder, "cpu", torch.float32)
    clip = whole.model.clip("judging")
    z_t = clip.encode_text(whole.read(["a fox"])).text_embed
    assert z_t is not None
    score = clip.net.encode_image(drawn) @ z_t[0]
    assert to_pictures(drawn)[int(score.argmax())].tobytes() == best.tobytes()


@pytest.mark.parametrize("large", [True, False])
def test_only_large_models_let_go_of_weights_unasked(
    large: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.checkpoints.format.LARGE", 0 if large else 2**30)
    model = open_model(folder).load(torch.float32, low_memory=None)
    clip, prior = model.stages["clip"], model.stages["prior"]
    first = clip.net
    assert prior.net is prior.net
    assert (clip.net is first) != large
