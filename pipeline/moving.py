"""Hands in motion, rendered with their truth: how steady each way to follow them is, and whether idle hands command."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from handloom import files, processes
from handloom.geometry import Box
from handloom.images import Picture
from handloom.params import Params
from handloom.reporting import reported
from handloom.skeleton import FROM_RHD, NAMES, NUM_KEYPOINTS
from pipeline import layout

TABLE: Final = Path("docs/moving.md")
FIGURE: Final = Path("docs/figures/moving.png")
GESTURING: Final = ("open", "fist", "point", "victory", "ring", "relaxed", "pinch", "thumb_up")
IDLE: Final = ("relaxed", "cup", "grip", "claw", "free")
"""Poses of hands that say nothing."""
RATE: Final = 15.0
"""Frames a second."""
NEAR: Final = 0.5
"""Mean distance from the true keypoints, over the hand's extent, within which a hand counts as found."""

Hands = list[NDArray[np.floating]]
Way = Callable[[Picture, float], Hands]
"""(frame, seconds) -> keypoints (21, 2) of each hand."""


@dataclass(frozen=True)
class _Rendered:
    """A sequence: frames, and of each the keypoints (2, 21, 2) and which of the hands show most of theirs (2,)."""

    frames: list[Picture]
    truth: NDArray[np.float32]
    shown: NDArray[np.bool_]


class _Render:
    """Renders a sequence by its number; pickles, as a closure does not."""

    def __init__(self, names: Sequence[str], seconds: float) -> None:
        self.names, self.seconds = tuple(names), seconds

    def __call__(self, number: int) -> _Rendered:
        from handloom.data.synthetic.sequence import frames

        made = list(frames(2019, number, self.names, RATE, self.seconds))
        points = np.stack([each.uv_vis.reshape(2, NUM_KEYPOINTS, 3)[:, list(FROM_RHD)] for each in made])
        return _Rendered([each.color for each in made], points[..., :2], points[..., 2].mean(axis=-1) > 0.7)


def _sequences(names: Sequence[str], count: int, seconds: float, what: str) -> Iterator[_Rendered]:
    from tqdm import tqdm

    with processes.pool(None) as pool, tqdm(total=count, desc=what, unit="sequence") as bar:
        for each in pool.in_order(_Render(names, seconds), range(count)):
            yield each
            bar.update()


def _ways(finder: Any) -> dict[str, Callable[[], Way]]:
    """Give the ways to follow hands, by the name that the table gives them; each begins anew with a sequence."""
    from handloom.inference import MIN_SCORE
    from handloom.video import HandTracker

    def one_box(picture: Picture, _: float) -> Hands:
        boxes = finder.regions(picture).boxes()
        if not boxes:
            return []
        whole = Box(*(pick(getattr(b, edge) for b in boxes) for pick, edge in (
            (min, "left"), (min, "top"), (max, "right"), (max, "bottom"))))  # fmt: skip
        return [finder.read(picture, [whole.square(finder.crop_scale)])[0].keypoints_px]

    def each(picture: Picture, least: float, min_px: int) -> Hands:
        return [h.keypoints_px for h in finder(picture, least) if h.mask.sum() >= min_px]

    def tracked(smooth: bool) -> Way:
        tracker = HandTracker(finder, smooth=smooth)
        return lambda picture, seconds: [hand.keypoints_px for hand in tracker(picture, seconds)]

    return {
        "one box around all, as the report's demo": lambda: one_box,
        "one box per hand": lambda: lambda picture, _: each(picture, 0.0, 0),
        "and a least size of 150 px": lambda: lambda picture, _: each(picture, 0.0, 150),
        f"and a least score of {MIN_SCORE}": lambda: lambda picture, _: each(picture, MIN_SCORE, 150),
        "followed from frame to frame": lambda: tracked(False),
        "followed, and the One Euro filter": lambda: tracked(True),
    }


def _followed(way: Way, sequence: _Rendered) -> tuple[NDArray[np.floating], int]:
    """Give the keypoints (T, 2, 21, 2) that a way says of each true hand, NaN where none, and hands that are none."""
    said, extra = np.full(sequence.truth.shape, np.nan), 0
    for place, picture in enumerate(sequence.frames):
        hands = way(picture, place / RATE)
        extent = np.ptp(sequence.truth[place], axis=1).max(axis=-1)
        taken = set()
        for hand in hands:
            apart = np.linalg.norm(sequence.truth[place] - hand, axis=-1).mean(axis=-1) / extent
            best = int(apart.argmin())
            if apart[best] <= NEAR and best not in taken:
                said[place, best] = hand
                taken.add(best)
            else:
                extra += 1
    return said, extra


Followed = list[tuple[_Rendered, NDArray[np.floating], int]]
"""Of each sequence what `_followed` gives."""


def _off(found: Followed) -> list[NDArray[np.floating]]:
    """Give how far keypoints (T, 2, 21, 2) are from the truth, by sequence; NaN where no hand shows or none is said."""
    return [np.where(sequence.shown[..., None, None], said - sequence.truth, np.nan) for sequence, said, _ in found]


def _moves(found: Followed) -> NDArray[np.floating]:
    """Give how far each keypoint's error moves from one frame to the next, px, NaN where it is not known."""
    return np.concatenate([np.linalg.norm(np.diff(off, axis=0), axis=-1).ravel() for off in _off(found)])


