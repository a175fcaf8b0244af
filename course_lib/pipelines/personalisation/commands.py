"""The command line's ``personalise``, and how ``paint`` reads ``--lora``."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from course_lib.pipelines.personalisation.consent import WORDING
from course_lib.pipelines.personalisation.settings import FORMATS, METHODS

_EXAMPLES = """\
a style, from a folder of drawings of your own:
  python -m course_lib personalise drawings --name myink --i-have-consent -o myink.safetensors
  python -m course_lib paint "a portrait of a woman in the style of myink" --lora myink.safetensors

one person (and then:  paint "a portrait of anna woman, watercolor" --lora anna.safetensors:0.8):
  python -m course_lib personalise photos --method dreambooth --model sd15 --name anna \\
      --class-word woman --i-have-consent
"""


def add_personalise(commands: argparse._SubParsersAction) -> None:
    """Add ``personalise`` to the command line."""
    parser = commands.add_parser(
        "personalise", help="train on a folder of your own pictures", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("folder", type=Path, help="pictures, with captions in metadata.jsonl or text files or none")
    add("--name", required=True, help="one word for the person or style, which prompts use")
    add("-o", "--output", type=Path, help="a .safetensors file (default: NAME.safetensors)")
    add("--method", default="lora", help=f"one of {', '.join(METHODS)} (default: lora)")
    add("--model", default="mini", help="mini (the default), sd15, sdxl, a hub id, or a folder")
    add("--i-have-consent", action="store_true", dest="consent", help=WORDING)
    add("--caption", help="of every picture, instead of the folder's captions")
    add("--class-word", default="person", help="what the subject is one of, such as woman")
    add("--steps", type=int, help="at most so many steps")
    add("--minutes", type=float, help="at most so many minutes")
    add("--lr", type=float, help="peak learning rate")
    add("--batch-size", type=int)
    add("--rank", type=int, help="of the LoRA; of a textual inversion, the number of tokens")
    add("--seed", type=int, default=0)
    add("--patience", type=int, default=4, help="stop after so many measurements without a gain")
    add("--preview-every", type=int, metavar="STEPS", help="0 for none (default: 4 in a run)")
    add("--preview-prompt", action="append", dest="preview_prompts", metavar="PROMPT")
    add("--format", default="diffusers", help=f"{' or '.join(FORMATS)} (for other SD 1.5 programs)")
    add("--overwrite", action="store_true", help="replace the file if it exists")
    parser.set_defaults(run=run_personalise)


def run_personalise(options: argparse.Namespace) -> int:
    """Train, and say where the file is."""
    from course_lib.pipelines.personalisation.training import personalise
    from course_lib.training_run import TrainingDiverged

    given = {name: value for name, value in vars(options).items() if name not in ("run", "folder")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show
            personalise(options.folder, progress=sys.stderr.isatty(), **given)
    except TrainingDiverged as error:
        raise ValueError(str(error)) from None
    except KeyboardInterrupt:
        print("course_lib: stopped; the same command goes on.", file=sys.stderr)
        return 130
    return 0


def _show(message, *rest, **named) -> None:
    print(f"course_lib: {message}", file=sys.stderr)


def lora_argument(text: str) -> tuple[Path, float]:
    """``FILE`` or ``FILE:scale``; a colon that no number follows belongs to the name."""
    file, colon, scale = text.rpartition(":")
    try:
        return (Path(file), float(scale)) if colon and file else (Path(text), 1.0)
    except ValueError:
        return Path(text), 1.0
