"""Select a preset: write params.yaml as presets/default.yaml with the preset's changes."""

import io
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML

from handloom import files
from handloom.errors import ParamsError
from handloom.params import Params
from handloom.reporting import reported
from pipeline import layout


def names() -> list[str]:
    """Give the names of all presets."""
    return sorted(path.stem for path in layout.PRESETS.glob("*.yaml"))


def render(name: str) -> str:
    """Give the text of params.yaml under a preset; comments stay. Raises ParamsError for an unknown or wrong one."""
    yaml = YAML()
    yaml.width = 120
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    params = yaml.load(layout.PRESETS / "default.yaml")
    for overlay in overlays(name):
        merge(params, overlay)
    Params.parse(params, str(layout.PRESETS / f"{name}.yaml"))
    buffer = io.StringIO()
    yaml.dump(params, buffer)
    return buffer.getvalue()


def overlays(name: str) -> list[dict[str, Any]]:
    """Give a preset's changes, before them those of what it extends; raises ParamsError for an unknown one."""
    if name == "default":
        return []
    path: Path = layout.PRESETS / f"{name}.yaml"
    if not path.exists():
        raise ParamsError(f"preset: no such preset, got '{name}'; choose one of {', '.join(names())}")
    changes: dict[str, Any] = YAML(typ="safe").load(path)
    sections = {name: value for name, value in changes.items() if not name.startswith("x-")}  # x-: what others quote
    return [*overlays(sections.pop("extends", "default")), sections]


def merge(base: Any, changes: Any) -> None:
    """Change `base`, section by section; its comments stay."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
def preset(name: str) -> None:
    """Write params.yaml for a preset.

    NAME: default, smoke, medium, full, wide, bundled, mobilenet-fcn, report-2019 or rhd. Your own changes to
    params.yaml are replaced; git has them if you committed.
    """
    files.write(layout.PARAMS, render(name))
    click.echo(f"{layout.PARAMS}: preset {name}")
    click.echo("next: dvc params diff  or  dvc repro")


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        preset(prog_name="python -m pipeline.preset")


if __name__ == "__main__":
    main()
