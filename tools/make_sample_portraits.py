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

from course_lib.portraits.attributes import (
    HAIR_COLOR_BY_AGE,
    VOCABULARY,
    Attributes,
    can_have_facial_hair,
)
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

`python tools/make_sample_portraits.py` paints it anew: it chooses the attributes as described
below, the painter of `course_lib.portraits` draws them, and `course_lib.portraits.captions` writes
the captions. No photograph and no other data set was used.

## Distribution

Age, gender, skin, expression, clothing, background, framing, pose, light and style have each of
their values equally often, independently of each other: nothing depends on skin, and only
what follows depends on age or gender.

- **Hair colour** depends on age and on nothing else: {gray_elderly} of the {elderly} elderly people
  and {gray_adult} of the {adult} adults have gray or white hair, children and young people none.
  Blue or pink hair occurs at every age: {dyed} of {count} people ({dyed_percent:.0f} %). These are
  the shares that `course_lib.PortraitDataset` draws, too.
- **Facial hair** is for men who are not children: {bearded} of those {men} have some, always in
  the colour of their hair ({bearded_gray} gray or white, {bearded_dyed} blue or pink).
- **Bald** are {bald} of those men, and no women or children. The other hair styles share the rest.
- **Glasses and hats**: half of the people wear no glasses and half no hat or scarf; the kinds
  share the other half.

| age | {colors} |
|---|{rules}|
{hair_table}

| attribute | pictures of each value |
|---|---|
{balance}

A hair colour is listed for every person, even where a headscarf hides it or the style has no
colours; captions name only what can be seen.

## Limits

These are drawings by a program. They have two genders, ten hair styles and six expressions; people
have more. All of them are alone and face the viewer or turn a little. A model that has
learned these portraits has learned this painter's idea of a face and nothing about real people.
The portraits are not for recognising, judging or counting people.

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


def deal_hair_colors(ages: list[str], rng: np.random.Generator) -> list[str]:
    """One hair colour for each age in the list, in the shares of `HAIR_COLOR_BY_AGE`."""
    colors = VOCABULARY["hair_color"]
    result = np.empty(len(ages), dtype=object)
    for age, percents in HAIR_COLOR_BY_AGE.items():
        places = np.flatnonzero(np.asarray(ages) == age)
        exact = np.asarray(percents) / 100 * len(places)
        counts = np.floor(exact).astype(int)
        # The largest remainders get the people that rounding down leaves over.
        for i in np.argsort(counts - exact, kind="stable")[: len(places) - counts.sum()]:
            counts[i] += 1
        result[rng.permutation(places)] = np.repeat(np.asarray(colors, dtype=object), counts)
    return result.tolist()


def choose_people() -> list[Attributes]:
    """The attributes of all portraits: balanced, and possible."""
    rng = np.random.default_rng(SEED)
    hands = {field: deal(field, rng) for field in VOCABULARY}
    hands["hair_color"] = deal_hair_colors(hands["age"], rng)
    styles, qualities = VOCABULARY["style"], VOCABULARY["quality"]
    people = []
    for i in range(COUNT):
        person = {field: hand[i] for field, hand in hands.items()}
        # Every style at every quality, one after the other.
        person["style"] = styles[i % len(styles)]
        person["quality"] = qualities[i // len(styles) % len(qualities)]
        if not can_have_facial_hair(person["age"], person["gender"]):
            person["facial_hair"] = "none"
            if person["hair_style"] == "bald":
                person["hair_style"] = str(rng.choice(VOCABULARY["hair_style"][1:]))
        people.append(Attributes(**person))
    return people


def card(people: list[Attributes]) -> str:
    """The data card, with every number counted."""

    def count(**wanted: tuple[str, ...]) -> int:
        return sum(
            all(getattr(p, field) in values for field, values in wanted.items()) for p in people
        )

    gray, dyed = ("gray", "white"), ("blue", "pink")
    colors, kinds = VOCABULARY["hair_color"], VOCABULARY["facial_hair"][1:]
    rows = [
        f"| {age} | "
        + " | ".join(str(count(age=(age,), hair_color=(color,))) for color in colors)
        + " |"
        for age in VOCABULARY["age"]
    ]
    return CARD.format(
        count=len(people),
        size=SIZE,
        gray_elderly=count(age=("elderly",), hair_color=gray),
        elderly=count(age=("elderly",)),
        gray_adult=count(age=("adult",), hair_color=gray),
        adult=count(age=("adult",)),
        dyed=count(hair_color=dyed),
        dyed_percent=100 * count(hair_color=dyed) / len(people),
        men=sum(can_have_facial_hair(p.age, p.gender) for p in people),
        bearded=count(facial_hair=kinds),
        bearded_gray=count(facial_hair=kinds, hair_color=gray),
        bearded_dyed=count(facial_hair=kinds, hair_color=dyed),
        bald=count(hair_style=("bald",)),
        colors=" | ".join(colors),
        rules="|".join("---" for _ in colors),
        hair_table="\n".join(rows),
        balance=balance_table(people),
    )


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
    (folder / "README.md").write_bytes(card(people).encode())
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
