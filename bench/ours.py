"""Handloom's side of the speed test.

NAME, `still` or `tracking`, folder of nets or nothing, `int8` or nothing, size or 0, views.
"""

import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import cv2
import torch
from frames import answer

from handloom.inference import HandFinder
from handloom.video import HandTracker

_, _, what, models, form, size, views = sys.argv
torch.set_num_threads(1)
cv2.setNumThreads(1)
finder = HandFinder.load(models or None, int8=form == "int8", threads=1, size=int(size) or None, views=int(views))


def begin() -> Callable[[Any], int]:
    """Give a function of a frame."""
    if what == "still":
        return lambda frame: len(finder(frame))
    tracker, frames = HandTracker(finder), count()
    return lambda frame: len(tracker(frame, next(frames) / 30))


answer(begin)
