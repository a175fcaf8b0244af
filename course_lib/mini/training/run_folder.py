"""The folder of a training: checkpoints, finished stages, and the report of what was done."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path

from torch import nn

from course_lib.file_writing import write_atomically
from course_lib.weights import load_tensors, save_tensors

REPORT = "training_report.json"
_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "resvg-py")


class RunFolder:
    """Where a training keeps what it needs to go on after it was stopped.

    ``STAGE.safetensors`` is the checkpoint of a stage in training, ``finished/STAGE.safetensors``
    holds the networks that a finished stage changed, in float32, and ``training_report.json`` the
    settings and one entry for each finished stage.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    writes : bool
        False in all but the first of several processes.
    """

    def __init__(self, folder: Path, *, writes: bool = True):
        self.folder, self.writes = Path(folder), writes
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / REPORT
        self.report: dict = {"settings": {}, "seconds": 0.0, "stages": {}}
        if path.is_file():
            self.report = json.loads(path.read_text(encoding="utf-8"))

    def open(self, settings: dict) -> None:
        """Compare a training's settings with those of the training that began here, if any.

        Raises
        ------
        ValueError
            If they differ.
        """
        old = self.report["settings"]
        changed = [
            f"{name} was {old[name]}, now {value}"
            for name, value in settings.items()
            if name in old and old[name] != value
        ]
        if changed:
            raise ValueError(
                f"{self.folder} holds a training with other settings: {'; '.join(changed)}. Give "
                "another --folder, or the same settings to go on with it."
            )
        self.report["settings"] = settings

    def checkpoint(self, stage: str) -> Path:
        """The checkpoint of a stage."""
        return self.folder / f"{stage}.safetensors"

    def keep(
        self, stage: str, networks: dict[str, nn.Module], entry: dict, *, seconds: float
    ) -> None:
        """Write the networks of a finished stage, and its entry of the report.

        The checkpoint, which is no longer needed, is removed. `seconds` is what the whole training
        has taken so far.
        """
        versions = {name: metadata.version(name) for name in _PACKAGES}
        entry = entry | {"versions": {"python": platform.python_version()} | versions}
        self.report["stages"][stage] = entry
        self.report["seconds"] = seconds
        if self.writes:
            tensors = {
                f"{name}.{key}": tensor
                for name, network in networks.items()
                for key, tensor in network.state_dict().items()
            }
            save_tensors(self._finished(stage), tensors, {"stage": stage})
            self.write_report()
            self.checkpoint(stage).unlink(missing_ok=True)

    def restore(self, stage: str, networks: dict[str, nn.Module]) -> bool:
        """Read what `keep` wrote into `networks`; False if the stage is not finished."""
        if not self._finished(stage).is_file():
            return False
        tensors, _ = load_tensors(self._finished(stage))
        for name, network in networks.items():
            prefix = f"{name}."
            state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            network.load_state_dict(state)
        return True

    def _finished(self, stage: str) -> Path:
        return self.folder / "finished" / f"{stage}.safetensors"

    def write_report(self) -> None:
        """Write the report; from now on the folder belongs to this training."""
        if self.writes:
            text = json.dumps(self.report, indent=2) + "\n"
            write_atomically(self.folder / REPORT, text.encode())