def _row(name: str, found: Followed) -> str:
    """Give a line of the table: hands found, hands that are none, error, and how far the error moves in a frame."""
    offs = _off(found)
    error, move = np.concatenate([np.linalg.norm(off, axis=-1).ravel() for off in offs]), _moves(found)
    hands = sum(int(np.isfinite(off[..., 0, 0]).sum()) for off in offs)
    num_shown = sum(int(sequence.shown.sum()) for sequence, _, _ in found)
    extra, num_frames = sum(more for _, _, more in found), sum(len(sequence.frames) for sequence, _, _ in found)
    figures = f"{np.nanmean(error):.1f} / {np.nanmedian(error):.1f} | {np.nanmean(move):.2f} / {np.nanmedian(move):.2f}"
    return f"| {name} | {hands / num_shown:.1%} | {extra / num_frames:.2f} | {figures} |"


def _figure(found: dict[str, Followed]) -> bytes:
    """Give how far errors move from frame to frame, by way, and one fingertip's way.

    It is that of the sequence in which the last way found a hand most often.
    """
    from matplotlib.figure import Figure

    from handloom.plots import to_png

    ways = list(found)
    shown, colors = [ways[0], ways[1], ways[-1]], ("#8a8f98", "#1f6feb", "#d1570a")
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, color in zip(shown, colors, strict=True):
        moves = np.sort(_moves(found[name])[np.isfinite(_moves(found[name]))])
        left.plot(moves, np.linspace(0, 1, len(moves)), color=color, label=name)
    left.set(
        xlim=(0, 12), ylim=(0, 1), title="How far a keypoint's error moves", xlabel="px of 320 from frame to frame"
    )
    left.set_ylabel("share of keypoints")
    known = [np.isfinite(off[..., 0, 0]).sum(axis=0) for off in _off(found[ways[-1]])]
    place = int(np.argmax([each.max() for each in known]))
    hand, tip = int(known[place].argmax()), NAMES.index("index_tip")
    sequence = found[ways[-1]][place][0]
    truth = np.where(sequence.shown[:, hand], sequence.truth[:, hand, tip, 0], np.nan)
    seconds = np.arange(len(truth)) / RATE
    right.plot(seconds, truth, color="black", linewidth=1, label="truth")
    for name, color in zip(shown[1:], colors[1:], strict=True):
        right.plot(seconds, found[name][place][1][:, hand, tip, 0], color=color, label=name)
    right.set(title="A fingertip on its way", xlabel="seconds", ylabel="x, px of 320")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8, loc="lower right")
    right.legend(frameon=False, fontsize=8)
    return to_png(figure)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--bundled", is_flag=True, help="The nets that come with the package, in place of models/.")
@click.option("--count", default=24, show_default=True, type=click.IntRange(1), help="Sequences of four seconds.")
@click.option("--idle", default=60, show_default=True, type=click.IntRange(1), help="The same, of idle hands.")
def moving(bundled: bool, count: int, idle: int) -> None:
    """Follow rendered hands in motion in several ways, and count the commands of idle ones.

    Writes docs/moving.md and its figure.
    """
    from handloom import gestures
    from handloom.gestures import Commands
    from handloom.inference import HandFinder
    from handloom.video import HandTracker

    Params.load(layout.PARAMS)  # stands in a repository
    finder = HandFinder.load(None if bundled else layout.MODELS)
    if not bundled:
        gestures.read(layout.GESTURES)  # there, so that no bundled one answers in its place
    seconds, found = 4.0, defaultdict[str, Followed](list)
    for sequence in _sequences(GESTURING, count, seconds, "following"):
        for name, begin in _ways(finder).items():
            found[name].append((sequence, *_followed(begin(), sequence)))
    said: Counter[str] = Counter()
    for sequence in _sequences(IDLE, idle, seconds, "idling"):
        tracker, listeners = HandTracker(finder), defaultdict[int, Commands](Commands)
        for place, picture in enumerate(sequence.frames):
            for hand in tracker(picture, place / RATE):
                said[listeners[hand.id](hand.gesture, place / RATE) or "none"] += 1
    del said["none"]
    commands = ", ".join(f"{name} {times}" for name, times in said.most_common()) or "none"
    lines = [
        "# Hands in motion",
        "",
        f"Written by `python -m pipeline.moving{' --bundled' if bundled else ''}`: {count} rendered sequences of "
        f"{seconds:g} s at {RATE:g} frames a second, hands of which 70 % of the keypoints show. px of 320. A hand "
        "counts as found within half its extent; "
        '"none" are those that lie on no true one, or a second time on one.'
        + (" The nets are those of [this card](../src/handloom/weights/README.md)." if bundled else ""),
        "",
        "| | hands found | hands that are none, per frame | error, mean / median | its change from frame to frame |",
        "|---|---|---|---|---|",
        *(_row(name, each) for name, each in found.items()),
        "",
        "![How far errors move from frame to frame, and one fingertip's way](figures/moving.png)",
        "",
        f"{idle * seconds:g} s of idle hands ({', '.join(IDLE)}) gave {said.total()} commands, "
        f"{said.total() * 60 / (idle * seconds):.2f} a minute: {commands}.",
    ]
    files.write(TABLE, "\n".join(lines) + "\n")
    files.write(FIGURE, _figure(found))
    click.echo("\n".join(lines[4:]))


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        moving(prog_name="python -m pipeline.moving")


if __name__ == "__main__":
    main()
