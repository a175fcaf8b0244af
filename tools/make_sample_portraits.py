"""Paint the sample set in data/portraits: pictures, captions, data card and checksums.

    python tools/make_sample_portraits.py

The result depends on the painter alone; running it twice changes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np

from course_lib.portraits.attributes import VOCABULARY, Attributes, can_have_facial_hair
from course_lib.portraits.captions import caption
from course_lib.portraits.painter import paint_portrait

COUNT, SIZE, SEED = 256, 128, 2024
FOLDER = Path(__file__).resolve().parents[1] / "data" / "portraits"
# Half of the people wear nothing of the kind; otherwise every value has the same share.
_HALF_NONE = ("eyewear", "facial_hair", "headwear")

CARD = """---
license: cc-by-4.0
task_categories:
- text-to-image
language:
- en
size_categories:
- n<1K
---
# Portrait Diffusion: sample portraits

{count} painted portraits of people who do not exist, {size} x {size} pixels, each with a caption
and the complete list of what it shows. They are the small, fixed set that the lessons look at and
measure with; for training, `course_lib.PortraitDataset` paints as many others as you like.

## What is in it

- `images/*.webp`: lossless WebP, RGB.
- `metadata.jsonl`: one line per picture with `file_name`, `text` (the caption, which leaves some
  things out, as people do), `attributes` (everything the picture shows) and `seed` (which person).
- `SHA256SUMS`: check with `sha256sum -c SHA256SUMS`.

## Read it

```python
import course_lib as cl
image, text = cl.PortraitFolder("data/portraits", size=128)[0]
```

The layout is the *imagefolder* convention, so Hugging Face `datasets` (not needed by this course)
and the training scripts of diffusers read it as well:

```python
from datasets import load_dataset
portraits = load_dataset("imagefolder", data_dir="data/portraits", split="train")
```

## How it was made

`python tools/make_sample_portraits.py` paints it anew: attributes are dealt like cards so that
each value appears about equally often, the painter of `course_lib.portraits` draws them, and
`course_lib.portraits.captions` writes the captions. No photograph and no other data set was used.

## Balance

| attribute | pictures of each value |
|---|---|
{balance}

A hair colour is listed for every person, even where a headscarf hides it or the style has no
colours; captions name only what can be seen.

## Limits

These are drawings by a program. They have two genders, ten hair styles and six expressions; people
have more. All of them are alone and face the viewer or turn a little. A model that has
learned these portraits has learned this painter's idea of a face and nothing about real people.

## Licence

CC BY 4.0, see `LICENSE`.
"""


def deal(field: str, rng: np.random.Generator) -> list[str]:
    """One value for each portrait, every value equally often, in random order."""
    values = VOCABULARY[field]
    if field in _HALF_NONE:
        others = [value for value in values if value != "none"]
        values = tuple(["none"] * len(others) + others)
    deck = [values[i % len(values)] for i in range(COUNT)]
    return [deck[i] for i in rng.permutation(COUNT)]


def choose_people() -> list[Attributes]:
    """The attributes of all portraits: balanced, and possible."""
    rng = np.random.default_rng(SEED)
    hands = {field: deal(field, rng) for field in VOCABULARY}
    styles, qualities = VOCABULARY["style"], VOCABULARY["quality"]
    people = []
    for i in range(COUNT):
        person = {field: hand[i] for field, hand in hands.items()}
        # Every style at every quality, one after the other.
        person["style"] = styles[i % len(styles)]
        person["quality"] = qualities[i // len(styles) % len(qualities)]
        if not can_have_facial_hair(person["age"], person["gender"]):
            person["facial_hair"] = "none"
        if person["age"] == "child" and person["hair_color"] in ("gray", "white"):
            person["hair_color"] = str(rng.choice(["black", "brown", "blond", "red"]))
        if person["hair_style"] == "bald" and (person["age"], person["gender"]) != (
            "elderly",
            "man",
        ):
            person["hair_style"] = str(rng.choice(["bald", "short", "curly", "long"]))
        people.append(Attributes(**person))
    return people


def balance_table(people: list[Attributes]) -> str:
    """Markdown rows: how often each value occurs."""
    rows = []
    for field, values in VOCABULARY.items():
        counts = Counter(getattr(person, field) for person in people)
        row = ", ".join(f"{value} {counts[value]}" for value in values)
        rows.append(f"| {field.replace('_', ' ')} | {row} |")
    return "\n".join(rows)


def write_checksums(folder: Path) -> None:
    """A list that `sha256sum -c` understands, of every file but itself."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(folder).as_posix()}\n"
        for f in files
    ]
    (folder / "SHA256SUMS").write_bytes("".join(lines).encode())


def make(folder: Path) -> None:
    """Write the whole sample set into `folder`, over what is there."""
    from PIL import Image

    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("*.webp"):
        old.unlink()
    people = choose_people()
    lines = []
    for i, person in enumerate(people):
        name = f"images/{i:03d}.webp"
        pixels = paint_portrait(person, i, size=SIZE)
        Image.fromarray(pixels).save(folder / name, lossless=True, quality=80, method=4)
        text = caption(person, np.random.default_rng([SEED, i]))
        entry = {"file_name": name, "text": text, "attributes": person.to_dict(), "seed": i}
        lines.append(json.dumps(entry) + "\n")
    # Bytes, not text, so that line ends and checksums are the same on every system.
    (folder / "metadata.jsonl").write_bytes("".join(lines).encode())
    card = CARD.format(count=COUNT, size=SIZE, balance=balance_table(people))
    (folder / "README.md").write_bytes(card.encode())
    write_checksums(folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write")
    folder = parser.parse_args().folder
    make(folder)
    total = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{COUNT} portraits in {folder}, {total / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
