"""Model files from elsewhere: no code of theirs is run, and what is damaged is one sentence."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from types import SimpleNamespace

import pytest
import torch

from course_lib.pipelines import load_pipeline, paint, single_file
from course_lib.pipelines.registry import SHIPPED
from course_lib.pipelines.single_file import kind_of

EVIL = "open({path!r}, 'w').close()\nclass Evil: pass\n"


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """The mini in a folder of the tests' own, to be damaged one file at a time."""
    folder = tmp_path_factory.mktemp("models") / "model"
    shutil.copytree(SHIPPED / "mini", folder)
    return folder


@pytest.fixture
def model(originals):
    """The folder, with what a test changed put right again afterwards."""
    before = {p: p.read_bytes() for p in originals.rglob("*.json")}
    yield originals
    for path in originals.rglob("*"):
        if path.suffix in (".py", ".json") and path not in before:
            path.unlink()
    for path, data in before.items():
        path.write_bytes(data)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


INDEX_CASES = [
    {"unet": ["evil", "Evil"]},
    {"scheduler": ["evil_mod", "X"]},
    {"safety_checker": ["evil", "Evil"]},
    {"_class_name": ["evil", "Evil"]},
    {"_class_name": "EvilPipeline"},
    {"_class_name": "AutoPipelineForText2Image"},
    {"_class_name": 5},
    {"vae": ["diffusers", "AutoModel"]},
    {"text_encoder": ["transformers", "AutoModel"]},
    {"vae": ["diffusers", "utils"]},
    {"vae": ["diffusers", 5]},
    {"vae": [["diffusers"], "AutoencoderKL"]},
    {"vae": ["os", "system"]},
    {"vae": ["diffusers", "AutoencoderKL", "x"]},
]


@pytest.mark.parametrize("changes", INDEX_CASES)
def test_only_classes_of_the_libraries_are_accepted(model, monkeypatch, changes):
    monkeypatch.syspath_prepend(model)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    marker = model / "was_run"
    change(model / "model_index.json", **changes)
    with pytest.raises(ValueError, match=r"model_index\.json names .* Only their own classes"):
        load_pipeline(model, verbose=False)
    for name in ("evil.py", "evil_mod.py", "unet/evil.py"):
        (model / name).write_text(EVIL.format(path=str(marker)))
    with pytest.raises(ValueError, match="holds program files"):
        load_pipeline(model, verbose=False)
    assert not marker.exists() and "evil" not in sys.modules and "evil_mod" not in sys.modules


def test_an_index_as_the_published_models_have_it_is_accepted(model):
    change(
        model / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPFeatureExtractor"],  # gone in transformers 5
        image_encoder=[None, None],
        requires_safety_checker=True,
        _name_or_path="owner/model",
    )
    assert paint("a man", load_pipeline(model, "cpu", verbose=False), steps=1)


@pytest.mark.parametrize("name", ["None.py", "unet/diffusers.py", "pipeline.py"])
def test_a_program_beside_the_weights_is_never_run(model, name):
    """The first two are run by diffusers before 0.38, though the index names known classes."""
    marker = model / "was_run"
    (model / name).write_text(EVIL.format(path=str(marker)))
    with pytest.raises(ValueError, match=f"holds program files .{name}"):
        load_pipeline(model, verbose=False)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("unet/config.json", {"auto_map": {"AutoModel": "evil.Evil"}}),
        ("unet/config.json", {"_class_name": "Evil"}),
        ("scheduler/scheduler_config.json", {"_class_name": ["evil", "Evil"]}),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "owner/evil--evil.Evil"}}),
        ("text_encoder/config.json", {"a": [{"_attn_implementation": "owner/kernels"}]}),
        ("tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}),
        ("vae/config.json", {"custom_pipeline": "evil"}),
    ],
)
def test_a_configuration_that_asks_for_code_is_refused(model, name, changes):
    change(model / name, **changes)
    with pytest.raises(ValueError, match=f"{name} (asks for code|names)"):
        load_pipeline(model, verbose=False)


@pytest.mark.parametrize("content", ["[" * 100_000, "", "[]", '{"a": '])
@pytest.mark.parametrize(
    "name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json",
             "tokenizer/tokenizer_config.json", "unet/x.safetensors.index.json"],
)  # fmt: skip
def test_damaged_json_is_one_sentence_with_the_files_name(model, name, content):
    (model / name).write_text(content)
    with pytest.raises(ValueError, match=rf"cannot be loaded: .*{name} is damaged"):
        load_pipeline(model, verbose=False)


def test_an_index_of_parts_without_parts_is_one_sentence(model):
    for content in ({}, {"weight_map": []}, {"weight_map": {}}):
        (model / "unet" / "x.safetensors.index.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"x\.safetensors\.index\.json is damaged: it has no"):
            load_pipeline(model, verbose=False)
    parts = {"weight_map": {"a": "../../secret.safetensors", "b": ["x"]}}
    (model / "unet" / "x.safetensors.index.json").write_text(json.dumps(parts))
    with pytest.raises(ValueError, match="2 parts are missing"):
        load_pipeline(model, verbose=False)


def test_what_the_library_says_of_files_that_do_not_fit_is_one_sentence(model):
    change(model / "unet" / "config.json", block_out_channels="many")
    with pytest.raises(ValueError, match=f"{model} cannot be loaded: its files do not fit"):
        load_pipeline(model, verbose=False)


@pytest.mark.parametrize(
    "header",
    [
        "[" * 100_000,
        "[]",
        {"w": 5},
        {"w": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [10**400], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}},
        {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}},
    ],
)
def test_a_damaged_header_is_one_sentence(tmp_path, header):
    text = header if isinstance(header, str) else json.dumps(header)
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + bytes(4))
    with pytest.raises(ValueError, match=r"a\.safetensors is no whole safetensors file"):
        load_pipeline(path, verbose=False)


