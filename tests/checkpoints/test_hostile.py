"""Small files that ask for endless work, or for more than there is: one line each, and soon."""

from __future__ import annotations

import copy
import io
import json
import pickle
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from unclip.checkpoints import _torch_files, _unpickler
from unclip.checkpoints.archive import Tensors, open_pickle, open_tensors
from unclip.checkpoints.format import check_text
from unclip.checkpoints.part import Part
from unclip.checkpoints.tokenizers import load_tokenizer
from unclip.errors import CheckpointError, UnclipError
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import STAGES, Stage


def zipped(program: bytes, **more: bytes) -> bytes:
    """A zip as torch writes it, around a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", program)
        for name, content in more.items():
            archive.writestr(f"w/{name}", content)
    return stream.getvalue()


def refused(read: Callable[[Path], Any], file: Path, seconds: float = 10) -> str:
    """The one line that a file is refused with, within `seconds` of work."""
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        read(file)
    assert time.process_time() - start < seconds
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    assert file.name in text
    return text


def multiple(n: int) -> bytes:
    """A number that has the hash of zero."""
    return (n * (2**61 - 1)).to_bytes(9, "little")


TUPLES = b"".join(  # -1 and -2 have one hash
    b"(" + b"".join(b"J" + struct.pack("<i", -1 - (n >> bit & 1)) for bit in range(15)) + b"tN"
    for n in range(20_000)
)
LONG = b"(" + b"N" * 3000 + b"lq\x000"  # a list of 3,000 in the memo
CALL = b"ccollections\nOrderedDict\n"
PICKLES: dict[str, tuple[bytes, str]] = {
    "a key of tuples 300,000 deep": (b"}))" + b"\x85" * 300_000 + b"N\x73.", "tuple of tuples"),
    "an item of a set so deep": (b"\x8f()" + b"\x85" * 30_000 + b"\x90.", "tuple of tuples"),
    "a tuple 30,000 deep": (b")" + b"\x85" * 30_000 + b".", "more than 100 deep"),
    "lists 30,000 deep": (b"]" * 30_000 + b"a" * 29_999 + b".", "more than 100 deep"),
    "a pair of pairs, as a value": (b"N" + b"2\x86" * 40 + b".", "more than 16777216 items"),
    "a pair of pairs, as a key": (b"}N" + b"2\x86" * 40 + b"Ns.", "tuple of tuples"),
    "a pair of pairs, as a device": (
        b"ctorch\ndevice\nN" + b"2\x86" * 40 + b"\x85R.",
        "more than 16777216 items",
    ),
    "a pair of pairs, as a class": (
        b"ccopyreg\n_reconstructor\nN" + b"2\x86" * 40 + b"\x85R.",
        "not callable",
    ),
    "a pair of pairs, as what makes a tensor": (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(N" + b"2\x86" * 40 + b"N)tR.",
        "no attribute 'module'",
    ),
    "a pair of pairs, as a storage": (
        b"(X\x07\x00\x00\x00storageN" + b"N" + b"2\x86" * 40 + b"NK\x01tQ.",
        "outside itself",
    ),
    "a pair of pairs, as a codec": (
        b"c_codecs\nencode\nX\x00\x00\x00\x00N" + b"2\x86" * 40 + b"\x86R.",
        "another code",
    ),
    "a list that holds itself": (b"]q\x00h\x00a.", "holds itself"),
    "a list given over and over": (
        LONG + b"(ctorch.jit._pickle\nbuild_intlist\nq\x01" + b"h\x01h\x00\x85R" * 5500 + b"l.",
        "over and over",
    ),
    "a list copied over and over": (
        LONG + b"(cbuiltins\nset\nq\x01" + b"h\x01h\x00\x85R" * 9999 + b"l.",
        "over and over",
    ),
    "bytes made over and over": (
        b"X" + struct.pack("<I", 10**5) + b"a" * 10**5 + b"q\x000"
        b"(c_codecs\nencode\nq\x01" + b"h\x01h\x00\x85R" * 9999 + b"l.",
        "over and over",
    ),
    "a number of a hundred thousand digits": (b"L" + b"9" * 10**5 + b"L\n.", "cannot be read"),
    "an array of 2^60 bytes": (b"\x96" + struct.pack("<Q", 2**60) + b".", "none that torch writes"),
    "bytes of 2^60": (b"\x8e" + struct.pack("<Q", 2**60) + b".", "ends too early"),
    "a frame of 2^60": (b"\x95" + struct.pack("<Q", 2**60) + b"N.", "ends too early"),
    "an endless number": (b"\x8b" + struct.pack("<I", 10**6) + b"\x7f" * 10**6 + b".", "1024 bits"),
    "numbers of one hash": (
        b"}(" + b"".join(b"\x8a\x09%bN" % multiple(n) for n in range(1, 99)) + b"u.",
        "beyond all use",
    ),
    "keys of one hash": (b"}(" + TUPLES + b"u.", "more than 10000 keys"),
    "items of a set of one hash": (
        b"cbuiltins\nset\n](" + TUPLES + b"e\x85R.", "more than 10000 keys",
    ),
    "complex keys of one hash": (
        b"cbuiltins\ncomplex\nq\x00}(" + b"".join(
            b"h\x00G" + struct.pack(">d", -1000003 * n) + b"G" + struct.pack(">d", n) + b"\x86RN"
            for n in range(20_000)
        ) + b"u.",
        "more than 10000 keys",
    ),
    **{
        f"a text as {name}": (
            b"c" + name.replace(".", "\n").encode() + b"\nX\x03\x00\x00\x00abc\x85R.",
            "made of what is none",
        )
        for name in ("torch.Size", "builtins.set", "builtins.frozenset")
    },
    "bytes as a size": (b"ctorch\nSize\nC\x03abc\x85R.", "made of what is none"),
    "an endless name": (b"ccollections\n" + b"x" * 600 + b"\n.", "longer than 512"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_a_hostile_pickle_is_refused_soon(name: str, tmp_path: Path) -> None:
    program, message = PICKLES[name]
    file = tmp_path / "w.pt"
    file.write_bytes(zipped(b"\x80\x02" + program))
    assert message in refused(open_pickle, file)


def test_the_older_kind_of_file_has_the_same_limits(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    file.write_bytes(b"\x80\x02" + PICKLES["a pair of pairs, as a key"][0])
    assert "tuple of tuples" in refused(open_pickle, file)


def test_steps_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_unpickler, "OPCODES", 1000)
    file = tmp_path / "w.pt"
    file.write_bytes(zipped(b"(" + b"\x8f" * 997 + b"l."))
    assert len(open_pickle(file)) == 997
    file.write_bytes(zipped(b"(" + b"\x8f" * 998 + b"l."))
    assert "more than 1000 steps" in refused(open_pickle, file)


def test_what_training_programs_leave_is_within_the_limits(tmp_path: Path) -> None:
    """Two thousand tensors, objects that stand in several places, keys that are tuples."""
    config = {"betas": (0.9, 0.999), "names": [f"layer.{n}" for n in range(2000)]}
    saved = {
        "model": {f"layer.{n}": torch.ones(2) for n in range(2000)},
        "groups": [config] * 50,
        ("a", 1): {frozenset("ab"), (1, 2)},
        "losses": [float(n) for n in range(100_000)],
        "deep": json.loads("[" * 60 + "]" * 60),
    }
    torch.save(saved, tmp_path / "w.pt")
    data = open_pickle(tmp_path / "w.pt")
    assert data["losses"] == saved["losses"]
    assert data["groups"] == saved["groups"]
    assert data["deep"] == saved["deep"]
    assert data["a", 1] == saved["a", 1]
    assert len(data["model"]) == 2000


def test_a_zip_unpacks_to_no_more_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_torch_files, "PICKLE_BYTES", 10**6)
    file = tmp_path / "w.pt"
    file.write_bytes(zipped(pickle.dumps("x" * 10**6, protocol=2)))
    assert "data.pkl is too long" in refused(open_pickle, file)


def said(content: bytes, size: int, summed: int, compression: int) -> bytes:
    """A zip as torch writes it, which says that its pickle has `size` bytes, and their checksum."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("w/data.pkl", content)
    raw = stream.getvalue()
    at = raw.index(b"PK\x01\x02")  # the directory: sum of 4 bytes at 16, length at 24
    checksum, length = struct.pack("<I", zlib.crc32(content[:summed])), struct.pack("<I", size)
    return raw[: at + 16] + checksum + raw[at + 20 : at + 24] + length + raw[at + 28 :]


