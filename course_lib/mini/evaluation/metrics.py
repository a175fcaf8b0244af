r"""Metrics of generated images and their 95 % intervals: plain functions of tensors.

Images are bytes, (N, 3, H, W), unless a docstring says otherwise. Image i of every set belongs to
person i, so intervals come from a bootstrap over people: a resample takes a person's generated and
real image together. The statistics below therefore take weights: row r of `weights`, (R, N), says
how often each person was drawn in resample r, and the result has shape (R,).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.device import make_generator
from course_lib.tensors import as_float64, uint8_to_signed

Estimate = dict[str, float]  # value, low, high; n where it is a proportion
Z = 1.959964  # 97.5 % quantile of the normal distribution
RESAMPLES = 1000
KID_SIZE = 1000  # images a side for which the floor of the kernel distance is stated
THUMBNAIL = 16  # pixels: small enough that a shifted line does not hide a near-duplicate


# --- intervals


def bootstrap(statistic: Callable[[Tensor], Tensor], count: int, *, seed: int = 0) -> Estimate:
    """Value and 95 % percentile interval over `RESAMPLES` resamples of `count` people.

    Parameters
    ----------
    statistic : callable
        Weights (R, N) -> values (R,); see the module's docstring.
    """
    draws = torch.randint(count, (RESAMPLES, count), generator=make_generator(seed))
    weights = torch.zeros(RESAMPLES, count, dtype=torch.float64)
    weights.scatter_add_(1, draws, torch.ones_like(weights))
    values = statistic(weights)
    # A resample may lack what a ratio counts, which gives NaN
    low, high = values.nanquantile(torch.tensor([0.025, 0.975]).double()).tolist()
    value = statistic(torch.ones(1, count, dtype=torch.float64)).item()
    return {"value": value, "low": low, "high": high}


def proportion(hits: Tensor) -> Estimate:
    """Share of true values in (N,) and its Wilson interval, which never leaves [0, 1].

    Wilson, Journal of the American Statistical Association 22(158), 1927. Without observations the
    share is NaN and the interval (0, 1).
    """
    total = hits.numel()
    if total == 0:
        return {"n": 0, "value": math.nan, "low": 0.0, "high": 1.0}
    share = as_float64(hits).mean().item()
    scale = 1 + Z * Z / total
    centre = (share + Z * Z / (2 * total)) / scale
    half = Z * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total)) / scale
    return {
        "n": total, "value": share, "low": max(0.0, centre - half), "high": min(1.0, centre + half)
    }  # fmt: skip


def mean(values: Tensor) -> Estimate:
    """Mean of (N,) values with its normal interval; a single value has an infinite one."""
    values, half = as_float64(values), math.inf
    value = values.mean().item()
    if len(values) > 1:
        half = Z * values.std().item() / math.sqrt(len(values))
    return {"value": value, "low": value - half, "high": value + half}


def ratio(numerator: Tensor, denominator: Tensor) -> Callable[[Tensor], Tensor]:
    """Ratio of the sums of two columns (N,), as a statistic for `bootstrap`."""
    return lambda weights: (weights @ as_float64(numerator)) / (weights @ as_float64(denominator))


# --- kernel distance


def kid(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    r"""Kernel distance of two sets of features, the unbiased estimate of :math:`\mathrm{MMD}^2`.

    The kernel is :math:`k(a, b) = (a \cdot b / D + 1)^3` (arXiv:1801.01401). For two samples of one
    distribution the estimate is 0 on average, so it can be negative.

    Parameters
    ----------
    x, y : Tensor, shape (N, D)
    weights : Tensor, shape (R, N)
        A statistic for `bootstrap`: the result has shape (R,).
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"KID needs two images on each side, but has {len(x)} and {len(y)}.")
    total = weights.sum(dim=1)

    def within(a: Tensor) -> Tensor:
        pairs = _kernel(a, a)
        # A person drawn twice is no pair of two people, so all of the diagonal is left out
        sums = ((weights @ pairs) * weights).sum(dim=1) - weights.square() @ pairs.diagonal()
        return sums / (total.square() - weights.square().sum(dim=1))

    across = ((weights @ _kernel(x, y)) * weights).sum(dim=1) / total.square()
    return within(x) + within(y) - 2 * across


