"""Both judges before pictures whose content is known, and their admission."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import _fit as fit
import numpy as np
import pytest
import torch
from _augment import augment
from _detector_training import DetectorConfig, Shown, loss_of, train_detector
from numpy.typing import NDArray

from unclip.emoji.calibration import SEED, Calibration, _sizes, calibrate
from unclip.emoji.colours import oklab
from unclip.emoji.corpus import build
from unclip.emoji.detector import CELLS, GROUNDS, SIDE, TINTS, Detector, DetectorNet, Output
from unclip.emoji.image_providers import ceiling, retrieval
from unclip.emoji.judge import UNKNOWN, Detections, Pictures
from unclip.emoji.judges import Shared, bundled_detector, detector_of, matcher_of
from unclip.emoji.matcher import Matcher
from unclip.emoji.scenes import CATEGORIES, FULL, Scene, make_scenes
from unclip.emoji.segments import LEVELS, pieces, segment
from unclip.emoji.source import EmojiConfig, EmojiScenes
from unclip.emoji.templates import FINE, Templates
from unclip.emoji.verifier import verify
from unclip.errors import Cancelled, CheckpointError

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"
SHORT = DetectorConfig(steps=4, batch_size=4, width=8, workers=0)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EmojiConfig:
    path = tmp_path_factory.mktemp("data") / "corpus"
    build(path, ASSETS, "everyday", ["noto"])
    return EmojiConfig(path=path)


@pytest.fixture(scope="module")
def matcher(config: EmojiConfig) -> Matcher:
    return matcher_of(config)


@pytest.fixture(scope="module")
def scenes(config: EmojiConfig) -> list[Scene]:
    return make_scenes(config, dict.fromkeys(FULL, 2))


def told(seen: Detections) -> Counter[tuple[str, str | None]]:
    return Counter((thing.noun, thing.tint) for thing in seen.things)


def test_the_matcher_reads_real_renderings(
    config: EmojiConfig, matcher: Matcher, scenes: list[Scene]
) -> None:
    source = EmojiScenes(config, (256, 256))
    for scene in scenes:
        seen = matcher.look(source.render(scene.spec)[None])[0]
        assert seen.background == scene.spec["background"]["colour"]
        assert Counter(t.noun for t in seen.things) == Counter(
            o["noun"] for o in scene.spec["objects"]
        ), scene.prompt
        for thing in seen.things:
            boxes = [o["box"] for o in scene.spec["objects"] if o["noun"] == thing.noun]
            assert min(np.abs(np.subtract(thing.box, box)).max() for box in boxes) < 0.04


def test_the_matcher_does_not_know_what_is_no_noun_of_its_own(config: EmojiConfig) -> None:
    nouns = ("fox", "car", "star", "house", "penguin")
    few = matcher_of(config.model_copy(update={"nouns": nouns}))
    source = EmojiScenes(config, (256, 256))
    shown = make_scenes(config, {("single", "seen"): 12})
    for scene in shown:
        noun = scene.wanted[0].noun
        seen = few.look(source.render(scene.spec)[None])[0]
        assert [thing.noun for thing in seen.things] == [noun if noun in nouns else UNKNOWN]
    found = calibrate(few, config.model_copy(update={"nouns": nouns}), 4)
    assert found.unknown is not None and found.unknown.right == found.unknown.total == 4


def test_drawings_over_a_ground_are_what_they_are_when_composed_plainly() -> None:
    """Converting only what the ground shows through changes nothing."""
    rng = np.random.default_rng(5)
    drawings = np.zeros((7, FINE, FINE, 4), np.uint8)
    alpha = rng.choice([0, 90, 255], (7, FINE, FINE, 1), p=[0.3, 0.3, 0.4])
    alpha[0], alpha[1] = 0, 255
    alpha[2:, :4] = 0
    drawings[..., 3:] = alpha
    drawings[..., :3] = rng.random((7, FINE, FINE, 3)) * alpha
    sheet = Templates(drawings)
    for ground in (np.array([255, 255, 255.0]), np.array([30, 90, 200.0])):
        rgb = drawings[..., :3] + (1 - drawings[..., 3:] / 255) * ground
        over = sheet.over(ground)
        for side, lab in over.lab.items():
            fold = FINE // side
            small = rgb.reshape(7, side, fold, side, fold, 3).mean((2, 4))
            np.testing.assert_allclose(lab, oklab(small), atol=2e-5)
        off = np.linalg.norm(oklab(rgb) - oklab(ground), axis=-1)
        for level, least in enumerate(LEVELS):
            for number in range(2, 7):
                rows, columns = np.nonzero(off[number] > least)
                ends = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                want = np.array(ends) / FINE
                want[[0, 2]], want[3] = (0, 1), 1  # two pixels from the edge are the edge
                np.testing.assert_allclose(over.seen[level, number], want, atol=1e-6)
        assert over.shown.tolist() == [False] + [True] * 6


def test_an_empty_picture_shows_nothing_on_its_ground(matcher: Matcher) -> None:
    plain = np.full((1, 256, 256, 3), (58, 120, 220), np.uint8)
    assert matcher.look(plain) == [Detections((), "blue")]


def test_what_a_picture_is_judged_after_does_not_matter(
    config: EmojiConfig, matcher: Matcher, scenes: list[Scene]
) -> None:
    source = EmojiScenes(config, (128, 128))
    pictures = np.stack([source.render(scene.spec) for scene in scenes[:4]])
    together = matcher.look(pictures)
    assert matcher.look(pictures[::-1])[::-1] == together


def test_a_judge_in_several_processes_says_the_same(
    config: EmojiConfig, matcher: Matcher, scenes: list[Scene]
) -> None:
    source = EmojiScenes(config, (64, 64))
    pictures = np.stack([source.render(scene.spec) for scene in scenes[:5]])
    shared = Shared(matcher, 2)
    try:
        assert shared.look(pictures) == matcher.look(pictures)
    finally:
        shared.close()
    assert (shared.name, shared.hash, shared.nouns) == (matcher.name, matcher.hash, matcher.nouns)


def flood(mask: NDArray[np.bool_]) -> int:
    """How many 8-connected parts a mask has, by filling them one after the other."""
    left, found = mask.copy(), 0
    while left.any():
        stack, found = [tuple(np.argwhere(left)[0])], found + 1
        while stack:
            row, column = stack.pop()
            if 0 <= row < len(left) and 0 <= column < len(left) and left[row, column]:
                left[row, column] = False
                stack += [(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return found


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_pieces_are_the_connected_parts(share: float) -> None:
    mask = np.random.default_rng(3).random((24, 24)) < share
    parts = pieces(mask, 0)
    assert len(parts) == flood(mask)
    assert (np.sum([part.mask for part in parts], 0) == mask).all()
    assert len(pieces(mask, 3)) <= len(parts)


def test_a_slope_and_a_rim_are_ground() -> None:
    picture = np.full((128, 128, 3), (190, 228, 180), np.uint8)
    picture[..., 0] -= np.linspace(0, 12, 128).astype(np.uint8)
    picture[[0, -1]] = 255
    assert not segment(picture).mask.any()
    picture[40:60, 30:80] = (219, 40, 40)
    found = pieces(segment(picture).mask, 0)
    assert [part.bounds for part in found] == [(30, 40, 80, 60)]


def said(target: dict[str, torch.Tensor], nouns: int) -> Output:
    """What a network that is sure of a target says."""
    count = len(target["noun"])
    middle = torch.full((count, CELLS, CELLS), -20.0)
    noun = torch.zeros(count, nouns + 1, CELLS, CELLS)
    tint = torch.zeros(count, len(TINTS), CELLS, CELLS)
    box = torch.zeros(count, 4, CELLS, CELLS)
    for b, n in (target["noun"] >= 0).nonzero().tolist():
        x, y, w, h = target["box"][b, n].tolist()
        centre = torch.tensor([x + w / 2, y + h / 2]) * CELLS
        for row in range(CELLS):
            for column in range(CELLS):
                off = centre - torch.tensor([column + 0.5, row + 0.5])
                if off.norm() < 0.8:
                    noun[b, target["noun"][b, n], row, column] = 30
                    tint[b, target["tint"][b, n], row, column] = 30
                    box[b, :, row, column] = torch.tensor([*off, np.log(w), np.log(h)])
        middle[b, int(centre[1]), int(centre[0])] = 20
    ground = torch.nn.functional.one_hot(target["ground"], len(GROUNDS)) * 30.0
    return Output(middle, noun, tint, box, ground)


def test_the_detectors_target_and_reading_are_inverse(config: EmojiConfig) -> None:
    shown = Shown(config, DetectorConfig(seed=7))
    samples = [shown.scenes.sample(position) for position in range(12)]
    target = torch.utils.data.default_collate([shown.target(s["spec"]) for s in samples])
    out = said(target, len(shown.nouns))
    judge = Detector(DetectorNet(len(shown.nouns), 8), shown.nouns, {})
    for sample, seen in zip(samples, judge.read(out), strict=True):
        objects = sample["spec"]["objects"]
        assert told(seen) == Counter((o["noun"], o["tint"]) for o in objects)
        assert seen.background == sample["spec"]["background"]["colour"]
        boxes = sorted(o["box"] for o in objects)
        np.testing.assert_allclose(sorted(t.box for t in seen.things), boxes, atol=1e-5)
    best = loss_of(out, target)
    assert float(best) < 0.65  # what label smoothing and the middles' neighbours leave
    wrong = target | {"tint": (target["tint"] + 1) % len(TINTS)}
    assert float(loss_of(out, wrong)) > float(best) + 5


def test_augmentation_moves_boxes_with_their_objects() -> None:
    images = torch.zeros(16, 3, SIDE, SIDE)
    images[:, :, 30:60, 20:70] = 1
    boxes = torch.tensor([[[20, 30, 50, 30]]]).expand(16, 1, 4) / SIDE
    out, moved = augment(images, boxes, torch.Generator().manual_seed(0))
    assert out.shape == images.shape and out.min() >= 0 and out.max() <= 1
    for picture, box in zip(out.mean(1), moved[:, 0] * SIDE, strict=True):
        rows, columns = (picture > 0.5).nonzero().T
        left, top, wide, high = box.tolist()
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        expected = [left, top, left + wide, top + high]
        np.testing.assert_allclose(np.array(seen), expected, atol=5)
    assert (moved[:, 0] * SIDE - torch.tensor([20, 30, 50, 30])).abs().max() > 1


def test_training_lowers_the_loss(config: EmojiConfig) -> None:
    losses: list[float] = []
    few = config.model_copy(update={"nouns": ("star", "car")})
    settings = {"steps": 30, "batch_size": 8, "width": 16, "workers": 0}
    train_detector(few, DetectorConfig(**settings), on_step=lambda *step: losses.append(step[2]))
    assert len(losses) == 30 and losses[-1] < 0.9 * losses[0]  # of a running mean


def test_a_training_that_was_interrupted_ends_with_the_same_weights(
    config: EmojiConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "SAVE_EVERY", 2)
    whole = train_detector(config, SHORT)
    state = tmp_path / "state"

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        train_detector(config, SHORT, state=state, on_step=stop)
    steps: list[int] = []
    again = train_detector(config, SHORT, state=state, on_step=lambda *s: steps.append(s[0]))
    assert steps == [3, 4] and again.hash == whole.hash and not state.exists()
    with pytest.raises(Cancelled):
        train_detector(config, SHORT, state=state, on_step=stop)
    other = SHORT.model_copy(update={"seed": 1})
    with pytest.raises(CheckpointError, match="of another training"):
        train_detector(config, other, state=state)


def test_a_detector_comes_back_from_its_folder_the_same(
    config: EmojiConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "detector"
    made = train_detector(config, SHORT)
    made.save(folder)
    back = detector_of(config, folder)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    assert back.hash == made.hash and back.about == made.about
    assert back.look(pictures) == Detector.load(folder).look(pictures)
    head = folder / "detector.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"hash": "0" * 16}))
    with pytest.raises(CheckpointError, match="is not the one that was saved"):
        Detector.load(folder)
    (folder / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot read the detector"):
        Detector.load(folder)


def test_a_detector_of_other_nouns_is_refused(config: EmojiConfig, tmp_path: Path) -> None:
    few = config.model_copy(update={"nouns": ("star", "car")})
    made = train_detector(few, SHORT)
    made.save(tmp_path / "detector")
    with pytest.raises(CheckpointError, match="does not know"):
        detector_of(config, tmp_path / "detector")
    with pytest.raises(CheckpointError, match="knows 2 nouns and is 8 wide"):
        train_detector(config, SHORT, begin=made)


def test_the_matcher_passes_an_admission(config: EmojiConfig, matcher: Matcher) -> None:
    found = calibrate(matcher, config, 6)
    assert found.reliable, found.short
    assert list(found.right) == [*CATEGORIES, "all"]
    assert {share.total for share in found.right.values()} <= {5, 6, 35, 36}
    assert list(found.rejected) == ["object", "count", "colour", "relation", "ground"]
    assert all(share.total > 3 for share in found.rejected.values())
    assert found.dump()["admitted"] is True and not found.mistakes
    assert found.unknown is None  # the corpus holds no other noun


def test_the_detector_that_comes_along_passes_an_admission(config: EmojiConfig) -> None:
    nouns = ("fox", "car", "star", "house", "penguin")
    found = calibrate(bundled_detector(), config.model_copy(update={"nouns": nouns}), 6)
    assert found.reliable, found.short
    assert found.right["all"].total > 30


def test_an_admission_survives_json_and_tells_how_far_it_is(
    config: EmojiConfig, matcher: Matcher
) -> None:
    told: list[tuple[int, int]] = []
    found = calibrate(matcher, config, 4, on_progress=lambda *step: told.append(step))
    assert Calibration.parse(json.loads(json.dumps(found.dump()))) == found
    total = found.right["all"].total
    assert told[-1] == (total, total) and [done for done, _ in told] == sorted(
        {done for done, _ in told}
    )
    asked = [s for s in make_scenes(config, _sizes(4), SEED) if s.wanted[0].colour]
    named = {thing.colour for scene in asked for thing in scene.wanted}
    assert set(found.colours) == named
    assert all(share.value == 1 for share in found.colours.values())


class Lax:
    """A judge that sees a fox on white whatever it is shown."""

    name, hash, nouns = "lax", "0", ("fox",)

    def look(self, pictures: Pictures) -> list[Detections]:
        return [Detections((), "white") for _ in pictures]


def test_a_judge_that_sees_nothing_is_not_admitted(config: EmojiConfig) -> None:
    found = calibrate(Lax(), config, 4)
    assert not found.reliable
    assert found.right["all"].right == 0 and len(found.mistakes) == found.right["all"].total
    assert {share.value for share in found.rejected.values()} == {1.0}
    assert set(found.short) == {f"right: {name}" for name in (*CATEGORIES, "all")}
    assert {share.value for share in found.colours.values()} == {0.0}


def test_the_ceiling_is_right_and_memory_finds_what_it_has_seen(
    config: EmojiConfig, matcher: Matcher, scenes: list[Scene]
) -> None:
    some = [scene for scene in scenes if scene.split == "seen"]
    assert verify(ceiling(config), some, [matcher], 1).share("matcher").value == 1.0
    source = EmojiScenes(config, (64, 64))
    captions = list(source.captions(40))
    remembered = Scene("r", "single", "seen", captions[7], (), None, None, {})
    alike = [n for n, caption in enumerate(captions) if caption == captions[7]]
    drawn = retrieval(config, 40, (64, 64))([(remembered, number) for number in range(len(alike))])
    for number, picture in zip(alike, drawn, strict=True):
        np.testing.assert_array_equal(np.asarray(picture), source.sample(number)["image"])
