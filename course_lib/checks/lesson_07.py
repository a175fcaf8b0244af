"""Checks of lesson 07: make it yours."""

from __future__ import annotations

import torch
from torch import nn

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.schedules import NoiseSchedule


@exercise(
    hints=(
        "A 1 x 1 convolution whose weight and bias are zero. Zero is where it starts, not what it "
        "stays: both must be able to learn.",
        "Make nn.Conv2d(channels, channels, 1), then set its weight and its bias to zero.",
        "conv = nn.Conv2d(channels, channels, 1), nn.init.zeros_(conv.weight), "
        "nn.init.zeros_(conv.bias), return conv.",
    ),
    success="Zero at first, and it learns from the first step: its gradient is not zero.",
)
def zero_convolution(answer) -> None:
    """answer(channels): a 1 x 1 convolution that gives zeros at first, and can be trained."""
    conv = answer(4)
    expect(isinstance(conv, nn.Module), f"return a module of torch.nn, not {type(conv).__name__}")
    x = torch.randn(3, 4, 6, 5, generator=make_generator(0))
    before = conv(x)
    expect(before.shape == x.shape, f"the output has shape {tuple(before.shape)}, the input "
           f"{tuple(x.shape)}; they should be equal")  # fmt: skip
    expect(not before.any(), "before training the output should be zero, whatever the input")
    learned = [p for p in conv.parameters() if p.requires_grad]
    expect(learned, "it has no parameter that can learn")
    target = torch.randn(x.shape, generator=make_generator(1))
    optimizer = torch.optim.SGD(learned, lr=0.3)
    for _ in range(2):
        optimizer.zero_grad()
        (conv(x) - target).square().mean().backward()
        moved = all(p.grad is not None and p.grad.any() for p in learned)
        expect(moved, "a parameter has the gradient 0, so it will never learn")
        optimizer.step()
    x.requires_grad_()
    conv(x)[0, 0, 2, 2].backward()  # which inputs does one output depend on?
    elsewhere = x.grad[0].clone()
    elsewhere[:, 2, 2] = 0
    expect(not elsewhere.any(), "a pixel's output depends on other pixels; a 1 x 1 convolution "
           "looks at one")  # fmt: skip
    expect(bool(x.grad[0, :, 2, 2].all()), "each output channel should see all input channels")
    with torch.no_grad():
        bias = conv(torch.zeros(1, 4, 2, 2))
    expect(bias.any(), "after training, the output of an input of zeros is still zero: add a bias")


@exercise(
    hints=(
        "Go through the names that end in lora_A.weight, and find the partner of each by replacing "
        "lora_A with lora_B.",
        "The rank is the first number of A's shape. A layer has outputs x inputs weights, and a "
        "convolution k x k times as many; the file stores A and B, not their product.",
        "changed += B.shape[0] * A[0].numel(), and stored is the sum of numel() of all tensors.",
    ),
    success="Three numbers that say what a stranger's file does, before it is loaded.",
    copies=True,
)
def lora_report(answer) -> None:
    """answer(tensors) -> rank, numbers stored, weights changed."""
    for rank, layers in ((2, [(6, 10, 1)]), (4, [(8, 12, 1), (5, 7, 3)]), (3, [(9, 4, 3)])):
        tensors, stored, changed = {}, 0, 0
        for number, (inputs, outputs, k) in enumerate(layers):
            shapes = {"B": (outputs, rank, 1, 1), "A": (rank, inputs, k, k)}
            pair = {m: torch.ones(shape if k > 1 else shape[:2]) for m, shape in shapes.items()}
            tensors |= {f"unet.l{number}.lora_{m}.weight": value for m, value in pair.items()}
            stored += rank * (inputs * k * k + outputs)
            changed += (pair["B"].flatten(1) @ pair["A"].flatten(1)).numel()
        given = answer(dict(tensors))
        told = isinstance(given, (tuple, list)) and len(given) == 3
        expect(told, f"return three numbers: rank, stored, changed; not {given!r}")
        what = f"a file with {len(layers)} layer{'s' * (len(layers) > 1)} of rank {rank}"
        for name, own, right in zip(
            ("the rank", "stored", "changed"), given, (rank, stored, changed), strict=True
        ):
            expect(own == right, f"{what}: {name} is {own}, but should be {right}")


