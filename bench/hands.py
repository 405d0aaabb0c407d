"""MediaPipe's hands in pictures: CONFIDENCE. Paths come in line by line, a line of JSON answers each.

Of each hand 21 points, px. `finding.py` asks.
"""

import json
import sys

import cv2
import mediapipe

SIDE = 640
"""Smaller pictures are enlarged to it: its own nets see 192 and 224 px, of parts of the picture too."""
MOST = 4
"""Hands that it may find in one picture."""

hands = mediapipe.solutions.hands.Hands(
    static_image_mode=True, max_num_hands=MOST, min_detection_confidence=float(sys.argv[1])
)
for path in map(str.strip, sys.stdin):
    picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    height, width = picture.shape[:2]
    if (scale := SIDE / max(height, width)) > 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    found = hands.process(picture).multi_hand_landmarks or ()
    points = [[(mark.x * width - 0.5, mark.y * height - 0.5) for mark in hand.landmark] for hand in found]
    sys.stdout.write(f"{json.dumps(points)}\n")
    sys.stdout.flush()
