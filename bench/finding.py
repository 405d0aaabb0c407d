"""How many hands are found, and how many that are none, beside MediaPipe Hands in the same pictures.

    python -m venv bench/.mediapipe && bench/.mediapipe/bin/pip install -r bench/requirements-mediapipe.txt
    python bench/finding.py --cutouts CUTOUTS --empty EMPTY

Pictures are composed of the tenth of CUTOUTS/NAME/images and masks that is held out where nets are trained on them, on
drawn grounds and on a tenth of EMPTY's photographs, which show no hand; then all of EMPTY's are shown. MediaPipe's
sureness can only be bounded, not read: a run for each bound, and after each what handloom finds at the least score at
which it takes as many of EMPTY's photographs for one with a hand.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray
from report import report
from tqdm import tqdm

from handloom import files, images, masks
from handloom.data.cutouts import Cutouts
from handloom.data.rows import KEYPOINTS_TO_MASK
from handloom.geometry import Box
from handloom.inference import MIN_SCORE, HandFinder
from handloom.metrics import box_iou
from handloom.params import CutoutsParams

HERE: Final = Path(__file__).parent
CONFIDENCES: Final = (0.3, 0.5, 0.7, 0.9)
"""Least ones of MediaPipe; 0.5 is its default."""
LEAST: Final = 150
"""Pixels of a hand, of 320 x 320, that must show."""
FOUND: Final = 0.5
"""IoU of boxes."""
SEED: Final = 2
Boxes = NDArray[np.float64]
"""(N, 4) xyxy."""


def composed(source: Cutouts, folder: Path) -> Iterator[tuple[Path, Boxes]]:
    """Write pictures into a folder; give each with its hands' boxes."""
    for number in tqdm(source.ids("evaluation"), desc="compose", unit="picture"):
        sample = source.sample("evaluation", number)
        path = folder / f"{number}.png"
        files.write(path, images.encode_png(sample.picture))
        own = [sample.mask == label for label in np.unique(sample.mask) if label]
        yield path, edges([masks.tight_box(hand) for hand in own if hand.sum() >= LEAST])


def edges(boxes: Sequence[Box]) -> Boxes:
    """Give boxes as an array."""
    return np.array([astuple(box) for box in boxes]).reshape(-1, 4)


def theirs(peer: Path, confidence: float, paths: Sequence[Path]) -> Iterator[Boxes]:
    """Give the boxes of MediaPipe's hands in each picture: around their keypoints, and what hands have beyond those."""
    words = [peer, HERE / "hands.py", str(confidence)]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for path in tqdm(paths, desc=f"MediaPipe, {confidence}", unit="picture"):
            process.stdin.write(f"{path.resolve()}\n")
            process.stdin.flush()
            if not (line := process.stdout.readline()):
                raise click.ClickException(f"hands.py ended at {path}; run it by hand: {' '.join(map(str, words))}")
            points = np.array(json.loads(line)).reshape(-1, 21, 2)
            low, high = points.min(axis=1), points.max(axis=1)
            beyond = (high - low) * (KEYPOINTS_TO_MASK - 1) / 2
            yield np.concatenate([low - beyond, high + beyond], axis=1)


def sureness(true: Boxes, boxes: Boxes, scores: NDArray[np.float64]) -> list[float]:
    """Give the score with which each true hand is found, -1 where none is."""
    right = box_iou(true[:, None], boxes[None]) >= FOUND
    return [float(scores[own].max(initial=-1.0)) for own in right]


@click.command()
@click.option("--cutouts", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--empty", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", default=300, show_default=True, help="Pictures to compose.")
@click.option(
    "--peer",
    default=HERE / ".mediapipe/bin/python",
    show_default=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--models", type=click.Path(exists=True, path_type=Path), help="Folder of nets.  [default: bundled]")
@click.option("--views", default=2, show_default=True, help="Ways to read each region; `handloom predict` takes 2.")
def finding(cutouts: Path, empty: Path, count: int, peer: Path, models: Path | None, views: int) -> None:
    """Compare on hands that were pasted, and on photographs without any."""
    none = sorted(path for path in empty.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    finder = HandFinder.load(models, views=views)
    with TemporaryDirectory() as folder:
        source = Cutouts(cutouts, none, CutoutsParams(num_training=count, num_evaluation=count, relit=0.0), SEED)
        pictures = dict(composed(source, Path(folder)))
        own, false = [], []
        for path in tqdm([*pictures, *none], desc="handloom", unit="picture"):
            hands = finder(images.read(path), 0.0)
            scores = np.array([hand.score for hand in hands])
            if path in pictures:
                own += sureness(pictures[path], edges([hand.box for hand in hands]), scores)
            else:
                false.append(scores.max(initial=-1.0))
        rows = [_ours(np.array(own), np.array(false), MIN_SCORE)]
        for confidence in CONFIDENCES:
            said = dict(zip([*pictures, *none], theirs(peer, confidence, [*pictures, *none]), strict=True))
            ones = [sureness(true, said[path], np.ones(len(said[path]))) for path, true in pictures.items()]
            wrong = np.array([len(said[path]) > 0 for path in none])
            # just above the surest photograph that must not count; where all may, above none
            least = max(float([*np.sort(false)[::-1], -1.0][wrong.sum()]) + 1e-6, 0.0)
            rows += [_row("MediaPipe", confidence, np.concatenate(ones) > 0, wrong)]
            rows += [_ours(np.array(own), np.array(false), least)]
    report("finding", rows, f"{len(own)} hands in {count} pictures, {len(none)} photographs without one")


def _ours(own: NDArray[np.float64], false: NDArray[np.float64], least: float) -> dict[str, float | str]:
    return _row("handloom", least, own >= least, false >= least)


def _row(name: str, least: float, found: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> dict[str, float | str]:
    said = {"hands found": float(found.mean()), "of 100 without one": 100 * float(wrong.mean())}
    return {"what": name, "least score": f"{least:.4g}", **said}


if __name__ == "__main__":
    finding()
