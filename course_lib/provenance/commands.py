"""The command line's ``verify``, and ``paint``'s options that mark or sign a picture.

Nothing is marked or signed without being asked: the default of every option here is to do nothing.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.file_writing import write_atomically
from course_lib.pipelines.commands import run_paint
from course_lib.pipelines.metadata import save_png
from course_lib.provenance.credentials import SigningIdentity, sign_png, test_identity
from course_lib.provenance.watermark import TILE, add_watermark

if TYPE_CHECKING:
    from PIL import Image

_SIGNING = """\
A portrait carries its recipe as text. Nothing else marks it unless you ask for it:"""
_VERIFY = """\
Look for the recipe, Content Credentials and a watermark in a picture, and say what each proves.
Exit code 0: the picture has at least one of them, and no signature is broken. Exit code 1: it has
none, a signature is broken, or the file cannot be read."""


def add_provenance(commands: argparse._SubParsersAction) -> None:
    """Add ``verify``, and to ``paint``, which is there already, how to sign and mark."""
    paint = commands.choices["paint"]
    group = paint.add_argument_group("provenance", _SIGNING)
    group.add_argument("--sign", action="store_true", help="sign it with Content Credentials")
    group.add_argument(
        "--certificate", type=Path, metavar="PEM",
        help="your certificate and those that vouch for it; without it a test certificate is made "
        "on the spot, which nobody trusts",
    )  # fmt: skip
    group.add_argument("--key", type=Path, metavar="PEM", help="your private key (P-256)")
    group.add_argument(
        "--watermark", type=int, metavar="NUMBER",
        help="mark the pixels so that who knows the number can find the mark",
    )  # fmt: skip
    paint.set_defaults(run=run_marked_paint)
    verify = commands.add_parser(
        "verify", help="say what a picture tells of its origin, and what that proves",
        description=_VERIFY, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    verify.add_argument("file", type=Path)
    verify.add_argument(
        "--watermark", type=int, metavar="NUMBER", help="the number that it was marked with"
    )
    verify.set_defaults(run=run_verify)


def run_marked_paint(options: argparse.Namespace) -> int:
    """Paint, mark and sign as far as the options ask for it."""
    given = [name for name in ("certificate", "key") if getattr(options, name) is not None]
    if given and not options.sign:
        raise ValueError(f"--{given[0]} is for signing: add --sign.")
    if len(given) == 1:
        raise ValueError("a signature needs both --certificate and --key.")
    if not options.sign and options.watermark is None:
        return run_paint(options)
    # Before minutes of painting, so that nothing painted is lost
    sizes = options.size if isinstance(options.size, tuple) else (options.size or TILE,)
    if options.watermark is not None and min(sizes) < TILE:
        raise ValueError(
            f"a watermark needs at least {TILE} x {TILE} pixels: choose a larger size."
        )
    identity = _identity(options) if options.sign else None
    return run_paint(options, save=partial(save_marked, identity=identity, key=options.watermark))


def save_marked(
    image: Image.Image, path: Path, *, identity: SigningIdentity | None, key: int | None
) -> Path:
    """Write a portrait as PNG: its recipe, a watermark if there is a key, a signature on all."""
    from course_lib.tensors import from_pil, to_pil

    recipe, texts = json.loads(image.info["course"]), image.info["pnginfo"]
    if key is not None:
        image = to_pil(add_watermark(from_pil(image), key))
        image.info["pnginfo"] = texts
    if identity is None:
        return save_png(image, path)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=texts)
    signed = sign_png(buffer.getvalue(), identity, title=path.name, recipe=recipe)
    return write_atomically(path, signed)


def _identity(options: argparse.Namespace) -> SigningIdentity:
    try:
        if options.certificate is not None:
            identity = SigningIdentity(_read(options.certificate), _read(options.key))
        else:
            identity = test_identity()
        sign_png(_one_pixel(), identity)  # a wrong key shows now
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from None
    if options.certificate is None:
        print(
            "course_lib: signed with a test certificate that was made on the spot: the signature "
            "shows changes of the file, but every reader will call the signer untrusted.",
            file=sys.stderr,
        )
    return identity


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Check the path.")
    return path.read_bytes()


def _one_pixel() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue()


def run_verify(options: argparse.Namespace) -> int:
    """Print what the picture says of its origin; 0 if it says something and nothing is broken."""
    from course_lib.provenance.verification import verify

    report = verify(options.file, watermark_key=options.watermark)
    print(report)
    return 0 if report.found and not report.broken else 1
