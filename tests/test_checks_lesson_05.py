"""Lesson 05's checkers accept right answers however they are written, and name the mistakes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from course_lib.checks import lesson_05 as checks


def signal_gone(s, std):
    gone = s.alphas_cumprod * std**2 < 1 - s.alphas_cumprod
    return int(gone.nonzero()[0])


def gone_by_loop(s, std):
    for t, bar in enumerate(s.alphas_cumprod.tolist()):
        if math.sqrt(1 - bar) > math.sqrt(bar) * std:
            return t


def bpe(word, merges):
    parts = [*word[:-1], word[-1] + "</w>"]
    for left, right in merges:
        i = 0
        while i < len(parts) - 1:
            if parts[i] == left and parts[i + 1] == right:
                parts[i : i + 2] = [left + right]
            i += 1
    return parts


def bpe_by_rank(word, merges):
    """The usual way: of all neighbours merge those that were learned first, again and again."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    parts = [*word[:-1], word[-1] + "</w>"]
    while True:
        known = [pair for pair in zip(parts, parts[1:], strict=False) if pair in ranks]
        if not known:
            return parts
        parts = bpe_join(parts, *min(known, key=ranks.get))


def bpe_join(parts, left, right):
    joined = []
    for part in parts:
        if joined and joined[-1] == left and part == right and len(joined[-1]) == len(left):
            joined[-1] = left + right
        else:
            joined.append(part)
    return joined


def bpe_that_uses_up_the_merges(word, merges):
    parts = (*word[:-1], word[-1] + "</w>")
    while merges:
        parts = tuple(bpe_join(list(parts), *merges.pop(0)))
    return parts


def bpe_that_merges_once(word, merges):
    parts = [*word[:-1], word[-1] + "</w>"]
    for left, right in merges:
        for i in range(len(parts) - 1):
            if parts[i] == left and parts[i + 1] == right:
                parts[i : i + 2] = [left + right]
                break
    return parts


def longest_piece_first(word, merges):
    pieces, rest, parts = {"".join(pair) for pair in merges}, word + "</w>", []
    while rest:
        least = 5 if len(rest) == 5 else 1  # the last letter goes with </w>
        size = next((n for n in range(len(rest), 0, -1) if rest[:n] in pieces), least)
        parts, rest = [*parts, rest[:size]], rest[size:]
    return parts


def contrast(images, texts, scale):
    logits = scale * images @ texts.T
    right = torch.arange(len(logits))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def contrast_by_logsumexp(images, texts, scale):
    logits = torch.einsum("id,jd->ij", images, texts) * scale
    both = torch.logsumexp(logits, 0) + torch.logsumexp(logits, 1) - 2 * logits.diag()
    return both.mean() / 2


def contrast_in_place(images, texts, scale):
    logits = images.mul_(scale) @ texts.T
    return -(logits.log_softmax(0) + logits.log_softmax(1)).diag().mean(0, keepdim=True) / 2


def contrast_by_loop(images, texts, scale):
    total = 0.0
    for i in range(len(images)):
        row, column = (images[i] @ texts.T) * scale, (images @ texts[i]) * scale
        total -= (row.softmax(0)[i].log() + column.softmax(0)[i].log()).item()
    return total / (2 * len(images))


def split(y, heads):  # (B, N, heads * d) -> (B, heads, N, d)
    return y.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(attn, x, text, *, scale=None, heads=None, dim=-1):
    heads = heads or attn.heads
    q, k, v = (split(y, heads) for y in (attn.to_q(x), attn.to_k(text), attn.to_v(text)))
    scale = q.shape[-1] ** 0.5 if scale is None else scale
    weights = (q @ k.mT / scale).softmax(dim=dim)
    return attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2))


