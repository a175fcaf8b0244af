"""Recorded attention is the model's own, of the right pass, and recording leaves no trace."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from course_lib.pipelines import load_pipeline, paint_steps, record_attention
from course_lib.pipelines.attention import token_positions

PROMPT = "a smiling old man with round glasses"


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline("mini", "cpu", verbose=False)


def run(pipe, prompt=PROMPT, **options):
    with record_attention(pipe) as maps:
        steps = list(paint_steps(pipe, prompt, **{"steps": 2, **options}))
    return maps, steps[-1].latents_next


def text_layers(unet):
    return [m for name, m in unet.named_modules() if name.endswith(".attn2")]


def test_the_maps_are_the_probabilities_of_the_fused_attention(pipe):
    asked: list[dict[str, torch.Tensor]] = []
    hooks = []
    for layer in text_layers(pipe.unet):
        entry: dict[str, torch.Tensor] = {"heads": layer.heads}
        asked.append(entry)
        for name in ("to_q", "to_k"):

            def keep(module, args, output, entry=entry, name=name):
                entry[name] = output

            hooks.append(getattr(layer, name).register_forward_hook(keep))
    maps, _ = run(pipe, steps=1, guidance=1)
    for hook in hooks:
        hook.remove()
    total = 0
    for entry in asked:
        q, k = (
            entry[n].unflatten(-1, (entry["heads"], -1)).transpose(1, 2) for n in ("to_q", "to_k")
        )
        # With the unit matrix for values, the fused attention returns its probabilities
        unit = torch.eye(k.shape[2]).expand(*k.shape[:2], -1, -1)
        share = F.scaled_dot_product_attention(q, k, unit).mean(dim=1).transpose(1, 2)
        edge = int(share.shape[-1] ** 0.5)
        small = share.unflatten(2, (edge, edge))
        total = total + F.interpolate(small, (16, 16), mode="bilinear", antialias=True)
    # Rounding: the order of the sums differs
    torch.testing.assert_close(maps.probabilities[0], total / len(asked), atol=1e-5, rtol=0)


def test_recording_changes_no_picture_and_is_undone_even_after_an_error(pipe):
    before = dict(pipe.unet.attn_processors)
    maps, recorded = run(pipe, guidance=3.0)
    plain = list(paint_steps(pipe, PROMPT, steps=2, guidance=3.0))[-1].latents_next
    # float32 rounding of softmax and matmul, grown over two steps with guidance
    torch.testing.assert_close(recorded, plain, atol=1e-3, rtol=1e-3)
    with pytest.raises(RuntimeError, match="stop"), record_attention(pipe):
        raise RuntimeError("stop")
    assert pipe.unet.attn_processors == before
    assert not pipe.unet._forward_hooks and not pipe.unet._forward_pre_hooks
    assert len(maps) == 2 and len(maps.layers) == len(text_layers(pipe.unet))


def test_a_painter_in_another_thread_waits_and_is_not_recorded(pipe):
    alone, _ = run(pipe)
    began, result, failures = threading.Event(), [], []

    def paint_beside():
        for step in paint_steps(pipe, "a young woman in a hat", steps=6, seed=3):
            began.set()
            result.append(step.latents_next)

    def call_unet():
        try:
            pipe.unet(torch.randn(1, 64, 16, 16), 10, torch.randn(1, 77, 128))
        except RuntimeError as error:
            failures.append(str(error))

    other = threading.Thread(target=paint_beside)
    other.start()
    assert began.wait(60)  # seconds until a thread that never began counts as a failure
    with record_attention(pipe) as maps:
        at_first = len(result)
        list(paint_steps(pipe, PROMPT, steps=2))
        raw = threading.Thread(target=call_unet)
        raw.start()
        raw.join()
        # A step whose U-Net call was over may still be handed out; the next call waits
        assert at_first <= len(result) <= at_first + 1
    other.join()
    assert len(maps) == 2 and len(result) == 6
    torch.testing.assert_close(maps.probabilities[1], alone.probabilities[1])
    plain = list(paint_steps(pipe, "a young woman in a hat", steps=6, seed=3))
    torch.testing.assert_close(result[-1], plain[-1].latents_next)
    assert len(failures) == 1 and "being recorded by another thread" in failures[0]


def test_shares_add_up_to_one_and_a_phrase_is_the_sum_of_its_words(pipe):
    maps, _ = run(pipe)
    for call in maps.probabilities:
        assert call.shape == (1, 77, 16, 16)
        # weights of an interpolation add up to 1, up to float32 rounding
        torch.testing.assert_close(call.sum(dim=1), torch.ones(1, 16, 16), atol=1e-5, rtol=0)
    both = maps.for_word(pipe, PROMPT, "round glasses")
    parts = [maps.for_word(pipe, PROMPT, word) for word in ("round", "glasses")]
    torch.testing.assert_close(both, sum(parts))
    assert both.shape == (2, 16, 16) and both.min() >= 0 and both.max() <= 1


def test_only_the_pass_with_the_prompt_is_kept(pipe):
    guided, _ = run(pipe, steps=1, guidance=4.0, negative_prompt="a young woman")
    alone, _ = run(pipe, steps=1, guidance=1.0)
    # The same noise and prompt, in batches of 2 and of 1: float32 rounding
    torch.testing.assert_close(guided.probabilities[0], alone.probabilities[0], atol=1e-5, rtol=0)
    # Two prompts from one seed have equal halves at first, and yet there is no guidance
    pair, _ = run(pipe, ["a child", PROMPT], guidance=1.0)
    assert [len(call) for call in pair.probabilities] == [2, 2]
    torch.testing.assert_close(
        pair.for_word(pipe, PROMPT, "glasses", picture=1)[0],
        alone.for_word(pipe, PROMPT, "glasses")[0],
        atol=1e-5,
        rtol=0,
    )


def test_words_are_found_behind_weights_twice_and_in_long_prompts(pipe):
    ids = pipe.tokenizer(PROMPT).input_ids
    at = token_positions(pipe.tokenizer, PROMPT, "glasses")
    whole = pipe.tokenizer.convert_ids_to_tokens([ids[k] for k in at])
    assert "".join(whole) == "glasses</w>"
    weighted = "a (smiling:1.4) old man with round glasses"
    assert token_positions(pipe.tokenizer, weighted, "glasses") == at
    twice = token_positions(pipe.tokenizer, "glasses, round glasses", "glasses")
    assert len(twice) == 2 * len(at)
    long = ", ".join(["a smiling old man"] * 16) + ", a crown"
    late = token_positions(pipe.tokenizer, long, "crown")
    assert min(late) > 77  # in the second chunk, behind its own first token
    with pytest.raises(ValueError, match="does not contain the word 'hat'"):
        token_positions(pipe.tokenizer, PROMPT, "hat")


def test_four_levels_and_odd_sizes_as_in_stable_diffusion():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    blocks = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=blocks,
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()
    with torch.no_grad(), record_attention(SimpleNamespace(unet=unet)) as maps:
        unet(torch.randn(2, 4, 80, 56), 10, torch.randn(2, 77, 12))
    assert maps.probabilities[0].shape == (2, 77, 64, 45)  # the longer edge becomes 64
    assert set(maps.layers.values()) == {(80, 56), (40, 28), (20, 14), (10, 7)}


def test_what_cannot_be_recorded_is_refused(pipe):
    with pytest.raises(TypeError, match="U-Net"), record_attention(SimpleNamespace()):
        pass
    with record_attention(pipe) as maps:
        pass
    with pytest.raises(ValueError, match="inside the"):
        maps.for_word(pipe, PROMPT, "man")
    maps, _ = run(pipe, steps=1)
    with pytest.raises(ValueError, match="0..0"):
        maps.for_word(pipe, PROMPT, "man", picture=1)
