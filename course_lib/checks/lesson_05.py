"""Checks of lesson 05: text and latents."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.process import predict_eps_from_x0, predict_x0_from_eps, q_sample
from course_lib.schedules import NoiseSchedule

# Learned in this order; "hair" needs four of them, "air</w>" and "h" never meet alone
MERGES = (
    ("a", "i"), ("ai", "r</w>"), ("h", "air</w>"), ("r", "e"), ("b", "l"), ("bl", "u"),
    ("blu", "e</w>"), ("o", "o"), ("l", "o"), ("a", "n"), ("an", "an"), ("re", "d</w>"),
    ("e", "d</w>"), ("l", "l</w>"),
)  # fmt: skip
WORDS = ("hair", "red", "blue", "bed", "fair", "air", "blurred", "loop", "banana", "ananan", "x",
         "ball", "zoo")  # fmt: skip


@exercise(
    hints=(
        "The noisy latent is sqrt(bar_a) * latent + sqrt(1 - bar_a) * noise. Compare variances.",
        "The signal's variance is bar_a * std**2, the noise's 1 - bar_a. Which t is the first at "
        "which the second is larger?",
        "gone = s.alphas_cumprod * std**2 < 1 - s.alphas_cumprod; then the index of the first True",
    ),
    success="Measured with q_sample, for three schedules and four deviations.",
    copies=True,
)
def signal_gone(answer) -> None:
    """answer(s, std) is the first timestep at which noise is stronger than latents of that std."""
    for schedule in (NoiseSchedule.linear(), NoiseSchedule.cosine(), NoiseSchedule.scaled_linear()):
        t = torch.arange(schedule.num_timesteps)
        one, zero = torch.ones(len(t), 1).double(), torch.zeros(len(t), 1).double()
        for std in (0.25, 1.0, 3.0, 5.5):
            signal = q_sample(std * one, t, schedule, noise=zero)
            noise = q_sample(zero, t, schedule, noise=one)
            truth = int((noise > signal).flatten().nonzero()[0])
            given = answer(schedule, std)
            try:
                given = float(given)
            except (TypeError, ValueError, RuntimeError):
                expect(False, f"return one timestep, not a {type(given).__name__}")
            where = f"with std = {std} on the {schedule.name} schedule"
            expect(given.is_integer(), f"{where} {given:g} is not a whole number")
            expect(given == truth, f"{where} not t = {given:g}")


@exercise(
    hints=(
        "Start from single letters, the last one with </w>. Walk through the merges in order.",
        "For each merge (left, right), replace every left that is followed by right with "
        "left + right, from left to right.",
        "for left, right in merges: with i from 0, if parts[i] == left and parts[i + 1] == right: "
        "parts[i : i + 2] = [left + right]",
    ),
    success="Equal to the tokenizers library on every word.",
    copies=True,
)
def bpe(answer) -> None:
    """answer(word, merges) is the list of the word's tokens."""
    from tokenizers import Tokenizer, models

    pieces = {c for word in WORDS for c in word} | {word[-1] + "</w>" for word in WORDS}
    vocab = {p: i for i, p in enumerate(sorted(pieces | {"".join(m) for m in MERGES}))}
    library = Tokenizer(models.BPE(vocab, list(MERGES), end_of_word_suffix="</w>"))
    for word in WORDS:
        truth = library.encode(word).tokens
        given = list(answer(word, list(MERGES)))
        expect(all(isinstance(part, str) for part in given), f"{word}: {given} are not all texts")
        expect(
            given == [] or str(given[-1]).endswith("</w>"),
            f"{word}: the last token should end in </w>, not {given}",
        )
        expect("".join(given) == word + "</w>", f"{word}: the letters got lost in {given}")
        expect(given == truth, f"{word}: {given} is not what the merges give")


@exercise(
    hints=(
        "One row of logits says how well a picture fits each caption. Which one is right?",
        "Picture i belongs to caption i: cross-entropy with the labels 0, 1, 2, ..., over rows.",
        "And the same over columns, logits.T; the loss is the mean of the two.",
    ),
    success="Equal to the definition, written with loops.",
    copies=True,
)
def contrastive_loss(answer) -> None:
    """answer(images, texts, scale) is the symmetric loss of unit vectors, matching by row."""
    images, texts = torch.randn(2, 5, 8, generator=make_generator(0)).double()
    images, texts = (v / v.norm(dim=-1, keepdim=True) for v in (images, texts))
    for scale in (1.0, 20.0):
        cosines = [[float(a @ b) for b in texts] for a in images]
        total = 0.0
        for i in range(5):
            right = scale * cosines[i][i]
            captions = math.log(sum(math.exp(scale * c) for c in cosines[i]))
            pictures = math.log(sum(math.exp(scale * row[i]) for row in cosines))
            total += (captions - right) + (pictures - right)
        given = torch.as_tensor(answer(images, texts, scale))
        expect(given.numel() == 1, f"the loss is one number, not a tensor {tuple(given.shape)}")
        expect_close(given.reshape(()), total / 10, f"the loss with scale {scale:g}")


