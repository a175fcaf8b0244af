"""The command line's ``paint`` and ``prefetch``, and what ``doctor`` says of models."""

from __future__ import annotations

import argparse
import sys
import tempfile
import urllib.parse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from course_lib.pipelines.personalisation.commands import add_personalise, lora_argument
from course_lib.pipelines.registry import REGISTRY, SCHEDULERS

_MODEL_HELP = f"one of {', '.join(REGISTRY)}, an id of the model hub, a folder or a .safetensors"

_PROMPTS = (
    "a pastel portrait of a smiling woman with red hair",
    "a watercolor of an old man with a beard, in front of a bookshelf",
    "a pixel art portrait of a laughing man with sunglasses",
    "a flat illustration of a girl with braids and a yellow t-shirt",
)
_PAINT_EXAMPLES = "\n".join(
    ["prompts that the mini knows:", *(f'  python -m course_lib paint "{p}"' for p in _PROMPTS),
     "", "what to keep away from:", '  python -m course_lib paint "a man" --negative "glasses"']
)  # fmt: skip


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add ``paint``, ``prefetch`` and ``personalise`` to the command line."""
    _add_paint(
        commands.add_parser(
            "paint", help="paint portraits from a prompt", epilog=_PAINT_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )  # fmt: skip
    prefetch = commands.add_parser(
        "prefetch", help="fetch a model now, for the day without a network"
    )
    prefetch.add_argument("model", nargs="*", help=f"{_MODEL_HELP}; without it: what is here")
    prefetch.add_argument(
        "--to", type=Path, metavar="FOLDER", help="make an offline bundle there, to hand out"
    )
    prefetch.add_argument("--revision", help="another commit than the pinned one")
    prefetch.add_argument("--verify", action="store_true", help="only compare checksums")
    prefetch.set_defaults(run=run_prefetch)
    add_personalise(commands)


def _add_paint(paint: argparse.ArgumentParser) -> None:
    paint.add_argument(
        "prompt", nargs="?", help="what to paint, such as 'a smiling woman, watercolor'"
    )
    paint.add_argument("-o", "--output", type=Path, default=Path("portrait.png"), help="a PNG file")
    paint.add_argument("--model", help=f"{_MODEL_HELP} (default: mini)")
    paint.add_argument("--seed", type=int, help="seed of the first picture (default: 0)")
    paint.add_argument("--steps", type=_numbers(int), help="how many steps; with --grid: 4,8,16")
    paint.add_argument("--guidance", type=_numbers(float), help="how closely to follow the prompt")
    paint.add_argument("--negative", metavar="TEXT", help="what to keep away from")
    paint.add_argument("--scheduler", choices=[*SCHEDULERS, "own"], help="the sampling method")
    paint.add_argument("--size", type=_size, help="pixels, as 512 or as 512x768 (width x height)")
    paint.add_argument(
        "--lora", type=lora_argument, action="append", metavar="FILE[:SCALE]",
        help="a LoRA or a textual inversion, as personalise writes it; can be given again",
    )  # fmt: skip
    paint.add_argument("-n", type=int, default=None, help="how many pictures (default: 1)")
    paint.add_argument(
        "--from-image", type=Path, metavar="PNG",
        help="paint it again from the recipe in the file; other options change the recipe",
    )  # fmt: skip
    paint.add_argument(
        "--init-image", type=Path, metavar="FILE", help="a picture to begin with (image to image)"
    )
    paint.add_argument(
        "--strength", type=float,
        help="how far to leave it, from above 0 to 1 (default: 0.6; with --mask: 1)",
    )  # fmt: skip
    paint.add_argument(
        "--mask", type=Path, metavar="FILE",
        help="paint only where this picture, as large as the other one, is white",
    )  # fmt: skip
    paint.add_argument(
        "--grid", action="store_true",
        help="one sheet of n seeds x several --guidance x several --steps",
    )  # fmt: skip
    paint.set_defaults(run=run_paint)


def _numbers(kind: type):
    """A parser for ``8`` or ``4,8,16``."""

    def parse(text: str) -> list:
        return [kind(part) for part in text.split(",")]

    parse.__name__ = "number or list of numbers with commas"
    return parse


def _size(text: str) -> int | tuple[int, int]:
    width, _, height = text.lower().partition("x")
    return (int(height), int(width)) if height else int(width)


_size.__name__ = "size"


def run_paint(options: argparse.Namespace, save: Callable[[Any, Path], Path] | None = None) -> int:
    """Paint and write PNG files, with `save`; several pictures get numbers in their names."""
    if options.prompt is None and options.from_image is None:
        raise ValueError(
            "say what to paint, such as:  paint 'a smiling woman', or use --from-image"
        )
    _check_init_image(options)
    if options.prompt is not None and not options.prompt.strip():
        print("course_lib: the prompt is empty, so the model paints anybody.", file=sys.stderr)
    if options.output.suffix.lower() != ".png":
        raise ValueError(
            f"--output must end in .png, since a PNG keeps the recipe, not {options.output.name!r}."
        )
    _require_writable(options.output.parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        images = _grid(options) if options.grid else _paint(options)
    from course_lib.pipelines.metadata import save_png

    paths = _paths(options.output, len(images))
    # All are saved before anything is printed: the reader of the output may have gone
    written = [(save or save_png)(image, path) for image, path in zip(images, paths, strict=True)]
    print(*written, sep="\n")
    return 0


def _check_init_image(options: argparse.Namespace) -> None:
    for name in ("strength", "mask"):
        if getattr(options, name) is not None and options.init_image is None:
            raise ValueError(f"--{name} is for painting from a picture: add --init-image FILE.")
    if options.grid and options.init_image is not None:
        raise ValueError("--grid paints from a prompt alone: leave out --grid or --init-image.")


def _require_writable(folder: Path) -> None:
    """Find out before minutes of painting that a picture could not be saved."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write to {folder} ({error.strerror}). Choose another folder with --output."
        ) from None