SD1 = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
SD2 = "cond_stage_model.model.ln_final.weight"
XL = "conditioner.embedders.1.model.ln_final.weight"


def checkpoint(path, *names):
    from safetensors.torch import save_file

    save_file({name: torch.zeros(1) for name in names}, path)
    return path


def test_kinds_of_single_files(tmp_path):
    path = checkpoint(tmp_path / "a.safetensors", SD1)
    assert kind_of(path) == "sd15"
    with pytest.raises(FileNotFoundError, match=r"config=.* has no model_index\.json"):
        load_pipeline(path, config=tmp_path, verbose=False)
    checkpoint(path, "unet.lora_down.weight")
    with pytest.raises(ValueError, match="load_lora_weights"):
        load_pipeline(path, verbose=False)


def test_the_configuration_of_a_single_file_may_not_bring_code_either(model, tmp_path):
    change(model / "model_index.json", unet=["evil", "Evil"])
    path = checkpoint(tmp_path / "a.safetensors", SD1)
    with pytest.raises(ValueError, match="'evil' is neither diffusers nor transformers"):
        load_pipeline(path, config=model, verbose=False)


def gaussian_unet(schedule, prediction, variance=0.25):
    """The best possible prediction for data of independent normal numbers, in closed form."""

    def forward(x_t, t, encoder_hidden_states=None, **options):
        bar = schedule[int(t)]
        alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
        x_0 = alpha * variance / (bar * variance + 1 - bar) * x_t
        eps = (x_t - alpha * x_0) / sigma
        return SimpleNamespace(sample=eps if prediction == "epsilon" else alpha * eps - sigma * x_0)

    return forward


@pytest.mark.parametrize(
    ("names", "predicts", "expected"),
    [
        ([SD1], "v_prediction", ("sample", False, 16)),  # nothing says so: the configuration's
        ([SD1, "v_pred"], "v_prediction", ("v_prediction", False, 16)),
        ([SD1, "v_pred", "ztsnr"], "v_prediction", ("v_prediction", True, 16)),
        ([XL, "v_pred", "ztsnr"], "v_prediction", ("v_prediction", True, 16)),
        ([SD2], "epsilon", ("sample", False, 16)),
        ([SD2], "v_prediction", ("v_prediction", False, 96)),
    ],
)
def test_single_files_that_predict_v_are_recognised(
    tmp_path, monkeypatch, names, predicts, expected
):
    import diffusers

    pipe = load_pipeline("mini", "cpu", verbose=False)
    before = pipe.scheduler.config
    monkeypatch.setattr(
        pipe.unet, "forward", gaussian_unet(pipe.scheduler.alphas_cumprod, predicts)
    )
    opened = []

    def from_single_file(path, **options):
        opened.append((path, torch.load if path.endswith("SAFETENSORS") else "safetensors"))
        return pipe

    for name in ("StableDiffusionPipeline", "StableDiffusionXLPipeline"):
        monkeypatch.setattr(getattr(diffusers, name), "from_single_file", from_single_file)
    path = checkpoint(tmp_path / "X.SAFETENSORS", *names)
    loaded = single_file.load_single_file(path, torch.float32, SHIPPED / "mini")
    assert [how for _, how in opened] == ["safetensors"]
    config = loaded.scheduler.config
    zero_snr = config.get("rescale_betas_zero_snr", False)
    assert (config.prediction_type, zero_snr, pipe.unet.config.sample_size) == expected
    assert config.beta_schedule == before.beta_schedule
    # pure noise at the last timestep, which is where such a schedule is entered
    if zero_snr:
        assert loaded.scheduler.alphas_cumprod[-1] < 1e-6
        assert config.timestep_spacing == "trailing"


def test_a_name_in_capitals_is_a_safetensors_file(tmp_path):
    path = checkpoint(tmp_path / "X.SAFETENSORS", "something.else")
    with pytest.raises(ValueError, match="no checkpoint of Stable Diffusion"):
        load_pipeline(path, verbose=False)
    with pytest.raises(FileNotFoundError, match=r"There is no .*Y\.SAFETENSORS"):
        load_pipeline("Y.SAFETENSORS", verbose=False)
    with pytest.raises(FileNotFoundError, match="There is no ~nobody-of-this-name"):
        load_pipeline("~nobody-of-this-name/model", verbose=False)
    (tmp_path / "M.CKPT").write_bytes(b"x")
    with pytest.raises(ValueError, match="can run any code"):
        load_pipeline(tmp_path / "M.CKPT", verbose=False)


def test_the_advice_for_a_lora_works_as_written(tmp_path):
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = load_pipeline("mini", "cpu", verbose=False)
    prompt = "an old man"
    before = paint(prompt, pipe, steps=1)[0]
    torch.manual_seed(0)
    pipe.unet.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=state)
    (path,) = tmp_path.glob("*.safetensors")
    with pytest.raises(ValueError, match="a LoRA") as caught:
        load_pipeline(path, verbose=False)
    advice = str(caught.value)
    advice = advice[advice.index("pipe = load_pipeline") :].rstrip(".")
    assignment, load = advice.split(", and then ")
    names = {"load_pipeline": lambda _: load_pipeline("mini", "cpu", verbose=False)}
    exec(f"{assignment}; {load}", names)
    after = paint(prompt, names["pipe"], steps=1)[0]
    assert after.tobytes() != before.tobytes()
    names["pipe"].unload_lora_weights()
    assert paint(prompt, names["pipe"], steps=1)[0].tobytes() == before.tobytes()
