"""Checks of lesson 06: Stable Diffusion portraits."""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import torch
from torch import Tensor

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.pipelines import load_pipeline, paint_steps
from course_lib.portraits import parse_caption

SITTER = {
    "age": "elderly", "gender": "woman", "hair_style": "bun", "hair_color": "white",
    "eyewear": "round glasses", "clothing": "turtleneck", "clothing_color": "green",
    "framing": "bust", "light": "left", "style": "pastel",
}  # fmt: skip


@exercise(
    hints=(
        "Begin with framing and medium: 'a bust pastel of ...'. Then who, then details.",
        "Adjectives belong next to their noun: 'a white bun', 'a green turtleneck'.",
        "a bust pastel of an old woman with a white bun and round glasses, in a green "
        "turtleneck, lit from the ...",
    ),
    success="Every attribute that was ordered is said, and no other.",
)
def write_a_prompt(prompt) -> None:
    """A prompt that names every attribute of SITTER, and no other."""
    expect(isinstance(prompt, str), f"the prompt should be a text, not {type(prompt).__name__}")
    # parse_caption finds the words of an attribute, whether a negation stands before them or not
    negation = re.search(r"\b(?:no|not|without|never)\b|n't\b", prompt.lower())
    expect(not negation, f"{negation and negation[0]!r} negates what follows; say what is there")
    said = parse_caption(prompt)
    missing = [f"{name} ({value})" for name, value in SITTER.items() if name not in said]
    expect(not missing, f"your prompt says nothing about: {', '.join(missing)}")
    for name, value in SITTER.items():
        expect(said[name] == value, f"{name} is read as {said[name]!r}, but should be {value!r}")
    extra = [f"{name} ({value})" for name, value in said.items() if name not in SITTER]
    expect(not extra, f"nobody asked for: {', '.join(extra)}")


@exercise(
    hints=(
        "Both ends are points on a sphere. Walk along the great circle between them.",
        "The angle between them is theta = acos(a . b / (|a| |b|)); the weights are sines.",
        "sin((1 - share) theta) / sin(theta) * a + sin(share theta) / sin(theta) * b",
    ),
    success="Equal steps in angle, and the noise keeps its length.",
    copies=True,
)
def slerp(answer) -> None:
    """answer(a, b, share) walks from noise a (share 0) to noise b (share 1) on the sphere."""
    a, b = torch.randn(2, 8, 16, 16, generator=make_generator(0)).double()
    for end in (b / b.norm() * a.norm(), 1.1 * b):  # of equal length, and of another
        # Another road: coordinates along a and across it, in the plane of a and b
        along = a / a.norm()
        across = end - (along * end).sum() * along
        across = across / across.norm()
        theta = torch.atan2((across * end).sum(), (along * end).sum())
        for share in (0.0, 1.0, 0.5, 0.25):
            first, second = torch.sin((1 - share) * theta), torch.sin(share * theta)
            length = (first * a.norm() + second * end.norm() * theta.cos()) / theta.sin()
            truth = length * along + second * end.norm() * across
            given = answer(a, end, share)
            if isinstance(given, Tensor) and given.shape == a.shape:
                ratio = float(given.norm() / truth.norm())
                expect(
                    abs(ratio - 1) < 0.01,
                    f"at share {share} the noise has {ratio:.2f} of its length",
                )
            expect_close(given, truth, f"the noise at share {share}")


@exercise(
    hints=(
        "Each step asks about every picture. How many questions does guidance need for one answer?",
        "With guidance the U-Net sees each picture twice: with the negative prompt, and with the "
        "prompt.",
        "steps * pictures * (2 if guidance > 1 else 1)",
    ),
    success="Counted on the real pipeline. Guidance doubles the work; w = 1 does without it.",
)
def unet_work(answer) -> None:
    """answer(steps, guidance, pictures) is how many pictures the U-Net is asked about in all."""
    answer(1, 1.0, 1)  # a blank ends the check here, before the pipeline is loaded
    for (steps, guidance, pictures), truth in _counted().items():
        given = answer(steps, guidance, pictures)
        what = f"{steps} steps, guidance {guidance:g}, {pictures} pictures"
        expect_close(given, truth, what)


