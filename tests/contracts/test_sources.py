"""What every data source keeps: the stream is a pure function of position, however it is cut.

A new file in `unclip/data`, or a room with a SOURCE, is tested by existing; it needs one entry in
`EXAMPLES`. A source need not have random access (the `Stream` below has none), nor pictures.
"""

from __future__ import annotations

import json
import pickle
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from itertools import count, islice
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import datasets
import numpy as np
import pyarrow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from pydantic import Field

from unclip.config import Config
from unclip.data import SOURCES, IndexedSource, Sample, Source, opened, settings_of, source_at
from unclip.data.inspect import contact_sheet
from unclip.data.split import held_out, is_held_out, split
from unclip.data.webdataset import write_index, write_shard
from unclip.emoji.corpus import build
from unclip.errors import DataError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.train.config import TrainConfig
from unclip.train.loader import Loader
from unclip.train.state import load_state
from unclip.train.task import Task
from unclip.train.trainer import Trainer

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"
SIZE = (32, 32)


def png(number: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (40, 30), (number * 30, 9, 9)).save(file, "PNG")
    return file.getvalue()


def words(number: int) -> list[str]:
    return [f"shade {number}", f"colour {number}"]


def emoji(folder: Path) -> dict[str, Any]:
    build(folder / "corpus", ASSETS, "everyday", ["noto"])
    return {"path": folder / "corpus"}


def pictures(folder: Path) -> dict[str, Any]:
    for number in range(7):
        (folder / f"{number}.png").write_bytes(png(number))
        (folder / f"{number}.txt").write_text("\n".join(words(number)))
    return {"path": folder}


def coco(folder: Path) -> dict[str, Any]:
    (folder / "val2017").mkdir()
    (folder / "annotations").mkdir()
    images, annotations = [], []
    for number in range(7):
        (folder / "val2017" / f"{number:012}.png").write_bytes(png(number))
        images.append({"id": 10 - number, "file_name": f"{number:012}.png", "height": 30})
        annotations += [{"image_id": 10 - number, "id": 1, "caption": w} for w in words(number)]
    values = {"images": images, "annotations": annotations, "licenses": []}
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(values))
    return {"path": folder}


def tars(folder: Path) -> dict[str, Any]:
    def samples(numbers: range) -> Iterator[tuple[str, dict[str, bytes]]]:
        for n in numbers:
            yield f"{n:09}", {"png": png(n), "txt": "\n".join(words(n)).encode(), "json": b"{}"}

    shards = [
        write_shard(folder / f"{start:05}.tar", samples(range(start, min(7, start + 3))))
        for start in (0, 3, 6)
    ]
    write_index(folder, shards[:2])
    return {"path": folder, "shuffle_window": 2}


def row_groups(folder: Path) -> dict[str, Any]:
    table = pyarrow.table(
        {
            "image": [{"bytes": png(number), "path": None} for number in range(7)],
            "text": [words(number) for number in range(7)],
            "url": ["somewhere"] * 7,
        }
    )
    parquet.write_table(table.slice(0, 4), folder / "train-00000.parquet", row_group_size=2)
    parquet.write_table(table.slice(4), folder / "train-00001.parquet", row_group_size=2)
    return {"path": folder, "shuffle_window": 2}


def hugging_face(folder: Path) -> dict[str, Any]:
    (folder / "pictures").mkdir()
    paths = []
    for number in range(7):
        paths.append(str(folder / "pictures" / f"{number}.png"))
        Path(paths[-1]).write_bytes(png(number))
    columns = {"image": paths, "text": [words(number) for number in range(7)]}
    data = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": data}).save_to_disk(str(folder / "saved"))
    return {"path": str(folder / "saved")}


