"""What an archive in data/raw holds, as a Markdown table: docs/rendered-set.md has the rendered one's."""

import click

from handloom.reporting import reported
from pipeline import layout


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--source", type=click.Choice(["synthetic", "rhd"]), default="synthetic", show_default=True)
@click.option("--split", type=click.Choice(["training", "evaluation"]), default="evaluation", show_default=True)
def statistics(source: str, split: str) -> None:
    """Print how large, visible and turned the archive's hands are; five figures are the 5, 25, 50, 75, 95 % values."""
    from handloom.data.rhd import RhdArchive
    from handloom.data.statistics import measure, table

    with RhdArchive(layout.raw(source)) as archive:
        click.echo(f"| {archive.path.stem}, {split} split | |\n|---|---|\n{table(measure(archive, split))}", nl=False)


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        statistics(prog_name="python -m pipeline.statistics")


if __name__ == "__main__":
    main()
