"""The tools: notebooks become stable files, no warning slips through, the sheets are whole."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib import plotting
from course_lib.device import make_generator
from course_lib.portraits import VOCABULARY, PortraitDataset
from course_lib.weights import load_tensors

TOOLS = Path(__file__).resolve().parent.parent / "tools"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The module tools/execute_notebooks.py, looking for lessons in an empty folder."""
    spec = importlib.util.spec_from_file_location(
        "execute_notebooks", TOOLS / "execute_notebooks.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    monkeypatch.setitem(sys.modules, "execute_notebooks", module)
    return module


WIDGET = """from IPython.display import display
view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "film"}
display(view, raw=True)
"""


def write(folder, name, *sources):
    notebook = new_notebook(cells=[new_markdown_cell("# T"), *map(new_code_cell, sources)])
    nbformat.write(notebook, folder / name)
    return folder / name


def run(tool, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["execute_notebooks.py", *arguments])
    return tool.main()


def test_two_runs_write_the_same_file_without_widget_views(tool, tmp_path, monkeypatch):
    path = write(tmp_path, "00_a.ipynb", "print(1)\nprint(2)", WIDGET, "1 + 1")
    assert run(tool, monkeypatch) == 0
    first = path.read_text(encoding="utf-8")
    assert run(tool, monkeypatch, "00") == 0
    assert path.read_text(encoding="utf-8") == first
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.execution_count for cell in cells[1:]] == [1, 2, 3]
    assert cells[1].outputs[0].text == "1\n2\n"
    assert dict(cells[2].outputs[0].data) == {"text/plain": "film"}
    assert "execution" not in cells[1].metadata
    assert nbformat.read(path, as_version=4).metadata.language_info == {"name": "python"}


def test_answers_are_folded_and_pictures_keep_their_alt_text(tool, tmp_path, monkeypatch):
    data, alt = {"image/png": "", "text/plain": "p"}, {"image/png": {"alt": "a face", "width": 3}}
    show = f"from IPython.display import display; display({data}, raw=True, metadata={alt})"
    path = write(tmp_path, "00_a.ipynb", "1 + 1", "x = 2", show, "3")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "**Predict.** What?"
    notebook.cells.insert(4, new_markdown_cell("What we saw."))
    notebook.cells[-1].metadata.update(collapsed=True, jupyter={"outputs_hidden": True})
    nbformat.write(notebook, path)
    assert run(tool, monkeypatch) == 0
    cells = nbformat.read(path, as_version=4).cells
    folded = {"collapsed": True, "jupyter": {"outputs_hidden": True}}
    assert [dict(cell.metadata) for cell in cells] == [{}, folded, {}, folded, {}, {}]
    assert cells[3].outputs[0].metadata == {"image/png": {"alt": "a face"}}


def test_portraits_are_kept_as_jpeg_and_curves_as_png(tool):
    figures = (
        plotting.film_strip({"x": PortraitDataset(4, size=64).images()}, list("abcd")),
        plotting.loss_curves({"a": ([1, 2, 3], [3.0, 1.0, 2.0])}),
    )
    for figure, kind in zip(figures, ("image/jpeg", "image/png"), strict=True):
        data = {"image/png": base64.b64encode(figure.png()).decode(), "text/plain": "a figure"}
        output = new_output("display_data", data=data, metadata={"image/png": {"alt": "seen"}})
        notebook = new_notebook(cells=[new_code_cell("x", outputs=[output])])
        tool.normalise(notebook)
        kept = notebook.cells[0].outputs[0]
        assert set(kept.data) == {kind, "text/plain"} and kept.metadata[kind]["alt"] == "seen"
        assert len(kept.data[kind]) <= len(data["image/png"])


@pytest.mark.parametrize(
    ("source", "message"),
    [("import warnings; warnings.warn('careful')", "careful"), ("1 / 0", "ZeroDivisionError")],
)
def test_warnings_and_errors_fail_and_leave_the_file_alone(
    tool, tmp_path, monkeypatch, capsys, source, message
):
    path = write(tmp_path, "00_a.ipynb", source)
    before = path.read_text(encoding="utf-8")
    assert run(tool, monkeypatch) == 1
    assert message in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == before


def test_an_unknown_lesson_is_named(tool, tmp_path, monkeypatch):
    write(tmp_path, "00_a.ipynb", "1")
    with pytest.raises(SystemExit, match=r"'07'.*00_a\.ipynb"):
        run(tool, monkeypatch, "07")


