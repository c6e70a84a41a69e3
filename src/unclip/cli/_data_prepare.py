"""`unclip data prepare`."""
# Without `from __future__ import annotations`: see `_options`.

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import counted
from ._data_check import SOURCE, WORKERS, cores
from ._options import option
from ._progress import counting_progress, waiting
from ._result import report
from ._terminal import complain, say
from ._terminal import size as in_bytes


@dataclass(frozen=True)
class Prepare:
    """Make shards of a dataset, which training streams.

    Pictures become upright sRGB, with a shorter side of at most --size; none is enlarged or
    cropped. Captions lose HTML entities, line breaks and double spaces. The shards are tars that
    webdataset reads too; index.json holds their hashes, skipped.txt names what could not be used.
    Stopped and run again, the command goes on. The bytes are the same every time.

    \b
    Examples:
      unclip data prepare photos/ --out data/photos --size 256
      unclip data prepare photos/ --out data/photos --size 512 --picture webp --quality 90
      unclip data check data/photos
    """

    source: Annotated[Path, typer.Argument(metavar="SRC", help=SOURCE)]
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")]
    size: Annotated[
        int | None,
        option("--size", "SIDE", "Longest shorter side; no picture is enlarged.", "as stored"),
    ] = None
    picture: Annotated[
        str, typer.Option(metavar="jpeg|png|webp", help="Format of the pictures.")
    ] = "jpeg"
    quality: Annotated[int, typer.Option(metavar="1..100", help="Of JPEG and WebP.")] = 95
    caption_length: Annotated[
        int, typer.Option("--caption-length", metavar="N", help="Most letters of a caption.")
    ] = 1000
    shard_size: Annotated[
        int, typer.Option("--shard-size", metavar="N", help="Pictures of a shard.")
    ] = 1000
    workers: Annotated[int | None, option("--workers", "N", WORKERS, "one a core")] = None

    def run(self) -> None:
        """Make the shards, say what they hold."""
        from ..data import source_at
        from ..data.prepare import SKIPPED, PrepareSettings, prepare
        from ._output import check_writable

        names = ("size", "picture", "quality", "caption_length", "shard_size")
        settings = PrepareSettings.parse({name: getattr(self, name) for name in names})
        check_writable(self.out / "any")
        with waiting("listing the data"):
            source = source_at(self.source, (64, 64))
            total = source.count
        with counting_progress("pictures") as on_progress:
            done = prepare(source, self.out, settings, self.workers or cores(), on_progress, total)
        for note in source.notes():
            complain(note, "warning")
        if done.skipped:
            first = done.skipped[0]
            complain(
                f"{counted(len(done.skipped), 'picture was', 'pictures were')} skipped: "
                f"{first.name}: {first.why}; {self.out / SKIPPED} names all",
                "warning",
            )
        report(
            path=self.out, samples=done.samples, shards=done.shards, kept=done.kept,
            bytes=done.stored_bytes, skipped=[one._asdict() for one in done.skipped[:1000]],
        )  # fmt: skip
        kept = f" ({done.kept:,} were there)" if done.kept else ""
        say(
            f"{self.out}: {counted(done.samples, 'sample')} in {counted(done.shards, 'shard')}"
            f"{kept}, {in_bytes(done.stored_bytes)}"
        )
