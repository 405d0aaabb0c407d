"""Which rows of a set make up the batch of a step: every epoch anew, each source with its share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Groups of rows, and what share of the samples each gives. An epoch is as many samples as there are rows."""

    groups: tuple[Rows, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, sources: NDArray[np.uint8], names: Sequence[str], weights: Mapping[str, float | None]) -> Self:
        """Mix rows by their sources' weights; `sources` (N,) are places in `names`. One without rows gives none."""
        rows = [np.flatnonzero(sources == place) for place in range(len(names))]
        used = [(own, float(weights.get(name) or 0)) for own, name in zip(rows, names, strict=True) if len(own)]
        total = sum(weight for _, weight in used)
        return cls(tuple(own for own, _ in used), tuple(weight / total for _, weight in used))

    @classmethod
    def of_all(cls, rows: int) -> Self:
        """Give every row the same chance."""
        return cls((np.arange(rows),), (1.0,))

    def batch(self, step: int, batch_size: int, seed: int) -> Rows:
        """Give the rows of a step, which depend on (seed, step) alone; batches run on across epochs.

        Every source goes through all its rows before it repeats one.
        """
        size = sum(map(len, self.groups))
        places = range(step * batch_size, (step + 1) * batch_size)
        return np.array([_epoch(self, place // size, seed)[place % size] for place in places])


@lru_cache(maxsize=2)
def _epoch(mixture: Mixture, epoch: int, seed: int) -> Rows:
    groups, size = mixture.groups, sum(map(len, mixture.groups))
    draw = np.random.default_rng([seed, epoch])
    if len(groups) == 1:
        return groups[0][draw.permutation(size)]
    ends = np.round(np.cumsum(mixture.shares) * size).astype(int)
    order = np.empty(size, np.int64)
    slots = draw.permutation(size)
    for number, (rows, start, end) in enumerate(zip(groups, [0, *ends[:-1]], ends, strict=True)):
        seen = epoch * (end - start)
        order[np.sort(slots[start:end])] = [
            rows[_round(len(rows), place // len(rows), number, seed)[place % len(rows)]]
            for place in range(seen, seen + end - start)
        ]
    return order


@lru_cache(maxsize=32)
def _round(rows: int, number: int, group: int, seed: int) -> Rows:
    """Give the order in which a group's rows come in its round of that number."""
    return np.random.default_rng([seed, group, number]).permutation(rows)
