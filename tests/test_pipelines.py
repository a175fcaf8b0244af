"""Loading, planning and painting: the stock pipeline's result, faster and with reasons."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading
import time
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from course_lib.device import DeviceReport, make_generator
from course_lib.pipelines import (
    REGISTRY,
    NotEnoughMemory,
    decode_latents,
    load_pipeline,
    make_scheduler,
    paint,
    paint_grid,
    paint_steps,
    painting,
    repaint,
    shelf,
)
from course_lib.pipelines import plan as planning
from course_lib.pipelines.plan import make_plan
from course_lib.pipelines.registry import SHIPPED
from course_lib.pipelines.tuning import report_of

PROMPT = "an old man with a beard"


@pytest.fixture(scope="module")
def pipe():
    pipe = load_pipeline("mini", "cpu", verbose=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pixels(image):
    return np.asarray(image).astype(int)


def test_the_report_says_what_and_why(pipe, capsys):
    report = pipe.course_report
    assert report.model == "mini" and report.dtype == torch.float32
    text = str(report)
    for part in ("checksums verified", "channels_last", "Scheduler dpmpp_2m", "CC BY 4.0"):
        assert part.lower() in text.lower()
    assert "<table>" in report._repr_html_() and all(why for _, why in report.choices)
    load_pipeline(pipe, "cpu")
    assert "A pipeline of your own" in capsys.readouterr().out.replace("a pipeline", "A pipeline")
    pipe.course_report = report


@pytest.mark.parametrize(
    "name", ["dpmpp_2m", "dpmpp_2m_karras", "euler", "euler_ancestral", "heun", "ddim", "pndm"]
)
def test_the_loop_is_the_stock_pipelines(pipe, name):
    before = pipe.scheduler
    # Not every scheduler takes what the mini predicts; for the loop it makes no difference
    pipe.scheduler = own = type(before).from_config(before.config, prediction_type="v_prediction")
    options = {"negative_prompt": "hat"}
    *_, last = steps = list(
        paint_steps(pipe, PROMPT, seed=5, steps=3, guidance=3.0, scheduler=name, **options)
    )
    assert pipe.scheduler is own
    pipe.scheduler = make_scheduler(name, own)
    stock = pipe(
        PROMPT, num_inference_steps=3, guidance_scale=3.0, generator=make_generator(5),
        output_type="latent", **options,
    ).images  # fmt: skip
    pipe.scheduler = before
    # The same operations in the same order; only the text encoder's batch differs
    torch.testing.assert_close(last.latents_next, stock, atol=1e-3, rtol=1e-3)
    assert [s.i for s in steps] == list(range(last.total)) == list(range(len(steps)))
    for one, after in zip(steps, steps[1:], strict=False):
        assert torch.equal(one.latents_next, after.latents)
    # What the U-Net sees has the variance-preserving scale under every scheduler
    assert steps[0].latents.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["euler_ancestral", "pndm"])
def test_a_scheduler_that_cannot_work_with_the_model_is_named(pipe, name):
    with pytest.raises(ValueError, match=f"'{name}' cannot be used .* predicts the clean image"):
        paint(PROMPT, pipe, steps=2, scheduler=name)


@pytest.mark.parametrize("prediction", ["sample", "v_prediction", "epsilon"])
def test_the_clean_estimate_is_the_models(pipe, prediction):
    """Against the definitions of v and eps (arXiv:2202.00512) at a known timestep."""
    before = pipe.scheduler
    assert before.config.prediction_type == "sample"
    pipe.scheduler = type(before).from_config(before.config, prediction_type=prediction)
    steps = list(paint_steps(pipe, PROMPT, steps=4, guidance=1.0, scheduler="ddim"))
    *_, last = paint_steps(pipe, PROMPT, steps=4)
    pipe.scheduler = before
    text, _ = pipe.encode_prompt(PROMPT, "cpu", 1, False)
    for step in steps[:2]:
        bar = before.alphas_cumprod[int(step.t)]
        with torch.no_grad():
            out = pipe.unet(step.latents, step.t, encoder_hidden_states=text).sample
        x_0 = {
            "sample": out,
            "v_prediction": bar.sqrt() * step.latents - (1 - bar).sqrt() * out,
            "epsilon": (step.latents - (1 - bar).sqrt() * out) / bar.sqrt(),
        }[prediction]
        torch.testing.assert_close(step.x_0_hat, x_0, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(last.x_0_hat, last.latents_next, atol=1e-4, rtol=1e-4)


def test_a_seed_means_one_picture_in_every_batch(pipe):
    prompts = [PROMPT, "a smiling woman with red hair"]
    batch = paint(prompts, pipe, seed=5, n=2, steps=2)
    assert len(batch) == 4 and batch[0].size == (128, 128)
    for k, image in enumerate(batch):
        alone = paint(prompts[k // 2], pipe, seed=5 + k % 2, steps=2)[0]
        # Other shapes, other order of additions: at most a rounding of the byte
        assert np.abs(pixels(alone) - pixels(image)).max() <= 2
    noise = [next(iter(paint_steps(pipe, "", seed=s, steps=2))).latents for s in (5, 6)]
    assert not torch.allclose(*noise)
    own = list(paint_steps(pipe, PROMPT, steps=2, noise=noise[1]))
    assert torch.equal(own[0].latents, noise[1])


def test_many_pictures_are_painted_in_batches(pipe, monkeypatch):
    monkeypatch.setitem(painting._PIXELS_AT_ONCE, "cpu", 2 * 128**2)
    images = paint(PROMPT, pipe, n=3, steps=1, progress=True)
    assert len(images) == 3
    assert [i.info["course"].count('"seed": 2,') for i in images] == [0, 0, 1]


def test_guidance_asks_the_unet_for_pairs_only_where_it_is_used(pipe):
    sizes = []
    hook = pipe.unet.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    list(paint_steps(pipe, PROMPT, steps=4, guidance=3.0))
    list(paint_steps(pipe, PROMPT, steps=4, guidance=1.0))
    report = pipe.course_report
    pipe.course_report = replace(report, settings=replace(report.settings, guidance_until=0.5))
    list(paint_steps(pipe, PROMPT, steps=4, guidance=3.0))
    pipe.course_report = report
    hook.remove()
    assert sizes == [2] * 4 + [1] * 4 + [2, 2, 1, 1]
    with pytest.warns(UserWarning, match="negative prompt has no effect"):
        paint(PROMPT, pipe, negative_prompt="hat", guidance=1.0, steps=1)


def test_latents_become_pictures(pipe):
    z = torch.randn(3, pipe.unet.config.in_channels, 16, 16, generator=make_generator(0))
    images = decode_latents(pipe, z)
    assert images.shape == (3, 3, 128, 128) and images.dtype == torch.float32
    with torch.no_grad():
        direct = pipe.vae.decode(z / pipe.vae.config.scaling_factor).sample
    torch.testing.assert_close(images, direct.clamp(-1, 1), atol=1e-4, rtol=1e-4)


def test_a_picture_is_painted_again_from_its_recipe(pipe, tmp_path, monkeypatch):
    image = paint(PROMPT, pipe, seed=3, steps=2, size=(128, 64), negative_prompt="hat")[0]
    image.save(tmp_path / "a.png")
    assert np.array_equal(pixels(repaint(tmp_path / "a.png", pipe)[0]), pixels(image))
    other = repaint(image, pipe, seed=4)[0]
    assert not np.array_equal(pixels(other), pixels(image)) and other.size == (64, 128)
    image.info["course"] = image.info["course"].replace('"mini"', '"somebody/else"')
    with pytest.raises(ValueError, match="no name in the registry"):
        repaint(image)


def test_a_named_model_stays_loaded(pipe, monkeypatch):
    calls = []
    monkeypatch.setattr(painting, "_loaded", {})

    def load(*arguments, **options):
        calls.append(arguments)
        time.sleep(0.05)  # the other threads ask meanwhile
        return pipe

    monkeypatch.setattr(painting, "load_pipeline", load)
    threads = [threading.Thread(target=painting.pipeline_of, args=("mini",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paint(PROMPT, steps=1)
    assert len(calls) == 1


FIRST_IMPORTS = """
import threading
import course_lib as cl
failures, pictures = [], []
def run(act):
    try:
        pictures.append(act())
    except BaseException as error:
        failures.append(repr(error))
