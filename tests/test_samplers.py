"""The samplers against diffusers' schedulers, and against a distribution whose score is known."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch

import course_lib as cl
from course_lib import flow
from course_lib.samplers import METHODS, SPACINGS

SHAPE = (2, 3, 8, 8)
SIGMA_UNITS = ("euler", "heun")
BETAS = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
}
SCHEDULERS = {
    "ddpm": (diffusers.DDPMScheduler, {"clip_sample": False}),
    "ddim": (diffusers.DDIMScheduler, {"clip_sample": False}),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "heun": (diffusers.HeunDiscreteScheduler, {}),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
}


def make_model(schedule: cl.NoiseSchedule, prediction: str = "eps"):
    """A smooth, nonlinear, nearly calibrated denoiser that also reads t, and fractions of it."""
    bar_a = schedule.alphas_cumprod.float()

    def model(x_t, t):
        low = t.long().clamp(max=len(bar_a) - 1)
        high = (low + 1).clamp(max=len(bar_a) - 1)
        a = torch.lerp(bar_a[low], bar_a[high], (t - low).float())[:, None, None, None]
        x_0 = torch.tanh(a.sqrt() * x_t / (a + 0.25 * (1 - a)))
        if prediction == "x0":
            return x_0
        # The floor keeps eps finite in float32 at the clean end of the schedule.
        eps = (x_t - a.sqrt() * x_0) / (1 - a).sqrt().clamp(min=1e-3)
        return eps if prediction == "eps" else a.sqrt() * eps - (1 - a).sqrt() * x_0

    return model


def oracle(method, name, model, x_T, steps, spacing, eta, prediction):
    """The trajectory of diffusers' scheduler, in the variance-preserving convention.

    diffusers builds its tables in float32, which costs up to 5e-5 of bar_a and 6e-4 of 1 - bar_a.
    Here it gets our float64 tables, so that the step arithmetic is the only thing compared; the
    tables themselves are compared in test_schedules.py.
    """
    cls, options = SCHEDULERS[method]
    kind = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}[prediction]
    if spacing is not None:
        options = {**options, "timestep_spacing": spacing}
    scheduler = cls(num_train_timesteps=1000, prediction_type=kind, **BETAS[name], **options)
    bar_a = scheduler.alphas_cumprod = getattr(cl.NoiseSchedule, name)(1000).alphas_cumprod
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "sigmas"):
        grid = np.interp(scheduler.timesteps, np.arange(1000), ((1 - bar_a) / bar_a).sqrt())
        # Heun's timesteps already name every inner level twice, as its noise levels do
        scheduler.sigmas = torch.tensor(np.append(grid, 0.0))
    generator = torch.Generator().manual_seed(7)
    x = x_T * scheduler.sigmas[0].square().add(1).sqrt() if method in SIGMA_UNITS else x_T
    trajectory = []
    for i, t in enumerate(scheduler.timesteps):
        if method == "ddim" and i == len(scheduler.timesteps) - 1:
            # Its last step goes back T // steps timesteps, which may not reach the clean image;
            # this makes it T timesteps
            scheduler.num_inference_steps = 1
        seen = scheduler.scale_model_input(x, t).to(x_T) if method in SIGMA_UNITS else x
        out = model(seen, t.expand(len(x)))
        extra = {"eta": eta} if method == "ddim" else {}
        if method in ("ddpm", "ddim"):
            extra["generator"] = generator
        x = scheduler.step(out, t, x, **extra).prev_sample
        after = scheduler.sigmas[i + 1] if method in SIGMA_UNITS else torch.tensor(0.0)
        if method != "heun" or i % 2 == 1 or i == len(scheduler.timesteps) - 1:
            trajectory.append((x / after.square().add(1).sqrt()).to(x_T))
    return trajectory


def ours(method, name, model, x_T, steps, spacing, eta, prediction):
    schedule = getattr(cl.NoiseSchedule, name)(1000)
    generator = torch.Generator().manual_seed(7)
    args = (method, steps, eta, spacing, generator, prediction)
    return [step.x_prev for step in cl.sample(model, x_T, schedule, *args)]


def tolerance(method, name, spacing):
    """float32 everywhere, at 1e-5, unless sigma units make float32 itself too coarse."""
    if method not in SIGMA_UNITS or name != "cosine" or spacing == "leading":
        return torch.float32, {"atol": 1e-5, "rtol": 1e-5}
    # This grid starts at sigma = 20,000, where diffusers subtracts numbers of that size.
    if method == "euler":  # it rounds to float32 inside: the last place of 20,000 is 2.4e-3
        return torch.float32, {"atol": 2e4 * 1.2e-7, "rtol": 1e-5}
    return torch.float64, {"atol": 1e-7, "rtol": 1e-7}


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@pytest.mark.parametrize("name", list(BETAS))
@pytest.mark.parametrize("method,eta", [(m, 0.0) for m in METHODS] + [("ddim", 0.5), ("ddim", 1.0)])
def test_whole_trajectory_equals_diffusers(method, eta, name, prediction):
    if (method, prediction) == ("euler", "x0"):
        prediction = "v"  # diffusers' Euler does not know clean-image predictions by that name
    model = make_model(getattr(cl.NoiseSchedule, name)(1000), prediction)
    for spacing in (None, *SPACINGS):
        dtype, close = tolerance(method, name, spacing)
        x_T = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=dtype)
        for steps in (5, 18, 50):  # 18 does not divide 1000: the grids differ most there
            args = (method, name, model, x_T, steps, spacing, eta, prediction)
            want, got = oracle(*args), ours(*args)
            assert len(want) == len(got)
            for i, (w, g) in enumerate(zip(want, got, strict=True)):
                where = f"{spacing}, {steps} steps, step {i}: "
                torch.testing.assert_close(g, w, **close, msg=lambda m, w=where: w + m)


def test_timesteps_that_can_be_checked_by_hand():
    def times(T, **options):
        return [node.t for node in cl.time_grid(cl.NoiseSchedule.linear(T), **options)]

    assert times(1000, method="ddim", steps=5) == [800, 600, 400, 200, 0]
    assert times(1000, method="ddim", steps=5, spacing="trailing") == [999, 799, 599, 399, 199]
    assert times(1000, method="ddim", steps=5, spacing="linspace") == [999, 749, 500, 250, 0]
    assert times(1000, method="ddim", steps=61, spacing="trailing")[-2:] == [32, 15]
    assert times(1000, method="dpmpp_2m", steps=4) == [999, 749, 500, 250]
    assert times(101, method="euler", steps=3) == [100.0, 50.0, 0.0]
    assert times(4) == [3, 2, 1, 0]


def diffusers_timesteps(method, T, steps, spacing):
    scheduler = SCHEDULERS[method][0](
        num_train_timesteps=T, timestep_spacing=spacing, **BETAS["scaled_linear"]
    )
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.double()
    # Heun's name every level but the first twice
    return times[[0, *range(1, len(times), 2)]] if method == "heun" else times


@pytest.mark.parametrize("T", [1, 2, 7, 50, 1000])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("method", METHODS)
def test_every_number_of_steps_falls_from_noise_to_the_clean_image(method, spacing, T):
    schedule = cl.NoiseSchedule.scaled_linear(T)
    most = T - 1 if method == "dpmpp_2m" and spacing != "trailing" else T
    compared = {*range(1, 12), 61, *range(1, most + 1, 97), most}
    for steps in range(1, most + 1):
        nodes = cl.time_grid(schedule, method=method, steps=steps, spacing=spacing)
        times = torch.tensor([node.t for node in nodes], dtype=torch.float64)
        assert len(nodes) == steps and nodes[-1].bar_a_prev == 1.0
        assert bool((times.diff() < 0).all()) and 0 <= times[-1] <= times[0] <= T - 1
        if steps in compared:
            assert all(node.bar_a < node.bar_a_prev for node in nodes)
            # With trailing spacing diffusers may add a timestep of -1
            want = diffusers_timesteps(method, T, steps, spacing)[:steps]
            assert torch.equal(times, want), (steps, times, want)


METHOD_STEPS = [("ddpm", 200), ("ddim", 100), ("euler", 100), ("heun", 50), ("dpmpp_2m", 50)]


@pytest.mark.parametrize("method,steps", METHOD_STEPS)
def test_a_gaussian_with_known_score_comes_back(method, steps):
    """x_0 ~ N(0.5, 0.3^2): with the exact score, samples must have that mean and deviation."""
    schedule = cl.NoiseSchedule.cosine(200)
    mean, std = 0.5, 0.3
    bar_a = schedule.alphas_cumprod.float()

    def model(x_t, t):
        a = bar_a[t.round().long()][:, None]
        return (1 - a).sqrt() * (x_t - a.sqrt() * mean) / (a * std**2 + 1 - a)

    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(20_000, 1, generator=generator)
    # Whole timesteps for every method, since this model is a table
    options = {"steps": steps, "spacing": "trailing", "generator": generator}
    *_, last = cl.sample(model, x_T, schedule, method, **options)
    # Monte Carlo error of mean and deviation at n = 20,000 is 0.3 / sqrt(n) = 0.002, here four of
    # it; the rest is what a grid of this size leaves.
    assert abs(last.x_prev.mean() - mean) < 0.012
    assert abs(last.x_prev.std() - std) < 0.012


def test_a_step_tells_what_the_model_saw_and_said():
    schedule = cl.NoiseSchedule.linear(50)
    seen = []

    def model(x_t, t):
        seen.append((x_t, t))
        return 0.5 * x_t

    x_T = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    steps = list(cl.sample(model, x_T, schedule, "ddim", 5))
    assert steps[0].x_t is x_T
    for step, following in zip(steps, steps[1:], strict=False):
        assert following.x_t is step.x_prev
    for step, (x_t, t) in zip(steps, seen, strict=True):
        assert step.x_t is x_t and t.tolist() == [step.t] * len(x_T)
        assert torch.equal(step.eps_hat, 0.5 * x_t)
        back = cl.q_sample(step.x_0_hat, step.t, schedule, noise=step.eps_hat)
        torch.testing.assert_close(back, x_t)


@pytest.mark.parametrize("method,eta", [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 1.0)])
def test_clipping_equals_diffusers_and_gradients_stay_with_the_caller(method, eta):
    x_T = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    scheduler = SCHEDULERS[method][0](clip_sample=True)
    scheduler.set_timesteps(10)
    # By default diffusers' DDIM keeps the noise of the unclipped estimate; this option mends it
    extra = {"eta": eta, "use_clipped_model_output": True} if method == "ddim" else {}
    x, generator = x_T, torch.Generator().manual_seed(7)
    for t in scheduler.timesteps:
        x = scheduler.step(0.3 * x, t, x, generator=generator, **extra).prev_sample
    options = {"steps": 10, "generator": torch.Generator().manual_seed(7), "clip": 1.0, "eta": eta}
    schedule = cl.NoiseSchedule.linear(1000)
    for step in cl.sample(lambda x, t: 0.3 * x, x_T, schedule, method, **options):
        assert torch.is_grad_enabled()
        result = step.x_prev
    # 5e-5: the float32 table of diffusers, see `oracle`
    torch.testing.assert_close(result, x, atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"method": "dimm"}, "Did you mean 'ddim'"),
        ({"prediction": "epsilon"}, "Did you mean 'eps'"),
        ({"spacing": "trailling"}, "Did you mean 'trailing'"),
        ({"steps": 51}, r"1 \.\. 50 for ddpm"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"steps": 50, "method": "dpmpp_2m"}, r"1 \.\. 49 for dpmpp_2m"),
        ({"eta": 1.5, "method": "ddim"}, "eta must lie in"),
        ({"eta": 0.5}, "method='ddim'"),
        ({"eta": 0.5, "method": "heun"}, "takes no eta"),
        ({"x_T": torch.full(SHAPE, float("nan"))}, "NaN"),
        ({"x_T": torch.zeros(SHAPE, dtype=torch.uint8)}, "float batch of noise"),
        ({"x_T": "noise"}, "float batch of noise"),
    ],
)
def test_bad_arguments_say_what_to_do(change, message):
    arguments = {"x_T": torch.zeros(SHAPE), "schedule": cl.NoiseSchedule.linear(50), **change}
    with pytest.raises(ValueError, match=message):
        cl.sample(lambda x, t: x, **arguments)


class TwoClasses:
    """Classes 0 and 1 are images of one colour each; 2 means either, their mean."""

    num_classes, prediction = 2, "x0"

    def __init__(self):
        self.batches = []

    def __call__(self, x_t, t, labels):
        self.batches.append(len(x_t))
        colour = torch.tensor([0.5, -0.3, 0.1])[labels]
        return colour[:, None, None, None].expand_as(x_t)


@pytest.mark.parametrize("method", METHODS)
def test_labels_and_guidance_reach_the_model(method):
    model, x_T = TwoClasses(), torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    for guidance, colours in ((1.0, [0.5, -0.3]), (3, [0.1 + 3 * 0.4, 0.1 - 3 * 0.4])):
        options = {"labels": [0, 1], "guidance": guidance, "steps": 4}
        *_, last = cl.sample(model, x_T, cl.NoiseSchedule.cosine(50), method, **options)
        want = torch.tensor(colours)[:, None, None, None].expand(SHAPE)
        torch.testing.assert_close(last.x_prev, want, atol=1e-4, rtol=1e-4)
    assert set(model.batches) == {2, 4}, "guidance asks on twice the batch"


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_guidance_is_the_same_in_every_parameterisation(prediction):
    """Extrapolating eps, x_0 or v gives one and the same guided estimate."""
    schedule = cl.NoiseSchedule.cosine(50)

    def model(x_t, t, labels):
        signal = schedule.alphas_cumprod[t].sqrt().to(x_t)[:, None, None, None]
        sigma = (1 - schedule.alphas_cumprod[t]).sqrt().to(x_t)[:, None, None, None]
        x_0 = TwoClasses()(x_t, t, labels)
        eps = (x_t - signal * x_0) / sigma
        return {"eps": eps, "x0": x_0, "v": signal * eps - sigma * x_0}[prediction]

    model.num_classes = 2
    x_T = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    options = {"labels": 0, "guidance": 2.0, "steps": 5, "prediction": prediction}
    for step in cl.sample(model, x_T, schedule, "ddim", **options):
        want = torch.full_like(step.x_0_hat, 0.1 + 2 * 0.4)
        torch.testing.assert_close(step.x_0_hat, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["flow", "cosine", "scaled_linear"])
@pytest.mark.parametrize("method", METHODS)
def test_a_flow_network_samples_what_the_same_estimate_as_noise_does(method, name):
    schedule = cl.NoiseSchedule.named(name, 50)
    noise_model = make_model(schedule)
    bar_a = schedule.alphas_cumprod.float()

    def flow_model(x_s, t):
        """eps - x_0, given (1 - s) x_0 + s eps: all that it knows of the VP image."""
        a = bar_a[t.round().long()][:, None, None, None]
        x_t = x_s * (a.sqrt() + (1 - a).sqrt())
        eps = noise_model(x_t, t)
        return eps - (x_t - (1 - a).sqrt() * eps) / a.sqrt()

    x_T = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    options = {"method": method, "steps": 10, "spacing": "trailing"}
    runs = [
        cl.sample(model, x_T, schedule, prediction=kind, generator=cl.make_generator(7), **options)
        for model, kind in ((noise_model, "eps"), (flow_model, "flow"))
    ]
    for by_noise, by_flow in zip(*runs, strict=True):
        # eps / sqrt(bar_a) at the noisy end costs float32 digits
        for field in ("x_t", "eps_hat", "x_prev"):
            a, b = getattr(by_noise, field), getattr(by_flow, field)
            torch.testing.assert_close(b, a, atol=2e-4, rtol=2e-4)
        back = cl.q_sample(by_flow.x_0_hat, by_flow.t, schedule, noise=by_flow.eps_hat)
        torch.testing.assert_close(back, by_flow.x_t, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["ddim", "euler"])
def test_an_euler_step_of_a_flow_is_that_of_diffusers(method):
    """Same network, same noise levels, same start: FlowMatchEulerDiscreteScheduler."""
    schedule = cl.NoiseSchedule.flow(1000)

    def velocity(x, s):
        s = s[:, None, None, None]
        return torch.tanh(2 * x) * (1 - s) + x.flip(-1) * s - 0.3

    model = flow.with_timesteps(velocity, schedule)
    x_T = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    options = {"steps": 10, "spacing": "trailing", "prediction": "flow"}
    steps = list(cl.sample(model, x_T, schedule, method, **options))
    levels = flow.noise_levels(schedule)[[step.t for step in steps]]
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(sigmas=levels.tolist())
    x = x_T / steps_total(schedule, steps[0].t)
    for step, t in zip(steps, scheduler.timesteps, strict=True):
        torch.testing.assert_close(
            step.x_t / steps_total(schedule, step.t), x, atol=1e-5, rtol=1e-5
        )
        x = scheduler.step(velocity(x, (t / 1000).expand(len(x))), t, x).prev_sample
    torch.testing.assert_close(steps[-1].x_prev, x, atol=1e-5, rtol=1e-5)


def steps_total(schedule, t):
    """sqrt(bar_a) + sqrt(1 - bar_a), by which a VP image is divided to be one of the flow."""
    bar_a = schedule.alphas_cumprod[t].item()
    return bar_a**0.5 + (1 - bar_a) ** 0.5


@pytest.mark.parametrize(
    "model,options,message",
    [
        (TwoClasses(), {"labels": [0, 1, 0]}, "labels must be 2 whole numbers"),
        (TwoClasses(), {"labels": [0.0, 1.0]}, "labels must be 2 whole numbers"),
        (TwoClasses(), {"labels": ["man", "woman"]}, "labels must be 2 whole numbers"),
        (TwoClasses(), {"labels": [0, 3]}, r"0 \.\. 1, or be 2 for no class; got values .* to 3"),
        (TwoClasses(), {"guidance": 2.0}, "guidance=2 needs labels"),
        (TwoClasses(), {"labels": 0, "guidance": -1}, "guidance must be a number from 0 to 100"),
        (TwoClasses(), {"labels": 0, "prediction": "eps"}, "trained to predict 'x0', not 'eps'"),
        (lambda x, t: x, {"labels": 0}, "takes none: it has no num_classes"),
    ],
)
def test_labels_that_do_not_fit_are_explained(model, options, message):
    with pytest.raises(ValueError, match=message):
        cl.sample(model, torch.zeros(SHAPE), cl.NoiseSchedule.linear(50), **options)


@pytest.mark.parametrize(
    "output,message",
    [
        (lambda x: x[:, :1], r"returned \(2, 1, 8, 8\)"),
        (lambda x: x / 0, "NaN or infinite"),
        (lambda x: None, "returned NoneType"),
    ],
)
def test_a_model_that_misbehaves_is_named(output, message):
    with pytest.raises(ValueError, match=message):
        list(cl.sample(lambda x, t: output(x), torch.ones(SHAPE), cl.NoiseSchedule.linear(5)))
