"""What frozen networks say of the data, kept on disk: a prior then trains without CLIP.

RUN/cache/pictures-MODEL/, texts-MODEL/, latents-MODEL/: see `RowStore`. A row's key is made of the
content of the picture's file, and of which part of it is seen at which size; MODEL is made of the
network's numbers and settings, and of the precision. So nothing stale is ever met: what has changed
has another key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import IndexedSource, Item, Sample, Source
from ..data.framing import Frame, Framed
from ..device import autocast
from ..errors import DataError, UsageError
from ..nn.tokenizer import Tokenizer
from ..stages.stage import DiffusionStage
from ..types import Cond
from .collate import pictures
from .config import TrainConfig
from .cost import task_on_meta
from .data import seen_by
from .recipe import Recipe
from .rows import KEY, RowStore, key_of
from .task import Task
from .world import World

BATCH = 64
"""Pictures or texts that a network is shown at once."""

FILE_BYTES = 64 * 2**20
"""Size at which a file of the cache is written."""

OnProgress = Callable[[str, int, int], None]


class Cached(Framed):
    """The samples of another source, with what a store knows of them in place of pictures."""

    inner: Framed

    def __init__(self, inner: Framed, encoders: Sequence[Encoder], pixels: bool) -> None:
        """`pixels`: whether the pictures themselves are needed too."""
        super().__init__(inner, inner.settings, inner.size)
        self.known = {one.kind: one.store for one in encoders}
        self.pixels = pixels

    def frame(self, position: int) -> Frame:
        """Of the other source."""
        return self.inner.frame(position)

    def stand_in(self, position: int, tries: int) -> int:
        """Of the other source."""
        return self.inner.stand_in(position, tries)

    def shard(self, index: int, count: int, block: int = 1) -> Self:
        """See `Source`. Raises UsageError where the other source cannot be cut so."""
        ahead = self.inner.shard(0, 1)
        ahead.load_state_dict(self.state_dict())
        ahead.shard(index, count, block)
        return super().shard(index, count, block)

    def sample(self, position: int) -> Sample:
        """See `IndexedSource`. Raises DataError where a picture has changed since it was seen."""
        item, frame = self.stored(position), self.frame(position)
        made: Any = {"caption": item.captions[0]}
        for kind, store in self.known.items():
            key = text_key(made["caption"]) if kind == "texts" else picture_key(item, frame)
            try:
                made |= store[key]
            except KeyError:
                frame.see(item)  # which says why, where it cannot be read
                why = "it has changed since the cache was filled"
                raise DataError(f"{item.name} is not in the cache: {why}") from None
        if self.pixels:
            made |= frame.see(item)
        return made  # type: ignore[no-any-return]


def text_key(caption: str) -> bytes:
    """The key of a caption."""
    return key_of("text", caption)


def picture_key(item: Item, frame: Frame) -> bytes:
    """The key of what is seen of a stored picture. Raises DataError."""
    try:
        if isinstance(item.picture, Path):
            stat = item.picture.stat()
            content = _content(item.picture, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        else:
            content = hashlib.blake2b(item.read()).digest()
    except OSError as error:
        raise DataError(f"cannot read {item.name}: {error.strerror or error}") from None
    return key_of("picture", content, frame.key)


@lru_cache(maxsize=2**21)
def _content(path: Path, *state: int) -> bytes:
    """The digest of a file, read once as long as nothing of its state changes."""
    return hashlib.blake2b(path.read_bytes()).digest()


def fingerprint(module: nn.Module, *settings: object) -> str:
    """Names a network's numbers and settings."""
    found = hashlib.sha256(json.dumps([str(one) for one in settings]).encode())
    for name, tensor in module.state_dict().items():
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


class Encoder:
    """What a task's frozen networks say of one kind of thing: pictures, texts, latents."""

    def __init__(self, kind: str, task: Task, fields: frozenset[str]) -> None:
        self.kind, self.task, self.fields = kind, task, fields
        self.store: Any = None

    def open(self, folder: Path, tokenizer: Tokenizer, dtype: torch.dtype) -> None:
        """Find what is known already."""
        module, settings = self._module(), [*sorted(self.fields), dtype]
        settings += [tokenizer.to_json()] if self.kind == "texts" else []
        self.store = RowStore(folder / f"{self.kind}-{fingerprint(module, *settings)}")

    def _module(self) -> nn.Module:
        net = self.task.stage.net if self.kind == "latents" else self.task.clip[0].net
        return net.autoencoder if self.kind == "latents" else net  # type: ignore[return-value]

    def encode(self, cond: Cond) -> dict[str, Tensor]:
        """The fields (B, ...) of pictures or of tokens."""
        if self.kind == "texts":
            cond = self.task.clip[0].encode_text(cond)
        elif self.kind == "pictures":
            cond = self.task.embedded(cond, self.fields)
        else:
            stage = self.task.stage
            assert isinstance(stage, DiffusionStage) and cond.image is not None
            cond = cond.replace(latents=stage.space.encode(cond.image))
        return {name: value for name, value in cond.items() if name in self.fields}


