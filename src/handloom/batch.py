"""Hands of many pictures and videos, written as they are found."""

import json
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click
from tqdm import tqdm

from handloom import files, images, media, processes, results
from handloom.errors import DataError, EnvironmentFault, ParamsError
from handloom.gestures import Commands
from handloom.inference import HandFinder
from handloom.media import Source
from handloom.results import Row
from handloom.video import HandTracker

OVERLAYS, MASKS = media.WRITTEN


@dataclass(frozen=True)
class Wanted:
    """What is to be written, and where."""

    out: Path
    min_score: float
    overlays: bool
    masks: bool
    coco: bool
    smooth: bool


@dataclass
class Done:
    """What came of it."""

    num_pictures: int = 0
    """Frames of videos included."""
    num_hands: int = 0
    num_failed: int = 0
    """Inputs that could not be read."""


def run(finder: HandFinder, sources: Sequence[Source], wanted: Wanted) -> Done:
    """Write a line of OUT/hands.jsonl per picture or frame, and what else is wanted; what cannot be read is named.

    A line is there as soon as its picture is done. Raises EnvironmentFault where a camera or the disk fails, at the
    end: what was done stays.
    """
    done, kept, taken = Done(), [], set[Path]()
    inputs = {source.path.resolve() for source in sources if source.path}
    lost: EnvironmentFault | None = None
    with (
        files.disk(wanted.out),
        _lines(wanted.out / "hands.jsonl") as lines,
        tqdm(sources, unit="file", disable=None) as bar,
    ):
        for source in bar:
            try:
                for target in _targets(source, wanted):
                    if target in taken:
                        raise DataError(f"{source}: another input is written there too, got '{target}'; rename one")
                    if target.resolve() in inputs:
                        raise DataError(f"{source}: an input would be written over, got '{target}'; name another --out")
                    taken.add(target)
                for row in _frames(finder, source, wanted) if source.moves else _picture(finder, source, wanted):
                    lines.write(json.dumps(row) + "\n")
                    done.num_pictures += 1
                    done.num_hands += len(row["hands"])
                    if wanted.coco and not source.moves:
                        kept.append(row)
            except DataError as error:
                done.num_failed += 1
                bar.clear()
                click.echo(f"error: {error}", err=True)
            except EnvironmentFault as error:
                lost = error
                break
    if wanted.coco:
        files.write(wanted.out / "hands.coco.json", json.dumps(results.coco(kept)) + "\n")
    if lost:
        raise lost
    return done


@contextmanager
def _lines(path: Path) -> Iterator[TextIO]:
    if path.parent.exists() and not path.parent.is_dir():
        raise ParamsError(f"--out: must be a folder, got '{path.parent}', a file; name another")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", buffering=1) as lines:
        yield lines


def _picture(finder: HandFinder, source: Source, wanted: Wanted) -> Iterator[Row]:
    """Give the one row of a picture."""
    picture = media.picture_of(source)
    hands = finder(picture, wanted.min_score)
    for target in _targets(source, wanted):
        if target.is_relative_to(wanted.out / OVERLAYS):
            files.write(target, images.encode(results.overlay(picture, hands), target.suffix))
        else:
            files.write(target, images.encode_png(results.mask_picture(picture, hands)))
    yield results.row(source.name, picture, hands)


def _frames(finder: HandFinder, source: Source, wanted: Wanted) -> Iterator[Row]:
    """Give a row per frame of a video or a camera; Ctrl-C is how a camera ends, and what was written stays."""
    tracker = HandTracker(finder, min_score=wanted.min_score, smooth=wanted.smooth)
    damaged: DataError | EnvironmentFault | None = None
    with ExitStack() as stack:
        video = stack.enter_context(media.Video(source))
        write = None
        for target in _targets(source, wanted):
            write = stack.enter_context(media.written(target, video.rate))
        stopped = stack.enter_context(processes.noted(signal.SIGINT)) if source.path is None else []
        frames = tqdm(video, source.name[-30:], video.num_frames, unit="frame", leave=False, disable=None)
        try:
            for number, (picture, seconds) in enumerate(frames):
                if stopped:
                    return
                hands = tracker(picture, seconds)
                if write:
                    write(results.overlay(picture, hands), seconds)
                yield results.row(source.name, picture, hands, frame=number, seconds=round(seconds, 4))
        except (DataError, EnvironmentFault) as error:
            damaged = error  # what came before it is shown
    if damaged:
        raise damaged


def commands(finder: HandFinder, source: Source, min_confidence: float, hold_s: float) -> Iterator[str]:
    """Give a line of JSON for each command of each hand in a video or before a camera; Ctrl-C ends it."""
    tracker, listeners = HandTracker(finder), defaultdict[int, Commands](lambda: Commands(min_confidence, hold_s))
    with media.Video(source) as video, processes.noted(signal.SIGINT) as stopped:
        for picture, seconds in video:
            if stopped:
                return
            for hand in tracker(picture, seconds):
                gesture = hand.gesture
                if name := listeners[hand.id](gesture, seconds):
                    said = {"seconds": round(seconds, 3), "hand": hand.id, "handedness": hand.handedness}
                    yield json.dumps({**said, "gesture": name, "confidence": round(gesture.confidence, 4)})


def _targets(source: Source, wanted: Wanted) -> Iterator[Path]:
    """Give the files that are written of a source, beside its lines."""
    if wanted.overlays:
        of_picture = Path(source.name).suffix.lower() in files.PICTURE_SUFFIXES
        name = _with(".mp4", source) if source.moves else source.name if of_picture else source.name + ".png"
        yield wanted.out / OVERLAYS / name
    if wanted.masks and not source.moves:
        yield wanted.out / MASKS / _with(".png", source)


def _with(suffix: str, source: Source) -> str:
    """Give a source's name with a suffix; its own one stays, so that a.jpg and a.png keep apart."""
    return source.name if source.name.lower().endswith(suffix) else source.name + suffix
