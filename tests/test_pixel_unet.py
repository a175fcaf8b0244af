"""The shipped pixel U-Net: the file is whole, the weights have learned, and its command works."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

import course_lib as cl
from course_lib.weights import load_tensors

FOLDER = Path(__file__).resolve().parent.parent / "data" / "models" / "pixel_unet"
WEIGHTS = FOLDER / "model.safetensors"


@pytest.fixture(scope="module")
def tool():
    script = FOLDER.parents[2] / "tools" / "train_pixel_unet.py"
    spec = importlib.util.spec_from_file_location("train_pixel_unet", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def unseen(tool):
    """Portraits of other people, of the kind that it was trained on: (32, 3, 64, 64) in [-1, 1]."""
    return tool.portraits(32, seed=77).float() / 127.5 - 1


def test_checksums_licence_and_size():
    sums = (FOLDER / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert {line.split()[1] for line in sums} >= {"model.safetensors", "README.md"}
    for line in sums:
        digest, name = line.split()
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert "CC BY 4.0" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert WEIGHTS.stat().st_size < 5e6
    tensors, info = load_tensors(WEIGHTS)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert info["prediction"] == "x0"


def test_it_denoises_unseen_portraits(unseen):
    model, schedule = cl.SmallUNet.load(WEIGHTS), cl.NoiseSchedule.cosine(1000)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    trained = cl.held_out_loss(model, unseen, schedule, prediction="x0")
    # An answer that is always the mean portrait leaves their variance
    mean_portrait = (unseen - unseen.mean(dim=0)).square().mean().item()
    assert trained < mean_portrait / 4


@pytest.mark.parametrize("t", [0, 1, 5, 10, 20, 50, 100])
def test_an_estimate_is_never_worse_than_the_noised_image_itself(unseen, t):
    t = torch.full((len(unseen),), t)
    x_t = cl.q_sample(unseen, t, cl.NoiseSchedule.cosine(1000), generator=cl.make_generator(1))
    with torch.no_grad():
        estimate = cl.SmallUNet.load(WEIGHTS)(x_t, t)
    # 0.01 dB: at t = 0 the two are the same image
    assert cl.psnr(estimate, unseen) > cl.psnr(x_t, unseen) - 0.01


def test_the_command_trains_exports_resumes_and_says_what_is_wrong(
    tool, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tool, "HELD_OUT", 2)
    monkeypatch.setattr(tool, "NETWORK", {"channels": (8, 8), "patch": 4, "skip_timestep": 24.0})
    command = ["train", "--device", "cpu", "--images", "4", "--batch-size", "2"]
    command += ["--export-every", "1", "--output", str(tmp_path)]

    def run(*options):
        monkeypatch.setattr(sys, "argv", [*command, *options])
        tool.main()
        return capsys.readouterr().out

    assert "starting at step 0" in run("--minutes", "0.002")
    model = cl.SmallUNet.load(tmp_path / "model.safetensors")
    assert model.skip_timestep == 24.0
    # The same command finds its time used up; with more minutes it goes on
    assert "The time is up" in run("--minutes", "0.002")
    assert "starting at step 0" not in run("--minutes", "0.1")
    with pytest.raises(ValueError, match="minutes must be a positive number"):
        run("--minutes", "0")
    with pytest.raises(ValueError, match="belongs to another run"):
        run("--images", "3")
