"""Training: it learns, it resumes bit for bit after a kill -9, and two processes equal one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from machine import patience

import course_lib as cl
from course_lib import flow
from course_lib.training import (
    TrainingDiverged,
    TrainingOptions,
    TrainingRun,
    learning_rate,
    training_loop,
)
from course_lib.training_run import batch_indices, seed_of
from course_lib.weights import load_tensors

ROOT = Path(__file__).resolve().parent.parent
SCHEDULE = cl.NoiseSchedule.cosine(50)
QUIET = {"device": "cpu", "progress": False, "warmup": 2, "batch_size": 4}


def faces(n: int = 12, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures, quick to learn from: a bright disc somewhere on a dark ground."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8), indexing="ij")
    centre = torch.rand(n, 2, 1, 1, generator=generator) - 0.5
    distance = (x - centre[:, :1]) ** 2 + (y - centre[:, 1:]) ** 2
    return (1 - 2 * distance).clamp(-1, 1).expand(n, 3, 8, 8)


def model(dropout: float = 0.1) -> cl.SmallUNet:
    torch.manual_seed(0)
    return cl.SmallUNet(channels=(16, 32), dropout=dropout)


def test_training_learns_and_the_average_is_measured():
    before = cl.held_out_loss(model(), faces(16, seed=9), SCHEDULE)
    steps = list(
        cl.train(
            model(), faces(), SCHEDULE, steps=60, lr=3e-3, held_out=faces(16, seed=9),
            eval_every=20, **QUIET,
        )
    )  # fmt: skip
    assert [s.step for s in steps] == list(range(1, 61))
    measured = {s.step: s.held_out for s in steps if s.held_out is not None}
    assert list(measured) == [20, 40, 60]
    # A model that predicts zero has a loss of 1, the variance of the noise
    assert before == pytest.approx(1.0, abs=0.05)
    assert measured[60] < 0.6 * before


def test_loss_is_the_plain_mean_square_at_the_given_noise():
    x_0, noise = faces(4), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    t = torch.tensor([0, 10, 30, 49])
    x_t = cl.q_sample(x_0, t, SCHEDULE, noise)

    def predicts_half_of_x_t(x, times):
        assert torch.equal(x, x_t) and torch.equal(times, t)
        return 0.5 * x

    for prediction, target in [
        ("eps", noise),
        ("x0", x_0),
        ("v", cl.velocity(x_0, noise, t, SCHEDULE)),
    ]:
        got = cl.denoising_loss(
            predicts_half_of_x_t, x_0, SCHEDULE, t=t, noise=noise, prediction=prediction
        )
        want = ((0.5 * x_t - target) ** 2).sum() / target.numel()
        torch.testing.assert_close(got, want)

    level = flow.noise_levels(SCHEDULE)[t].float()
    x_s = flow.interpolate(x_0, noise, level)

    def predicts_half_of_x_s(x, times):
        torch.testing.assert_close(x, x_s)
        return 0.5 * x

    got = cl.denoising_loss(
        predicts_half_of_x_s, x_0, SCHEDULE, t=t, noise=noise, prediction="flow"
    )
    torch.testing.assert_close(got, (0.5 * x_s - (noise - x_0)).square().mean())


def test_min_snr_is_one_weighting_in_every_parameterisation():
    """The same estimate, written as eps, x_0, v or flow, must cost the same."""
    x_0, noise = faces(4), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    t = torch.tensor([2, 10, 30, 45])
    x_t = cl.q_sample(x_0, t, SCHEDULE, noise)
    x_0_hat = 0.8 * x_0
    eps_hat = cl.predict_eps_from_x0(x_t, t, x_0_hat, SCHEDULE)
    outputs = {"x0": x_0_hat, "eps": eps_hat, "v": cl.velocity(x_0_hat, eps_hat, t, SCHEDULE)}
    outputs["flow"] = eps_hat - x_0_hat
    losses = [
        cl.denoising_loss(
            lambda x, times, out=out: out, x_0, SCHEDULE, t=t, noise=noise, prediction=kind,
            weighting="min_snr",
        )
        for kind, out in outputs.items()
    ]  # fmt: skip
    weight = SCHEDULE.snr[t].clamp(max=5).float()
    want = (weight * ((x_0_hat - x_0) ** 2).mean(dim=(1, 2, 3))).mean()
    for loss in losses:
        torch.testing.assert_close(loss, want, rtol=1e-4, atol=1e-6)


@pytest.fixture
def one_thread():
    """One thread, as in the processes that the tests start: sums are then added in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(path: Path | str, die_at: int | None = None) -> None:
    """A short training with checkpoints at steps 3, 6, 9 and 12; it may kill its own process."""
    steps = cl.train(
        model(), faces(), SCHEDULE, steps=12, checkpoint=path, checkpoint_every=3,
        held_out=faces(4, seed=9), eval_every=4, **QUIET,
    )  # fmt: skip
    for step in steps:
        if step.step == die_at:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # not on Windows


