"""Fetching models: a hub that is well, ill, slow, wrong or gone, and what is said of it."""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time

import pytest
import torch
from hub_server import COMMIT, HubServer
from safetensors.torch import save

from course_lib.pipelines import bundle, http_requests, hub
from course_lib.pipelines.fetch import fetch_file
from course_lib.pipelines.files import IncompleteModel, NeedsSafetensors, needed_files
from course_lib.pipelines.http_requests import HubError
from course_lib.pipelines.hub import ModelUnavailable
from course_lib.pipelines.loading import load_pipeline
from course_lib.pipelines.registry import REGISTRY, SHIPPED, spec_for
from course_lib.pipelines.shelf import model_states, prefetch, verify

SD15 = REGISTRY["sd15"].sources[0].repo
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "safety_checker": ["x", "y"],
    "image_encoder": [None, None],
}
WEIGHTS = "unet/diffusion_pytorch_model.fp16.safetensors"
TINY = {
    "model_index.json": json.dumps(INDEX).encode(),
    "unet/config.json": b"{}",
    WEIGHTS: save({"w": torch.arange(300_000.0)}),  # more than one block of the download
    "unet/diffusion_pytorch_model.safetensors": b"the same in 32 bit: not needed",
    "unet/diffusion_pytorch_model.bin": b"a pickle: not needed",
    "scheduler/scheduler_config.json": b"{}",
    "safety_checker/model.safetensors": b"not needed",
    "v1-5-pruned.ckpt": b"not needed",
    "LICENSE.md": b"licence",
}


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Start a hub and point the course to it; models go into a folder of the test's own."""
    servers = []

    def start(repositories=None, mode="normal"):
        server = HubServer({SD15: TINY} if repositories is None else repositories, mode)
        servers.append(server.__enter__())
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        return server

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("COURSE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("COURSE_HUB_TIMEOUT", "5")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr(http_requests, "_token", lambda url: "secret")
    yield start
    for server in servers:
        server.__exit__()


def quiet_prefetch(name="sd15", **options):
    return prefetch(name, say=lambda text: None, progress=False, **options)


def refused(kind):
    """Fetch SD 1.5, expect a failure of one kind at the first place; return the message."""
    started = time.monotonic()
    with pytest.raises(ModelUnavailable) as caught:
        quiet_prefetch()
    # Not a measure of speed: with 5 s of patience at most, a hang of a minute is a fault.
    assert time.monotonic() - started < 60
    assert caught.value.attempts[0][:2] == (SD15, kind)
    message = str(caught.value)
    assert "What to do:\n  - " in message and 'load_pipeline("mini")' in message
    return message


def test_what_is_needed_arrives_and_nothing_else(serve, tmp_path):
    server = serve(mode="redirect")
    folder = quiet_prefetch(to=tmp_path / "bundle")
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == {
        "model_index.json", "unet/config.json", WEIGHTS, "scheduler/scheduler_config.json",
        "LICENSE.md", bundle.MANIFEST,
    }  # fmt: skip
    assert (folder / WEIGHTS).read_bytes() == TINY[WEIGHTS] and not verify(folder)
    # The pinned revision was asked for; the token went to the hub, never to its storage
    assert REGISTRY["sd15"].sources[0].revision in server.requests[0][0]
    tokens = {path.startswith("/storage"): "Authorization" in h for path, h in server.requests}
    assert tokens == {False: True, True: False}
    # A second time nothing is asked at all
    asked = len(server.requests)
    quiet_prefetch(to=tmp_path / "bundle")
    assert len(server.requests) == asked
    # One changed byte is noticed, and mended
    data = bytearray(TINY[WEIGHTS])
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    assert verify(folder) == [WEIGHTS]
    quiet_prefetch(to=tmp_path / "bundle")
    assert not verify(folder)


@pytest.mark.parametrize(
    ("mode", "kind", "says"),
    [
        ("gated", "gated", "hf auth login"),
        ("gone", "gone", "Models vanish"),
        ("error500", "server", "HTTP 500"),
        ("portal", "portal", "open any page in a browser"),
        ("revision", "revision", 'revision="main"'),
        ("truncated", "broken", "goes on from there"),
        ("wrong", "damaged", "wrong checksum"),
    ],
)
def test_a_failure_is_explained(serve, tmp_path, mode, kind, says):
    serve(mode=mode)
    assert says in refused(kind)
    assert not list((tmp_path / "models").rglob("*.safetensors"))  # nothing half or wrong is kept
    state = next(s for s in model_states() if s.spec.name == "sd15")
    assert state.path is None


@pytest.mark.parametrize(
    ("mode", "kind"), [("stalled", "slow"), ("stalled file", "stalled"), ("drip", "stalled")]
)
def test_a_hub_that_stands_still_is_given_up(serve, monkeypatch, mode, kind):
    monkeypatch.setenv("COURSE_HUB_TIMEOUT", "0.5")
    serve(mode=mode)
    assert "COURSE_HUB_TIMEOUT" in refused(kind)


def test_no_hub_and_no_network(serve, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = refused("unreachable")
    assert "not asked, for the same reason: benjamin-paine" in message
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "prefetch NAME --to FOLDER" in refused("offline")
    with pytest.raises(ModelUnavailable, match="somebody/portraits is not on this machine"):
        load_pipeline("somebody/portraits")


def test_a_question_is_bounded_whatever_it_waits_for():
    with pytest.raises(HubError, match="no answer within 0.05 s") as caught:
        http_requests.bounded(lambda: time.sleep(2), 0.05)  # as a look-up of a name may hang
    assert caught.value.kind == "slow"


def test_the_next_mirror_is_asked(serve):
    copy = REGISTRY["sd15"].sources[1].repo
    serve({copy: TINY})
    folder = quiet_prefetch()
    assert bundle.read_manifest(folder)["repo"] == copy
    found = bundle.find(REGISTRY["sd15"])
    assert (found.path, found.source, found.revision) == (folder, copy, COMMIT)


def test_pickles_are_never_fetched(serve):
    pickled = {name: data for name, data in TINY.items() if not name.endswith(".safetensors")}
    server = serve({SD15: pickled})
    assert "can run any code" in refused("pickles")
    serve({SD15: {"model.ckpt": b"x"}})
    assert "pickled weights only" in refused("pickles")
    assert not server.asked(".bin") and not server.asked(".ckpt")


def test_an_interrupted_prefetch_goes_on(serve, monkeypatch):
    server = serve(mode="stalled file")
    monkeypatch.setenv("COURSE_HUB_TIMEOUT", "0.5")
    refused("stalled")
    # Half of the weights came, the small files are finished; the hub is well again
    server.mode, server.requests = "normal", []
    monkeypatch.setenv("COURSE_HUB_TIMEOUT", "5")
    folder = quiet_prefetch()
    assert not verify(folder)
    resolved = [(path, h.get("Range")) for path, h in server.requests if "/resolve/" in path]
    half = len(TINY[WEIGHTS]) // 2
    assert [(path.endswith(WEIGHTS), asked) for path, asked in resolved] == [
        (True, f"bytes={half}-")
    ]
    assert not list(folder.rglob("*.partial"))


@pytest.mark.parametrize("mode", ["truncated once", "no range"])
def test_a_part_from_earlier_is_used_or_replaced(serve, tmp_path, mode):
    serve(mode=mode)
    listing = hub.list_files(SD15)
    file = listing.get(WEIGHTS)
    path = tmp_path / "w.safetensors"
    if mode == "no range":  # this part is rubbish besides, which only the checksum shows
        path.with_name(f"{path.name}.{file.sha256[:8]}.partial").write_bytes(b"x" * 1000)
    seen = []
    assert fetch_file(listing, file, path, progress=seen.append)
    assert path.read_bytes() == TINY[WEIGHTS] and sum(seen) == file.size
    assert not fetch_file(listing, file, path)


def test_a_damaged_part_is_fetched_anew(serve, tmp_path):
    serve()
    listing = hub.list_files(SD15)
    file = listing.get(WEIGHTS)
    path = tmp_path / "w.safetensors"
    path.with_name(f"{path.name}.{file.sha256[:8]}.partial").write_bytes(b"x" * 1000)
    fetch_file(listing, file, path)
    assert path.read_bytes() == TINY[WEIGHTS]


def test_a_full_disk_is_said_before_the_download(serve, monkeypatch):
    serve()
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr("course_lib.pipelines.fetch.shutil.disk_usage", lambda path: usage)
    with pytest.raises(ModelUnavailable, match="larger disk") as caught:
        quiet_prefetch()
    # 300,000 numbers of 4 bytes are missing, one megabyte is free
    assert "Stable Diffusion 1.5 needs 1.20MB more in" in str(caught.value)
    assert "where 1.00MB are free" in str(caught.value)


def test_a_disk_that_fills_up_during_the_download_is_said_with_what_is_needed(serve, monkeypatch):
    server = serve(mode="stalled file")
    monkeypatch.setenv("COURSE_HUB_TIMEOUT", "0.5")
    refused("stalled")  # half of the file is here
    server.mode = "normal"
    monkeypatch.setenv("COURSE_HUB_TIMEOUT", "5")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("course_lib.pipelines.fetch._one_connection", full)
    message = refused_disk()
    assert f"{WEIGHTS} needs 600kB more in" in message and "are free" in message


def refused_disk():
    with pytest.raises(ModelUnavailable) as caught:
        quiet_prefetch()
    assert caught.value.attempts[0][:2] == (SD15, "disk")
    return str(caught.value)


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "a\\b", "C:x", "", "a\ud800"])
def test_a_name_that_leaves_the_folder_is_refused(serve, name):
    listing = {"sha": COMMIT, "siblings": [{"rfilename": name, "size": 1, "blobId": "0" * 40}]}
    serve().listing = json.dumps(listing).encode()
    refused("portal")


