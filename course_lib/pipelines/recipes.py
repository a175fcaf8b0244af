"""Read recipes: our own JSON, the text that portrait makers share, and the JSON of some of them.

A recipe is text from a stranger's file. Reading it takes time in proportion to its length; what is
not understood but changes the picture is named, and what makes no sense is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from course_lib.device import check_seed
from course_lib.errors import check_number, check_whole
from course_lib.pipelines.registry import SCHEDULERS
from course_lib.pipelines.sampling import MAX_EDGE

# Our scheduler names and those of portrait makers: (sampler, schedule type)
SAMPLERS = {
    "dpmpp_2m": ("DPM++ 2M", "Uniform"),
    "dpmpp_2m_karras": ("DPM++ 2M", "Karras"),
    "dpmpp_2m_lu": ("DPM++ 2M", "Lu"),
    "dpmpp_2m_sde": ("DPM++ 2M SDE", "Uniform"),
    "unipc": ("UniPC", "Uniform"),
    "deis": ("DEIS", "Uniform"),
    "heun": ("Heun", "Uniform"),
    "euler": ("Euler", "Uniform"),
    "euler_trailing": ("Euler", "SGM Uniform"),
    "euler_ancestral": ("Euler a", "Uniform"),
    "ddim": ("DDIM", "Uniform"),
    "ddpm": ("DDPM", "Uniform"),
    "pndm": ("PLMS", "Uniform"),
    "lcm": ("LCM", "Uniform"),
}
_NAMED = {tuple(text.lower() for text in pair): ours for ours, pair in SAMPLERS.items()}
_EVEN = ("", "uniform", "normal", "simple", "ddim_uniform")  # names of evenly spaced timesteps
_SETTINGS_LINE = re.compile(r"^[ \t]*Steps: *\d+ *(?:,|$)", re.MULTILINE)
# Text up to a comma that stands outside quotes. No two alternatives begin alike, so that reading
# takes linear time
_FIELD = re.compile(r'(?:[^,"]+|"(?:[^"\\]+|\\.)*(?:"|\\?\Z))+', re.DOTALL)
_TEMPLATES = re.compile(r"\n(?:Negative )?Template:")  # what a prompt was made from, at the end
_FIELDS = {
    "Steps": "steps", "CFG scale": "guidance", "Seed": "seed", "Model": "model", "Size": "size",
    "Sampler": "sampler", "Schedule type": "schedule",
}  # fmt: skip
_SURROGATES = re.compile("[\ud800-\udfff]")
# Fields that change the picture, and that nothing here follows
_UNFOLLOWED = ("Hires ", "Denoising strength", "Clip skip", "Lora", "ControlNet", "Refiner", "RNG")
# Names in the JSON of Fooocus, InvokeAI and SwarmUI
_JSON_NAMES = {
    "prompt": ("prompt", "positive_prompt"), "negative_prompt": ("negative_prompt",),
    "steps": ("steps",), "guidance": ("guidance_scale", "cfg_scale", "cfgscale"),
    "seed": ("seed",), "model": ("base_model", "model"), "size": ("resolution",),
    "width": ("width",), "height": ("height",), "sampler": ("sampler",),
    "schedule": ("scheduler",),
}  # fmt: skip


def read_recipe(text: str) -> tuple[dict[str, Any], list[str]]:
    """Settings from another program's text, and remarks about what they cannot say here.

    Raises
    ------
    ValueError
        If the text holds no prompt, or a setting makes no sense.
    """
    content = _json(text)
    if content is None and text.lstrip().startswith("{") and not _SETTINGS_LINE.search(text):
        raise ValueError("the recipe begins like JSON, but is damaged")
    if content is None:
        found, remarks = _shared_form(text)
    else:
        found, remarks = _from_json(content), []
    sampler, schedule = (str(found.pop(name, "")) for name in ("sampler", "schedule"))
    scheduler, remark = _scheduler(sampler, schedule)
    settings = _numbers(found) | ({"scheduler": scheduler} if scheduler else {})
    return check_recipe(settings), [*remarks, *([remark] if remark else [])]


def check_recipe(settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings, if each has the right type and is in range; None stands for absent.

    Raises
    ------
    ValueError
        Otherwise; the message names the setting.
    """
    for name in ("prompt", "negative_prompt", "model", "scheduler", "weighting"):
        given = settings.get(name, "" if name != "prompt" else None)
        if not isinstance(given, str) and not (given is None and name != "prompt"):
            raise ValueError(f"the recipe's {name} must be a text, not {_brief(given)}")
        if given and _SURROGATES.search(given):
            raise ValueError(f"the recipe's {name} is no whole Unicode text: {given[:40]!a}")
    checks = {
        "seed": check_seed,
        "steps": lambda given: check_whole("steps", given, high=1000),
        "guidance": lambda given: check_number("guidance", given, low=0, high=100),
        "height": lambda given: check_whole("height", given, high=MAX_EDGE),
        "width": lambda given: check_whole("width", given, high=MAX_EDGE),
        "strength": lambda given: check_number("strength", given, low=0, high=1),
    }
    for name, check in checks.items():
        if settings.get(name) is not None:
            check(settings[name])
    _check_loras(settings.get("loras"))
    return settings