@functools.cache
def _counted() -> dict[tuple[int, float, int], int]:
    """(steps, guidance, pictures) -> how many latents the mini's U-Net was given."""
    pipe = load_pipeline("mini", "cpu", verbose=False)
    settings = replace(pipe.course_report.settings, guidance_until=1.0)
    pipe.course_report = replace(pipe.course_report, settings=settings)
    rows: list[int] = []
    pipe.unet.register_forward_pre_hook(lambda unet, args: rows.append(len(args[0])))
    counts = {}
    for case in ((1, 1.0, 1), (3, 4.0, 1), (1, 4.0, 3), (2, 1.0, 2), (1, 0.5, 1)):
        rows.clear()
        for _ in paint_steps(pipe, "a man", steps=case[0], guidance=case[1], n=case[2]):
            pass
        counts[case] = sum(rows)
    return counts


@exercise(
    hints=(
        "Which axis are the heads, and do they have equal weight?",
        "Average over heads, pick the word's tokens and add their shares, then fold the places "
        "into rows and columns.",
        "probabilities.mean(dim=0)[:, positions].sum(dim=-1).reshape(height, width)",
    ),
    success="Heads are averaged, tokens are added, places become rows and columns.",
    copies=True,
)
def word_map(answer) -> None:
    """answer(probabilities, positions, height, width): (heads, places, tokens) -> (h, w)."""
    scores = 3 * torch.randn(4, 6 * 5, 77, generator=make_generator(1)).double()
    share = scores.softmax(dim=-1)
    for positions in ([3], [5, 6], [2, 9, 10]):
        truth = torch.zeros(6, 5, dtype=torch.float64)
        for head in share:
            for place, row in enumerate(head):
                truth[place // 5, place % 5] += float(sum(row[k] for k in positions)) / len(share)
        given = answer(share, positions, 6, 5)
        if isinstance(given, Tensor) and given.shape == truth.shape:
            summed = bool((given - len(share) * truth).abs().max() < 1e-6)
            expect(not summed, "the heads should be averaged, not added")
            meant = len(positions) > 1 and (given * len(positions) - truth).abs().max() < 1e-6
            expect(not meant, "a word's tokens should be added, not averaged")
        expect_close(given, truth, f"the map of tokens {positions}")


@exercise(
    hints=(
        "First find the best quality in the table. What is good enough, then?",
        "Among the rows that are good enough, which costs the least time?",
        "best = max(q for _, _, q in rows); "
        "min((s, n) for n, s, q in rows if q >= best - slack)[1]",
    ),
    success="The fastest setting that is as good as the best, within the slack.",
    copies=True,
)
def cheapest(answer) -> None:
    """answer(rows, slack): rows of (steps, seconds, quality) -> the number of steps to take."""
    usual = [(2, 0.1, 0.60), (4, 0.2, 0.85), (8, 0.4, 0.93), (16, 0.8, 0.94)]
    # More steps may come out worse, and a faster sampler may take more of them
    odd = [(5, 0.9, 0.91), (10, 0.5, 0.90), (20, 2.0, 0.80)]
    poor = [(3, 0.1, 0.42), (6, 0.2, 0.46), (12, 0.4, 0.50)]
    cases = (
        (usual, 0.02, 8, "the usual table with slack 0.02"),
        (usual, 0.0, 16, "no slack: only the best will do"),
        (usual, 0.10, 4, "the usual table with slack 0.10"),
        (usual[::-1], 0.02, 8, "the usual table in another order"),
        (odd, 0.02, 10, "a table where 10 steps take less time than 5"),
        (poor, 0.09, 3, "slack 0.09 below a best of 0.50, so 0.41 is enough"),
    )
    for rows, slack, truth, what in cases:
        given = answer(list(rows), slack)
        expect(given == truth, f"{what}: {truth} steps, not {given}")