def test_the_contact_sheet_shows_every_attribute_and_fits():
    spec = importlib.util.spec_from_file_location("contact_sheets", TOOLS / "contact_sheets.py")
    sheets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sheets)
    names = [name for row in sheets.ROWS for name in row]
    assert sorted([*names, "style"]) == sorted(VOCABULARY)  # styles have a sheet of their own
    assert all(sum(len(VOCABULARY[name]) for name in row) <= 10 for row in sheets.ROWS)
    assert set(sheets.SITTERS) <= set(names)
    docs = TOOLS.parent / "docs"
    assert sum(file.stat().st_size for file in docs.glob("contact_sheet_*")) <= 700_000


def test_the_stability_table_has_a_row_for_each_setting(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "measure_stability", TOOLS / "measure_stability.py"
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    asked = []

    def noise(pipe, prompts, setting, *, each):
        asked.append(setting)
        shape = (len(prompts), each, 3, 128, 128)
        return torch.randint(256, shape, generator=make_generator(len(asked)), dtype=torch.uint8)

    monkeypatch.setattr(tool, "generate", noise)
    monkeypatch.setattr(tool, "load_pipeline", lambda *args, **options: None)
    out = tmp_path / "new" / "stability.json"
    assert tool.main(["--out", str(out), "--prompts", "3", "--seeds", "2"]) == 0
    table, shipped = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (out, TOOLS.parent / "data" / "experiments" / "stability.json")
    )
    assert len(set(asked)) == len(asked) == len(table["rows"])
    # What ships was written by this tool, and lesson 08 finds the rows that it needs
    keys = ("scheduler", "steps", "guidance", "unet_passes")
    settings = [[[row[key] for key in keys] for row in t["rows"]] for t in (table, shipped)]
    assert settings[0] == settings[1] and table.keys() == shipped.keys()
    assert [row.keys() for row in table["rows"]] == [row.keys() for row in shipped["rows"]]
    assert table["one factor"].keys() == {"prompt", "seed", "sampler", "steps", "guidance"}
    assert all(row["adherence"]["high"] < 0.9 for row in table["rows"])  # it is only noise
    assert shipped["painted"]["adherence"]["low"] > 0.9
    assert (TOOLS.parent / "data" / "experiments" / "stability.json").stat().st_size < 40_000


@pytest.fixture
def equal_time(monkeypatch):
    """The two tools of equal-time runs, with few portraits, one thread and hardly any steps."""
    monkeypatch.syspath_prepend(str(TOOLS))
    modules = [importlib.import_module(name) for name in EQUAL_TIME]
    shared, architectures, gan = modules
    monkeypatch.setattr(shared, "DATA", shared.DATA | {"train": 48, "held_out": 64})
    monkeypatch.setattr(shared.relative_costs, "__defaults__", (1, 1))
    monkeypatch.setattr(architectures, "STEPS", 4)
    monkeypatch.setattr(gan, "STEPS", 8)
    monkeypatch.setattr(gan, "COUNTED_SAMPLES", 64)
    for module in (shared, gan):
        monkeypatch.setattr(module, "SAMPLES", 16)
    names = ("no long skips", "plain ResNet")
    networks = {name: architectures.NETWORKS[name] for name in (architectures.BASELINE, *names)}
    monkeypatch.setattr(architectures, "NETWORKS", networks)
    monkeypatch.setattr(architectures, "OTHER_OPTIONS", {"linear schedule": {"schedule": "linear"}})
    yield architectures, gan
    for name in EQUAL_TIME:
        sys.modules.pop(name)


EQUAL_TIME = ("equal_time", "compare_architectures", "compare_gan")


