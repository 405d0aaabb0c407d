from pathlib import Path

import numpy as np
import pytest

from handloom.data import statistics
from handloom.data.rhd import HAND_IDS, RhdArchive


def a_hand(toward: tuple[float, float, float], across: tuple[float, float, float]) -> dict[str, float]:
    """Give the figures of a stretched hand 0.5 m away, its fingers and its index side in these directions."""
    xyz = np.zeros((21, 3), np.float32)
    for finger in range(5):
        for joint in range(4):
            aside = 0.02 * (2 - finger)
            xyz[1 + 4 * finger + joint] = np.array(toward) * (0.09 + 0.03 * joint) + np.array(across) * aside
    xyz[:, 2] += 0.5
    uv = xyz[:, :2] / xyz[:, 2:] * 280 + 160
    return statistics._hand(uv.astype(np.float32), np.ones(21, bool), xyz)


@pytest.mark.parametrize(("toward", "turned"), [((0, -1, 0), 0), ((1, 0, 0), 90), ((0, 1, 0), 180), ((-1, 0, 0), -90)])
def test_a_hand_is_turned_as_its_fingers_point(toward: tuple[float, float, float], turned: float) -> None:
    hand = a_hand(toward, (toward[1], -toward[0], 0))
    assert hand["turned_deg"] == pytest.approx(turned, abs=0.1)
    assert hand["facing"] > 0.99
    assert hand["palm_mm"] == pytest.approx(90, abs=0.1)
    assert hand["tips_reach"] == pytest.approx(2, abs=0.1)


def test_a_hand_seen_edge_on_faces_aside() -> None:
    assert a_hand((0, -1, 0), (0, 0, 1))["facing"] < 0.05


def test_it_measures_what_the_archive_says(archive: Path) -> None:
    with RhdArchive(archive) as opened:
        found = statistics.measure(opened, "evaluation")
        masks = {sample: opened.mask("evaluation", sample) for sample in opened.ids("evaluation")}
        counts = [
            sum(np.isin(mask, list(ids)).sum() >= statistics.MIN_PIXELS for ids in HAND_IDS.values())
            for mask in masks.values()
        ]
        first = opened.annotation("evaluation", opened.ids("evaluation")[0])
    assert found.pictures["num_hands"].tolist() == counts
    assert len(found.hands) == sum(counts)
    assert found.pictures["hand_share"].tolist() == pytest.approx([(mask > 1).mean() for mask in masks.values()])
    assert found.pictures["focal_px"][0] == pytest.approx(first.camera[0, 0])
    assert found.hands["palm_mm"].between(60, 130).all()
    assert "pictures; hands" in statistics.table(found)
