"""The mini's training: from end to end at the smoke size, and what each stage learns."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mini_models import CAPTIONS, files, load, paint, smoke_models
from safetensors.torch import load_file

from course_lib.mini import train
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.config import ALL_STYLES, FULL, MAX_TOKENS, SMOKE, TrainingData
from course_lib.mini.data import random_shift, signed_batches
from course_lib.mini.models import build_scheduler, build_unet, build_vae, noise_schedule
from course_lib.mini.tokenizer import token_ids
from course_lib.mini.training import stages, trainer
from course_lib.mini.training.losses import DenoisingLoss, TextAttributeLoss, attribute_loss
from course_lib.mini.training.pca_init import (
    LARGEST,
    SCALED_LARGEST,
    SMALLEST,
    init_encoder,
    zero_residual_branches,
)
from course_lib.mini.training.position_init import init_decoder
from course_lib.portraits import PortraitDataset
from course_lib.process import predict_x0_from_v, q_sample, velocity
from course_lib.training_run import TrainingRun
from course_lib.weights import load_tensors

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "models" / "mini"


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("portraits")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache) -> Path:
    """The folder of a run of every stage, a few steps each."""
    folder = tmp_path_factory.mktemp("run")
    assert run(folder, cache) == 0
    return folder


def run(folder: Path, cache: Path, *more: str) -> int:
    return train.main(["--smoke", "--folder", str(folder), "--cache", str(cache), *more])


def finished(folder: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "finished" / f"{stage}.safetensors")[0]


# --- training, end to end


def test_training_makes_a_folder_that_stock_diffusers_loads_and_paints_with(trained, caplog):
    caplog.clear()
    pipe = load(trained / "model")
    # diffusers expects AutoencoderKL by name and mentions it; anything else would be our mistake
    assert not [r.message for r in caplog.records if "Expected types for vae" not in r.message]
    for name, part in pipe.components.items():
        library = type(part).__module__.split(".")[0]
        assert part is None or library in ("diffusers", "transformers"), name
    assert pipe.scheduler.config.prediction_type == "sample"
    first = paint(pipe, "a smiling woman with red hair, watercolor")
    assert first.shape == (128, 128, 3)
    assert np.isfinite(first).all()
    assert np.array_equal(first, paint(pipe, "a smiling woman with red hair, watercolor"))
    assert not np.array_equal(first, paint(pipe, "a smiling woman with red hair, watercolor", 1))


def test_the_model_holds_what_was_trained(trained):
    """In half precision: each weight is the finished one rounded, and the scale is measured."""
    pipe = load(trained / "model")
    last = finished(trained, "decoder") | finished(trained, "clip")
    last |= finished(trained, "text") | finished(trained, "unet")
    for name in ("vae", "unet", "text_encoder"):
        part = getattr(pipe, name)
        assert part.dtype == torch.float32, "so that CPUs compute in single precision"
        for key, tensor in part.state_dict().items():
            assert torch.equal(tensor, last[f"{name}.{key}"].half().float()), f"{name}: {key}"
    classifier = AttributeClassifier.load(trained / "model")
    stored = last["attribute_classifier.squeeze.weight"]
    assert torch.equal(classifier.squeeze.weight, stored.half().float())


def test_each_stage_trains_its_networks_and_no_others(trained):
    before = finished(trained, "clip") | finished(trained, "decoder")
    text, unet = finished(trained, "text"), finished(trained, "unet")

    def changed(old, new):
        return {k for k in new if k in old and not torch.equal(old[k], new[k])}

    assert any("text_encoder" in key for key in changed(before, text))
    # The text stage trains the pooled prompt of the U-Net alone; the U-Net's stage everything
    random = smoke_models_of(trained)["unet"].state_dict()
    moved = changed({f"unet.{k}": v for k, v in random.items()}, text)
    assert moved and all(key.startswith("unet.add_embedding.") for key in moved)
    assert {"unet.conv_in.weight", "unet.conv_out.weight"} <= changed(text, unet)
    vae = load(trained / "model").vae
    assert any("decoder" in k for k in before if k.startswith("vae."))
    assert vae.config.scaling_factor != 1


def smoke_models_of(folder):
    return smoke_models(load(folder / "model").tokenizer)


def test_the_report_says_what_was_done(trained):
    report = json.loads((trained / "training_report.json").read_text(encoding="utf-8"))
    assert report["settings"]["recipe"] == "smoke"
    assert list(report["stages"]) == ["decoder", "clip", "text", "unet"]
    entry = report["stages"]["unet"]
    assert (entry["steps"], entry["samples"], entry["batch_size"]) == (4, 32, 8)
    assert entry["seconds"] > 0 and math.isfinite(entry["final_loss"])
    assert entry["versions"]["torch"] in torch.__version__
    assert entry["device"]
    data = TrainingData.read(trained / "model")
    assert data.only["style"] == ALL_STYLES and data.size == 128


def test_the_latents_are_scaled_to_what_the_noise_can_hide(trained):
    pipe = load(trained / "model")
    pixels = torch.from_numpy(PortraitDataset(48, size=128, seed=9).pixels()).permute(0, 3, 1, 2)
    with torch.no_grad():
        z = torch.cat([pipe.vae.encode(x).latents for x in signed_batches(pixels, 16, "cpu")])
    largest = (z * pipe.vae.config.scaling_factor).std(dim=(0, 2, 3)).max().item()
    # Of other portraits, with all poses and framings, so only roughly
    assert largest == pytest.approx(SCALED_LARGEST, rel=0.25)
    # At the last timestep no larger than the mean of 16 x 16 cells of noise is by chance
    assert noise_schedule().alphas_cumprod[-1].sqrt().item() * SCALED_LARGEST < 1 / 16


@pytest.mark.parametrize("stage,step", [("clip", 1), ("unet", 3)])
def test_a_killed_run_resumes_to_the_same_model(trained, cache, tmp_path, monkeypatch, stage, step):
    """Stopped within a stage: checkpoints are written every second step."""
    steps = TrainingRun.step

    def killed(self, batch, rate):
        if self.identity["stage"] == stage and self.done == step:
            raise KeyboardInterrupt
        return steps(self, batch, rate)

    monkeypatch.setattr(TrainingRun, "step", killed)
    assert run(tmp_path, cache) == 130
    monkeypatch.setattr(TrainingRun, "step", steps)
    assert run(tmp_path, cache) == 0
    for name, content in files(trained / "model").items():
        path = tmp_path / "model" / name
        if path.suffix == ".safetensors":  # their metadata are written in no fixed order
            wanted, got = load_file(trained / "model" / name), load_file(path)
            assert wanted.keys() == got.keys()
            assert all(torch.equal(tensor, got[key]) for key, tensor in wanted.items()), name
        elif name != "SHA256SUMS":
            assert path.read_bytes() == content, name
    assert not list(tmp_path.glob("*.safetensors")), "checkpoints of finished stages are removed"


def v_model(trained: Path, target: Path) -> Path:
    """A copy of the trained model whose scheduler says that its U-Net predicts v."""
    folder = shutil.copytree(trained / "model", target)
    config = folder / "scheduler" / "scheduler_config.json"
    text = config.read_text(encoding="utf-8")
    assert '"sample"' in text
    config.write_text(text.replace('"sample"', '"v_prediction"'), encoding="utf-8")
    return folder


def test_a_model_that_predicts_v_is_trained_on_from_minus_v(trained, cache, tmp_path):
    """Four small steps do not turn the output layer round, so its sign tells where they began."""
    start = v_model(trained, tmp_path / "v")
    assert run(tmp_path / "run", cache, "--start-from", str(start), "--stages", "unet") == 0
    before, model = load(start), load(tmp_path / "run" / "model")
    for name in ("weight", "bias"):
        old, new = (getattr(m.unet.conv_out, name).flatten() for m in (before, model))
        assert torch.cosine_similarity(-old, new, dim=0) > 0.9
    assert model.scheduler.config.prediction_type == "sample"
    assert torch.equal(model.vae.encoder.layers[0].weight, before.vae.encoder.layers[0].weight)


def test_a_model_that_predicts_v_still_says_so_while_its_unet_is_not_trained(
    trained, cache, tmp_path
):
    start = v_model(trained, tmp_path / "v")
    assert run(tmp_path / "run", cache, "--start-from", str(start), "--stages", "decoder") == 0
    model = load(tmp_path / "run" / "model")
    assert model.scheduler.config.prediction_type == "v_prediction"
    assert torch.equal(model.unet.conv_out.weight, load(start).unet.conv_out.weight)


class FakeClock:
    """Stands in for the `time` module: each look at it is some seconds later."""

    def __init__(self, seconds: float):
        self.now, self.seconds = 0.0, seconds

    def monotonic(self) -> float:
        self.now += self.seconds
        return self.now


def test_minutes_are_divided_among_the_stages_and_held(cache, tmp_path, monkeypatch):
    clock = FakeClock(5.0)
    monkeypatch.setattr("course_lib.training_run.time", clock)
    monkeypatch.setattr(trainer, "time", clock)
    assert run(tmp_path, cache, "--minutes", "4", "--stages", "text", "unet") == 0
    report = json.loads((tmp_path / "training_report.json").read_text(encoding="utf-8"))
    text, unet = report["stages"]["text"], report["stages"]["unet"]
    # 0.04 and 0.62 parts of what is left of 240 s: 14 s for the first, the rest for the second. A
    # step that has begun is finished, and some looks at the clock, each 5 s later, come after it
    assert 240 <= report["seconds"] < 240 + 40
    assert text["seconds"] < 14 + 30 and unet["seconds"] > 150
    assert unet["steps"] > 2 * text["steps"]


# --- bad input


@pytest.mark.parametrize(
    "more,words",
    [
        (["--minutes", "0.001"], ["--minutes 0.001 is too short", "stage text", "Give at least"]),
        (["--minutes", "nan"], ["--minutes nan is too short"]),
        (["--device", "cuda:9"], ["PyTorch sees no such device"]),
        (["--start-from", "nowhere"], ["nowhere holds no model_index.json"]),
        (["--start-from", str(SHIPPED)], ["has other sizes", "without --start-from"]),
        (["--styles", "watercolour"], ["watercolour", "watercolor"]),
        (["--portraits", "3"], ["--portraits must be at least 8"]),
    ],
)
def test_bad_input_is_answered_with_one_sentence(more, words, cache, tmp_path, capsys):
    assert run(tmp_path / "run", cache, *more) == 1
    said = capsys.readouterr().err
    assert said.startswith("course_lib.mini.train: ") and "Traceback" not in said
    for word in words:
        assert word in said, said
    assert not (tmp_path / "run" / "training_report.json").exists(), "the folder is still free"


def test_a_folder_of_another_training_is_refused_and_kept(trained, cache, capsys):
    before = files(trained)
    assert run(trained, cache, "--seed", "1") == 1
    assert "seed was 0, now 1" in capsys.readouterr().err
    assert files(trained) == before


def test_a_changed_vocabulary_is_named(trained, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(
        __import__("course_lib.portraits.attributes", fromlist=["VOCABULARY"]).VOCABULARY,
        "expression",
        ("neutral", "bored"),
    )
    with pytest.raises(ValueError, match="another vocabulary.*--stages clip"):
        AttributeClassifier.load(trained / "model")


def test_a_preparation_that_takes_all_the_time_is_told(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trainer, "time", FakeClock(130.0))
    assert run(tmp_path, cache, "--minutes", "2") == 1
    said = capsys.readouterr().err
    assert "--minutes 2 leaves no time for the stage decoder: 130 s went by" in said


def test_a_full_disk_is_told_before_anything_is_painted(tmp_path, monkeypatch, capsys):
    usage = SimpleNamespace(free=2**20)
    monkeypatch.setattr("course_lib.mini.examples.shutil.disk_usage", lambda path: usage)
    assert run(tmp_path, tmp_path / "new", "--portraits", "50000") == 1
    assert "50,000 portraits need 2.3 GiB" in capsys.readouterr().err
    assert not files(tmp_path / "new")


# --- what the U-Net learns


def test_the_loss_is_that_of_v_when_nothing_is_capped():
    """On paper: |v_hat - v|^2 = (SNR + 1) |x_hat - x|^2, where x_hat is what v_hat implies."""
    schedule, generator = noise_schedule(), torch.Generator().manual_seed(0)
    x_0, v_hat = torch.randn(2, 4, 8, 16, 16, generator=generator, dtype=torch.double)
    t, text = torch.tensor([40, 120, 500, 999]), torch.ones(4, 77, 16)
    torch.manual_seed(1)
    noise = torch.randn_like(x_0.float()).double()
    seen = {}

    def unet(x_t, times, states):
        seen.update(x_t=x_t, times=times, states=states)
        x_hat = predict_x0_from_v(x_t.double(), times, v_hat, schedule)
        return SimpleNamespace(sample=x_hat)

    torch.manual_seed(1)
    loss = DenoisingLoss(Stub(unet), schedule, cap=math.inf)(x_0, t, text).item()
    torch.testing.assert_close(
        seen["x_t"].double(), q_sample(x_0, t, schedule, noise), rtol=0, atol=1e-5
    )
    assert torch.equal(seen["times"], t) and seen["states"] is text
    expected = (v_hat - velocity(x_0, noise, t, schedule)).square().mean().item()
    assert loss == pytest.approx(expected, rel=1e-4)


def test_the_weight_of_clean_latents_is_capped():
    """The U-Net is off by 1 everywhere, so the loss is the mean weight."""
    schedule = noise_schedule()
    x_0, t = torch.zeros(3, 8, 16, 16), torch.tensor([0, 400, 999])
    unet = Stub(lambda x, t, c: SimpleNamespace(sample=torch.ones_like(x)))
    loss = DenoisingLoss(unet, schedule, cap=5.0)
    abar = np.cumprod(1 - np.linspace(0.00085**0.5, 0.02**0.5, 1000) ** 2)[t]
    weights = np.minimum(abar / (1 - abar), 5) + 1
    assert weights[0] == 6 and 1 < weights[1] < 6 and weights[2] == pytest.approx(1, abs=1e-3)
    assert loss(x_0, t, torch.ones(3, 77, 16)).item() == pytest.approx(weights.mean(), rel=1e-5)


class Stub(torch.nn.Module):
    """A module that calls a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *given):
        return self.function(*given)