EMPTY = b"\x80\x02}."  # four bytes


@pytest.mark.parametrize(
    ("compression", "summed", "message"),
    [
        (zipfile.ZIP_STORED, 4, "Bad CRC-32"),
        (zipfile.ZIP_STORED, 5, "data.pkl is not of 4 bytes"),
        (zipfile.ZIP_DEFLATED, 4, "Bad CRC-32"),
        (zipfile.ZIP_DEFLATED, 5, "data.pkl is not of 4 bytes"),
        (zipfile.ZIP_BZIP2, 4, "compressed in a way that torch never is"),
        (zipfile.ZIP_LZMA, 4, "compressed in a way that torch never is"),
    ],
)
def test_no_more_is_unpacked_than_a_zip_says(
    compression: int, summed: int, message: str, tmp_path: Path
) -> None:
    zeros = 20 if compression == zipfile.ZIP_STORED else 2**25
    file = tmp_path / "w.pt"
    file.write_bytes(said(EMPTY + bytes(zeros), len(EMPTY), summed, compression))
    tracemalloc.start()
    try:
        assert message in refused(open_pickle, file)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_a_zip_that_holds_less_than_it_says(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    file.write_bytes(said(EMPTY, 5, 4, zipfile.ZIP_DEFLATED))
    assert "data.pkl is not of 5 bytes" in refused(open_pickle, file)


# safetensors


def safetensors(header: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + data


def entry(shape: list[int], begin: int = 0, end: int = 0) -> str:
    return json.dumps({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]})


def entries(*several: str) -> str:
    return "{" + ", ".join(f'"{"abcdefgh"[n]}": {one}' for n, one in enumerate(several)) + "}"


HEADERS: dict[str, tuple[str, bytes, str]] = {
    "one name 50,000 times": (
        "{" + ", ".join([f'"a": {entry([0])}'] * 50_000) + "}", b"", "'a' twice"
    ),
    "20,000 axes of 2^61": (entries(entry([2**61] * 20_000)), b"", "damaged or truncated"),
    "20,000 axes of one": (entries(entry([1] * 20_000, 0, 4)), b"1234", "shape is impossible"),
    "nothing times 2^61": (entries(entry([0, 2**61])), b"", "shape is impossible"),
    "more elements than fit 63 bits": (entries(entry([2**40, 2**40])), b"", "damaged or truncated"),
    "a deep header": ('{"a": ' * 10**5, b"", "damaged or truncated"),
    "tensors that overlap": (
        entries(entry([2], 0, 8), entry([2], 4, 12)), bytes(12), "damaged or truncated"
    ),
    "a hole": (entries(entry([1], 0, 4), entry([1], 8, 12)), bytes(12), "damaged or truncated"),
    "an end before the beginning": (entries(entry([1], 8, 4)), bytes(8), "damaged or truncated"),
    "offsets far outside": (entries(entry([2**50], 0, 2**52)), bytes(8), "truncated"),
    "numbers of 5,000 digits": (
        '{"a": {"dtype": "F32", "shape": [' + "9" * 5000 + '], "data_offsets": [0, 0]}}', b"",
        "damaged or truncated",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_refused_soon(name: str, tmp_path: Path) -> None:
    header, data, message = HEADERS[name]
    file = tmp_path / "w.safetensors"
    file.write_bytes(safetensors(header, data))
    assert message in refused(open_tensors, file)


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**63, 2**64 - 1])
def test_a_header_of_a_false_length(length: int, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(struct.pack("<Q", length) + b'{"a": {}}'.ljust(100))
    refused(open_tensors, file)


# Settings


def changes(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The settings with each number in turn far too large, and each list far too long."""
    for path, value in leaves(values):
        for wrong in wrongs(value):
            changed = copy.deepcopy(values)
            table: Any = changed
            for key in path[:-1]:
                table = table[key]
            table[path[-1]] = wrong
            yield f"{path} = {str(wrong)[:20]}", changed


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if not isinstance(value, dict) and path:
        yield path, value
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    for key, one in inner.items() if isinstance(inner, dict) else ():
        yield from leaves(one, (*path, key))


def wrongs(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [(value or [1]) * 20_000]
    if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
        return []
    return [10**9, 2**70] if isinstance(value, int) or value is None else [1e300]


@pytest.mark.parametrize("kind", STAGES.names())
def test_no_setting_asks_for_a_network_without_end(
    kind: str, make_stage: Callable[..., Stage]
) -> None:
    """On `meta` it costs no memory; what is built is then held against the file, by shapes."""
    good = make_stage(kind)
    values = good.config.dump()
    shapes = {name: tensor.shape for name, tensor in good.net.state_dict().items()}
    errors = []
    for what, changed in changes(values):
        start = time.process_time()
        try:
            net = built(changed).net
        except UnclipError as error:
            errors.append(str(error))
        else:
            same = {name: tensor.shape for name, tensor in net.state_dict().items()} == shapes
            assert same or all(one.is_meta for one in net.parameters()), what
        assert time.process_time() - start < 5, what
    assert errors
    assert max(map(len, errors)) < 600


def built(values: dict[str, Any]) -> Stage:
    return Part(STAGES[values["kind"]].Config.parse(values), lambda: Tensors({})).build()


def test_a_depth_without_end_is_a_setting_out_of_range(make_stage: Callable[..., Stage]) -> None:
    values = make_stage("prior").config.dump()
    values["network"]["depth"] = 10**9
    with pytest.raises(UnclipError, match=r"network\.depth' must be at most 512, got 1000"):
        STAGES["prior"].Config.parse(values)
    values["network"].update(depth=2, width=10**9)
    with pytest.raises(CheckpointError, match=r"no prior can have such settings: .*overflow"):
        built(values)


# Tokenizers


def rules(**changes: Any) -> dict[str, Any]:
    """A tokenizer.json of two letters."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")
    return {"version": "1.0", "added_tokens": [], "model": model, **dict.fromkeys(parts), **changes}


def replaces(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*several: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(several)}


TOKENIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "ten letters for one, nine times": (
        rules(normalizer=sequence(*[replaces({"String": "a"}, "a" * 10)] * 9)), "of one"
    ),
    "letters for nothing": (
        rules(normalizer=sequence(*[replaces({"Regex": "b*"}, "a" * 10)] * 9)), "of one"
    ),
    "nested": (
        rules(normalizer=sequence(sequence(replaces({"String": "a"}, "a" * 100)))), "of one"
    ),
    "a million letters before": (
        rules(normalizer={"type": "Prepend", "prepend": "a" * 10**6}), "of one"
    ),
    "too many rules": (
        rules(normalizer=sequence(*[{"type": "Lowercase"}] * 1000)), "more than 256 rules"
    ),
    "a table that ends the process": (
        rules(normalizer={"type": "Precompiled", "precompiled_charsmap": "/////wAAAAAAAAAA"}),
        "table of letters is damaged",
    ),
    "an empty table": (
        rules(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAAAAAA"}),
        "table of letters is damaged",
    ),
    "a panic": (rules(pre_tokenizer={"type": "FixedLength", "length": 0}), "non-zero"),
    "no word for the unknown": (
        rules(model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}), "WordLevel"
    ),
    "an expression that tries for ever": (
        rules(normalizer=replaces({"Regex": "([^!]+)+$"}, "")), "cannot read the tokenizer"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_hostile_tokenizer_is_refused_soon(name: str, tmp_path: Path) -> None:
    values, message = TOKENIZERS[name]
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(values))
    assert message in refused(lambda path: load_tokenizer(path, 8), file)


@pytest.mark.parametrize("text", ["", "null", "[]", "[" * 10**5, "{}", '{"model": 3}'])
def test_what_is_no_tokenizer_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(text)
    refused(lambda path: load_tokenizer(path, 8), file)


def test_a_panic_while_drawing_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    pattern = {"Regex": "(z+)+#"}
    file.write_text(json.dumps(rules(normalizer=replaces(pattern, ""))))
    tokenizer = load_tokenizer(file, 8)
    assert tokenizer.encode(["ab"])[1].any()
    with pytest.raises(CheckpointError, match=r"the tokenizer fails at this text: .*retry-limit"):
        tokenizer.encode(["z" * 40])


def test_ids_that_the_network_has_no_vector_for(
    tmp_path: Path, make_stage: Callable[..., Stage], tokenizer: Tokenizer
) -> None:
    configs = {"clip": make_stage("clip").config, "prior": make_stage("prior").config}
    check_text(tokenizer, configs)
    file = tmp_path / "tokenizer.json"
    for vocab, context, message in (
        ({"a": 0, "b": 10**6}, 8, "vocabulary size is 1000001 .* the stage reads at most 320"),
        ({"a": 0, "b": 1}, 9, "context length 9, the stage reads at most 320 and 8"),
    ):
        file.write_text(json.dumps(rules(model={"type": "BPE", "vocab": vocab, "merges": []})))
        with pytest.raises(CheckpointError, match=message):
            check_text(load_tokenizer(file, context), configs)
