"""The trained nets on real pictures: the figures of docs/LOG.md, from material that stays outside the repository."""

import json
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handloom import draw, files, images, masks, metrics
from handloom.data.reading import faults
from handloom.data.rows import KEYPOINTS_TO_MASK, PCK_BOX_SCALE
from handloom.errors import DataError
from handloom.geometry import Box
from handloom.images import Picture
from handloom.reporting import reported
from handloom.skeleton import FROM_RHD
from pipeline import layout

HAND = 255
"""HGR1's label of a hand; 128, other skin (forearm, arm), counts as background here."""
SHOWN_PX = 256
ZIP = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rhd", type=ZIP, help="Zip with rhd/*.png and rhd/test_rhd.json.")
@click.option("--hgr1", type=ZIP, help="Zip with hgr1/images, masks, manifest.json.")
@click.option("--digits", type=ZIP, help="Zip with sld/images, masks, manifest.json.")
@click.option(
    "--keypoints",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with images/ and keypoints.json, as in data/own or by pipeline.label.",
)
@click.option("--bundled", is_flag=True, help="The nets that come with the package, in place of models/.")
@click.option("--views", default=1, show_default=True, type=click.IntRange(1, 32), help="Ways to read each hand.")
@click.option(
    "--count",
    default=200,
    show_default=True,
    type=click.IntRange(1),
    help="Photographs of HGR1, spread evenly over the manifest.",
)
@click.option(
    "--out", default=Path("real"), show_default=True, type=click.Path(path_type=Path), help="Folder of pictures."
)
def real(
    rhd: Path | None,
    hgr1: Path | None,
    digits: Path | None,
    keypoints: Path | None,
    bundled: bool,
    views: int,
    count: int,
    out: Path,
) -> None:
    """Score nets on genuine RHD records, HGR1 photographs, signed digits and marked hands; writes overlays to OUT."""
    if not (rhd or hgr1 or digits or keypoints):
        raise click.UsageError("name what to score: --rhd, --hgr1, --digits or --keypoints")

    from handloom import gestures
    from handloom.inference import HandFinder

    finder = HandFinder.load(None if bundled else layout.MODELS, views=views)
    if not bundled:
        gestures.read(layout.GESTURES)  # there, so that no bundled one answers in its place
    if rhd:
        _genuine_rhd(finder, rhd, out)
    if hgr1:
        _photographs(finder, hgr1, count, out)
    if digits:
        _digits(finder, digits)
    if keypoints:
        _marked(finder, keypoints)


def _genuine_rhd(finder: Any, archive: Path, out: Path) -> None:
    """Print each annotated hand's keypoint error on its true box and on the found one."""
    pictures = []
    with _opened(archive, "rhd/test_rhd.json") as members, tempfile.TemporaryDirectory() as folder:
        members.extractall(folder)
        data = json.loads(Path(folder, "rhd", "test_rhd.json").read_text())
        for annotation, entry in zip(data["annotations"], data["images"], strict=True):
            picture = images.read(Path(folder, "rhd", entry["file_name"]))
            true = np.array(annotation["keypoints"], np.float32)[list(FROM_RHD), :2]
            on_true = finder.read(picture, [Box.around(true).square(finder.crop_scale)])[0].keypoints_px
            found = finder(picture)
            errors = [float(np.linalg.norm(hand.keypoints_px - true, axis=1).mean()) for hand in found]
            error = float(np.linalg.norm(on_true - true, axis=1).mean())
            best = f"{min(errors):.1f} px" if errors else "none found"
            click.echo(f"rhd {entry['file_name']}: EPE on the true box {error:.1f} px, of the nearest of "
                       f"{len(found)} found hands {best}")  # fmt: skip
            overlay = picture
            for hand in found:
                overlay = draw.skeleton(draw.box(overlay, hand.box), hand.keypoints_px)
            truth = draw.skeleton(picture, true, dashed=True)
            pictures += [picture, draw.skeleton(truth, on_true), overlay]
    files.write(out / "rhd.png", images.encode_png(draw.grid(pictures, columns=3)))


def _photographs(finder: Any, archive: Path, count: int, out: Path) -> None:
    """Print the mask IoU over photographs and keep the worst ten."""
    scored: list[tuple[float, str, Picture]] = []
    seen = 0
    for name, picture, true in _hgr1(archive, count):
        side = max(picture.shape[:2])
        square = np.zeros((side, side), np.uint8)
        square[: true.shape[0], : true.shape[1]] = np.where(true, 255, 0)
        small = images.shrink(square, finder.size) >= 128
        predicted = finder.regions(picture).labels > 0
        seen += bool(finder(picture))
        iou = float(metrics.iou(*metrics.overlap(predicted[None], small[None]))[0])
        canvas = np.zeros((side, side, 3), np.uint8)
        canvas[: picture.shape[0], : picture.shape[1]] = picture
        shown = draw.mask(images.shrink(canvas, finder.size), predicted, small)
        scored.append((iou, name, draw.enlarge(shown, max(1, SHOWN_PX // finder.size))))
    ious = np.array([iou for iou, _, _ in scored])
    click.echo(
        f"hgr1: {len(ious)} photographs, mask IoU mean {ious.mean():.3f}, median {np.median(ious):.3f}, "
        f"a hand found in {seen / len(ious):.1%}"
    )
    worst = sorted(scored, key=lambda entry: entry[:2])[:10]
    click.echo("worst: " + ", ".join(f"{name} {iou:.2f}" for iou, name, _ in worst))
    spread = [scored[i][2] for i in np.linspace(0, len(scored) - 1, 20).round().astype(int)]
    files.write(out / "hgr1_worst.png", images.encode_png(draw.grid([shown for _, _, shown in worst], columns=5)))
    files.write(out / "hgr1_spread.png", images.encode_png(draw.grid(spread, columns=5)))


def _digits(finder: Any, archive: Path) -> None:
    """Print what gestures the digits 0 to 9 of pupils' hands are called, each read in the box of its mask.

    Of the tenth of them that is held out where they are cut-outs.
    """
    from handloom.data.cutouts import parted
    from handloom.gestures import NUMBERS

    said: dict[int, Counter[str]] = defaultdict(Counter)
    items = list(_items(archive, "sld"))
    held_out = parted([Path("sld", item["image"]) for item, _, _ in items])["evaluation"]
    for item, picture, mask in items:
        if Path("sld", item["image"]) not in held_out:
            continue
        (reading,) = finder.read(picture, [masks.tight_box(mask).square(finder.crop_scale)])
        said[int(item["gesture"])][reading.gesture.name] += 1
    for digit, names in sorted(said.items()):
        click.echo(f"digit {digit}: " + ", ".join(f"{name} {count}" for name, count in names.most_common()))
    counted = {digit: names for digit, names in said.items() if digit in NUMBERS.values()}
    right = sum(names[name] for name, digit in NUMBERS.items() for names in [said[digit]])
    click.echo(f"1 to 5: {right / sum(map(Counter.total, counted.values())):.1%} have the gesture that counts so")


def _marked(finder: Any, folder: Path) -> None:
    """Print how far from marked keypoints the pose net's are, each hand read in the box around its visible ones.

    Errors are over the longer side of a hand's keypoints x 1.2, as in mmpose's protocol; only visible ones count.
    """
    from handloom.data.folder import PictureFolder
    from handloom.inference import MIN_SCORE

    source = PictureFolder(folder)
    errors, scores = [], []
    for number in range(len(source.names)):
        sample = source.sample("evaluation", number)
        for hand in (hand for hand in sample.hands if hand.visible is not None and hand.visible.any()):
            points = hand.keypoints_px
            assert points is not None
            box = Box.around(points[hand.visible]).square(KEYPOINTS_TO_MASK * finder.crop_scale)
            (reading,) = finder.read(sample.picture, [box])
            extent = PCK_BOX_SCALE * np.ptp(points, axis=0).max()
            errors.append(np.linalg.norm(reading.keypoints_px - points, axis=1)[hand.visible] / extent)
            scores.append(reading.score)
    if not errors:
        raise DataError(f"{folder}: must hold marked hands, got none in keypoints.json; `pipeline.label` marks some")
    apart = np.concatenate(errors)
    within = ", ".join(f"PCK@{share} {(apart < share).mean():.3f}" for share in (0.1, 0.2))
    click.echo(
        f"{folder.name}: {len(errors)} marked hands, {within}, error mean {apart.mean():.3f}, median "
        f"{np.median(apart):.3f}; called a hand at the default score {np.mean(np.array(scores) >= MIN_SCORE):.1%}"
    )


def _opened(archive: Path, needed: str) -> zipfile.ZipFile:
    """Open a zip; raises DataError where it is none, or of something else, EnvironmentFault where the disk fails."""
    with faults(str(archive), "must be a zip", "see --help for what it holds"):
        members = zipfile.ZipFile(archive)
    if needed not in members.namelist():
        members.close()
        raise DataError(f"{archive}: must hold {needed}, got no such member; see --help for what each option takes")
    return members


def _hgr1(archive: Path, count: int) -> Iterator[tuple[str, Picture, NDArray[np.bool_]]]:
    """Give (name, picture, hand mask) of photographs spread evenly over the manifest's order."""
    for item, picture, mask in _items(archive, "hgr1", count):
        yield Path(item["image"]).stem, picture, mask


def _items(
    archive: Path, folder: str, count: int | None = None
) -> Iterator[tuple[dict[str, Any], Picture, NDArray[np.bool_]]]:
    """Give (entry of the manifest, picture, hand mask) of all, or of so many spread evenly."""
    with _opened(archive, f"{folder}/manifest.json") as members:
        items = json.loads(members.read(f"{folder}/manifest.json"))["items"]
        for place in np.linspace(0, len(items) - 1, min(count or len(items), len(items))).round().astype(int):
            item = items[place]
            with members.open(f"{folder}/{item['image']}") as file:
                picture = np.asarray(Image.open(file).convert("RGB"))
            with members.open(f"{folder}/{item['mask']}") as file:
                yield item, picture, np.asarray(Image.open(file).convert("L")) == HAND


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        real(prog_name="python -m pipeline.real")


if __name__ == "__main__":
    main()
