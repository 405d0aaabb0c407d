"""Moving pictures with their truth: the hands of one scene change their poses and sway, all else stays as it is."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic.hand import about, pose
from handloom.data.synthetic.poses import draw_angles
from handloom.data.synthetic.render import Rendered, photograph, scenes, shows
from handloom.data.synthetic.scene import PlacedHand, Scene

Array = NDArray[np.float64]

HOLD_S, CHANGE_S = (0.6, 2.0), (0.3, 0.8)
"""Least and most that a pose is held, and that the way to the next takes."""
GRAIN = 2.5
"""Standard deviation of what a camera adds to each frame anew, of 255; the rest of its noise stays."""
SWAY_M, SWAY_RAD = 0.012, 0.12
"""Standard deviation of a wrist's place and of its turn."""


def frames(seed: int, index: int, names: Sequence[str], rate: float, seconds: float) -> Iterator[Rendered]:
    """Give the frames of a sequence whose hands take poses of these names; the same for the same five."""
    for rng, extras, scene in scenes(seed, "evaluation", index, 0.0, 0.0):
        still = photograph(deepcopy(rng), deepcopy(extras), scene)
        if shows(still, scene.wanted):
            break
    ways = np.random.default_rng([seed, index, 2])
    count = round(rate * seconds)
    times = np.arange(count) / rate
    angles = [_angles(ways, scene, names, times) for _ in scene.hands]
    sways = [_sway(ways, times) for _ in scene.hands]
    for place in range(count):
        hands = tuple(
            _moved(scene, hand, each[place], sway[place])
            for hand, each, sway in zip(scene.hands, angles, sways, strict=True)
        )
        moved = replace(scene, hands=(hands[0], hands[1]))
        rendered = photograph(deepcopy(rng), deepcopy(extras), moved)
        grain = np.random.default_rng([seed, index, 3, place]).normal(0, GRAIN, rendered.color.shape)
        yield replace(rendered, color=(rendered.color + grain).round().clip(0, 255).astype(np.uint8))


def _angles(rng: np.random.Generator, scene: Scene, names: Sequence[str], times: Array) -> Array:
    """Give (T, 5, 4) of a hand that goes from pose to pose."""
    keys, ends = [], [0.0]
    while ends[-1] <= times[-1] + 1:
        key = draw_angles(rng, scene.shape, names[int(rng.integers(len(names)))])
        keys += [key, key]
        ends += [ends[-1] + rng.uniform(*HOLD_S), 0.0]
        ends[-1] = ends[-2] + rng.uniform(*CHANGE_S)
    found = np.empty((len(times), 5, 4))
    for number, (start, end) in enumerate(pairwise(ends)):
        share = np.clip((times - start) / (end - start), 0, 1)[:, None, None]
        share = share**2 * (3 - 2 * share)
        now = (times >= start) & (times < end)
        last = keys[min(number + number % 2, len(keys) - 1)]
        found[now] = (keys[number] + (last - keys[number]) * share)[now]
    return found


def _sway(rng: np.random.Generator, times: Array) -> Array:
    """Give (T, 6) of place, metres, and turn, radians: three slow waves each."""
    waves = rng.uniform(0.05, 0.6, (3, 6)) * times[:, None, None] + rng.random((3, 6))
    return np.asarray(np.sin(2 * np.pi * waves).mean(axis=1) * np.repeat([SWAY_M, SWAY_RAD], 3) * np.sqrt(6))


def _moved(scene: Scene, hand: PlacedHand, angles: Array, sway: Array) -> PlacedHand:
    turned = hand.rotation
    for axis, angle in zip(hand.rotation, sway[3:], strict=True):
        turned = turned @ about(axis, float(angle)).T
    return replace(
        hand,
        angles=angles,
        posed=pose(scene.shape, angles, left=hand.left),
        rotation=turned,
        wrist=hand.wrist + sway[:3],
    )
