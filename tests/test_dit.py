"""The diffusion transformer against diffusers' DiT with the same weights."""

from __future__ import annotations

import pytest
import torch
from diffusers import DiTTransformer2DModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import get_2d_sincos_pos_embed

import course_lib as cl
from course_lib.dit import DiT, DiTBlock, patchify, position_embedding, unpatchify

DIM, HEADS = 32, 2


def randomised(module, seed=0):
    generator = cl.make_generator(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return module.eval()


def copy_block(theirs: BasicTransformerBlock, ours: DiTBlock) -> None:
    for name, part in zip(("to_q", "to_k", "to_v"), range(3), strict=True):
        linear = getattr(theirs.attn1, name)
        linear.weight.data = ours.query_key_value.weight.data.chunk(3)[part]
        linear.bias.data = ours.query_key_value.bias.data.chunk(3)[part]
    theirs.attn1.to_out[0].load_state_dict(ours.out.state_dict())
    theirs.ff.net[0].proj.load_state_dict(ours.mlp[0].state_dict())
    theirs.ff.net[2].load_state_dict(ours.mlp[2].state_dict())
    theirs.norm1.linear.load_state_dict(ours.modulation.state_dict())


class Given(torch.nn.Module):
    """Stands in for the embedding of diffusers, whose frequencies are others."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding

    def forward(self, timestep, class_labels, hidden_dtype=None):
        return self.embedding


def test_the_whole_network_is_that_of_diffusers():
    ours = randomised(DiT(patch=2, dim=DIM, depth=3, heads=HEADS, num_classes=5))
    theirs = DiTTransformer2DModel(
        num_attention_heads=HEADS, attention_head_dim=DIM // HEADS, in_channels=3, out_channels=3,
        num_layers=3, sample_size=8, patch_size=2, num_embeds_ada_norm=1000, dropout=0.0,
    ).eval()  # fmt: skip
    x_t, t = torch.randn(2, 3, 8, 8, generator=cl.make_generator(1)), torch.tensor([3, 900])
    labels = torch.tensor([4, 5])
    frequencies = cl.unet.timestep_embedding(t, 256)
    condition = ours.time(frequencies) + ours.label(labels)
    for block, own in zip(theirs.transformer_blocks, ours.blocks, strict=True):
        copy_block(block, own)
        block.norm1.emb = Given(condition)
    # Their patches list channels first, ours last; so do the answers
    weight = ours.embed.weight.data.reshape(DIM, 2, 2, 3).permute(0, 3, 1, 2)
    theirs.pos_embed.proj.weight.data = weight.contiguous()
    theirs.pos_embed.proj.bias.data = ours.embed.bias.data
    theirs.proj_out_1.load_state_dict(ours.modulation.state_dict())
    theirs.proj_out_2.load_state_dict(ours.head.state_dict())
    with torch.no_grad():
        want = theirs(x_t, timestep=t, class_labels=labels).sample
        got = ours(x_t, t, labels)
    assert want.std() > 0.1
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_positions_are_those_of_diffusers():
    want = get_2d_sincos_pos_embed(DIM, 5, base_size=5, output_type="pt").float()
    torch.testing.assert_close(position_embedding(5, 5, DIM), want)
    # A token's place is its row and column, whatever the number of rows
    torch.testing.assert_close(position_embedding(3, 5, DIM), want[:15])


def test_patches_come_row_by_row_and_back():
    images = torch.arange(2 * 3 * 8 * 12, dtype=torch.float32).reshape(2, 3, 8, 12)
    tokens = patchify(images, 4)
    assert tokens.shape == (2, 6, 48)
    # The patch in row 1, column 2; its pixels row by row, each with its channels
    want = images[1, :, 4:8, 8:12].permute(1, 2, 0).flatten()
    assert torch.equal(tokens[1, 1 * 3 + 2], want)
    assert torch.equal(unpatchify(tokens, 4, 8), images)


def test_at_first_blocks_do_nothing_and_the_answer_is_zero():
    torch.manual_seed(0)
    x, condition = torch.randn(2, 7, DIM), torch.randn(2, DIM)
    block = DiTBlock(DIM, HEADS)
    assert torch.equal(block(x, condition), x)
    network = DiT(patch=4, dim=DIM, depth=2, heads=HEADS)
    images = torch.randn(2, 3, 16, 16)
    assert not network(images, torch.tensor([0, 9])).any()
    # Zero is a start, not a trap: after the head has moved, the gates get a gradient
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        loss = (network(images, torch.tensor([0, 9])) - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(block.modulation.weight.grad.any() for block in network.blocks)


def test_it_is_trained_sampled_saved_and_loaded_as_the_unet_is(tmp_path):
    torch.manual_seed(0)
    images = torch.randn(1, 3, 1, 1, generator=cl.make_generator(0)).clamp(-1, 1).repeat(8, 1, 8, 8)
    network = DiT(patch=4, dim=DIM, depth=1, heads=HEADS, num_classes=2)
    schedule, labels = cl.NoiseSchedule.flow(50), [0, 1] * 4
    options = {"labels": labels, "batch_size": 8, "lr": 5e-3, "warmup": 5, "device": "cpu"}
    losses = [
        step.loss
        for step in cl.train(
            network, images, schedule, steps=80, prediction="flow", progress=False, **options
        )
    ]
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])
    model = cl.DiffusionModel(network=network, schedule=schedule)
    assert model.prediction == "flow"
    noise = torch.randn(2, 3, 8, 8, generator=cl.make_generator(1))
    made = model.generate(noise, method="euler", steps=5, labels=1, guidance=1.5)
    again = DiT.load(network.save(tmp_path / "dit.safetensors"))
    assert again.prediction == "flow" and again.config == network.config
    model = cl.DiffusionModel(network=again, schedule=schedule)
    torch.testing.assert_close(
        model.generate(noise, method="euler", steps=5, labels=1, guidance=1.5),
        made, atol=0.02, rtol=0,  # weights are kept in half precision
    )  # fmt: skip


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: DiT(dim=30), "multiple of 4 and of heads"),
        (lambda: DiT(dim=36, heads=5), "multiple of 4 and of heads"),
        (lambda: DiT(patch=0), "patch must be a whole number"),
        (lambda: DiT(dim=32)(torch.zeros(1, 3, 30, 32), torch.zeros(1)), "multiples of 4"),
        (lambda: DiT(dim=32)(torch.zeros(1, 4, 32, 32), torch.zeros(1)), r"\(B, 3, H, W\)"),
        (lambda: DiT(dim=32)(torch.zeros(1, 3, 32, 32), 5), r"tensor of shape \(1,\)"),
        (
            lambda: DiT(dim=32)(torch.zeros(1, 3, 32, 32), torch.zeros(1), torch.zeros(1)),
            "labels go with num_classes",
        ),
    ],
)
def test_bad_input_says_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
