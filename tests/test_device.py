"""The choice of device and dtype, the self-test that must notice a wrong backend, the report."""

from __future__ import annotations

import pytest
import torch

from course_lib import device, memory


@pytest.fixture
def pretend(monkeypatch):
    """Make PyTorch appear to see the given numbers of devices."""

    def set_counts(**counts):
        monkeypatch.setattr(device, "_count", lambda kind: {"cpu": 1, **counts}.get(kind, 0))

    monkeypatch.delenv("COURSE_DEVICE", raising=False)
    return set_counts


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ({"cuda": 2, "mps": 1, "xpu": 1}, "cuda"),
        ({"mps": 1, "xpu": 1}, "mps"),
        ({"xpu": 1}, "xpu"),
        ({}, "cpu"),
    ],
)
def test_device_order(pretend, present, expected):
    pretend(**present)
    assert device.get_device() == torch.device(expected)


def test_override_wins_and_takes_an_index(pretend, monkeypatch):
    pretend(cuda=2)
    monkeypatch.setenv("COURSE_DEVICE", "CPU")
    assert device.get_device().type == "cpu"
    monkeypatch.setenv("COURSE_DEVICE", "cuda:1")
    assert device.get_device() == torch.device("cuda:1")
    monkeypatch.setenv("COURSE_DEVICE", "cuda:2")
    with pytest.raises(ValueError, match=r"cuda \(2\), cpu \(1\)"):
        device.get_device()


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx2", "avx512_f"}, torch.float32),
        ({"avx512_bf16"}, torch.bfloat16),
        ({"amx_bf16"}, torch.bfloat16),
    ],
)
def test_cpu_takes_bf16_only_where_native(monkeypatch, features, expected):
    monkeypatch.setattr(device, "cpu_features", lambda: frozenset(features))
    assert device.pick_dtype(torch.device("cpu")) is expected


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16)]
)
def test_cuda_takes_bf16_from_capability_8(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d=None: capability)
    assert device.pick_dtype(torch.device("cuda")) is expected


def test_self_test_is_silent_on_a_correct_backend():
    assert device.self_test("cpu") == []


def _off_by_five_percent(probe, inputs, device):
    return probe(*inputs) * 1.05


def _nan(probe, inputs, device):
    return probe(*inputs) * float("nan")


def _raises(probe, inputs, device):
    raise RuntimeError("not implemented for this backend")


@pytest.mark.parametrize("faulty", [_off_by_five_percent, _nan, _raises])
def test_self_test_notices_a_faulty_backend(faulty):
    warnings = device.self_test("cpu", compute=faulty)
    assert len(warnings) == 3
    assert all("COURSE_DEVICE=cpu" in warning for warning in warnings)


def test_self_test_allows_the_rounding_of_tf32():
    # TF32 keeps 10 bits, so it rounds to within 2**-11 of each input: 0.05 percent.
    def tf32(probe, inputs, device):
        return probe(
            *((x.view(torch.int32) + 0x1000 & ~0x1FFF).view(torch.float32) for x in inputs)
        )

    assert device.self_test("cpu", compute=tf32) == []


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("COLAB_RELEASE_TAG", "colab"), ("KAGGLE_URL_BASE", "kaggle"), ("BINDER_REPO_URL", "binder")],
)
def test_hosted_platform(monkeypatch, variable, expected):
    assert device.hosted_platform() is None
    monkeypatch.setenv(variable, "x")
    assert device.hosted_platform() == expected


def test_report_says_what_it_found_and_escapes_html(monkeypatch):
    monkeypatch.setattr(device, "self_test", lambda d: ["conv <wrong>"])
    monkeypatch.setenv("BINDER_REPO_URL", "x")
    report = device.device_report()
    assert report.kind == "cpu" and report.platform == "binder" and report.memory_gb > 0
    for text in ("cpu", "float", "Binder", "conv <wrong>", report.advice):
        assert text in str(report)
    assert "conv &lt;wrong&gt;" in report._repr_html_()


def test_advice_grows_with_memory():
    assert len({device._advice("cpu", gb) for gb in (2, 4, 32)}) == 3
    assert len({device._advice("cuda", gb) for gb in (2, 6, 24)}) == 3
    assert device._advice("cpu", 0) == device._advice("cpu", 32)  # unknown: do not frighten


def test_memory_honours_the_containers_limit(monkeypatch):
    monkeypatch.setattr(memory, "_physical_memory", lambda: 64 * 2**30)
    files = {
        "/sys/fs/cgroup/a/b/memory.max": "max\n",
        "/sys/fs/cgroup/a/memory.max": "2147483648\n",
    }
    monkeypatch.setattr(
        memory, "read", lambda p: {"/proc/self/cgroup": "0::/a/b\n", **files}.get(p, "")
    )
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    assert memory.system_memory() == 2 * 2**30
    monkeypatch.setenv("MEM_LIMIT", "1000000000")
    assert memory.system_memory() == 10**9


def test_generator_repeats_and_does_not_touch_the_global_one():
    state = torch.get_rng_state()
    a, b = (torch.randn(4, generator=device.make_generator(3)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(state, torch.get_rng_state())


def test_the_self_test_needs_no_gradients_from_its_caller():
    with torch.no_grad():
        assert device.self_test("cpu") == []