def run_few(path: Path | str) -> None:
    """Five steps without dropout, which draws other numbers in each process."""
    options = {**QUIET, "batch_size": 6}
    list(cl.train(model(0.0), faces(), SCHEDULE, steps=5, checkpoint=path, **options))


def in_a_process(folder: Path, call: str, *prefix: str) -> subprocess.CompletedProcess:
    """Call a function of this module in a new Python, started with `prefix` before the script."""
    script = folder / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        f"import test_training\ntest_training.{call}\n",
        encoding="utf-8",
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *prefix, str(script)]
    limit = 300 * patience()
    return subprocess.run(command, env=env, timeout=limit, capture_output=True, text=True)


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, one_thread):
    paths = [tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"]
    done = in_a_process(tmp_path, f"run({str(paths[1])!r}, die_at=8)")
    assert done.returncode != 0
    assert load_tensors(paths[1])[1]["done"] == 6, done.stderr[-2000:]
    for path in paths:
        run(path)
    (whole, info), (resumed, info_resumed) = map(load_tensors, paths)
    assert info == info_resumed and info["done"] == 12
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_two_accelerate_processes_take_the_steps_of_one(tmp_path, one_thread):
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", "0"]
    done = in_a_process(tmp_path, f"run_few({str(paths[1])!r})", *launch)
    assert done.returncode == 0, done.stderr[-2000:]
    run_few(paths[0])
    one, two = (load_tensors(path)[0] for path in paths)
    for name in one:
        if name.startswith("model."):
            # Sums in another order: float32 rounding, which Adam's division by small second
            # moments magnifies to a fraction of a step (lr = 1e-3)
            torch.testing.assert_close(two[name], one[name], atol=2e-4, rtol=1e-3)
    assert any(
        not torch.equal(one[n], model(0.0).state_dict()[n[6:]]) for n in one if "model." in n
    )


def test_every_epoch_sees_every_image_once():
    seen = torch.cat([batch_indices(step, 10, 4, seed=0) for step in range(5)])  # two epochs
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_early_stop_on_held_out_loss():
    # Trained on noise, nothing can be learned about the held-out discs
    noise = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = {**QUIET, "lr": 2e-2, "held_out": faces(8, seed=9), "eval_every": 5, "patience": 2}
    steps = list(cl.train(model(), noise, SCHEDULE, steps=2000, ema_decay=0.5, **options))
    measured = [s.held_out for s in steps if s.held_out is not None]
    assert len(steps) < 2000
    assert min(measured) == measured[-3] < min(measured[-2:])


def test_nan_stops_training_and_keeps_weights_and_checkpoint(tmp_path):
    net, path = model(), tmp_path / "c.safetensors"
    list(cl.train(net, faces(), SCHEDULE, steps=3, checkpoint=path, **QUIET))
    path_bytes = path.read_bytes()
    net.out.bias.data[0] = float("nan")
    good = {k: v.clone() for k, v in net.state_dict().items() if "out" not in k}
    with pytest.raises(TrainingDiverged, match="Step 1: the loss is nan.*learning rate"):
        list(cl.train(net, faces(), SCHEDULE, steps=3, **QUIET))
    assert all(torch.equal(net.state_dict()[k], v) for k, v in good.items())
    assert path.read_bytes() == path_bytes


@pytest.mark.parametrize(
    "change,message",
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"lr": 2e-3}, r"lr was 0\.001, now 0\.002"),
        ({"ema_decay": 0.9}, r"ema_decay was 0\.999, now 0\.9"),
        ({"prediction": "v"}, "prediction was 'eps', now 'v'"),
        ({"mirror": False}, "mirror was True, now False"),
        ({"schedule": cl.NoiseSchedule.linear(50)}, "schedule was"),
        ({"images": faces(seed=5)}, "images was"),
        ({"model": cl.SmallUNet(channels=(16, 32), dropout=0.2)}, "network was"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, message):
    path = tmp_path / "c.safetensors"
    options = {"steps": 1, "checkpoint": path, "schedule": SCHEDULE, "images": faces(), **QUIET}
    list(cl.train(model=model(), **options))
    with pytest.raises(ValueError, match=f"belongs to another run: {message}.*another checkpoint"):
        list(cl.train(**({"model": model()} | options | change)))


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    options = TrainingOptions(steps=1, checkpoint=tmp_path / "c.safetensors", device="cpu")
    TrainingRun(torch.nn.Linear(2, 3), options).save()
    message = r"another architecture: 2 .* such as bias, \(3,\) there and missing here"
    with pytest.raises(ValueError, match=message):
        TrainingRun(torch.nn.Linear(4, 3, bias=False), options)


