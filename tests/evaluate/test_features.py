"""Feature extractors: kept as they were, pinned, alike whatever the batch, and able to see."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from unclip.checkpoints import native
from unclip.emoji import extractors
from unclip.emoji.corpus import build
from unclip.emoji.source import EmojiScenes
from unclip.errors import CheckpointError, DataError, UsageError
from unclip.evaluate import features
from unclip.evaluate.features import FeatureExtractor, clip_score
from unclip.evaluate.image_set import ImageSet, of_source
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"
SCRIPT = Path(__file__).parents[2] / "scripts" / "features.py"
CPU = torch.device("cpu")
SMALL = {"size": 32, "channels": (16, 32), "dims": 12}
NOUNS = ("cat", "pizza", "star", "cactus")
ALONE = {"single": 1, "count": 0, "pair": 0, "group": 0, "tinted": 0}


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("features_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


training = _script()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EmojiScenes]:
    """`scenes(size, seed)`: single objects of the small corpus; or of `NOUNS` alone, or a mix."""
    path = tmp_path_factory.mktemp("corpus") / "corpus"
    build(path, ASSETS, "everyday", styles=("noto",))

    def make(size: int, seed: int, nouns: tuple[str, ...] = (), **mix: float) -> EmojiScenes:
        mix = mix or ALONE
        values = {"path": path, "split": "any", "seed": seed, "mix": mix, "nouns": nouns}
        return EmojiScenes(EmojiScenes.Config.parse(values), size)

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


def test_any_model_with_a_clip_can_look(
    tmp_path: Path, make_stage: Callable[[str], Stage], tokenizer: Tokenizer
) -> None:
    clip = make_stage("clip")
    manifest = native.save_model(
        tmp_path / "m", "m", tokenizer, {"clip": clip}, dtype=torch.float32
    )
    net = features.from_clip(tmp_path / "m", CPU)
    assert (net.name, net.hash, net.dims) == ("m", manifest.hash, 16)
    picture = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    one = ImageSet(1, [picture].__getitem__, lambda: ["the fox"])
    seen = features.features(net, one)
    with torch.inference_mode():
        z_i = clip.net.encode_image(one.tensor([0])).double()  # type: ignore[operator]
    # the fast number format of this machine may be bfloat16
    cosine = torch.nn.functional.cosine_similarity(seen, z_i)
    assert float(cosine) > 0.99
    assert net.read is not None and net.read(["the fox"]).shape == (1, 16)


def test_half_a_clip_or_none_is_refused(
    tmp_path: Path, make_stage: Callable[..., Stage], tokenizer: Tokenizer
) -> None:
    native.save_model(tmp_path / "m", "m", tokenizer, {"prior": make_stage("prior")})
    with pytest.raises(UsageError, match="holds no CLIP"):
        features.from_clip(tmp_path / "m", CPU)


def plain(see: Callable[[Tensor], Tensor]) -> FeatureExtractor:
    """Reads a caption as one of the two axes."""
    axes = {"x": [1.0, 0], "y": [0, 1.0]}
    return FeatureExtractor(
        "plain", "", 2, see, lambda words: torch.tensor([axes[word] for word in words])
    )


def test_clip_scores_that_are_known() -> None:
    seen = torch.tensor([[3.0, 4], [5, 0], [-2, 0]]).double()
    found = clip_score(plain(lambda x: x), seen, ["x", "x", "x"])
    assert found.value == pytest.approx((60 + 100 + 0) / 3, rel=1e-6)
    spread = torch.tensor([60.0, 100, 0]).std() / 3**0.5
    assert found.error == pytest.approx(float(spread), rel=1e-5)
    with pytest.raises(UsageError, match="3 pictures want as many captions, got 1"):
        clip_score(plain(lambda x: x), seen, ["x"])
    with pytest.raises(UsageError, match="cannot read"):
        clip_score(FeatureExtractor("blind", "", 2, lambda x: x), seen, ["x"] * 3)


def test_nan_in_features_is_refused() -> None:
    def see(images: Tensor) -> Tensor:
        out = images.mean((2, 3))[:, :2].clone()
        out[1] = torch.nan
        return out

    pictures = ImageSet(3, [np.zeros((4, 4, 3), np.uint8)].__mul__(3).__getitem__)
    with pytest.raises(
        DataError, match="extractor 'plain' gives NaN or infinity for 1 of 3 pictures"
    ):
        features.features(plain(see), pictures)
