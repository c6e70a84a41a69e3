"""DALLE2-pytorch's files: every layout, both dialects, published sizes, and what is refused."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unclip.checkpoints.archive import Tensors
from unclip.checkpoints.format import Options, Plan, find_format, open_model
from unclip.checkpoints.keymap import check, translate, translate_back
from unclip.errors import CheckpointError, UsageError
from unclip.families.laion.laion import FORMAT, prior_part, unet_parts
from unclip.families.laion.laion import Saved as Found
from unclip.nn.layers import parameter_count
from unclip.stages import Stage

FIXTURES = Path(__file__).parents[2] / "parity" / "fixtures"
VERSIONS = ("0.15.4", "1.1.0", "1.15.6")
LATER = VERSIONS[1:]
CPU = torch.device("cpu")


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=LATER)
def later(request: pytest.FixtureRequest) -> str:
    """Those with several U-Nets and with trainers that still import."""
    return str(request.param)


@cache
def facts(version: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((FIXTURES / f"laion_{version}.json").read_text())
    return values


@cache
def published(version: str) -> dict[str, Any]:
    data = gzip.decompress((FIXTURES / f"laion_{version}_published.json.gz").read_bytes())
    values: dict[str, Any] = json.loads(data)
    return values


def weights(version: str, name: str) -> dict[str, torch.Tensor]:
    """The tiny model's bare state dict."""
    prefix = f"{name}/weights/"
    stored = load_file(FIXTURES / f"laion_{version}.safetensors")
    found = {k.removeprefix(prefix): v / 64 for k, v in stored.items() if k.startswith(prefix)}
    buffers = facts(version)[name]["buffers"].items()
    return found | {key: torch.zeros(shape) for key, shape in buffers}


def put(folder: Path, version: str, name: str, file: str = "latest.pth") -> dict[str, torch.Tensor]:
    """Lay a tiny model and its configuration into a folder, as they are published."""
    folder.mkdir(parents=True, exist_ok=True)
    state = weights(version, name)
    torch.save(state, folder / file)
    config = {k: v for k, v in facts(version)[name].items() if k != "buffers"}
    kind = "prior" if "prior" in config else "decoder"
    (folder / f"{kind}_config.json").write_text(json.dumps(config))
    return state


def saved(folder: Path, version: str, name: str) -> Path:
    """A file as the peer's own training left it."""
    file = folder / f"{name}.pth"
    file.write_bytes(gzip.decompress((FIXTURES / f"laion_{version}_{name}.pth.gz").read_bytes()))
    return file


def filled(plan: Plan, name: str) -> Stage:
    stage = plan.parts[name].build()
    plan.parts[name].fill(stage, plan.place_of(name), torch.float32, CPU)
    return stage


def edited(folder: Path, section: str, **changes: Any) -> None:
    """Change the configuration of a model; None takes an option out."""
    file = folder / f"{section}_config.json"
    values = json.loads(file.read_text())
    values[section] = {k: v for k, v in {**values[section], **changes}.items() if v is not None}
    file.write_text(json.dumps(values))


# Layouts -----------------------------------------------------------------------------------------


def test_a_folder_with_both_is_one_model(version: str, tmp_path: Path) -> None:
    put(tmp_path / "prior", version, "prior")
    (tmp_path / "prior" / "best.pth").write_bytes((tmp_path / "prior" / "latest.pth").read_bytes())
    put(tmp_path / "decoder" / "v1.0.2", version, "decoder")
    plan = open_model(tmp_path)
    assert plan.family == FORMAT.name
    kinds = {name: part.config.kind for name, part in plan.parts.items()}
    wanted = {"prior": "laion_prior", "decoder": "laion_decoder", "upsampler": "laion_upsampler"}
    assert list(kinds.items()) == list(wanted.items())[: 2 if version == "0.15.4" else 3]
    dialects = {part.config.network.dialect for part in plan.parts.values()}  # type: ignore[attr-defined]
    assert dialects == {version}
    read = f"read as DALLE2-pytorch {version} computes it"
    assert plan.notes[0] == f"decoder/v1.0.2/latest.pth: {read}"
    assert plan.notes[1] == f"prior/latest.pth: {read}"
    assert plan.notes[-1] == "needs CLIP with embeddings of 16 numbers, which it does not carry"