def test_a_finished_run_gives_its_average_and_can_be_lengthened(tmp_path, recwarn):
    options = {"checkpoint": tmp_path / "c.safetensors", "held_out": faces(4, seed=9), **QUIET}
    *_, last = cl.train(model(), faces(), SCHEDULE, steps=2, **options)
    again = model()
    (found,) = cl.train(again, faces(), SCHEDULE, steps=np.int64(2), **options)
    assert [found.step, found.loss, found.held_out] == [2, last.loss, last.held_out]
    pairs = zip(found.ema.model.parameters(), last.ema.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="planned with steps=2 and has done 2; now steps=4"):
        more = list(cl.train(model(), faces(), SCHEDULE, steps=4, **options))
    assert [step.step for step in more] == [3, 4]


@pytest.mark.parametrize("native", [torch.bfloat16, torch.float32])
def test_autocast_follows_the_device_of_the_run(monkeypatch, native):
    chosen = {"cpu": native, "cuda": torch.bfloat16}  # what the machine has besides is no matter
    monkeypatch.setattr("course_lib.training_run.pick_dtype", lambda device: chosen[device.type])
    seen = []
    options = TrainingOptions(steps=1, batch_size=2, device="cpu")
    net = torch.nn.Linear(2, 2)
    run = TrainingRun(net, options, loss=lambda m, x: seen.append(m(x).dtype) or m(x).sum().float())
    list(training_loop(run, lambda step, generator: (torch.ones(2, 2),), progress=False))
    assert seen == [native]


def test_float64_images_train_as_float32_and_images_in_0_1_are_named():
    with pytest.warns(UserWarning, match=r"\[0, 1\].*cl\.to_signed\(images\)"):
        (step,) = cl.train(model(), cl.to_unit(faces()).double(), SCHEDULE, steps=1, **QUIET)
    (same,) = cl.train(model(), faces().double(), SCHEDULE, steps=1, **QUIET)
    (plain,) = cl.train(model(), faces(), SCHEDULE, steps=1, **QUIET)
    assert same.grad_norm == plain.grad_norm != step.grad_norm  # a fresh model's loss is 1


def test_seeds_need_no_shift_of_numpys_numbers(monkeypatch):
    class OldUint64(int):
        """As of NumPy 1, where a Python number cannot shift a uint64."""

        def __rshift__(self, other):
            raise TypeError("ufunc 'right_shift' not supported for the input types")

    class OldSequence(np.random.SeedSequence):
        def generate_state(self, *options):
            return [OldUint64(number) for number in super().generate_state(*options)]

    want = seed_of(3, 4)
    monkeypatch.setattr("course_lib.training_run.np.random.SeedSequence", OldSequence)
    assert seed_of(3, 4) == want


def test_the_ema_forgets_its_start_and_follows():
    net = torch.nn.Linear(1, 1)
    net.weight.data.fill_(0.0)
    ema = cl.EMA(net, decay=0.9)
    net.weight.data.fill_(1.0)
    average = 0.0
    for n in range(1, 30):
        ema.update(net)
        decay = min(0.9, (1 + n) / (10 + n))
        average = decay * average + (1 - decay)
        assert ema.model.weight.item() == pytest.approx(average, rel=1e-5)
    assert not ema.model.weight.requires_grad


