"""What a picture says of its origin: its recipe, its Content Credentials, its watermark."""

from __future__ import annotations

import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from course_lib.pipelines.metadata import load_settings
from course_lib.portraits.picture_files import FORMATS, find_fault, read_picture
from course_lib.provenance.credentials import Credentials, read_credentials
from course_lib.provenance.watermark import TILE, WatermarkReading, read_watermark
from course_lib.tensors import from_pil

_WHOLE = 1 << 20  # pixels, as the size to which a picture may be reduced: never
_NOTHING = "That proves nothing: most programs remove it when they save a picture anew."


@dataclass(frozen=True)
class Verification:
    """What was found in a picture; printed, also what it proves.

    Attributes
    ----------
    recipe : dict, optional
        As `load_settings` reads it.
    credentials : Credentials, optional
    watermark : WatermarkReading, optional
        None where no key was given.
    damaged : bool
        There are Content Credentials, but they cannot be read.
    notes : dict of str to str
        Why "recipe", "credentials" or "watermark" could not be read.
    """

    name: str
    size: tuple[int, int]
    recipe: dict[str, Any] | None
    credentials: Credentials | None
    watermark: WatermarkReading | None
    damaged: bool
    notes: dict[str, str]

    @property
    def found(self) -> bool:
        """Whether the picture says anything of its origin."""
        marked = self.watermark is not None and self.watermark.found()
        return self.recipe is not None or self.credentials is not None or marked

    @property
    def broken(self) -> bool:
        """Whether there are Content Credentials that do not fit the file, or are damaged."""
        return self.damaged or (self.credentials is not None and not self.credentials.valid)

    def __str__(self) -> str:
        parts = {
            "Recipe": self._recipe(), "Content Credentials": self._credentials(),
            "Watermark": self._watermark(),
        }  # fmt: skip
        lines = [f"{self.name}, {self.size[0]} x {self.size[1]} pixels"]
        for name, text in parts.items():
            lines += ["", name, *textwrap.wrap(text, 92, initial_indent="  ",
                                               subsequent_indent="  ")]  # fmt: skip
        return "\n".join(lines)

    def _recipe(self) -> str:
        if self.recipe is None:
            return f"{self.notes.get('recipe', 'None.')} {_NOTHING}"
        known = {key: self.recipe.get(key) for key in ("model", "seed", "steps")}
        said = ", ".join(f"{key} {value}" for key, value in known.items() if value is not None)
        return (
            f'"{self.recipe["prompt"]}" ({said}). That is plain text: anybody can write it, change '
            "it or take it away. It says how to paint the picture again, and to do so is the only "
            "test of it."
        )

    def _credentials(self) -> str:
        found = self.credentials
        if found is None:
            return self.notes.get("credentials", f"None. {_NOTHING}")
        says = f'Signed by "{found.signer}" with the program "{found.generator}"'
        says += ", declared as made by a trained model" if found.generated else ""
        if not found.valid:
            return (
                f"BROKEN: {says}, but the signature does not fit this file "
                f"({', '.join(found.problems) or 'no reason given'}). It was changed after it was "
                "signed, or the signature was never right."
            )
        trust = (
            "A root that this reader trusts vouches for the signer."
            if found.trusted
            else "UNTRUSTED: nobody that this reader knows vouches for the signer, so anybody may "
            "have used this name."
        )
        return (
            f"{says}. The signature fits: the file is as it was when it was signed. {trust} That "
            "what the signer states is true, no signature can prove."
        )

    def _watermark(self) -> str:
        found = self.watermark
        if found is None:
            return self.notes.get("watermark", "")
        # The formula for p is tested for values that occur; far below them it is a bound at best
        p = f"p = {found.p_value:.1g}" if found.p_value > 1e-9 else "p < 1e-9"
        chance = f"score {found.score:.1f}, {p}"
        if not found.found():
            return (
                f"Not found with this number ({chance}). The picture was not marked with it, or "
                "the mark was lost: enlarging, mirroring or repainting by a model removes it."
            )
        return (
            f"Found ({chance}). Somebody who knows the number marked this picture, or one that it "
            "was made from. Who knows it can mark any picture, a photograph too."
        )


def verify(file: str | Path, *, watermark_key: int | None = None) -> Verification:
    """Look for everything that a picture says of its origin.

    Parameters
    ----------
    file : path
        PNG, JPEG, WebP or another format that Pillow reads. Nothing is fetched.
    watermark_key : int, optional
        Key of `add_watermark`, without which a watermark cannot be seen.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is no picture or damaged.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"There is no picture {path}. Check the path.")
    if fault := find_fault(path, _WHOLE):
        raise ValueError(f"{path} cannot be verified: {fault}.")
    picture, notes = read_picture(path, _WHOLE), {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of samplers that are not known here
            recipe = load_settings(path)
    except ValueError as error:
        recipe = None
        if "carries no recipe" not in str(error):
            notes["recipe"] = _sentence(error)
    credentials, damaged = None, False
    try:
        with Image.open(path, formats=FORMATS) as opened:
            credentials = read_credentials(path.read_bytes(), opened.get_format_mimetype())
    except ModuleNotFoundError as error:
        notes["credentials"] = f"Not looked for. {error}."
    except ValueError as error:
        notes["credentials"], damaged = _sentence(error), True
    watermark = None
    if watermark_key is None:
        notes["watermark"] = "Not looked for: it takes the number of --watermark to find it."
    elif min(picture.size) < TILE:
        notes["watermark"] = f"None: a picture needs at least {TILE} x {TILE} pixels to hold one."
    else:
        watermark = read_watermark(from_pil(picture), watermark_key)
    return Verification(path.name, picture.size, recipe, credentials, watermark, damaged, notes)


def _sentence(error: Exception) -> str:
    text = str(error).rstrip(".") + "."
    return text[0].upper() + text[1:]
