"""Lesson 07's checkers accept right answers however they are written, and name the mistakes."""

from __future__ import annotations

import torch
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts
from torch import nn

from course_lib.checks import lesson_07 as checks


def zero_conv(channels):
    conv = nn.Conv2d(channels, channels, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


class ZeroProduct(nn.Module):
    """The same written as a product of matrices."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, channels))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x):
        return torch.einsum("oi,bihw->bohw", self.weight, x) + self.bias


def zero_linear(channels):
    linear = nn.Linear(channels, channels)
    with torch.no_grad():
        for p in linear.parameters():
            p.zero_()
    return nn.Sequential(Moved(-1), linear, Moved(1))


class Moved(nn.Module):
    def __init__(self, to):
        super().__init__()
        self.to_axis = to

    def forward(self, x):
        return x.movedim(1, -1) if self.to_axis == -1 else x.movedim(-1, 1)


def with_zeros(conv, *names):
    for name in names:
        nn.init.zeros_(getattr(conv, name))
    return conv


def lora_report(tensors):
    stored = sum(tensor.numel() for tensor in tensors.values())
    pairs = [(t, tensors[n.replace("_A", "_B")]) for n, t in tensors.items() if "lora_A" in n]
    return len(pairs[0][0]), stored, sum(up.shape[0] * down[0].numel() for down, up in pairs)


def report_by_products(tensors):
    changed = stored = 0
    for name in [name for name in tensors if name.endswith("lora_B.weight")]:
        up, down = tensors[name], tensors[name.replace("lora_B", "lora_A")]
        stored += up.numel() + down.numel()
        changed += (up.reshape(len(up), -1) @ down.reshape(len(down), -1)).numel()
        rank = up.shape[1]
    return [rank, stored, changed]


def report_by_shapes(tensors):
    layers = {}
    for name, tensor in tensors.items():
        layers.setdefault(name.rpartition(".lora_")[0], {})[name[-8]] = tensor.shape
    changed = sum(s["B"][0] * s["A"].numel() // s["A"][0] for s in layers.values())
    stored = sum(shape.numel() for s in layers.values() for shape in s.values())
    return torch.tensor(next(iter(layers.values()))["A"][0]).item(), float(stored), changed


def report_changed(tensors, rule):
    rank, stored, _ = lora_report(tensors)
    pairs = [(t, tensors[n.replace("_A", "_B")]) for n, t in tensors.items() if "lora_A" in n]
    return rank, stored, sum(rule(down, up) for down, up in pairs)


RIGHT = {
    checks.lora_report: [lora_report, report_by_products, report_by_shapes],
    checks.zero_convolution: [zero_conv, ZeroProduct, zero_linear],
}
WRONG = {
    checks.lora_report: [
        (lambda t: 2, "return three numbers"),
        (lambda t: lora_report(t)[:2], "return three numbers"),
        (
            lambda t: (next(v for k, v in t.items() if "_A" in k).shape[1], *lora_report(t)[1:]),
            "the rank is",
        ),
        (lambda t: (2, *lora_report(t)[1:]), "the rank is 2, but should be 4"),
        (lambda t: (lora_report(t)[0], len(t), 60), "stored is 2"),
        (
            lambda t: (lora_report(t)[0], sum(v.numel() for k, v in t.items() if "_A" in k), 60),
            "stored is 12",
        ),
        (lambda t: report_changed(t, lambda a, b: a.numel() + b.numel()), "changed is 32"),
        (lambda t: report_changed(t, lambda a, b: b.shape[0] * a.shape[1]), "changed is"),
        (lambda t: report_changed(t, lambda a, b: b.shape[0] * a.numel()), "changed is 120"),
    ],
    checks.zero_convolution: [
        (lambda c: torch.zeros(c, c, 1, 1), "return a module"),
        (lambda c: nn.Conv2d(c, c, 1), "should be zero"),
        (lambda c: with_zeros(nn.Conv2d(c, c, 1), "weight"), "should be zero"),
        (lambda c: zero_conv(c).requires_grad_(False), "no parameter that can learn"),
        (lambda c: nn.Sequential(zero_conv(c), zero_conv(c)), "never learn"),
        (lambda c: with_zeros(nn.Conv2d(c, c, 3, padding=1), "weight", "bias"), "other pixels"),
        (lambda c: with_zeros(nn.Conv2d(c, c, 3), "weight", "bias"), "shape"),
        (
            lambda c: with_zeros(nn.Conv2d(c, c, 1, groups=c), "weight", "bias"),
            "all input channels",
        ),
        (lambda c: with_zeros(nn.Conv2d(c, c, 1, bias=False), "weight"), "add a bias"),
    ],
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_blanks_are_not_attempted():
    expect_blanks(list(RIGHT))


def image_start(z_0, eps, timesteps, alphas_cumprod, strength):
    remaining = timesteps[len(timesteps) - int(strength * len(timesteps)) :]
    bar = alphas_cumprod[remaining[0]]
    return bar.sqrt() * z_0 + (1 - bar).sqrt() * eps, remaining


def start_by_list(z_0, eps, timesteps, alphas_cumprod, strength):
    remaining = timesteps.tolist()[-int(strength * len(timesteps)) :]
    bar = float(alphas_cumprod[remaining[0]])
    return [bar**0.5 * z_0 + (1 - bar) ** 0.5 * eps, remaining]


def start_by_lerp(z_0, eps, timesteps, alphas_cumprod, strength):
    first = len(timesteps) - int(len(timesteps) * strength)
    signal = alphas_cumprod.sqrt()[timesteps[first]]
    return signal * z_0 + torch.sqrt(1 - signal**2) * eps, timesteps[first:].clone()


def start_at(change):
    """A wrong answer: the right one with something changed in x_t, the timesteps, or both."""

    def answer(z_0, eps, timesteps, alphas_cumprod, strength):
        x_t, remaining = image_start(z_0, eps, timesteps, alphas_cumprod, strength)
        return change(x_t, remaining, timesteps, z_0, eps)

    return answer


def blend(latents, z_0, eps, mask, alpha_bar):
    return mask * latents + (1 - mask) * (alpha_bar.sqrt() * z_0 + (1 - alpha_bar).sqrt() * eps)


def blend_by_lerp(latents, z_0, eps, mask, alpha_bar):
    kept = float(alpha_bar) ** 0.5 * z_0 + (1 - float(alpha_bar)) ** 0.5 * eps
    return torch.lerp(kept, latents, mask.expand_as(kept))


def blend_in_place(latents, z_0, eps, mask, alpha_bar):
    kept = z_0 * alpha_bar.sqrt() + eps * (1 - alpha_bar).sqrt()
    kept += mask * (latents - kept)
    return kept


def test_editing():
    right = {
        checks.image_start: [image_start, start_by_list, start_by_lerp],
        checks.blend_latents: [blend, blend_by_lerp, blend_in_place],
    }
    noised = torch.tensor(1.0)
    wrong = {
        checks.image_start: [
            (start_at(lambda x, r, ts, z, e: x), "two things"),
            (start_at(lambda x, r, ts, z, e: (x, ts[: len(r)])), "noisiest timesteps remain"),
            (start_at(lambda x, r, ts, z, e: (x, ts)), "timesteps remain"),
            (start_at(lambda x, r, ts, z, e: (x, r[1:])), "remain"),
            (start_at(lambda x, r, ts, z, e: (z + e, r)), "x_t"),
            (start_at(lambda x, r, ts, z, e: (z, r)), "x_t"),
        ],
        checks.blend_latents: [
            (lambda x, z, e, m, a: m * x + (1 - m) * z, "outside the mask"),
            (lambda x, z, e, m, a: blend(x, z, e, 1 - m, a), "inside the mask"),
            (lambda x, z, e, m, a: x, "outside the mask"),
            (lambda x, z, e, m, a: blend(x, z, e, m.round(), a), "between 0 and 1"),
            (lambda x, z, e, m, a: blend(x, z, e, m, noised), "outside the mask"),
            (lambda x, z, e, m, a: blend(x, z, e, m, a)[:1], "shape"),
            (lambda x, z, e, m, a: m * x + (1 - m) * (a * z + (1 - a) * e), "outside the mask"),
        ],
    }
    expect_verdicts(right, wrong)
    expect_blanks(list(right))
    expect_spoilers_noticed(right)


def merge(W, loras):
    for A, B, alpha, scale in loras:
        W = W + scale * alpha / A.shape[0] * (B @ A)
    return W


def merge_by_einsum(W, loras):
    return sum((torch.einsum("or,ri->oi", B, A).mul(s * a / len(A)) for A, B, a, s in loras), W)


def merge_as_one_product(W, loras):
    if not loras:
        return W.clone()
    down = torch.cat([A for A, _, _, _ in loras])
    up = torch.cat([B * (scale * alpha / len(A)) for A, B, alpha, scale in loras], dim=1)
    return W + up @ down


def preserve(prediction, target, own, weight):
    error = (prediction - target) ** 2
    return error[:own].mean() + weight * error[own:].mean()


def preserve_by_mse(prediction, target, own, weight):
    mse = torch.nn.functional.mse_loss
    return mse(prediction[:own], target[:own]).add(mse(prediction[own:], target[own:]) * weight)


def preserve_by_rows(prediction, target, own, weight):
    rows = (target - prediction).square().flatten(1).mean(dim=1)
    weights = torch.tensor([1 / own] * own + [weight / (len(rows) - own)] * (len(rows) - own))
    return (weights.to(rows) * rows).sum()


def test_lora_and_one_person():
    mse = torch.nn.functional.mse_loss
    right = {
        checks.merge_loras: [merge, merge_by_einsum, merge_as_one_product],
        checks.prior_preservation: [preserve, preserve_by_mse, preserve_by_rows],
    }
    wrong = {
        checks.merge_loras: [
            (lambda W, ls: W + sum(s * (B @ A) for A, B, a, s in ls), "rank 2, alpha 8"),
            (lambda W, ls: W + sum(a / len(A) * (B @ A) for A, B, a, s in ls), "scale 0"),
            (lambda W, ls: W + sum(s * a * (B @ A) for A, B, a, s in ls), "rank 3, alpha 3"),
            (lambda W, ls: W + sum(s * a / len(B) * (B @ A) for A, B, a, s in ls), "rank 3"),
            (lambda W, ls: merge(W, ls[-1:]), "two LoRAs"),
            (lambda W, ls: merge(W * 0, ls), "without any LoRA"),
            (lambda W, ls: merge(W, ls).T, "shape"),
            (lambda W, ls: [W, *ls], "return a tensor"),
        ],
        checks.prior_preservation: [
            (lambda p, t, n, w: mse(p, t), "weight 0"),
            (lambda p, t, n, w: mse(p[:n], t[:n]), "weight 1"),
            (lambda p, t, n, w: preserve(p, t, len(p) - n, w), "2 rows of the person"),
            (lambda p, t, n, w: preserve(p, t, n, 1.0), "weight 0"),
            (lambda p, t, n, w: preserve(p, t, n, w) / (1 + w), "weight 1"),
            (lambda p, t, n, w: (1 - w) * mse(p[:n], t[:n]) + w * mse(p[n:], t[n:]), "weight 1"),
            (lambda p, t, n, w: preserve(p, t, n, w).item(), "one number"),
            (lambda p, t, n, w: preserve(p, t, n, w).detach(), "no gradient"),
            (lambda p, t, n, w: ((p - t) ** 2).mean(dim=(1, 2, 3)), "one number"),
        ],
    }
    expect_verdicts(right, wrong)
    expect_blanks(list(right))
    expect_spoilers_noticed(right)