def kid_floor(x: Tensor) -> float:
    r"""The kernel distance that two sets of `KID_SIZE` images of one distribution show by chance.

    The expectation of the biased estimate, which keeps the pairs of a vector with itself (Gretton
    et al., JMLR 13, 2012, equation 5): with :math:`m` vectors a side,
    :math:`\frac{2}{m} (\mathbb{E}\,k(s, s) - \mathbb{E}\,k(s, s'))` over the rows of x, (N, D).
    """
    pairs, count = _kernel(x, x), len(x)
    diagonal = pairs.diagonal()
    different = (pairs.sum() - diagonal.sum()) / (count * (count - 1))
    return (2 * (diagonal.mean() - different) / KID_SIZE).item()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """(M, D) and (N, D) -> (M, N)."""
    return (as_float64(a) @ as_float64(b).T / a.shape[1] + 1) ** 3


# --- looks


def radial_spectra(images: Tensor) -> Tensor:
    """Log power of brightness and of two color differences by radius of frequency, (N, 3 H / 2).

    Radii are whole cycles an image, from 1 to H / 2; each bin holds the mean power of its ring.
    """
    red, green, blue = _unit(images).unbind(dim=1)
    channels = torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], dim=1)
    size = channels.shape[-1]
    power = torch.fft.fft2(channels, norm="ortho").abs().square()  # (N, 3, H, H)
    frequency = torch.fft.fftfreq(size, 1 / size)
    radius = torch.hypot(frequency[:, None], frequency[None]).round().long().flatten()
    sums = torch.zeros(*power.shape[:2], int(radius.max()) + 1)
    sums.index_add_(2, radius, power.flatten(2))
    rings = (sums / radius.bincount())[:, :, 1 : size // 2 + 1]
    # 1e-6 is below the power of rounding to bytes, 1 / (12 * 255^2)
    return (rings + 1e-6).log().flatten(1)


def random_features(images: Tensor, *, seed: int = 0) -> Tensor:
    """Mean and deviation of the responses of two layers of fixed random filters, (N, 256).

    32 filters of 5 x 5 without a mean, so that they see texture and not brightness, then 96 of
    3 x 3 at half the resolution, each with ReLU. Both layers are pooled over the whole image.
    """
    generator = make_generator(seed)
    first = torch.randn(32, 3, 5, 5, generator=generator) * (2 / 75) ** 0.5  # He: 2 / fan-in
    first -= first.mean(dim=(2, 3), keepdim=True)
    second = torch.randn(96, 32, 3, 3, generator=generator) * (2 / 288) ** 0.5
    rows = []
    for part in images.split(32):
        low = F.conv2d(_unit(part), first).relu()
        high = F.conv2d(F.avg_pool2d(low, 2), second).relu()
        pooled = [torch.cat([m.mean(dim=(2, 3)), m.std(dim=(2, 3))], dim=1) for m in (low, high)]
        rows.append(torch.cat(pooled, dim=1))
    return torch.cat(rows)


def two_sample_accuracy(x: Tensor, y: Tensor, *, folds: int = 5, penalty: float = 0.05) -> Tensor:
    """Accuracy of a linear classifier that tells x from y, on people it was not fitted to.

    The classifier two-sample test (arXiv:1610.06545): 0.5 is what no difference gives. Ridge
    regression of -1 and 1 on standardized features; person i is in fold i modulo `folds`, with
    both images, or the classifier would know a person's features from the other set.

    Parameters
    ----------
    x, y : Tensor, shape (N, D)
    penalty : float
        Ridge penalty for features of variance 1 and a mean squared error.

    Returns
    -------
    Tensor, shape (N,)
        For each person, the share of their two images that is classified correctly.
    """
    both, people = as_float64(torch.stack([x, y])), torch.arange(len(x))  # (2, N, D)
    correct = torch.empty(2, len(x), dtype=torch.float64)
    for fold in range(folds):
        held_out = people % folds == fold
        train = both[:, ~held_out].flatten(0, 1)
        target = torch.tensor([1.0, -1.0]).double().repeat_interleave(len(train) // 2)
        center, spread = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
        train = (train - center) / spread
        gram = train.T @ train / len(train)
        gram.diagonal().add_(penalty)
        slope = torch.linalg.solve(gram, train.T @ target / len(train))
        score = (both[:, held_out] - center) / spread @ slope
        correct[:, held_out] = torch.stack([score[0] > 0, score[1] < 0]).double()
    return correct.mean(dim=0)


def sharpness(images: Tensor) -> Tensor:
    """Mean absolute Laplacian of the brightness, (N,), for brightness in [0, 1]."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    brightness = _unit(images).mean(dim=1, keepdim=True)
    return F.conv2d(brightness, kernel).abs().mean(dim=(1, 2, 3))


def grain(images: Tensor, *, share: float = 0.1) -> Tensor:
    """Root mean square of the high-frequency residual in the flattest parts of images, (N,).

    The residual is a pixel minus the mean of its 3 x 3 neighbourhood, scaled so that white noise
    of deviation sigma gives sigma. How flat a pixel's surroundings are is judged on the image
    averaged over 7 x 7 pixels, which hardly sees grain: by the largest minus the smallest value
    within 9 x 9 pixels. The `share` of all pixels where this is least counts. For values in [0, 1];
    at least 1 / (255 sqrt(12)), the deviation of rounding to bytes.
    """
    rows = []
    for part in images.split(64):
        x = _unit(part)
        residual = x[..., 1:-1, 1:-1] - F.avg_pool2d(x, 3, 1)
        energy = residual.square().mean(dim=1) * 9 / 8  # white noise keeps 8/9 of its variance
        smooth = F.avg_pool2d(x, 7, 1)
        spread = (F.max_pool2d(smooth, 9, 1) + F.max_pool2d(-smooth, 9, 1)).amax(dim=1)
        flat = spread <= spread.flatten(1).quantile(share, dim=1)[:, None, None]
        energy = energy[:, 6:-6, 6:-6] * flat  # 7 x 7, then 9 x 9: 7 pixels of margin, 1 is gone
        rows.append((energy.sum(dim=(1, 2)) / flat.sum(dim=(1, 2))).sqrt())
    return torch.cat(rows).clamp(min=1 / (255 * 12**0.5))


def dyed_share(images: Tensor, box: tuple[int, int, int, int], *, chroma: float = 0.16) -> Tensor:
    """Share of the pixels in `box` (top, bottom, left, right) that are blue, violet or pink, (N,).

    These have a hue from 170 degrees (cyan) to 345 degrees (pink) and a chroma, the largest minus
    the smallest of red, green and blue in [0, 1], of at least `chroma`.
    """
    top, bottom, left, right = box
    x = _unit(images[..., top:bottom, left:right])
    red, green, blue = x.unbind(dim=1)
    # Hue as the angle in the plane of the two opponent axes
    hue = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue).rad2deg() % 360
    colored = x.amax(dim=1) - x.amin(dim=1) >= chroma
    return ((hue >= 170) & (hue <= 345) & colored).float().mean(dim=(1, 2))


# --- near-duplicates


def thumbnails(images: Tensor) -> Tensor:
    """Images at 16 x 16 pixels, in [-1, 1], (N, 768)."""
    return uint8_to_signed(F.adaptive_avg_pool2d(images.float(), THUMBNAIL)).flatten(1)


def nearest(queries: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of (B, D) the Euclidean distance and the index of its nearest row of (K, D)."""
    found = [torch.cdist(part, others).min(dim=1) for part in queries.split(64)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def _unit(images: Tensor) -> Tensor:
    """Bytes -> floats in [0, 1]."""
    return images.float() / 255