ENTRY = {"rfilename": "model_index.json", "size": 1, "blobId": "0" * 40}


@pytest.mark.parametrize(
    "listing",
    [
        b"[" * 100_000,
        b"[]",
        b"null",
        {"sha": COMMIT},
        {"sha": COMMIT, "siblings": 5},
        {"sha": COMMIT, "siblings": ["model_index.json"]},
        {"sha": "../../main", "siblings": [ENTRY]},
        {"sha": COMMIT, "siblings": [{**ENTRY, "rfilename": 5}]},
        {"sha": COMMIT, "siblings": [{**ENTRY, "size": "large"}]},
        {"sha": COMMIT, "siblings": [{**ENTRY, "size": 1e300}]},
        {"sha": COMMIT, "siblings": [{**ENTRY, "size": -1}]},
        {"sha": COMMIT, "siblings": [{**ENTRY, "lfs": "x"}]},
        {"sha": COMMIT, "siblings": [{**ENTRY, "lfs": {"sha256": 5, "size": 1}}]},
        {"sha": COMMIT, "siblings": [{**ENTRY, "blobId": ["x"]}]},
    ],
)
def test_a_listing_of_the_wrong_types_is_one_sentence(serve, listing):
    serve().listing = listing if isinstance(listing, bytes) else json.dumps(listing).encode()
    assert "is no list of files" in refused("portal")


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"_class_name": ', "\xff"])
def test_a_damaged_index_on_the_hub_is_one_sentence(serve, content):
    serve({SD15: {**TINY, "model_index.json": content.encode("latin-1")}})
    assert "model_index.json is damaged" in refused("missing")


