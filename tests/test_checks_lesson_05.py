"""Lesson 05's checkers accept the solution and name the typical mistakes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from course_lib.checks import lesson_05 as checks


def signal_gone(s, std):
    gone = s.alphas_cumprod * std**2 < 1 - s.alphas_cumprod
    return int(gone.nonzero()[0])


def gone_without_the_square(s, std):
    return int((s.alphas_cumprod * std < 1 - s.alphas_cumprod).nonzero()[0])


def gone_for_unit_latents(s, std):
    return signal_gone(s, 1.0)


def bpe(word, merges):
    parts = [*word[:-1], word[-1] + "</w>"]
    for left, right in merges:
        i = 0
        while i < len(parts) - 1:
            if parts[i] == left and parts[i + 1] == right:
                parts[i : i + 2] = [left + right]
            i += 1
    return parts


def bpe_without_the_end(word, merges):
    return [part.removesuffix("</w>") for part in bpe(word, merges)]


def bpe_of_letters(word, merges):
    return [*word[:-1], word[-1] + "</w>"]


def bpe_backwards(word, merges):
    return bpe(word, merges[::-1])


def bpe_that_merges_once(word, merges):
    parts = [*word[:-1], word[-1] + "</w>"]
    for left, right in merges:
        for i in range(len(parts) - 1):
            if parts[i] == left and parts[i + 1] == right:
                parts[i : i + 2] = [left + right]
                break
    return parts


def contrast(images, texts, scale):
    logits = scale * images @ texts.T
    right = torch.arange(len(logits))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def contrast_of_rows_only(images, texts, scale):
    logits = scale * images @ texts.T
    return F.cross_entropy(logits, torch.arange(len(logits)))


def contrast_without_scale(images, texts, scale):
    return contrast(images, texts, 1.0)


def attend(attn, x, text, *, scale=True, heads=None):
    heads = heads or attn.heads

    def split(y):  # (B, N, heads * d) -> (B, heads, N, d)
        return y.unflatten(-1, (heads, -1)).transpose(1, 2)

    q, k, v = split(attn.to_q(x)), split(attn.to_k(text)), split(attn.to_v(text))
    weights = (q @ k.mT / (q.shape[-1] ** 0.5 if scale else 1)).softmax(dim=-1)
    return attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2))


def attend_without_scale(attn, x, text):
    return attend(attn, x, text, scale=False)


def attend_with_one_head(attn, x, text):
    return attend(attn, x, text, heads=1)


def attend_without_output_layer(attn, x, text):
    weights = (attn.to_q(x) @ attn.to_k(text).mT).softmax(dim=-1)
    return weights @ attn.to_v(text)


def guided(model, x_t, t, text, empty, s):
    uncond, cond = model(torch.cat([x_t, x_t]), t, torch.cat([empty, text])).chunk(2)
    return uncond + s * (cond - uncond)


def guided_with_two_calls(model, x_t, t, text, empty, s):
    uncond, cond = model(x_t, t, empty), model(x_t, t, text)
    return uncond + s * (cond - uncond)


def guided_the_wrong_way(model, x_t, t, text, empty, s):
    return guided(model, x_t, t, empty, text, s)


def guided_from_the_prompt_on(model, x_t, t, text, empty, s):
    return guided(model, x_t, t, text, empty, s + 1)


SOLUTIONS = {
    "signal_gone": signal_gone,
    "bpe": bpe,
    "contrastive_loss": contrast,
    "cross_attention": attend,
    "guided_v": guided,
}
MISTAKES = [
    ("signal_gone", gone_without_the_square, "with std = 0.25 on the"),
    ("signal_gone", gone_for_unit_latents, "with std = 0.25 on the"),
    ("bpe", bpe_without_the_end, "should end in </w>"),
    ("bpe", bpe_of_letters, "hair: ['h', 'a', 'i', 'r</w>'] is not what"),
    ("bpe", bpe_backwards, "is not what the merges give"),
    ("bpe", bpe_that_merges_once, "banana"),
    ("contrastive_loss", contrast_of_rows_only, "with scale 1 is off"),
    ("contrastive_loss", contrast_without_scale, "with scale 20 is off"),
    ("cross_attention", attend_without_scale, "output is off"),
    ("cross_attention", attend_with_one_head, "output is off"),
    ("cross_attention", attend_without_output_layer, "output is off"),
    ("guided_v", guided_with_two_calls, "asked once about 6 latents, not [3, 3]"),
    ("guided_v", guided_the_wrong_way, "x_0_hat with s = 0"),
    ("guided_v", guided_from_the_prompt_on, "x_0_hat with s = 0"),
]


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solutions_pass_and_blanks_are_not_attempted(name):
    check = getattr(checks, name)
    assert check(SOLUTIONS[name]).status == "passed", check(SOLUTIONS[name])
    assert check(...).status == "not attempted"
    assert check(lambda *args: ...).status == "not attempted"


@pytest.mark.parametrize("name,answer,message", MISTAKES)
def test_typical_mistakes_are_named(name, answer, message):
    verdict = getattr(checks, name)(answer)
    assert verdict.status == "try again" and verdict.hint
    assert message.lower() in verdict.message.lower(), verdict
