"""What becomes of samples that cannot be made: counted, named in a log, too many stop training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import DataError, counted
from ..files import writing
from .world import World

MOST = 0.01
"""Largest share of samples that may be skipped, unless a recipe says otherwise."""

FIRST = 1000
"""A share is that of at least so many samples: one fault in the first ten is not a tenth."""

_NAMED = 100_000  # lines that are remembered, so that each is written once


class Skipped:
    """Counts the samples that others stood in for, and writes why into a log, each reason once.

    Args:
        file: the log; it is made with the first line. None: nothing is written.
        most: largest share of samples that may be skipped.
        title: the stage that is trained, with which each line begins.
    """

    def __init__(self, file: Path | None = None, most: float = MOST, title: str = "") -> None:
        self.file, self.most, self.title = file, most, title
        self.made, self.skipped = 0, 0  # of all processes up to `meet`, and of this one since
        self._met = (0, 0)  # these two then
        self.warn: Callable[[str], None] = lambda line: None
        self._known: set[str] = set()

    def count(self, made: int, faults: Sequence[str]) -> None:
        """`made` more samples, and what is wrong with those that were skipped for them.

        Raises:
            DataError: more than the share `most` have been skipped.
            OutputError: the log cannot be written.
        """
        made, skipped = self.made + made, self.skipped + len(faults)
        self.name(faults)
        if faults and skipped > self.most * max(FIRST, made):
            where = f"; {self.file} names them" if self.file else ""
            raise DataError(
                f"{counted(skipped, 'sample')} of the first {made:,} cannot be used, "
                f"more than data.max_skipped = {self.most:g}: {faults[-1]}{where}"
            )
        self.made, self.skipped = made, skipped

    def meet(self, world: World) -> None:
        """Add up what all processes have counted since they last did."""
        made, skipped = self._met
        new = world.total((self.made - made, self.skipped - skipped))
        self.load_state_dict({"made": made + new[0], "skipped": skipped + new[1]})

    def state_dict(self) -> dict[str, int]:
        """The counts, which are all processes' after `meet`."""
        return {"made": self.made, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on counting from there; states of before there were counts have none."""
        self.made, self.skipped = int(state.get("made", 0)), int(state.get("skipped", 0))
        self._met = self.made, self.skipped

    def name(self, faults: Sequence[str]) -> None:
        """Write lines that are new into the log; a person is told of the first one."""
        new = [line for line in dict.fromkeys(faults) if line not in self._known]
        if not new:
            return
        if not self._known:
            rest = f"; all such samples are named in {self.file}" if self.file else ""
            self.warn(f"a sample is skipped: {new[0]}{rest}")
        if len(self._known) < _NAMED:
            self._known.update(new)
        self._write(new)

    def _write(self, lines: Sequence[str]) -> None:
        if self.file is None:
            return
        start = f"{self.title}: " if self.title else ""
        text = "".join(f"{start}{line}\n" for line in lines)
        with writing(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab") as log:  # several processes may append to one log
                log.write(text.encode("utf-8", "backslashreplace"))