def _show_warning(message: Any, *rest: Any, **named: Any) -> None:
    print(f"course_lib: {message}", file=sys.stderr)


def _paths(output: Path, count: int) -> list[Path]:
    """The file's name, or numbered names: x-1.png, x-2.png."""
    if count == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{k + 1}{output.suffix}") for k in range(count)]


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """What the user said, by the names of `paint`'s arguments."""
    names = {"seed": "seed", "negative": "negative_prompt", "n": "n", "size": "size",
             "scheduler": "scheduler", "lora": "lora"}  # fmt: skip
    found = {ours: getattr(options, theirs) for theirs, ours in names.items()}
    return {key: value for key, value in found.items() if value is not None}


def _paint(options: argparse.Namespace) -> list:
    from course_lib.pipelines.painting import paint
    from course_lib.pipelines.repainting import repaint

    arguments = _given(options)
    for name in ("steps", "guidance"):
        values = getattr(options, name)
        if values and len(values) > 1:
            raise ValueError(f"--{name} takes one number, or several with --grid.")
        arguments.update({name: values[0]} if values else {})
    progress = sys.stderr.isatty()
    if options.init_image is not None:
        return _edit(options, arguments | {"progress": progress})
    if options.from_image is not None:
        arguments.update({"prompt": options.prompt} if options.prompt is not None else {})
        return repaint(options.from_image, options.model, progress=progress, **arguments)
    return paint(options.prompt, options.model or "mini", progress=progress, **arguments)


def _edit(options: argparse.Namespace, arguments: dict[str, Any]) -> list:
    """Paint from a picture, with a mask or without."""
    from course_lib.pipelines.editing import image_to_image, inpaint
    from course_lib.pipelines.metadata import load_settings
    from course_lib.pipelines.repainting import recipe_arguments

    found: dict[str, Any] = {"model": options.model or "mini"}
    if options.from_image is not None:
        recipe = load_settings(options.from_image)
        found = recipe_arguments(recipe, options.model)
        found |= {"strength": recipe["strength"]} if "strength" in recipe else {}
    found |= arguments
    found |= {} if options.prompt is None else {"prompt": options.prompt}
    found |= {} if options.strength is None else {"strength": options.strength}
    if options.mask is None:
        return image_to_image(image=options.init_image, **found)
    return inpaint(image=options.init_image, mask=options.mask, **found)


def _grid(options: argparse.Namespace) -> list:
    from course_lib.pipelines.grid import paint_grid
    from course_lib.pipelines.metadata import load_settings
    from course_lib.pipelines.repainting import recipe_arguments

    arguments = {"model": options.model or "mini"}
    if options.from_image:
        arguments = recipe_arguments(load_settings(options.from_image), options.model)
    arguments |= _given(options)
    arguments |= {} if options.prompt is None else {"prompt": options.prompt}
    first, count = arguments.pop("seed", 0), arguments.pop("n", 2)
    for name, several, given in (
        ("steps", "steps", options.steps), ("guidance", "guidances", options.guidance),
    ):  # fmt: skip
        own = [arguments.pop(name)] if name in arguments else None
        arguments |= {several: given or own} if given or own else {}
    return [paint_grid(seeds=range(first, first + count), **arguments)]


def run_prefetch(options: argparse.Namespace) -> int:
    """Fetch models, or verify them, or list what is here."""
    from course_lib.pipelines.bundle import folder_name, models_folder
    from course_lib.pipelines.registry import spec_for
    from course_lib.pipelines.shelf import prefetch, verify, verify_shipped

    if not options.model:
        print("\n".join(describe_models()))
        return 0
    failed = 0
    for name in options.model:
        if not options.verify:
            prefetch(name, to=options.to, revision=options.revision)
            continue
        spec = spec_for(name)
        if spec.shipped:
            verify_shipped(spec)
            wrong = []
        else:
            wrong = verify((options.to or models_folder()) / folder_name(spec))
        print(f"{name}: {'whole' if not wrong else 'not whole: ' + '; '.join(wrong)}")
        failed += bool(wrong)
    return int(failed > 0)


def describe_models() -> list[str]:
    """A line for each model of the registry: whether it is here, size, licence."""
    from course_lib.pipelines.shelf import model_states

    lines = []
    for state in model_states():
        mark = "yes" if state.path else "no "
        lines.append(f"  {state.spec.name:<14}{mark}  {state.note}; licence {state.spec.licence}")
    return lines


def describe_hub() -> str:
    """Whether the model hub answers, in a few words and within seconds."""
    from course_lib.pipelines import http_requests, hub

    if http_requests.is_offline():
        return "switched off by HF_HUB_OFFLINE."
    name = urllib.parse.urlsplit(http_requests.endpoint()).netloc
    try:
        hub.list_files("openai/clip-vit-large-patch14")
    except hub.HubError as error:
        if error.kind in ("gone", "gated", "revision"):
            return f"{name} answers."
        return f"not usable: {error}."
    return f"{name} answers."
