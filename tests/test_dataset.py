"""`PortraitDataset`: the same portraits always, from the cache too, whatever happens to it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from course_lib.portraits import (
    Attributes,
    PortraitDataset,
    PortraitFolder,
    cache,
    parse_caption,
    visible_attributes,
)
from course_lib.portraits.batches import paint_in_processes

SIZE = 32
ROOT = Path(__file__).resolve().parents[1]


def test_an_item_is_an_image_and_its_caption():
    portraits = PortraitDataset(20, size=SIZE)
    image, text = portraits[3]
    assert image.shape == (3, SIZE, SIZE) and image.dtype == torch.float32
    assert -1 <= image.min() < image.max() <= 1
    attributes = portraits.attributes(3)
    shown = {name: getattr(attributes, name) for name in visible_attributes(attributes)}
    assert text == portraits.captions()[3]
    assert parse_caption(text).items() <= shown.items()


def test_an_item_depends_on_seed_and_index_only():
    image, text = PortraitDataset(8, size=SIZE, seed=4)[7]
    again, text_again = PortraitDataset(1000, size=SIZE, seed=4)[7]
    other, _ = PortraitDataset(8, size=SIZE, seed=5)[7]
    assert torch.equal(image, again) and text == text_again
    assert not torch.equal(image, other)
    many = PortraitDataset(300, seed=4)
    assert len({many.attributes(i) for i in range(300)}) == 300  # each index is another portrait
    assert PortraitDataset(8, seed=4).attributes(7) == PortraitDataset(8, 128, 4).attributes(7)


def test_styles_restrict():
    styles = ["woodcut", "pop art"]
    portraits = PortraitDataset(60, styles=styles)
    assert set(Counter(portraits.attributes(i).style for i in range(60))) == set(styles)


def test_any_attribute_can_be_restricted(tmp_path):
    only = {"pose": ["frontal"], "framing": ["close-up", "bust"]}
    portraits = PortraitDataset(200, styles=["mosaic"], only=only)
    people = [portraits.attributes(i) for i in range(200)]
    assert {(p.style, p.pose) for p in people} == {("mosaic", "frontal")}
    # A bust has twice the odds of a close-up, whether or not the third value is allowed
    busts = sum(p.framing == "bust" for p in people)
    assert abs(busts - 200 * 2 / 3) < 4 * (200 * 2 / 9) ** 0.5
    assert repr(portraits) == (
        "PortraitDataset(200, size=64, seed=0, styles=['mosaic'], "
        "only={'pose': ['frontal'], 'framing': ['close-up', 'bust']})"
    )
    # Two processes paint the same, and the cache keeps the two series apart
    few = PortraitDataset(70, size=32, only=only, cache_dir=tmp_path)
    assert np.array_equal(few.pixels(workers=2), PortraitDataset(70, size=32, only=only).pixels())
    everybody = PortraitDataset(70, size=32, cache_dir=tmp_path).pixels()
    assert not np.array_equal(everybody, few.pixels())


def test_variety_makes_another_series_of_the_same_descriptions(tmp_path):
    half = PortraitDataset(70, size=SIZE, variety=0.5, cache_dir=tmp_path)
    whole = PortraitDataset(70, size=SIZE, cache_dir=tmp_path)  # a series of its own in the cache
    uncached = PortraitDataset(70, size=SIZE, variety=0.5)
    assert np.array_equal(half.pixels(workers=2), uncached.pixels())
    assert half.captions() == whole.captions()
    assert not np.array_equal(half.pixels(), whole.pixels())
    assert "variety=0.5" in repr(half) and "variety" not in repr(whole)


@pytest.mark.parametrize("start_method", ["spawn", "fork"] if os.name == "posix" else ["spawn"])
def test_workers_of_a_data_loader_paint_the_same(start_method: str):
    portraits = PortraitDataset(6, size=SIZE)
    loader = DataLoader(
        portraits, batch_size=2, num_workers=1, multiprocessing_context=start_method
    )
    images, texts = zip(*loader, strict=True)
    assert torch.equal(torch.cat(images), portraits.images())
    assert [text for batch in texts for text in batch] == portraits.captions()


def test_several_processes_paint_the_same():
    portraits = PortraitDataset(70, size=SIZE)
    shuffled = np.random.default_rng(0).permutation(70)[:64]
    assert torch.equal(portraits.images(shuffled, workers=2), portraits.images(shuffled))


def test_a_failing_painting_process_is_reported():
    with pytest.raises(RuntimeError, match=r"(?s)exit status 1.*workers=0.*size is 7"):
        paint_in_processes(range(64), seed=0, size=7)


def test_iteration_ends_and_wrong_indices_are_refused():
    portraits = PortraitDataset(3, size=SIZE)
    assert len(list(portraits)) == 3
    for index in (3, -1):
        with pytest.raises(IndexError, match=f"index {index} is out of range.*0 to 2"):
            portraits[index]
    with pytest.raises(TypeError, match=r"\.images\(indices\)"):
        portraits[0:2]


def test_torchvision_transforms_apply():
    flip = v2.RandomHorizontalFlip(p=1.0)
    plain, flipped = PortraitDataset(1, size=SIZE), PortraitDataset(1, size=SIZE, transform=flip)
    assert torch.equal(flipped[0][0], plain[0][0].flip(-1))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"n": 0}, ValueError, "n must be a whole number at least 1"),
        ({"n": 2.5}, ValueError, "n must be a whole number"),
        ({"size": 16}, ValueError, "size must be a whole number from 32 to 512, not 16"),
        ({"seed": -1}, ValueError, "seed must be a whole number at least 0"),
        ({"styles": []}, ValueError, "styles is empty"),
        ({"styles": ["watercolour"]}, ValueError, "Did you mean 'watercolor'"),
        ({"styles": "mosaic"}, TypeError, r"write styles=\['mosaic'\]"),
        ({"only": {"pose": []}}, ValueError, "pose is empty"),
        ({"only": {"poses": ["frontal"]}}, ValueError, "Did you mean 'pose'"),
        ({"only": {"pose": ["frontl"]}}, ValueError, "Did you mean 'frontal'"),
        ({"variety": 1.5}, ValueError, "variety must be from 0 to 1, but is 1.5"),
        ({"cache_dir": Path(__file__) / "sub"}, ValueError, "cannot be written to.*COURSE_CACHE"),
    ],
)
def test_bad_input_is_explained(arguments: dict, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        PortraitDataset(**({"n": 4} | arguments))


def test_saved_portraits_are_read_back_as_a_folder(tmp_path):
    dataset = PortraitDataset(3, size=SIZE, seed=4)
    folder = PortraitFolder(dataset.save(tmp_path / "saved"), size=SIZE)
    assert folder.captions == dataset.captions()
    assert torch.equal(folder.images(), dataset.images())
    lines = (tmp_path / "saved" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    shown = [Attributes(**json.loads(line)["attributes"]) for line in lines]
    assert shown == [dataset.attributes(i) for i in range(3)]


def cached(folder: Path, n: int = 70) -> PortraitDataset:
    return PortraitDataset(n, size=SIZE, cache_dir=folder)


def forbid_painting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PortraitDataset, "_paint", lambda *_: pytest.fail("painted again"))


def test_the_cache_gives_back_what_was_painted(tmp_path, monkeypatch):
    painted = PortraitDataset(70, size=SIZE).images()
    assert torch.equal(cached(tmp_path).images(), painted)
    one = cached(tmp_path / "single")
    assert torch.equal(one[69][0], painted[69])  # one item fills its chunk
    forbid_painting(monkeypatch)
    assert torch.equal(cached(tmp_path).images([69, 0]), painted[[69, 0]])
    assert torch.equal(cached(tmp_path)[5][0], painted[5])
    assert torch.equal(one[64][0], painted[64])


def test_the_cache_grows_with_the_data_set_and_keeps_series_apart(tmp_path):
    cached(tmp_path, 10).images()
    assert torch.equal(cached(tmp_path, 70).images(), PortraitDataset(70, size=SIZE).images())
    other = PortraitDataset(3, size=SIZE, seed=1, cache_dir=tmp_path)
    assert torch.equal(other.images(), PortraitDataset(3, size=SIZE, seed=1).images())


def test_another_painter_does_not_read_the_old_cache(tmp_path, monkeypatch):
    cached(tmp_path, 2).images()
    monkeypatch.setattr(cache, "painter_version", lambda: "another")
    cached(tmp_path, 2).images()
    assert len(list(tmp_path.rglob("*.bin"))) == 2


def test_the_cache_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "here"))
    PortraitDataset(1, size=SIZE, cache=True).images()
    assert len(list((tmp_path / "here").rglob("*.bin"))) == 1


def test_with_a_folder_in_the_environment_portraits_are_kept_unless_told_otherwise(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    PortraitDataset(1, size=SIZE, cache=False).images()
    assert not list(tmp_path.rglob("*.bin"))
    painted = PortraitDataset(2, size=SIZE).images()
    forbid_painting(monkeypatch)
    assert torch.equal(PortraitDataset(2, size=SIZE).images(), painted)


def test_a_folder_of_the_environment_may_be_read_only(tmp_path, monkeypatch):
    painted = cached(tmp_path, 2).images()
    before = sorted(tmp_path.rglob("*"))

    def refuse(**_):
        raise PermissionError("read-only")

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refuse)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    others = PortraitDataset(2, size=SIZE, seed=1)
    assert torch.equal(others.images(), PortraitDataset(2, size=SIZE, seed=1, cache=False).images())
    forbid_painting(monkeypatch)
    assert torch.equal(PortraitDataset(2, size=SIZE).images(), painted)
    assert [path for path in sorted(tmp_path.rglob("*.bin")) if path not in before] == []
    with pytest.raises(ValueError, match="cannot be written to"):
        cached(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "rubbish", "longer"])
def test_damaged_files_are_painted_anew(tmp_path, damage):
    painted = cached(tmp_path, 3).images()
    (file,) = tmp_path.rglob("*.bin")
    raw = file.read_bytes()
    flipped = raw[:1000] + bytes([raw[1000] ^ 1]) + raw[1001:]
    broken = {
        "cut": raw[:-100], "flip": flipped, "empty": b"", "rubbish": b"x" * 5000, "longer": raw * 2
    }  # fmt: skip
    file.write_bytes(broken[damage])
    assert torch.equal(cached(tmp_path, 3).images(), painted)
    assert file.read_bytes() == raw  # and mended


def test_a_full_disk_costs_a_warning_and_no_portrait(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "replace", full)
    portraits = cached(tmp_path, 130)
    with pytest.warns(RuntimeWarning, match="cannot be written any more.*No space") as caught:
        images = portraits.images()
    assert len(caught) == 1
    assert torch.equal(images, PortraitDataset(130, size=SIZE).images())
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]
    monkeypatch.setattr(cache, "_MEMORY_BYTES", 1)  # nothing kept: paint one, not a chunk
    portraits._cache._memory.clear()
    assert torch.equal(portraits[100][0], images[100])
    assert not portraits._cache._memory


WRITER = """
import sys
from course_lib.portraits import PortraitDataset
portraits = PortraitDataset(128, size=32, cache_dir=sys.argv[1])
print("ready", flush=True)
portraits.images()
"""


def start_writer(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WRITER, str(folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_writers_and_a_killed_one_leave_a_sound_cache(tmp_path):
    killed, other = (start_writer(tmp_path) for _ in range(2))
    killed.kill()  # in the middle of its work: it has only said that it starts
    stale = next(tmp_path.iterdir()) / ".1-0123abcd.partial"
    stale.write_bytes(b"half a chunk")
    os.utime(stale, (0, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = cached(tmp_path, 128).images()  # while the other process writes the same files
        assert other.wait(timeout=120) == 0
        again = cached(tmp_path, 128).images()
    killed.wait(timeout=10)
    assert not stale.exists()
    assert torch.equal(images, again)
    assert torch.equal(images[::50], PortraitDataset(128, size=SIZE).images(range(0, 128, 50)))