def attend_by_einsum(attn, x, text):
    b, n, c = x.shape
    q, k, v = (y.reshape(b, -1, attn.heads, c // attn.heads) for y in
               (attn.to_q(x), attn.to_k(text), attn.to_v(text)))  # fmt: skip
    weights = torch.einsum("bqhd,bkhd->bhqk", q, k).div_((c // attn.heads) ** 0.5).softmax(-1)
    return attn.to_out[1](attn.to_out[0](torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2)))


def attend_fused(attn, x, text):
    q, k, v = (split(y, attn.heads) for y in (attn.to_q(x), attn.to_k(text), attn.to_v(text)))
    return attn.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def attend_head_by_head(attn, x, text):
    parts = [y.chunk(attn.heads, dim=-1) for y in (attn.to_q(x), attn.to_k(text), attn.to_v(text))]
    heads = [(q @ k.mT * attn.scale).softmax(-1) @ v for q, k, v in zip(*parts, strict=True)]
    return attn.to_out[0](torch.cat(heads, dim=-1))


def attend_without_output_layer(attn, x, text):
    q, k, v = (split(y, attn.heads) for y in (attn.to_q(x), attn.to_k(text), attn.to_v(text)))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def guided(model, x_t, t, text, empty, s):
    uncond, cond = model(torch.cat([x_t, x_t]), t, torch.cat([empty, text])).chunk(2)
    return uncond + s * (cond - uncond)


def guided_prompt_first(model, x_t, t, text, empty, s):
    cond, uncond = model(x_t.repeat(2, 1, 1, 1), t, torch.cat([text, empty])).chunk(2)
    return torch.lerp(uncond, cond, s)


def guided_side_by_side(model, x_t, t, text, empty, s):
    twice, both = x_t.repeat_interleave(2, 0), torch.stack([empty, text], 1).flatten(0, 1)
    return (model(twice, t, both).unflatten(0, (-1, 2)) * torch.tensor([1 - s, s])[:, None, None,
            None]).sum(1)  # fmt: skip


def guided_in_place(model, x_t, t, text, empty, s):
    uncond, cond = model(
        x_t.expand(2, *x_t.shape).flatten(0, 1), t, torch.cat([empty, text])
    ).split(len(x_t))
    return cond.sub_(uncond).mul_(s).add_(uncond)


def guided_with_two_calls(model, x_t, t, text, empty, s):
    uncond, cond = model(x_t, t, empty), model(x_t, t, text)
    return uncond + s * (cond - uncond)


def guided_in_the_wrong_order(model, x_t, t, text, empty, s):
    uncond, cond = model(x_t.repeat_interleave(2, 0), t, torch.cat([empty, text])).chunk(2)
    return uncond + s * (cond - uncond)


RIGHT = {
    checks.signal_gone: [
        signal_gone,
        gone_by_loop,
        lambda s, std: (s.snr * std**2 < 1).int().argmax(),
        lambda s, std: torch.searchsorted(-s.snr, -torch.tensor([std**-2]).double(), right=True),
        lambda s, std: float((s.snr.float() >= std**-2).sum()),
    ],
    checks.bpe: [bpe, bpe_by_rank, bpe_that_uses_up_the_merges, lambda *a: tuple(bpe(*a))],
    checks.contrastive_loss: [
        contrast,
        contrast_by_logsumexp,
        contrast_in_place,
        contrast_by_loop,
        lambda u, w, scale: contrast(u.float(), w.float(), scale),
    ],
    checks.cross_attention: [attend, attend_by_einsum, attend_fused, attend_head_by_head],
    checks.guided_x0: [
        guided,
        guided_prompt_first,
        guided_side_by_side,
        guided_in_place,
        lambda *given: guided(*given).tolist(),
    ],
}
WRONG = {
    checks.signal_gone: [
        (lambda s, std: int((s.snr * std < 1).nonzero()[0]), "with std = 0.25 on the"),
        (lambda s, std: signal_gone(s, 1.0), "with std = 0.25 on the"),
        (lambda s, std: signal_gone(s, 1 / std), "with std = 0.25 on the"),
        (lambda s, std: signal_gone(s, std) - 1, "with std = 0.25 on the"),
        (lambda s, std: signal_gone(s, std) + 0.5, "is not a whole number"),
        (lambda s, std: s.snr * std**2 < 1, "return one timestep, not a Tensor"),
        (lambda s, std: float("nan"), "is not a whole number"),
    ],
    checks.bpe: [
        (lambda *a: [part.removesuffix("</w>") for part in bpe(*a)], "should end in </w>"),
        (lambda word, merges: [*word[:-1], word[-1] + "</w>"], "is not what the merges give"),
        (lambda word, merges: bpe(word, merges[::-1]), "is not what the merges give"),
        (lambda word, merges: bpe(word, merges[:-1]), "is not what the merges give"),
        (bpe_that_merges_once, "banana"),
        (longest_piece_first, "is not what the merges give"),
        (lambda *a: [*bpe(*a)[:-1], "</w>"], "the letters got lost"),
        (lambda *a: list(range(3)), "are not all texts"),
    ],
    checks.contrastive_loss: [
        (lambda u, w, k: F.cross_entropy(k * u @ w.T, torch.arange(5)), "with scale 1 is off"),
        (lambda u, w, k: F.cross_entropy(k * w @ u.T, torch.arange(5)), "with scale 1 is off"),
        (lambda u, w, k: contrast(u, w, 1.0), "with scale 20 is off"),
        (lambda u, w, k: 2 * contrast(u, w, k), "with scale 1 is off"),
        (lambda u, w, k: contrast(u, w.flip(0), k), "with scale 1 is off"),
        (lambda u, w, k: -k * (u * w).sum(1).mean(), "with scale 1 is off"),
        (lambda u, w, k: (k * u @ w.T).log_softmax(1).diag(), "one number, not a tensor (5,)"),
        (lambda u, w, k: contrast(u, w, 1 / k), "with scale 20 is off"),
    ],
    checks.cross_attention: [
        (lambda attn, x, text: attn(x, encoder_hidden_states=text), "without calling it"),
        (lambda attn, x, text: attn.forward(x, text), "without calling it"),
        (lambda attn, x, text: attn.processor(attn, x, text), "without calling it"),
        (lambda attn, x, text: type(attn).forward(attn, x, text), "without calling it"),
        (lambda attn, x, text: attn.set_processor(AttnProcessor2_0()), "without calling it"),
        (lambda attn, x, text: AttnProcessor2_0()(attn, x, text), "AttributeError"),
        (lambda attn, x, text: AttnProcessor()(attn, x, text), "AttributeError"),
        (lambda *given: attend(*given, scale=1), "output is off"),
        (lambda attn, x, text: attend(attn, x, text, scale=x.shape[-1] ** 0.5), "output is off"),
        (lambda *given: attend(*given, heads=1), "output is off"),
        (lambda *given: attend(*given, dim=-2), "output is off"),
        (attend_without_output_layer, "output is off"),
        (lambda attn, x, text: attend(attn, x, x), "RuntimeError"),
        (lambda attn, x, text: attend(attn.requires_grad_(False), x, text)[0], "has shape"),
    ],
    checks.guided_x0: [
        (guided_with_two_calls, "asked once about 6 latents, not [3, 3]"),
        (guided_in_the_wrong_order, "x_0_hat with s = 0"),
        (lambda m, x, t, c, e, s: guided(m, x, t, e, c, s), "x_0_hat with s = 0"),
        (lambda m, x, t, c, e, s: guided(m, x, t, c, e, s + 1), "x_0_hat with s = 0"),
        (lambda m, x, t, c, e, s: s * m(x, t, c), "asked once about 6 latents, not [3]"),
        (lambda m, x, t, c, e, s: m(torch.cat([x, x]), t, c), "give one for each"),
        (lambda *given: guided(*given)[:1], "has shape"),
        (lambda *given: guided(*given).clamp(-1, 1), "x_0_hat with s"),
    ],
}


def test_right_answers_pass_and_mistakes_are_named():
    expect_verdicts(RIGHT, WRONG)


def test_blanks_are_not_attempted():
    expect_blanks(list(RIGHT))


def test_no_answer_changes_its_inputs_unnoticed():
    expect_spoilers_noticed(RIGHT)
