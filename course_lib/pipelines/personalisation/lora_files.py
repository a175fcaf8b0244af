"""The file of a training: stock names inside, and a header that says how it came about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib.pipelines.files import PICKLE_ENDINGS
from course_lib.weights import save_tensors

ADAPTER = "personalised"  # of the LoRA in training
_INFO = "info"  # the entry of the header in which `save_tensors` keeps ours
_PEFT = "lora_adapter_metadata"  # the one in which diffusers looks for rank and alpha


def lora_tensors(unet, format: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The LoRA in training as stock tensors in float16, and the entries for the header.

    Parameters
    ----------
    unet : UNet2DConditionModel
        With an adapter called `ADAPTER`.
    format : str
        "diffusers", or "kohya" for the programs that read that one.
    """
    from diffusers.utils import convert_state_dict_to_kohya
    from peft.utils import get_peft_model_state_dict

    config = unet.peft_config[ADAPTER]
    state = get_peft_model_state_dict(unet, adapter_name=ADAPTER)
    state = {name: value.detach().to("cpu", torch.float16) for name, value in state.items()}
    if format == "kohya":
        tensors = convert_state_dict_to_kohya({f"unet.{k}": v for k, v in state.items()})
        for name in tensors:
            if name.endswith(".alpha"):  # diffusers writes the rank there
                tensors[name] = torch.tensor(float(config.lora_alpha))
        header = {
            "ss_network_module": "networks.lora", "ss_network_dim": str(config.r),
            "ss_network_alpha": str(config.lora_alpha),
        }  # fmt: skip
        return tensors, header
    peft = {"r": config.r, "lora_alpha": config.lora_alpha,
            "target_modules": sorted(config.target_modules)}  # fmt: skip
    header = {_PEFT: json.dumps({f"unet.{name}": value for name, value in peft.items()})}
    # Under peft's own names: convert_state_dict_to_diffusers renames the attention layers alone,
    # and of a file with both kinds of names diffusers loads the convolutions only
    return {f"unet.{name}": value for name, value in state.items()}, header


def write_file(
    path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str], info: Mapping[str, Any]
) -> Path:
    """Write the file, whole or not at all, readable by everybody.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written.
    """
    return save_tensors(path, tensors, info, header={"format": "pt", **header})


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """A file of a LoRA or of a textual inversion, read and known to be safe.

    Attributes
    ----------
    path : Path
    tensors : dict of str to Tensor
    header : dict of str to str
        The file's metadata.
    info : dict
        What `personalise` wrote about it; empty for files of other programs.
    """

    path: Path
    tensors: dict[str, Tensor]
    header: dict[str, str]
    info: dict[str, Any]

    @property
    def name(self) -> str:
        """The file's name without its ending, by which prompts of other programs call it."""
        return self.path.stem

    @property
    def is_lora(self) -> bool:
        return any(".lora" in key or "lora_" in key for key in self.tensors)

    @property
    def hash(self) -> str:
        """The first 12 digits of the SHA-256 of what follows the header, as A1111 names LoRAs."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(8 + int.from_bytes(file.read(8), "little"))
            while block := file.read(2**20):
                digest.update(block)
        return digest.hexdigest()[:12]


def read_file(path: str | Path) -> AdapterFile:
    """Read a LoRA or a textual inversion.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, it is a pickle, or it is no readable safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path).expanduser()
    if path.suffix.lower() in PICKLE_ENDINGS:
        raise ValueError(
            f"{path} is refused: a pickle ({path.suffix}) can run any code when it is opened. Look "
            "for a .safetensors version of it."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} (looked in {Path.cwd()}).")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is no readable safetensors file ({error}). It may be cut short, or a pickle "
            "under another name, which is never loaded."
        ) from None
    return AdapterFile(path, tensors, header, _info(header))


def _info(header: Mapping[str, str]) -> dict[str, Any]:
    try:
        info = json.loads(header.get(_INFO, "{}"))
    except (ValueError, RecursionError):
        info = None
    return info if isinstance(info, dict) else {}


def architecture(unet) -> dict[str, Any]:
    """What two U-Nets must share for a LoRA of one to fit the other."""
    names = ("in_channels", "cross_attention_dim", "block_out_channels", "layers_per_block")
    return {name: _plain(unet.config[name]) for name in names}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