@pytest.mark.parametrize(
    "address", ["http://[::1", "ftp://hub", "file:///etc", "hub.org", "http://", "http://a:x"]
)
def test_an_impossible_address_of_the_hub_is_one_sentence(serve, monkeypatch, address, capsys):
    serve()
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(ValueError, match="HF_ENDPOINT must be an address such as https"):
        quiet_prefetch()


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x",
                                    "http://[::1"])  # fmt: skip
def test_only_http_is_followed(serve, target, tmp_path):
    serve(mode="redirect").location = target
    with pytest.raises(ModelUnavailable) as caught:
        quiet_prefetch()
    assert caught.value.attempts[0][1] in ("portal", "unreachable")
    assert not [path for path in (tmp_path / "models" / "sd15").rglob("*") if path.is_file()]


def test_a_manifest_counts_only_if_it_stays_in_its_folder(serve, tmp_path):
    serve()
    folder = quiet_prefetch()
    whole = json.loads((folder / bundle.MANIFEST).read_text())
    outside = tmp_path / "models" / "secret"
    outside.write_bytes(b"1234")
    entry = {"size": 4, "sha256": bundle.sha256(outside)}
    assert bundle.find(REGISTRY["sd15"])
    for wrong in (
        {**whole, "files": {"../secret": entry}},
        {**whole, "files": {str(outside): entry}},
        {**whole, "file": "../secret"},
        {**whole, "files": []},
        {**whole, "files": {}},
        {**whole, "files": {WEIGHTS: 5}},
        {**whole, "files": {WEIGHTS: {"size": "4"}}},
        {**whole, "commit": 5},
        [],
    ):
        (folder / bundle.MANIFEST).write_text(json.dumps(wrong))
        assert bundle.find(REGISTRY["sd15"]) is None
        assert verify(folder) == [
            "COURSE_MODEL.json is missing or damaged, so the folder counts as unfinished"
        ]
    (folder / bundle.MANIFEST).write_text("[" * 100_000)
    assert bundle.find(REGISTRY["sd15"]) is None
    quiet_prefetch()  # mends it
    assert not verify(folder)


