"""Feature extractors: kept as they were, pinned, alike whatever the batch, and able to see."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import features as training
import pytest
import torch

from unclip.emoji import extractors
from unclip.emoji.corpus import build
from unclip.emoji.source import EmojiScenes
from unclip.errors import CheckpointError, UsageError
from unclip.evaluate import features
from unclip.evaluate.image_set import of_source

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"
SMALL = {"size": 32, "channels": (16, 32), "dims": 12}
NOUNS = ("cat", "pizza", "star", "cactus")
ALONE = {"single": 1, "count": 0, "pair": 0, "group": 0, "tinted": 0}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EmojiScenes]:
    """`scenes(size, seed)`: single objects of the small corpus; or of `NOUNS` alone, or a mix."""
    path = tmp_path_factory.mktemp("corpus") / "corpus"
    build(path, ASSETS, "everyday", styles=("noto",))

    def make(size: int, seed: int, nouns: tuple[str, ...] = (), **mix: float) -> EmojiScenes:
        mix = mix or ALONE
        values = {"path": path, "split": "any", "seed": seed, "mix": mix, "nouns": nouns}
        return EmojiScenes(EmojiScenes.Config.parse(values), (size, size))

    return make


@pytest.fixture(scope="module")
def learnt(scenes: Callable[..., EmojiScenes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both extractors, trained for a few seconds."""
    folder = tmp_path_factory.mktemp("features")
    source = scenes(32, 1, NOUNS)
    config = extractors.ExtractorConfig(kind="classifier", nouns=NOUNS, **SMALL)
    extractors.save(folder / "classifier", training.train_classifier(config, source, 90, 24))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CAPTIONS", 300)
        clip, tokenizer = training.train_clip(
            extractors.ExtractorConfig(kind="clip", **SMALL), source, 90, 24
        )
    extractors.save(folder / "clip", clip, tokenizer)
    return folder


def test_a_classifier_learns(learnt: Path, scenes: Callable[..., EmojiScenes]) -> None:
    net, _ = extractors.load(learnt / "classifier")
    assert isinstance(net, extractors.Classifier)
    right, of = training.accuracy(net, scenes(32, 2, NOUNS), 200)
    assert right / of > 0.7  # chance is 0.25


def test_a_clip_learns(learnt: Path, scenes: Callable[..., EmojiScenes]) -> None:
    net, tokenizer = extractors.load(learnt / "clip")
    assert isinstance(net, extractors.EvalClip) and tokenizer is not None
    right, of = training.retrieval(net, tokenizer, scenes(32, 2, NOUNS), 16)
    assert right / of > 0.25  # chance is 0.06


def test_features_do_not_depend_on_the_batch(
    learnt: Path, scenes: Callable[..., EmojiScenes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = of_source(scenes(48, 3), 7)
    for name in ("classifier", "clip"):
        net = extractors.open_extractor(name, learnt / name)
        monkeypatch.setattr(features, "BATCH", 64)
        whole = features.features(net, pictures)
        assert whole.shape == (7, 12) and whole.dtype == torch.float64
        monkeypatch.setattr(features, "BATCH", 2)
        torch.testing.assert_close(features.features(net, pictures), whole, atol=1e-5, rtol=1e-4)


def test_a_clips_features_have_a_mean_square_of_1(
    learnt: Path, scenes: Callable[..., EmojiScenes]
) -> None:
    seen = features.features(
        extractors.open_extractor("clip", learnt / "clip"), of_source(scenes(32, 3), 5)
    )
    torch.testing.assert_close(seen.square().mean(1), torch.ones(5, dtype=torch.float64))


def test_a_hash_names_weights_and_settings(learnt: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(learnt / "clip", tmp_path / "clip"))
    before = extractors.digest(folder)
    assert before == extractors.digest(learnt / "clip") and len(before) == 12
    for name in ("config.json", "tokenizer.json", "weights.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert extractors.digest(folder) != before
        (folder / name).write_bytes(content)


def test_extractors_of_a_corpus(learnt: Path, tmp_path: Path) -> None:
    for name in extractors.NAMES:
        assert extractors.of_corpus(learnt, name).name == name
    with pytest.raises(UsageError, match=r"no feature extractor 'clip': .*features\.py"):
        extractors.of_corpus(tmp_path / "features", "clip")


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_damaged_extractors(learnt: Path, tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(learnt / "classifier", tmp_path / "extractor"))
    weights = folder / "weights.safetensors"
    if damage == "missing":
        (folder / "config.json").unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace('"dims": 12', '"dims": 13'))
    with pytest.raises(CheckpointError, match="extractor"):
        extractors.load(folder)


def test_older_extractors_are_found(tmp_path: Path) -> None:
    """A corpus' folder `features`; `eyes`, as it was called, where there is one."""
    assert extractors.folder_of(tmp_path, None) == tmp_path / "features"
    (tmp_path / "eyes").mkdir()
    assert extractors.folder_of(tmp_path, None) == tmp_path / "eyes"
    assert extractors.folder_of(tmp_path, tmp_path / "mine") == tmp_path / "mine"
