"""Checks of lesson 09: responsible portraits."""

from __future__ import annotations

import math

import torch

from course_lib.checks import exercise, expect, expect_close
from course_lib.checks.lesson_09_bias import amplification, balancing_weights  # noqa: F401
from course_lib.checks.lesson_09_licences import licence_problems  # noqa: F401
from course_lib.checks.lesson_09_safety import erased_weight, flagged  # noqa: F401
from course_lib.device import make_generator
from course_lib.tensors import as_float64


@exercise(
    hints=(
        "A pattern that was moved by (r, c) fits best at the offset (r, c). The direct way: for "
        "each offset multiply the picture with the rolled pattern and add up.",
        "All offsets at once are a circular cross-correlation, which the Fourier transform turns "
        "into a product.",
        "fft.ifft2(fft.fft2(picture) * fft.fft2(pattern).conj()).real",
    ),
    success="The largest value is where the pattern lies.",
    copies=True,
)
def correlation_map(answer) -> None:
    """answer(picture, pattern): their circular correlation at every offset, each (n, n)."""
    generator = make_generator(0)
    pattern, noise = torch.randn(2, 12, 12, generator=generator, dtype=torch.float64)
    picture = 0.5 * pattern.roll((2, 5), (0, 1)) + noise
    # Another road than the Fourier transform: every offset by itself
    truth = torch.stack([
        torch.stack([(picture * pattern.roll((r, c), (0, 1))).sum() for c in range(12)])
        for r in range(12)
    ])  # fmt: skip
    given = answer(picture, pattern)
    expect(
        not (isinstance(given, torch.Tensor) and given.is_complex()),
        "the map is complex; its imaginary part is rounding, so return the real part",
    )
    expect_close(given, torch.zeros(12, 12), "the map", tol=1e9)  # a shape, no NaN
    given = as_float64(given)
    for other, reason in (
        (truth.roll((-1, -1), (0, 1)).flip(0, 1),
         "the offset comes out negative: conjugate the transform of the pattern, not the other"),
        (truth / 144, "every value is 1/144 of what it should be: add up, do not average"),
        (truth * 144, "every value is 144 times what it should be; ifft2 divides already"),
        (truth.T, "rows and columns are exchanged"),
    ):  # fmt: skip
        expect((given - other).abs().max() > 1e-3, reason)
    convolved = torch.fft.ifft2(torch.fft.fft2(picture) * torch.fft.fft2(pattern)).real
    expect(
        (given - convolved).abs().max() > 1e-3,
        "this is the convolution, which mirrors the pattern: conjugate its transform",
    )
    expect_close(given, truth, "the map", tol=1e-4)


@exercise(
    hints=(
        "In a picture without the mark each of the scores is a draw from N(0, 1). When does the "
        "largest of them reach the threshold?",
        "All n stay below t with probability (1 - q)^n, where q is the probability that one draw "
        "exceeds t. Solve 1 - (1 - q)^n = level for q.",
        "q = -math.expm1(math.log1p(-level) / n); then statistics.NormalDist().inv_cdf(1 - q).",
    ),
    success="In a share `level` of unmarked pictures the largest score exceeds your threshold.",
)
def detection_threshold(answer) -> None:
    """answer(level, n): what the largest of n draws from N(0, 1) exceeds with that probability."""
    given = {}
    for level, n in ((0.5, 10), (0.05, 1), (0.05, 4096), (1e-6, 1), (1e-6, 4096)):
        one = answer(level, n)
        expect_close(one, 0.0, f"the threshold for level {level:g} and n = {n}", tol=1e9)
        given[level, n] = float(as_float64(one))
    expect(given[0.05, 4096] > given[0.05, 1] + 0.5, "more tries need a higher threshold")
    expect(given[1e-6, 1] > given[0.05, 1] + 0.5, "a smaller level needs a higher threshold")
    expect(
        abs(given[0.05, 1] - 1.95996) > 1e-3,
        "1.96 leaves 5 % on both sides together; only large scores are alarms",
    )
    for (level, n), threshold in given.items():
        single = 0.5 * math.erfc(threshold / math.sqrt(2))
        rate = -math.expm1(n * math.log1p(-single)) if single < 1 else 1.0
        expect(
            abs(rate / level - 1) < 0.01,
            f"for level {level:g} and n = {n} your threshold {threshold:.3f} gives false alarms in "
            f"a share {rate:.3g} of the pictures",
        )


