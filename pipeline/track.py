"""Brings to MLflow what its store did not take while stages ran."""

import click

from handloom.reporting import reported


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def track() -> None:
    """Send the figures of runs that were kept in .unsent, as no MLflow store answered then."""
    from handloom import tracking

    sent = 0
    for run in tracking.send():
        click.echo(f"{run}: sent to {tracking.store()}")
        sent += 1
    click.echo("next: mlflow ui" if sent else "nothing is unsent")


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        track(prog_name="python -m pipeline.track")


if __name__ == "__main__":
    main()