@pytest.mark.parametrize(
    "layout", ["bare", "model", "ema_model", "state_dict", "model_state_dict", "compiled"]
)
def test_a_prior_is_found_in_every_layout(version: str, layout: str, tmp_path: Path) -> None:
    state = put(tmp_path, version, "prior")
    worse = {key: torch.zeros_like(value) for key, value in state.items()}
    files = {
        "bare": state,
        "model": {"model": state, "version": version},
        "ema_model": {"model": worse, "ema_model": state, "step": torch.tensor(3)},
        "state_dict": {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 2},
        "model_state_dict": {"model_state_dict": state, "optimizer_state_dict": {}},
        "compiled": {f"_orig_mod.{k}": v for k, v in state.items()},
    }
    torch.save(files[layout], tmp_path / "latest.pth")
    net = filled(open_model(tmp_path), "prior").net
    assert torch.equal(net.query, state["net.learned_query"])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["prior_trainer", "decoder_trainer"])
def test_what_a_trainer_saves_gives_the_averaged_weights(
    later: str, name: str, tmp_path: Path
) -> None:
    file = saved(tmp_path, later, name)
    if name == "decoder_trainer":
        with pytest.raises(CheckpointError, match="without its configuration"):
            open_model(file)
        values = {"decoder": {**_small_decoder(later, tmp_path), "clip": None}}
        (tmp_path / "decoder_config.json").write_text(json.dumps(values))
    plan = open_model(file)
    for stage in plan.parts:
        assert {
            float(value) for p in filled(plan, stage).net.parameters() for value in p.unique()
        } == {2.0}


def _small_decoder(version: str, folder: Path) -> dict[str, Any]:
    """The configuration that the tracker's file carries."""
    beside = folder / "tracker"
    beside.mkdir()
    return dict(_told(saved(beside, version, "decoder_tracker")))


def _told(file: Path) -> Any:
    from unclip.checkpoints.archive import open_pickle
    from unclip.families.laion.laion import saved_of

    found = saved_of(open_pickle(file), file)
    assert found is not None
    return found.config


@pytest.mark.parametrize("name", ["prior_tracker", "decoder_tracker"])
def test_what_a_tracker_saves_carries_its_configuration(
    later: str, name: str, tmp_path: Path
) -> None:
    plan = open_model(saved(tmp_path, later, name))
    (part,) = plan.parts
    config: Any = plan.parts[part].config
    assert config.schedule.steps == 4
    assert config.network.dialect == later
    assert any(f"written by {later}" in note for note in plan.notes)
    assert {float(v) for p in filled(plan, part).net.parameters() for v in p.unique()} == {2.0}
    if part == "decoder":
        with pytest.raises(UsageError, match=r"needs CLIP ViT-L/14.*--clip"):
            plan.read_tokenizer()


@pytest.mark.parametrize("name", ["prior", "prior_plain"])
def test_a_prior_tells_by_its_shapes_what_it_is(later: str, name: str, tmp_path: Path) -> None:
    put(tmp_path, later, name)
    told = open_model(tmp_path).parts["prior"].config
    (tmp_path / "prior_config.json").unlink()
    alone = open_model(tmp_path / "latest.pth").parts["prior"].config
    ours, theirs = (config.network.dump() for config in (alone, told))  # type: ignore[attr-defined]
    assert ours == {**theirs, "read_text": True}
    assert alone.schedule == told.schedule  # type: ignore[attr-defined]


def test_the_clip_of_its_training_is_left_alone(version: str, tmp_path: Path) -> None:
    for name in ("prior", "decoder"):
        state = put(tmp_path / name, version, name)
        clip = {"clip.clip.text_projection": torch.zeros(2, 2)}
        torch.save(state | clip, tmp_path / name / "latest.pth")
    plan = open_model(tmp_path)
    for part in plan.parts:
        filled(plan, part)


def test_tables_of_the_schedule_are_left_alone_wherever_they_stand(tmp_path: Path) -> None:
    state = put(tmp_path, "0.15.4", "prior")
    older = {key.removeprefix("noise_scheduler."): value for key, value in state.items()}
    assert {"betas", "p2_loss_weight"} <= older.keys()
    (tmp_path / "prior_config.json").unlink()
    torch.save({"model": {}, "ema_model": older}, tmp_path / "latest.pth")
    plan = open_model(tmp_path)
    filled(plan, "prior")
    assert plan.parts["prior"].config.schedule.steps == 100  # type: ignore[attr-defined]


