"""What every data source keeps: the stream is a pure function of position, however it is cut.

A new file in `unclip/data`, or a room with a SOURCE, is tested by existing; it needs one entry in
`EXAMPLES`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip.data import SOURCES, Source
from unclip.emoji.corpus import build
from unclip.errors import UsageError

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"
SIZE = 32


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
) -> Callable[..., Source]:
    name: str = request.param
    assert name in EXAMPLES, f"give the source '{name}' an entry in EXAMPLES"
    values = EXAMPLES[name](tmp_path_factory.mktemp(name))
    cls: Any = SOURCES[name]
    return lambda **more: cls(cls.Config.parse(values | more), SIZE)


def same(a: Any, b: Any) -> bool:
    return bool((a["image"] == b["image"]).all()) and a["caption"] == b["caption"]


def test_a_sample_is_a_picture_and_a_caption(made: Callable[..., Source]) -> None:
    for position in (0, 1, 10**9):
        sample = made().sample(position)
        assert sample["image"].shape == (SIZE, SIZE, 3)
        assert sample["image"].dtype == np.uint8
        assert sample["caption"].strip()


def test_a_sample_depends_on_its_position_alone(made: Callable[..., Source]) -> None:
    first, second = made(), made()
    forward = [first.sample(position) for position in range(12)]
    backward = [second.sample(position) for position in reversed(range(12))][::-1]
    assert all(map(same, forward, backward))
    assert len({sample["caption"] for sample in forward}) > 1


def test_every_word_of_its_captions_is_in_its_vocabulary(made: Callable[..., Source]) -> None:
    source = made()
    words = source.vocabulary()
    unknown = {word for caption in source.captions(300) for word in words.unknown(caption)}
    assert words.counts and not unknown
    assert words.unknown("zyxwv") == ["zyxwv"]


def test_captions_are_those_of_the_stream(made: Callable[..., Source]) -> None:
    source = made()
    assert list(source.captions(9)) == [source.sample(n)["caption"] for n in range(9)]


@pytest.mark.parametrize(("count", "block"), [(1, 1), (3, 1), (2, 4), (4, 2)])
def test_shards_deal_out_the_stream(made: Callable[..., Source], count: int, block: int) -> None:
    source = made()
    shards = [iter(source.shard(index, count, block)) for index in range(count)]
    dealt = [sample for _ in range(2) for shard in shards for sample in islice(shard, block)]
    assert all(map(same, dealt, islice(source, 2 * count * block)))


def test_a_saved_position_continues_exactly(made: Callable[..., Source]) -> None:
    source = made()
    assert source.state_dict() == {"position": 0}
    resumed = made()
    resumed.load_state_dict({"position": 5})
    assert resumed.state_dict() == {"position": 5}
    assert all(map(same, islice(resumed, 6), islice(source, 5, 11)))
    sharded = [next(iter(resumed.shard(index, 2))) for index in range(2)]
    assert all(map(same, sharded, islice(source, 5, 7)))


def test_a_worker_process_sees_the_same_stream(made: Callable[..., Source]) -> None:
    source = made()
    source.sample(0)
    assert same(pickle.loads(pickle.dumps(source)).sample(3), source.sample(3))


def test_a_seed_changes_the_stream(made: Callable[..., Source]) -> None:
    assert list(made(seed=1).captions(12)) != list(made(seed=2).captions(12))


def test_a_misspelt_setting_names_the_right_one(made: Callable[..., Source]) -> None:
    with pytest.raises(UsageError, match=r"unknown setting 'sead'.*did you mean 'seed'"):
        made(sead=1)


def test_a_configuration_survives_being_written_down(made: Callable[..., Source]) -> None:
    config: Any = made().config  # type: ignore[attr-defined]
    assert type(config).parse(config.dump()) == config
