"""`paint --sign`, and what `verify` says of pictures: signed, changed, foreign, damaged."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib

import pytest
import torch
from PIL import Image

import course_lib.__main__ as cli
from course_lib.pipelines.metadata import attach, load_settings
from course_lib.provenance import credentials, read_credentials, verify
from course_lib.provenance.commands import save_marked
from course_lib.tensors import to_pil

KEY = 771_234_599
RECIPE = {
    "prompt": "a smiling woman", "model": "mini", "seed": 3, "steps": 5, "guidance": 2.5,
    "version": "x", "scheduler": "ddim", "height": 128, "width": 128, "negative_prompt": "",
}  # fmt: skip


CAMERA = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"


def portrait(size=128):
    pixels = torch.rand(3, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    return attach(to_pil(pixels.repeat_interleave(8, 1).repeat_interleave(8, 2)), RECIPE)


@pytest.fixture(scope="module")
def identity():
    return credentials.test_identity("An Atelier")


@pytest.fixture
def signed(tmp_path, identity):
    return save_marked(portrait(), tmp_path / "signed.png", identity=identity, key=KEY)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = cli.main([str(one) for one in arguments])
        output = capsys.readouterr()
        return code, " ".join(output.out.split()), output.err

    return call


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def credentials_chunk(png):
    """Start and end of the PNG chunk that holds the Content Credentials."""
    start = png.index(b"caBX") - 4
    return start, start + 12 + struct.unpack(">I", png[start : start + 4])[0]


def test_a_signed_and_marked_portrait_says_all_three_and_what_they_prove(signed, run):
    code, text, _ = run("verify", signed, "--watermark", KEY)
    assert code == 0
    for part in (
        "signed.png, 128 x 128 pixels", '"a smiling woman" (model mini, seed 3, steps 5)',
        "anybody can write it", 'Signed by "An Atelier"', "made by a trained model", "UNTRUSTED",
        "no signature can prove", "Found (score", "Who knows it can mark any picture",
    ):  # fmt: skip
        assert part in text, part
    code, text, _ = run("verify", signed)
    assert code == 0 and "Not looked for" in text
    assert str(KEY).encode() not in signed.read_bytes()
    assert "Not found with this number" in run("verify", signed, "--watermark", KEY + 1)[1]


def test_the_default_marks_and_signs_nothing(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = ("--steps", "1", "--guidance", "1")
    assert run("paint", "a man", "-o", "plain.png", *short)[0] == 0
    code, _, err = run("paint", "a man", "-o", "all.png", "--sign", "--watermark", KEY, *short)
    assert code == 0 and "test certificate" in err and "untrusted" in err
    plain, marked = (
        verify(tmp_path / name, watermark_key=KEY) for name in ("plain.png", "all.png")
    )
    assert plain.credentials is None and not plain.watermark.found()
    assert plain.recipe["prompt"] == "a man" and plain.found
    assert marked.credentials.valid and marked.watermark.found()
    assert marked.recipe == plain.recipe == load_settings("all.png")
    with pytest.raises(SystemExit):
        cli.main(["paint", "--help"])


def test_the_help_says_so(capsys):
    with pytest.raises(SystemExit):
        cli.main(["paint", "--help"])
    assert "Nothing else marks it unless you ask" in " ".join(capsys.readouterr().out.split())


def test_a_changed_pixel_breaks_the_signature(signed, run, tmp_path):
    png = signed.read_bytes()
    start, end = credentials_chunk(png)
    image = Image.open(io.BytesIO(png))
    image.putpixel((5, 5), (0, 0, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    other = buffer.getvalue()
    (tmp_path / "changed.png").write_bytes(other[:33] + png[start:end] + other[33:])  # after IHDR
    code, text, _ = run("verify", tmp_path / "changed.png")
    assert code == 1 and "BROKEN" in text and "assertion.dataHash.mismatch" in text


def test_saving_anew_loses_all_but_the_watermark(signed, run, tmp_path):
    for name in ("again.png", "again.jpg", "again.bmp", "again.webp"):
        Image.open(signed).save(tmp_path / name, quality=80)
        report = verify(tmp_path / name, watermark_key=KEY)
        assert (report.recipe, report.credentials) == (None, None), name
        assert report.watermark.found() and not report.broken, name
    assert run("verify", tmp_path / "again.png", "--watermark", KEY)[0] == 0
    assert run("verify", tmp_path / "again.png")[0] == 1  # it says nothing


def test_a_file_that_somebody_else_signed(tmp_path, run):
    """Another program and signer, and none of the entries that ours writes."""
    import c2pa

    identity = credentials.test_identity("A Newspaper")
    info = c2pa.C2paSignerInfo(
        c2pa.C2paSigningAlg.ES256, identity.certificates, identity.private_key, None
    )
    shot = {"action": "c2pa.created", "digitalSourceType": CAMERA}
    manifest = {
        "claim_generator_info": [{"name": "A Camera"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [shot]}}],
    }
    source, target = io.BytesIO(), io.BytesIO()
    portrait().convert("RGB").save(source, "JPEG")
    source.seek(0)
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
        builder.sign(signer, "image/jpeg", source, target)
    (tmp_path / "foreign.jpg").write_bytes(target.getvalue())
    code, text, _ = run("verify", tmp_path / "foreign.jpg")
    assert code == 0 and 'Signed by "A Newspaper" with the program "A Camera"' in text
    assert "UNTRUSTED" in text and "trained model" not in text


def test_damaged_credentials_and_files_are_one_sentence(signed, run, tmp_path):
    png = signed.read_bytes()
    start, end = credentials_chunk(png)
    body = bytearray(png[start + 8 : end - 4])
    body[40:80] = bytes(40)
    (tmp_path / "damaged.png").write_bytes(png[:start] + chunk(b"caBX", bytes(body)) + png[end:])
    code, text, _ = run("verify", tmp_path / "damaged.png")
    assert code == 1 and ("cannot be read" in text or "BROKEN" in text)
    (tmp_path / "cut.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, part in (
        ("cut.png", "cannot be read"), ("text.png", "not a picture"), ("empty.png", "empty"),
        ("nowhere.png", "There is no picture"), ("", "There is no picture"),
    ):  # fmt: skip
        code, out, err = run("verify", tmp_path / name)
        assert code == 1 and out == "" and part in err and err.count("\n") == 1, (name, err)


def test_a_picture_too_small_for_a_watermark(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attach(Image.new("RGB", (63, 128)), RECIPE).save("small.png")
    code, text, _ = run("verify", "small.png", "--watermark", KEY)
    assert code == 0 and "at least 64 x 64 pixels" in text
    code, _, err = run("paint", "a man", "--size", "32", "--watermark", KEY)
    assert code == 1 and "at least 64 x 64" in err and not list(tmp_path.glob("portrait*"))


def test_wrong_signing_options_are_told_before_anything_is_painted(run, tmp_path, identity):
    pem, key = tmp_path / "c.pem", tmp_path / "k.pem"
    pem.write_bytes(identity.certificates)
    key.write_text("no key")
    for options, part in (
        (["--certificate", pem], "add --sign"), (["--sign", "--key", key], "both --certificate"),
        (["--sign", "--certificate", tmp_path / "x", "--key", key], "There is no file"),
        (["--sign", "--certificate", pem, "--key", key], "cannot be signed"),
    ):  # fmt: skip
        code, _, err = run("paint", "a man", "-o", tmp_path / "p.png", *options)
        assert code == 1 and part in err and not (tmp_path / "p.png").exists(), part


def test_everything_else_works_without_c2pa(signed, run, tmp_path, monkeypatch):
    for name in ("c2pa", "cryptography"):
        monkeypatch.setitem(sys.modules, name, None)
    code, text, _ = run("verify", signed, "--watermark", KEY)
    assert code == 0 and "Found (score" in text
    assert "pip install c2pa-python cryptography" in text
    short = ("--steps", "1", "--guidance", "1")
    assert run("paint", "a man", "-o", tmp_path / "p.png", *short)[0] == 0
    code, _, err = run("paint", "a man", "-o", tmp_path / "q.png", "--sign", *short)
    assert code == 1 and "pip install c2pa-python cryptography" in err
    assert err.count("\n") == 1 and not (tmp_path / "q.png").exists()


def test_a_key_of_ones_own_signs(run, tmp_path, identity, monkeypatch):
    (tmp_path / "c.pem").write_bytes(identity.certificates)
    (tmp_path / "k.pem").write_bytes(identity.private_key)
    code, _, err = run(
        "paint", "a man", "-o", tmp_path / "p.png", "--steps", "1", "--guidance", "1",
        "--sign", "--certificate", tmp_path / "c.pem", "--key", tmp_path / "k.pem",
    )  # fmt: skip
    found = read_credentials((tmp_path / "p.png").read_bytes())
    assert code == 0 and found.valid and found.signer == "An Atelier"
    assert "test certificate" not in err
