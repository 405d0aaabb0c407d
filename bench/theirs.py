"""MediaPipe's side of the speed test: NAME, `still` or `tracking`, `full` or `lite`."""

import sys
from collections.abc import Callable
from typing import Any

import mediapipe
from frames import answer

_, _, what, model = sys.argv
solutions: dict[bool, Any] = {}


def begin() -> Callable[[Any], int]:
    """Give a function of a frame. In tracking one hand is allowed: with two it looks for the second in every frame."""
    still = what == "still"
    hands = solutions.get(still)
    if hands is None or not still:
        hands = solutions[still] = mediapipe.solutions.hands.Hands(
            static_image_mode=still, max_num_hands=2 if still else 1, model_complexity=1 if model == "full" else 0
        )
    return lambda frame: len(hands.process(frame).multi_hand_landmarks or ())


answer(begin)
