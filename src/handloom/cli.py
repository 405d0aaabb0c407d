"""The command line of what the nets are for. Nothing heavy is imported before it is needed: `--help` is instant."""

from pathlib import Path

import click

from handloom.reporting import reported

SOME_FAILED = 3
"""Exit code where some inputs could not be read and the others were done."""


_models = click.option(
    "--models",
    metavar="WHERE",
    help="Folder of trained or exported nets, or a registered model (models:/handloom@current).  "
    "[default: the bundled nets]",
)
_int8 = click.option("--int8", is_flag=True, help="Of a folder, the exported nets in int8: half the time.")

_size = click.option(
    "--size",
    type=click.IntRange(1),
    help="Side at which the mask net sees a picture, px; of the bundled one a multiple of 32 up to 1024. More finds "
    "smaller hands, and more that are none, less is faster.  [default: that of its training]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="handloom")
def handloom() -> None:
    """Find hands: their pixels, 21 keypoints, left or right, and how sure each is."""


@handloom.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("--out", default=Path("hands"), show_default=True, type=click.Path(path_type=Path), help="Folder.")
@_models
@_int8
@_size
@click.option(
    "--min-score",
    default=0.99,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Leave out hands below; in videos those first seen with less.",
)
@click.option("--overlays/--no-overlays", default=True, show_default=True, help="Inputs with the hands drawn in.")
@click.option("--masks", is_flag=True, help="Of pictures, as PNG: 0 none, 1 the first hand, 2 the next.")
@click.option("--coco", is_flag=True, help="Of pictures, hands.coco.json beside hands.jsonl.")
@click.option("--closer", is_flag=True, help="Show the mask net each hand again, from closer: finer masks, more time.")
@click.option("--edges", is_flag=True, help="Let masks follow the picture's own edges: finer where these are clear.")
@click.option(
    "--views",
    default=2,
    show_default=True,
    type=click.IntRange(1, 32),
    help="Read each region in N ways: 2 mirrored too, 8 closer and farther too, 32 turned too. Surer, slower.",
)
@click.option("--smooth/--no-smooth", default=True, show_default=True, help="Steady keypoints in videos.")
@click.option(
    "--tiles",
    default=1,
    show_default=True,
    type=click.IntRange(1, 8),
    help="Look at N parts of the longer side too, and as many as fit of the other: finds smaller hands, and more "
    "that are none.",
)
def predict(
    inputs: tuple[str, ...],
    out: Path,
    models: str | None,
    int8: bool,
    size: int | None,
    tiles: int,
    closer: bool,
    edges: bool,
    views: int,
    **options: bool | float,
) -> None:
    """Find hands in INPUTS: pictures, videos, folders, globs, cameras (camera:0).

    Writes OUT/hands.jsonl, a line per picture or frame. What cannot be read is named and left out; the exit code is
    then 3.
    """
    from handloom import media

    sources = media.find(inputs, [out / folder for folder in media.WRITTEN])

    from handloom import batch
    from handloom.inference import CLOSER, HandFinder
    from handloom.tiles import TiledFinder

    finder = HandFinder.load(models, int8=int8, size=size, closer=CLOSER if closer else 0, edges=edges, views=views)
    finder = finder if tiles == 1 else TiledFinder.of(finder, tiles)
    done = batch.run(finder, sources, batch.Wanted(out=out, **options))  # type: ignore[arg-type]
    failed = f"; {done.num_failed:,} of {len(sources):,} inputs failed" if done.num_failed else ""
    click.echo(f"{out}: {done.num_hands:,} hands in {done.num_pictures:,} pictures{failed}")
    if done.num_failed:
        raise SystemExit(SOME_FAILED)


@handloom.command()
@click.option("--camera", default=0, show_default=True, type=click.IntRange(0), help="Number of the camera.")
@click.option("--video", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file in its place.")
@_models
@_int8
@_size
@click.option("--min-confidence", default=0.8, show_default=True, type=click.FloatRange(0, 1), help="Of a gesture.")
@click.option("--hold", default=0.6, show_default=True, type=click.FloatRange(0), help="Seconds that one must last.")
def gestures(
    camera: int,
    video: Path | None,
    models: str | None,
    int8: bool,
    size: int | None,
    min_confidence: float,
    hold: float,
) -> None:
    """Print a line of JSON for each gesture that a hand holds, until Ctrl-C or the video's end.

    Names: fist, open_palm, point, victory, three, four, thumb_up, thumb_down, ok, call, rock. Another program may read
    the lines: handloom gestures | my-program.
    """
    from handloom import media

    (source,) = media.find([str(video) if video else f"camera:{camera}"])

    from handloom import batch
    from handloom.inference import HandFinder

    for line in batch.commands(HandFinder.load(models, int8=int8, size=size), source, min_confidence, hold):
        click.echo(line)


@handloom.command()
@_models
@_int8
@_size
@click.option("--port", default=8765, show_default=True, type=click.IntRange(1024, 65535), help="On 127.0.0.1.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page.")
def demo(models: str | None, int8: bool, size: int | None, port: int, browser: bool) -> None:
    """Show hands live in a page: camera, pictures, videos. Everything stays on this machine."""
    from handloom import serve
    from handloom.inference import HandFinder

    address = f"http://127.0.0.1:{port}/"
    serve.run(serve.build(HandFinder.load(models, int8=int8, size=size), port), port, lambda: _opened(address, browser))


@handloom.command()
@click.argument("root", default=Path(), type=click.Path(exists=True, file_okay=False, path_type=Path))
def verify(root: Path) -> None:
    """Compare every byte of the pipeline's outputs in ROOT, and the bundled nets, with what they should be.

    `dvc.lock` says what that is. The first stage that differs is named; the exit code is then 3.
    """
    from itertools import chain

    from handloom import verify as verifying
    from handloom.errors import DataError

    wrong = []
    for checked in chain([verifying.bundled()], verifying.checked(root)):
        click.echo(f"{checked.stage}: {checked.num_right} of {checked.num_outputs} outputs are as they should be")
        for fault in checked.faults:
            click.echo(f"  {fault}")
        wrong += [(checked.stage, checked.faults[0], checked.remedy)] if checked.faults else []
    if wrong:
        stage, fault, remedy = wrong[0]
        raise DataError(f"{stage}: the first that differs, got '{fault}'; {remedy}")


def _opened(address: str, browser: bool) -> None:
    click.echo(f"the demo is at {address} until Ctrl-C")
    if browser:
        click.launch(address)


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        handloom(prog_name="handloom")