@exercise(
    hints=(
        "For each sample you need the distances to all training images: torch.cdist of the "
        "flattened images. The two smallest of each row are d1 and d2.",
        "If an image stands in the training set twice, d1 and d2 of a copy are alike. Remove such "
        "repetitions first: torch.unique(..., dim=0).",
        "rows = training.flatten(1).unique(dim=0); d = torch.cdist(samples.flatten(1), "
        "rows).topk(2, largest=False).values; return (d[:, 0] / d[:, 1] < 1 / 3).double().mean()",
    ),
    success="Copies count, new images do not, and a repeated training image hides nothing.",
    copies=True,
)
def memorised_share(answer) -> None:
    """answer(samples, training): share with d1 / d2 < 1/3; the training set may repeat images."""
    generator = make_generator(0)
    training = torch.rand(12, 3, 4, 4, generator=generator) * 2 - 1
    noise = torch.randn(10, 3, 4, 4, generator=generator)
    unseen = torch.rand(10, 3, 4, 4, generator=generator) * 2 - 1
    samples = torch.cat([training[:6] + 0.05 * noise[:6], unseen[:4]])
    given = _finite(answer(samples, training), "the share")
    expect(abs(given - 6) > 1e-6, "return the share of the samples, not their number")
    expect(
        abs(given - 0.4) > 1e-6,
        "you count the new images: a copy is *near* its nearest neighbour, so d1 / d2 is small",
    )
    expect_close(given, 0.6, "with 6 copies among 10 samples the share")
    line = torch.tensor([0.0, 4.0, 100.0]).reshape(3, 1, 1, 1)
    at = torch.tensor([0.9, 1.2, 1.9, 3.2, 2.5]).reshape(5, 1, 1, 1)
    # d1 / d2 = 0.29, 0.43, 0.90, 0.25, 0.60; as squares 0.08, 0.18, 0.81, 0.06, 0.36
    given = _finite(answer(at, line), "the share")
    expect(abs(given - 0.6) > 1e-6, "the ratio is one of distances, not of squared distances")
    expect(abs(given - 1) > 1e-6, "the second nearest counts, not the farthest")
    expect_close(given, 0.4, "for five samples on a line the share")
    repeated = torch.cat([training, training[:3], training[:1]])
    given = _finite(answer(samples, repeated), "the share")
    expect(
        abs(given - 0.3) > 1e-6,
        "three training images occur more than once, and your share misses their copies: the "
        "second nearest is then the same image again",
    )
    expect_close(given, 0.6, "where training images are repeated the share")


@exercise(
    hints=(
        "Members have low losses. Try each loss as a threshold: whoever has at most that loss is "
        "said to be a member.",
        "For each threshold count which share of the others is accused. Of the thresholds with at "
        "most `rate`, take the one that finds most members.",
        "both = torch.cat([members, others]); return max([0.0] + [(members <= t).double().mean()"
        ".item() for t in both if (others <= t).double().mean() <= rate])",
    ),
    success="The hit rate at a rate of false alarms that the accused can live with.",
    copies=True,
)
def hit_rate_at(answer) -> None:
    """answer(members, others, rate): greatest share of members found by a threshold on the loss.

    At most the share `rate` of the others may be taken for members.
    """
    members = torch.tensor([0.10, 0.20, 0.30, 0.40, 0.90]).double()
    others = torch.tensor([0.25, 0.50, 0.60, 0.70, 0.80, 0.85, 0.95, 1.00, 1.10, 1.20]).double()
    given = _finite(answer(members, others, 0.0), "the hit rate")
    expect(abs(given - 1) > 1e-6, "some others have lower losses than the last member")
    expect(
        abs(given) > 1e-6,
        "without any false alarm two members are still found: those below the lowest other",
    )
    expect_close(given, 0.4, "without false alarms the hit rate")
    given = _finite(answer(members, others, 0.1), "the hit rate")
    expect(
        abs(given - 0.4) > 1e-6,
        "a rate of 0.1 of ten others allows one false alarm, and then 0.30 and 0.40 are found, too",
    )
    expect_close(given, 0.8, "with one of ten others accused the hit rate")
    generator = make_generator(0)
    members = torch.randn(200, generator=generator).double() - 1
    others = torch.randn(300, generator=generator).double()
    for rate in (0.01, 0.05, 0.25):
        # Another road than trying thresholds: the order of the others says what is allowed
        allowed = int(rate * 300 + 1e-9)
        first_forbidden = others.sort().values[allowed]
        truth = float((members < first_forbidden).double().mean())
        given = _finite(answer(members, others, rate), "the hit rate")
        expect_close(given, truth, f"at a false-alarm rate of {rate:g} the hit rate", tol=1e-6)
    tied = torch.tensor([0.5, 0.5, 0.2]).double()
    expect_close(
        _finite(answer(tied, torch.tensor([0.5, 0.9]).double(), 0.0), "the hit rate"), 1 / 3,
        "where a member's loss equals another's, a threshold accuses both or none; the hit rate",
    )  # fmt: skip


