"""The mini Stable Diffusion: its training from end to end, and what each part of it learns."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mini_models import CAPTIONS, load, paint, smoke_parts, stub

from course_lib.mini import export, train
from course_lib.mini.config import FULL, MAX_TOKENS, SMOKE
from course_lib.mini.critic import SEEN_CHANNELS, Critic, Discriminator
from course_lib.mini.data import (
    TRAINING_SEED,
    UNSEEN,
    labels_of,
    load_portraits,
    mini_series,
    said_in,
    shifted,
    signed,
)
from course_lib.mini.denoising import Texts, spread_timesteps, unet_stage
from course_lib.mini.emphasis import PERSON, emphasis, explained_variance
from course_lib.mini.judge import Judge, words_heads
from course_lib.mini.parts import (
    BETA_END,
    BETA_START,
    build_scheduler,
    build_unet,
    build_vae,
    noise_schedule,
)
from course_lib.mini.places import mark_places
from course_lib.mini.principal import LARGEST, SMALLEST, quiet_blocks, start_from_components
from course_lib.mini.recipe import (
    RECIPES,
    critic_stage,
    judge_stage,
    token_ids,
    words_stage,
)
from course_lib.mini.retelling import retell
from course_lib.mini.stages import run_stage
from course_lib.mini.tasks import (
    ADVERSARIAL_WEIGHT,
    CRITIC_NOISE,
    CRITIC_WEIGHT,
    JudgeTask,
    UnetTask,
    WordsTask,
    adversarial_loss,
)
from course_lib.mini.wording import vary
from course_lib.portraits import Attributes, PortraitDataset, full_caption, parse_caption
from course_lib.portraits.attributes import VOCABULARY
from course_lib.process import velocity
from course_lib.weights import load_tensors


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a run of every stage, a few steps each."""
    folder = tmp_path_factory.mktemp("run")
    assert train.main(["--smoke", "--folder", str(folder)]) == 0
    return folder


# --- training, end to end


def test_training_makes_a_folder_that_stock_diffusers_loads_and_paints_with(trained):
    pipe = load(trained / "model")
    assert type(pipe).__module__.startswith("diffusers.")
    for name, part in pipe.components.items():
        library = type(part).__module__.split(".")[0]
        assert part is None or library in ("diffusers", "transformers"), name
    assert not any(pipe.components[name] for name in ("safety_checker", "feature_extractor"))
    first = paint(pipe, "a smiling woman with red hair, watercolor")
    assert first.shape == (128, 128, 3)
    assert np.isfinite(first).all()
    assert np.array_equal(first, paint(pipe, "a smiling woman with red hair, watercolor"))
    assert not np.array_equal(first, paint(pipe, "a smiling woman with red hair, watercolor", 1))


def test_the_model_holds_what_was_trained(trained):
    """In half precision: each weight is the finished one rounded, and no part is a stray start."""
    pipe = load(trained / "model")
    for name in ("vae", "unet", "text_encoder"):
        part = getattr(pipe, name)
        finished = export.load_tensors(trained / "finished" / f"{name}.safetensors")[0]
        assert part.dtype == torch.float32, "so that CPUs compute in single precision"
        for key, tensor in part.state_dict().items():
            assert torch.equal(tensor, finished[key].half().float()), f"{name}: {key}"
    stored = Judge.load(trained / "model/judge/judge.safetensors", SMOKE)
    finished = export.load_tensors(trained / "finished/judge.safetensors")[0]
    assert torch.equal(stored.squeeze.weight, finished["squeeze.weight"].half().float())


def test_the_largest_channel_of_the_latent_is_scaled_to_what_the_noise_can_hide(trained):
    pipe = load(trained / "model")
    x = signed(load_portraits(48, seed=TRAINING_SEED).pixels).contiguous()
    with torch.no_grad():
        latents = pipe.vae.encode(x).latents * pipe.vae.config.scaling_factor
    # The factor was measured on these pictures before weights were rounded to 11 bits
    largest = latents.std(dim=(0, 2, 3)).max().item()
    assert largest == pytest.approx(export.LEADING, rel=0.02)
    # At the end of the noise it is no larger than the mean of 16 x 16 cells of noise is by chance
    assert noise_schedule().alphas_cumprod[-1].sqrt().item() * largest < 1 / 16


