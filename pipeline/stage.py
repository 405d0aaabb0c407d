"""Command line of the pipeline: one command per DVC stage, each load, one call, save.

Run all stages with `dvc repro`, or one by hand: `python -m pipeline.stage train segment`.
"""

import click

from handloom.reporting import reported


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def stage() -> None:
    """Run one stage of the pipeline by hand; `dvc repro` runs what is out of date, in order.

    \b
    download -> preprocess -> train segment -> evaluate
                           -> train pose ---^  export, gestures, lift
    """  # noqa: D301


@stage.command()
def download() -> None:
    """Obtain the raw archive: render it, or fetch the real RHD."""
    from pipeline import steps

    steps.download()


@stage.command()
def preprocess() -> None:
    """Turn the archive into training arrays and index.csv."""
    from pipeline import steps

    steps.preprocess()


@stage.command()
@click.argument("net", type=click.Choice(["segment", "pose"]))
def train(net: str) -> None:
    """Train one of the two nets; a killed training goes on from its last checkpoint."""
    from pipeline import steps

    steps.train(net)


@stage.command()
def evaluate() -> None:
    """Score both nets on the test split; write metrics, plots, figures and per-sample tables."""
    from pipeline import steps

    steps.evaluate()


@stage.command()
def gestures() -> None:
    """Teach a small net which gesture 21 keypoints are, and score it on rendered hands."""
    from pipeline import steps

    steps.gestures()


@stage.command()
def lift() -> None:
    """Teach a small net where in space 21 keypoints are, and score it by hand3d's measures."""
    from pipeline import steps

    steps.lift()


@stage.command()
def export() -> None:
    """Write both nets as ONNX, in float32 and in int8, and check that they say what torch says."""
    from pipeline import steps

    steps.export()


def main() -> None:
    """Show a mistake of the user as one line and an exit code, a mistake of ours as a traceback."""
    with reported():
        stage(prog_name="python -m pipeline.stage")


if __name__ == "__main__":
    main()
