"""`unclip embed`: CLIP embeddings of many pictures."""
# Without `from __future__ import annotations`: see `_options`.

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError, about, counted
from ._options import Command, ModelOptions, flag, option
from ._shards import ClusterOptions, anywhere, folder_of, plan, run_shards, tell
from ._terminal import complain

if TYPE_CHECKING:
    from ..bulk.embedding import Embedding

FORMATS = ("unclip", "clip-retrieval")
NUMBERS = ("float16", "float32")
NAMED = 3
"""Pictures that could not be read, of which a line says why; a file has all."""

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SRC",
        help="Pictures: a folder, COCO, tars, parquet, a saved data set of Hugging Face.",
    ),
]
Format = Annotated[
    str,
    option(
        "--format", "NAME", "unclip, or clip-retrieval with its tables of captions (needs pyarrow)."
    ),
]
Encodings = Annotated[
    bool,
    flag("--encodings", "Write the texts' encodings too, one a token: priors train without CLIP."),
]
Number = Annotated[str, option("--number", "NAME", "What is written: float16 or float32.")]
Batch = Annotated[int, option("--batch-size", "N", "Pictures that are embedded at once.")]
Readers = Annotated[int, option("--workers", "N", "Threads that read pictures.")]
ShardSize = Annotated[int, option("--shard-size", "N", "Most pictures of a shard.")]
NoCaptions = Annotated[
    bool,
    flag("--no-captions", "Embed all pictures alone, also those that have no caption."),
]
Captions = Annotated[
    bool,
    flag("--captions", "Embed pictures that have captions, and these, however few have some."),
]
PictureColumn = Annotated[
    str | None,
    option("--picture-column", "NAME", "Column of the pictures in a table.", "its usual name"),
]
CaptionColumn = Annotated[
    str | None,
    option("--caption-column", "NAME", "Column of the captions in a table.", "its usual name"),
]


@dataclass(frozen=True, kw_only=True)
class Embed(ModelOptions, ClusterOptions):
    """Write CLIP embeddings of pictures and captions.

    They are written in shards, each whole or not at all: the same command goes on after a stop.
    Pictures that cannot be read are left out, counted, and named in skipped.txt. A picture with
    several captions has a row for each. Where none of some hundred pictures from all over has a
    caption, the pictures alone are embedded. docs/bulk.md trains a prior from the embeddings.

    \b
    Examples:
      unclip embed photos/ --out embedded
      unclip embed tars/ --out embedded --model karlo/ --encodings --device cuda
      unclip embed coco/ --out embedded --format clip-retrieval
      unclip embed /shared/tars --out /shared/embedded --ray auto --ray-gpus 1
    """

    source: Source
    out: Annotated[Path, option("--out", "DIR", "The folder to write.")]
    format: Format = "unclip"
    encodings: Encodings = False
    number: Number = "float16"
    batch_size: Batch = 64
    workers: Readers = 4
    shard_size: ShardSize = 10_000
    captions: Captions = False
    no_captions: NoCaptions = False
    picture_column: PictureColumn = None
    caption_column: CaptionColumn = None

    def run(self) -> None:
        """Embed what is missing, say so."""
        from ..bulk.embedding import finish
        from ..bulk.shards import Shards

        self._check()
        folder, engine = folder_of(self.out), self.engine()
        work = anywhere(self)._work()
        shards = Shards(work, folder)
        if self.dry_run:
            plan(shards, self.out, f"embeddings of {counted(work.count, 'picture')}")
            return
        done = run_shards(shards, engine, "pictures")
        found = finish(shards, work)
        for line in found.skipped[:NAMED]:
            complain(f"skipped: {line}", "warning")
        if len(found.skipped) > NAMED:
            text = f"{len(found.skipped):,} pictures are skipped: {self.out / 'skipped.txt'}"
            complain(text, "warning")
        tell(
            done,
            self.out,
            f"{counted(found.pictures, 'picture')}, {counted(found.rows, 'row')}",
            pictures=found.pictures,
            rows=found.rows,
            skipped=len(found.skipped),
        )

    def _check(self) -> None:
        """Raise UsageError for what is known to be wrong before anything is read."""
        from ..bulk.formats import needs
        from ..errors import unknown

        if self.format not in FORMATS:
            raise unknown("format", self.format, FORMATS).about("format")
        if self.number not in NUMBERS:
            raise unknown("number format", self.number, NUMBERS).about("number")
        if self.captions and self.no_captions:
            raise UsageError("give --captions or --no-captions, not both").about("captions")
        for name in ("batch_size", "workers", "shard_size"):
            if (value := getattr(self, name)) < 1:
                flag_name = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag_name} must be at least 1, got {value}").about(name)
        if self.format == "clip-retrieval":
            needs("pyarrow", "parquet", "tables of clip-retrieval")
            if self.encodings:
                text = "--encodings are of --format unclip: clip-retrieval has no place for them"
                raise UsageError(text).about("encodings")

    def _work(self) -> "Embedding":
        """What there is to embed. Raises UsageError or DataError."""
        from ..bulk import embedding

        with about("source"):
            if not self.source.exists() and "{" not in str(self.source):
                raise UsageError(f"there is no {self.source}: give a folder of pictures")
        named = {"picture_column": self.picture_column, "caption_column": self.caption_column}
        where = self.source.expanduser().absolute()
        open_it = embedding.uncaptioned if self.no_captions else embedding.opened
        read: Any = partial(open_it, where, named)
        pipe = self.load()
        size = embedding.clip_of(pipe).image_size
        assert size is not None
        source = read(size)
        for note in source.notes():
            complain(note, "warning")
        captions = self.captions or (not self.no_captions and embedding.has_captions(source))
        if not captions:
            self._without_captions(len(embedding.looked_at(source)), source.count)
        return embedding.Embedding(
            read,
            str(where),
            source.count,
            embedding.ends_of(source, self.shard_size, captions),
            self.loader(),
            pipe.name,
            pipe.hash,
            "clip-retrieval" if self.format == "clip-retrieval" else "unclip",
            self.encodings,
            "float32" if self.number == "float32" else "float16",
            self.batch_size,
            self.workers,
            self.shard_size,
            captions,
        )

    def _without_captions(self, looked_at: int, count: int) -> None:
        """Say that there will be no embeddings of texts. Raises UsageError where some are asked."""
        none = "has no captions"
        if looked_at < count:
            none = f"has a caption for none of {looked_at:,} pictures looked at, of {count:,}"
        other = "" if looked_at == count else "; if others have some, give --captions"
        if self.encodings:
            why = "leave out --no-captions" if self.no_captions else f"{self.source} {none}{other}"
            raise UsageError(f"--encodings are of captions: {why}").about("encodings")
        if not self.no_captions:
            text = "pictures alone are embedded, and no texts"
            complain(f"{self.source} {none}: {text}{other}", "warning")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("embed", cls=Command)(Embed)
