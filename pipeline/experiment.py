"""Sets of trainings that differ in a few params: experiments/NAME/params.yaml says in which, one command compares them.

Every training is a recipe: the preset default's section of one net with the set's shared changes and its own.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import click
from ruamel.yaml import YAML

from handloom import files
from handloom.errors import ParamsError
from handloom.params import Params
from handloom.reporting import reported
from pipeline import layout
from pipeline.preset import merge


@dataclass(frozen=True)
class Column:
    """How a figure of the training curve is shown."""

    title: str
    digits: int = 3
    axis: Mapping[str, Any] | None = None
    """What matplotlib's `Axes.set` takes."""
    gate: bool = False
    """Whether the collapse gate stands on it."""


COLUMNS: Final = {
    "val_iou_mean": Column("mean mask IoU"),
    "val_iou_median": Column("median mask IoU"),
    "val_iou_pooled": Column("pooled mask IoU"),
    "val_epe_mean_px": Column("EPE, px of 320", digits=2),
    "val_epe_median_px": Column("median EPE, px of 320", digits=2),
    "val_pck_0.2": Column("PCK@0.2"),
    "val_peak": Column("peak height", digits=4, axis={"yscale": "log"}),
    "val_entropy": Column("spatial entropy"),
    "val_corner_rate": Column("in a corner"),
    "val_skill": Column("skill", axis={"ylim": (-1.5, 1)}, gate=True),
}


@dataclass(frozen=True)
class Experiment:
    """One set, as its folder says it."""

    name: str
    net: str
    changes: dict[str, dict[str, Any]]
    """Of each recipe, in the file's order, without the shared ones."""
    recipes: dict[str, Any]
    """Each one's whole SegmentParams or PoseParams."""
    columns: list[str]
    """Figures of the curve that the table and the picture show."""
    shown_keypoint: str | None
    """Whose heatmaps are drawn; null draws none."""

    @classmethod
    def load(cls, name: str) -> Self:
        """Read experiments/NAME/params.yaml; raises ParamsError."""
        path = _folder(name) / "params.yaml"
        if not path.exists():
            known = ", ".join(sorted(each.parent.name for each in _folder("").glob("*/params.yaml")))
            raise ParamsError(f"experiment: no such set, got '{name}'; choose one of {known}")
        yaml = YAML(typ="safe")
        own, base = yaml.load(path), yaml.load(layout.PRESETS / "default.yaml")
        net = own["net"]
        recipes = {}
        for recipe, changes in own["recipes"].items():
            whole = deepcopy(base)
            for layer in (own["shared"], changes):
                merge(whole[net], layer)
            recipes[recipe] = getattr(Params.parse(whole, f"{path}: {recipe}"), net)
        return cls(name, net, own["recipes"], recipes, own["columns"], own.get("shown_keypoint"))

    def curve(self, recipe: str) -> Path:
        """Give the file of a recipe's validations."""
        return _folder(self.name) / "curves" / f"{recipe}.csv"

    def model(self, recipe: str) -> Path:
        """Give the file of a recipe's net."""
        return _folder(self.name) / "models" / f"{recipe}.safetensors"


def _folder(name: str) -> Path:
    return Path("experiments", name)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def experiment() -> None:
    """Train one net in several ways and compare: `dvc repro experiments/NAME/dvc.yaml` does all of a set."""


@experiment.command()
@click.argument("name")
@click.argument("recipe")
def train(name: str, recipe: str) -> None:
    """Train one RECIPE of experiments/NAME: writes its curve and its model."""
    chosen = Experiment.load(name)
    if recipe not in chosen.recipes:
        raise ParamsError(f"{name}: no such recipe, got '{recipe}'; choose one of {', '.join(chosen.recipes)}")

    from pipeline import steps

    params, model, curve = chosen.recipes[recipe], chosen.model(recipe), chosen.curve(recipe)
    with steps.trained(f"{name}@{recipe}", chosen.net, params, model, curve) as validations:
        last = validations.iloc[-1]
    shown = {name: COLUMNS[name] for name in chosen.columns}
    click.echo(f"{model}: " + ", ".join(f"{c.title} {last[name]:.{c.digits}f}" for name, c in shown.items()))


@experiment.command()
@click.argument("name")
def compare(name: str) -> None:
    """Write the table and the pictures of experiments/NAME."""
    chosen = Experiment.load(name)

    import pandas as pd

    curves = {recipe: pd.read_csv(chosen.curve(recipe)) for recipe in chosen.recipes}
    table = _table(chosen, curves)
    written: dict[Path, bytes | str] = {
        _folder(name) / "table.md": table,
        Path(f"docs/figures/{name}.png"): _picture(chosen, curves),
    }
    if chosen.shown_keypoint:
        written[Path(f"docs/figures/{name}_heatmaps.png")] = _heatmaps(chosen, chosen.shown_keypoint)
    for path, content in written.items():
        files.write(path, content)
    click.echo(f"{table}look at {', '.join(map(str, written))}")