@exercise(
    hints=(
        "int(strength * steps) of the timesteps remain; they are the last ones, the least noisy.",
        "The first of those that remain says how much noise: alpha_bar = alphas_cumprod[t].",
        "x_t = sqrt(alpha_bar) z_0 + sqrt(1 - alpha_bar) eps, at t = remaining[0].",
    ),
    success="The picture is noised to where the rest of the way begins.",
    copies=True,
)
def image_start(answer) -> None:
    """answer(z_0, eps, timesteps, alphas_cumprod, strength) -> (x_t, remaining timesteps)."""
    alphas_cumprod = NoiseSchedule.scaled_linear(1000).alphas_cumprod
    z_0, eps = torch.randn(2, 1, 4, 8, 8, generator=make_generator(0)).double()
    for steps, strength, left in ((10, 0.6, 6), (5, 0.5, 2), (8, 1.0, 8), (7, 0.3, 2)):
        timesteps = torch.linspace(999, 1000 // steps - 1, steps).long()
        given = answer(z_0, eps, timesteps, alphas_cumprod, strength)
        expect(
            isinstance(given, (tuple, list)) and len(given) == 2,
            "return two things: x_t and the timesteps that remain",
        )
        x_t, remaining = given
        expect(len(remaining) > 0, f"no timestep remains of {steps} at strength {strength}")
        remaining = torch.as_tensor(remaining)
        expect(
            len(remaining) == left,
            f"{len(remaining)} timesteps remain of {steps} at strength {strength}, not {left}",
        )
        expect(
            torch.equal(remaining, timesteps[steps - left :]),
            "the noisiest timesteps remain, but the way back ends with the least noisy ones",
        )
        bar = alphas_cumprod[timesteps[steps - left]]
        expected = bar.sqrt() * z_0 + (1 - bar).sqrt() * eps
        expect_close(x_t, expected, f"x_t at strength {strength}, {steps} steps")


@exercise(
    hints=(
        "Outside the mask belongs the picture, but as noisy as the latents are at this step.",
        "Noise z_0 with q_sample's formula and the alpha_bar that you are given.",
        "mask * latents + (1 - mask) * (sqrt(alpha_bar) z_0 + sqrt(1 - alpha_bar) eps)",
    ),
    success="Painted inside, kept outside, and both equally noisy.",
    copies=True,
)
def blend_latents(answer) -> None:
    """answer(latents, z_0, eps, mask, alpha_bar): latents where the mask is 1, else noised z_0."""
    latents, z_0, eps = torch.randn(3, 2, 4, 8, 8, generator=make_generator(1)).double()
    mask = torch.rand(1, 1, 8, 8, generator=make_generator(2)).double()
    mask[..., :3, :], mask[..., 5:, :] = 1, 0
    for bar in (1.0, 0.6, 0.05):
        alpha_bar = torch.tensor(bar).double()
        blended = answer(latents, z_0, eps, mask, alpha_bar)
        kept = alpha_bar.sqrt() * z_0 + (1 - alpha_bar).sqrt() * eps
        expect(isinstance(blended, torch.Tensor), "return a tensor")
        expect(
            blended.shape == latents.shape,
            f"the result has shape {tuple(blended.shape)}, but the latents {tuple(latents.shape)}",
        )
        for part, rows, value in (("inside", slice(3), latents), ("outside", slice(5, 8), kept)):
            expect_close(blended[..., rows, :], value[..., rows, :], f"{part} the mask")
        middle = mask * latents + (1 - mask) * kept
        expect_close(blended, middle, "where the mask is between 0 and 1")


@exercise(
    hints=(
        "Each LoRA adds a matrix of the shape of W. How do A (r, in) and B (out, r) make one?",
        "B @ A, times alpha / r, where r is the number of A's rows, times the slider's scale.",
        "merged = W + sum(scale * alpha / len(A) * B @ A for A, B, alpha, scale in loras)",
    ),
    success="One matrix, no LoRA left to compute: the merged layer is as fast as the first one.",
    copies=True,
)
def merge_loras(answer) -> None:
    """answer(W, loras) -> the merged weight; loras are tuples (A, B, alpha, scale)."""
    generator = make_generator(3)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator).double()

    W, x = drawn(6, 5), drawn(7, 5)
    first = (drawn(2, 5), drawn(6, 2), 8.0, 0.5)
    second = (drawn(3, 5), drawn(6, 3), 3.0, 1.5)
    for what, loras in (
        ("without any LoRA", []), ("with one LoRA of scale 0", [(*first[:3], 0.0)]),
        ("with one LoRA of rank 3, alpha 3", [second]),
        ("with one LoRA of rank 2, alpha 8, scale 0.5", [first]),
        ("with two LoRAs of different ranks", [first, second]),
    ):  # fmt: skip
        merged = answer(W, list(loras))
        expect(isinstance(merged, torch.Tensor), "return a tensor, the merged weight")
        expect(
            merged.shape == W.shape,
            f"{what} the merged weight has shape {tuple(merged.shape)}, but W {tuple(W.shape)}",
        )
        # Not the merged matrix itself: x through A, then B, as an unmerged layer computes it
        outputs = x @ W.T
        for A, B, alpha, scale in loras:
            outputs = outputs + (x @ A.T @ B.T) * (scale * alpha / A.shape[0])
        expect_close(x @ merged.T, outputs, f"the layer's output {what}")


@exercise(
    hints=(
        "Two mean squared errors: one over the person's rows, one over the class's.",
        "The first `own` rows are the person. The weight belongs to the class's mean alone.",
        "error = (prediction - target) ** 2; error[:own].mean() + weight * error[own:].mean()",
    ),
    success="Weight 0 is the plain loss; with weight 1 the class counts as the person does.",
    copies=True,
)
def prior_preservation(answer) -> None:
    """answer(prediction, target, own, weight): the first `own` rows show the person."""
    prediction, target = torch.randn(2, 6, 4, 3, 3, generator=make_generator(4)).double()
    for own, weight in ((3, 0.0), (3, 1.0), (2, 1.0), (2, 0.3), (5, 2.0)):
        moved = prediction.clone().requires_grad_()
        loss = answer(moved, target, own, weight)
        expect(isinstance(loss, torch.Tensor) and loss.ndim == 0, "return one number, a tensor")
        what = f"with {own} rows of the person, {6 - own} of the class, weight {weight:g}"
        truth = torch.nn.functional.mse_loss(prediction[:own], target[:own])
        truth = truth + weight * torch.nn.functional.mse_loss(prediction[own:], target[own:])
        expect_close(loss.detach(), truth, f"the loss {what}")
        expect(loss.requires_grad, "the loss has no gradient; do not detach it or call .item()")
        loss.backward()
        numbers = prediction[0].numel()
        scale = torch.full((6, 1, 1, 1), 2 / (own * numbers)).double()
        scale[own:] = 2 * weight / ((6 - own) * numbers)
        expect_close(moved.grad, scale * (prediction - target), f"the gradient {what}")