def test_two_fetches_into_one_folder_take_turns(serve):
    server = serve()
    said, folders = [], []

    def fetch_once():
        folders.append(prefetch("sd15", say=said.append, progress=False))

    threads = [threading.Thread(target=fetch_once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 3 and not verify(folders[0])
    assert len([path for path in server.asked("/resolve/") if path.endswith(WEIGHTS)]) == 1
    assert sum("is fetching into" in text for text in said) == 2


def test_the_choice_of_files():
    names = [
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00001.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
        "scheduler/scheduler_config.json",
        "scheduler/code.py",
    ]
    assert needed_files(INDEX, names) == sorted([names[0], *names[1:3], names[6], names[7]])
    with pytest.raises(IncompleteModel, match="component unet is missing"):
        needed_files(INDEX, names[-2:])
    with pytest.raises(NeedsSafetensors, match="unet"):
        needed_files(INDEX, ["unet/config.json", "unet/x.bin", *names[-2:]])


def test_the_mini_under_the_id_of_sd15_loads_from_hub_and_from_the_bundle(
    serve, tmp_path, monkeypatch, capsys
):
    mini = tmp_path / "mini"
    shutil.copytree(SHIPPED / "mini", mini)
    server = serve({SD15: mini}, mode="redirect")
    pipe = load_pipeline("sd15", "cpu")
    assert pipe.course_report.source == SD15 and pipe.course_report.revision == COMMIT
    printed = capsys.readouterr().out
    assert "CreativeML OpenRAIL-M" in printed and SD15 in printed
    assert not server.asked("judge")  # no component of the pipeline
    # Afterwards the network may go
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = bundle.models_folder() / "sd15"
    for name in ("sd15", folder):
        again = load_pipeline(name, "cpu", like="sd15", verbose=False)
        assert torch.equal(again.unet.conv_in.weight, pipe.unet.conv_in.weight)
    # What another program left in the hub's own cache is used as well
    snapshot = tmp_path / "hf" / f"models--{SD15.replace('/', '--')}" / "snapshots" / COMMIT
    shutil.move(folder, snapshot)
    assert bundle.find(REGISTRY["sd15"], COMMIT).path == snapshot
    for damage in ("{}", "[]", "[" * 100_000, "{"):  # a broken cache counts as none
        (snapshot / "model_index.json").write_text(damage)
        assert bundle.find(REGISTRY["sd15"], COMMIT) is None
        assert [state.spec.name for state in model_states()] == list(REGISTRY)
    (snapshot / "model_index.json").write_bytes((SHIPPED / "mini/model_index.json").read_bytes())
    shutil.rmtree(snapshot / "unet")
    assert bundle.find(REGISTRY["sd15"], COMMIT) is None


def test_the_registry_is_complete():
    assert {"mini", "sd15", "sd-turbo", "sdxl", "sdxl-turbo", "flux2-klein"} == set(REGISTRY)
    for spec in REGISTRY.values():
        assert spec.licence and spec.memory_gb > 0 and spec.steps > 0 and spec.size >= 128
        if spec.shipped:
            continue
        assert len(spec.sources[0].revision) == 40 and spec.download_gb > 0
    assert spec_for("a/b").sources[0].repo == "a/b"
    with pytest.raises(ValueError, match=r"Did you mean 'sdxl'\?"):
        spec_for("sdlx")
