"""Keypoints of cut-outs, as another package's net sees them: real hands that nobody has to mark.

    python -m venv bench/.mediapipe && bench/.mediapipe/bin/pip install -r bench/requirements-mediapipe.txt
    python -m pipeline.label data/cutouts/NAME

MediaPipe Hands (Apache-2.0) has seen many real hands, the renderer none. Look at some before you train on them.
"""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from handloom import files, images, masks
from handloom.data.folder import PictureFolder
from handloom.errors import DataError
from handloom.geometry import Points
from handloom.reporting import reported

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
    type=click.Path(dir_okay=False, path_type=Path),
    help="Python in whose environment MediaPipe is: `python -m venv bench/.mediapipe`, then "
    "`bench/.mediapipe/bin/pip install -r bench/requirements-mediapipe.txt`.",
)
def label(folder: Path, peer: Path) -> None:
    """Write keypoints.json of FOLDER, which holds images/ and their masks/, as MediaPipe Hands sees them.

    It does not say which keypoints are hidden; the bundled nets do. Cut-outs on which it finds no hand, or one whose
    keypoints leave the mask, stay unmarked.
    """
    from handloom.inference import HandFinder

    out = folder / "keypoints.json"
    if out.exists():
        raise DataError(f"{out}: would be replaced, got one already; move it away")
    if not peer.exists():
        what = "must be the Python of an environment with MediaPipe, got no such file"
        raise DataError(f"{peer}: {what}; `python -m pipeline.label --help` says how to make it")
    paths = [folder / "images" / name for name in PictureFolder(folder).names]
    said = _asked(peer, paths)
    finder, annotations = HandFinder.load(), []
    for path in tqdm(paths, desc="keypoints", unit="picture", disable=None):
        mask = images.read(folder / "masks" / f"{path.stem}.png")[..., 0] > 127
        points = np.array(said[path], np.float32)
        if not len(points) or _share_on(mask, points) < IN_MASK:
            continue
        own = finder.read(images.read(path), [masks.tight_box(mask).square(finder.crop_scale)])[0]
        apart = np.linalg.norm(own.keypoints_px - points, axis=1) / np.ptp(points, axis=0).max()
        hidden = ~own.visible & (apart < AGREED)
        keypoints = np.column_stack([points.astype(float).round(2), np.where(hidden, 1, 2)]).ravel().tolist()
        annotations.append({"image_id": path.name, "keypoints": keypoints})
    marked = [{"id": each["image_id"], "file_name": each["image_id"]} for each in annotations]
    files.write(out, json.dumps({"images": marked, "annotations": annotations}))
    click.echo(f"{out}: {len(annotations):,} of {len(paths):,} cut-outs")


def _asked(peer: Path, paths: list[Path]) -> dict[Path, Any]:
    """Give what the peer sees in each picture: 21 points, or none."""
    words, said = [str(peer), "bench/points.py", str(MIN_SCORE)], {}
    with TemporaryFile("w+") as names, TemporaryFile("w+") as complaints:
        names.writelines(f"{path}\n" for path in paths)
        names.seek(0)
        with subprocess.Popen(words, stdin=names, stdout=subprocess.PIPE, stderr=complaints, text=True) as process:
            assert process.stdout is not None
            for path in tqdm(paths, desc="MediaPipe", unit="picture", disable=None):
                if not (line := process.stdout.readline()):
                    process.wait()
                    complaints.seek(0)
                    why = (complaints.read().splitlines() or ["nothing"])[-1]
                    raise DataError(f"{path}: {peer} must answer with points, got '{why}'; mend that")
                said[path] = json.loads(line)
    return said


def _share_on(mask: NDArray[np.bool_], points: Points) -> float:
    """Give the share of points on a mask, or beside it by a 30th of its longer side."""
    reach = 2 * (max(mask.shape) // 30) + 1
    near = cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8))
    column, row = np.rint(points).astype(int).clip(0, np.array(mask.shape[::-1]) - 1).T
    return float(near[row, column].mean())


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        label(prog_name="python -m pipeline.label")


if __name__ == "__main__":
    main()
