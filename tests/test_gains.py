import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import gains


def test_bars_are_gains_over_the_first_seed_and_grey_is_what_seeds_do() -> None:
    figures = pd.DataFrame({"score": [1.0, 1.2, 2.0, 0.5]}, index=["as it is", "seed 2", "better", "worse"])
    pixels = np.asarray(Image.open(io.BytesIO(gains.picture(figures, ["as it is", "seed 2"]))).convert("RGB"))
    blue = (pixels == (0x35, 0x72, 0xA5)).all(axis=-1)
    grey = (np.abs(pixels.astype(int) - 224) <= 1).all(axis=-1)
    rows = np.flatnonzero(blue.any(axis=1))
    first_of_second = rows[np.flatnonzero(np.diff(rows) > 1)[0] + 1]
    upper, lower = (np.flatnonzero(part.any(axis=0)) for part in (blue[:first_of_second], blue[first_of_second:]))
    better, worse = np.ptp(upper), np.ptp(lower)
    assert lower.mean() < upper.mean()  # the first recipe stands on top
    assert worse / better == pytest.approx(0.5, rel=0.05)
    seeds = figures["score"].loc[["as it is", "seed 2"]].std()
    band = np.flatnonzero(grey.sum(axis=0) > 10)  # text has grey edges, of few pixels a column
    assert np.ptp(band) / better == pytest.approx(4 * seeds, rel=0.05)
