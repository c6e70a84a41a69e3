"""Shards are made once, wherever a run was stopped, and what is not theirs is left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.bulk.shards import Make, Note, Shards, Tell, Work, complete, cut, here
from unclip.errors import OutputError, UsageError
from unclip.files import write_text


class Letters(Work):
    """Each shard is a file with a word; who writes one writes that down in `log`."""

    command = "letters"

    def __init__(self, words: Sequence[str], fails: int | None = None, kind: str = "a") -> None:
        self.words, self.fails, self.kind = words, fails, kind

    @property
    def things(self) -> Sequence[int]:
        return [len(word) for word in self.words]

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"kind": self.kind}

    def digest(self, number: int) -> str:
        return self.words[number]

    def open(self, folder: Path) -> Make:
        def make(number: int, tell: Tell) -> Note:
            if number == self.fails:
                (folder / f".{number}.txt.0123abcd.part").write_text("half")
                raise KeyboardInterrupt
            with (folder.parent / "log").open("a") as log:
                log.write(f"{number} ")
            write_text(folder / f"{number}.txt", self.words[number])
            tell(len(self.words[number]))
            return {"word": self.words[number]}

        return make


def words_of(folder: Path) -> list[str]:
    return [file.read_text() for file in sorted(folder.glob("*.txt"))]


def log_of(folder: Path) -> list[str]:
    return (folder.parent / "log").read_text().split()


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_things_are_cut_into_full_shards_and_a_rest(total: int, size: int) -> None:
    found = cut(total, size)
    assert sum(found) == total
    assert found[:-1] == [size] * (len(found) - 1)
    assert all(0 < one <= size for one in found)


def test_a_run_goes_on_where_it_was_stopped_and_makes_each_shard_once(tmp_path: Path) -> None:
    folder, words = tmp_path / "out", ["fox", "car", "tree"]
    with pytest.raises(KeyboardInterrupt):
        complete(Shards(Letters(words, fails=1), folder), here)
    told: list[tuple[int, int]] = []
    done = complete(Shards(Letters(words), folder), here, lambda *now: told.append(now))
    assert (done.made, done.kept) == (2, 1)
    assert told == [(3, 10), (6, 10), (10, 10)], "what was there counts at once"
    assert log_of(folder) == ["0", "1", "2"] and words_of(folder) == words
    assert not list(folder.glob(".*.part")), "what the first run left is gone"
    assert complete(Shards(Letters(words), folder), here).made == 0


def test_a_shard_of_other_things_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    complete(Shards(Letters(["fox", "car"]), folder), here)
    shards = Shards(Letters(["fox", "cars", "bus"]), folder)
    assert complete(shards, here).made == 2
    assert log_of(folder) == ["0", "1", "1", "2"]
    assert [note["word"] for note in shards.notes()] == ["fox", "cars", "bus"]
    fewer = Shards(Letters(["fox"]), folder)
    complete(fewer, here)
    assert sorted(fewer.remove_further()) == ["00001", "00002"]


def foreign(folder: Path) -> None:
    folder.mkdir()
    (folder / "letter.doc").touch()


def other_settings(folder: Path) -> None:
    complete(Shards(Letters(["fox"], kind="b"), folder), here)


def other_command(folder: Path) -> None:
    work = Letters(["fox"])
    work.command = "numbers"
    complete(Shards(work, folder), here)


def damaged(folder: Path) -> None:
    complete(Shards(Letters(["fox"]), folder), here)
    (folder / "shards" / "00000.json").write_text("{")


@pytest.mark.parametrize(
    ("before", "error", "text"),
    [
        (foreign, OutputError, "out holds something else: choose another --out"),
        (other_settings, UsageError, "out was begun with kind b, and now it is a: give the same"),
        (other_command, UsageError, "out holds what `unclip numbers` made"),
        (damaged, OutputError, "00000.json is damaged"),
    ],
)
def test_a_folder_that_is_not_its_own_is_refused(
    before: Callable[[Path], None], error: type[Exception], text: str, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    before(folder)
    with pytest.raises(error, match=text):
        complete(Shards(Letters(["fox"]), folder), here)


def test_an_engine_that_leaves_out_a_shard_is_found_out(tmp_path: Path) -> None:
    shards = Shards(Letters(["fox", "car"]), tmp_path / "out")
    with pytest.raises(OutputError, match="1 shard could not be made"):
        complete(shards, lambda shards, numbers, tell: shards.do(numbers[0]))


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    shards = Shards(Letters(["fox"]), tmp_path / "not-shared")
    with pytest.raises(OutputError, match=r"this machine does not see .*not-shared"):
        shards.do(0)
