"""What each lever of the renderer is worth on real pictures: experiments/renderer/recipes.yaml says what is compared.

Each recipe is the whole pipeline's params: it renders a set, prepares it, trains the mask net for the same number of
steps, and scores it on the rendered evaluation split and on all folders in data/own.
"""

import json
import tempfile
from pathlib import Path
from typing import Final

import click
from ruamel.yaml import YAML

from handloom import files
from handloom.params import Params
from handloom.reporting import reported
from pipeline import layout, recipes

FOLDER: Final = Path("experiments/renderer")
FIGURE: Final = Path("docs/figures/renderer.png")
SEEDS: Final = "rendered", "seed-11", "seed-12"
"""The same recipe but for the seed: the first is what others are compared with, and the three tell chance."""


def read() -> tuple[dict[str, Params], int]:
    """Give each recipe's params and the number of steps; raises ParamsError."""
    path = FOLDER / "recipes.yaml"
    tested = {"sources": dict.fromkeys(_real(), 0.0)}
    return recipes.load(path, tested), YAML(typ="safe").load(path)["steps"]


def _real() -> list[str]:
    return sorted(path.name for path in layout.OWN.iterdir() if path.is_dir())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def levers() -> None:
    """Compare what the mask net learns with and without: `dvc repro experiments/renderer/dvc.yaml` does all of it."""


@levers.command()
@click.argument("recipe")
def measure(recipe: str) -> None:
    """Render, train and score one RECIPE: writes experiments/renderer/scores/RECIPE.json."""
    known, steps = read()
    params = recipes.chosen(known, recipe, "levers")
    with tempfile.TemporaryDirectory(dir="data", suffix=".recipe") as folder:
        scores = _scores(params, steps, Path(folder))
    files.write(FOLDER / "scores" / f"{recipe}.json", json.dumps(scores, indent=2) + "\n")
    click.echo(f"{recipe}: " + ", ".join(f"{name} {score:.3f}" for name, score in scores.items()))


def _scores(params: Params, steps: int, folder: Path) -> dict[str, float]:
    """Give the mean IoU of each source's pictures that show a hand, and of the others the share that is called one."""
    from handloom import checkpoint, metrics, tracking, training
    from handloom.data.prepared import SegmentSet
    from handloom.prediction import device, predict
    from handloom.tasks import SEGMENT

    recipes.prepare(params, folder)
    arrays = folder / "prepared" / "segment"
    data = SegmentSet.load(arrays, "train", params.used), SegmentSet.load(arrays, "val")
    epochs = steps * params.segment.batch_size / len(data[0])
    budget = params.segment.model_copy(update={"epochs": epochs, "validate_every": steps, "checkpoint_every": steps})
    resume = checkpoint.Resume(folder, "levers", "once")
    with resume.locked():
        trained = training.train(SEGMENT, data, budget, resume, tracking.Nobody())
    test = SegmentSet.load(arrays, "test")
    said, _ = predict(trained.average.to(device()), SEGMENT, test, budget.batch_size, budget)
    true, found = test.hands(), said["masks"] & test.counted()
    ious, shown = metrics.iou(*metrics.overlap(found, true)), true.any(axis=(1, 2))
    scores = {}
    for place, name in enumerate(test.names):
        own = test.sources == place
        if (own & shown).any():
            scores[name] = float(ious[own & shown].mean())
        if (own & ~shown).any():
            scores[f"{name}, called a hand"] = float(found[own & ~shown].mean())
    return scores


@levers.command()
def compare() -> None:
    """Write experiments/renderer/table.md and the picture of it."""
    import pandas as pd

    from pipeline import gains

    known, steps = read()
    scores = {name: json.loads((FOLDER / "scores" / f"{name}.json").read_text()) for name in known}
    table = pd.DataFrame(scores).T.dropna(axis="columns")  # what not all were scored on
    spread = table.loc[list(SEEDS)].std()
    lines = [
        f"Preset default with `shared` of recipes.yaml, the mask net after {steps:,} steps of "
        f"{known[SEEDS[0]].segment.batch_size}, no flip test. Mean IoU of pictures that show a hand; of others the "
        f"share of pixels that is called one.\n",
        f"| recipe | {' | '.join(table.columns)} |",
        "|---" * (len(table.columns) + 1) + "|",
        *(f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} |" for name, row in table.iterrows()),
        f"| standard deviation of three seeds | {' | '.join(f'{value:.3f}' for value in spread)} |",
    ]
    files.write(FOLDER / "table.md", "\n".join(lines) + "\n")
    files.write(FIGURE, gains.picture(table, list(SEEDS)))
    click.echo("\n".join(lines) + f"\nlook at {FOLDER / 'table.md'}, {FIGURE}")


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        levers(prog_name="python -m pipeline.levers")


if __name__ == "__main__":
    main()