def test_architectures_are_compared_and_a_second_call_goes_on(equal_time, tmp_path):
    tool, _ = equal_time
    output = tmp_path / "table.json"
    tool.compare_architectures(output, (0,))
    table = json.loads(output.read_text(encoding="utf-8"))
    assert set(table["runs"]) == {*tool.NETWORKS, *tool.OTHER_OPTIONS, *tool.AVERAGES}
    for name, (run,) in table["runs"].items():
        assert run["steps"] == round(4 / table["cost"].get(name, 1.0)) >= 1
        assert 0 < run["held_out"] < 2 and run["kid_classifier"] > table["floor"]["kid_classifier"]
    before = output.read_bytes()
    tool.compare_architectures(output, (0,))
    assert output.read_bytes() == before
    table["runs"]["plain ResNet"].clear()
    output.write_text(json.dumps(table), encoding="utf-8")
    tool.compare_architectures(output, (0,))
    again = json.loads(output.read_text(encoding="utf-8"))["runs"]["plain ResNet"][0]
    (first,) = json.loads(before)["runs"]["plain ResNet"]
    assert {k: v for k, v in again.items() if k != "cpu_seconds"} == {
        k: v for k, v in first.items() if k != "cpu_seconds"
    }
    table["settings"]["lr"] = 1.0
    output.write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(ValueError, match="written with other settings"):
        tool.compare_architectures(output, (0,))


def test_a_network_without_long_skips_ignores_what_they_carry(equal_time):
    tool, _ = equal_time
    torch.manual_seed(0)
    network = tool.NETWORKS["no long skips"]()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    kept = [stage.block.conv_1.weight for stages in network.up for stage in stages]
    x, t = torch.randn(2, 3, 32, 32), torch.tensor([10, 900])
    network(x, t).square().mean().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in kept)
    norms = [stage.block.norm_1.weight.grad for stages in network.up for stage in stages]
    # A zero has no gradient of its scale beyond the mean that the norm takes off
    assert all(norm.chunk(2)[0].abs().sum() > 0 for norm in norms)


def test_the_gan_is_compared_and_its_attributes_are_counted(equal_time, tmp_path):
    _, tool = equal_time
    output = tmp_path / "table.json"
    tool.compare_with_gan(output, (0,))
    table = json.loads(output.read_text(encoding="utf-8"))
    for name in ("GAN", "U-Net"):
        (run,) = table["runs"][name]
        assert sum(run["counts"].values()) == 64
        assert run["curves"]["step"][-1] == run["steps"]
    assert sum(table["real"]["held_out"].values()) == 64
    for combination in table["real"]["train"]:
        parts = dict(zip(tool.COUNTED, combination.split(", "), strict=True))
        assert all(value in tool.ONLY[name] for name, value in parts.items())
    assert all(accuracy > 0.5 for accuracy in table["probe_accuracy"].values())


def test_the_shipped_tables_are_those_of_the_tools(equal_time):
    folder = TOOLS.parent / "data" / "experiments"
    for tool, name in zip(equal_time, ("architectures.json", "gan.json"), strict=True):
        assert (folder / name).stat().st_size <= 40_000
        table = json.loads((folder / name).read_text(encoding="utf-8"))
        assert all([run["seed"] for run in runs] == [0, 1, 2] for runs in table["runs"].values())
        assert table["settings"]["network"] == json.loads(json.dumps(tool.NETWORK))


def test_the_personal_models_are_trained_and_compared_at_a_small_size(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "train_personal_models", TOOLS / "train_personal_models.py"
    )
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, tool)  # its dataclass looks for its module
    spec.loader.exec_module(tool)
    asked = []

    def noise(pipe, prompts):
        asked.extend(prompts)
        return torch.rand(len(prompts), 3, 128, 128, generator=make_generator(0)) * 2 - 1

    monkeypatch.setattr(tool, "paint_class", noise)
    monkeypatch.setattr(tool, "TIMES", (500,))
    table = tmp_path / "lora.json"
    assert tool.main(["--output", str(tmp_path), "--steps", "2", "--table", str(table)]) == 0
    names = sorted(f"{name}.safetensors" for name in tool.MODELS)
    sums = (tmp_path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert [line.split("  ")[1] for line in sums] == names
    assert len(asked) == 24
    assert all("a woman" in text and "wilhelmina" not in text for text in asked)
    for name in names:  # the shipped files are of this tool: the same layers, the same sizes
        ours, info = load_tensors(tmp_path / name)
        shipped, known = load_tensors(TOOLS.parent / "data" / "models" / "lora" / name)
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in shipped.items()}
        assert any(v.any() for k, v in ours.items() if "lora_B" in k or "wilhelmina" in k)
        assert info | {"steps": 0} == known | {"steps": 0}
    small, real = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (table, TOOLS.parent / "data" / "experiments" / "lora.json")
    )
    assert small.keys() == real.keys() and small["targets"] == real["targets"]
    assert [row["steps"] for row in small["rows"]] == [0, 2] * 3
