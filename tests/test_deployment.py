"""What hosts the course: Binder's files, the container, Accelerate's configurations, the page."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
import yaml

import course_lib as cl
from course_lib import __main__ as command_line
from course_lib.mini import train
from course_lib.mini.training.trainer import take_own_gpu
from course_lib.portraits import cache
from course_lib.portraits.dataset import PortraitDataset

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import check_hub  # noqa: E402  (after the path)
import warm_caches  # noqa: E402

PAGE = (ROOT / "docs" / "classroom.md").read_text(encoding="utf-8")
BASH = shutil.which("bash")


def bash(*command: str | Path, **environment: str) -> subprocess.CompletedProcess:
    keep = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        [BASH, *map(str, command)], capture_output=True, text=True, env=keep | environment
    )


# --- Binder


def test_binder_finds_all_its_files_in_one_place():
    assert not (ROOT / "binder").exists() and not (ROOT / ".binder").exists()
    assert not (ROOT / "Dockerfile").exists()  # it would be read in place of environment.yml
    for name in ("postBuild", "start"):
        assert (ROOT / name).read_text(encoding="utf-8").startswith("#!/bin/bash\n")
        modes = subprocess.run(
            ["git", "ls-files", "--stage", name], cwd=ROOT, capture_output=True, text=True
        ).stdout
        assert not modes or modes.startswith("100755"), f"{name} is not executable in git"


def test_conda_takes_everything_from_one_channel_and_no_cuda():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]  # two channels mix builds that do not fit
    *conda, pip = environment["dependencies"]
    assert "pip" in conda and [*pip] == ["pip"]
    assert all(re.fullmatch(r"[a-z0-9-]+([>=]=?[\d.]+)?", entry) for entry in conda)
    assert "pytorch-cpu" in {re.split("[>=]", entry)[0] for entry in conda}


def test_start_gives_pytorch_the_quota_and_hands_over(tmp_path):
    show = 'printf "%s|%s|%s" "$OMP_NUM_THREADS" "$COURSE_CACHE" "$1"'

    def started(**environment):
        command = (ROOT / "start", BASH, "-c", show, "_", "an argument")
        return bash(*command, HOME=str(tmp_path), **environment).stdout.split("|")

    own = f"{tmp_path}/.cache/portrait-diffusion"
    assert started(CPU_LIMIT="2.5") == ["2", own, "an argument"]
    assert started(CPU_LIMIT="0.5")[0] == "1"
    assert started()[0] == started(CPU_LIMIT="none")[0] == ""
    given = started(CPU_LIMIT="4", OMP_NUM_THREADS="3", COURSE_CACHE="/srv/x")
    assert given[:2] == ["3", "/srv/x"]


def test_post_build_stops_at_a_damaged_file_and_its_commands_exist(tmp_path):
    """With a Python that only notes what it is asked to do."""
    shutil.copy(ROOT / "postBuild", tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(
        '#!/bin/bash\nprintf "%q " "$@" >> asked\necho >> asked\n'
    )
    (tmp_path / "bin" / "python").chmod(0o755)
    model = tmp_path / "data" / "models" / "pixel_unet"
    shutil.copytree(ROOT / "data" / "models" / "pixel_unet", model)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = bash(tmp_path / "postBuild", PATH=path, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    asked = [shlex.split(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert ["-m", "compileall", "-q", "course_lib"] in asked
    assert ["tools/warm_caches.py"] in asked
    for arguments in (a for a in asked if a[:2] == ["-m", "course_lib"]):
        command_line._parser().parse_args(arguments[2:])
    (tmp_path / "asked").unlink()
    weights = next(model.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    damaged = bash(tmp_path / "postBuild", PATH=path, HOME=str(tmp_path))
    assert damaged.returncode != 0 and weights.name in damaged.stdout + damaged.stderr
    assert not (tmp_path / "asked").exists()


def test_portraits_painted_beforehand_are_not_painted_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_CACHE", "caches")
    monkeypatch.setattr(sys, "argv", ["warm_caches.py", "01"])
    assert warm_caches.main() == 0
    assert "64 portraits" in capsys.readouterr().out
    files = sorted((tmp_path / "caches").rglob("*.bin"))
    assert files
    monkeypatch.setattr(PortraitDataset, "_paint", lambda *_: pytest.fail("painted again"))
    (lesson,) = (ROOT / "notebooks").glob("01_*.ipynb")
    sources = ["".join(c["source"]) for c in json.loads(lesson.read_text("utf-8"))["cells"]]
    calls = re.findall(r"cl\.PortraitDataset\(.*?\)\.images\(\)", "\n".join(sources))
    assert calls and all(len(eval(call, {"cl": cl})) == 64 for call in calls)
    assert sorted((tmp_path / "caches").rglob("*.bin")) == files


def test_every_lesson_that_paints_has_portraits_to_paint_beforehand(monkeypatch):
    monkeypatch.chdir(ROOT / "notebooks")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        paints = re.search(r"PortraitDataset\([^\n]*\)(?!\.captions)", text)
        found = warm_caches.lesson_series(path)
        assert bool(found) == bool(paints and "_06" not in f"_{path.name}"), path.name
        for series in found:  # the arguments are those of a data set
            cl.PortraitDataset(**series, cache=False)


def test_the_arguments_of_a_data_set_are_read_in_either_form(tmp_path):
    source = "cl.PortraitDataset(n=4, size=16)\ncl.PortraitDataset(4, 16)\ncl.PortraitDataset()"
    cell = {"cell_type": "code", "source": source}
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": [cell]}))
    assert warm_caches.lesson_series(tmp_path / "x.ipynb") == [{"n": 4, "size": 16}]


def test_without_a_folder_to_fill_one_sentence_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["warm_caches.py"])
    monkeypatch.delenv("COURSE_CACHE", raising=False)
    assert warm_caches.main() == 1
    assert "set COURSE_CACHE to the folder to fill." in capsys.readouterr().err
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file"))
    monkeypatch.chdir(tmp_path)
    assert warm_caches.main() == 1
    assert "cannot be written to" in capsys.readouterr().err


# --- the container


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, (NAME, rest), without comments and continued lines."""
    lines = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in joined if line.strip()]


