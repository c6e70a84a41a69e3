"""The cache of what frozen networks say: equal losses, nothing stale, nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unclip.data.folder import Folder, FolderConfig
from unclip.data.framing import Framed, FrameSettings
from unclip.data.shapes import Shapes, ShapesConfig
from unclip.errors import DataError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.train import caching
from unclip.train.caching import Cached, cache_bytes, cached, fingerprint
from unclip.train.config import TrainConfig
from unclip.train.loader import Loader
from unclip.train.measuring import seconds_per_step
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.task import Task
from unclip.train.trainer import Trainer
from unclip.train.world import World

CPU = torch.device("cpu")


class Silent:
    """A watcher that keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self.losses.append(values["loss"])

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a red car {number}\nthe fox")
    return folder


@pytest.fixture
def task(make_stage: Callable[..., Stage]) -> Callable[[str], Task]:
    return lambda kind: Task(make_stage(kind).train(), make_stage("clip"))


def config(**more: Any) -> TrainConfig:
    values = {"steps": 8, "batch_size": 4, "workers": 0, "log_every": 1, "warmup": 2, **more}
    return TrainConfig.parse({"precision": "float32", **values})


def source_of(photos: Path, task: Task) -> Folder:
    return Folder(FolderConfig(path=photos, seed=2), task.source_size)


def losses(source: Any, task: Task, tokenizer: Tokenizer, folder: Path, config: TrainConfig,
           steps: int | None = None) -> list[float]:  # fmt: skip
    loader = Loader(source, task.collate(tokenizer), config.batch_size, config.workers)
    trainer = Trainer(task, loader, config, folder, seed=1)
    if not trainer.resume():
        trainer.prepare()
    watcher = Silent()
    if steps is None:
        trainer.run(watcher)
    else:
        watcher.losses = [float(trainer.advance()["loss"]) for _ in range(steps)]
        trainer.save()
    return watcher.losses


@pytest.mark.parametrize("kind", ["prior", "decoder", "latent_decoder"])
def test_losses_are_the_same_with_the_cache_and_without_it(
    kind: str, photos: Path, tmp_path: Path, task: Callable[[str], Task], tokenizer: Tokenizer
) -> None:
    plain, kept = task(kind), task(kind)
    source = source_of(photos, plain)
    known = cached(source_of(photos, kept), kept, tokenizer, tmp_path / "cache", config(), CPU)
    assert isinstance(known, Cached)
    expected = losses(source, plain, tokenizer, tmp_path / "plain", config())
    found = losses(known, kept, tokenizer, tmp_path / "kept", config())
    assert len(found) == 8
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_resumed_training_is_the_same_with_and_without_it(
    photos: Path, tmp_path: Path, task: Callable[[str], Task], tokenizer: Tokenizer
) -> None:
    """Begun with the cache and gone on without it, and the other way round."""
    whole = losses(source_of(photos, task("prior")), task("prior"), tokenizer, tmp_path / "a",
                   config())  # fmt: skip
    for first in (True, False):
        found = []
        for use in (first, not first):
            one = task("prior")
            source: Any = source_of(photos, one)
            if use:
                source = cached(source, one, tokenizer, tmp_path / "cache", config(), CPU)
            found += losses(source, one, tokenizer, tmp_path / f"run{first}", config(), steps=4)
        assert found == pytest.approx(whole, rel=1e-6, abs=1e-6)


