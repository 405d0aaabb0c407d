import numpy as np
import pytest

from handloom.data.mixture import Mixture

SOURCES = np.array([0] * 12 + [1] * 6 + [2] * 2, np.uint8)
NAMES = ("synthetic", "freihand", "mine")


def seen(mixture: Mixture, steps: int, batch_size: int = 5) -> np.ndarray:
    return np.concatenate([mixture.batch(step, batch_size, seed=1) for step in range(steps)])


def test_each_source_gives_its_share_of_every_epoch() -> None:
    mixture = Mixture.of(SOURCES, NAMES, {"synthetic": 1.0, "freihand": 2.0, "mine": 1.0})
    rows = seen(mixture, 8)  # two epochs of twenty
    for epoch in (rows[:20], rows[20:]):
        assert np.bincount(SOURCES[epoch], minlength=3).tolist() == [5, 10, 5]
    # in epochs of ten, freihand's six rows come once in the first six, and not in the rows' order
    own = rows[SOURCES[rows] == 1]
    assert sorted(own[:6]) == sorted(own[6:12]) == list(range(12, 18))
    assert own[:6].tolist() != own[6:12].tolist()


def test_a_source_without_weight_or_rows_gives_none() -> None:
    for weights in ({"synthetic": 3.0, "freihand": 0.0, "mine": None}, {"synthetic": 3.0}):
        assert set(SOURCES[seen(Mixture.of(SOURCES, NAMES, weights), 4)]) == {0}
    mixture = Mixture.of(SOURCES, (*NAMES, "cutouts"), {"synthetic": 1.0, "cutouts": 5.0})
    assert set(SOURCES[seen(mixture, 4)]) == {0}


def test_one_source_is_a_permutation_an_epoch_and_a_step_depends_on_its_number_alone() -> None:
    alone, all_of_it = Mixture.of(np.zeros(10, np.uint8), ("synthetic",), {"synthetic": 2.0}), Mixture.of_all(10)
    for step in (3, 0, 7):
        expected = [
            np.random.default_rng([4, place // 10]).permutation(10)[place % 10]
            for place in range(step * 4, step * 4 + 4)
        ]
        assert alone.batch(step, 4, seed=4).tolist() == all_of_it.batch(step, 4, seed=4).tolist() == expected


@pytest.mark.parametrize("size", [7, 20])
def test_shares_that_do_not_fall_into_whole_samples_fill_every_epoch(size: int) -> None:
    mixture = Mixture.of(np.arange(size, dtype=np.uint8) % 3, NAMES, {"synthetic": 1.0, "freihand": 1.0, "mine": 1.0})
    counts = np.bincount(seen(mixture, size) % 3, minlength=3)
    assert counts.sum() == 5 * size
    assert counts.min() >= 5 * (size // 3)
