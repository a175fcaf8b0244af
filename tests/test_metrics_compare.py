"""Two folders compared: the numbers, the table, and each way to give the wrong folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import course_lib as cl
from course_lib import __main__ as cli
from course_lib import metrics
from course_lib.metrics.comparison import COLUMNS, compare_features
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.pipelines.registry import SHIPPED

COUNT = 24


def write(folder: Path, pixels: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Twice `COUNT` painted portraits, (2 COUNT, 128, 128, 3)."""
    return cl.PortraitDataset(2 * COUNT, size=128, seed=11).pixels(workers=2)


@pytest.fixture(scope="module")
def folders(pixels, tmp_path_factory) -> tuple[Path, Path]:
    """Real pictures, and generated ones: other people, every second one a real one again."""
    root = tmp_path_factory.mktemp("pictures")
    generated = pixels[COUNT:].copy()
    # One gray level brighter: not the same file
    generated[::2] = np.minimum(pixels[:COUNT:2], 254) + 1
    return write(root / "real", pixels[:COUNT]), write(root / "generated", generated)


def features(n: int, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_second_column_is_what_no_difference_looks_like():
    same = compare_features(features(200), features(200, seed=1))
    other = compare_features(features(200), features(200, 1.0, seed=1))
    assert same.rows["KID"][COLUMNS[1]] == other.rows["KID"][COLUMNS[1]]
    for result, near in ((same, True), (other, False)):
        floor = result.rows["KID"][COLUMNS[1]]
        assert (floor["low"] <= result.value("KID") <= floor["high"]) == near
        told = result.rows["told apart"][COLUMNS[0]]
        assert (told["low"] <= 0.5) == near
        assert (result.value("coverage") > 0.9) == near
    # FID is biased, so both columns have it for as many images: the same where nothing differs
    assert same.value("FID") == pytest.approx(same.value("FID", COLUMNS[1]), rel=0.15)
    assert other.value("FID") > 5 * other.value("FID", COLUMNS[1]) > 0
    few = compare_features(features(200), features(30, seed=1))
    assert few.value("FID", COLUMNS[1]) > 3 * same.value("FID", COLUMNS[1])
    assert "that of 30 a side" in few.notes[0] and "that of 100 a side" in same.notes[0]
    assert abs(same.value("KID", COLUMNS[1])) < 0.1 * other.value("KID")
    assert other.value("coverage", COLUMNS[1]) > 0.9 > other.value("coverage")


def test_folders_are_measured_in_the_features_of_the_classifier(folders, pixels):
    result = cl.compare(*folders)
    classifier = AttributeClassifier.load(SHIPPED / "mini")
    generated = np.stack([np.asarray(Image.open(p)) for p in sorted(folders[1].iterdir())])
    x, y = (
        classifier.all_features(torch.from_numpy(p.copy()).permute(0, 3, 1, 2))
        for p in (pixels[:COUNT], generated)
    )
    assert result.value("KID") == pytest.approx(metrics.kid(x, y), rel=1e-4)
    assert result.value("recall") == metrics.precision_recall(x, y).recall
    repeats = result.rows["nearly repeats a real one"][COLUMNS[0]]
    assert (repeats["n"], repeats["value"]) == (COUNT, 0.5)
    assert result.value("nearly repeats a real one", COLUMNS[1]) == 0
    text = str(result)
    assert all(name in text for name in (*result.rows, *COLUMNS, "256 features"))
    assert result.notes[0] in result._repr_html_() and "<table>" in result._repr_html_()


def test_the_command_prints_the_same_as_a_table_and_as_json(folders, capsys):
    assert cli.main(["compare", *map(str, folders), "--features", "random"]) == 0
    table = capsys.readouterr().out
    result = cl.compare(*folders, features="random")
    assert table.strip() == str(result)
    assert cli.main(["compare", *map(str, folders), "--features", "random", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"] == result.rows and found["real"] == COUNT
    # Any encoder may be given
    means = cl.compare(*folders, features=lambda x: x.double().mean(dim=(2, 3)))
    assert means.value("FID") > 0


def test_pictures_of_other_sizes_are_cut_and_it_is_said(folders, pixels, tmp_path):
    mixed = tmp_path / "mixed"
    write(mixed, np.pad(pixels[COUNT:-1], ((0, 0), (0, 0), (30, 30), (0, 0))))  # the sides go
    write(mixed / "small", pixels[-1:, ::2, ::2])
    (mixed / "broken.png").write_bytes(b"no picture")
    found = cl.compare(folders[0], mixed)
    notes = " ".join(found.notes)
    assert "2 sizes (64 x 64 to 188 x 128)" in notes and "128 x 128" in notes
    assert "fewer than 128 pixels" in notes and "broken.png" in notes
    shutil.rmtree(mixed / "small")
    square = write(tmp_path / "square", pixels[COUNT:-1])
    exact = cl.compare(folders[0], square)
    assert cl.compare(folders[0], mixed).rows == exact.rows
    assert not any("size" in note for note in exact.notes if "FID" not in note)


def test_many_pictures_are_drawn_from_at_random(folders):
    found = cl.compare(*folders, limit=20)
    assert (found.real, found.generated) == (20, 20)
    assert "20 of the 24 pictures in real were drawn at random." in found.notes


def test_files_in_both_folders_are_counted(folders, pixels, tmp_path):
    shared = write(tmp_path / "shared", pixels[COUNT - 5 : 2 * COUNT - 5])
    assert "5 files are in both folders, byte for byte." in cl.compare(folders[0], shared).notes


def test_wrong_folders_are_explained(folders, pixels, tmp_path, capsys):
    real, generated = folders
    copy = write(tmp_path / "copy", pixels[:COUNT])
    few = write(tmp_path / "few", pixels[:7])
    (few / "broken.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for first, second, message in (
        (real, real, "is given twice"),
        (real, real.parent / "generated" / ".." / "real", "is given twice"),
        (real, copy, "hold the same files"),
        (real, few, "has 7 usable pictures, but a comparison needs at least 20"),
        (few, generated, "broken.png (the file is empty"),
        (real, tmp_path / "nowhere", "There is no folder"),
        (real / "000.png", generated, "is a file; give the folder"),
        (tmp_path / "empty", generated, "There is no picture in"),
    ):
        assert cli.main(["compare", str(first), str(second)]) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    with pytest.raises(ValueError, match="Did you mean 'classifier'"):
        cl.compare(real, generated, features="clasifier")
