"""The checkers of lesson 09's safety exercises accept right answers and name the mistakes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

from course_lib.checks import lesson_09 as checks
from course_lib.safety import check_concepts, edited_weight


def by_matrix(images, concepts, thresholds):
    cosines = F.normalize(images, dim=1) @ F.normalize(concepts, dim=1).T
    return (cosines > thresholds).any(dim=1)


def by_loop(images, concepts, thresholds):
    flags = []
    for image in images:
        cosines = [float(image @ c / image.norm() / c.norm()) for c in concepts]
        flags.append(any(x > float(t) for x, t in zip(cosines, thresholds, strict=True)))
    return torch.tensor(flags)


def by_excess(images, concepts, thresholds):
    cosines = F.cosine_similarity(images[:, None], concepts[None], dim=2)
    return (cosines - thresholds).amax(dim=1) > 0


def closed_form(weight, concepts, neutral, preserved, ridge):
    kept = preserved.T @ preserved + ridge * torch.eye(weight.shape[1])
    right = torch.linalg.inv(concepts.T @ concepts + kept)
    return weight @ (neutral.T @ concepts + kept) @ right


def stacked(weight, concepts, neutral, preserved, ridge):
    root = ridge**0.5 * torch.eye(weight.shape[1]).double()
    left = torch.cat([concepts, preserved, root])
    targets = torch.cat([neutral, preserved, root]) @ weight.T
    return torch.linalg.pinv(left).matmul(targets).T


def by_library(weight, concepts, neutral, preserved, ridge):
    return edited_weight(weight, concepts, neutral @ weight.T, preserved, ridge=ridge)


def mistaken(kind):
    def answer(weight, concepts, neutral, preserved, ridge):
        eye = ridge * torch.eye(weight.shape[1]).double()
        c, n, p = concepts.T @ concepts, neutral.T @ concepts, preserved.T @ preserved
        return {
            "old": weight.clone(),
            "no preserved": weight @ (n + eye) @ torch.linalg.inv(c + eye),
            "one ridge": weight @ (n + p) @ torch.linalg.inv(c + p + eye),
            "transposed": weight @ (n.T + p + eye) @ torch.linalg.inv(c + p + eye),
            "zero": weight @ (p + eye) @ torch.linalg.inv(c + p + eye),
            "half": weight @ (n + 2 * (p + eye)) @ torch.linalg.inv(c + 2 * (p + eye)),
            "shape": (weight @ (n + p + eye) @ torch.linalg.inv(c + p + eye)).T,
        }[kind]

    return answer


RIGHT = {
    checks.flagged: [by_matrix, by_loop, by_excess, lambda i, c, t: check_concepts(i, c, t)[0]],
    checks.erased_weight: [closed_form, stacked, by_library],
}
WRONG = {
    checks.flagged: [
        (lambda i, c, t: (i @ c.T > t).any(1), "no cosine"),
        (lambda i, c, t: (F.normalize(i, dim=1) @ c.T > t).any(1), "concepts have other lengths"),
        (lambda i, c, t: (i @ F.normalize(c, dim=1).T > t).any(1), "pictures have other lengths"),
        (lambda i, c, t: ~by_matrix(i, c, t), "true should mean"),
        (lambda i, c, t: by_matrix(i, c, t.max()), "threshold of its own"),
        (lambda i, c, t: by_matrix(i, c, t).float(), "tensor of bool"),
        (lambda i, c, t: (F.normalize(i, dim=1) @ F.normalize(c, dim=1).T > t).all(1), "for all"),
        (lambda i, c, t: F.normalize(i, dim=1) @ F.normalize(c, dim=1).T > t, "shape (40,)"),
    ],
    checks.erased_weight: [
        (mistaken("old"), "unchanged"),
        (mistaken("no preserved"), "preserved vectors are missing"),
        (mistaken("one ridge"), "one side only"),
        (mistaken("transposed"), "exchanged"),
        (mistaken("zero"), "mapped to zero"),
        (mistaken("half"), "gradient of the sum"),
        (mistaken("shape"), "shape"),
    ],
}


def test_answers_get_the_verdict_they_deserve():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted():
    expect_blanks(list(RIGHT))


def test_changed_inputs_are_noticed():
    expect_spoilers_noticed(RIGHT)
