"""The 21 keypoints of a hand in the one order used inside, its bones, and the way from other orders.

Order: wrist, then thumb, index, middle, ring, little finger, each from its base to its tip, as in FreiHAND,
COCO-WholeBody, OpenPose and MediaPipe. RHD runs every finger from tip to base; `FROM_RHD` turns it round.
"""

from typing import Final

FINGERS: Final = ("thumb", "index", "middle", "ring", "little")

_JOINTS: Final = dict.fromkeys(FINGERS, ("mcp", "pip", "dip", "tip")) | {"thumb": ("cmc", "mcp", "ip", "tip")}

NAMES: Final = ("wrist", *(f"{finger}_{joint}" for finger in FINGERS for joint in _JOINTS[finger]))
"""Keypoint names, index for index."""

NUM_KEYPOINTS: Final = len(NAMES)
WRIST: Final = NAMES.index("wrist")
MIDDLE_MCP: Final = NAMES.index("middle_mcp")

BONES: Final = tuple(
    (0 if joint == 0 else base + joint - 1, base + joint) for base in range(1, NUM_KEYPOINTS, 4) for joint in range(4)
)
"""(parent, child) keypoint indices: 20 bones, finger after finger."""

FROM_RHD: Final = (0, *(base + joint for base in range(1, NUM_KEYPOINTS, 4) for joint in (3, 2, 1, 0)))
"""`rhd_points[list(FROM_RHD)]` is our order. The permutation is its own inverse."""
