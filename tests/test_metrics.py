"""Metrics of pictures, one by one: numbers that can be worked out by hand, and known changes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from course_lib import metrics
from course_lib.metrics import mse, perceptual_distance, psnr, ssim
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.config import training_data
from course_lib.mini.data import load_portraits
from course_lib.tensors import uint8_to_signed


@pytest.fixture(scope="module")
def portraits() -> dict[str, torch.Tensor]:
    """Real images and those of as many other people, (80, 3, 128, 128) each."""
    pixels = load_portraits(160, seed=5, data=training_data(("flat illustration",))).pixels
    return {"real": pixels[:80].contiguous(), "other": pixels[80:].contiguous()}


def blurred(images: torch.Tensor, amount: float = 1.0) -> torch.Tensor:
    """Each image mixed with its 3 x 3 mean."""
    soft = F.avg_pool2d(images.float(), 3, 1, 1, count_include_pad=False)
    return (amount * soft + (1 - amount) * images.float()).round().to(torch.uint8)


def noisy(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """White noise of deviation `sigma`, for values in [0, 1]."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images.float() + 255 * sigma * noise).round().clamp(0, 255).to(torch.uint8)


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


# --- perceptual distance


def test_the_perceptual_distance_is_its_definition_in_loops():
    a, b = torch.randn(2, 2, 3, 12, 12, generator=torch.Generator().manual_seed(0))

    def two_layers(x):
        return [x, F.avg_pool2d(x, 2)]

    for i in range(2):
        layers = []
        for x, y in zip(two_layers(a), two_layers(b), strict=True):
            size = x.shape[-1]
            total = 0.0
            for h in range(size):
                for w in range(size):
                    u, v = x[i, :, h, w], y[i, :, h, w]
                    total += 2 - 2 * float(u @ v / (u.norm() * v.norm()))  # of unit vectors
            layers.append(total / size**2)
        found = perceptual_distance(a, b, two_layers, reduction="none")
        assert found[i].item() == pytest.approx(sum(layers) / 2, rel=1e-4)
    assert perceptual_distance(a, a, two_layers) == 0
    assert perceptual_distance(a, -a, two_layers).item() == pytest.approx(4, rel=1e-4)


def test_the_perceptual_distance_sees_a_person_behind_a_change_of_light(portraits):
    real, other = (uint8_to_signed(portraits[k][:20]) for k in ("real", "other"))
    darker = (real + 1) * 0.7 - 1
    towards = perceptual_distance(real, darker).item()
    assert towards < 0.5 * perceptual_distance(real, other).item()


def test_the_classifier_has_a_map_of_each_resolution():
    classifier, images = AttributeClassifier(), torch.zeros(2, 3, 128, 128)
    maps = classifier.feature_maps(images)
    assert [m.shape[1:] for m in maps] == [(48, 32, 32), (80, 16, 16), (112, 8, 8), (128, 4, 4)]
    torch.testing.assert_close(maps[-1], classifier.tower(images))


# --- looks


@pytest.mark.parametrize("describe", [metrics.radial_spectra, metrics.random_features])
def test_blur_and_noise_are_told_apart_and_other_people_are_not(describe, portraits):
    real, other = describe(portraits["real"]), describe(portraits["other"])
    # 160 decisions at chance have a deviation of 4 %
    assert 0.36 <= metrics.two_sample_accuracy(real, other)["value"] <= 0.64
    for changed in (blurred(portraits["other"]), noisy(portraits["other"], 0.03)):
        assert metrics.two_sample_accuracy(real, describe(changed))["value"] >= 0.95


def test_sharpness_falls_with_blur_and_is_exact_for_a_known_image(portraits):
    row = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    row[..., 4, :] = 255  # Laplacian -2 on the line, 1 beside it, in 6 x 6 pixels
    assert metrics.sharpness(row).item() == pytest.approx((2 + 1 + 1) / 6)
    real = metrics.sharpness(portraits["real"])
    assert (metrics.sharpness(blurred(portraits["real"], 0.3)) / real).mean() < 0.9
    assert 0.9 < metrics.sharpness(portraits["other"]).mean() / real.mean() < 1.1


def test_grain_is_the_deviation_of_noise_in_flat_parts(portraits):
    ramp = torch.linspace(90, 160, 128).round().to(torch.uint8).expand(4, 3, 128, 128)
    for sigma in (0.01, 0.03, 0.06):
        assert metrics.grain(noisy(ramp, sigma)).mean().item() == pytest.approx(sigma, rel=0.05)
    real, other = (metrics.grain(portraits[k]).log().mean().exp() for k in ("real", "other"))
    assert 0.7 < other / real < 1.4
    assert metrics.grain(noisy(portraits["real"][:20], 0.03)).mean() > 0.028
    # Lines and edges are no grain: half of the image is a fine grid, the other half is flat
    grid = torch.full((1, 3, 128, 128), 200, dtype=torch.uint8)
    grid[..., ::4, :64] = 20
    assert metrics.grain(grid).item() < 0.01
