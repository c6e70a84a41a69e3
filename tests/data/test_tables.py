"""Captions come back as they were written, or the line that is at fault is named."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.data._tables import captions_of, rows_of
from unclip.errors import DataError

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
ENDS = st.sampled_from(["\n", "\r\n"])
UNICODE_LINES = "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven\x1deight\x1enine"


def read(content: bytes, name: str, pictures: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    with TemporaryDirectory() as folder:
        table = Path(folder) / name
        table.write_bytes(content)
        return [(row.picture, row.caption) for row in rows_of(table, pictures.__contains__)]


def write_csv(rows: list[tuple[str, str]], end: str = "\r\n") -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end).writerows([("file_name", "text"), *rows])
    return file.getvalue().encode()


@given(st.lists(TEXT), ENDS, st.booleans())
def test_csv_gives_back_what_was_written(captions: list[str], end: str, mark: bool) -> None:
    if end == "\n":  # with which csv.writer leaves \r without quotes, so that it ends a row
        captions = [caption.replace("\r", " ") for caption in captions]
    rows = [(f"{number}.png", caption) for number, caption in enumerate(captions)]
    content = (b"\xef\xbb\xbf" if mark else b"") + write_csv(rows, end)
    assert read(content, "captions.csv", tuple(name for name, _ in rows)) == rows


@given(st.lists(TEXT | st.just("\0")), ENDS, st.booleans(), st.booleans())
def test_json_lines_give_back_what_was_written(
    captions: list[str], end: str, mark: bool, escaped: bool
) -> None:
    rows = [(f"{number}.png", caption) for number, caption in enumerate(captions)]
    lines = (
        json.dumps({"file_name": name, "text": caption}, ensure_ascii=escaped)
        for name, caption in rows
    )
    content = "".join(line + end for line in lines).encode("utf-8-sig" if mark else "utf-8")
    assert read(content, "captions.jsonl") == rows


@given(st.lists(TEXT.map(str.strip).filter(lambda text: text and not set(text) & {"\r", "\n"})))
def test_a_text_file_gives_back_its_lines(captions: list[str]) -> None:
    with TemporaryDirectory() as folder:
        for end in ("\n", "\r\n", "\r"):
            for mark in (b"", b"\xef\xbb\xbf"):
                file = Path(folder) / "a.txt"
                file.write_bytes(mark + end.join([*captions, "", " ", ""]).encode())
                # a mark that a caption begins with is that of a file without one
                if captions and captions[0].startswith("\ufeff") and not mark:
                    continue
                assert captions_of(file) == tuple(captions)


def test_columns_are_chosen_and_a_list_has_several_captions(tmp_path: Path) -> None:
    table = tmp_path / "captions.jsonl"
    table.write_text('{"File": "a.png", "Says": ["one", "two"], "text": "no"}\n')
    rows = list(rows_of(table, bool, ("File", "says")))
    assert [(row.picture, row.caption) for row in rows] == [("a.png", "one"), ("a.png", "two")]
    table.with_suffix(".csv").write_text("Says,File\nthree,b.png\n")
    rows = list(rows_of(table.with_suffix(".csv"), bool, ("File", "says")))
    assert [(row.picture, row.caption) for row in rows] == [("b.png", "three")]
    with pytest.raises(DataError, match=r"line 1: needs one column 'file'.*: says, file$"):
        list(rows_of(table.with_suffix(".csv"), bool, ("file", "text")))


def test_what_unicode_calls_the_end_of_a_line_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(UNICODE_LINES, encoding="utf-8")
    assert captions_of(tmp_path / "a.txt") == (UNICODE_LINES,)
    row = json.dumps({"file_name": "a.png", "text": UNICODE_LINES}, ensure_ascii=False)
    assert "\u2028" in row and "\x85" in row
    assert read(row.encode(), "captions.jsonl") == [("a.png", UNICODE_LINES)]
    content = f"file_name,text\na.png,{UNICODE_LINES}\n".encode()
    assert read(content, "captions.csv") == [("a.png", UNICODE_LINES)]


def test_columns_may_stand_anyhow_and_beside_others() -> None:
    content = b'Source, Text ,FILE_NAME,\nx,"a fox, asleep",a.png,\n,,,\n\n  \ny,a car,b.png,\n'
    expected = [("a.png", "a fox, asleep"), ("b.png", "a car")]
    assert read(content, "metadata.csv") == expected
    lines = b'{"File_Name": "a.png", "text": "a fox, asleep", "n": 3}\n \n'
    assert read(lines, "metadata.jsonl") == expected[:1]


def test_rows_may_end_as_on_any_system() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        rows = [b"file_name,text", b'a.png,"one, two"', b"", b"b.png,three", b"", b" "]
        expected = [("a.png", "one, two"), ("b.png", "three")]
        assert read(end.join(rows), "captions.csv") == expected


def test_a_row_without_a_caption_has_an_empty_one() -> None:
    assert read(b"file_name,text\na.png,\n", "captions.csv") == [("a.png", "")]
    assert read(b'{"file_name": "a.png", "text": null}', "captions.jsonl") == [("a.png", "")]


def test_quotes_inside_a_text_that_begins_without_one_are_letters() -> None:
    content = b'file_name,text\na.png,a 12" disc and a "fox"\n'
    assert read(content, "captions.csv") == [("a.png", 'a 12" disc and a "fox"')]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file_name,text\na.png,a fox, asleep\n", "line 2: 3 fields .*a comma in quotes"),
        ('file_name,text\na.png, "a fox, asleep"\n', "line 2: 3 fields but 2 columns"),
        ("file_name,text\na.png,a\nb.png\n", "line 3: 1 field but 2 columns"),
        ('file_name,text\na.png,"one\ntwo"\nb.png\n', "line 4: 1 field "),
        ('file_name,text\na.png,a\nb.png,"a fox\nc.png,b\n', "line 3: unexpected end of data"),
        ('file_name,text\na.png,"a fox\nb.png,"a dog"\n', "line 2: ',' expected after '\"'"),
        (
            'file_name,text\na.png,"a fox\nb.png,a dog\nc.png,"\n',
            "line 2: the quote that opens here is still open at 'b.png'",
        ),
        (
            'file_name,text\na.png,"a fox\r\n"b.png,a dog\r\n"\n',
            "line 2: ',' expected|line 2: the quote that opens here",
        ),
        (
            "file_name;text\na.png;a\n",
            "line 1: its columns are separated by ';'; save it with commas",
        ),
        ("file_name\ttext\na.png\ta\n", r"line 1: its columns are separated by '\\t'"),
        ("sep=;\nfile_name;text\n", "line 1: its columns are separated by ';'"),
        (
            "a.png,a fox\n",
            "line 1: needs one column 'file_name' and one 'text'; its columns are: a.png",
        ),
        ("filename,text\n", r"line 1: .*filename, text; rename filename to file_name"),
        ("file_name,text,Text\n", "line 1: .*two columns are called 'text'"),
        ("file_name,text\n,a\n", "line 2: 'file_name' is empty"),
        (
            "file_name,text\n../a.png,a\n",
            r"line 2: 'file_name' is '\.\./a\.png', which leads out of its folder",
        ),
        ("file_name,text\nsub/../../a.png,a\n", "line 2: .*leads out"),
        (
            "file_name,text\n/etc/passwd,a\n",
            "line 2: 'file_name' is '/etc/passwd', which leads out",
        ),
        ("file_name,text\n.,a\n", "line 2: 'file_name' is empty"),
        (b"file_name,text\na.png,a\nb.png,caf\xe9\n", "line 3 is not UTF-8"),
        ("file_name,text\na.png,a\n".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        ("file_name,text\na.png,a\n".encode("utf-16-le"), "line 1 has a NUL byte"),
        ('file_name,text\na.png,"' + "x" * 200_000 + '"\n', "line 2: field larger than"),
    ],
)
def test_a_fault_of_a_csv_is_named_with_its_line(content: str | bytes, message: str) -> None:
    data = content.encode() if isinstance(content, str) else content
    with pytest.raises(DataError, match=rf"captions\.csv[,:] .*(?:{message})") as caught:
        read(data, "captions.csv", ("a.png", "b.png", "c.png"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"file_name": "a.png", "text": "a"}\n{"file_name": \n', "line 2 is not JSON"),
        ("[1]\n", "line 1: 'file_name' and 'text' are required"),
        ('{"file_name": "a.png"}\n', "line 1: 'file_name' and 'text' are required"),
        ('{"file_name": "a.png", "text": ["a", 1]}\n', "line 1: .*as text"),
        ('{"file_name": "a.png", "text": "a", "text": "b"}\n', "line 1 .*'text' appears twice"),
        ('\n{"file_name": "a.png", "text": "\\ud83d"}\n', "line 2: an incomplete character"),
        ('{"file_name": "\\ud83d.png", "text": "a"}\n', "line 1: an incomplete character"),
        ('{"file_name": "../a.png", "text": "a"}\n', "line 1: .*leads out"),
        ("[" * 200_000, "line 1 is not JSON"),
        (b'{"file_name": "a.png", "text": "\xed\xa0\xbd"}\n', "line 1 is not UTF-8"),
        ('{"file_name": "a.png", "text": "a"}'.encode("utf-16"), "it is UTF-16"),
    ],
)
def test_a_fault_of_json_lines_is_named_with_its_line(content: str | bytes, message: str) -> None:
    data = content.encode() if isinstance(content, str) else content
    with pytest.raises(DataError, match=rf"captions\.jsonl[,:] .*{message}") as caught:
        read(data, "captions.jsonl")
    assert len(str(caught.value).splitlines()) == 1
    str(caught.value).encode()  # can be printed


def test_a_text_file_that_is_no_utf_8_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a fox\nun caf\xe9\n")
    with pytest.raises(DataError, match=r"cannot read .*a\.txt: line 2 is not UTF-8 \(byte 0xe9\)"):
        captions_of(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"cannot read .*b\.txt: No such file"):
        captions_of(tmp_path / "b.txt")


WORDS = 'file_name text a.png .. "file_name" "text" "a.png" null 1e999 \\ud800 { } [ : / \\ ~'
PIECES = st.sampled_from([*WORDS.split(), *'"\r\n\0 é,,', '""', "\r\n"])


@given(
    st.sampled_from(["captions.csv", "captions.jsonl"]),
    st.binary(max_size=40) | st.lists(PIECES, max_size=30).map("".join).map(str.encode),
    st.booleans(),
)
def test_rubbish_is_read_or_refused_in_one_line(name: str, rubbish: bytes, begun: bool) -> None:
    start = (
        b"file_name,text\n" if name.endswith("csv") else b'{"file_name": "a.png", "text": "a"}\n'
    )
    try:
        read((start if begun else b"") + rubbish, name, ("a.png",))
    except DataError as error:
        assert str(error).isprintable() and f"/{name}" in str(error)  # noqa: PT017