def encoders(task: Task) -> list[Encoder]:
    """Those of the fields that a task takes from its samples where they are there."""
    kinds = {
        "pictures": frozenset({"image_embed", "image_patches"}),
        "texts": frozenset({"text_embed", "text_encodings"}),
        "latents": frozenset({"latents"}),
    }
    if getattr(task.stage, "inpaints", False):
        del kinds["latents"]  # the network looks at the picture itself too
    found = [Encoder(kind, task, task._encoded & names) for kind, names in kinds.items()]
    return [one for one in found if one.fields]


def cached(
    source: Source,
    task: Task,
    tokenizer: Tokenizer,
    folder: Path,
    config: TrainConfig,
    device: torch.device,
    on_progress: OnProgress = lambda what, done, total: None,
    world: World | None = None,
) -> Source:
    """A source whose samples hold what the task's frozen networks say, from a cache.

    What the cache lacks is encoded now, of several processes a part by each. Its files are written
    one by one, each whole: stopped, it goes on.

    Args:
        source: of stored pictures.
        task: whose networks have their final numbers.
        tokenizer: of the captions.
        folder: of the cache.
        config: of the stage.
        device: where networks compute.
        on_progress: told what is encoded, how many are done, and of how many.
        world: the processes that ask for it together, and see one folder.

    Raises:
        UsageError: the source makes its pictures, or cuts them at random.
        OutputError: the cache cannot be written.
    """
    known = encoders(task)
    if not known:
        return source
    inner, world = stored_source(source, task.name), world or World()
    dtype = config.dtype(device)
    task = task.to(device)
    for helper in task.frozen:
        helper.to(device)
    for one in known:
        one.open(folder, tokenizer, dtype)
        with torch.no_grad(), autocast(device, dtype):
            fill = partial(_fill, one, inner, tokenizer, config, device, on_progress, world)
            world.each(fill)
        one.store.refresh()
    made = {name for one in known for name in one.fields}
    return Cached(inner, known, pixels=needs_pixels(task, made))


def cache_bytes(recipe: Recipe, name: str) -> int | None:
    """What the cache of a stage will take on disk; None where it has none.

    Every picture and every caption counts, as if no two were the same.

    Raises:
        UsageError: the data cannot be kept.
        DataError: they are not there.
    """
    config = recipe.trained[name]
    if not config.cache:
        return None
    task, total = task_on_meta(recipe, name, torch.float32), 0
    source = stored_source(seen_by(recipe, name, task), name)
    frames = 2 if source.settings.flip else 1
    for kind, fields in row_shapes(recipe, task, task.source_size).items():
        row = KEY + sum(4 * shape.numel() for shape in fields.values())
        texts = kind == "texts"
        count = sum(len(item.captions) for item in source.items()) if texts else source.count or 0
        total += row * count * (1 if texts else frames)
    return total


def row_shapes(
    recipe: Recipe, task: Task, size: tuple[int, int]
) -> dict[str, dict[str, torch.Size]]:
    """The shape of each field of a row, by kind; of a task on `meta` and (height, width) pictures.

    Latents are as large as the picture is.
    """
    with torch.device("meta"):
        blank = task.blank(1, recipe.settings.tokenizer.context)
        shown = Cond(image=pictures(torch.empty(1, *size, 3, dtype=torch.uint8)))
    told = Cond(text_tokens=blank["text_tokens"], text_mask=blank["text_mask"])
    rows = {one.kind: one.encode(told if one.kind == "texts" else shown) for one in encoders(task)}
    return {
        kind: {name: value.shape[1:] for name, value in fields.items()}
        for kind, fields in rows.items()
    }


def needs_pixels(task: Task, made: set[str]) -> bool:
    """Whether a task needs pictures beside the fields that it finds in its samples."""
    of_pixels = {"image", "image_embed", "image_patches", "latents"}
    return type(task) is not Task or bool((task._wanted - made) & of_pixels)


