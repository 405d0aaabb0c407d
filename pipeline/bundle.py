"""Puts the nets into the package, so that `HandFinder.load()` opens them in int8, and writes their model card."""

import json
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Any, Final

import click
import numpy as np

from handloom import files, images
from handloom.data.reading import faults
from handloom.errors import DataError
from handloom.images import Picture
from handloom.params import Params
from handloom.reporting import reported
from handloom.verify import SUMS
from pipeline import layout
from pipeline.sources import photographs

CARD: Final = Path(__file__).with_name("model_card.md")
FIGURE: Final = Path("docs/figures/skin.jpg")
PICTURES: Final = (".jpg", ".jpeg", ".png")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--empty",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Zip of pictures without a hand: the card says how many hands are seen in them.",
)
@click.option("--count", default=100, show_default=True, type=click.IntRange(1), help="Pictures of it, spread evenly.")
@click.option(
    "--skin-count", default=40, show_default=True, type=click.IntRange(1), help="Faces, arms, planks of wood."
)
@click.option("--preset", required=True, help="Name of the preset that the nets were trained with, for the card.")
def bundle(empty: Path, count: int, skin_count: int, preset: str) -> None:
    """Make these nets the bundled ones, those of onnx/ in int8 beside those of models/, and write their card."""
    from handloom import gestures, lift
    from handloom.inference import BUNDLED, MIN_SCORE, HandFinder
    from pipeline import skin

    finder = HandFinder.load(layout.ONNX, int8=True)
    _same(finder, HandFinder.load(layout.MODELS))
    gestures.read(layout.GESTURES)
    if not lift.read(layout.LIFT).layers:
        raise DataError(f"{layout.LIFT}: must lift, got an empty net; run `dvc repro lift` with lift.enabled: true")
    scores = [[hand.score for hand in finder(picture)] for picture in _pictures(empty, count)]
    if not scores:
        raise DataError(f"{empty}: no pictures, got none with {', '.join(PICTURES)}; name another zip")
    facts = _facts(finder) | {
        "preset": preset,
        "empty": str(len(scores)),
        "empty_from": empty.stem,
        "false_hands": str(sum(map(len, scores))),
        "false_pictures": str(sum(map(bool, scores))),
        "min_score": str(MIN_SCORE),
    }
    shares, figure = skin.measure(finder, skin_count)
    facts["skin"] = "; ".join(f"{kind} {share:.1%}" for kind, share in shares.items())
    card = Template(CARD.read_text()).substitute(facts)
    sums = {}
    both = [path for net in ("segment", "pose") for path in (layout.ONNX / f"{net}.int8.onnx", layout.model(net))]
    for path in (*both, layout.GESTURES, layout.LIFT):
        name, content = path.name, path.read_bytes()
        sums[name] = sha256(content).hexdigest()
        files.write(BUNDLED / name, content)
    files.write(BUNDLED / SUMS.name, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    files.write(BUNDLED / "README.md", card)
    files.write(FIGURE, images.encode(figure, ".jpg"))
    click.echo(f"{BUNDLED}: {facts['false_hands']} hands seen in {len(scores)} pictures that have none")
    click.echo("next: handloom predict PICTURE")


def _same(exported: Any, trained: Any) -> None:
    """Raise DataError unless both hold the nets of the same trainings."""
    for one, other in ((exported.segment, trained.segment), (exported.pose, trained.pose)):
        if one.about | other.about != one.about:  # a file in ONNX says more
            what = f"{layout.ONNX}: must hold the nets of {layout.MODELS}, got another {one.about['task']} net"
            raise DataError(f"{what}; run `dvc repro export`")


def _pictures(archive: Path, count: int) -> Iterator[Picture]:
    with faults(str(archive), "must be a zip of pictures", "name another"), zipfile.ZipFile(archive) as members:
        names = sorted(name for name in members.namelist() if name.lower().endswith(PICTURES))
        for place in np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int):
            with members.open(names[place]) as file:
                yield images.read(file, names[place])


