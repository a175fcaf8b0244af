"""Content Credentials: signed, read again, and what every change of the file does to them."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from course_lib.provenance import credentials

RECIPE = {"prompt": "a smiling woman", "seed": 3}


def make_png():
    texts = PngInfo()
    texts.add_text("parameters", "a smiling woman")
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def signed():
    return credentials.sign_png(make_png(), credentials.test_identity("An Atelier"), recipe=RECIPE)


def test_a_signed_picture_says_who_made_it_and_how_and_is_not_trusted(signed):
    found = credentials.read_credentials(signed)
    assert found == credentials.Credentials(
        valid=True, trusted=False, signer="An Atelier", generator="Portrait Diffusion",
        generated=True, problems=(),
    )  # fmt: skip


def test_signing_changes_neither_pixels_nor_texts(signed):
    before, after = Image.open(io.BytesIO(make_png())), Image.open(io.BytesIO(signed))
    assert before.tobytes() == after.tobytes()
    assert after.info["parameters"] == "a smiling woman"


def test_one_changed_bit_is_noticed(signed):
    changed = bytearray(signed)
    changed[signed.find(b"IDAT") + 20] ^= 1
    found = credentials.read_credentials(bytes(changed))
    assert not found.valid and "assertion.dataHash.mismatch" in found.problems


def test_a_changed_statement_is_noticed(signed):
    assert signed.count(b"a smiling woman") >= 2  # in the text and in the statement
    place = signed.rfind(b"a smiling woman")
    changed = signed[:place] + b"a frowning duke" + signed[place + 15 :]
    try:
        assert not credentials.read_credentials(changed).valid
    except ValueError as error:  # the library may refuse to read it at all
        assert "cannot be read" in str(error)


def test_saving_the_picture_again_removes_them(signed):
    again = io.BytesIO()
    Image.open(io.BytesIO(signed)).save(again, "PNG")
    assert credentials.read_credentials(again.getvalue()) is None
    assert credentials.read_credentials(make_png()) is None


def test_what_cannot_be_signed_or_read_is_one_sentence(signed):
    identity = credentials.test_identity()
    with pytest.raises(ValueError, match="cannot be signed"):
        credentials.sign_png(b"no picture", identity)
    without_key = credentials.SigningIdentity(identity.certificates, b"")
    with pytest.raises(ValueError, match="cannot be signed"):
        credentials.sign_png(make_png(), without_key)
    with pytest.raises(ValueError, match="cannot be read"):
        credentials.read_credentials(b"no picture")


def test_without_the_packages_the_message_says_what_to_install(monkeypatch):
    for name in ("c2pa", "cryptography"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (credentials.test_identity, lambda: credentials.read_credentials(make_png())):
        with pytest.raises(ModuleNotFoundError, match="pip install c2pa-python cryptography"):
            call()
