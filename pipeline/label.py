"""Keypoints of cut-outs, as another package's net sees them: real hands that nobody has to mark.

    python -m venv bench/.mediapipe && bench/.mediapipe/bin/pip install -r bench/requirements-mediapipe.txt
    python -m pipeline.label data/cutouts/NAME

MediaPipe Hands (Apache-2.0) has seen many real hands, the renderer none. Look at some before you train on them.
"""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from handloom import files, images
from handloom.errors import DataError
from handloom.geometry import Box, Points
from handloom.reporting import reported
from pipeline import layout

PEER: Final = Path("bench/.mediapipe/bin/python")
MIN_SCORE: Final = 0.8
"""Of the peer: how sure it is of the hand's side."""
IN_MASK: Final = 0.9
"""Share of a hand's keypoints that must lie on its mask."""
AGREED: Final = 0.15
"""Of the hand's extent: where two nets see a keypoint this close, the bundled one is believed that it is hidden."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--peer",
    default=PEER,
    show_default=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python in whose environment MediaPipe is.",
)
def label(folder: Path, peer: Path) -> None:
    """Write keypoints.json of FOLDER, which holds images/ and their masks/, as MediaPipe Hands sees them.

    It does not say which keypoints are hidden; the bundled nets do. Cut-outs on which it finds no hand, or one whose
    keypoints leave the mask, stay unmarked.
    """
    from handloom.inference import HandFinder

    paths = layout.pictures(folder / "images")
    if not paths:
        raise DataError(f"{folder}: must hold images/, got none; name a folder of cut-outs")
    finder, annotations = HandFinder.load(), []
    said = _asked(peer, paths)
    for path in tqdm(paths, desc="keypoints", unit="picture", disable=None):
        points = np.array(said[path.name], np.float32)
        if not len(points) or not _on_mask(points, folder / "masks" / f"{path.stem}.png"):
            continue
        own = finder.read(images.read(path), [Box.around(points).square(finder.crop_scale)])[0]
        apart = np.linalg.norm(own.keypoints_px - points, axis=1) / np.ptp(points, axis=0).max()
        hidden = ~own.visible & (apart < AGREED)
        keypoints = np.column_stack([points.astype(float).round(2), np.where(hidden, 1, 2)]).ravel().tolist()
        annotations.append({"image_id": path.name, "keypoints": keypoints})
    marked = [{"id": each["image_id"], "file_name": each["image_id"]} for each in annotations]
    out = folder / "keypoints.json"
    files.write(out, json.dumps({"images": marked, "annotations": annotations}))
    click.echo(f"{out}: {len(annotations):,} of {len(paths):,} cut-outs")


def _asked(peer: Path, paths: list[Path]) -> dict[str, Any]:
    """Give what the peer sees in each picture: 21 points, or none."""
    process = subprocess.Popen(
        [peer, Path("bench/points.py"), str(MIN_SCORE), *paths],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        lines = tqdm(process.stdout, desc="MediaPipe", unit="picture", total=len(paths), disable=None)
        said = dict(zip((path.name for path in paths), map(json.loads, lines), strict=False))
    if len(said) < len(paths):
        what = f"{peer}: must answer for {len(paths)} pictures, got '{len(said)}'"
        raise DataError(f"{what}; install bench/requirements-mediapipe.txt there")
    return said


def _on_mask(points: Points, path: Path) -> bool:
    """Say whether enough points lie on a mask, or beside it by a 30th of its side."""
    mask: NDArray[np.bool_] = images.read(path)[..., 0] > 127
    reach = max(mask.shape) // 30
    rows, columns = np.nonzero(mask)
    inside = [
        bool((np.maximum(abs(columns - x), abs(rows - y)) <= reach).any()) for x, y in np.rint(points).astype(int)
    ]
    return float(np.mean(inside)) >= IN_MASK


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        label(prog_name="python -m pipeline.label")


if __name__ == "__main__":
    main()
