"""The command line: ``python -m course_lib start``, ``doctor``, ``paint``, ``personalise`` ...

Expected failures, such as a file that cannot be written or a port in use, are one sentence on
stderr and exit code 1; wrong arguments are exit code 2, as usual.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# While PyTorch is imported, which takes seconds, Ctrl+C ends the program without a traceback
_INTERRUPTED = signal.getsignal(signal.SIGINT)
if __name__ == "__main__" and _INTERRUPTED is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

try:
    from course_lib.classroom.course_map import course_map
    from course_lib.classroom.lessons import FIRST_LESSON, lessons_folder
    from course_lib.classroom.preflight import add_preflight
    from course_lib.classroom.progress import add_progress
    from course_lib.device import device_report, get_device, hosted_platform
    from course_lib.doctor import REINSTALL, check_packages, run_doctor
    from course_lib.file_writing import write_atomically
    from course_lib.lesson_copies import copy_lessons
    from course_lib.pipelines import commands
    from course_lib.provenance.commands import add_provenance
    from course_lib.widgets.commands import add_quiz
except ModuleNotFoundError as missing:  # PyTorch, most likely: say what to do, not where it failed
    sys.exit(
        f"course_lib: the package {missing.name} is not installed. "
        "Run in the course's folder:  python3 start.py  (or: pip install -r requirements.txt)"
    )


class CourseError(Exception):
    """Something that the user can mend; its text says how."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # of another kind, or closed
            stream.reconfigure(errors="backslashreplace")  # for names that it cannot encode
    try:
        try:
            if sys.flags.optimize > 1:
                raise CourseError(
                    "Python's option -OO (PYTHONOPTIMIZE=2) removes the docstrings that "
                    "transformers needs to load. Run it without, or with -O."
                )
            options = _parser().parse_args(arguments)
            return options.run(options)
        finally:
            print(end="", flush=True)  # here, where a closed pipe can still be answered
    except BrokenPipeError:  # the reader has gone, as after "| head -1"
        with contextlib.suppress(AttributeError, OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (CourseError, ValueError, OSError) as error:
        print(f"course_lib: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m course_lib", description="Portrait Diffusion, from the command line."
    )
    subparsers = parser.add_subparsers(required=True, metavar="command")
    start = subparsers.add_parser(
        "start", help="check the installation, paint a first portrait and open lesson 00"
    )
    start.add_argument("--check", action="store_true", help="stop after the check (exit 0 or 1)")
    start.add_argument("--no-browser", action="store_true", help="print the address instead")
    start.add_argument("--port", type=int, help="port for JupyterLab (default: the first free one)")
    start.add_argument(
        "-o", "--output", type=Path, default=Path("portrait.png"), help="file for the portrait"
    )
    start.add_argument(
        "--fresh", type=Path, metavar="DIR", help="work in copies of the lessons without outputs"
    )
    start.set_defaults(run=start_course)
    doctor = subparsers.add_parser("doctor", help="describe this machine and installation")
    doctor.set_defaults(run=run_doctor)
    commands.add_commands(subparsers)
    add_provenance(subparsers)
    add_progress(subparsers)
    add_preflight(subparsers)
    add_quiz(subparsers)
    _add_compare(subparsers)
    return parser


def _add_compare(subparsers: argparse._SubParsersAction) -> None:
    compare = subparsers.add_parser(
        "compare", help="measure how far generated pictures are from real ones"
    )
    compare.add_argument("real", type=Path, metavar="REAL_FOLDER")
    compare.add_argument("generated", type=Path, metavar="GENERATED_FOLDER")
    compare.add_argument(
        "--features", choices=["classifier", "random"], default="classifier",
        help="the mini's attribute classifier, for portraits, or random filters, for anything",
    )  # fmt: skip
    compare.add_argument("--json", action="store_true", help="print the numbers as JSON")
    compare.set_defaults(run=run_compare)


def run_compare(options: argparse.Namespace) -> int:
    """Print the table of two folders."""
    from course_lib.mini.comparison import compare

    result = compare(options.real, options.generated, features=options.features)
    print(json.dumps(result.as_dict(), indent=2) if options.json else result)
    return 0


def start_course(options: argparse.Namespace) -> int:
    """Report the device, check the installation, paint a portrait, open JupyterLab."""
    if options.port is not None:
        _require_free_port(options.port)
    print(device_report(), end="\n\n")
    problems = check_packages()
    if problems:
        raise CourseError("\n  ".join(["the installation is incomplete:", *problems, REINSTALL]))
    paint_first_portrait(options.output)
    print(f"A first portrait is in {options.output}.")
    seconds = try_diffusion()
    print(f"A small diffusion model trained one step and sampled in {seconds:.1f} s.")
    notebook = lessons_folder() / FIRST_LESSON
    if options.fresh:
        kept = copy_lessons(notebook.parent, options.fresh)
        print(
            f"The lessons are in {options.fresh}; {len(kept)} were there and are as you left them."
        )
        notebook = options.fresh.resolve() / FIRST_LESSON
    print(course_map(notebook.parent).next_step())
    print("Check: OK, everything is in place.", flush=True)
    if options.check:
        return 0
    host = hosted_platform()
    if host:
        print(f"You are on {host.capitalize()} already: open {notebook} from the file browser.")
        return 0
    return open_lab(notebook, browser=not options.no_browser, port=options.port)


def paint_first_portrait(path: Path) -> None:
    """Paint the portrait that greets a newcomer, 512 x 512 pixels, into `path`."""
    from PIL import Image

    from course_lib.portraits import Attributes, paint_portrait

    person = Attributes(
        age="young", gender="woman", skin="fair", hair_color="red", hair_style="curly",
        eyewear="round glasses", expression="smiling", clothing="turtleneck",
        clothing_color="green", background="sunset", pose="turned left", light="left",
        style="oil painting", quality="masterful",
    )  # fmt: skip
    image = Image.fromarray(paint_portrait(person, seed=7, size=512))
    buffer = io.BytesIO()
    try:
        image.save(buffer, Image.registered_extensions()[path.suffix.lower()])
        write_atomically(path, buffer.getvalue())
    except KeyError:
        raise CourseError(
            f"{path} ends like no picture. Choose another file with --output, such as "
            "--output portrait.png in a folder of your own."
        ) from None
    except OSError as error:
        raise CourseError(f"{error} Choose one with --output.") from None


def try_diffusion() -> float:
    """Train one step and sample one picture with a small model; return the seconds it took."""
    import torch

    from course_lib.diffusion import DiffusionModel

    started = time.perf_counter()
    device = get_device()
    model = DiffusionModel(num_timesteps=5).to(device)
    loss = model.train_step(torch.zeros(2, 3, 32, 32, device=device))
    images = model.generate(torch.randn(1, 3, 32, 32).to(device))
    if not (torch.isfinite(loss) and torch.isfinite(images).all()):
        raise CourseError(f"the model computed NaN on {device}. Try again with COURSE_DEVICE=cpu.")
    return time.perf_counter() - started


def open_lab(notebook: Path, *, browser: bool, port: int | None) -> int:
    """Run JupyterLab with `notebook` open until the user stops it; return its exit code."""
    root = notebook.parent.parent  # the repository, so that links between its files work
    command = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{notebook.relative_to(root).as_posix()}",
    ]  # fmt: skip
    if not browser:
        command.append("--no-browser")
    if port is not None:
        command += [f"--port={port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container there is often no other user
    print("Starting JupyterLab. Stop it with Ctrl+C.", flush=True)
    process = subprocess.Popen(command, cwd=root)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # JupyterLab got it as well, and asks whether to stop
            continue


def _require_free_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise CourseError(f"--port must be from 1 to 65535, not {port}.")
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CourseError(
                f"port {port} cannot be used ({error.strerror}). Choose another with --port, or "
                "leave the option out to get the first free one."
            ) from None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _INTERRUPTED)
    sys.exit(main())
