import io

import numpy as np
import pytest

from handloom import images
from pipeline import moving


def test_a_way_is_held_to_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(100, 200, (1, 2, 21, 2)).astype(np.float32) + np.zeros((6, 1, 1, 1), np.float32)
    truth[:, 1] += 400
    sequence = moving._Rendered([np.zeros((4, 4, 3), np.uint8)] * 6, truth, np.array([[True, True]] * 6))

    def exact_but_for_a_stranger(_: object, seconds: float) -> moving.Hands:
        return [truth[0, 0], truth[0, 0] + 5000]

    said, extra = moving._followed(exact_but_for_a_stranger, sequence)
    assert extra == 6
    assert np.isnan(said[:, 1]).all()
    row = moving._row("name", [(sequence, said, extra)])
    assert row == "| name | 50.0% | 1.00 | 0.0 / 0.0 | 0.00 / 0.00 |"

    def trembling(_: object, seconds: float) -> moving.Hands:
        shift = 3.0 * (round(seconds * moving.RATE) % 2)
        return [truth[0, 0] + [shift, 0], truth[0, 1]]

    row = moving._row("name", [(sequence, *moving._followed(trembling, sequence))])
    hands, extra_said, error, change = row.split("|")[2:6]
    assert (hands.strip(), extra_said.strip()) == ("100.0%", "0.00")
    assert float(error.split("/")[0]) == pytest.approx(0.75, abs=0.06)
    assert float(change.split("/")[0]) == pytest.approx(1.5, abs=0.01)

    found = {name: [(sequence, *moving._followed(trembling, sequence))] for name in "abc"}
    assert images.read(io.BytesIO(moving._figure(found))).shape[2] == 3
