"""The command line of what the nets are for: `handloom predict`. Imports nothing heavy before it is asked for."""

from pathlib import Path

import click

from handloom.reporting import reported

SOME_FAILED = 3
"""Exit code where some inputs could not be read and the others were done."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="handloom")
def handloom() -> None:
    """Find hands: their pixels, 21 keypoints, left or right, and how sure each is."""


@handloom.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("--out", default=Path("hands"), show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option(
    "--models",
    default=Path("models"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of trained (.safetensors) or exported (.onnx) nets.",
)
@click.option("--int8", is_flag=True, help="The exported nets in int8: half the time, 1 MB each.")
@click.option("--min-score", default=0.5, show_default=True, type=click.FloatRange(0, 1), help="Leave out hands below.")
@click.option("--overlays/--no-overlays", default=True, show_default=True, help="Inputs with the hands drawn in.")
@click.option("--masks", is_flag=True, help="Of pictures, as PNG: 0 none, 1 the first hand, 2 the next.")
@click.option("--coco", is_flag=True, help="Of pictures, hands.coco.json beside hands.jsonl.")
@click.option("--smooth/--no-smooth", default=True, show_default=True, help="Steady keypoints in videos.")
def predict(inputs: tuple[str, ...], out: Path, models: Path, int8: bool, **options: bool | float) -> None:
    """Find hands in INPUTS: pictures, videos, folders, globs, cameras (camera:0).

    Writes OUT/hands.jsonl, a line per picture or frame. What cannot be read is named and left out; the exit code is
    then 3.
    """
    from handloom import media

    sources = media.find(inputs)

    from handloom import batch
    from handloom.inference import HandFinder

    done = batch.run(HandFinder.load(models, int8=int8), sources, batch.Wanted(out=out, **options))  # type: ignore[arg-type]
    failed = f"; {done.num_failed:,} of {len(sources):,} inputs failed" if done.num_failed else ""
    click.echo(f"{out}: {done.num_hands:,} hands in {done.num_pictures:,} pictures{failed}")
    if done.num_failed:
        raise SystemExit(SOME_FAILED)


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        handloom(prog_name="handloom")