def test_an_upsampler_may_come_from_another_decoder(later: str, tmp_path: Path) -> None:
    state = put(tmp_path / "a", later, "decoder")
    put(tmp_path / "b", later, "decoder")
    alone = {k: v for k, v in state.items() if "s.1." not in k}
    torch.save(alone, tmp_path / "a" / "latest.pth")
    unets = facts(later)["decoder"]["decoder"]["unets"]
    edited(tmp_path / "a", "decoder", unets=unets[:1], image_sizes=[8])
    plan = open_model(tmp_path)
    assert list(plan.parts) == ["decoder", "upsampler"]
    edited(tmp_path / "a", "decoder", unets=unets, image_sizes=[8, 16])
    with pytest.raises(UsageError, match=r"holds several: a/latest.pth, b/latest.pth"):
        open_model(tmp_path)


# Published sizes ---------------------------------------------------------------------------------

PARAMETERS = {
    ("prior_aes_finetune", "0.15.4"): 249_218_560,
    ("decoder", "0.15.4"): 1_008_408_198,
    ("prior_aes_finetune", "1.1.0"): 249_277_696,
    ("prior_aes_finetune", "1.15.6"): 249_279_232,
    ("decoder", "1.1.0"): 982_610_118,
    ("decoder", "1.15.6"): 956_805_318,
}
"""What the peer's own modules count, but for its tables of rotary frequencies."""


def _full(version: str, name: str) -> tuple[Found, dict[str, Any]]:
    entry = published(version)[name]
    shapes = {k: torch.empty(shape, device="meta") for k, shape in entry["shapes"].items()}
    ((kind, config),) = entry["config"].items()
    file = Path(f"{name}.pth")
    return Found(file, kind, Tensors(shapes, str(file)), config, file, version), entry


SIZES = [(v, n) for v in VERSIONS for n in ("prior_aes_finetune", "decoder")]
SIZES += [(v, "readme") for v in LATER]


@pytest.mark.parametrize(("version", "name"), SIZES)
def test_published_sizes_are_covered_whole(version: str, name: str) -> None:
    found, entry = _full(version, name)
    parts = [prior_part(found, None)] if found.kind == "prior" else unet_parts(found, None)
    stages = [part.build() for part in parts]
    for part, stage in zip(parts, stages, strict=True):
        part.check(stage.net, name)
    count = sum(parameter_count(stage.net) for stage in stages)
    if name == "readme":
        idle = [part.tensors().shape(key) for part in parts for key in part.ignored]
        assert idle  # nulls of what the upsampler is not told
        count += sum(torch.Size(shape).numel() for shape in idle)
        assert count == entry["parameters"]
    else:
        assert count == entry["parameters"] == PARAMETERS[name, version]


def test_the_published_prior_needs_no_configuration(version: str) -> None:
    found, _ = _full(version, "prior_aes_finetune")
    alone = Found(found.file, "prior", found.tensors, None, found.file, "")
    told, untold = (prior_part(one, None).config for one in (found, alone))
    assert untold == told


@pytest.mark.parametrize("name", ["prior", "prior_plain", "decoder"])
def test_back_and_there_is_the_same(version: str, name: str, tmp_path: Path) -> None:
    if name not in facts(version):
        return
    put(tmp_path, version, name)
    plan = open_model(tmp_path)
    for part in plan.parts.values():
        tensors = part.tensors()
        assert part.table is not None
        ours = {key: one.read() for key, one in translate(tensors, part.table).items()}
        shapes = {key: tensors.shape(key) for key in tensors}
        again = dict(translate_back(ours, part.table, shapes))
        for key, value in again.items():
            assert torch.equal(value, tensors[key]), key
        names = {k: tuple(v.shape) for k, v in part.build().net.state_dict().items()}
        check(names, tensors, part.table, "it", part.ignored)


# The configuration -------------------------------------------------------------------------------