def unet_batches(tokenizer, seed: int, count: int = 40):
    """The batches of a U-Net stage, with a text encoder that returns its token ids."""
    latents = torch.arange(60.0)[:, None, None, None].expand(60, 4, 16, 16).half()
    ids = token_ids(tokenizer, CAPTIONS[:120]).reshape(60, 2, MAX_TOKENS).short()
    empty = token_ids(tokenizer, [""])
    settings = stages.StageSettings(1, 20, 1e-3)
    encoder = Stub(lambda tokens: (tokens[..., None],))
    stage = stages.unet_stage(settings, build_unet(SMOKE), encoder, latents, ids, empty, seed)
    generator = torch.Generator().manual_seed(seed)
    return [stage.batch(step, generator) for step in range(count)], ids, empty


def test_the_unet_s_batches_pair_latents_with_their_captions_or_the_empty_one(tokenizer):
    batches, ids, empty = unet_batches(tokenizer, seed=0)
    without = 0
    for latents, t, text in batches:
        assert (t.sort().values // 50).tolist() == list(range(20)), "no gap in the timesteps"
        for latent, tokens in zip(latents, text[..., 0].long(), strict=True):
            portrait = int(latent[0, 0, 0])
            if torch.equal(tokens, empty[0]):
                without += 1
            else:
                assert (tokens == ids[portrait].long()).all(dim=1).any()
    # A tenth of 800 without a caption: 80, with a standard deviation of 8.5
    assert 46 < without < 114
    others, _, _ = unet_batches(tokenizer, seed=1, count=1)
    assert not any(torch.equal(a, b) for a, b in zip(batches[0], others[0], strict=True))


def test_timesteps_of_a_batch_leave_no_gap():
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([stages.stratified_timesteps(20, 1000, generator) for _ in range(400)])
    assert torch.equal(draws.sort(dim=1).values // 50, torch.arange(20).expand(400, 20))
    # The place in the batch says nothing: each mean within four standard errors of 499.5; whole
    # numbers below 1000 have a standard deviation of 289
    assert (draws.double().mean(dim=0) - 499.5).abs().max() < 4 * 289 / 400**0.5


def test_the_prompt_reaches_the_level_without_cross_attention(tokenizer):
    unet = smoke_models(tokenizer)["unet"].eval()
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


def test_training_and_sampling_share_one_noise_schedule():
    # diffusers multiplies a thousand factors in single precision
    torch.testing.assert_close(
        build_scheduler().alphas_cumprod.double(),
        noise_schedule().alphas_cumprod,
        rtol=1e-4,
        atol=0,
    )


# --- what text encoder and classifier learn


def test_text_attributes_are_read_from_pooled_output_and_pooled_prompt():
    """Worked out by hand: two captions, of which each head names the right value with odds 3 : 1.

    Images and captions match with odds 3 : 1 as well, so every part of the loss is log(4/3).
    """
    odds, pooled = np.log(3.0), torch.eye(2)
    encoder = Stub(lambda ids: SimpleNamespace(pooler_output=pooled, last_hidden_state=pooled))
    encoder.config = SimpleNamespace(hidden_size=2)
    pooling = Stub(lambda states: 7 + 5 * states)  # the normalisation takes 7 and 5 away
    pooling.proj = torch.nn.Linear(2, 2)
    loss = TextAttributeLoss(encoder, pooling, lambda features, text: odds * features)
    for heads, scale in ((loss.text_heads, odds), (loss.pooling_heads, odds / 2)):
        heads.clear()
        heads["gender"] = torch.nn.Linear(2, 2, bias=False)
        heads["gender"].weight.data = scale * torch.eye(2)  # normalised rows are 1 and -1
    value = loss(torch.zeros(2, 77), torch.eye(2), {"gender": torch.tensor([0, 1])}).item()
    assert value == pytest.approx((1 + 10 + 10) * np.log(4 / 3), rel=1e-4)


def test_hidden_attributes_do_not_count():
    logits = {"skin": torch.tensor([[2.0, 0.0], [0.0, 9.0]]), "light": torch.ones(2, 3)}
    labels = {"skin": torch.tensor([0, -100]), "light": torch.tensor([-100, -100])}
    expected = (np.log1p(np.exp(-2.0)) + 0.0) / 2
    assert attribute_loss(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def test_shifted_images_move_as_a_whole_and_repeat_their_edges():
    """A ramp tells where each pixel comes from; edges stand still at 0 and 15."""
    ramp = torch.arange(16, dtype=torch.uint8)
    plane = ramp.expand(16, 16)
    pixels = torch.stack([plane, plane.T, plane]).expand(64, 3, 16, 16)
    moved = random_shift(pixels, 3, torch.Generator().manual_seed(0))
    moved = ((moved + 1) * 127.5).round().long()
    across, down = moved[:, 0, 0, 8] - 8, moved[:, 1, 8, 0] - 8
    assert set(across.tolist()) == set(down.tolist()) == set(range(-3, 4))
    columns = (ramp.long() + across[:, None]).clamp(0, 15)
    rows = (ramp.long() + down[:, None]).clamp(0, 15)
    assert torch.equal(moved[:, 0], columns[:, None, :].expand(64, 16, 16))
    assert torch.equal(moved[:, 1], rows[:, :, None].expand(64, 16, 16))


# --- initialisation of the autoencoder


def test_the_encoder_computes_principal_components():
    """Patches of 8 x 8, by numpy: coordinates without correlation, the largest variances first."""
    x = PortraitDataset(24, size=128, seed=5).images()
    pixels = ((x + 1) * 127.5).round().to(torch.uint8)
    vae = build_vae(FULL)
    init_encoder(vae, pixels)
    with torch.no_grad():
        z = vae.encode(x).latents
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


def test_the_decoder_tells_even_from_odd_places_at_every_resolution():
    """Whatever the latents are, two channels say which columns and rows of an image are even."""
    torch.manual_seed(0)
    decoder = build_vae(FULL).decoder
    zero_residual_branches(decoder)
    init_decoder(decoder)
    x, sizes = torch.tanh(torch.randn(2, FULL.latent_channels, 16, 16)) * 3, []
    with torch.no_grad():
        for layer in decoder.layers:
            x = layer(x)
            if type(layer).__name__ == "AutoencoderTinyBlock":
                sizes.append(size := x.shape[-1])
                even = (torch.arange(size) % 2 == 0).float()
                if sizes.count(size) == (3 if size == 16 else 1):  # the encoding is complete
                    torch.testing.assert_close(x[:, -2], even.expand(2, size, size))
                    torch.testing.assert_close(x[:, -1], even[:, None].expand(2, size, size))
    assert sizes == [16] * 3 + [32] * 3 + [64] * 3
    for blocks in ((2, 1, 1, 0), (3, 1, 0, 0)):
        with pytest.raises(ValueError, match="3, 1 and 1"):
            init_decoder(build_vae(replace(FULL, vae_decoder_blocks=blocks)).decoder)