def test_a_prior_decodes_no_picture(
    photos: Path, tmp_path: Path, task: Callable[[str], Task], tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    prior = task("prior")
    known = cached(source_of(photos, prior), prior, tokenizer, tmp_path, config(), CPU)
    monkeypatch.setattr("unclip.data.framing.read_cropped", lambda *_: pytest.fail("decoded"))
    sample = known.sample(3)  # type: ignore[attr-defined]
    assert set(sample) == {"caption", "image_embed", "text_embed", "text_encodings"}
    clip, tokens = prior.clip[0], tokenizer.encode([sample["caption"]])
    z_t, _ = clip.net.encode_text(*tokens)
    assert torch.allclose(z_t[0], torch.from_numpy(sample["text_embed"]), atol=1e-6)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many things each call of a network is shown from now on."""
    shown: list[int] = []
    encode = caching.Encoder.encode

    def counting(self: Any, cond: Any) -> Any:
        shown.append(len(cond))
        return encode(self, cond)

    monkeypatch.setattr(caching.Encoder, "encode", counting)
    return shown


def test_only_what_is_new_is_encoded(
    photos: Path, tmp_path: Path, task: Callable[[str], Task], tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    prior, shown = task("prior"), counted(monkeypatch)

    def fill(settings: FrameSettings | None = None, size: tuple[int, int] | None = None) -> int:
        shown.clear()
        source: Any = source_of(photos, prior)
        if settings or size:
            source = Framed(source, settings or FrameSettings(), size or source.size)
        cached(source, prior, tokenizer, tmp_path / "cache", config(), CPU)
        return sum(shown)

    assert fill() == 10 + 11  # pictures, different captions
    assert fill() == 0
    (photos / "3.png").write_bytes((photos / "4.png").read_bytes())
    assert fill() == 0  # known by what it holds, whatever it is called
    Image.new("RGB", (20, 30), "red").save(photos / "3.png")
    assert fill() == 1
    (photos / "5.txt").write_text("a blue bird")
    assert fill() == 1
    assert fill(FrameSettings(flip=True)) == 10  # the mirrored ones
    assert fill(size=(9, 9)) == 10
    with torch.no_grad():
        next(prior.clip[0].net.parameters()).add_(1e-3)
    assert fill() == 10 + 11  # of another model


class Part(World):
    """One of several processes."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def test_each_of_several_processes_encodes_a_part(
    photos: Path, tmp_path: Path, task: Callable[[str], Task], tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    prior, shown = task("prior"), counted(monkeypatch)

    def fill(world: World, folder: str = "cache") -> int:
        shown.clear()
        source = source_of(photos, prior)
        cached(source, prior, tokenizer, tmp_path / folder, config(), CPU, world=world)
        return sum(shown)

    assert [fill(Part(rank, 3)) for rank in range(3)] == [4 + 4, 3 + 4, 3 + 3]
    assert fill(World()) == 0
    # also where one looks into the folder before the others have written anything
    assert [fill(Part(rank, 2), f"{rank}") for rank in range(2)] == [5 + 6, 5 + 5]


def test_a_picture_that_changes_later_is_never_met_as_it_was(
    photos: Path, tmp_path: Path, task: Callable[[str], Task], tokenizer: Tokenizer
) -> None:
    """Its time of change and its size are set back, as a careless copy would."""
    prior = task("prior")
    source = source_of(photos, prior)
    known: Any = cached(source, prior, tokenizer, tmp_path / "cache", config(), CPU)
    position = next(n for n in range(10) if known.stored(n).name == "7.png")
    known.sample(position)
    file = photos / "7.png"
    before, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=r"cannot read .*7.png"):
        known.sample(position)
    Image.new("RGB", (20, 30), "red").save(file)
    with pytest.raises(DataError, match=r"7.png is not in the cache: it has changed"):
        known.sample(position)


def test_a_bad_picture_is_no_reason_to_stop(
    photos: Path, tmp_path: Path, task: Callable[[str], Task], tokenizer: Tokenizer
) -> None:
    (photos / "2.png").write_bytes((photos / "2.png").read_bytes()[:100])
    prior = task("prior")
    known: Any = cached(source_of(photos, prior), prior, tokenizer, tmp_path, config(), CPU)
    names = {known.stored(n).name: n for n in range(10)}
    with pytest.raises(DataError, match=r"cannot read .*2.png: this PNG is damaged"):
        known.sample(names.pop("2.png"))
    assert all("image_embed" in known.sample(n) for n in names.values())


