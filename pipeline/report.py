"""What the 2019 report left open, as whole pipelines side by side: experiments/report/recipes.yaml says which.

Each recipe renders its set, prepares it, trains both nets and evaluates them as `pipeline.stage evaluate` does.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from handloom import files
from handloom.params import Params
from handloom.reporting import reported
from handloom.skeleton import FINGERS, NAMES
from pipeline import recipes

if TYPE_CHECKING:
    from handloom.data.prepared import PoseSet, SegmentSet
    from handloom.data.source import Source
    from handloom.images import Picture
    from handloom.inference import HandFinder

Bools = NDArray[np.bool_]

FOLDER: Final = Path("experiments/report")
FIGURE: Final = Path("docs/figures/report.png")
NETS: Final = ("segment", "pose")
NUM_SHOWN: Final = 6
NUM_TIMED: Final = 40
"""Pictures of which each recipe's time is the median."""
PALM: Final = ("wrist", *(f"{finger}_mcp" for finger in FINGERS[1:]))
TIPS: Final = tuple(f"{finger}_tip" for finger in FINGERS)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def report() -> None:
    """Answer the 2019 report's questions: `dvc repro experiments/report/dvc.yaml` does all of it."""


@report.command()
@click.argument("recipe")
def measure(recipe: str) -> None:
    """Render, train and evaluate one RECIPE: writes its nets and experiments/report/scores/RECIPE.json."""
    params = recipes.chosen(recipes.load(FOLDER / "recipes.yaml"), recipe, "report")
    with tempfile.TemporaryDirectory(dir="data", suffix=".recipe") as folder:
        scores = _scores(recipe, params, Path(folder))
    files.write(_scores_of(recipe), json.dumps(scores, indent=2) + "\n")
    click.echo(f"{recipe}: " + ", ".join(f"{name} {score:.3f}" for name, score in scores.items()))


def _scores_of(recipe: str) -> Path:
    return FOLDER / "scores" / f"{recipe}.json"


def _models(recipe: str) -> Path:
    return FOLDER / "models" / recipe


def _scores(recipe: str, params: Params, folder: Path) -> dict[str, float]:
    """Give the figures of one recipe's test split."""
    from handloom import checkpoint, evaluation
    from handloom.tasks import TASKS
    from pipeline import steps

    sources, models, sets = recipes.prepare(params, folder), {}, {}
    for net in NETS:
        model, curve = _models(recipe) / f"{net}.safetensors", FOLDER / "curves" / recipe / f"{net}.csv"
        arguments = (f"report@{recipe}-{net}", net, getattr(params, net), model, curve)
        with steps.trained(*arguments, prepared=folder / "prepared", sources=params.used):
            models[net] = checkpoint.load_model(model, net)
        sets[net] = TASKS[net].data.load(folder / "prepared" / net, "test")
    asked = params.evaluate
    masks = evaluation.evaluate_segment(models["segment"], sets["segment"], asked)
    found = evaluation.find_hands(masks.predictions, sets["segment"], sets["pose"])
    hands = evaluation.evaluate_pose(models["pose"], sets["pose"], found, sources, asked.batch_size, asked.resamples)
    said, is_hand = _full_masks(masks.predictions["logits"], sets["segment"], sources)
    true, predicted = (hands.scores["mmpose"][f"{crop}_crop"] for crop in ("true", "predicted"))
    return {
        **_ious(said, is_hand, asked.resamples),
        **_in_mask(said, sets["segment"], sets["pose"]),
        **{name: true[name] for name in ("pck_0.2", "pck_0.2.low", "pck_0.2.high", "epe_mean_px")},
        "epe_mean_px.predicted_crop": predicted["epe_mean_px"],
        "weights": float(sum(w.numel() for model in models.values() for w in model.net.parameters())),
    }


def _full_masks(logits: Any, masks: "SegmentSet", sources: "list[Source]") -> tuple[Bools, Bools]:
    """Give what is called a hand and what is one, (N, S, S) of the square source pictures: one scale for all."""
    from handloom import images

    said, is_hand = [], []
    for row, sample_id in enumerate(masks.ids.tolist()):
        labels = sources[masks.sources[row]].sample("evaluation", sample_id).mask
        assert labels is not None  # rendered pictures have one
        said.append(images.enlarge(logits[row].astype(np.float32), len(labels)) > 0)
        is_hand.append(labels > 0)
    return np.stack(said), np.stack(is_hand)


def _ious(said: Bools, is_hand: Bools, resamples: int) -> dict[str, float]:
    """Give the mean IoU of a picture, and its 95 % interval."""
    from handloom import evaluation, metrics

    each = metrics.iou(*metrics.overlap(said, is_hand))
    return {"iou_mean": float(each.mean()), **evaluation.spread_of_ious(each, resamples)}


