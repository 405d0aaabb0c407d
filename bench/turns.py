"""What all sides of the training test do: work when told, for so many seconds. Needs no more than Python."""

import json
import sys
import time
from collections.abc import Callable


def answer(work: Callable[[], int], score: Callable[[], float] | None = None) -> None:
    """Read seconds from standard input; do `work`, which gives how many pictures, for so long. 0 asks for the score."""
    out, sys.stdout = sys.stdout, sys.stderr
    work()
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        seconds, pictures = float(line), 0
        if not seconds:
            print(json.dumps(score() if score else None), file=out, flush=True)
            continue
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            pictures += work()
        print(json.dumps([pictures, time.perf_counter() - begun]), file=out, flush=True)
