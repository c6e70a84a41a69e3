"""Content Credentials (C2PA 2.x): finished pictures are signed, and say that a model made them.

A file gets a manifest whose one action is `c2pa.created` with IPTC's `trainedAlgorithmicMedia`,
and no thumbnail. Nothing is fetched or sent: there is no time stamp and no look-up of revocations.

Without files of one's own, a certificate authority and a certificate under it are made once, in the
folder `c2pa` of the server's data. Who checks such a picture reads that it is valid and unchanged,
and that its issuer is not trusted. Only a certificate of an authority on C2PA's trust list is.
"""

from __future__ import annotations

import datetime
import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from .._version import __version__
from ..errors import OutputError, UsageError
from ..files import atomic_file, text_of
from ..media.notes import DIGITAL_SOURCES, TRAINED
from .job import Format
from .options import ServeOptions

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, CertificateBuilder

KEY, CERTIFICATES = "key.pem", "certificates.pem"
DAYS = 3650
"""That a certificate made here is valid."""
MOST_BYTES = 2**20
"""Largest file of a key or of certificates."""
NEEDED = "signing needs c2pa-python: pip install 'unclip[c2pa]'"

_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}
_AGENT = {"name": "unclip", "version": __version__}
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_SMALLEST_RSA = 2048


def _manifest(source: str) -> dict[str, Any]:
    """What is said of a picture, with the name of its digital source type."""
    action = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCES + source,
        "softwareAgent": _AGENT,
    }
    assertion = {"label": "c2pa.actions.v2", "data": {"actions": [action]}}
    return {"claim_generator_info": [_AGENT], "assertions": [assertion]}


def signing_pems(options: ServeOptions) -> tuple[str, str]:
    """The key and the certificates, made where none are given and none are there.

    Raises:
        UsageError: the package is missing, or a file cannot be read.
        OutputError: they cannot be written.
    """
    if find_spec("c2pa") is None or find_spec("cryptography") is None:
        raise UsageError(NEEDED).about("c2pa")
    key, certificates = options.c2pa_key, options.c2pa_cert
    if key is None or certificates is None:
        key, certificates = (options.data / "c2pa" / name for name in (KEY, CERTIFICATES))
        if not (key.is_file() and certificates.is_file()):
            make_files(key, certificates)
    return _read(key, "c2pa_key"), _read(certificates, "c2pa_cert")


class Signer:
    """Signs the files of pictures.

    Args:
        key: PEM: EC (P-256, P-384, P-521), Ed25519, or RSA of at least 2,048 bits.
        certificates: PEM: the key's own first, then those above it.

    Raises:
        UsageError: they are no such, or do not fit together; a trial says so.
    """

    def __init__(self, key: str, certificates: str) -> None:
        try:
            import c2pa
        except ModuleNotFoundError:
            raise UsageError(NEEDED).about("c2pa") from None
        algorithm, private = _private_key(key)
        self._c2pa: Any = c2pa
        self._context = c2pa.Context.from_dict(_SETTINGS)
        wrong = "c2pa_key and c2pa_cert sign nothing that can be checked"
        try:
            info = c2pa.C2paSignerInfo(algorithm, certificates.encode(), private, None)
            self._signer = c2pa.Signer.from_info(info)
            reader = c2pa.Reader("image/png", io.BytesIO(self(_trial(), "png")))
        except (c2pa.C2paError, OutputError) as error:
            raise UsageError(f"{wrong}: {error}").about("c2pa_cert") from None
        if reader.get_validation_state() not in ("Valid", "Trusted"):
            why = ", ".join(_faults(reader.get_validation_results()))
            raise UsageError(f"{wrong}: {why}").about("c2pa_cert")

    def __call__(self, data: bytes, format: Format, source: str = TRAINED) -> bytes:
        """The signed file of a picture's file, with its digital source type. Raises OutputError."""
        signed = io.BytesIO()
        try:
            with self._c2pa.Builder(_manifest(source), context=self._context) as builder:
                builder.sign(self._signer, f"image/{format}", io.BytesIO(data), signed)
        except self._c2pa.C2paError as error:
            raise OutputError(f"the picture cannot be signed: {error}") from None
        return signed.getvalue()


def _trial() -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()


def _faults(results: Any) -> list[str]:
    """What a check found wrong, but that nobody knows the issuer."""
    found = ((results or {}).get("activeManifest") or {}).get("failure", ())
    codes = [str(one.get("code")) for one in found]
    return [one for one in codes if one != "signingCredential.untrusted"] or codes


def _read(path: Path, field: str) -> str:
    """A PEM file. Raises UsageError."""
    try:
        text = text_of(path, MOST_BYTES)
        if "-----BEGIN " not in text:
            raise ValueError("it is no PEM file")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {path}: {reason}").about(field) from None
    return text


def _private_key(text: str) -> tuple[str, bytes]:
    """C2PA's name of the algorithm, and the key as PKCS 8. Raises UsageError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        wrong = "c2pa_key must be a private key without a password"
        raise UsageError(f"{wrong}: {error}").about("c2pa_key") from None
    algorithm = None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = _CURVES.get(key.curve.name)
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = "ed25519"
    elif isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _SMALLEST_RSA:
        algorithm = "ps256"
    if algorithm is None:
        known = f"EC (P-256, P-384, P-521), Ed25519 or RSA of at least {_SMALLEST_RSA:,} bits"
        raise UsageError(f"c2pa_key must be {known}").about("c2pa_key")
    return algorithm, _pkcs8(key)


def _pkcs8(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    data: bytes = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    return data


def make_files(key: Path, certificates: Path) -> None:
    """Make a key, a certificate for it, and the authority above, whose own key is thrown away.

    Raises:
        OutputError: they cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    above, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in _certificates(above, own))
    with atomic_file(key) as beside:
        beside.chmod(0o600)
        beside.write_bytes(_pkcs8(own))
    with atomic_file(certificates) as beside:
        beside.write_bytes(chain)


def _certificates(
    above: EllipticCurvePrivateKey, own: EllipticCurvePrivateKey
) -> tuple[Certificate, Certificate]:
    """The certificate of a key and that of the authority (C2PA 2.2, 14.5.1)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issuer = "unclip self-made authority"
    authority = _unsigned(issuer, issuer, above)
    authority = authority.add_extension(x509.BasicConstraints(True, 0), critical=True)
    authority = authority.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    leaf = _unsigned("unclip server", issuer, own)
    leaf = leaf.add_extension(x509.BasicConstraints(False, None), critical=True)
    leaf = leaf.add_extension(_usage(digital_signature=True), critical=True)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = leaf.add_extension(purpose, critical=False)
    over = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key())
    leaf = leaf.add_extension(over, critical=False)
    return leaf.sign(above, SHA256()), authority.sign(above, SHA256())


def _unsigned(subject: str, issuer: str, key: EllipticCurvePrivateKey) -> CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        both = (NameOID.ORGANIZATION_NAME, "unclip"), (NameOID.COMMON_NAME, text)
        return x509.Name([x509.NameAttribute(*one) for one in both])

    today, public = datetime.datetime.now(datetime.UTC), key.public_key()
    return (
        x509.CertificateBuilder(name(issuer), name(subject), public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(**allowed: bool) -> Any:
    from cryptography.x509 import KeyUsage

    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return KeyUsage(**{name: allowed.get(name, False) for name in names.split()})
