"""Lesson 06's checkers accept right answers however they are written, and name the mistakes."""

from __future__ import annotations

import torch
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

from course_lib.checks import lesson_06 as checks

PROMPT = (
    "a bust pastel of an old woman with a white bun and round glasses, "
    "in a green turtleneck, lit from the left"
)


def slerp(a, b, share):
    theta = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    ends = torch.sin((1 - share) * theta) * a + torch.sin(share * theta) * b
    return ends / torch.sin(theta)


def slerp_in_place(a, b, share):
    theta = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).acos()
    first, second = torch.sin(theta * torch.tensor([1 - share, share])) / theta.sin()
    return a.mul_(first).add_(b.mul_(second))


def lerp(a, b, share):
    return (1 - share) * a + share * b


def normalised_lerp(a, b, share):
    c = lerp(a, b, share)
    return c / c.norm() * a.norm()


def slerp_of_equal_lengths(a, b, share):
    theta = torch.acos((a * b).sum() / a.norm() ** 2)
    return (torch.sin((1 - share) * theta) * a + torch.sin(share * theta) * b) / theta.sin()


def work(steps, guidance, pictures):
    return steps * pictures * (2 if guidance > 1 else 1)


def work_counted(steps, guidance, pictures):
    asked = 0
    for _ in range(steps):
        for _ in range(pictures):
            asked += 1 + (guidance > 1)
    return asked


def word_map(probabilities, positions, height, width):
    return probabilities.mean(dim=0)[:, positions].sum(dim=-1).reshape(height, width)


def map_by_loop(probabilities, positions, height, width):
    shares = torch.zeros(height, width)
    for k in positions:
        for head in probabilities:
            shares += head[:, k].reshape(height, width) / len(probabilities)
    return shares


def map_in_place(probabilities, positions, height, width):
    chosen = torch.zeros(probabilities.shape[-1], dtype=probabilities.dtype)
    chosen[positions] = 1
    shares = probabilities.mul_(chosen).sum(-1).mean(0)
    return shares.unflatten(0, (height, width))


def cheapest(rows, slack):
    best = max(quality for _, _, quality in rows)
    return min((seconds, n) for n, seconds, quality in rows if quality >= best - slack)[1]


def cheapest_by_sorting(rows, slack):
    best = max(row[2] for row in rows)
    rows.sort(key=lambda row: row[1])
    return next(steps for steps, _, quality in rows if best - quality <= slack)


def cheapest_by_tensor(rows, slack):
    steps, seconds, quality = torch.tensor(rows, dtype=torch.float64).T
    seconds[quality < quality.max() - slack] = torch.inf
    return steps[seconds.argmin()]


def fewest_steps(rows, slack):
    best = max(quality for _, _, quality in rows)
    return min(n for n, _, quality in rows if quality >= best - slack)


def with_relative_slack(rows, slack):
    best = max(quality for _, _, quality in rows)
    return min((s, n) for n, s, quality in rows if quality >= best * (1 - slack))[1]


