"""Safety: diffusers' decision rule, erasure against least squares, and models left as they were."""

from __future__ import annotations

import copy

import pytest
import torch
from mini_models import smoke_pipeline

from course_lib import safety
from course_lib.device import make_generator
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.config import SMOKE


def random(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed))


@pytest.fixture(scope="module")
def pipe(tokenizer):
    return smoke_pipeline(tokenizer)


def test_flags_and_scores_are_those_of_diffusers():
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 16, "patch_size": 8}  # fmt: skip
    torch.manual_seed(0)
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8))
    checker.concept_embeds.data, checker.special_care_embeds.data = random(17, 8), random(3, 8)
    images = 3 * random(64, 3, 16, 16, seed=1)
    with torch.no_grad():
        embeds = checker.visual_projection(checker.vision_model(images)[1])
    cosines, special = (
        torch.nn.functional.cosine_similarity(embeds[:, None], x[None], dim=2)
        for x in (checker.concept_embeds.data, checker.special_care_embeds.data)
    )
    # Thresholds just above most cosines, so that the adjustment decides some cases
    checker.concept_embeds_weights.data = cosines.quantile(0.9, dim=0) + 0.003
    checker.special_care_embeds_weights.data = special.quantile(0.8, dim=0)
    _, theirs = checker(images, images.clone())
    arguments = embeds, checker.concept_embeds, checker.concept_embeds_weights
    flags, scores = safety.check_concepts(
        *arguments, special_embeds=checker.special_care_embeds,
        special_thresholds=checker.special_care_embeds_weights,
    )  # fmt: skip
    assert flags.tolist() == theirs and 5 < sum(theirs) < 60
    without, _ = safety.check_concepts(*arguments)
    assert (flags != without).any()  # the special-care rule mattered
    assert ((scores > 0).any(dim=1) == flags).all() and scores.shape == (64, 17)


def test_a_threshold_keeps_its_rate_of_false_alarms():
    cosines = random(200).div(5).clamp(-1, 1)
    for rate in (0.0, 0.05, 0.5):
        threshold = safety.threshold_at(cosines, rate)
        assert (cosines > threshold).sum() == round(rate * 200)
        below = cosines[cosines < threshold].max()  # any lower one would flag more
        assert (cosines > below).sum() > rate * 200


def test_the_edit_solves_the_least_squares_problem():
    weight, concepts, neutral, preserved = (random(n, 12, seed=n).double() for n in (7, 4, 5, 20))
    neutral = neutral[:4]
    new = safety.edited_weight(weight, concepts, neutral @ weight.T, preserved, ridge=0.2)
    w = new.clone().requires_grad_()
    loss = (concepts @ w.T - neutral @ weight.T).square().sum()
    loss = loss + (preserved @ (w - weight).T).square().sum() + 0.2 * (w - weight).square().sum()
    (gradient,) = torch.autograd.grad(loss, w)
    assert gradient.abs().max() < 1e-9 and (new - weight).abs().max() > 0.1
    root = 0.2**0.5 * torch.eye(12).double()
    left, right = (torch.cat([x, preserved, root]) for x in (concepts, neutral))
    solution = torch.linalg.lstsq(left, right @ weight.T).solution.T
    torch.testing.assert_close(new, solution)
    matrix = safety.erasure_map(concepts, neutral, preserved, ridge=0.2)
    torch.testing.assert_close(weight @ matrix, new)  # one matrix for all layers


def test_an_edited_model_maps_the_word_to_the_neutral_one_and_is_restored(pipe):
    word, neutral = (safety.last_word_states(pipe, [w]) for w in ("sunglasses", ""))
    kept = safety.last_word_states(pipe, ["glasses", "crown"])
    before = copy.deepcopy(pipe.unet.state_dict())
    with safety.concept_edit(pipe, word, neutral, kept, ridge=1e-6) as names:
        assert len(names) == 2 * sum(n.endswith("attn2.to_k") for n, _ in named(pipe.unet)) > 0
        for name in names:
            new, old = pipe.unet.state_dict()[f"{name}.weight"], before[f"{name}.weight"]
            torch.testing.assert_close(word @ new.T, neutral @ old.T, atol=1e-3, rtol=0)
            torch.testing.assert_close(kept @ new.T, kept @ old.T, atol=1e-3, rtol=0)
        changed = {n for n, p in pipe.unet.state_dict().items() if not p.equal(before[n])}
        assert changed == {f"{n}.weight" for n in names}
    assert all(p.equal(before[n]) for n, p in pipe.unet.state_dict().items())
    with pytest.raises(RuntimeError, match="stop"), safety.concept_edit(pipe, word, neutral, kept):
        raise RuntimeError("stop")
    assert all(p.equal(before[n]) for n, p in pipe.unet.state_dict().items())