acts = [lambda: cl.paint("a man", steps=1)[0], lambda: cl.paint("a man", steps=1)[0]]
acts += [lambda: cl.paint("a man", cl.load_pipeline("mini", verbose=False), steps=1)[0]] * 3
threads = [threading.Thread(target=run, args=(act,)) for act in acts]
[t.start() for t in threads], [t.join() for t in threads]
assert not failures, failures
assert len({picture.tobytes() for picture in pictures}) == 1 and len(pictures) == 5
assert len(cl.paint("a man", steps=1)) == 1
"""


def test_threads_that_load_at_once_in_a_fresh_process_all_paint():
    result = subprocess.run([sys.executable, "-c", FIRST_IMPORTS], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_threads_that_paint_with_one_pipeline_get_their_own_pictures(pipe):
    from diffusers import StableDiffusionPipeline

    class Other(StableDiffusionPipeline):  # painted by its own call, whose scheduler has a state
        pass

    other = Other(**pipe.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    jobs = [(model, k) for model in (pipe, other) for k in (2, 3, 4)]

    def work(model, k):
        return paint(["", "", "a man", "a woman", "a child"][k], model, seed=k, steps=k)[
            0
        ].tobytes()

    alone = [work(*job) for job in jobs]
    together: dict[int, bytes] = {}

    def run(number):
        together[number] = work(*jobs[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together.get(number) for number in range(len(jobs))] == alone


def test_the_grid_has_every_combination(pipe):
    sheet = paint_grid(PROMPT, pipe, seeds=(1, 7), guidances=(1, 3), steps=(1, 2))
    assert sheet.width > 4 * 128 and sheet.height > 2 * 128 and "parameters" in sheet.info
    with pytest.raises(ValueError, match="guidances must hold"):
        paint_grid(PROMPT, pipe, guidances=())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": 0}, "steps must be a whole number"),
        ({"guidance": -1}, "guidance must be"),
        ({"size": 100}, "multiple of 8"),
        ({"n": 0}, "at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"scheduler": "dpm_2m"}, "Did you mean 'dpmpp_2m'"),
    ],
)
def test_settings_out_of_range_are_explained(pipe, options, says):
    with pytest.raises(ValueError, match=says):
        paint(PROMPT, pipe, **options)


def test_other_pipelines_paint_by_their_own_call():
    class Transformer:
        components: dict = {}
        vae_scale_factor = 8
        calls: list = []

        def __call__(self, prompt, num_inference_steps, height, width, generator):
            from PIL import Image

            self.calls.append((prompt, num_inference_steps, generator.initial_seed()))
            return types.SimpleNamespace(images=[Image.new("RGB", (width, height))])

    fake = Transformer()
    spec = REGISTRY["flux2-klein"]
    fake.course_report = types.SimpleNamespace(
        settings=spec, model="flux2-klein", source="x", revision=None, dtype=torch.bfloat16
    )
    images = paint(["a", "b"], fake, n=2, size=64)
    assert fake.calls == [("a", 4, 0), ("a", 4, 1), ("b", 4, 0), ("b", 4, 1)]
    assert '"seed": 1' in images[1].info["course"]
    with pytest.raises(TypeError, match="not Transformer"):
        paint_steps(fake, "a")


def machine(kind, gigabytes, dtype=torch.float32):
    return DeviceReport(kind, "a test's device", gigabytes, dtype, "")


def test_the_plan_follows_the_memory(monkeypatch):
    monkeypatch.setattr(planning, "system_memory", lambda: 32 * 2**30)
    sdxl, sd15 = REGISTRY["sdxl"], REGISTRY["sd15"]
    large = make_plan(sdxl, machine("cuda", 24, torch.bfloat16), device="cuda")
    assert (large.offload, large.dtype, large.slicing) == ("none", torch.float16, False)
    small = make_plan(sdxl, machine("cuda", 8, torch.float16), device="cuda")
    assert small.offload == "model" and small.slicing and small.tiling
    assert make_plan(sd15, machine("cuda", 4), device="cuda").offload == "none"
    klein = make_plan(REGISTRY["flux2-klein"], machine("cuda", 24, torch.bfloat16), device="cuda")
    assert klein.dtype == torch.bfloat16
    assert make_plan(sd15, machine("cpu", 16, torch.bfloat16)).dtype == torch.bfloat16
    assert make_plan(sd15, machine("cpu", 16)).dtype == torch.float32
    assert make_plan(REGISTRY["mini"], machine("cpu", 1.9)).dtype == torch.float32  # Binder
    assert all(why for plan in (large, small) for _, why in plan.choices)


def test_what_does_not_fit_is_refused_before_it_is_fetched(monkeypatch):
    monkeypatch.setattr(planning, "report_for", lambda device: machine("cpu", 4))
    with pytest.raises(NotEnoughMemory) as caught:
        load_pipeline("sdxl")  # the network is off: a fetch would be another error
    message = str(caught.value)
    assert "load a model that fits: mini" in message and "4.0 GB main memory" in message
    plan = make_plan(REGISTRY["sdxl"], machine("cpu", 4), force=True)
    assert any("in spite" in what for what, _ in plan.choices)
    with pytest.raises(ValueError, match="needs a GPU"):
        make_plan(REGISTRY["mini"], machine("cpu", 8), offload="model")


def test_a_changed_byte_of_the_shipped_model_is_noticed(tmp_path, monkeypatch):
    shutil.copytree(SHIPPED / "mini", tmp_path / "mini")
    monkeypatch.setattr(shelf, "SHIPPED", tmp_path)
    path = tmp_path / "mini" / "tokenizer" / "vocab.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"vocab\.json is damaged"):
        load_pipeline("mini")
    shutil.rmtree(tmp_path / "mini")
    with pytest.raises(FileNotFoundError, match="git checkout -- data/models"):
        load_pipeline("mini")


def test_what_cannot_be_loaded_safely_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Unknown model 'min'. Did you mean 'mini'\?"):
        load_pipeline("min")
    with pytest.raises(FileNotFoundError, match=r"There is no .*not_there"):
        load_pipeline(tmp_path / "not_there.safetensors")
    bomb = pickle.dumps({"weights": 1})
    (tmp_path / "model.ckpt").write_bytes(bomb)
    with pytest.raises(ValueError, match="pickle .* can run any code"):
        load_pipeline(tmp_path / "model.ckpt")
    (tmp_path / "model.safetensors").write_bytes(bomb)
    with pytest.raises(ValueError, match="pickle under that name"):
        load_pipeline(tmp_path / "model.safetensors")
    folder = tmp_path / "mini"
    shutil.copytree(SHIPPED / "mini", folder)
    weights = folder / "text_encoder" / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-8])
    with pytest.raises(ValueError, match="cut short"):
        load_pipeline(folder)
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(ValueError, match="text_encoder has pickled weights only"):
        load_pipeline(folder)
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(ValueError, match="text_encoder is missing"):
        load_pipeline(folder)


def test_a_pipeline_of_ones_own_gets_settings(pipe):
    from diffusers import StableDiffusionPipeline

    own = StableDiffusionPipeline(**pipe.components, requires_safety_checker=False)
    assert report_of(own).settings.size == 128
    like = load_pipeline(own, "cpu", like="mini", verbose=False)
    assert like.course_report.settings.steps == REGISTRY["mini"].steps
    for dtype in ("half", "int8"):
        with pytest.raises(ValueError, match="float32, float16, bfloat16"):
            load_pipeline(own, "cpu", dtype=dtype)
