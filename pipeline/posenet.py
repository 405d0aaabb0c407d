"""The experiment of experiments/posenet: one small pose net, ten ways to teach it, at equal budget."""

from pathlib import Path
from typing import Any, Final

import click
from ruamel.yaml import YAML

from handloom import files
from handloom.errors import ParamsError
from handloom.params import PoseParams
from pipeline import layout
from pipeline.errors import reported

FOLDER: Final = Path("experiments/posenet")
FIGURE: Final = Path("docs/figures/posenet.png")
HEATMAPS: Final = Path("docs/figures/posenet_heatmaps.png")
COLUMNS: Final = {
    "val_epe_mean_px": "EPE, px of 320",
    "val_pck_0.2": "PCK@0.2",
    "val_peak": "peak height",
    "val_entropy": "spatial entropy",
    "val_corner_rate": "in a corner",
    "val_explained": "explained variance",
}
"""Columns of a training's curve that are shown, and what they are."""
SHOWN_KEYPOINT: Final = 8
"""Tip of the index finger."""


def recipes() -> dict[str, PoseParams]:
    """Give every recipe as whole params of the pose net, in the file's order."""
    yaml = YAML(typ="safe")
    base = yaml.load(layout.PRESETS / "default.yaml")["pose"]
    own = yaml.load(FOLDER / "params.yaml")
    return {name: PoseParams.model_validate(base | own["shared"] | changes) for name, changes in own["recipes"].items()}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def posenet() -> None:
    """Teach one small pose net in ten ways; `dvc repro experiments/posenet/dvc.yaml` runs them all and compares."""


@posenet.command()
@click.argument("recipe")
def train(recipe: str) -> None:
    """Train one RECIPE of experiments/posenet/params.yaml: writes its curve and its model."""
    known = recipes()
    if recipe not in known:
        raise ParamsError(f"posenet: no such recipe, got '{recipe}'; choose one of {', '.join(known)}")
    params = known[recipe]

    import pandas as pd

    from handloom import checkpoint, training
    from handloom.data.prepared import load_facts
    from handloom.tasks import POSE
    from handloom.tracking import Nobody

    folder = layout.prepared("pose")
    facts = load_facts(folder)
    deps = {str(folder): files.dvc_hash(folder)}
    key = checkpoint.key_of(f"posenet@{recipe}", params.model_dump(), deps)
    resume = checkpoint.Resume(layout.checkpoints(), f"posenet-{recipe}", key)
    data = POSE.data.load(folder, "train"), POSE.data.load(folder, "val")
    with resume.locked():
        result = training.train(POSE, data, params, resume, Nobody())
    about = {"task": "pose", "outputs": POSE.outputs(params), "params": params.model_dump(), "facts": facts, "key": key}
    checkpoint.save_model(_model(recipe), result.average, about)
    files.write(_curve(recipe), str(pd.DataFrame(result.validations).to_csv(index=False, float_format="%.6f")))
    resume.finish()


@posenet.command()
def compare() -> None:
    """Write the table and the figures of all recipes."""
    import pandas as pd

    curves = {name: pd.read_csv(_curve(name)) for name in recipes()}
    table = _table(curves)
    files.write(FOLDER / "table.md", table)
    files.write(FIGURE, _curves_figure(curves))
    files.write(HEATMAPS, _heatmaps_figure(list(curves)))
    click.echo(table)
    click.echo(f"look at {FIGURE} and {HEATMAPS}")


def _curve(recipe: str) -> Path:
    return FOLDER / "curves" / f"{recipe}.csv"


def _model(recipe: str) -> Path:
    return FOLDER / "models" / f"{recipe}.safetensors"


def _table(curves: dict[str, Any]) -> str:
    """Give the last validation of every recipe as a Markdown table."""
    lines = [f"| recipe | {' | '.join(COLUMNS.values())} | gate |", "|---" * (len(COLUMNS) + 2) + "|"]
    from handloom.tasks import POSE

    for name, curve in curves.items():
        last = curve.iloc[-1]
        cells = " | ".join(f"{last[column]:.{2 if 'px' in column else 3}f}" for column in COLUMNS)
        fault = POSE.fault({column.removeprefix("val_"): last[column] for column in curve.columns})
        lines.append(f"| {name} | {cells} | {'stops it' if fault else 'lets it pass'} |")
    return "\n".join(lines) + "\n"


def _curves_figure(curves: dict[str, Any]) -> bytes:
    """Give every column of the table over the steps, a line per recipe."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    from handloom.plots import to_png

    figure = Figure(figsize=(13, 7), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    colors = dict(zip(curves, colormaps["tab10"].colors, strict=True))  # type: ignore[attr-defined]
    for panel, (column, title) in zip(panels, COLUMNS.items(), strict=True):
        for name, curve in curves.items():
            panel.plot(curve["step"], curve[column], label=name, color=colors[name], linewidth=1.6)
        panel.set(title=title, xlabel="step")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[2].set_yscale("log")
    panels[5].set_ylim(-2, 1)
    panels[5].axhline(0.1, color="black", linewidth=0.8, linestyle=":")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return to_png(figure)


def _heatmaps_figure(names: list[str]) -> bytes:
    """Give the map of one fingertip in four validation crops, a column per recipe, each in its own range of grey."""
    import numpy as np
    import torch
    from matplotlib.figure import Figure

    from handloom import checkpoint, objectives
    from handloom.data.prepared import PoseSet
    from handloom.plots import spread, to_png

    hands = PoseSet.load(layout.prepared("pose"), "val")
    seen = np.flatnonzero(hands.visible[:, SHOWN_KEYPOINT])
    rows = seen[spread(len(seen), 4)]
    pictures, _ = hands.batch(rows)
    figure = Figure(figsize=(1.25 * (len(names) + 1), 5.6), layout="constrained")
    panels = figure.subplots(len(rows), len(names) + 1)
    for panel in panels.ravel():
        panel.set(xticks=[], yticks=[])
    for line, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
        panels[line, 0].imshow(picture.permute(1, 2, 0).byte().numpy())
        panels[line, 0].plot(*hands.keypoints[row, SHOWN_KEYPOINT], "+", color="#00ff66", markersize=9, mew=1.6)
    panels[0, 0].set_title("index tip", fontsize=8)
    for column, name in enumerate(names, start=1):
        model = checkpoint.load_model(_model(name), "pose")
        with torch.inference_mode():
            maps = objectives.read(model.net(pictures).maps, PoseParams.model_validate(model.about["params"]))
        panels[0, column].set_title(name, fontsize=8)
        for line, each in enumerate(maps[:, SHOWN_KEYPOINT]):
            panels[line, column].imshow(each.numpy(), cmap="gray", vmin=0)
            panels[line, column].set_xlabel(f"peak {each.max():.4f}", fontsize=6)
    return to_png(figure)


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        posenet(prog_name="python -m pipeline.posenet")


if __name__ == "__main__":
    main()