@exercise(
    hints=(
        "Queries come from the pixels, keys and values from the text. Split each into heads.",
        "Split: (B, N, heads * d) -> (B, N, heads, d) -> (B, heads, N, d), with unflatten and "
        "transpose; then softmax(q @ k.mT / sqrt(d)) @ v.",
        "Join the heads again with transpose(1, 2).flatten(2), and end with attn.to_out[0].",
    ),
    success="Equal to diffusers' own attention, for two shapes.",
    copies=True,
)
def cross_attention(answer) -> None:
    """answer(attn, x, text) is what diffusers' attention layer computes, without calling it."""
    for heads, dim_head, width in ((4, 8, 24), (2, 16, 12)):
        x = 3 * torch.randn(2, 9, heads * dim_head, generator=make_generator(1))
        text = 3 * torch.randn(2, 5, width, generator=make_generator(2))
        attn = _attention(heads, dim_head, width)
        with torch.no_grad():
            truth = attn(x, encoder_hidden_states=text)
            before = {name: weight.clone() for name, weight in attn.state_dict().items()}
            given = answer(_Parts(attn), x, text)
        after = attn.state_dict()
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        expect(not changed, f"your function changes the layer's weights: {', '.join(changed)}")
        expect_close(given, truth, "the output")


def _attention(heads: int, dim_head: int, width: int) -> nn.Module:
    """A cross-attention layer of diffusers with random weights."""
    from diffusers.models.attention_processor import Attention

    with torch.random.fork_rng():
        torch.manual_seed(heads)
        options = {"query_dim": heads * dim_head, "cross_attention_dim": width}
        return Attention(**options, heads=heads, dim_head=dim_head).eval()


def _not_this_way(*args, **kwargs) -> None:
    raise AssertionError("compute what the layer computes from its parts, without calling it")


class _Parts(nn.Module):
    """The projections of an attention layer, without what diffusers' processors need besides."""

    forward = processor = set_processor = get_processor = _not_this_way

    def __init__(self, attn: nn.Module):
        super().__init__()
        for name in ("to_q", "to_k", "to_v", "to_out", "heads", "scale"):
            setattr(self, name, getattr(attn, name))


@exercise(
    hints=(
        "Stack the two questions along the batch: the same x_t twice, with different text.",
        "uncond, cond = model(torch.cat([x_t, x_t]), t, torch.cat([empty, text])).chunk(2)",
        "uncond + s * (cond - uncond)",
    ),
    success="One call of the model, and the noise estimate follows the same rule.",
    copies=True,
)
def guided_x0(answer) -> None:
    """answer(model, x_t, t, text, empty, s) is the guided x_0_hat, from one call of the model."""
    schedule, t = NoiseSchedule.scaled_linear(), 600
    x_t = torch.randn(3, 4, 8, 8, generator=make_generator(0)).double()
    text, empty = torch.randn(2, 3, 7, 16, generator=make_generator(1)).double()
    calls: list[int] = []

    def model(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        calls.append(len(x))
        expect(
            len(x) == len(context), f"{len(x)} latents meet {len(context)} texts; give one for each"
        )
        return x.cos() * context.mean(dim=(1, 2)).reshape(-1, 1, 1, 1).exp()

    # Another road: guide eps, which is affine in x_0 with weights that add up to 1
    eps = [predict_eps_from_x0(x_t, t, model(x_t, t, c), schedule) for c in (empty, text)]
    for s in (0.0, 1.0, 4.0):
        calls.clear()
        x_0_hat = answer(model, x_t, t, text, empty, s)
        expect(calls == [6], f"the model should be asked once about 6 latents, not {calls}")
        truth = predict_x0_from_eps(x_t, t, (1 - s) * eps[0] + s * eps[1], schedule)
        expect_close(x_0_hat, truth, f"x_0_hat with s = {s:g}")