def test_settings_are_read_as_the_peer_reads_them(tmp_path: Path) -> None:
    put(tmp_path / "p", "1.15.6", "prior")
    put(tmp_path / "d", "1.15.6", "decoder")
    edited(tmp_path / "p", "prior", sample_timesteps=7, image_embed_scale=2.0, predict_v=True)
    edited(tmp_path / "d", "decoder", sample_timesteps=[5, None], lowres_noise_sample_level=0.3)
    edited(tmp_path / "d", "decoder", use_dynamic_thres=True, dynamic_thres_percentile=0.9)
    parts = open_model(tmp_path).parts
    prior, decoder, upsampler = (parts[k].config for k in ("prior", "decoder", "upsampler"))
    assert isinstance(prior.dump(), dict)
    assert prior.sampling.model_dump(include={"sampler", "steps", "eta"}) == {  # type: ignore[attr-defined]
        "sampler": "ddim",
        "steps": 7,
        "eta": 1.0,
    }
    assert (prior.space.scale, prior.parameterization.kind) == (0.5, "v")  # type: ignore[attr-defined]
    assert (decoder.sampling.steps, decoder.sampling.eta) == (5, 0.0)  # type: ignore[attr-defined]
    assert decoder.sampling.guidance_scale == 3.5  # type: ignore[attr-defined]
    assert (upsampler.sampling.sampler, upsampler.sampling.steps) == ("ddpm", 100)  # type: ignore[attr-defined]
    thresholds = [(one.sampling.threshold, one.sampling.quantile) for one in (decoder, upsampler)]  # type: ignore[attr-defined]
    assert thresholds == [("dynamic", 0.9)] * 2
    assert upsampler.noise_level == 0.3  # type: ignore[attr-defined]
    assert (decoder.schedule.kind, upsampler.schedule.kind) == ("cosine", "linear")  # type: ignore[attr-defined]
    assert upsampler.parameterization.kind == "v"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("prior", {"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'; only 'cosine' or"),
        ("prior", {"init_image_embed_l2norm": True}, "init_image_embed_l2norm is True; only False"),
        ("prior", {"image_embed_dim": 17}, "image_embed_dim is 17, but net.dim 16"),
        ("prior", {"temperature": 2}, "prior.temperature is 2; this option is not read"),
        ("prior", {"net": {"dim": 16}}, "prior.net.depth is missing"),
        ("prior", {"net": {"dim": "wide", "depth": 1}}, "LaionPriorConfig width: Input should be"),
        ("prior", {"net": {"dim": 16, "depth": 1, "self_cond": True}}, "self_cond is True"),
        ("decoder", {"unconditional": True}, "unconditional is True; only False is read"),
        ("decoder", {"vae": [{"dim": 3}]}, "decoder.vae is given"),
        ("decoder", {"image_sizes": [8]}, r"2 unets cannot draw pictures of sizes \[8\]"),
        ("decoder", {"image_sizes": [16, 8]}, r"2 unets cannot draw pictures of sizes \[16, 8\]"),
        (
            "decoder",
            {"unets": [{"dim": 8}], "image_sizes": [8]},
            r"unets\[0\].dim_mults is missing",
        ),
    ],
)
def test_what_is_not_read_is_refused_by_name(
    section: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    put(tmp_path, "1.15.6", section)
    edited(tmp_path, section, **changes)
    with pytest.raises(CheckpointError, match=message) as error:
        open_model(tmp_path)
    assert f"{section}_config.json" in str(error.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("self_cond", True),
        ("combine_upsample_fmaps", True),
        ("resnet_weight_standardization", True),
        ("channels", 4),
        ("cond_dim", 16),
    ],
)
def test_an_unet_option_that_is_not_read_is_refused(
    option: str, value: Any, tmp_path: Path
) -> None:
    put(tmp_path, "1.15.6", "decoder")
    first, second = facts("1.15.6")["decoder"]["decoder"]["unets"]
    edited(tmp_path, "decoder", unets=[{**first, option: value}, second])
    with pytest.raises(CheckpointError, match=option):
        open_model(tmp_path)


# Dialects ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["prior", "decoder"])
def test_a_dialect_can_be_said_and_must_fit(version: str, name: str, tmp_path: Path) -> None:
    put(tmp_path, version, name)
    for other in set(VERSIONS) - {version}:
        with pytest.raises(CheckpointError, match=r"does not fit: .* missing|are not read"):
            filled(open_model(tmp_path, Options(dialect=other)), name)
    with pytest.raises(UsageError, match=r"no dialect '1.2'; it has: 0.15.4, 1.1.0, 1.15.6"):
        open_model(tmp_path, Options(dialect="1.2"))