def _check_loras(given: Any) -> None:
    """ValueError unless `given` is a list of what `paint` records of each LoRA, or absent."""
    texts = ("name", "file", "hash", "kind")
    for one in given if isinstance(given, list) else [] if given is None else [given]:
        if not isinstance(one, dict) or not all(isinstance(one.get(key), str) for key in texts):
            raise ValueError(f"the recipe's loras must be files with scales, not {_brief(one)}")
        check_number("the scale of a lora", one.get("scale"), low=-10, high=10)


def own_recipe(text: str) -> tuple[dict[str, Any], list[str]] | None:
    """Settings from our own JSON, and remarks; None if it is none.

    Raises
    ------
    ValueError
        As `check_recipe`.
    """
    content = _json(text)
    if not isinstance(content, dict) or "prompt" not in content:
        return None
    name = check_recipe(content).get("scheduler")
    if name is None or name in (*SCHEDULERS, "own"):
        return content, []
    rest = {key: value for key, value in content.items() if key != "scheduler"}
    return rest, [_unknown_sampler(name)]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # RecursionError: brackets within brackets within ...
        return None


def _brief(given: Any) -> str:
    text = repr(given)
    return text if len(text) < 60 else f"{text[:57]}..."


def _shared_form(text: str) -> tuple[dict[str, Any], list[str]]:
    """Prompt, negative prompt and the line of settings; what follows that line is no prompt."""
    marks = list(_SETTINGS_LINE.finditer(text))
    start = marks[-1].start() if marks else len(text)
    words = re.split(r"^Negative prompt:", text[:start], maxsplit=1, flags=re.MULTILINE)
    prompt, negative = (part.strip() for part in [*words, ""][:2])
    found: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative}
    unfollowed = []
    for key, value in _fields(_TEMPLATES.split(text[start:], maxsplit=1)[0]):
        name = _FIELDS.get(key)
        if name:
            found.setdefault(name, _unquoted(value))
        elif key.startswith(_UNFOLLOWED) and (key, value) != ("Clip skip", "1"):
            unfollowed.append(key)
    remark = f"this is not followed: {', '.join(dict.fromkeys(unfollowed))}."
    return found, [remark] if unfollowed else []


def _fields(line: str) -> Iterator[tuple[str, str]]:
    for part in _FIELD.findall(line):
        key, separator, value = part.partition(":")
        if separator:
            yield key.strip(), value.strip()


def _unquoted(value: str) -> str:
    quoted = _json(value) if value.startswith('"') else None
    return quoted if isinstance(quoted, str) else value.strip('"')


def _from_json(content: Any) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise ValueError("the recipe is JSON, but holds no settings")
    found = {}
    for ours, theirs in _JSON_NAMES.items():
        given = next((content[name] for name in theirs if content.get(name) is not None), None)
        if given is not None:
            found[ours] = given.get("name") if isinstance(given, Mapping) else given
    if not isinstance(found.get("prompt"), str):
        raise ValueError("the recipe is JSON, but holds no prompt")
    return {"negative_prompt": ""} | found


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    """Texts of numbers become numbers; "512x768" and "(512, 768)" are width and height."""
    settings = dict(found)
    size = settings.pop("size", None)
    if size is not None:
        edges = re.fullmatch(r"[(\[]?\s*(\d{1,9})\s*[x,\u00d7]\s*(\d{1,9})\s*[)\]]?", str(size))
        if not edges:
            raise ValueError(f"the recipe's size is {_brief(size)}, not as in 512x768")
        settings.update(width=int(edges[1]), height=int(edges[2]))
    for name, kind in (("steps", int), ("guidance", float), ("seed", int)):
        if isinstance(settings.get(name), str):
            try:
                settings[name] = kind(settings[name])
            except ValueError:
                given = _brief(settings[name])
                raise ValueError(f"the recipe's {name} is {given}, which is no number") from None
    return settings


def _scheduler(sampler: str, schedule: str) -> tuple[str, str]:
    """Our name of a sampler, "" if there is none, and a remark if it is not quite the same."""
    name, kind = sampler.strip().lower(), schedule.strip().lower()
    if name in ("", "own"):
        return ("own" if name else ""), ""
    for suffix in (" karras", "_karras"):
        if name.endswith(suffix):
            name, kind = name.removesuffix(suffix), kind or "karras"
    if kind == "automatic":  # the sampler's usual one
        kind = "karras" if name == "dpm++ 2m" else ""
    k_name = name.removesuffix("_gpu").replace("uni_pc", "unipc")  # as k-diffusion and ComfyUI
    name = SAMPLERS.get(k_name, (name, ""))[0].lower()
    exact = _NAMED.get((name, "uniform" if kind in _EVEN else kind.replace("_", " ")))
    if exact:
        return exact, ""
    near = _NAMED.get((name, "uniform"))
    if near:
        remark = f"its schedule {schedule!r} is not known for {sampler!r}: {near} is used."
        return near, remark
    return "", _unknown_sampler(sampler)


def _unknown_sampler(name: str) -> str:
    return f"its sampler {_brief(name)} is not known here: the model's usual one is used."
