"""Checks of lesson 09's exercises on safety: a concept checker's rule, and concept erasure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.tensors import as_float64


@exercise(
    hints=(
        "A cosine compares directions only: what has to happen to both kinds of vectors first?",
        "All cosines at once are a matrix, pictures by concepts. Each column has its threshold, "
        "and one concept is enough to flag a picture.",
        "cosines = F.normalize(images, dim=1) @ F.normalize(concepts, dim=1).T; return "
        "(cosines > thresholds).any(dim=1)",
    ),
    success="Every picture is flagged by the concepts that it shows, and by nothing else.",
    copies=True,
)
def flagged(answer) -> None:
    """answer(images, concepts, thresholds): bool (B,), from (B, E), (K, E) and (K,)."""
    generator = make_generator(0)
    images, concepts = (
        torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (40, 3)
    )
    images = images * torch.linspace(0.2, 3, 40).double()[:, None]
    concepts = concepts * torch.tensor([[0.5], [1.0], [4.0]]).double()
    thresholds = torch.tensor([0.1, 0.4, 0.7]).double()
    # Another road than a matrix of products: picture by picture, concept by concept
    cosines = torch.stack([
        torch.stack([F.cosine_similarity(image, concept, dim=0) for concept in concepts])
        for image in images
    ])  # fmt: skip
    above = cosines > thresholds
    given = answer(images, concepts, thresholds)
    expect(
        isinstance(given, Tensor) and given.dtype == torch.bool,
        "return a tensor of bool, one for each picture",
    )
    expect(
        given.shape == (40,),
        f"one answer for each of 40 pictures has the shape (40,), not {tuple(given.shape)}",
    )
    truth, products = above.any(dim=1), images @ concepts.T
    for other, reason in (
        ((products > thresholds).any(dim=1), "a product is no cosine: give the vectors length 1"),
        ((F.normalize(images, dim=1) @ concepts.T > thresholds).any(dim=1),
         "the concepts have other lengths than 1: divide by these, too"),
        ((images @ F.normalize(concepts, dim=1).T > thresholds).any(dim=1),
         "the pictures have other lengths than 1: divide by these, too"),
        (above.all(dim=1), "one concept is enough; you ask for all"),
        (~truth, "true should mean that the picture is flagged"),
        (cosines.amax(dim=1) > thresholds.max(), "each concept has a threshold of its own"),
        (cosines.amax(dim=1) > thresholds.min(), "each concept has a threshold of its own"),
        (cosines.amax(dim=1) > thresholds.mean(), "each concept has a threshold of its own"),
    ):  # fmt: skip
        expect(not torch.equal(given, other), reason)
    wrong = int((given != truth).sum())
    expect(wrong == 0, f"{wrong} of 40 pictures have the wrong answer")


@exercise(
    hints=(
        "Set the derivative of the sum with respect to W to zero. Every term gives a matrix: "
        "(W c - W_old n) c^T for the concept, and likewise for the others.",
        "What multiplies W is sum c c^T + sum p p^T + ridge * I, with the vectors as columns; in "
        "rows that is C.T @ C + P.T @ P + ridge * I. What stands on the other side?",
        "kept = P.T @ P + ridge * torch.eye(d); W_old @ (N.T @ C + kept) @ "
        "torch.linalg.inv(C.T @ C + kept)",
    ),
    success="The gradient of the sum is zero at your matrix: it is the minimum.",
    copies=True,
)
def erased_weight(answer) -> None:
    """answer(weight, concepts, neutral, preserved, ridge): the minimiser of UCE's sum."""
    weight, concepts, neutral, preserved, ridge = _problem()
    given = answer(weight, concepts, neutral, preserved, ridge)
    expect_close(given, torch.zeros(4, 6), "the new matrix", tol=1e9)  # a shape, no NaN
    given = as_float64(given)
    # Another road than the closed form: the least-squares solver on stacked equations
    left = torch.cat([concepts, preserved, ridge**0.5 * torch.eye(6)])
    right = torch.cat([neutral, preserved, ridge**0.5 * torch.eye(6)]) @ weight.T
    truth = torch.linalg.lstsq(left, right).solution.T
    for other, reason in _mistakes(weight, concepts, neutral, preserved, ridge):
        expect((given - other).abs().max() > 1e-4, reason)
    w = given.clone().requires_grad_()
    total = (concepts @ w.T - neutral @ weight.T).square().sum()
    total = total + ((preserved @ (w - weight).T).square().sum())
    total = total + ridge * (w - weight).square().sum()
    (gradient,) = torch.autograd.grad(total, w)
    expect(
        gradient.abs().max() < 1e-3 * weight.abs().max(),
        f"at your matrix the gradient of the sum is up to {gradient.abs().max():.3g}, not 0",
    )
    expect_close(given, truth, "the new matrix", tol=1e-4)


def _problem() -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    generator = make_generator(0)
    weight, concepts, neutral, preserved = (
        torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (4, 2, 2, 3)
    )
    return weight, concepts, neutral, preserved, 0.3


def _mistakes(weight, concepts, neutral, preserved, ridge):
    eye = ridge * torch.eye(6, dtype=torch.float64)
    c, n, p = (x.T @ y for x, y in ((concepts, concepts), (neutral, concepts),
                                    (preserved, preserved)))  # fmt: skip
    inverse = torch.linalg.inv(c + p + eye)
    yield weight, "the old matrix comes back unchanged"
    yield (
        weight @ (n + eye) @ torch.linalg.inv(c + eye),
        "the preserved vectors are missing: they belong into both brackets",
    )
    yield weight @ (n + p) @ inverse, "the ridge stands on one side only: add it on both"
    yield (
        weight @ (n.T + p + eye) @ inverse,
        "concept and neutral are exchanged in a product",
    )
    yield (
        weight @ (p + eye) @ inverse,
        "the concept is mapped to zero: its target, the neutral vectors, is missing",
    )
    yield (
        weight @ (n + p + torch.eye(6)) @ torch.linalg.inv(c + p + torch.eye(6)),
        "the ridge is 1 in your solution, whatever is given",
    )