def test_loading_says_nothing_about_unknown_settings(trained, caplog):
    load(trained / "model")
    # diffusers expects AutoencoderKL by name and mentions it; anything else would be our mistake
    remarks = [r.message for r in caplog.records if "Expected types for vae" not in r.message]
    assert not remarks


def test_the_text_encoder_names_its_weights_as_old_transformers_expect(trained):
    from safetensors import safe_open

    with safe_open(trained / "model/text_encoder/model.safetensors", framework="pt") as file:
        assert all(name.startswith("text_model.") for name in file.keys())  # noqa: SIM118
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_a_killed_stage_resumes_to_identical_weights(tokenizer, tmp_path):
    """The U-Net's stage, stopped after step 3 with a checkpoint of step 2."""
    parts = smoke_parts(tokenizer)
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(24, SMOKE.latent_channels, 16, 16, generator=generator)
    ids = token_ids(tokenizer, CAPTIONS[:48]).reshape(24, 2, MAX_TOKENS)
    empty = token_ids(tokenizer, [""])[0]
    labels = {name: torch.arange(24) % len(values) for name, values in VOCABULARY.items()}
    critic = Critic(SMOKE).requires_grad_(False)

    def stage(seed: int):
        torch.manual_seed(seed)
        unet = build_unet(SMOKE)
        encoder = parts["text_encoder"].eval().requires_grad_(False)
        task = UnetTask(unet, noise_schedule(), torch.ones(latents.shape[1:]), critic)
        return unet_stage(RECIPES["smoke"], task, latents, labels, Texts(ids, encoder, empty))

    def last(stage, folder):
        *_, step = run_stage(stage, folder, save_every=2)
        return step.average.unet.state_dict()

    assert RECIPES["smoke"].unet_steps >= 4
    whole = last(stage(1), tmp_path / "whole")
    for step in run_stage(stage(1), tmp_path / "cut", save_every=2):
        if step.step == 3:
            break
    resumed = last(stage(99), tmp_path / "cut")  # other random weights: only the checkpoint counts
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_a_stage_trains_what_an_earlier_one_froze(trained, tmp_path):
    start = ["--smoke", "--start-from", str(trained / "model"), "--folder", str(tmp_path)]
    assert train.main([*start, "--stages", "unet", "words"]) == 0
    before = load(trained / "model").text_encoder.state_dict()
    after = load(tmp_path / "model").text_encoder.state_dict()
    assert any(not torch.equal(tensor, after[key]) for key, tensor in before.items())


def test_another_seed_shows_other_batches_and_captions(trained, tmp_path):
    """Else a model that is trained further would meet the same noise on the same pictures again."""
    start = ["--smoke", "--start-from", str(trained / "model"), "--stages", "unet"]

    def run(folder, seed):
        given = [*start, "--folder", str(tmp_path / folder), "--seed", str(seed)]
        assert train.main(given) == 0
        captions = train.Trainer(RECIPES["smoke"], train._parser().parse_args(given)).wordings.ids
        return load(tmp_path / folder / "model").unet.conv_in.weight, captions

    first, same, other = run("first", 0), run("same", 0), run("other", 1)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_exports_on_the_way_do_not_disturb_the_training(trained, tmp_path):
    start = ["--smoke", "--start-from", str(trained / "model"), "--stages", "unet"]
    weights = []
    for folder, more in (("silent", []), ("exporting", ["--export-every", "1"])):
        assert train.main([*start, "--folder", str(tmp_path / folder), *more]) == 0
        weights.append(load(tmp_path / folder / "model").unet.state_dict())
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())


def test_the_rollout_stage_stops_halfway_and_ends_there_again(trained, tmp_path):
    """Asked for a second time it finds its checkpoint, and where it began."""
    shutil.copytree(trained, tmp_path / "run")
    before = load_tensors(tmp_path / "run/finished/unet_before_rollout.safetensors")[0]
    ended = load_tensors(tmp_path / "run/finished/unet.safetensors")[0]
    checkpoint = load_tensors(tmp_path / "run/rollout.safetensors")[0]
    key = "conv_in.weight"
    moved, way = ended[key] - before[key], checkpoint[f"ema.unet.{key}"] - before[key]
    assert (moved.norm() / way.norm()).item() == pytest.approx(0.5, abs=0.05)  # of some millionths

    folder = ["--folder", str(tmp_path / "run"), "--stages", "rollout"]
    assert train.main(["--smoke", *folder]) == 0
    again = load_tensors(tmp_path / "run/finished/unet.safetensors")[0]
    assert all(torch.equal(tensor, again[name]) for name, tensor in ended.items())


