"""The small U-Net: its contract, its starting point, its memory of time, and its file format."""

from __future__ import annotations

import pytest
import torch

import course_lib as cl
from course_lib.unet import Attention, ChannelNorm, ResidualBlock, timestep_embedding


def small(**options) -> cl.SmallUNet:
    torch.manual_seed(0)
    return cl.SmallUNet(channels=(16, 32), **options)


def wake(model: torch.nn.Module) -> torch.nn.Module:
    """Fill the layers that start at zero, so that every path carries a signal."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1, generator=generator)
    return model


@pytest.mark.parametrize("patch,size", [(1, 8), (2, 16), (4, 32)])
def test_contract(patch, size):
    model = wake(small(patch=patch))
    x_t = torch.randn(2, 3, size, 2 * size)
    out = model(x_t, torch.tensor([0, 999]))
    assert out.shape == x_t.shape and out.dtype == x_t.dtype
    # Fractions of timesteps are allowed, and every timestep gives another answer
    assert not torch.allclose(model(x_t, torch.tensor([0.5, 999])), out)
    # Images of a batch do not see each other
    torch.testing.assert_close(model(x_t[:1], torch.tensor([0])), out[:1], atol=1e-5, rtol=1e-5)


def test_a_fresh_model_predicts_zero_and_learns_from_everything():
    model = small()
    x_t, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 7])
    assert not model(x_t, t).any()
    wake(model)(x_t, t).square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_default_size_is_that_of_the_benchmark():
    count = sum(p.numel() for p in cl.SmallUNet().parameters())
    assert abs(count / 6_670_019 - 1) < 0.05  # within 5 % of the UNet2DModel it races against


def test_every_pixel_can_see_every_other():
    model = wake(small().eval())
    x_t = torch.zeros(1, 3, 16, 16, requires_grad=True)
    model(x_t, torch.tensor([5]))[0, 0, 0, 0].backward()
    assert (x_t.grad.abs().sum(dim=1) > 0).all()


def test_conditions_matter_and_are_asked_for():
    model = wake(small(num_classes=3, context_dim=8))
    x_t, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 7])
    context = torch.randn(2, 5, 8)
    out = model(x_t, t, torch.tensor([0, 3]), context)
    assert not torch.allclose(out, model(x_t, t, torch.tensor([1, 3]), context))
    assert not torch.allclose(out, model(x_t, t, torch.tensor([0, 3]), context.roll(1, dims=0)))
    with pytest.raises(ValueError, match="labels go with num_classes"):
        model(x_t, t, None, context)
    with pytest.raises(ValueError, match="context go with context_dim"):
        model(x_t, t, torch.tensor([0, 3]))


def test_timestep_embedding_by_hand():
    got = timestep_embedding(torch.tensor([0.0, 2.0]), 4)
    # Frequencies 1 and 10000 ** -0.5 = 0.01
    want = [[0.0, 0.0, 1.0, 1.0], [0.909297, 0.019999, -0.416147, 0.999800]]
    torch.testing.assert_close(got, torch.tensor(want), atol=1e-6, rtol=0)


def test_channel_norm_normalises_each_pixel():
    x = torch.randn(2, 16, 4, 4) * 5 + 3
    y = ChannelNorm(16)(x)
    torch.testing.assert_close(y.mean(dim=1), torch.zeros(2, 4, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=1, correction=0), torch.ones(2, 4, 4), atol=1e-4, rtol=0)


def test_attention_equals_its_formula():
    torch.manual_seed(0)
    layer = wake(Attention(128, "channel"))
    assert layer.heads == 2
    x = torch.randn(1, 128, 2, 3)
    pixels = layer.norm(x).flatten(2).transpose(1, 2)  # (1, 6, 128)
    q, (k, v) = layer.query(pixels), layer.key_value(pixels).chunk(2, dim=-1)
    found = torch.cat(
        [
            torch.softmax(q[..., h] @ k[..., h].transpose(1, 2) / 64**0.5, dim=-1) @ v[..., h]
            for h in (slice(0, 64), slice(64, 128))
        ],
        dim=-1,
    )
    want = x + layer.out(found).transpose(1, 2).reshape(1, 128, 2, 3)
    torch.testing.assert_close(layer(x), want, atol=1e-5, rtol=1e-5)


def test_dropout_only_in_training():
    block = wake(ResidualBlock(8, 8, 16, dropout=0.5, norm="group"))
    x, embedding = torch.randn(1, 8, 4, 4), torch.randn(1, 16)
    assert not torch.equal(block(x, embedding), block(x, embedding))
    block.eval()
    assert torch.equal(block(x, embedding), block(x, embedding))


def test_saved_and_loaded_the_model_is_the_same(tmp_path):
    model = wake(small(patch=1, norm="group")).eval()
    model.save(tmp_path / "model.safetensors")
    loaded = cl.SmallUNet.load(tmp_path / "model.safetensors")
    x_t, t = torch.randn(1, 3, 8, 8), torch.tensor([4])
    assert torch.equal(loaded(x_t, t), model(x_t, t))


def test_where_there_is_no_noise_the_input_is_the_answer_and_at_skip_timestep_half_of_it():
    x_t = torch.randn(3, 3, 16, 16)
    plain, skipping = wake(small()), wake(small(skip_timestep=24.0))
    t = torch.tensor([0, 24, 999])
    out, mixed = plain(x_t, t), skipping(x_t, t)
    torch.testing.assert_close(mixed[0], x_t[0])
    torch.testing.assert_close(mixed[1], (x_t[1] + out[1]) / 2)
    torch.testing.assert_close(mixed[2], out[2], atol=1e-3 * float(x_t.abs().max()), rtol=0)


@pytest.mark.parametrize(
    "shape,t,message",
    [
        ((1, 1, 16, 16), [0], r"\(B, 3, H, W\)"),
        ((3, 16, 16), [0], r"\(B, 3, H, W\)"),
        ((1, 3, 18, 16), [0], "multiples of 4"),
        ((2, 3, 16, 16), [0], r"t must be a tensor of shape \(2,\)"),
        ((1, 3, 16, 16), 0, r"t must be a tensor of shape \(1,\)"),
    ],
)
def test_wrong_shapes_are_named(shape, t, message):
    t = torch.tensor(t) if isinstance(t, list) else t
    with pytest.raises(ValueError, match=message):
        small()(torch.zeros(shape), t)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="Unknown norm 'batch'"):
        small(norm="batch")
