"""dvc.yaml, params.yaml, the presets, the commands and the imports tell one story."""

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import numpy as np
import pytest
from ruamel.yaml import YAML

from handloom import images
from handloom.checkpoint import Resume
from handloom.errors import DataError
from handloom.params import Params
from handloom.tasks import TASKS
from handloom.tracking import Nobody
from handloom.training import train
from pipeline import layout, preset, sources
from pipeline.stage import stage

STAGES = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
WATCHED_OTHERWISE = {
    "handloom",  # an empty package
    "handloom.errors",  # words, not results
    "handloom.files",  # whole files or none, whatever is in them
    "handloom.params",  # DVC watches the values
    "handloom.processes",  # who computes does not change what
    "handloom.tracking",  # what is told of a run does not change it
}
GRAPH = grimp.build_graph("handloom")


def entries(name: str) -> set[str]:
    """Give the library's modules that a stage's function imports, and the public ones that it calls; private ones tell
    of results and make none."""
    files = (Path("pipeline", f"{file}.py").read_text() for file in ("steps", "sources"))
    functions = {node.name: node for text in files for node in ast.parse(text).body if hasattr(node, "name")}
    found = set()
    for node in ast.walk(functions[name]):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("handloom"):
            found |= {
                m if (m := f"{node.module}.{alias.name}") in GRAPH.modules else node.module for alias in node.names
            }
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = node.func.id
            found |= entries(called) if called in functions and not called.startswith("_") else set()
    return found


def source(module: str) -> Path:
    path = Path("src", *module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_each_stage_is_a_command() -> None:
    assert set(STAGES) == set(stage.commands)


@pytest.mark.parametrize("path", [Path("dvc.yaml"), *Path("experiments").glob("*/dvc.yaml")], ids=str)
def test_no_dependency_stands_twice(path: Path) -> None:
    for stage_ in YAML(typ="safe").load(path)["stages"].values():
        deps = (stage_.get("do") or stage_)["deps"]
        assert len(deps) == len(set(deps))


def test_each_params_section_belongs_to_one_stage() -> None:
    used = [
        name
        for each in STAGES.values()
        for param in each["params"]
        for name in (each["matrix"]["net"] if "${" in param else [param])
        if name != "sources"  # all that make or mix data
    ]
    assert sorted([*used, "sources"]) == sorted(Params.model_fields)


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_the_imports(name: str) -> None:
    own = entries(name)
    modules = own.union(*(GRAPH.find_upstream_modules(module) for module in own)) - WATCHED_OTHERWISE
    imported = {path for path in map(source, modules) if path.read_text().strip()}
    deps = [path for path in layout.deps(name) if path.parts[0] == "src"]
    covered = {path: {file for file in imported if path == file or path in file.parents} for path in deps}
    assert [path for path, files in covered.items() if not files] == []
    assert imported - set().union(*covered.values()) == set()


@pytest.mark.parametrize("name", preset.names())
def test_each_preset_gives_whole_params(name: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(preset.render(name))
    Params.load(path)


@pytest.mark.parametrize("name", preset.names())
def test_the_nets_of_each_preset_make_a_step(name: str, prepared: Path, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(preset.render(name))
    params = Params.load(path)
    for task in TASKS.values():
        short = getattr(params, task.name).model_copy(update={"epochs": 0.01, "batch_size": 2, "gate_after": 0})
        data = tuple(task.data.load(prepared / task.name, split) for split in ("train", "val"))
        assert train(task, data, short, Resume(tmp_path, task.name, "k"), Nobody()).step == 1


def test_the_default_preset_keeps_its_comments() -> None:
    assert preset.render("default") == (layout.PRESETS / "default.yaml").read_text()


def test_report_2019_is_the_reports_recipe(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(preset.render("report-2019"))
    params = Params.load(path)
    assert (params.download.synthetic.num_training, params.download.synthetic.num_evaluation) == (41258, 2728)
    for net in (params.segment, params.pose):
        assert (net.model.stem, net.batch_size, net.learning_rate, net.epochs) == (1, 32, 0.001, 25)
        assert (net.optimizer, net.weight_decay) == ("adamw", 0)
        assert (net.final_learning_rate, net.validate_every) == (1, 100)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["evaluate", "--help"]])
def test_help_does_not_import_torch(words: list[str]) -> None:
    code = (
        "import sys; from pipeline.stage import stage\n"
        f"try: stage({words!r})\n"
        "finally: print([m for m in ('torch', 'mlflow', 'pandas', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_sources_keep_their_arrays_order_whatever_params_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = YAML(typ="safe").load(preset.render("default"))
    monkeypatch.chdir(tmp_path)
    for name, grey in (("alpha", 40), ("beta", 220)):
        for folder in ("images", "masks"):
            path = layout.OWN / name / folder / "a.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(images.encode_png(np.full((8, 8, 3), grey if folder == "images" else 0, np.uint8)))
    for order in (("alpha", "beta"), ("beta", "alpha")):
        params = Params.parse({**raw, "sources": dict.fromkeys(order, 1.0)}, "p")
        found = sources.opened_like(["alpha", "beta"], params)
        assert [int(source.picture("training", 0).mean()) for source in found] == [40, 220]
    with pytest.raises(DataError, match=r"must be of the sources in params\.yaml, beta, alpha, got 'alpha'; run `dvc"):
        sources.opened_like(["alpha"], params)