def test_a_model_of_other_sizes_is_a_start(trained):
    """What fits is taken over to the last bit; the names of the rest are told."""
    torch.manual_seed(3)
    wider = replace(SMOKE, latent_channels=SMOKE.latent_channels + 4)
    tokenizer = export.load_tokenizer(trained / "model")
    parts = smoke_parts(tokenizer) | {"vae": build_vae(wider), "unet": build_unet(wider)}
    before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    fresh = export.load_model(trained / "model", parts, SMOKE)
    assert set(fresh) == {
        "vae.encoder.layers.5.weight", "vae.encoder.layers.5.bias", "vae.decoder.layers.0.weight",
        "unet.conv_in.weight", "unet.conv_out.weight", "unet.conv_out.bias",
    }  # fmt: skip
    given = load(trained / "model").unet.state_dict()
    for key, tensor in parts["unet"].state_dict().items():
        expected = before["unet"][key] if f"unet.{key}" in fresh else given[key]
        assert torch.equal(tensor, expected), key


def test_the_encoder_computes_principal_components():
    """Patches of 8 x 8, by numpy: coordinates without correlation, the largest variances first."""
    x = PortraitDataset(24, size=128, seed=5).images()
    pixels = ((x + 1) * 127.5).round().to(torch.uint8)
    vae = build_vae(FULL)
    start_from_components(vae, pixels)
    with torch.no_grad():
        z = vae.encode(signed(pixels)).latents
    patches = (pixels.double() / 255).unfold(2, 8, 8).unfold(3, 8, 8)  # (N, 3, 16, 16, 8, 8)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 192).numpy()
    variances = np.linalg.svd(patches - patches.mean(axis=0), compute_uv=False) ** 2
    variances = variances[: FULL.latent_channels] / (len(patches) - 1)
    covariance = torch.cov(z.double().permute(1, 0, 2, 3).flatten(1)).numpy()
    # One scale for all that stay above the smallest deviation, and that for the others
    wanted = np.maximum(LARGEST**2 * variances / variances[0], SMALLEST**2)
    assert 4 < (wanted > SMALLEST**2).sum() < 40, "both kinds are there"
    np.testing.assert_allclose(np.diag(covariance), wanted, rtol=1e-3)
    rest = covariance - np.diag(np.diag(covariance))
    assert np.abs(rest).max() < 1e-4 * covariance.max()
    assert np.abs(z.mean(dim=(0, 2, 3)).numpy()).max() < 1e-4


def test_the_decoder_tells_even_from_odd_places_at_every_size():
    """Whatever the latents are, two channels say which columns and rows of a picture are even."""
    torch.manual_seed(0)
    decoder = build_vae(FULL).decoder
    quiet_blocks(decoder)
    mark_places(decoder)
    x, sizes = torch.tanh(torch.randn(2, FULL.latent_channels, 16, 16)) * 3, []
    with torch.no_grad():
        for layer in decoder.layers:
            x = layer(x)
            if type(layer).__name__ == "AutoencoderTinyBlock":
                sizes.append(size := x.shape[-1])
                even = (torch.arange(size) % 2 == 0).float()
                whole = sizes.count(size) == (3 if size == 16 else 1)  # the march in is over
                if whole:
                    torch.testing.assert_close(x[:, -2], even.expand(2, size, size))
                    torch.testing.assert_close(x[:, -1], even[:, None].expand(2, size, size))
    assert sizes == [16] * 3 + [32] * 3 + [64] * 3
    for blocks in ((2, 1, 1, 0), (3, 1, 0, 0)):
        with pytest.raises(ValueError, match="3, 1 and 1"):
            mark_places(build_vae(replace(FULL, vae_decoder_blocks=blocks)).decoder)


