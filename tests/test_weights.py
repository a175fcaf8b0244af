"""Weight files: refused when damaged, never half written, never a pickle."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from course_lib.weights import load_tensors, save_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


def test_round_trip(tmp_path):
    path = save_tensors(tmp_path / "new" / "w.safetensors", TENSORS, {"step": 3})
    tensors, info = load_tensors(path)
    assert info == {"step": 3}
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]  # no partial file left


def test_one_changed_bit_is_noticed(tmp_path):
    path = save_tensors(tmp_path / "w.safetensors", TENSORS, {})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        load_tensors(path)


def test_a_file_cut_short_and_a_pickle_are_refused(tmp_path):
    path = save_tensors(tmp_path / "w.safetensors", TENSORS, {})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="cut short"):
        load_tensors(path)

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="never loaded"):
        load_tensors(path)
    assert not (tmp_path / "exploded").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No weights at .*w\.safetensors"):
        load_tensors(tmp_path / "w.safetensors")


def test_a_full_disk_keeps_the_earlier_file(tmp_path, monkeypatch):
    path = save_tensors(tmp_path / "w.safetensors", TENSORS, {"step": 1})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match=r"w\.safetensors \(No space left on device: .* are free\)\. Free some"
    ):
        save_tensors(path, TENSORS, {"step": 2})
    assert load_tensors(path)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
