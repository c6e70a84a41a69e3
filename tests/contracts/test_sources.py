"""What every data source keeps: the stream is a pure function of position, however it is cut.

A new file in `unclip/data`, or a room with a SOURCE, is tested by existing; it needs one entry in
`EXAMPLES`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unclip.config import Config
from unclip.data import SOURCES, IndexedSource, Sample, Source
from unclip.data.split import Training, held_out, is_held_out
from unclip.emoji.corpus import build
from unclip.errors import UsageError
from unclip.train.loader import Loader

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"
SIZE = (32, 32)


def emoji(folder: Path) -> dict[str, Any]:
    build(folder / "corpus", ASSETS, "everyday", ["noto"])
    return {"path": folder / "corpus"}


def pictures(folder: Path) -> dict[str, Any]:
    for number in range(7):
        Image.new("RGB", (40, 30), (number * 30, 9, 9)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"shade {number}\ncolour {number}\n")
    return {"path": folder}


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "emoji": emoji,
    "folder": pictures,
    "shapes": lambda _: {},
}


@pytest.fixture(scope="module", params=SOURCES.names())
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., IndexedSource]:
    name: str = request.param
    assert name in EXAMPLES, f"give the source '{name}' an entry in EXAMPLES"
    values = EXAMPLES[name](tmp_path_factory.mktemp(name))
    cls: Any = SOURCES[name]
    return lambda size=SIZE, **more: cls(cls.Config.parse(values | more), size)


def same(a: Any, b: Any) -> bool:
    return bool((a["image"] == b["image"]).all()) and a["caption"] == b["caption"]


def test_a_sample_is_a_picture_and_a_caption(made: Callable[..., IndexedSource]) -> None:
    for position in (0, 1, 10**9):
        sample = made().sample(position)
        assert sample["image"].shape == (*SIZE, 3)
        assert sample["image"].dtype == np.uint8
        assert sample["caption"].strip()


def test_pictures_are_of_any_height_and_width(made: Callable[..., IndexedSource]) -> None:
    """Or the source says that it has squares alone."""
    for size in ((24, 40), (40, 24)):
        try:
            source = made(size=size)
        except UsageError as error:
            refused = str(error)
            assert refused.endswith(f"square pictures, not {size[1]}×{size[0]}")
            continue
        assert source.sample(3)["image"].shape == (*size, 3)
        assert list(source.captions(5)) == list(made().captions(5))


def test_a_sample_depends_on_its_position_alone(made: Callable[..., IndexedSource]) -> None:
    first, second = made(), made()
    forward = [first.sample(position) for position in range(12)]
    backward = [second.sample(position) for position in reversed(range(12))][::-1]
    assert all(map(same, forward, backward))
    assert len({sample["caption"] for sample in forward}) > 1


def test_every_word_of_its_captions_is_in_its_vocabulary(
    made: Callable[..., IndexedSource],
) -> None:
    source = made()
    words = source.vocabulary()
    unknown = {word for caption in source.captions(300) for word in words.unknown(caption)}
    assert words.counts and not unknown
    assert words.unknown("zyxwv") == ["zyxwv"]


def test_captions_are_those_of_the_stream(made: Callable[..., IndexedSource]) -> None:
    source = made()
    assert list(source.captions(9)) == [source.sample(n)["caption"] for n in range(9)]


@pytest.mark.parametrize(("count", "block"), [(1, 1), (3, 1), (2, 4), (4, 2)])
def test_shards_deal_out_the_stream(
    made: Callable[..., IndexedSource], count: int, block: int
) -> None:
    source = made()
    shards = [iter(source.shard(index, count, block)) for index in range(count)]
    dealt = [sample for _ in range(2) for shard in shards for sample in islice(shard, block)]
    assert all(map(same, dealt, islice(source, 2 * count * block)))


def test_a_saved_position_continues_exactly(made: Callable[..., IndexedSource]) -> None:
    source = made()
    assert source.state_dict() == {"position": 0}
    resumed = made()
    resumed.load_state_dict({"position": 5})
    assert resumed.state_dict() == {"position": 5}
    assert all(map(same, islice(resumed, 6), islice(source, 5, 11)))
    sharded = [next(iter(resumed.shard(index, 2))) for index in range(2)]
    assert all(map(same, sharded, islice(source, 5, 7)))


def test_a_worker_process_sees_the_same_stream(made: Callable[..., IndexedSource]) -> None:
    source = made()
    source.sample(0)
    assert same(pickle.loads(pickle.dumps(source)).sample(3), source.sample(3))


def test_a_seed_changes_the_stream(made: Callable[..., IndexedSource]) -> None:
    assert list(made(seed=1).captions(12)) != list(made(seed=2).captions(12))


def test_a_misspelt_setting_names_the_right_one(made: Callable[..., IndexedSource]) -> None:
    with pytest.raises(UsageError, match=r"unknown setting 'sead'.*did you mean 'seed'"):
        made(sead=1)


def test_a_configuration_survives_being_written_down(made: Callable[..., IndexedSource]) -> None:
    config: Any = made().config  # type: ignore[attr-defined]
    assert type(config).parse(config.dump()) == config


def test_what_is_held_out_is_never_trained_on(made: Callable[..., IndexedSource]) -> None:
    """In no epoch, with no seed, and whichever of its captions a picture has.

    Each picture is told by what it shows, so that a source whose `key` is none is found out.
    """
    source, share = made(), 0.3
    positions = held_out(source, share, 5)
    kept = Training(source, share)
    places = [kept.place(position) for position in range(40)]
    pictures = [{source.sample(n)["image"].tobytes() for n in some} for some in (positions, places)]
    assert pictures[0] and pictures[1] and not pictures[0] & pictures[1]
    keys = {source.key(position) for position in positions}
    assert len(keys) == len(positions)
    other = Training(made(seed=7), share)
    assert all(not is_held_out(other.key(position), share) for position in range(40))
    resumed = Training(made(), share)
    resumed.load_state_dict({"position": 5})
    assert all(map(same, islice(resumed, 3), map(kept.sample, range(5, 8))))
    assert list(kept.captions(3)) == [kept.sample(position)["caption"] for position in range(3)]


class Stream(Source):
    """A newcomer without random access: it reads on from the beginning to where it should be."""

    Config = Config

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def __iter__(self) -> Iterator[Sample]:
        wanted = self.positions()
        position = next(wanted)
        for number in count():
            self.read += 1
            if number == position:
                image = np.full((2, 2, 3), number % 256, dtype=np.uint8)
                yield {"image": image, "caption": f"number {number}"}
                position = next(wanted)

    def captions(self, count: int) -> Iterator[str]:
        return (f"number {number}" for number in range(count))


def test_a_stream_is_a_source_too() -> None:
    """It is sharded, goes on from a saved position, and makes batches as the others do."""
    stream = Stream()
    numbers = [int(sample["caption"].split()[1]) for sample in islice(stream.shard(1, 3, 2), 5)]
    assert numbers == [2, 3, 8, 9, 14]
    stream.advance(3)
    other = Stream()
    other.load_state_dict(stream.state_dict())
    assert [sample["caption"] for sample in islice(other, 2)] == ["number 3", "number 4"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
def test_a_stream_makes_the_same_batches_whoever_makes_them(workers: int) -> None:
    loader = Loader(Stream(), first_pixels, 2, workers)
    batches = [next(loader)["first"].tolist() for _ in range(3)]
    assert batches == [[0, 1], [2, 3], [4, 5]]
    again = Loader(Stream(), first_pixels, 2, 2 - workers)
    again.load_state_dict(loader.state_dict())
    assert next(again)["first"].tolist() == next(loader)["first"].tolist() == [6, 7]


def first_pixels(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """A batch of a task that nobody here knows."""
    return {"first": torch.tensor([int(sample["image"][0, 0, 0]) for sample in samples])}
