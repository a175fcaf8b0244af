"""Use files of a training for a while, and leave the pipeline as it was."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from course_lib.errors import check_number
from course_lib.pipelines.locks import model_lock
from course_lib.pipelines.personalisation.lora_files import AdapterFile, architecture, read_file
from course_lib.pipelines.personalisation.tokens import extra_tokens
from course_lib.pipelines.tuning import quiet, report_of

LARGEST_SCALE = 10.0


def as_loras(given: Any) -> list[tuple[Path, float]]:
    """Files and scales from what `paint` takes: a path, a pair (path, scale), or a list of such.

    Raises
    ------
    TypeError, ValueError
        If it is something else, or a scale is no number from -10 to 10.
    """
    if given is None:
        return []
    pairs = given if isinstance(given, list) else [given]
    found = []
    for pair in pairs:
        path, scale = pair if isinstance(pair, tuple) and len(pair) == 2 else (pair, 1.0)
        if not isinstance(path, (str, Path)):
            raise TypeError(
                f"lora must be a file, a pair (file, scale) or a list of such, not {pair!r}."
            )
        scale = check_number("the scale of a lora", scale, low=-LARGEST_SCALE, high=LARGEST_SCALE)
        found.append((Path(path), scale))
    return found


@contextlib.contextmanager
def attached(pipe, loras: Sequence[tuple[Path, float]]) -> Iterator[list[dict[str, Any]]]:
    """Let a pipeline paint with LoRAs and textual inversions, which are removed at the end.

    No other thread paints with the pipeline meanwhile.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
    loras : sequence of (path, scale)
        As `as_loras` returns them. A textual inversion is recognised by its content.

    Yields
    ------
    list of dict
        ``name``, ``file``, ``hash``, ``scale`` and ``kind`` of each, for the picture's recipe.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing, refused or made for another model. Nothing has changed then.
    """
    if not loras:
        yield []
        return
    files = [(read_file(path), scale) for path, scale in loras]
    with model_lock(pipe):
        unets = [(_unet_part(pipe, f), f, scale) for f, scale in files if f.is_lora]
        rows = _all_rows(pipe, [(f, scale) for f, scale in files if not f.is_lora])
        with contextlib.ExitStack() as stack:
            if rows:
                stack.enter_context(extra_tokens(pipe, rows))
            if unets:
                stack.enter_context(_in_unet(pipe, unets))
            yield [
                {
                    "name": f.name,
                    "file": f.path.name,
                    "hash": f.hash,
                    "scale": scale,
                    "kind": "lora" if f.is_lora else "embedding",
                }
                for f, scale in files
            ]


@contextlib.contextmanager
def _in_unet(pipe, loras) -> Iterator[None]:
    """LoRAs in the U-Net; adapters that were there stay active beside them and come back after."""
    unet = pipe.unet
    before = list(getattr(unet, "peft_config", {}))
    active = list(unet.active_adapters()) if before else []
    scalings = _scalings(unet)
    names = [f"course_{number}" for number in range(len(loras))]
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's remarks on adapters beside adapters
            for name, ((state, alphas, header), _, _) in zip(names, loras, strict=True):
                type(pipe).load_lora_into_unet(
                    state, network_alphas=alphas, unet=unet, adapter_name=name, metadata=header,
                )  # fmt: skip
            weights = [1.0] * len(active) + [scale for _, _, scale in loras]
            unet.set_adapters([*active, *names], weights)
            _restore(scalings)  # of the earlier ones, which set_adapters has set to 1
        yield
    finally:
        there = [name for name in names if name in getattr(unet, "peft_config", {})]
        if before:
            unet.delete_adapters(there)
            unet.set_adapter(active)
            _restore(scalings)
        elif there:
            unet.unload_lora()


def _scalings(unet) -> list[tuple[dict[str, float], dict[str, float]]]:
    """The scaling tables of all layers with adapters, and copies of them."""
    tables = (getattr(layer, "scaling", None) for layer in unet.modules())
    return [(table, dict(table)) for table in tables if isinstance(table, dict)]


def _restore(scalings: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    for table, earlier in scalings:
        table.update(earlier)


def _unet_part(pipe, file: AdapterFile):
    """A LoRA's tensors for the U-Net, its alphas and peft's entry, once they are known to fit."""
    if not hasattr(pipe, "load_lora_into_unet"):
        raise ValueError(
            f"{file.path} is a LoRA for a U-Net, and {type(pipe).__name__} has none of these kinds."
        )
    _check_architecture(pipe, file)
    with quiet():
        state, alphas, header = type(pipe).lora_state_dict(
            str(file.path.parent), weight_name=file.path.name, unet_config=pipe.unet.config,
            return_lora_metadata=True, local_files_only=True,
        )  # fmt: skip
    own = {name: value for name, value in state.items() if name.startswith("unet.")}
    if any(".lora_A." in name for name in own):  # of two kinds of names diffusers loads one
        parts = {".lora.down.": ".lora_A.", ".lora.up.": ".lora_B."}
        for theirs, ours in parts.items():
            own = {name.replace(theirs, ours): value for name, value in own.items()}
    if not own:
        raise ValueError(f"{file.path} holds no LoRA for a U-Net, so there is nothing to use.")
    if len(own) < len(state):
        warnings.warn(
            f"{file.path.name} also changes the text encoder, which is not followed: only its part "
            "for the U-Net is used.",
            stacklevel=2,
        )
    _check_shapes(pipe, file, own)
    alphas = {k: v for k, v in (alphas or {}).items() if k.startswith("unet.")} or None
    return own, alphas, header


def _check_architecture(pipe, file: AdapterFile) -> None:
    made_for = file.info.get("architecture")
    if made_for is not None and made_for != architecture(pipe.unet):
        raise ValueError(
            f"{file.path} was made for {file.info.get('model', 'another model')!r}, and the U-Net "
            f"of {report_of(pipe).model!r} has another architecture. Take that model, or train a "
            "file for this one."
        )


def _check_shapes(pipe, file: AdapterFile, state) -> None:
    """Compare every pair of matrices with the layer that it is for."""
    layers = dict(pipe.unet.named_modules())
    for name, tensor in state.items():
        place, down = _place(name)
        layer = layers.get(place)
        weight = getattr(getattr(layer, "base_layer", layer), "weight", None)
        if place is None:
            continue
        if weight is None or tensor.shape[down] != weight.shape[down]:
            there = "missing" if weight is None else tuple(weight.shape)
            raise ValueError(
                f"{file.path} was made for another model: it changes the layer {place}, with "
                f"weights of shape {tuple(tensor.shape)}, and in {report_of(pipe).model!r} that "
                f"layer is {there}. Take the model that it was trained on."
            )


def _place(name: str) -> tuple[str | None, int]:
    """The layer that a tensor belongs to, and the axis that both share: 1 of A, 0 of B."""
    for mark, axis in (
        (".lora_A.", 1), (".lora.down.", 1), (".lora_B.", 0), (".lora.up.", 0),
    ):  # fmt: skip
        if mark in name:
            place = name.removeprefix("unet.").partition(mark)[0]
            return place, axis
    if "_lora." in name:  # the oldest names: attn1.processor.to_q_lora.down.weight
        place, _, rest = name.removeprefix("unet.").partition("_lora.")
        place = place.replace(".processor", "").replace("to_out", "to_out.0")
        return place, 1 if rest.startswith("down") else 0
    return None, 0


def _all_rows(pipe, files: Sequence[tuple[AdapterFile, float]]) -> dict[str, Any]:
    """Token -> embeddings of textual inversions, once they are known to fit."""
    rows: dict[str, Any] = {}
    for file, scale in files:
        if scale != 1:
            raise ValueError(
                f"{file.path} is a textual inversion, which has no scale; weigh its word in the "
                "prompt instead, as in (<name>:0.8)."
            )
        rows |= _rows(pipe, file)
    return rows


def _rows(pipe, file: AdapterFile) -> dict[str, Any]:
    tensors = file.tensors
    if set(tensors) == {"emb_params"}:  # A1111's form: the file's name is the word
        tensors = {file.name: tensors["emb_params"]}
    if len(tensors) != 1 or any(value.ndim not in (1, 2) for value in tensors.values()):
        raise ValueError(
            f"{file.path} is neither a LoRA nor a textual inversion: it holds "
            f"{', '.join(list(tensors)[:3]) or 'nothing'}."
        )
    ((token, value),) = tensors.items()
    value = value.reshape(-1, value.shape[-1])
    encoder = getattr(pipe, "text_encoder", None)
    width = encoder.get_input_embeddings().weight.shape[1] if encoder is not None else 0
    if value.shape[1] != width or getattr(pipe, "text_encoder_2", None) is not None:
        raise ValueError(
            f"{file.path} was made for another model: its embeddings have {value.shape[1]} "
            f"numbers, and the text encoder of {report_of(pipe).model!r} reads {width}."
        )
    return {token: value}