def test_learning_rate_rises_then_falls_to_zero():
    rates = [learning_rate(step, 100, 1.0, 10) for step in range(101)]
    assert rates[0] == 0.1 and rates[9] == 1.0 and rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5) and rates[100] == pytest.approx(0.0)


def test_bytes_and_floats_train_alike():
    pixels = ((faces() + 1) * 127.5).round().to(torch.uint8)
    floats = pixels.float() / 127.5 - 1
    runs = [list(cl.train(model(), x, SCHEDULE, steps=2, **QUIET)) for x in (pixels, floats)]
    assert [s.loss for s in runs[0]] == [s.loss for s in runs[1]]


@pytest.mark.parametrize(
    "images,options,message",
    [
        (faces()[0], {}, r"must be a tensor \(N, C, H, W\)"),
        (faces()[:0], {}, "N >= 1"),
        (faces() * 127, {}, r"x / 127\.5 - 1"),
        (faces() * float("nan"), {}, r"floats in \[-1, 1\]"),
        ("portraits", {}, r"\.images\(\)"),
        (faces(), {"batch_size": 0}, "batch_size must be a whole number"),
        (faces(), {"lr": 3}, "lr must lie in"),
        (faces(), {"weighting": "minsnr"}, "Did you mean 'min_snr'"),
        (faces(), {"prediction": "noise"}, "Unknown prediction type"),
    ],
)
def test_bad_input_says_what_to_do(images, options, message):
    with pytest.raises(ValueError, match=message):
        list(cl.train(model(), images, SCHEDULE, steps=1, **{**QUIET, **options}))


class FakeClock:
    """Stands in for the `time` module: each look at it is a second later."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


def timed_run(checkpoint=None, minutes=1.0):
    torch.manual_seed(0)
    net = torch.nn.Linear(1, 1)
    options = TrainingOptions(
        minutes=minutes, batch_size=4, warmup=2, checkpoint=checkpoint, checkpoint_every=1,
        device="cpu",
    )  # fmt: skip

    def batch(step, generator):
        return (torch.randn(4, 1, generator=generator),)

    run = TrainingRun(net, options, loss=lambda model, x: (model(x) - x).square().mean())
    return run, training_loop(run, batch, progress=False)


def test_the_clock_takes_the_learning_rate_to_zero_and_ends_the_run(monkeypatch):
    monkeypatch.setattr("course_lib.training_run.time", FakeClock())
    steps = list(timed_run()[1])
    assert steps[-1].seconds >= 60 > steps[-2].seconds - 2
    rates = [step.lr for step in steps]
    assert rates[1] == max(rates), "after two steps of warm-up it only falls"
    assert rates == rates[:1] + sorted(rates[1:], reverse=True)
    # A cosine in time: half the peak halfway, and a look at the clock before the end next to none
    halfway = min(steps, key=lambda step: abs(step.seconds - 30))
    assert halfway.lr == pytest.approx(5e-4, rel=0.25)
    assert rates[-1] < 1e-5


def test_a_killed_run_keeps_its_time_budget(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    monkeypatch.setattr("course_lib.training_run.time", FakeClock())
    whole = len(list(timed_run(tmp_path / "whole.safetensors")[1]))
    for step in timed_run(path)[1]:
        if step.seconds > 40:
            break
    run, rest = timed_run(path)
    assert 35 < run.seconds < 45, "the seconds before the kill count"
    more = list(rest)
    assert more[0].lr < 5e-4, "and so does the schedule"
    assert more[0].step == step.step + 1
    assert abs(more[-1].step - whole) <= 2
    run, loop = timed_run(path)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    (again,) = loop
    assert (again.step, again.loss) == (more[-1].step, more[-1].loss), "time that is up stays up"
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize(
    "options,message",
    [
        ({}, "needs an end"),
        ({"minutes": 0}, "minutes must be a positive number"),
        ({"minutes": float("inf")}, "minutes must be a positive number"),
        ({"steps": 1, "ema_decay": "high"}, "ema_decay must be a number from 0 to 1"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"steps": 1, "checkpoint_every": 0}, "checkpoint_every must be a whole number"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**options)
