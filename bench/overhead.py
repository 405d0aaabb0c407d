"""What a person waits for beside the work itself: commands that start, DVC that looks, MLflow that keeps.

python bench/overhead.py

In a checkout whose pipeline is up to date. Commands take turns; medians.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import click
from report import report

PYTHON = sys.executable
FIRST_HANDS = (
    "import numpy as np; from handloom.inference import HandFinder; "
    "HandFinder.load()(np.zeros((480, 640, 3), np.uint8))"
)
THEIR_FIRST_HANDS = (
    "import mediapipe, numpy as np; "
    "mediapipe.solutions.hands.Hands(static_image_mode=True).process(np.zeros((480, 640, 3), np.uint8))"
)
COMMANDS = {
    "handloom --help": [PYTHON, "-c", "from handloom.cli import main; main()", "--help"],
    "handloom predict --help": [PYTHON, "-c", "from handloom.cli import main; main()", "predict", "--help"],
    "python -m pipeline.stage --help": [PYTHON, "-m", "pipeline.stage", "--help"],
    "python -m pipeline.preset default": [PYTHON, "-m", "pipeline.preset", "default"],
    "first hands, bundled nets": [PYTHON, "-c", FIRST_HANDS],
    "first hands, MediaPipe": [Path(__file__).parent / ".mediapipe/bin/python", "-c", THEIR_FIRST_HANDS],
    "import torch": [PYTHON, "-c", "import torch"],
    "import mlflow": [PYTHON, "-c", "import mlflow"],
    "dvc repro, nothing to do": ["dvc", "repro", "--quiet"],
    "dvc params diff": ["dvc", "params", "diff"],
    "dvc metrics show": ["dvc", "metrics", "show"],
}
STEPS = 1000


def commands(times: int) -> list[dict[str, Any]]:
    """Give the seconds from a command's start to its end."""
    taken = defaultdict(list)
    known = {name: words for name, words in COMMANDS.items() if shutil.which(str(words[0]))}
    for _ in range(times):
        for name, words in known.items():
            begun = time.perf_counter()
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise click.ClickException(f"{name}: {done.stderr.strip().splitlines()[-1]}")
            taken[name].append(time.perf_counter() - begun)
    return [{"what": name, "seconds": median(each)} for name, each in taken.items()]


def tracking() -> list[dict[str, Any]]:
    """Give what a training pays for MLflow: a run's begin and end, a step's figures buffered, one flush of 1,000."""
    from handloom import tracking

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        laps = [time.perf_counter()]
        with tracking.run("bench", "k", {}, {}) as run:
            laps.append(time.perf_counter())
            for step in range(STEPS):
                run.metrics({"loss": 1.0, "epoch": 1.0}, step)
            laps.append(time.perf_counter())
            run.flush()
            laps.append(time.perf_counter())
        laps.append(time.perf_counter())
    begin, noted, sent, end = (after - before for before, after in pairwise(laps))
    return [
        {"what": "MLflow: a run's begin and end, a fresh store", "seconds": begin + end},
        {"what": "MLflow: a step's two figures, noted and sent", "seconds": (noted + sent) / STEPS},
    ]


@click.command()
@click.option("--times", default=5, show_default=True, type=click.IntRange(1))
def overhead(times: int) -> None:
    """Time what is no work."""
    report("overhead", commands(times) + tracking(), "medians of wall-clock seconds, files in the page cache")


if __name__ == "__main__":
    overhead()
