"""A training step beside other packages' nets, beside its own convolutions alone, and what of it reading takes.

    python -m venv bench/.training && bench/.training/bin/pip install -r bench/requirements-training.txt
    dvc repro preprocess && python bench/training.py

All sides take turns of a few seconds on the same cores, each a process of its own that sleeps meanwhile; the same
pictures, the same seconds in all. Scores are on the validation split after that time, in seconds of training and not in
steps: each net as its package gives it, none pretrained.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import click
from report import report

HERE = Path(__file__).parent


class Side:
    """One process that trains when told."""

    def __init__(self, name: str, python: Path, *words: str) -> None:
        self.name, self.rates = name, list[float]()
        # who waits must not spin on the others' cores: between turns of a side all its threads sleep
        env = os.environ | {"OMP_NUM_THREADS": "2", "KMP_BLOCKTIME": "0"}
        self.process = subprocess.Popen(
            [python, HERE / words[0], *words[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        if self._line() != "ready":
            raise click.ClickException(f"{name} did not start; run it by hand: {python} {HERE}/{' '.join(words)}")

    def turn(self, seconds: float) -> None:
        """Let it work for so long."""
        pictures, took = self._ask(seconds)
        self.rates.append(pictures / took)

    def score(self) -> float | None:
        """Give its score on the validation split, if it has one."""
        said: float | None = self._ask(0)
        return said

    def _ask(self, seconds: float) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@click.command()
@click.option("--data", default="data/prepared", show_default=True, help="Prepared arrays.")
@click.option("--seconds", default=120, show_default=True, help="Of training for each side.")
@click.option("--peer", default=HERE / ".training/bin/python", show_default=True, type=click.Path(path_type=Path))
def training(data: str, seconds: int, peer: Path) -> None:
    """Let all sides train in turns."""
    ours = Path(sys.executable)
    rows = []
    for net, peers in (("segment", ("smp", "monai-unet", "monai-basic-unet")), ("pose", ("plain",))):
        sides = [Side(f"handloom {net}", ours, "train_ours.py", "whole", net, data)]
        sides += [
            Side(f"its {what} alone", ours, "train_ours.py", what, net, data) for what in ("input", "convolutions")
        ]
        sides += [Side(name, peer, "train_theirs.py", name, data) for name in peers]
        turns = max(3, seconds // 10)
        for _ in range(turns):
            for side in sides:
                if "alone" not in side.name or len(side.rates) < 3:
                    side.turn(seconds / turns)
        first = median(sides[0].rates)
        for side in sides:
            rate = median(side.rates)
            rows.append(
                {
                    "side": side.name,
                    "pictures/s": rate,
                    "over it": first / rate,
                    "score": side.score(),
                    "seconds": round(seconds * len(side.rates) / turns),
                }
            )
            side.process.stdin.close()  # type: ignore[union-attr]
            side.process.wait()
    report("training", rows, "score: mean mask IoU, PCK@0.2 of the true crop, without flip test")


if __name__ == "__main__":
    training()
