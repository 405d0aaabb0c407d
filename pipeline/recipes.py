"""Sets of whole pipelines that differ in a few params, the data's too: experiments/NAME/recipes.yaml says in which.

A recipe is the preset it extends, default unless it says so, with the set's shared changes and its own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from handloom.errors import ParamsError
from handloom.params import Params
from pipeline import layout
from pipeline.preset import merge, overlays

if TYPE_CHECKING:
    from handloom.data.source import Source


def load(path: Path, *everywhere: dict[str, Any]) -> dict[str, Params]:
    """Give each recipe's whole params, in the file's order, with changes that all take; raises ParamsError."""
    if not path.exists():
        raise ParamsError(f"{path}: no such file, got none in '{Path.cwd()}'; run it where params.yaml lies")
    yaml = YAML(typ="safe")
    own, found = yaml.load(path), {}
    for name, said in own["recipes"].items():
        whole, changes = yaml.load(layout.PRESETS / "default.yaml"), dict(said or {})
        preset = changes.pop("extends", "default")
        for layer in (*overlays(preset), own["shared"], changes, *everywhere):
            merge(whole, layer)
        found[name] = Params.parse(whole, f"{path}: {name}")
    return found


def chosen(known: dict[str, Params], name: str, command: str) -> Params:
    """Give the params of one recipe; raises ParamsError for an unknown one."""
    if name not in known:
        raise ParamsError(f"{command}: no such recipe, got '{name}'; choose one of {', '.join(known)}")
    return known[name]


def prepare(params: Params, folder: Path) -> "list[Source]":
    """Render a recipe's archive into a folder and prepare its arrays in `folder/prepared`; give its sources."""
    from handloom.data import prepare as preparing
    from handloom.data.synthetic.archive import write_archive
    from pipeline.sources import opened, photographs

    write_archive(folder / "synthetic.zip", **params.download.synthetic.model_dump())
    tested_only = [name for name, weight in params.used.items() if not weight]
    sources = opened(params, folder)
    preparing.prepare(sources, folder / "prepared", params.preprocess, photographs(params), tested_only=tested_only)
    return sources