def stored_source(source: Source, name: str) -> Framed:
    """A source with stored pictures, each with a frame, for the cache of stage `name`.

    Raises:
        UsageError: the source makes its pictures, or cuts them at random.
    """
    if not (isinstance(source, IndexedSource) and source.stores):
        raise UsageError(
            f"setting 'stages.{name}.train.cache' needs a source that stores pictures, such as a "
            f"folder; '{type(source).__name__.lower()}' makes its samples"
        )
    found = source if isinstance(source, Framed) else Framed.whole(source)
    if found.settings.crop == "random":
        raise UsageError(
            f"setting 'stages.{name}.train.cache' needs samples that come again, and with "
            "data.crop = 'random' no two are the same"
        )
    return found


def _fill(
    one: Encoder, source: Framed, tokenizer: Tokenizer, config: TrainConfig, device: torch.device,
    on_progress: OnProgress, world: World,
) -> None:  # fmt: skip
    """Encode what the store lacks: of several processes each its part."""
    if one.kind == "texts":
        every = dict.fromkeys(text for item in source.items() for text in item.captions)
        captions = islice(every, world.rank, None, world.size)
        texts = {text_key(text): text for text in captions if text_key(text) not in one.store}
        batches, total = _batches(iter(texts.items())), len(texts)
        load = _tokens(tokenizer)
    else:
        unseen = dict(_unseen(source, one.store, world))
        by_size = sorted(unseen.items(), key=lambda pair: pair[1][1].size)
        batches, total = _batches(iter(by_size), size=lambda pair: pair[1][1].size), len(unseen)
        load = _pixels(max(1, config.workers))
    _write(one, batches, load, device, total, on_progress)


def _unseen(
    source: Framed, store: RowStore, world: World
) -> Iterator[tuple[bytes, tuple[Item, Frame]]]:
    for item, frames in islice(source.variants(), world.rank, None, world.size):
        for frame in () if item.fault else frames:
            try:
                key = picture_key(item, frame)
            except DataError:  # it is skipped, and counted, when its turn comes
                continue
            if key not in store:
                yield key, (item, frame)


def _batches(
    pairs: Iterator[tuple[bytes, Any]], size: Callable[[Any], object] = lambda pair: None
) -> Iterator[list[tuple[bytes, Any]]]:
    """Up to `BATCH` neighbours of one size."""
    batch: list[tuple[bytes, Any]] = []
    for pair in pairs:
        if batch and (len(batch) == BATCH or size(pair) != size(batch[0])):
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


Load = Callable[[list[tuple[bytes, Any]]], tuple[list[bytes], Cond | None]]


def _tokens(tokenizer: Tokenizer) -> Load:
    def load(batch: list[tuple[bytes, Any]]) -> tuple[list[bytes], Cond | None]:
        tokens, mask = tokenizer.encode([text for _, text in batch])
        return [key for key, _ in batch], Cond(text_tokens=tokens, text_mask=mask)

    return load


def _pixels(threads: int) -> Load:
    def read(pair: tuple[bytes, Any]) -> NDArray[np.uint8] | None:
        item, frame = pair[1]
        try:
            return frame.read(item.picture)  # type: ignore[no-any-return]
        except DataError:
            return None

    def load(batch: list[tuple[bytes, Any]]) -> tuple[list[bytes], Cond | None]:
        with ThreadPoolExecutor(threads) as pool:
            images = list(pool.map(read, batch))
        keys = [key for (key, _), image in zip(batch, images, strict=True) if image is not None]
        sound = [image for image in images if image is not None]
        if not sound:
            return [], None
        return keys, Cond(image=pictures(torch.from_numpy(np.stack(sound))))

    return load


def _write(
    one: Encoder, batches: Iterator[list[tuple[bytes, Any]]], load: Load, device: torch.device,
    total: int, on_progress: OnProgress,
) -> None:  # fmt: skip
    keys: list[bytes] = []
    rows: dict[str, list[NDArray[np.float32]]] = {}
    waiting = done = 0

    def flush() -> None:
        if keys:
            one.store.add(keys, {name: np.concatenate(parts) for name, parts in rows.items()})
            keys.clear()
            rows.clear()

    for batch in batches:
        own, cond = load(batch)
        done += len(batch)
        if cond is not None:
            found = one.encode(cond.map(lambda value: value.to(device)))
            arrays = {name: value.float().cpu().numpy() for name, value in found.items()}
            shapes = {name: value.shape[1:] for name, value in arrays.items()}
            if rows and any(rows[name][0].shape[1:] != shapes[name] for name in shapes):
                flush()  # latents of another bucket
            keys += own
            for name, array in arrays.items():
                rows.setdefault(name, []).append(array)
            waiting += sum(array.nbytes for array in arrays.values())
        if waiting >= FILE_BYTES:
            flush()
            waiting = 0
        on_progress(one.kind, done, total)
    flush()