def named(network):
    return list(network.named_modules())


def test_the_pooled_prompt_is_edited_on_what_its_matrices_read(pipe):
    texts = ["a man with sunglasses", "a man with glasses", "a woman"]
    states = [safety.token_states(pipe, [text]) for text in texts]
    layer, seen = pipe.unet.add_embedding.pool.k_proj, []
    old = layer.weight.detach().clone()
    hook = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][0]))
    with torch.no_grad():
        for one in states:
            pipe.unet.add_embedding(one)
    hook.remove()
    expected = safety.edited_weight(old, seen[0], seen[1] @ old.T, seen[2], ridge=0.1)
    with safety.concept_edit(pipe, *states, ridge=0.1, pooled=True) as names:
        assert sum("add_embedding" in name for name in names) == 3
        torch.testing.assert_close(layer.weight.detach(), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="whole prompts"):
        with safety.concept_edit(pipe, *(x[0] for x in states), pooled=True):
            pass


def test_the_last_word_is_the_token_before_the_end(pipe):
    states = safety.token_states(pipe, ["glasses", ""])
    length = len(pipe.tokenizer.tokenize("glasses"))
    last = safety.last_word_states(pipe, ["glasses", ""])
    assert last.equal(torch.stack([states[0, length], states[1, 0]]))


def test_learning_a_token_changes_nothing_but_the_token(pipe):
    before = copy.deepcopy([pipe.text_encoder.state_dict(), pipe.unet.state_dict()])
    images, tokenizer = random(2, 3, 128, 128).clamp(-1, 1), pipe.tokenizer
    options = {"start_word": "glasses", "steps": 2, "batch_size": 1}
    runs = []
    for _ in range(2):
        with safety.recovered_token(pipe, images, ["a man with <s>"] * 2, **options) as losses:
            learned = safety.token_states(pipe, ["a man with <s>"])
        runs.append((losses, learned))
    assert runs[0][0] == runs[1][0] and len(losses) == 2 and runs[0][1].equal(runs[1][1])
    assert pipe.tokenizer is tokenizer
    if len(tokenizer.tokenize("glasses")) == 1:  # else the states stand in other places
        start = safety.token_states(pipe, ["a man with glasses"])
        assert not torch.allclose(learned, start, atol=1e-3)
        assert torch.allclose(learned[:, :4], start[:, :4])  # what stands before it is the same
    for old, network in zip(before, (pipe.text_encoder, pipe.unet), strict=True):
        assert all(p.equal(old[n]) for n, p in network.state_dict().items())


def test_bad_input_gets_one_sentence(pipe, tmp_path):
    classifier = AttributeClassifier(SMOKE)
    (tmp_path / "vocabulary.json").write_text('{"words": ["crown", "person"], "values": {}}')
    pipe.register_to_config(_name_or_path=str(tmp_path))
    pipe.config["_name_or_path"] = str(tmp_path)
    embeds = random(2, 8)
    for call, message in (
        (lambda: safety.check_concepts(embeds, embeds, [0.3, 1.5]), "from -1 to 1, not 1.5"),
        (lambda: safety.check_concepts(embeds, embeds, [0.3]), "1 numbers for 2 concepts"),
        (lambda: safety.threshold_at(random(19), 0.05), "at least 20 calibration pictures"),
        (lambda: safety.threshold_at(random(19), 2), "from 0 to 1, not 2"),
        (lambda: safety.with_neutral_word(pipe, ["a man"], "crown", "crown"), "must hold"),
        (lambda: safety.with_neutral_word(pipe, ["a crown"], "crown", "xyzqv jkw"), "as many tok"),
        (lambda: safety.edited_weight(embeds, embeds, embeds, embeds, ridge=0), "ridge must be"),
        (lambda: safety.edited_weight(embeds, embeds, embeds, embeds), "not concepts"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match="never held the word 'monocle'"):
        safety.concept_embeddings(classifier, pipe, ["a person with a monocle"])
    with (
        pytest.raises(ValueError, match="at least one picture"),
        safety.recovered_token(pipe, random(0, 3, 8, 8), [], start_word="glasses"),
    ):
        pass
