"""What an archive of RHD's layout holds: how large, how visible, how turned its hands are, and what stands around them.

The same command measures the rendered set and the real one, so that nobody has to believe that one is as hard.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from handloom.data.rhd import HAND_IDS, SIZE, RhdArchive, hand_mask
from handloom.geometry import Box
from handloom.masks import tight_box
from handloom.skeleton import FINGERS, MIDDLE_MCP, NAMES

MIN_PIXELS: Final = 150
"""A hand with fewer mask pixels counts as not in the picture; preset default leaves it out as well."""
_TIPS: Final = [NAMES.index(f"{finger}_tip") for finger in FINGERS[1:]]
_INDEX_MCP, _LITTLE_MCP = NAMES.index("index_mcp"), NAMES.index("little_mcp")


@dataclass(frozen=True)
class Statistics:
    """One row per picture, one per hand in a picture."""

    pictures: pd.DataFrame
    hands: pd.DataFrame


def measure(archive: RhdArchive, split: str) -> Statistics:
    """Read every sample of a split; raises DataError at the first bad one."""
    pictures, hands = [], []
    for sample in tqdm(archive.ids(split), desc="statistics", unit="picture"):
        annotation, ids = archive.annotation(split, sample), archive.mask(split, sample)
        sides = hand_mask(ids)
        shown = {name: sides == value for value, name in enumerate(HAND_IDS, start=1)}
        seen = [name for name, mask in shown.items() if mask.sum() >= MIN_PIXELS]
        boxes = [tight_box(shown[name]) for name in seen]
        pictures.append(
            {
                "num_hands": len(seen),
                "hand_share": float((sides > 0).mean()),
                "person_share": float((ids == 1).mean()),
                "brightness": float(archive.color(split, sample).mean()),
                "focal_px": float(annotation.camera[0, 0]),
                "boxes_overlap": len(boxes) == 2 and _overlap(*boxes),
            }
        )
        hands += [_hand(*annotation.hand(side)) for side in seen]
    return Statistics(pd.DataFrame(pictures), pd.DataFrame(hands))


def _overlap(a: Box, b: Box) -> bool:
    return max(a.left, b.left) < min(a.right, b.right) and max(a.top, b.top) < min(a.bottom, b.bottom)


def _hand(uv: NDArray[np.float32], visible: NDArray[np.bool_], xyz: NDArray[np.float32]) -> dict[str, float]:
    """Give one hand's figures from its keypoints (21, 2) px, (21,), (21, 3) metres.

    `turned_deg`: of wrist to middle MCP in the picture, 0 up, 90 right. `facing`: cosine between the palm's normal and
    the line of sight, 1 for a palm or back that is seen in full, 0 for a hand seen edge-on.
    """
    outside = ((uv < -0.5) | (uv > SIZE - 0.5)).any(axis=1)
    along = xyz[MIDDLE_MCP] - xyz[0]
    across = np.cross(xyz[_INDEX_MCP] - xyz[0], xyz[_LITTLE_MCP] - xyz[0])
    facing = abs(float(across @ xyz[0])) / float(np.linalg.norm(across) * np.linalg.norm(xyz[0]))
    reach = np.linalg.norm(xyz[_TIPS] - xyz[0], axis=1).mean() / np.linalg.norm(along)
    return {
        "extent_px": float(np.ptp(uv, axis=0).max()),
        "visible": float(visible.mean()),
        "leaves_picture": float(outside.any()),
        "depth_m": float(xyz[:, 2].mean()),
        "palm_mm": float(np.linalg.norm(along) * 1000),
        "turned_deg": float(np.degrees(np.arctan2(uv[MIDDLE_MCP, 0] - uv[0, 0], uv[0, 1] - uv[MIDDLE_MCP, 1]))),
        "facing": facing,
        "tips_reach": float(reach),
    }


def table(statistics: Statistics) -> str:
    """Give the figures as rows of a Markdown table."""
    return "\n".join(f"| {name} | {value} |" for name, value in _rows(statistics)) + "\n"


def _rows(statistics: Statistics) -> Iterator[tuple[str, str]]:
    pictures, hands = statistics.pictures, statistics.hands
    two = pictures[pictures["num_hands"] == 2]
    yield "pictures; hands of at least 150 px", f"{len(pictures):,}; {len(hands):,}"
    yield "pictures with no / one / two hands", _shares(pictures["num_hands"], (0, 1, 2))
    yield "of those with two, boxes overlap", f"{two['boxes_overlap'].mean():.0%}"
    yield "hands' share of the picture, %", _percentiles(pictures["hand_share"] * 100, 1)
    yield "keypoint extent, px of 320", _percentiles(hands["extent_px"], 0)
    yield "keypoints visible, mean", f"{hands['visible'].mean():.0%}"
    yield "hands with under half of them visible", f"{(hands['visible'] < 0.5).mean():.1%}"
    yield "hands with a keypoint outside the picture", f"{hands['leaves_picture'].mean():.1%}"
    yield "mean depth of a hand, m", _percentiles(hands["depth_m"], 2)
    yield "wrist to middle MCP, mm", _percentiles(hands["palm_mm"], 0)
    yield "focal length, px", _percentiles(pictures["focal_px"], 0)
    turned = hands["turned_deg"].abs()
    upright, aside, down = turned < 45, turned.between(45, 135), turned > 135
    yield "fingers up / sideways / down in the picture (25 / 50 / 25 % if any way alike)", _all(upright, aside, down)
    flat, edge = hands["facing"] > 0.5, hands["facing"] <= 0.5
    yield "palm or back towards the camera / hand edge-on (50 / 50 % if any way alike)", _all(flat, edge)
    reach = hands["tips_reach"]
    yield "fingertips from the wrist, in palm lengths (2 stretched, 1 a fist)", _percentiles(reach, 1)
    yield "the person covers over 2 % of the picture", f"{(pictures['person_share'] > 0.02).mean():.0%}"
    yield "mean brightness, 0-255", _percentiles(pictures["brightness"], 0)


def _percentiles(values: "pd.Series[float]", digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in np.percentile(values, [5, 25, 50, 75, 95]))


def _shares(values: "pd.Series[int]", of: tuple[int, ...]) -> str:
    return _all(*(values == each for each in of))


def _all(*conditions: "pd.Series[bool]") -> str:
    return " / ".join(f"{condition.mean():.0%}" for condition in conditions)