RIGHT = {
    checks.write_a_prompt: [
        PROMPT,
        PROMPT.upper(),
        "pastel, bust, old woman, white bun, round glasses, green turtleneck, lit from the left",
        "An old woman, her white hair in a bun, wearing a green turtleneck and round glasses. "
        "Pastel, bust, lit from the left.",
    ],
    checks.slerp: [
        slerp,
        slerp_in_place,
        lambda a, b, share: slerp(a.float(), b.float(), share),
        lambda a, b, share: slerp(b, a, 1 - share),
    ],
    checks.unet_work: [
        work,
        work_counted,
        lambda n, w, k: torch.tensor(n * k * (1 + int(w > 1))),
        lambda n, w, k: float(n * k if w <= 1 else 2 * n * k),
    ],
    checks.word_map: [
        word_map,
        map_by_loop,
        map_in_place,
        lambda p, at, h, w: p.float()[..., at].mean(0).sum(-1).unflatten(0, (h, w)),
        lambda p, at, h, w: word_map(p, torch.tensor(at), h, w).tolist(),
    ],
    checks.cheapest: [cheapest, cheapest_by_sorting, cheapest_by_tensor],
}
WRONG = {
    checks.write_a_prompt: [
        (PROMPT.replace(", lit from the left", ""), "light (left)"),
        (PROMPT.replace("white bun", "blond bun"), "hair_color is read as 'blond'"),
        (PROMPT.replace("green", "red"), "clothing_color is read as 'red'"),
        (PROMPT.replace("and round", "and no round"), "'no' negates what follows"),
        (PROMPT + ", without a hat", "'without' negates what follows"),
        (PROMPT + ", smiling", "nobody asked for: expression"),
        (PROMPT.replace("old woman", "young woman"), "age is read as 'young'"),
        (3, "should be a text"),
        ("", "your prompt says nothing about: age"),
    ],
    checks.slerp: [
        (lerp, "of its length"),
        (normalised_lerp, "at share 0.25"),
        (lambda a, b, share: slerp(b, a, share), "at share 0.0"),
        (lambda a, b, s: (1 - s) ** 0.5 * a + s**0.5 * b, "at share 0.5"),
        (
            lambda a, b, s: slerp(a, b, s) * (a * b).sum().div(a.norm() ** 2).acos().sin(),
            "the noise at share",
        ),
        (slerp_of_equal_lengths, "the noise at share"),
        (lambda a, b, share: slerp(a, b, share)[0], "has shape"),
    ],
    checks.unet_work: [
        (lambda steps, guidance, pictures: steps * pictures, "3 steps, guidance 4"),
        (lambda steps, guidance, pictures: 2 * steps * pictures, "guidance 1"),
        (lambda steps, guidance, pictures: work(steps, guidance, 1), "3 pictures"),
        (lambda n, w, k: n * k * (2 if w != 1 else 1), "guidance 0.5"),
        (lambda n, w, k: n * k * (2 if w >= 1 else 1), "guidance 1"),
        (lambda n, w, k: work(n, w, k) + 1, "guidance 1"),
        (lambda n, w, k: "many", "should be a number"),
    ],
    checks.word_map: [
        (lambda p, at, h, w: 4 * word_map(p, at, h, w), "averaged, not added"),
        (lambda p, at, h, w: word_map(p, at, h, w) / len(at), "added, not averaged"),
        (lambda p, at, h, w: word_map(p, at, w, h), "shape"),
        (lambda p, at, h, w: word_map(p, at, w, h).T, "off by"),
        (lambda p, at, h, w: word_map(p, at[:1], h, w), "off by"),
        (lambda p, at, h, w: word_map(p[:1], at, h, w), "off by"),
        (lambda p, at, h, w: word_map(p.softmax(-1), at, h, w), "off by"),
    ],
    checks.cheapest: [
        (fewest_steps, "10 steps take less time than 5"),
        (lambda rows, slack: cheapest(rows, 0.0), "slack 0.02"),
        (lambda rows, slack: min(rows, key=lambda r: r[1])[0], "usual table"),
        (lambda rows, slack: max(rows, key=lambda r: r[2])[0], "slack 0.02"),
        (with_relative_slack, "0.41 is enough"),
        (lambda rows, slack: fewest_steps(rows[::-1], slack), "10 steps take less time"),
        (lambda rows, slack: cheapest(rows, -slack - 1e-9), "Your code raised ValueError"),
    ],
}


def test_right_answers_pass_and_mistakes_are_named():
    expect_verdicts(RIGHT, WRONG)


def test_blanks_are_not_attempted():
    expect_blanks(list(RIGHT), values=[checks.write_a_prompt])


def test_no_answer_changes_its_inputs_unnoticed():
    functions = (checks.slerp, checks.word_map, checks.cheapest)
    expect_spoilers_noticed({check: RIGHT[check] for check in functions})