def _in_mask(said: Bools, masks: "SegmentSet", hands: "PoseSet") -> dict[str, float]:
    """Give the shares of visible palms' and fingertips' keypoints over which a picture's mask lies; masks (N, S, S)."""
    from handloom.geometry import to_images

    rows = {each: row for row, each in enumerate(zip(masks.sources.tolist(), masks.ids.tolist(), strict=True))}
    own = [rows[each] for each in zip(hands.sources.tolist(), hands.ids.tolist(), strict=True)]
    size = said.shape[-1]
    points = to_images(hands.keypoints[:], hands.boxes[:] * (size / hands.picture_px[:])[:, None], hands.size)
    column, line = np.rint(points).astype(int).clip(0, size - 1).transpose(2, 0, 1)
    within = said[np.array(own)[:, None], line, column]
    places = {"palm_in_mask": [NAMES.index(name) for name in PALM], "tips_in_mask": [NAMES.index(n) for n in TIPS]}
    return {name: float(within[:, place][hands.visible[:][:, place]].mean()) for name, place in places.items()}


@report.command()
def compare() -> None:
    """Write experiments/report/table.md and the picture of it."""
    from handloom.data.synthetic.render import render
    from handloom.inference import HandFinder

    known = recipes.load(FOLDER / "recipes.yaml")
    scores = {name: json.loads(_scores_of(name).read_text()) for name in known}
    finders = {name: HandFinder.load(_models(name)) for name in known}
    seed = next(iter(known.values())).download.synthetic.seed
    pictures = [render(seed, "evaluation", index).color for index in range(NUM_TIMED)]
    table = _table(known, scores, _times(finders, pictures))
    files.write(FOLDER / "table.md", table)
    files.write(FIGURE, _pictures(finders, pictures[:NUM_SHOWN]))
    click.echo(f"{table}look at {FOLDER / 'table.md'}, {FIGURE}")


def _times(finders: "Mapping[str, HandFinder]", pictures: "list[Picture]") -> dict[str, float]:
    """Give the median seconds of a picture, all recipes in turn, over the first recipe's."""
    taken: dict[str, list[float]] = {name: [] for name in finders}
    for picture in pictures:
        for name, finder in finders.items():
            begun = time.perf_counter()
            finder(picture, min_score=0.0)
            taken[name].append(time.perf_counter() - begun)
    first = float(np.median(next(iter(taken.values()))))
    return {name: float(np.median(each)) / first for name, each in taken.items()}


def _table(known: Mapping[str, Params], scores: Mapping[str, dict[str, float]], times: Mapping[str, float]) -> str:
    params = next(iter(known.values()))
    archive = params.download.synthetic
    lines = [
        f"{archive.num_training:,} rendered pictures, {params.segment.epochs:g} epochs unless the recipe says "
        f"otherwise; {archive.num_evaluation:,} others scored, 95 % intervals. Masks are scored at the pictures' own "
        "320 px. In the mask: of the visible keypoints of palms (wrist and knuckles) and of fingertips, the share that "
        "the mask covers. Keypoints: mmpose's protocol; the pose net of 320-px is u-net's. mobilenet-fcn is a preset "
        "of its own, with its own nets, optimizer and rates. Time: of a picture, from pixels to the keypoints of all "
        "that is taken for a hand, in torch, over the first recipe's, in one run.\n",
        "| recipe | mask IoU | palm / tips in the mask | PCK@0.2, true crop | EPE, px of 320: true / predicted crop "
        "| weights | time |",
        "|---" * 7 + "|",
    ]
    for name, each in scores.items():
        iou, pck = (
            f"{each[figure]:.3f} ({each[f'{figure}.low']:.3f}-{each[f'{figure}.high']:.3f})"
            for figure in ("iou_mean", "pck_0.2")
        )
        covered = f"{each['palm_in_mask']:.1%} / {each['tips_in_mask']:.1%}"
        errors = f"{each['epe_mean_px']:.1f} / {each['epe_mean_px.predicted_crop']:.1f}"
        lines.append(f"| {name} | {iou} | {covered} | {pck} | {errors} | {each['weights']:,.0f} | {times[name]:.2f} |")
    return "\n".join(lines) + "\n"


def _pictures(finders: "Mapping[str, HandFinder]", pictures: "list[Picture]") -> bytes:
    """Give the same pictures, a row per recipe: masks and keypoints."""
    from matplotlib.figure import Figure

    from handloom import draw
    from handloom.plots import to_png

    figure = Figure(figsize=(2.2 * len(pictures), 2.3 * len(finders)), layout="constrained")
    panels = figure.subplots(len(finders), len(pictures), squeeze=False)
    for line, (name, finder) in zip(panels, finders.items(), strict=True):
        for panel, picture in zip(line, pictures, strict=True):
            shown = picture
            for hand in finder(picture, min_score=0.0):
                shown = draw.skeleton(draw.mask(shown, hand.mask), hand.keypoints_px)
            panel.imshow(shown)
            panel.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    return to_png(figure)


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        report(prog_name="python -m pipeline.report")


if __name__ == "__main__":
    main()