def _table(experiment: Experiment, curves: Mapping[str, Any]) -> str:
    """Give the last validation of every recipe as a Markdown table, with what the collapse gate says of it."""
    from handloom.data.prepared import load_facts
    from handloom.tasks import TASKS
    from handloom.tracking import flatten

    facts = load_facts(layout.prepared(experiment.net))
    shown = [COLUMNS[column] for column in experiment.columns]
    lines = [
        f"{' and '.join(facts['sources']).capitalize()} data, validation split, {facts['rows']['val']:,} rows; "
        f"training split {facts['rows']['train']:,} rows; preset default with what is named.\n",
        f"| recipe | changes | steps | {' | '.join(column.title for column in shown)} | gate |",
        "|---" * (len(shown) + 4) + "|",
    ]
    for recipe, curve in curves.items():
        last = curve.iloc[-1]
        cells = " | ".join(f"{last[name]:.{COLUMNS[name].digits}f}" for name in experiment.columns)
        fault = TASKS[experiment.net].fault({name.removeprefix("val_"): last[name] for name in curve.columns})
        changes = ", ".join(f"{name} {value}" for name, value in flatten(experiment.changes[recipe]).items())
        gate = "stops it" if fault else "lets it pass"
        lines.append(f"| {recipe} | {changes} | {int(last['step']):,} | {cells} | {gate} |")
    return "\n".join(lines) + "\n"


def _picture(experiment: Experiment, curves: Mapping[str, Any]) -> bytes:
    """Give every column of the table: its curves, or gains where recipes differ by the seed alone."""
    import pandas as pd

    from pipeline import gains

    seeds = [recipe for recipe, changes in experiment.changes.items() if not changes or set(changes) == {"seed"}]
    if len(seeds) < 2:
        return _curves(experiment, curves)
    last = pd.DataFrame({recipe: curve.iloc[-1][experiment.columns] for recipe, curve in curves.items()}).T
    return gains.picture(last.rename(columns={name: COLUMNS[name].title for name in experiment.columns}), seeds)


def _curves(experiment: Experiment, curves: Mapping[str, Any]) -> bytes:
    """Give every column of the table over the steps, a line per recipe."""
    from matplotlib.figure import Figure

    from handloom.metrics import MIN_SKILL
    from handloom.plots import to_png

    rows = -(-len(experiment.columns) // 3)
    figure = Figure(figsize=(13, 3.5 * rows), layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False).ravel()
    for panel, name in zip(panels, experiment.columns, strict=False):
        column = COLUMNS[name]
        for recipe, curve in curves.items():
            panel.plot(curve["step"], curve[name], label=recipe, linewidth=1.6)
        if column.gate:
            panel.axhline(MIN_SKILL, color="black", linewidth=0.8, linestyle=":")
        panel.set(title=column.title, xlabel="step", **(column.axis or {}))
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(experiment.columns) :]:
        panel.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return to_png(figure)


def _heatmaps(experiment: Experiment, keypoint: str) -> bytes:
    """Give one keypoint's map in four validation crops, a column per recipe, each map in its own range of grey."""
    import numpy as np
    import torch
    from matplotlib.figure import Figure

    from handloom import checkpoint, objectives
    from handloom.data.prepared import PoseSet
    from handloom.plots import spread, to_png
    from handloom.skeleton import NAMES

    hands, place = PoseSet.load(layout.prepared("pose"), "val"), NAMES.index(keypoint)
    seen = np.flatnonzero(hands.visible[:, place])
    rows = seen[spread(len(seen), 4)]
    pictures, _ = hands.batch(rows)
    figure = Figure(figsize=(1.25 * (len(experiment.recipes) + 1), 5.6), layout="constrained")
    panels = figure.subplots(len(rows), len(experiment.recipes) + 1)
    for panel in panels.ravel():
        panel.set(xticks=[], yticks=[])
    for line, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
        panels[line, 0].imshow(picture.permute(1, 2, 0).byte().numpy())
        panels[line, 0].plot(*hands.keypoints[row, place], "+", color="#00ff66", markersize=9, mew=1.6)
    panels[0, 0].set_title(keypoint.replace("_", " "), fontsize=8)
    for column, (recipe, params) in enumerate(experiment.recipes.items(), start=1):
        model = checkpoint.load_model(experiment.model(recipe), "pose")
        with torch.inference_mode():
            maps = objectives.read(model.net(pictures).maps, params)
        panels[0, column].set_title(recipe, fontsize=8)
        for line, each in enumerate(maps[:, place]):
            panels[line, column].imshow(each.numpy(), cmap="gray", vmin=0)
            panels[line, column].set_xlabel(f"peak {each.max():.4f}", fontsize=6)
    return to_png(figure)


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        experiment(prog_name="python -m pipeline.experiment")


if __name__ == "__main__":
    main()
