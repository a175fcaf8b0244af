"""Bad input, as a table: each mistake gets a ValueError that says what is allowed or what to do."""

from __future__ import annotations

import re

import pytest
import torch

from course_lib.errors import check_choice

CPU = torch.device("cpu")


def _cl():
    import course_lib

    return course_lib


def _schedule():
    return _cl().NoiseSchedule.linear(100)


def _model(x_t, t):
    return torch.zeros_like(x_t)


def _sample(x_T=None, **options):
    x_T = torch.zeros(1, 3, 8, 8) if x_T is None else x_T
    list(_cl().sample(_model, x_T, _schedule(), **options))


def _device(name, monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", name)
    _cl().get_device()


X = torch.zeros(2, 3, 8, 8)
NAN = torch.full((1, 3, 8, 8), float("nan"))
BYTES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)

# (what is done, a part of the message)
TABLE = {
    # errors
    "an unknown name": (lambda: check_choice("method", "ddimm", ["ddpm", "ddim"]), "'ddim'"),
    "a name that is no text": (lambda: check_choice("method", None, ["ddim"]), "Allowed: ddim"),
    # device
    "a seed below zero": (lambda: _cl().make_generator(-1), "from 0 to 2**63 - 1, not -1"),
    "a seed that is no number": (lambda: _cl().make_generator(1.5), "whole number"),
    # tensors
    "one value too many": (lambda: _cl().expand_to(torch.zeros(3), X), "3 entries"),
    "values in a table": (lambda: _cl().expand_to(torch.zeros(2, 1), X), "(2, 1)"),
    "a batch as a picture": (lambda: _cl().to_pil(X), "use to_pil_list"),
    "a picture as a batch": (lambda: _cl().to_pil_list(X[0]), "(3, 8, 8)"),
    "two channels": (lambda: _cl().to_pil(X[0, :2]), "(2, 8, 8)"),
    "a picture of NaN": (lambda: _cl().to_uint8(NAN), "NaN"),
    "a flat picture": (lambda: _cl().to_uint8(X[0, 0]), "(8, 8)"),
    "a picture of size 0": (lambda: _cl().from_pil(_cl().to_pil(X[0]), size=0), "at least 1"),
    # metrics
    "pictures of two shapes": (lambda: _cl().mse(X, X[:1]), "(1, 3, 8, 8)"),
    "a single picture to compare": (lambda: _cl().psnr(X[0], X[0]), "add [None]"),
    "no pictures to compare": (lambda: _cl().mse(X[:0], X[:0]), "empty"),
    "bytes to compare": (lambda: _cl().mse(BYTES, BYTES), "to_signed"),
    "small pictures for SSIM": (lambda: _cl().ssim(X, X), "11 x 11"),
    "an unknown reduction": (lambda: _cl().mse(X, X, reduction="maen"), "Did you mean 'mean'?"),
    # schedules and process
    "no steps": (lambda: _cl().NoiseSchedule.linear(0), "num_timesteps"),
    "t beyond the schedule": (lambda: _cl().q_sample(X, torch.tensor([0, 100]), _schedule()), "99"),
    "t below zero": (lambda: _cl().q_sample(X, torch.tensor([-1, 0]), _schedule()), "99"),
    "t that is not whole": (lambda: _cl().q_sample(X, torch.rand(2), _schedule()), "long()"),
    "t for another batch": (lambda: _cl().q_sample(X, torch.zeros(5).long(), _schedule()), "5"),
    "bytes to noise": (lambda: _cl().q_sample(BYTES, torch.zeros(2).long(), _schedule()), "uint8"),
    "noise of another shape": (
        lambda: _cl().q_sample(X, torch.zeros(2).long(), _schedule(), noise=X[:1]),
        "(1, 3, 8, 8)",
    ),
    # samplers
    "an unknown sampler": (lambda: _sample(method="dmp"), "Allowed: ddpm, ddim"),
    "an unknown spacing": (lambda: _sample(spacing="trialing"), "Did you mean 'trailing'?"),
    "an unknown prediction": (lambda: _sample(prediction="epsilon"), "eps"),
    "more steps than timesteps": (lambda: _sample(method="ddim", steps=101), "101"),
    "no sampling steps": (lambda: _sample(method="ddim", steps=0), "0"),
    "eta above 1": (lambda: _sample(method="ddim", eta=1.5), "1.5"),
    "a start of NaN": (lambda: _sample(NAN), "NaN"),
    # portraits
    "an unknown style": (lambda: _cl().PortraitDataset(4, styles=["water color"]), "watercolor"),
    "styles without an entry": (lambda: _cl().PortraitDataset(4, styles=[]), "empty"),
    "a bearded child": (
        lambda: _cl().Attributes(age="child", gender="man", facial_hair="beard"),
        "facial_hair='none'",
    ),
    "an unknown age": (lambda: _cl().Attributes(age="olderly"), "Did you mean 'elderly'?"),
}


@pytest.mark.parametrize("case", TABLE)
def test_bad_input_is_explained(case):
    action, fragment = TABLE[case]
    with pytest.raises(ValueError, match=re.escape(fragment)) as error:
        action()
    assert len(str(error.value)) > 20, "a message says what was given and what is allowed"


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("quantum", "Allowed: cuda, mps, xpu, cpu"),
        ("cuad", "Did you mean 'cuda'?"),
        ("cpu:x", "cuda:0"),
        ("cpu:7", "It sees: cpu (1)"),
    ],
)
def test_course_device_is_explained(monkeypatch, name, fragment):
    monkeypatch.setattr("course_lib.device._count", lambda kind: int(kind == "cpu"))
    with pytest.raises(ValueError, match=re.escape(fragment)):
        _device(name, monkeypatch)


def test_folders_that_are_missing_or_empty_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        _cl().PortraitFolder(tmp_path / "nowhere")
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(tmp_path.name)):
        _cl().PortraitFolder(tmp_path)


def test_a_good_choice_comes_back():
    assert check_choice("method", "ddim", ["ddpm", "ddim"]) == "ddim"
