"""Content Credentials (C2PA): a signed statement inside a picture's file of how it was made.

The work is done by ``c2pa-python``, the library of the Content Authenticity Initiative. It is
optional: everything but this works without it. The signature proves that the file has not changed
since it was signed, and with which certificate. Who the signer is, it proves only if a root that
the reader trusts vouches for the certificate; the certificates made here are for trying it out, and
every reader marks them as untrusted.
"""

from __future__ import annotations

import datetime
import importlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from course_lib import __version__

# The vocabulary of the International Press Telecommunications Council for where a picture is from
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_PNG = "image/png"
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class SigningIdentity:
    """What signs: `certificates`, the signer's first, then its root, and the key, all as PEM."""

    certificates: bytes
    private_key: bytes


@dataclass(frozen=True)
class Credentials:
    """What the Content Credentials of a picture say, and how far that can be relied on.

    Attributes
    ----------
    valid : bool
        The signature fits, and nothing in the file has changed since.
    trusted : bool
        A root that this reader trusts vouches for the signer.
    signer, generator : str
        Organisation in the certificate, and the program that says it made the picture.
    generated : bool
        The picture is declared as made by a trained model.
    problems : tuple of str
        Codes of the specification for what failed, such as ``assertion.dataHash.mismatch``.
    """

    valid: bool
    trusted: bool
    signer: str
    generator: str
    generated: bool
    problems: tuple[str, ...]


def test_identity(organisation: str = "Portrait Diffusion (test only)") -> SigningIdentity:
    """Make a root and a signing certificate that nobody trusts, valid for 30 days.

    A certificate that signs itself is refused by the specification, so there are two.

    Raises
    ------
    ModuleNotFoundError
        If the package cryptography is not installed.
    """
    _require("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = _subject(organisation, "Test root")

    def signed(builder: Any, *extensions: tuple[Any, bool]) -> bytes:
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root = signed(
        _certificate(root_name, root_name, root_key.public_key()),
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (_key_usage(signs_certificates=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), False),
    )
    leaf = signed(
        _certificate(_subject(organisation, "Test signer"), root_name, key.public_key()),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return SigningIdentity(leaf + root, key.private_bytes(*form, serialization.NoEncryption()))


test_identity.__test__ = False  # not one of pytest's


def sign_png(
    png: bytes, identity: SigningIdentity, *, title: str = "portrait.png",
    recipe: Mapping[str, Any] | None = None,
) -> bytes:  # fmt: skip
    """Add Content Credentials that declare a PNG as made by a trained model.

    Parameters
    ----------
    png : bytes
        The file's content. Earlier texts in it stay.
    identity : SigningIdentity
    title : str
    recipe : dict, optional
        Prompt, model, seed and settings, as `cl.load_settings` reads them, to be signed, too.

    Returns
    -------
    bytes
        The signed file.

    Raises
    ------
    ModuleNotFoundError
        If c2pa-python is not installed.
    ValueError
        If it is not a PNG, or the identity cannot sign.
    """
    c2pa = _require("c2pa")
    agent = {"name": "Portrait Diffusion", "version": __version__}
    made = {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": agent}
    if recipe:
        made["parameters"] = {"org.portrait-diffusion.recipe": dict(recipe)}
    manifest = {
        "claim_generator_info": [agent],
        "title": title,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [made]}}],
    }
    info = c2pa.C2paSignerInfo(
        c2pa.C2paSigningAlg.ES256, identity.certificates, identity.private_key, None
    )
    signed = io.BytesIO()
    try:
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
            builder.sign(signer, _PNG, io.BytesIO(png), signed)
    except c2pa.C2paError as error:
        raise ValueError(f"the picture cannot be signed: {error}") from None
    return signed.getvalue()


def read_credentials(content: bytes, mime: str = _PNG) -> Credentials | None:
    """Read and check the Content Credentials of a file; None where it has none.

    Nothing is fetched: a manifest that is kept elsewhere on the web counts as none. So does a
    format that cannot hold any, such as BMP.

    Raises
    ------
    ModuleNotFoundError
        If c2pa-python is not installed.
    ValueError
        If the file or its credentials cannot be read.
    """
    c2pa = _require("c2pa")
    if mime not in c2pa.Reader.get_supported_mime_types():
        return None
    try:
        reader = c2pa.Reader.try_create(mime, io.BytesIO(content))
        if reader is None:
            return None
        with reader:
            report = json.loads(reader.json())
    except c2pa.C2paError as error:
        raise ValueError(f"the Content Credentials cannot be read: {error}") from None
    manifest = report["manifests"][report["active_manifest"]]
    problems = tuple(one["code"] for one in report.get("validation_status", ()))
    programs = manifest.get("claim_generator_info") or [{}]
    return Credentials(
        valid=report.get("validation_state") in ("Valid", "Trusted"),
        trusted=report.get("validation_state") == "Trusted",
        signer=manifest.get("signature_info", {}).get("issuer", ""),
        generator=programs[0].get("name", ""),
        generated=GENERATED in json.dumps(manifest.get("assertions", [])),
        problems=tuple(code for code in problems if code != _UNTRUSTED),
    )


def _require(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "Content Credentials need two packages more:  pip install c2pa-python cryptography"
        ) from None


def _subject(organisation: str, name: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    # Without an organisation readers report a mismatch of the signature
    parts = {NameOID.ORGANIZATION_NAME: organisation, NameOID.COMMON_NAME: name}
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts.items()])


def _certificate(subject: Any, issuer: Any, public_key: Any) -> Any:
    from cryptography import x509

    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(issuer, subject, public_key, x509.random_serial_number())
    return builder.not_valid_before(now - day).not_valid_after(now + 30 * day)


def _key_usage(*, signs_certificates: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
