"""Content Credentials: what a reader of C2PA finds in the files, and keys that do not sign."""

from __future__ import annotations

import base64
import io
import json
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from PIL import Image

from unclip.errors import UnclipError, UsageError
from unclip.media.notes import COMPOSITE
from unclip.server import credentials
from unclip.server.credentials import CERTIFICATES, KEY, Signer, make_files, signing_pems
from unclip.server.job import Finish
from unclip.server.options import ServeOptions
from unclip.server.painter import file_of, finished

c2pa = pytest.importorskip("c2pa")
Pems = tuple[str, str]
KINDS = ("png", "jpeg", "webp")


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    """A key and its certificates."""
    folder = tmp_path_factory.mktemp("c2pa")
    made = folder / KEY, folder / CERTIFICATES
    make_files(*made)
    return made[0].read_text(), made[1].read_text()


@pytest.fixture
def picture() -> Image.Image:
    """Noise, with a text as a record would be."""
    made = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    made.info = {"unclip": '{"prompt": "a fox"}'}
    return made


def manifest(data: bytes, kind: str) -> tuple[str, Any]:
    """How a file's manifest is judged, and the manifest."""
    reader = c2pa.Reader(f"image/{kind}", io.BytesIO(data))
    found = json.loads(reader.json())
    return found["validation_state"], found["manifests"][found["active_manifest"]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_file_says_that_a_model_made_it_and_is_the_same_picture(
    pems: Pems, picture: Image.Image, kind: Any
) -> None:
    made = finished(picture, Finish(format=kind), Signer(*pems))
    signed, plain = base64.b64decode(made["data"]), finished(picture, Finish(format=kind))["data"]
    state, found = manifest(signed, kind)
    assert state == "Valid"
    (action,) = found["assertions"][0]["data"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert "thumbnail" not in found
    assert found["signature_info"]["issuer"] == "unclip"
    assert len(signed) - len(base64.b64decode(plain)) < 5000
    assert made["bytes"] == len(signed)
    opened, before = (Image.open(io.BytesIO(one)) for one in (signed, base64.b64decode(plain)))
    assert np.array_equal(np.asarray(opened.convert("RGB")), np.asarray(before.convert("RGB")))
    assert b"a fox" in signed, "the record is kept"


def test_the_manifest_of_an_edit_says_that_it_is_a_composite(
    pems: Pems, picture: Image.Image
) -> None:
    made = finished(picture, Finish(), Signer(*pems), COMPOSITE)
    state, found = manifest(base64.b64decode(made["data"]), "png")
    (action,) = found["assertions"][0]["data"]["actions"]
    assert state == "Valid" and action["digitalSourceType"].endswith(f"/{COMPOSITE}")


def test_a_file_that_is_changed_after_is_found_out(pems: Pems, picture: Image.Image) -> None:
    signed = bytearray(Signer(*pems)(file_of(picture, Finish(format="webp")), "webp"))
    signed[40] ^= 1
    assert manifest(bytes(signed), "webp")[0] == "Invalid"


def test_the_issuer_is_untrusted_and_nothing_else_is_wrong(
    pems: Pems, picture: Image.Image
) -> None:
    data = Signer(*pems)(file_of(picture, Finish()), "png")
    found = json.loads(c2pa.Reader("image/png", io.BytesIO(data)).json())
    assert [one["code"] for one in found["validation_status"]] == ["signingCredential.untrusted"]


def test_files_are_made_once_in_the_data_folder_and_the_key_is_for_the_owner_alone(
    tmp_path: Path,
) -> None:
    options = ServeOptions.parse({"data": tmp_path, "c2pa": True})
    made = signing_pems(options)
    key, certificates = (tmp_path / "c2pa" / name for name in (KEY, CERTIFICATES))
    assert made == (key.read_text(), certificates.read_text()) == signing_pems(options)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert made[1].count("BEGIN CERTIFICATE") == 2
    Signer(*made)


def test_own_files_are_used_as_they_are(tmp_path: Path, pems: Pems) -> None:
    key, certificates = tmp_path / "own.key", tmp_path / "own.crt"
    key.write_text(pems[0])
    certificates.write_text(pems[1])
    values = {"data": tmp_path, "c2pa": True, "c2pa_key": key, "c2pa_cert": certificates}
    assert signing_pems(ServeOptions.parse(values)) == pems
    assert set(tmp_path.iterdir()) == {key, certificates}
    key.unlink()
    with pytest.raises(UsageError, match=r"cannot read .*own\.key") as caught:
        signing_pems(ServeOptions.parse(values))
    assert caught.value.field == "c2pa_key"
    key.write_bytes(b"\x89PNG")
    with pytest.raises(UsageError, match=r"cannot read .*own\.key"):
        signing_pems(ServeOptions.parse(values))


@pytest.mark.parametrize("kind", ["ec384", "ed25519", "rsa"])
def test_keys_of_other_kinds_sign(kind: str) -> None:
    own: Any = {
        "ec384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()
    chain = credentials._certificates(ec.generate_private_key(ec.SECP256R1()), own)
    certificates = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    Signer(credentials._pkcs8(own).decode(), certificates.decode())


@pytest.mark.parametrize(
    ("key", "certificates", "field", "text"),
    [
        ("other", "", "c2pa_cert", "claimSignature.mismatch"),
        ("junk", "", "c2pa_key", "must be a private key"),
        ("chain", "", "c2pa_key", "must be a private key"),
        ("small", "", "c2pa_key", "c2pa_key must be EC"),
        ("locked", "", "c2pa_key", "without a password"),
        ("", "junk", "c2pa_cert", "sign nothing that can be checked"),
        ("", "key", "c2pa_cert", "sign nothing that can be checked"),
    ],
)
def test_what_does_not_sign_is_one_line_about_its_option(
    pems: Pems, key: str, certificates: str, field: str, text: str
) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    small = rsa.generate_private_key(65537, 1024)
    locked = other.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    made = {
        "other": credentials._pkcs8(other).decode(),
        "small": credentials._pkcs8(small).decode(),
        "locked": locked.decode(),
        "junk": "-----BEGIN nothing",
        **dict(zip(("key", "chain"), pems, strict=True)),
    }
    with pytest.raises(UsageError, match=re.escape(text)) as caught:
        Signer(made[key or "key"], made[certificates or "chain"])
    assert caught.value.field == field


@pytest.mark.parametrize(
    "values",
    [
        {"c2pa": True, "c2pa_key": "key.pem"},
        {"c2pa": True, "c2pa_cert": "chain.pem"},
        {"c2pa_key": "key.pem", "c2pa_cert": "chain.pem"},
    ],
)
def test_a_key_stands_with_its_certificates_and_the_switch(values: dict[str, Any]) -> None:
    with pytest.raises(UnclipError, match="c2pa"):
        ServeOptions.parse(values)