def test_what_cannot_be_kept_is_refused(
    photos: Path, tmp_path: Path, task: Callable[[str], Task], tokenizer: Tokenizer
) -> None:
    prior = task("prior")
    with pytest.raises(UsageError, match=r"train.cache.*stores pictures.*'shapes' makes"):
        cached(Shapes(ShapesConfig(), (8, 8)), prior, tokenizer, tmp_path, config(), CPU)
    random = Framed(source_of(photos, prior), FrameSettings(crop="random"), (8, 8))
    with pytest.raises(UsageError, match=r"data.crop.*random"):
        cached(random, prior, tokenizer, tmp_path, config(), CPU)
    clip = Task(prior.clip[0])
    source = source_of(photos, prior)
    assert cached(source, clip, tokenizer, tmp_path, config(), CPU) is source  # nothing is frozen


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_read_the_same(
    photos: Path, tmp_path: Path, task: Callable[[str], Task], tokenizer: Tokenizer
) -> None:
    prior = task("prior")
    loaders = [
        Loader(
            cached(source_of(photos, prior), prior, tokenizer, tmp_path, config(), CPU),
            prior.collate(tokenizer), 3, workers,
        )
        for workers in (0, 2)
    ]  # fmt: skip
    for _ in range(4):
        one, other = map(next, loaders)
        assert one.keys() == other.keys() and "image" not in one
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_fingerprint_is_of_numbers_and_settings(make_stage: Callable[..., Stage]) -> None:
    net = make_stage("clip").net
    names = {fingerprint(net), fingerprint(net, "float32"), fingerprint(make_stage("decoder").net)}
    assert len(names) == 3 and fingerprint(net) == fingerprint(make_stage("clip").net)
    with torch.no_grad():
        list(net.parameters())[-1].view(-1)[0] += 1e-6
    assert fingerprint(net) not in names


def test_its_size_is_known_before_it_is_filled(photos: Path, tmp_path: Path) -> None:
    """Of the tiny recipe's prior, by hand: 10 pictures, 20 captions, rows with a key each."""
    changes = ["data.source=folder", f"data.path={photos}", "stages.prior.train.cache=true"]
    recipe = load_recipe("tiny", [*changes, "tokenizer.captions=20"])
    picture, text = 16 + 4 * 32, 16 + 4 * 32 + 4 * 8 * 32
    assert cache_bytes(recipe, "prior") == 10 * picture + 20 * text
    assert cache_bytes(recipe, "decoder") is None
    flipped = load_recipe("tiny", [*changes, "data.flip=true"])
    assert cache_bytes(flipped, "prior") == 20 * picture + 20 * text


def test_a_run_keeps_and_reads_it(photos: Path, tmp_path: Path) -> None:
    changes = ["data.source=folder", f"data.path={photos}", "stages.prior.train.cache=true"]
    recipe = load_recipe("tiny", [*changes, "tokenizer.captions=20"])
    run = Run(recipe, tmp_path / "run", torch.device("cpu"))
    run.begin(resume=False)
    run.export("clip", run.build("clip"))
    told: list[tuple[str, int, int]] = []
    run.on_progress = lambda *now: told.append(now)
    trainer = run.trainer("prior")
    assert isinstance(trainer.loader.source, Cached)
    assert ("pictures", 10, 10) in told and ("texts", 11, 11) in told
    files = list((tmp_path / "run" / "cache").rglob("*.safetensors"))
    assert len(files) == 2
    told.clear()
    run.trainer("prior")
    assert not told and list((tmp_path / "run" / "cache").rglob("*.safetensors")) == files
    run.end()


def test_steps_are_measured_as_with_the_cache_and_nothing_is_encoded(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pictures of two shapes: the same fields in the same shapes, and no network runs."""
    wide = np.random.default_rng(0).integers(0, 256, (40, 20, 3), np.uint8)
    Image.fromarray(wide).save(photos / "3.png")
    changes = ["data.source=folder", f"data.path={photos}", "tokenizer.captions=20"]
    changes += ["data.buckets=true", "data.bucket_step=8", "stages.decoder.train.batch_size=2"]
    changes += [f"stages.{name}.train.cache=true" for name in ("prior", "decoder")]
    run = Run(load_recipe("tiny", changes), tmp_path / "run", CPU)
    run.begin(resume=False)
    with monkeypatch.context() as patch:
        patch.setattr(caching.Encoder, "open", lambda *_: pytest.fail("it looks into a cache"))
        measured: dict[str, Any] = {n: run.untrained(n).loader for n in ("prior", "decoder")}
        assert measured["prior"].source.pixels is False
        assert seconds_per_step(run.untrained("prior"), 2, 1e-9) > 0
    assert not (run.folder / "cache").exists()
    run.export("clip", run.build("clip"))
    for name, loader in measured.items():
        real = run.trainer(name).loader
        for _ in range(4):
            one, other = next(loader), next(real)
            assert {key: value.shape for key, value in one.items()} == {
                key: value.shape for key, value in other.items()
            }
    run.end()
