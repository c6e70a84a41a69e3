"""Files without their record: the same pixels, no prompt, and the mark as it was."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from unclip.media import read_notes
from unclip.media.bare import marked_in, without_record
from unclip.media.notes import COMPOSITE, DIGITAL_SOURCES, GENERATED, TRAINED
from unclip.media.writing import encode

FOX = Image.fromarray(np.random.default_rng(0).integers(0, 256, (21, 17, 3), np.uint8))


def file_of(kind: str, marked: bool) -> bytes:
    """A file with a record and parameters."""
    picture, data = FOX.copy(), io.BytesIO()
    picture.info = {"unclip": '{"prompt": "SECRET"}', "parameters": "SECRET 狐\nSteps: 3"}
    picture.info[GENERATED] = TRAINED if marked else ""
    encode(picture, data, kind)
    return data.getvalue()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_record_goes_and_all_else_stays(kind: str, marked: bool) -> None:
    whole = file_of(kind, marked)
    assert read_notes(io.BytesIO(whole)).keys() == {"unclip", "parameters"}
    bare = without_record(whole, kind)
    assert read_notes(io.BytesIO(bare)) == {}
    assert b"SECRET" not in bare and "SECRET".encode("utf-16-be") not in bare
    assert (TRAINED.encode() in bare) is marked
    assert np.array_equal(pixels(bare), pixels(whole))
    with Image.open(io.BytesIO(bare)) as picture:
        assert picture.format == kind
        xmp = picture.info.get("xmp", picture.info.get("XML:com.adobe.xmp", b""))
        text = xmp if isinstance(xmp, str) else xmp.decode()
        assert (TRAINED in text) is marked
    assert without_record(bare, kind) == bare


@pytest.mark.parametrize("mark", [TRAINED, COMPOSITE, ""])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_prompt_that_names_a_source_type_is_no_mark(kind: str, mark: str) -> None:
    said = f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCES}{{}}"'
    said = f"a fox {said.format(TRAINED)} {said.format(COMPOSITE)}"
    picture, data = FOX.copy(), io.BytesIO()
    record = json.dumps({"prompt": said})
    picture.info = {"unclip": record, "parameters": f"{said}\nSteps: 3", GENERATED: mark}
    encode(picture, data, kind)
    whole = data.getvalue()
    assert read_notes(io.BytesIO(whole))["unclip"] == record
    bare = without_record(whole, kind)
    assert marked_in(whole) == marked_in(bare) == mark
    assert (DIGITAL_SOURCES.encode() in bare) is bool(mark)
