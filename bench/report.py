"""What a figure is worth without: the machine, the versions, the commit; kept in bench/results/NAME.json."""

import json
import os
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "numba", "onnxruntime", "opencv-python-headless", "pillow", "torch")


def report(name: str, rows: list[dict[str, Any]], note: str = "") -> None:
    """Print a table, and write it with all that it depends on."""
    columns = list(rows[0])
    texts = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in texts) for i in range(len(columns))]
    for line in texts:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    about = {
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", "src", "pipeline", "presets")),
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "note": note,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"rows": rows, **about}, indent=1) + "\n")
    click.echo(f"{path}")


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