def arrays(folder: Path, width: int = 16) -> dict[str, Any]:
    """Of a CLIP of this width, whose texts have 8 tokens."""
    rng, kinds = np.random.default_rng(0), ("img_emb", "text_emb", "text_encodings")
    for number, rows in enumerate((4, 3)):
        for kind, shape in zip(kinds, ((width,), (width,), (8, width)), strict=True):
            (folder / kind).mkdir(exist_ok=True)
            values = rng.standard_normal((rows, *shape)).astype(np.float16)
            np.save(folder / kind / f"{kind}_{number}.npy", values)
        (folder / "metadata").mkdir(exist_ok=True)
        if number:
            table = pyarrow.table({"caption": [words(4 + row)[0] for row in range(rows)]})
            parquet.write_table(table, folder / "metadata" / "metadata_1.parquet")
        else:
            lines = [json.dumps({"caption": words(row)}) for row in range(rows)]
            (folder / "metadata" / "metadata_0.jsonl").write_text("\n".join(lines))
    return {"path": folder}


def mixture(folder: Path) -> dict[str, Any]:
    pictures(folder)
    part = {"source": "folder", "path": str(folder), "weight": 2}
    return {"parts": [part, {"source": "shapes", "seed": 4}]}


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "coco": coco,
    "embeddings": arrays,
    "emoji": emoji,
    "folder": pictures,
    "hf": hugging_face,
    "mixture": mixture,
    "parquet": row_groups,
    "shapes": lambda _: {},
    "stream": lambda _: {},
    "webdataset": tars,
}

Made = Callable[..., Any]


class StreamConfig(Config):
    """Where it begins to count."""

    seed: int = Field(default=0, ge=0)


class Stream(Source):
    """A newcomer without random access: it reads on from the beginning to where it should be."""

    Config = StreamConfig

    def __init__(self, config: StreamConfig | None = None, size: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.config, self.size = config or StreamConfig(), size

    def __iter__(self) -> Iterator[Sample]:
        wanted = self.positions()
        position = next(wanted)
        for number in count():
            if number == position:
                shade = number + self.config.seed
                image = np.full((*self.size, 3), shade % 256, dtype=np.uint8)
                yield {"image": image, "caption": f"number {shade}"}
                position = next(wanted)

    def captions(self, count: int) -> Iterator[str]:
        return (f"number {number + self.config.seed}" for number in range(count))


@pytest.fixture(scope="module", params=sorted({*SOURCES.names(), "stream"}))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    name: str = request.param
    assert name in EXAMPLES, f"give the source '{name}' an entry in EXAMPLES"
    values = EXAMPLES[name](tmp_path_factory.mktemp(name))
    cls: Any = Stream if name == "stream" else SOURCES[name]
    return lambda size=SIZE, **more: cls(cls.Config.parse(values | more), size)


def same(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(bool(np.all(a[key] == b[key])) for key in a)


def samples(source: Source, start: int, stop: int) -> list[Any]:
    """Those at some positions, in the order of the stream."""
    source = source.shard(0, 1)
    source.load_state_dict({"position": start})
    return list(islice(source, stop - start))


def test_a_sample_is_a_pair(made: Made) -> None:
    """Of a picture, or of an embedding, and a caption; wherever in the stream it is."""
    source = made()
    far = [10**9] if isinstance(source, IndexedSource) else []
    for position in (0, 1, *far):
        (sample,) = samples(source, position, position + 1)
        assert sample["caption"].strip()
        assert "skipped" not in sample
        if "image" in sample:
            assert sample["image"].shape == (*SIZE, 3)
            assert sample["image"].dtype == np.uint8
        else:
            assert sample["image_embed"].ndim == 1
            assert sample["image_embed"].dtype == np.float32


def test_pictures_are_of_any_height_and_width(made: Made) -> None:
    """Or the source says that it has squares alone."""
    for size in ((24, 40), (40, 24)):
        try:
            source = made(size=size)
        except UsageError as error:
            refused = str(error)
            assert refused.endswith(f"square pictures, not {size[1]}×{size[0]}")
            continue
        (sample,) = samples(source, 3, 4)
        assert "image" not in sample or sample["image"].shape == (*size, 3)
        assert list(source.captions(5)) == list(made().captions(5))


def test_a_sample_depends_on_its_position_alone(made: Made) -> None:
    forward = samples(made(), 0, 12)
    other = made()
    backward = [samples(other, n, n + 1)[0] for n in reversed(range(12))][::-1]
    assert all(map(same, forward, backward))
    assert len({sample["caption"] for sample in forward}) > 1


def test_every_word_of_its_captions_is_in_its_vocabulary(made: Made) -> None:
    source = made()
    if isinstance(source, Stream):
        return  # it counts without end: most of its words are rare
    known = source.vocabulary()
    unknown = {word for caption in source.captions(300) for word in known.unknown(caption)}
    assert known.counts and not unknown
    assert known.unknown("zyxwv") == ["zyxwv"]


def test_captions_are_those_of_the_stream(made: Made) -> None:
    source = made()
    assert list(source.captions(9)) == [sample["caption"] for sample in samples(source, 0, 9)]


@settings(max_examples=10)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 20))
def test_shards_deal_out_the_stream(made: Made, count: int, block: int, start: int) -> None:
    source = made()
    source.load_state_dict({"position": start})
    shards = [iter(source.shard(index, count, block)) for index in range(count)]
    dealt = [sample for _ in range(2) for shard in shards for sample in islice(shard, block)]
    assert all(map(same, dealt, samples(source, start, start + 2 * count * block)))


