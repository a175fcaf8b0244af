"""The metrics against numbers that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.metrics import mse, psnr, ssim


def test_a_constant_difference_by_hand():
    a, b = torch.full((2, 3, 16, 16), -1.0), torch.full((2, 3, 16, 16), -0.8)
    assert mse(a, b).item() == pytest.approx(0.04)
    assert psnr(a, b).item() == pytest.approx(20.0, abs=1e-4)  # 10 log10(4 / 0.04)
    # Constant images, 0 and 0.1 in [0, 1]: only SSIM's term of the means is left,
    # (2 m n + c) / (m^2 + n^2 + c) with c = 0.01^2.
    assert ssim(a, b).item() == pytest.approx(0.0001 / 0.0101, abs=1e-5)


def test_each_image_has_its_own_number():
    a = torch.zeros(2, 3, 16, 16)
    b = torch.stack([torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 2.0)])
    assert psnr(a, b, reduction="none").tolist() == pytest.approx([20.0, 0.0], abs=1e-4)
    assert psnr(a, b).item() == pytest.approx(10.0, abs=1e-4)  # the mean of decibels
    for metric in (mse, psnr, ssim):
        assert metric(a, b, reduction="none").shape == (2,)
        assert metric(a[:1], b[:1], reduction="none").shape == (1,)


def test_equal_images_and_symmetry():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(2))
    assert mse(a, a) == 0 and math.isinf(psnr(a, a)) and ssim(a, a).item() == pytest.approx(1)
    for metric in (mse, psnr, ssim):
        assert metric(a, b).item() == pytest.approx(metric(b, a).item())


def test_ssim_sees_structure_where_mse_does_not():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(1, 3, 32, 32, generator=generator) - 0.5
    brighter = a + 0.3
    noisy = a + 0.3 * torch.randn(a.shape, generator=generator).sign()
    assert mse(a, brighter).item() == pytest.approx(mse(a, noisy).item(), rel=1e-5)
    assert ssim(a, brighter) > ssim(a, noisy) + 0.1