def test_the_container_is_built_from_what_is_here_and_runs_as_a_user():
    given = instructions()
    names = [name for name, _ in given]
    assert names[0] == "FROM" and re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", given[0][1])
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for _, rest in (entry for entry in given if entry[0] == "COPY"):
        *sources, _target = [part for part in rest.split() if not part.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
            assert not any(fnmatch.fnmatch(source, pattern) for pattern in ignored)
    for needed in ("postBuild", "start", "docker", "data", "notebooks", "tools", "course_lib"):
        assert needed not in ignored
    # All that follows the last USER, and what the container runs, has a learner's rights
    assert [rest for name, rest in given if name == "USER"][-1] == "${NB_UID}"
    assert ("ARG", "NB_UID=1000") in given
    assert ("RUN", "./postBuild") in given[names.index("USER") :]
    assert [rest for name, rest in given if name == "WORKDIR"][-1] == "/home/${NB_USER}"
    installs = " ".join(rest for name, rest in given if name == "RUN")
    assert installs.count("pip install") == installs.count("pip install --no-cache-dir") == 3
    import start  # the same builds of PyTorch as those of the set-up command

    assert f"--index-url {start.CPU_BUILDS} " in installs


def test_what_the_container_runs_is_named_in_full():
    given = dict(instructions())
    assert "CMD" in given["HEALTHCHECK"]
    for text in (given["CMD"], given["ENTRYPOINT"], given["HEALTHCHECK"].partition("CMD ")[2]):
        command = json.loads(text)  # the exec form: signals reach the process itself
        for part in re.findall(r"/srv/portrait-diffusion/(\S+)", " ".join(command)):
            assert (ROOT / part).is_file(), part
    lab = json.loads(given["CMD"])
    assert "--ServerApp.root_dir=/srv/portrait-diffusion" in lab
    url = next(part for part in lab if "default_url" in part).partition("/lab/tree/")[2]
    assert (ROOT / url).is_file()


def test_the_containers_two_lists_are_those_of_requirements_txt(tmp_path):
    commands = next(rest for name, rest in instructions() if "torch.txt" in rest).split(" && ")
    for command in commands[:2]:
        done = bash("-c", command.replace("/tmp/", f"{tmp_path}/").replace(
            f"{tmp_path}/requirements.txt", str(ROOT / "requirements.txt")
        ))  # fmt: skip
        assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"{n}.txt").read_text().splitlines() for n in ("torch", "others"))
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(">")[0] for line in first] == ["torch", "torchvision"]
    assert second == [line for line in lines if line != "-e ."]


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/user/ann/api" else 404)
        self.end_headers()

    def log_message(self, *details):
        """Nothing on stderr."""


def test_the_health_check_asks_jupyters_server():
    command = [sys.executable, str(ROOT / "docker" / "healthcheck.py")]
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://0.0.0.0:{server.server_port}"
        hub = {**os.environ, "JUPYTERHUB_SERVICE_URL": f"{base}/user/ann/"}
        assert subprocess.run(command, env=hub).returncode == 0
        other = {**os.environ, "JUPYTERHUB_SERVICE_URL": f"{base}/user/eve/"}
        done = subprocess.run(command, env=other, capture_output=True, text=True)
        assert done.returncode == 1 and "404" in done.stderr and "Traceback" not in done.stderr
        server.shutdown()


# --- GPUs