def test_shifted_pictures_move_as_a_whole_and_repeat_their_edges():
    """A ramp tells where each pixel comes from; edges stand still at 0 and 15."""
    ramp = torch.arange(16, dtype=torch.uint8)
    plane = ramp.expand(16, 16)
    pixels = torch.stack([plane, plane.T, plane]).expand(64, 3, 16, 16)
    moved = ((shifted(pixels, 3, torch.Generator().manual_seed(0)) + 1) * 127.5).round().long()
    across, down = moved[:, 0, 0, 8] - 8, moved[:, 1, 8, 0] - 8
    assert set(across.tolist()) == set(down.tolist()) == set(range(-3, 4))
    columns = (ramp.long() + across[:, None]).clamp(0, 15)
    rows = (ramp.long() + down[:, None]).clamp(0, 15)
    assert torch.equal(moved[:, 0], columns[:, None, :].expand(64, 16, 16))
    assert torch.equal(moved[:, 1], rows[:, :, None].expand(64, 16, 16))


def test_the_judge_s_stage_leaves_the_text_encoder_alone(trained, tokenizer, tmp_path):
    parts = smoke_parts(tokenizer)
    before = parts["judge"].squeeze.weight.clone()
    data = load_portraits(48, seed=TRAINING_SEED)
    pooled = torch.randn(48, 2, SMOKE.text_width, generator=torch.Generator().manual_seed(0))
    stage = judge_stage(RECIPES["smoke"], JudgeTask(parts["judge"]), data, pooled)
    *_, step = run_stage(stage, tmp_path)
    assert not torch.equal(step.average.judge.squeeze.weight, before)
    assert {name.split(".")[0] for name, _ in step.average.named_parameters()} == {"judge"}


def test_the_words_stage_leaves_the_judge_alone(tokenizer, tmp_path):
    parts = smoke_parts(tokenizer)
    judge, summary = parts["judge"].requires_grad_(False), parts["unet"].add_embedding
    before = {name: copy.deepcopy(parts[name].state_dict()) for name in ("judge", "text_encoder")}
    heads = words_heads(SMOKE.text_width), words_heads(4 * SMOKE.unet_channels[0])
    task = WordsTask(parts["text_encoder"], summary, *heads, judge.similarity)
    ids = token_ids(tokenizer, CAPTIONS[:48]).reshape(24, 2, MAX_TOKENS)
    features = judge.all_features(load_portraits(48, seed=TRAINING_SEED).pixels[:24])
    said = {name: numbers.reshape(24, 2) for name, numbers in said_in(CAPTIONS[:48]).items()}
    *_, step = run_stage(words_stage(RECIPES["smoke"], task, ids, features, said), tmp_path)
    assert all(torch.equal(v, before["judge"][k]) for k, v in judge.state_dict().items())
    changed = step.average.text_encoder.state_dict()
    assert any(not torch.equal(v, changed[k]) for k, v in before["text_encoder"].items())
    assert {name.split(".")[0] for name, _ in step.average.named_parameters()} == {
        "text_encoder", "summary", "heads", "summary_heads"
    }  # fmt: skip


def test_the_words_task_asks_pooled_text_and_summary_for_what_was_said():
    """Worked out by hand: two captions, of which each head names the right value with odds 3 : 1.

    Pictures and captions match with odds 3 : 1 as well, so every part of the loss is log(4/3).
    """
    odds = np.log(3.0)
    pooled = torch.eye(2)

    def encoder(ids):
        return SimpleNamespace(pooler_output=pooled, last_hidden_state=pooled)

    summary = stub(lambda states: 7 + 5 * states)  # `standardised` takes 7 and 5 away
    of_pooled = torch.nn.ModuleDict({"gender": torch.nn.Linear(2, 2, bias=False)})
    of_summary = torch.nn.ModuleDict({"gender": torch.nn.Linear(2, 2, bias=False)})
    of_pooled["gender"].weight.data = odds * torch.eye(2)
    of_summary["gender"].weight.data = odds / 2 * torch.eye(2)  # standardised rows are 1 and -1
    task = WordsTask(
        stub(encoder), summary, of_pooled, of_summary, lambda features, text: odds * features
    )
    loss = task(torch.zeros(2, 77), torch.eye(2), {"gender": torch.tensor([0, 1])})
    assert loss.item() == pytest.approx((1 + 10 + 10) * np.log(4 / 3), rel=1e-4)