def _facts(finder: Any) -> dict[str, str]:
    """Give what the card says, from the nets themselves and from the figures of the last evaluation."""
    segment, pose, export = (_figures(name) for name in ("segment", "pose", "export"))
    true, predicted = (pose["mmpose"][crop] for crop in ("true_crop", "predicted_crop"))
    training = {net.about["task"]: json.dumps(net.about["params"]) for net in (finder.segment, finder.pose)}
    return {
        "commit": _git("rev-parse", "--short", "HEAD"),
        "date": _git("log", "-1", "--format=%cs"),
        "sources": _sources(finder.segment.about["facts"]),
        "begun": _begun(finder.segment.about["params"], finder.pose.about["params"]),
        "by_source": _by_source(segment),
        "hands_by_source": _hands_by_source(pose),
        "size": str(finder.size),
        "crop_size": str(finder.crop_size),
        "photographs": _photographs(finder.segment.about["facts"].get("backgrounds", 0)),
        "rows_segment": f"{finder.segment.about['facts']['rows']['train']:,}",
        "rows_pose": f"{finder.pose.about['facts']['rows']['train']:,}",
        "num_pictures": f"{segment['num_pictures']:,}",
        "num_hands": f"{pose['num_hands']:,}",
        "iou": _with_interval(segment, "iou_mean"),
        "pck_true": _with_interval(true, "pck_0.2"),
        "pck_predicted": _with_interval(predicted, "pck_0.2"),
        "epe_true": _with_interval(true, "epe_mean_px", 2),
        "epe_predicted": _with_interval(predicted, "epe_mean_px", 2),
        "side": f"{pose['side_accuracy']:.1%}",
        "calibration": f"{pose['visible_calibration_error']:.3f}",
        "precision": f"{segment['box_precision_0.5']:.1%}",
        "recall": f"{segment['box_recall_0.5']:.1%}",
        "int8_iou": f"{export['segment']['int8_iou_mean']:.4f} for {export['segment']['torch_iou_mean']:.4f}",
        "int8_pck": f"{export['pose']['int8_pck_0.2']:.4f} for {export['pose']['torch_pck_0.2']:.4f}",
        "params_segment": training["segment"],
        "params_pose": training["pose"],
    }


def _begun(*params: dict[str, Any]) -> str:
    """Say which trained nets these began with; nothing where they began with none."""
    nets = sorted({each["begin_from"] for each in params if each.get("begin_from")})
    return f"They began with {' and '.join(nets)}.\n" if nets else ""


def _sources(facts: dict[str, Any]) -> str:
    """Say which sources the nets learnt from, with their shares; of cut-outs whose they are, as SOURCE.txt says."""
    from handloom.data.cutouts import parted

    total = sum(facts["weights"].values())
    said = [f"{name} {weight / total:.0%}" for name, weight in facts["weights"].items()]
    for folder in sorted(path for path in layout.CUTOUTS.glob("*") if path.is_dir() and "cutouts" in facts["weights"]):
        note = folder / "SOURCE.txt"
        of = f", {note.read_text().strip()}" if note.exists() else ""
        said.append(f"{len(parted(layout.pictures(folder / 'images'))['training']):,} cut-outs: {folder.name}{of}")
    return "; ".join(said)


def _by_source(segment: dict[str, Any]) -> str:
    """Give rows of the table for each of several sources."""
    return "".join(
        f"| the same, {name}, {own['num_pictures']:,} pictures | {_with_interval(own, 'iou_mean')} |\n"
        for name, own in segment.get("by_source", {}).items()
    )


def _hands_by_source(pose: dict[str, Any]) -> str:
    """Give rows of the table for the hands of each of several sources."""
    return "".join(
        f"| PCK@0.2, {name}, {own['num_hands']:,} hands "
        f"| {own['true_crop']['pck_0.2']:.3f} / {own['predicted_crop']['pck_0.2']:.3f} |\n"
        for name, own in pose.get("by_source", {}).items()
    )


def _photographs(parts: int) -> str:
    """Say which photographs without a hand the nets learnt from; a file's name begins with its source."""
    if not parts:
        return "none"
    sources = Counter(path.name.partition("_")[0] for path in photographs(Params.load(layout.PARAMS)))
    if not sources:
        raise DataError(f"{layout.BACKGROUNDS}: the nets learnt from photographs there, got none; put them back")
    of = ", ".join(f"{count} {source}" for source, count in sources.items())
    return f"{sources.total()} ({of}); {parts:,} parts are pictures of their own, about as many stand behind persons"


def _figures(name: str) -> dict[str, Any]:
    path = layout.METRICS / f"{name}.json"
    if not path.exists():
        raise DataError(f"{path}: no figures, got no such file; run `dvc repro`")
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


def _with_interval(figures: dict[str, float], name: str, digits: int = 3) -> str:
    value, low, high = (f"{figures[key]:.{digits}f}" for key in (name, f"{name}.low", f"{name}.high"))
    return f"{value} [{low}, {high}]"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        bundle(prog_name="python -m pipeline.bundle")


if __name__ == "__main__":
    main()