def test_a_saved_position_continues_exactly(made: Made) -> None:
    source = made()
    assert source.state_dict() == {"position": 0}
    resumed = made()
    resumed.load_state_dict({"position": 5})
    assert resumed.state_dict() == {"position": 5}
    assert all(map(same, islice(resumed, 6), islice(source, 5, 11)))
    sharded = [next(iter(resumed.shard(index, 2))) for index in range(2)]
    assert all(map(same, sharded, islice(source, 5, 7)))


def test_a_worker_process_sees_the_same_stream(made: Made) -> None:
    source = made()
    samples(source, 0, 1)
    sent = pickle.loads(pickle.dumps(source))
    assert all(map(same, samples(sent, 3, 5), samples(source, 3, 5)))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
def test_batches_are_the_same_from_any_number_of_workers_and_ranks(made: Made) -> None:
    """Also after a stop in the middle of an epoch, with other workers and another batch size."""
    dealt = [digests(samples(made(), 4 * n, 4 * n + 4))["digest"].tolist() for n in range(4)]
    first = Loader(made(), digests, 4, 2)
    assert [next(first)["digest"].tolist() for _ in range(2)] == dealt[:2]
    ranks = [Loader(made(), digests, 2, rank, rank, 2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(first.state_dict())
    after = [next(rank)["digest"].tolist() for _ in range(2) for rank in ranks]
    assert after == [part for batch in dealt[2:] for part in (batch[:2], batch[2:])]


def trained(trainer: Trainer, until: int) -> list[str]:
    """Train to a step and save; every bit of the losses."""
    watcher = Mock()
    trainer.clock.stop = lambda: trainer.step >= until
    trainer.run(watcher)
    return [call.args[1]["loss"].hex() for call in watcher.scalars.call_args_list]


def test_a_training_that_was_stopped_goes_on_exactly(
    made: Made, make_stage: Callable[..., Any], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """In the middle of an epoch, by another trainer: the next five losses, and what is saved."""
    config = TrainConfig(steps=7, batch_size=2, log_every=1, workers=0, precision="float32")

    def begun(folder: str) -> Trainer:
        task = Task(make_stage("prior"), make_stage("clip"))
        loader = Loader(made(size=task.source_size), task.collate(tokenizer), 2, 0)
        return Trainer(task, loader, config, tmp_path / folder)

    whole = trained(begun("whole"), 7)
    assert len({*whole}) == 7
    assert trained(begun("cut"), 2) == whole[:2]
    torch.manual_seed(1)  # another process is elsewhere
    again = begun("cut")
    assert again.resume()
    assert trained(again, 7) == whole[2:]
    one, other = (load_state(tmp_path / name / "step-00000007") for name in ("whole", "cut"))
    assert one.values["data"] == other.values["data"] == {"position": 14}
    assert one.tensors.keys() == other.tensors.keys()
    for group, held in one.tensors.items():
        assert held.keys() == other.tensors[group].keys()
        assert all(torch.equal(value, other.tensors[group][key]) for key, value in held.items())


def digests(samples: Sequence[Any]) -> dict[str, torch.Tensor]:
    """A number for each sample: of everything that is in it."""
    told = [
        zlib.crc32(b"".join(np.asarray(sample[key]).tobytes() for key in sorted(sample)))
        for sample in ({k: v for k, v in one.items() if k != "spec"} for one in samples)
    ]
    return {"digest": torch.tensor(told)}


def test_a_seed_changes_the_stream(made: Made) -> None:
    assert list(made(seed=1).captions(12)) != list(made(seed=2).captions(12))


def test_a_misspelt_setting_names_the_right_one(made: Made) -> None:
    with pytest.raises(UsageError, match=r"unknown setting 'sead'.*did you mean 'seed'"):
        made(sead=1)


def test_a_configuration_survives_being_written_down(made: Made) -> None:
    config: Any = made().config
    assert type(config).parse(config.dump()) == config


def shown(source: IndexedSource, position: int) -> bytes:
    """What is seen at a position: a picture, or its embedding."""
    sample: Any = source.sample(position)
    return bytes(sample.get("image", sample.get("image_embed")).tobytes())


def test_what_is_held_out_is_never_trained_on(made: Made) -> None:
    """In no epoch, with no seed, and whichever of its captions a picture has.

    Each picture is told by what it shows, so that a source whose `key` is none is found out.
    """
    source, share = made(), 0.3
    if not isinstance(source, IndexedSource):
        return  # it is refused
    positions = held_out(source, share, 5)
    kept = split(source, share)
    places = [kept.original(position) for position in range(40)]
    pictures = [{shown(source, n) for n in some} for some in (positions, places)]
    assert pictures[0] and pictures[1] and not pictures[0] & pictures[1]
    assert len({source.key(position) for position in positions}) == len(positions)
    other = split(made(seed=7), share)
    assert all(not is_held_out(other.key(position), share) for position in range(40))
    wanted = [kept.sample(position) for position in range(5, 8)]
    assert all(map(same, samples(split(made(), share), 5, 8), wanted))
    assert list(kept.captions(3)) == [kept.sample(position)["caption"] for position in range(3)]


@pytest.mark.parametrize("name", SOURCES.names())
def test_a_recipe_is_told_which_settings_a_source_takes(name: str) -> None:
    fields = ", ".join(SOURCES[name].Config.model_fields)
    takes = re.escape(f"; the source '{name}' takes: {fields}") + "$"
    with pytest.raises(UsageError, match=r"unknown setting 'data\.nounz'.*" + takes):
        settings_of({"source": name, "nounz": ["fox"]})


@pytest.mark.parametrize("name", sorted({*EXAMPLES} - {"mixture", "shapes", "stream"}))
def test_a_folder_is_known_by_what_is_in_it(name: str, tmp_path: Path) -> None:
    """And the pictures of the training can be looked at."""
    path = Path(EXAMPLES[name](tmp_path)["path"])
    source = source_at(path, SIZE)
    assert type(source) is SOURCES[name]
    assert source.summary()["kind"]
    sheet = np.asarray(contact_sheet(source, 1, 3))
    assert len(np.unique(sheet)) > 2  # captions, and pictures where there are any


def test_data_of_another_source_are_known(tmp_path: Path) -> None:
    """Tars are no folder of pictures, and the message says what they are."""
    path = tars(tmp_path)["path"]
    config = settings_of({"source": "folder", "path": str(path)})
    with pytest.raises(DataError, match=r"has no pictures .*it looks like .* 'webdataset'$"):
        opened("folder", config, SIZE)
    (tmp_path / "empty").mkdir()
    config = settings_of({"source": "coco", "path": str(tmp_path / "empty")})
    with pytest.raises(DataError, match=r"captions_\*\.json$"):
        opened("coco", config, SIZE)


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