@exercise(
    hints=(
        "Energy is power times time. A watt for an hour is a watt hour, and an hour has 3,600 "
        "seconds.",
        "The training is shared: divide its watt hours by the number of pictures.",
        "return seconds * watts / 3600 + training_wh / pictures",
    ),
    success="The picture itself, and its share of the training.",
)
def energy(answer) -> None:
    """answer(seconds, watts, training_wh, pictures): watt hours of one picture with its share."""
    alone = _finite(answer(3600.0, 30.0, 0.0, 1), "the energy")
    expect(abs(alone - 108_000) > 1, "these are joules; a watt hour has 3,600 of them")
    expect(abs(alone - 0.03) > 1e-6, "these are kilowatt hours; give watt hours")
    expect_close(alone, 30.0, "an hour at 30 W, without a training, in Wh")
    share = _finite(answer(0.0, 30.0, 500.0, 1000), "the energy")
    expect(abs(share - 500) > 1e-6, "1,000 pictures share the training; each has a thousandth")
    expect(abs(share) > 1e-9, "a picture that takes no time still has its share of the training")
    expect_close(share, 0.5, "the share of 500 Wh among 1,000 pictures, in Wh")
    expect_close(
        _finite(answer(1.8, 250.0, 37.5e6, 10**8), "the energy"),
        0.5,
        "1.8 s at 250 W and a share of 0.375 Wh",
    )


@exercise(
    hints=(
        "Sort the scores. If the threshold is the k-th smallest of n, how many of the n pictures "
        "are above it? And how probable is it that one more picture is?",
        "The new score is equally likely to fall into each of the n + 1 gaps between the others, "
        "and n + 1 - k of these gaps lie above the k-th smallest.",
        "k = n + 1 - floor(rate * (n + 1)); return the k-th smallest, or infinity if k > n.",
    ),
    success="On average over many calibration sets the false alarms stay below the rate.",
    copies=True,
)
def false_alarm_threshold(answer) -> None:
    """answer(scores, rate): score > threshold on a new painting with at most that probability."""
    generator = make_generator(0)
    for n, rate, above in ((19, 0.1, 1), (99, 0.05, 4), (24, 0.25, 5), (48, 0.05, 1)):
        scores = torch.randn(n, generator=generator, dtype=torch.float64)
        given = _number(answer(scores, rate), "the threshold")
        found = int((scores > given).sum())
        expect(
            found <= above,
            f"with {n} scores and rate {rate:g}, {found} scores lie above your threshold; a new "
            f"one does so with probability {(found + 1) / (n + 1):.3f}, since there are "
            f"{n + 1} equally likely gaps",
        )
        expect(
            found == above,
            f"with {n} scores and rate {rate:g} only {found} scores lie above your threshold; "
            f"{above} may, so it is higher than necessary",
        )
    expect(
        math.isinf(given := _number(answer(scores[:10], 0.05), "the threshold")) and given > 0,
        "10 scores cannot promise 5 %: a new one is the largest of 11 with probability 9 %. "
        "Return infinity",
    )
    # Another road than counting: of a uniform score the false-alarm rate is one minus the threshold
    uniform = torch.rand(500, 24, generator=generator, dtype=torch.float64)
    rates = torch.tensor([1 - _number(answer(one, 0.2), "the threshold") for one in uniform])
    expect(
        abs(float(rates.mean()) - 0.2) < 0.02,
        f"with 24 scores and rate 0.2 the false alarms are {float(rates.mean()):.3f} on average",
    )


def _finite(value, name: str) -> float:
    """One number, neither NaN nor infinite."""
    expect_close(value, 0.0, name, tol=1e12)
    return float(as_float64(value))


def _number(value, name: str) -> float:
    """A number, perhaps infinite, but not NaN."""
    given = as_float64(value)
    expect(given.numel() == 1 and not given.isnan().any(), f"{name} should be one number")
    return float(given)
