"""MediaPipe's keypoints of pictures of one hand: MIN_SCORE. Paths come in line by line, a line of JSON answers each.

21 points, px, or none. `pipeline/label.py` asks.
"""

import json
import sys

import cv2
import mediapipe

SIDE = 384
"""Pictures are made this large, since MediaPipe's own nets see 192 and 224 px."""
MARGIN = 64
"""Of the border's colours around them: it looks for a whole palm."""

hands = mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=1, min_detection_confidence=0.3)
for path in map(str.strip, sys.stdin):
    picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    scale = SIDE / max(picture.shape[:2])
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method)
    picture = cv2.copyMakeBorder(picture, *[MARGIN] * 4, cv2.BORDER_REPLICATE)
    found = hands.process(picture)
    height, width = picture.shape[:2]
    points = []
    if found.multi_hand_landmarks and found.multi_handedness[0].classification[0].score >= float(sys.argv[1]):
        marks = found.multi_hand_landmarks[0].landmark
        points = [[(m.x * width - MARGIN) / scale - 0.5, (m.y * height - MARGIN) / scale - 0.5] for m in marks]
    sys.stdout.write(f"{json.dumps(points)}\n")
    sys.stdout.flush()