@pytest.mark.parametrize(("name", "count"), [("one_gpu", 1), ("eight_gpus", 8)])
def test_accelerate_reads_its_configurations(name, count):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "docs" / "accelerate" / f"{name}.yaml"))
    assert config.num_processes == count and config.num_machines == 1 and not config.use_cpu
    assert config.mixed_precision == "no"
    assert str(config.distributed_type.value) == ("NO" if count == 1 else "MULTI_GPU")


def test_each_process_of_accelerate_takes_its_own_gpu(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for count in (8, 1):  # of one machine, or as many as a cluster shows to each process
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        take_own_gpu({})
        take_own_gpu({"LOCAL_RANK": "3"})
    assert taken == [3, 0]


def test_the_batches_of_the_gpu_recipe_can_be_divided_by_eight():
    from course_lib.mini.training.stages import RECIPES

    sizes = [stage.batch_size for stage in RECIPES["gpu"].stages.values()]
    assert min(sizes) == 64 and max(sizes) == 1024  # as the page says
    assert all(size % 8 == 0 for size in sizes)


# --- docs/classroom.md


def commands() -> list[list[str]]:
    """The page's indented command lines, without comments."""
    lines = re.findall(r"^    (.+)$", PAGE, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines if "=" not in line.split()[0]]


def test_the_pages_commands_are_understood_by_what_they_start():
    from accelerate.commands.launch import launch_command_parser

    checked = set()
    for words in commands():
        if "accelerate" in words:
            options = launch_command_parser().parse_args(words[words.index("launch") + 1 :])
            assert (ROOT / options.config_file).is_file()
            assert options.module and options.training_script == "course_lib.mini.train"
            train._parser().parse_args(options.training_script_args)
            checked.add("accelerate")
        elif words[:3] == ["python", "-m", "course_lib"]:
            command_line._parser().parse_args(words[3:])
            checked.add("course_lib")
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file()
            checked.add(words[1])
    assert checked == {"accelerate", "course_lib", "tools/check_hub.py"}


def test_the_page_is_short_and_says_what_was_not_run():
    assert len(PAGE.encode()) <= 12_000
    for what in ("docker build", "docker run", "helm upgrade"):
        assert re.search(rf"^    {what}.*# not run$", PAGE, flags=re.MULTILINE), what
    assert PAGE.count("**not run**") >= 5
    for name in ("OMP_NUM_THREADS", "COURSE_CACHE", "COURSE_MODELS"):
        assert f"| `{name}`" in PAGE
    lessons = re.findall(r"^\| (\d\d) \| ([\d.]+) GB \| yes \|$", PAGE, flags=re.MULTILINE)
    assert [number for number, _ in lessons] == [f"{n:02d}" for n in range(11)]
    assert all(0.5 < float(peak) < check_hub.LEAST_GB for _, peak in lessons)


def test_the_values_for_kubernetes_are_whole():
    values = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL).group(1))
    single = values["singleuser"]
    assert single["memory"] == {"guarantee": "3G", "limit": "3G"}
    assert single["extraEnv"]["OMP_NUM_THREADS"] == str(single["cpu"]["limit"])
    assert all(isinstance(value, str) for value in single["extraEnv"].values())
    (mount,), (volume,) = (single["storage"][k] for k in ("extraVolumeMounts", "extraVolumes"))
    assert mount["readOnly"] and mount["name"] == volume["name"]
    assert mount["mountPath"] == single["extraEnv"]["COURSE_MODELS"]
    settings = re.search(r"```python\n(.*?)```", PAGE, flags=re.DOTALL).group(1)
    compile(settings, "course.py", "exec")


def test_a_shared_folder_of_models_is_only_read(tmp_path, monkeypatch):
    from hub_server import HubServer

    from course_lib.pipelines.bundle import find
    from course_lib.pipelines.registry import REGISTRY, SHIPPED
    from course_lib.pipelines.shelf import model_states, prefetch, verify

    shared, spec = tmp_path / "shared", REGISTRY["sd15"]
    with HubServer({spec.sources[0].repo: SHIPPED / "mini"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        prefetch("sd15", to=shared, say=lambda _: None, progress=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COURSE_MODELS", str(shared))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))

    def state():
        return {p: p.stat().st_mtime_ns for p in [shared, *shared.rglob("*")]}

    before = state()
    assert find(spec).path == shared / "sd15" and verify(shared / "sd15") == []
    assert prefetch("sd15", say=lambda _: None) == shared / "sd15"
    assert "sd15" in [found.spec.name for found in model_states() if found.path]
    assert type(cl.load_pipeline("sd15")).__name__ == "StableDiffusionPipeline"
    assert state() == before


def test_a_cache_that_is_not_the_learners_is_only_read(tmp_path):
    made = cache.ChunkCache(tmp_path, series="x", size=32, must_write=True)
    file = tmp_path / "a file"
    file.touch()
    unwritable = cache.ChunkCache(file, series="x", size=32, must_write=False)
    assert made.writable and not unwritable.writable and unwritable.read(0) is None
