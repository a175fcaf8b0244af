"""`PortraitFolder` takes pictures as people have them: turned, deep, transparent, broken."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
import unicodedata
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from course_lib.portraits import PortraitFolder, picture_files

ROOT = Path(__file__).resolve().parent.parent
RED = torch.tensor([1.0, -1.0, -1.0])


def color_of(image: torch.Tensor) -> torch.Tensor:
    return image.mean(dim=(1, 2))


def save(path: Path, color: object = "red", mode: str = "RGB", edge: int = 20, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (edge, edge), color).save(path, **options)
    return path


def write_metadata(folder: Path, *lines: object) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "metadata.jsonl").write_text("\n".join(texts), encoding="utf-8")


def read_quietly(path: Path, **options) -> PortraitFolder:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Most tests are about pictures, which then have no captions, and that alone is said
        warnings.filterwarnings("ignore", r"In '[^:]*': \d+ of \d+ pictures are without a caption")
        return PortraitFolder(path, **options)


def read_with_warning(path: Path, **options) -> PortraitFolder:
    with pytest.warns(UserWarning, match="skipped") as caught:
        folder = PortraitFolder(path, **options)
    assert len(caught) == 1, "one summary, not one warning a file"
    return folder


def test_metadata_gives_captions(tmp_path):
    save(tmp_path / "images/a.png")
    save(tmp_path / "images/b.png", "blue")
    write_metadata(
        tmp_path,
        {"file_name": "images/b.png", "text": "a blue square"},
        {"file_name": "images/a.png", "caption": "rouge \u2764"},
        "",
    )
    folder = read_quietly(tmp_path, size=8)
    assert folder.captions == ["rouge \u2764", "a blue square"]
    image, text = folder[0]
    assert image.shape == (3, 8, 8) and text == "rouge \u2764"
    assert torch.allclose(color_of(image), RED)
    assert folder.images().shape == (2, 3, 8, 8)
    assert len(list(folder)) == len(folder) == 2


def test_metadata_of_subfolders_counts_from_there(tmp_path):
    save(tmp_path / "train/a.png")
    write_metadata(tmp_path / "train", {"file_name": "a.png", "text": "hello"})
    assert read_quietly(tmp_path).captions == ["hello"]


def test_folder_names_are_captions_without_metadata(tmp_path):
    for name in ("red_square/1.png", "train/blue square/2.PNG", "images/3.png", "4.png"):
        save(tmp_path / name)
    save(tmp_path / ".ipynb_checkpoints/no.png")
    (tmp_path / "._1.png").write_bytes(b"left by macOS")
    (tmp_path / "notes.txt").write_text("not a picture, and no reason to warn")
    folder = read_quietly(tmp_path)
    captions = {path.name: text for path, text in zip(folder.paths, folder.captions, strict=True)}
    assert captions == {
        "1.png": "red square", "2.PNG": "blue square", "3.png": "", "4.png": ""
    }  # fmt: skip


def test_odd_names(tmp_path):
    name = "b\u00fccher \u0430 \U0001f600 '%s'.png"
    save(tmp_path / unicodedata.normalize("NFD", name))
    write_metadata(tmp_path, {"file_name": unicodedata.normalize("NFC", name), "text": "odd"})
    assert read_quietly(tmp_path).captions == ["odd"]


def test_broken_metadata_is_summed_up(tmp_path):
    for name in "abcd":
        save(tmp_path / f"{name}.png")
    save(tmp_path.parent / "secret.png")
    write_metadata(
        tmp_path,
        {"file_name": "a.png", "text": "good"},
        '{"file_name": "b.png", "text"',
        {"file_name": "../secret.png", "text": "up"},
        {"file_name": str(tmp_path / "b.png"), "text": "absolute"},
        {"file_name": "C:\\b.png", "text": "drive"},
        {"file_name": "gone.png", "text": "gone"},
        {"text": "no name"},
        ["a list"],
        {"file_name": "c.png", "text": 7},
        {"file_name": "a.png", "text": "twice"},
        {"file_name": "d.png"},
    )
    folder = read_with_warning(tmp_path)
    assert folder.notes == ["1 of 2 pictures are without a caption (d.png)"]
    assert [p.name for p in folder.paths] == ["a.png", "d.png"]
    assert folder.captions == ["good", ""]
    reasons = [folder.skipped.pop(f"metadata.jsonl, line {i}") for i in range(2, 11)]
    expected = [
        "not JSON", "outside the folder", "outside the folder", "outside the folder",
        "no picture 'gone.png'", 'no "file_name"', 'no "file_name"', "not a text", "named twice",
    ]  # fmt: skip
    assert all(part in reason for part, reason in zip(expected, reasons, strict=True)), reasons
    assert folder.skipped == dict.fromkeys(["b.png", "c.png"], "metadata.jsonl does not name it")


@pytest.mark.parametrize("key", ["text", "caption", "prompt", "additional_feature"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "semicolons", "utf-16"])
def test_lists_of_every_common_kind_give_captions(tmp_path, kind, key):
    save(tmp_path / "sub/a.jfif", format="JPEG")
    save(tmp_path / "sub/b.png")
    names, texts = ["sub\\a.jfif", "sub/b.png"], ['a "red", square', "ein rotes Viereck \u2764"]
    if kind == "jsonl":
        lines = [{"file_name": n, key: t} for n, t in zip(names, texts, strict=True)]
        write_metadata(tmp_path, *lines)
    else:
        with (tmp_path / "metadata.csv").open(
            "w", newline="", encoding="utf-16" if kind == "utf-16" else "utf-8-sig"
        ) as file:
            rows = csv.writer(file, delimiter=";" if kind == "semicolons" else ",")
            rows.writerows([["file_name", key], *zip(names, texts, strict=True)])
    assert read_quietly(tmp_path).captions == texts


def test_text_files_beside_the_pictures_give_captions(tmp_path):
    for name in ("a.png", "b.JPG", "red_square/c.png", "d.png"):
        save(tmp_path / name)
    (tmp_path / "a.txt").write_text("\ufeffa red\nsquare\n", encoding="utf-8")
    (tmp_path / "b.caption").write_text("ein Quadrat \u2764", encoding="utf-16")
    (tmp_path / "d.txt").write_bytes(b"Stra\xdfe")
    with pytest.warns(UserWarning, match=r"d\.txt is not used .* 1 of 4 .* \(d\.png\)\.$"):
        folder = PortraitFolder(tmp_path)
    assert folder.captions == ["a red square", "ein Quadrat \u2764", "", "red square"]
    assert len(folder) == 4 and not folder.skipped


@pytest.mark.parametrize(
    "files,note",
    [
        ({}, r"1 of 1 pictures are without a caption \(a\.png\)\.$"),
        (
            {"captions.csv": "file_name,text\na.png,red\n"},
            "captions.csv is not used, only metadata",
        ),
        ({"metadata.parquet": "PAR1"}, "metadata.parquet is not used, only metadata.jsonl or"),
        (
            {"metadata.jsonl": '{"file_name": "a.png", "description": "red"}'},
            "metadata.jsonl has description, but captions are read from text, caption, prompt",
        ),
        (
            {"metadata.csv": "file_name,label\na.png,red\n"},
            "metadata.csv has label, but .* 1 of 1 pictures are without a caption",
        ),
        (
            {"metadata.jsonl": '{"file_name": "a.png", "text": "red"}', "a.txt": "green"},
            "1 text files beside pictures are not used, since there is a metadata.jsonl",
        ),
        (
            {"metadata.jsonl": '{"file_name": "a.png", "text": "red"}', "metadata.csv": "x"},
            "metadata.csv is not used",
        ),
    ],
)
def test_what_is_not_used_and_captions_that_are_missing_are_said(tmp_path, files, note):
    save(tmp_path / "a.png")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.warns(UserWarning, match=note) as caught:
        folder = PortraitFolder(tmp_path)
    assert len(caught) == 1 and len(folder) == 1 and not folder.skipped


def test_a_table_with_broken_rows_or_without_names(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    table = tmp_path / "metadata.csv"
    table.write_bytes(b"file_name,text\na.png,red\nb.png,Stra\xdfe\n")
    folder = read_with_warning(tmp_path)
    assert folder.captions == ["red"] and "CSV UTF-8" in folder.skipped["metadata.csv, line 3"]
    table.write_text("image,text\na.png,red\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no column file_name"):
        PortraitFolder(tmp_path)


def test_an_empty_caption_that_is_meant_is_not_missed(tmp_path):
    save(tmp_path / "a.png")
    write_metadata(tmp_path, {"file_name": "a.png", "text": ""})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PortraitFolder(tmp_path).captions == [""]


def test_exif_turns_pictures_upright(tmp_path):
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20, :, 0] = 255  # red above, black below
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    Image.fromarray(pixels[::-1]).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image, _ = read_quietly(tmp_path, size=16)[0]
    assert color_of(image[:, :7])[0] > 0.9 and color_of(image[:, 9:])[0] < -0.9


@pytest.mark.parametrize(
    ("name", "mode", "color", "expected"),
    [
        ("clear.png", "RGBA", (0, 0, 255, 0), (1, 1, 1)),
        ("half.png", "RGBA", (0, 0, 0, 51), (0.6, 0.6, 0.6)),  # 80 % white: 2 * 0.8 - 1
        ("gray_clear.png", "LA", (0, 0), (1, 1, 1)),
        ("cmyk.jpg", "CMYK", (0, 255, 255, 0), (1, -1, -1)),
        ("cmyk.tif", "CMYK", (0, 255, 255, 0), (1, -1, -1)),
        ("palette.gif", "P", 0, (-1, -1, -1)),
        ("deep.png", "I;16", 52428, (0.6, 0.6, 0.6)),  # 0.8 * 65535
        ("deep.tif", "I;16", 52428, (0.6, 0.6, 0.6)),
        ("integers.tif", "I", 204, (0.6, 0.6, 0.6)),
        ("floats.tif", "F", 0.8, (0.6, 0.6, 0.6)),
        ("bits.png", "1", 1, (1, 1, 1)),
        ("gray.bmp", "L", 204, (0.6, 0.6, 0.6)),
        ("small.webp", "RGB", "red", (1, -1, -1)),
    ],
)
def test_modes_and_formats(tmp_path, name, mode, color, expected):
    save(tmp_path / name, color, mode)
    image, _ = read_quietly(tmp_path, size=8)[0]
    # JPEG and WebP lose up to a few levels of 255
    assert torch.allclose(color_of(image), torch.tensor(expected, dtype=torch.float32), atol=0.03)


def test_a_palette_with_a_transparent_colour_lies_on_white(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "a.gif", transparency=1)
    assert torch.allclose(color_of(read_quietly(tmp_path)[0][0]), torch.ones(3))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_animations_show_their_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue", "green")]
    options = {} if suffix == "gif" else {"lossless": True} if suffix == "webp" else {}
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert torch.allclose(color_of(read_quietly(tmp_path)[0][0]), RED, atol=0.03)


def test_the_centre_is_cut_out_and_antialiased(tmp_path):
    stripes = np.zeros((64, 192, 3), np.uint8)
    stripes[:, 64:128:2] = 255  # the central square: columns white, black, white, ...
    Image.fromarray(stripes).save(tmp_path / "a.png")
    image, _ = read_quietly(tmp_path, size=8)[0]
    # Averaged they are mid gray, give or take the filter's edges; nearest-neighbour sampling would
    # give +-1, and so would a part of the black sides.
    assert image.abs().max() < 0.2


def noise(edge: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (edge, edge, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def bomb() -> bytes:
    """A PNG of a few bytes that claims to be 60000 pixels square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_what_cannot_be_used_is_skipped_with_one_warning(tmp_path):
    save(tmp_path / "good.png")
    noise(100).save(tmp_path / "small_cut.jpg", quality=95)
    noise(600).save(tmp_path / "large_cut.jpg", quality=95)
    noise(600).save(tmp_path / "large_cut.png")
    noise(600).save(tmp_path / "cut.webp", lossless=True)
    for path in tmp_path.glob("*cut*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("I am no picture")
    (tmp_path / "page.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "phone.heic").write_bytes(b"ftypheic")
    (tmp_path / "bomb.png").write_bytes(bomb())
    folder = read_with_warning(tmp_path)
    assert [path.name for path in folder.paths] == ["good.png"]
    expected = {
        "small_cut.jpg": "cannot be read", "large_cut.jpg": "truncated",
        "large_cut.png": "cannot be read", "cut.webp": "", "empty.png": "empty",
        "text.jpg": "not a picture", "page.png": "not a picture", "phone.heic": "export it",
        "bomb.png": "megapixels",
    }  # fmt: skip
    assert folder.skipped.keys() == expected.keys()
    for name, words in expected.items():
        assert words in folder.skipped[name], (name, folder.skipped[name])
    assert "9 skipped" in repr(folder)


def test_large_whole_files_pass_and_huge_ones_do_not(tmp_path, monkeypatch):
    noise(600).save(tmp_path / "large.jpg", quality=95)
    (tmp_path / "large.jpg").open("ab").write(bytes(2000))  # some cameras append their own data
    noise(600).save(tmp_path / "large.png")
    assert len(read_quietly(tmp_path)) == 2
    monkeypatch.setattr(picture_files, "MAX_BYTES", 50_000)
    with pytest.raises(FileNotFoundError, match="No usable picture.*megapixels"):
        PortraitFolder(tmp_path)


def test_a_jpeg_of_108_megapixels_is_decoded_at_reduced_size(tmp_path):
    left, right = Image.new("L", (6000, 9000), 60), Image.new("L", (6000, 9000), 200)
    whole = Image.new("L", (12_000, 9000))
    whole.paste(left, (0, 0))
    whole.paste(right, (6000, 0))
    whole.save(tmp_path / "a.jpg", quality=50)
    image, _ = read_quietly(tmp_path, size=16)[0]
    assert color_of(image[..., :7])[0] == pytest.approx(60 / 127.5 - 1, abs=0.02)
    assert color_of(image[..., 9:])[0] == pytest.approx(200 / 127.5 - 1, abs=0.02)


MEMORY = """
import sys, warnings
from pathlib import Path
from course_lib.memory import read
from course_lib.portraits import PortraitFolder, picture_files
warnings.simplefilter("ignore")
picture_files.MAX_BYTES = 60_000_000
small, large = (Path(folder) for folder in sys.argv[1:])

def peak():
    lines = read("/proc/self/status").splitlines()  # empty where the system is not Linux
    return next((int(one.split()[1]) * 1024 for one in lines if one.startswith("VmHWM")), 0)

list(PortraitFolder(small, size=64))  # what the decoders take at all
before = peak()
folder = PortraitFolder(large, size=64)
list(folder)
print(peak() - before, len(folder), len(folder.skipped))
"""


@pytest.mark.parametrize(
    "suffix,mode,options,edges",
    [
        ("png", "RGB", {}, (3400, 3600)),
        ("png", "RGBA", {}, (2500, 2700)),
        ("png", "P", {"transparency": 1}, (2500, 2700)),
        ("webp", "RGB", {}, (1800, 1950)),
        ("webp", "RGBA", {}, (1650, 1750)),
        ("tif", "RGB", {"compression": "tiff_lzw"}, (2500, 2700)),
        ("png", "I;16", {}, (3400, 3600)),
        ("jpg", "RGB", {"progressive": True, "subsampling": 0}, (2900, 3300)),
    ],
)
def test_decoding_stays_within_its_memory(tmp_path, suffix, mode, options, edges):
    """In a process of its own: the largest picture that is accepted, and one that is not."""
    save(tmp_path / f"small/a.{suffix}", 1, mode, edge=70, **options)
    accepted, refused = edges
    save(tmp_path / f"large/a.{suffix}", 1, mode, edge=accepted, **options)
    save(tmp_path / f"large/b.{suffix}", 1, mode, edge=refused, **options)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "small"), str(tmp_path / "large")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    used, kept, skipped = map(int, done.stdout.split())
    assert (kept, skipped) == (1, 1)
    # The allocator keeps pages, and the tensor of the picture comes on top
    assert used < 60e6 + 10e6


def test_a_file_that_breaks_or_goes_later_is_named(tmp_path):
    first, second = save(tmp_path / "a.png"), save(tmp_path / "b.png")
    folder = read_quietly(tmp_path)
    first.write_bytes(b"overwritten")
    second.unlink()
    with pytest.raises(ValueError, match=r"a\.png cannot be decoded"):
        folder[0]
    with pytest.raises(FileNotFoundError, match=r"b\.png was here"):
        folder[1]
    with pytest.raises(IndexError, match="pictures 0 to 1"):
        folder[2]


def test_wrong_folders_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder.*missing"):
        PortraitFolder(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=r"no picture in.*\.png"):
        PortraitFolder(tmp_path)
    with pytest.raises(ValueError, match=r"a\.png' is a file; give the folder"):
        PortraitFolder(save(tmp_path / "a.png"))
    with pytest.raises(ValueError, match="size must be"):
        PortraitFolder(tmp_path, size=0)


def test_torchvision_transforms_apply(tmp_path):
    save(tmp_path / "a.png")
    transform = v2.Compose([v2.RandomHorizontalFlip(p=1.0), v2.Grayscale(num_output_channels=1)])
    assert read_quietly(tmp_path, size=8, transform=transform)[0][0].shape == (1, 8, 8)