def test_timesteps_of_a_batch_leave_no_gap():
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([spread_timesteps(20, 1000, generator) for _ in range(400)])
    assert torch.equal(draws.sort(dim=1).values // 50, torch.arange(20).expand(400, 20))
    # The place in the batch says nothing: each mean within four standard errors of 499.5; whole
    # numbers below 1000 have a standard deviation of 289
    assert (draws.double().mean(dim=0) - 499.5).abs().max() < 4 * 289 / 400**0.5


def test_the_unet_hears_the_prompt_at_every_level(tokenizer):
    """The summary of the prompt reaches the level that no cross-attention stands at."""
    unet = smoke_parts(tokenizer)["unet"].eval()
    for module in unet.modules():
        if type(module).__name__ == "Attention":
            module.to_out[0].weight.data.zero_()
    x_t, t = torch.randn(1, 24, 16, 16, generator=torch.Generator().manual_seed(0)), 500
    one, other = torch.randn(2, 1, 77, 16, generator=torch.Generator().manual_seed(1))
    seen = []
    unet.down_blocks[0].register_forward_hook(lambda *call: seen.append(call[-1][0]))
    with torch.no_grad():
        for text in (one, other):
            unet(x_t, t, text)
    assert not torch.allclose(seen[0], seen[1], atol=1e-4)


# --- captions and labels


@pytest.mark.parametrize("reword", [vary, retell])
def test_captions_in_other_words_mean_the_same(reword):
    rng = np.random.default_rng(0)
    varied = [reword(text, rng) for text in CAPTIONS]
    for before, after in zip(CAPTIONS, varied, strict=True):
        assert parse_caption(after) == parse_caption(before), (before, after)
    changed = sum(a != b for a, b in zip(CAPTIONS, varied, strict=True))
    assert changed > 0.7 * len(CAPTIONS), "most captions have another wording, or it teaches little"


def test_retold_captions_are_sentences_not_templates():
    rng = np.random.default_rng(0)
    series = mini_series(200, seed=5)
    captions = [full_caption(series.attributes(i)) for i in range(len(series))]
    told = [retell(text, rng) for text in captions]
    kept = sum(a == b for a, b in zip(captions, told, strict=True))
    assert kept < 40, "most full captions find another form that means the same"
    # What a template says in one place only comes in many: "her hair is red", "red curls", ...
    assert sum(" hair is " in text for text in told) > 20
    assert sum(" with " not in text for text in told) > 150


def test_labels_leave_out_what_the_picture_hides_and_the_caption_does_not_say():
    scarf = Attributes(headwear="headscarf", hair_color="red")
    ink = Attributes(style="ink drawing", expression="sad")
    labels = labels_of([scarf, ink])
    assert labels["hair_color"].tolist() == [UNSEEN, UNSEEN]
    assert labels["hair_style"].tolist() == [UNSEEN, VOCABULARY["hair_style"].index("long")]
    assert labels["expression"].tolist() == [
        VOCABULARY["expression"].index("neutral"),
        VOCABULARY["expression"].index("sad"),
    ]
    said = said_in(["a sad man", "a portrait"])
    assert said["gender"].tolist() == [VOCABULARY["gender"].index("man"), 2]
    assert said["style"].tolist() == [len(VOCABULARY["style"])] * 2


# --- what the U-Net learns


def test_the_unet_learns_v_with_min_snr_weights():
    """A stub predicts 0, so the loss is the weighted mean of v squared, worked out in numpy."""
    betas = np.linspace(BETA_START**0.5, BETA_END**0.5, 1000) ** 2
    abar = np.cumprod(1 - betas)
    t = torch.tensor([0, 120, 500, 999])
    generator = torch.Generator().manual_seed(0)
    x_0, noise = (torch.randn(4, 8, 16, 16, generator=generator) for _ in range(2))
    where = 2 * torch.rand(8, 16, 16, generator=generator)
    seen = {}

    def unet(x_t, t, text):
        seen.update(x_t=x_t, t=t, text=text)
        return SimpleNamespace(sample=torch.zeros_like(x_t))

    schedule = noise_schedule()
    task = UnetTask(stub(unet), schedule, where)
    text = torch.ones(4, 77, 16)
    loss = task(x_0, t, noise, text, {}).item()
    signal, spread = (
        np.sqrt(abar[t])[:, None, None, None],
        np.sqrt(1 - abar[t])[:, None, None, None],
    )
    x_0, noise = x_0.numpy(), noise.numpy()
    np.testing.assert_allclose(seen["x_t"], signal * x_0 + spread * noise, atol=1e-5)
    assert torch.equal(seen["t"], t)
    assert seen["text"] is text
    v = signal * noise - spread * x_0
    snr = abar[t] / (1 - abar[t])
    # Seen as a weight of the error of x_0, (snr + 1) times this: 1 at pure noise, 6 at most
    weight = (np.minimum(snr, 5) + 1) / (snr + 1)
    expected = ((v**2 * where.numpy()).mean(axis=(1, 2, 3)) * weight).mean()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_critic_reads_what_the_unet_believes():
    """A U-Net that is right shows it the portrait, so its scores are all that the loss consists of.

    This critic scores "sad" by a latent's mean and nothing else, and half of the latents are
    bright, so a look at x_t, at v or at the noise would give other scores.
    """
    x_0, noise = portraits_and_noise(64)
    t = torch.full((64,), 900)
    schedule = noise_schedule()
    given = {}

    def critic(latents):
        given["latents"] = latents
        means = latents.mean(dim=(1, 2, 3))
        scores = torch.stack([torch.zeros_like(means), means], dim=1)
        return {"expression": scores, "style": 10 * scores}  # which must not count

    v = velocity(x_0, noise, t, schedule).requires_grad_()
    unet = stub(lambda *_: SimpleNamespace(sample=v))
    task = UnetTask(unet, schedule, torch.ones(8, 16, 16), stub(critic))
    seen = {"expression": torch.arange(64) % 2, "style": torch.zeros(64, dtype=torch.long)}
    loss = task(x_0, t, noise, torch.ones(64, 77, 16), seen)
    check_lightly_noised(given["latents"].detach(), schedule)
    means = given["latents"].detach().double().mean(dim=(1, 2, 3)).numpy()
    wrong = np.where(np.arange(64) % 2 == 1, -means, means)
    entropy = np.log1p(np.exp(wrong)).mean()
    # As one of nine attributes, which is the only one named here, and three ninths as expression
    assert loss.item() == pytest.approx(CRITIC_WEIGHT * entropy * (1 + 3 / 9), rel=1e-4)
    loss.backward()
    # Brighter is sadder, and v points from the portrait to the noise: so down, where it is sad
    assert (v.grad[1::2].mean(dim=(1, 2, 3)) > 0).all()
    assert (v.grad[0::2].mean(dim=(1, 2, 3)) < 0).all()


def test_a_critic_learns_to_name_and_is_not_moved_by_the_unets_training(tokenizer, tmp_path):
    """One of two genders has sixteen bright cells, and nothing else is to be seen."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(200, SMOKE.latent_channels, 16, 16, generator=generator)
    lit = torch.randint(2, (200,), generator=generator)
    latents[lit == 1, :, 4:8, 4:8] += 2
    labels = {name: torch.full((200,), UNSEEN) for name in VOCABULARY} | {"gender": lit}
    recipe = replace(RECIPES["smoke"], critic_steps=40, clip_batch=32, clip_lr=5e-3, unet_steps=2)
    torch.manual_seed(0)
    *_, step = run_stage(critic_stage(recipe, Critic(SMOKE), latents, labels), tmp_path)
    critic = step.average.critic.eval().requires_grad_(False)
    named = critic(latents)["gender"].argmax(dim=1)
    assert (named == lit).float().mean() > 0.95

    before = copy.deepcopy(critic.state_dict())
    ids = token_ids(tokenizer, CAPTIONS[:1]).expand(200, 1, MAX_TOKENS)
    encoder = smoke_parts(tokenizer)["text_encoder"].eval().requires_grad_(False)
    task = UnetTask(build_unet(SMOKE), noise_schedule(), torch.ones(latents.shape[1:]), critic)
    stage = unet_stage(recipe, task, latents, labels, Texts(ids, encoder, ids[0, 0]))
    task.requires_grad_(True)  # as the trainer does
    for _ in run_stage(stage, tmp_path):
        pass
    assert all(torch.equal(tensor, before[key]) for key, tensor in critic.state_dict().items())


def test_grain_does_not_reach_the_helpers():
    """Neither is moved by the small components, so the U-Net cannot please them through those."""
    sizes = replace(SMOKE, latent_channels=SEEN_CHANNELS + 8)
    torch.manual_seed(0)
    latents = torch.randn(2, sizes.latent_channels, 16, 16, requires_grad=True)
    seen = labels_of([Attributes(), Attributes(gender="man")])
    for scores in (Critic(sizes)(latents)["expression"], Discriminator(sizes)(latents, seen)):
        (given,) = torch.autograd.grad(scores.square().sum(), latents)
        reached = given.abs().amax(dim=(0, 2, 3))
        assert (reached[:SEEN_CHANNELS] > 0).all()
        assert (reached[SEEN_CHANNELS:] == 0).all()


class Gauge(torch.nn.Module):
    """Calls a latent painted in proportion to its mean, whatever it shows."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, latents, seen):
        return self.gain * latents.mean(dim=(1, 2, 3))[:, None]


def test_the_discriminator_and_the_unet_each_get_their_own_gradient():
    """Worked out by hand: 2 x (0.25, 3) for the painted ones, 2 x (-1, 1) for the believed."""
    gauge = Gauge()
    painted = torch.tensor([0.25, 3.0])[:, None, None, None].expand(2, 4, 2, 2)
    believed = torch.tensor([-1.0, 1.0])[:, None, None, None].repeat(1, 4, 2, 2).requires_grad_()
    loss = adversarial_loss(gauge, painted, believed, {}, trust=torch.tensor([1.0, 6.0]))
    # Hinges: (0.5 + 0) / 2 and (0 + 3) / 2; the beliefs look (1 x -2 + 6 x 2) / 2 painted
    assert loss.item() == pytest.approx(0.25 + 1.5 - 5.0)
    loss.backward()
    # More gain would put the first painting and the second belief further right, and nothing else
    assert gauge.gain.grad.item() == pytest.approx(-0.25 / 2 + 1.0 / 2)
    # 16 numbers a latent, two latents: each belief shall rise, by its trust, however it looks
    assert believed.grad[0].unique().tolist() == pytest.approx([-2 / 32])
    assert believed.grad[1].unique().tolist() == pytest.approx([-12 / 32])


def test_the_discriminator_sees_paintings_and_beliefs_under_noise():
    """A U-Net that is right leaves nothing but the contest; each belief counts by its trust."""
    x_0, noise = portraits_and_noise(32)
    t = torch.tensor([100, 999]).repeat_interleave(16)
    schedule, shown, labels = noise_schedule(), [], {"style": torch.zeros(32, dtype=torch.long)}

    def discriminator(latents, seen):
        assert seen is labels
        shown.append(latents)
        return latents.mean(dim=(1, 2, 3))[:, None]

    v = velocity(x_0, noise, t, schedule).requires_grad_()
    unet = stub(lambda *_: SimpleNamespace(sample=v))
    task = UnetTask(unet, schedule, torch.ones(8, 16, 16), discriminator=stub(discriminator))
    loss = task(x_0, t, noise, torch.ones(32, 77, 16), labels)
    (believed,) = (latents.detach() for latents in shown if latents.requires_grad)
    (painted,) = (latents for latents in shown if not torch.equal(latents, believed))
    for latents in (believed, painted):
        check_lightly_noised(latents, schedule)
    told = [F.relu(1 + sign * x.mean(dim=(1, 2, 3))) for sign, x in ((-1, painted), (1, believed))]
    # 1 + SNR, which is 7.6 and counts as 5, and 0.0002
    trust = torch.tensor([6.0, 1.0]).repeat_interleave(16)
    expected = (sum(told) - trust * believed.mean(dim=(1, 2, 3))).mean()
    assert loss.item() == pytest.approx(ADVERSARIAL_WEIGHT * expected.item(), rel=1e-3)


def test_a_discriminator_minds_what_the_portrait_shows_and_nothing_that_it_hides():
    """Stripes that lie are painted women and believed men; those that stand the other way round."""
    generator = torch.Generator().manual_seed(0)

    def striped(count):
        lying, gender = torch.randint(2, (2, count), generator=generator)
        latents = torch.randn(count, SMOKE.latent_channels, 16, 16, generator=generator)
        latents[lying == 1, :, ::2] += 3
        latents[lying == 0, :, :, ::2] += 3
        return latents, gender, lying == gender

    torch.manual_seed(0)
    discriminator = Discriminator(SMOKE)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=3e-2)
    hidden = torch.full((64,), UNSEEN)
    for _ in range(120):  # new ones each time, or it learns their noise by heart
        latents, gender, painted = striped(64)
        looks = discriminator(latents, {"gender": gender, "skin": hidden}).mean(dim=(1, 2))
        loss = F.relu(1 - torch.where(painted, looks, -looks)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    latents, gender, painted = striped(256)
    with torch.no_grad():
        told = discriminator(latents, {"gender": gender}).mean(dim=(1, 2)) > 0
        assert (told == painted).float().mean() > 0.95
        unknown = discriminator(latents[:64], {"gender": hidden})
        alone = discriminator.look(discriminator.tower(latents[:64]))[:, 0]
        assert torch.equal(unknown, alone), "what the picture hides adds nothing"


def portraits_and_noise(count):
    """Latents, the odd ones brighter by 4, and noise, both (count, 8, 16, 16)."""
    generator = torch.Generator().manual_seed(0)
    x_0, noise = (torch.randn(count, 8, 16, 16, generator=generator) for _ in range(2))
    return x_0 + 4 * (torch.arange(count) % 2)[:, None, None, None], noise


def check_lightly_noised(latents, schedule):
    """2048 numbers each: the noise that is added moves a mean by some hundredths."""
    means = latents.double().mean(dim=(1, 2, 3)).numpy()
    signal = schedule.alphas_cumprod.sqrt()[CRITIC_NOISE]
    assert means[0::2] == pytest.approx(0, abs=0.1)
    assert 4 * signal - 0.1 < means[1::2].min() < means[1::2].max() < 4.1
    assert means[1::2].std() > 0.1, "each latent is shown under noise of its own"


def test_explained_variance_leaves_out_the_hidden_and_takes_chance_off():
    """Means 2 and 6 lie 2 from 4, squared 4; a mean of two is off by 2 / 2 in variance."""
    x = torch.tensor([1.0, 3.0, 5.0, 7.0, 100.0])[:, None]
    numbers = torch.tensor([0, 0, 1, 1, UNSEEN])
    assert explained_variance(x, numbers).item() == pytest.approx(3.0)
    alone = torch.tensor([0, 1, UNSEEN, UNSEEN, UNSEEN])  # of one, nothing can be told
    assert explained_variance(x, alone).item() == 0


def test_what_a_caption_decides_counts_in_the_loss():
    """Expression moves one number, eyewear two by much more; hair a fourth, half of it unseen."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 2, 4, 4, generator=generator)
    labels = {name: torch.zeros(len(x), dtype=torch.long) for name in PERSON}
    for name, places, step in (
        ("expression", [(0, 1, 1)], 1.0),
        ("eyewear", [(0, 3, 3), (1, 2, 2)], 4.0),
        ("hair_color", [(1, 0, 3)], 2.0),
    ):
        labels[name] = torch.randint(2, (len(x),), generator=generator)
        for place in places:
            x[(slice(None), *place)] += step * labels[name]
    labels["hair_color"][::2] = UNSEEN
    found = explained_variance(x, labels["expression"])
    assert found[0, 1, 1] == pytest.approx(0.25, abs=0.02)  # two equal groups at distance 1
    found[0, 1, 1] = 0
    assert found.max() < 0.005  # means of 10,000 differ by 1/100; the largest of 31 by a few
    weights = emphasis(x, labels)
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-5)
    assert weights.min() >= 0.3
    # One over the number's variance, shared by the attribute's numbers: 1.25, twice 5, and 2
    parts = [weights[place].item() - 0.3 for place in ((0, 1, 1), (0, 3, 3), (1, 2, 2), (1, 0, 3))]
    expected = np.array([1 / 1.25, 1 / 5 / 2, 1 / 5 / 2, 1 / 2])
    np.testing.assert_allclose(np.array(parts) / sum(parts), expected / expected.sum(), rtol=0.05)
    nobody = {name: torch.zeros(len(x), dtype=torch.long) for name in PERSON}
    assert torch.equal(emphasis(x, nobody), torch.ones(2, 4, 4))


def test_training_and_sampling_share_one_noise_schedule():
    ours = noise_schedule()
    scheduler = build_scheduler()
    # diffusers multiplies a thousand factors in single precision
    torch.testing.assert_close(
        scheduler.alphas_cumprod.double(), ours.alphas_cumprod, rtol=1e-4, atol=0
    )
    assert scheduler.config.prediction_type == "v_prediction"