def test_a_version_between_the_dialects_is_refused(tmp_path: Path) -> None:
    state = put(tmp_path, "1.1.0", "decoder")
    between = {key.replace("cross_attn.fn.", "cross_attn."): v for key, v in state.items()}
    torch.save(between, tmp_path / "latest.pth")
    with pytest.raises(CheckpointError, match=r"between 1\.1\.0 and 1\.15\.6"):
        open_model(tmp_path)


# Damage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["prior", "decoder"])
def test_what_does_not_fit_is_named(version: str, name: str, tmp_path: Path) -> None:
    state = put(tmp_path, version, name)
    key = next(key for key in state if key.endswith("to_q.weight"))
    for changed, message in (
        ({k: v for k, v in state.items() if k != key}, "1 missing: .*to_q.weight"),
        (state | {f"{key}.extra": torch.zeros(2)}, "1 not used: .*to_q.weight.extra"),
        (state | {key: torch.zeros(3, 5)}, r"of another shape: .*to_q\.weight is \(3, 5\), not"),
    ):
        torch.save(changed, tmp_path / "latest.pth")
        with pytest.raises(CheckpointError, match=message):
            filled(open_model(tmp_path), name)


def test_upsamplers_of_the_first_version_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "0.15.4", "decoder")
    unets = facts("0.15.4")["decoder"]["decoder"]["unets"]
    edited(tmp_path, "decoder", unets=unets * 2, image_sizes=[8, 16])
    with pytest.raises(CheckpointError, match=r"upsamplers of version 0\.15\.4 are not read"):
        open_model(tmp_path)


def test_names_that_belong_to_no_unet_are_named(tmp_path: Path) -> None:
    state = put(tmp_path, "1.15.6", "decoder")
    torch.save(state | {"unets.2.conv.weight": torch.zeros(2)}, tmp_path / "latest.pth")
    with pytest.raises(CheckpointError, match=r"latest.pth does not fit: 1 not used: unets\.2"):
        open_model(tmp_path)


def test_a_configuration_that_is_cut_is_named(version: str, tmp_path: Path) -> None:
    put(tmp_path, version, "prior")
    file = tmp_path / "prior_config.json"
    file.write_text(file.read_text()[:-5])
    with pytest.raises(CheckpointError, match=r"prior_config\.json is not valid JSON: .*line 1"):
        open_model(tmp_path)


def test_a_damaged_file_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    put(tmp_path / "prior", "1.15.6", "prior")
    put(tmp_path / "decoder", "1.15.6", "decoder")
    (tmp_path / "prior" / "prior_config.json").unlink()
    file = tmp_path / "prior" / "latest.pth"
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"prior/latest\.pth is damaged or truncated"):
        open_model(tmp_path)


def test_a_clip_of_other_encodings_is_refused(version: str, tmp_path: Path) -> None:
    """Its embeddings fit, what it makes of single tokens does not."""
    put(tmp_path / "it", version, "decoder")
    config = json.loads((FIXTURES / "clip_hf.json").read_text())
    config |= {"projection_dim": 16}
    config["text_config"] |= {"hidden_size": 24, "num_attention_heads": 2, "projection_dim": 16}
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"encodings of 24 numbers .* works with 16"):
        open_model(tmp_path / "it", Options(clip=tmp_path / "clip"))


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    put(tmp_path, "1.15.6", "prior")
    file = tmp_path / "latest.pth"
    file.write_bytes(file.read_bytes()[:-2000])
    assert find_format(tmp_path) is FORMAT
    for path in (tmp_path, file):
        with pytest.raises(CheckpointError, match=r"latest\.pth is damaged or truncated"):
            open_model(path)


def test_other_files_are_none_of_these(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "latest.pth")
    (tmp_path / "config.json").write_text(json.dumps({"prior": "none", "decoder": 3}))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "noise.bin").write_bytes(b"noise")
    assert not FORMAT.matches(tmp_path)
    assert not FORMAT.matches(tmp_path / "latest.pth")
    with pytest.raises(CheckpointError, match="no weights of DALLE2-pytorch"):
        FORMAT.open(tmp_path, Options())
