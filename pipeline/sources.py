"""The sources of pictures that params.yaml names, opened."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from handloom.errors import DataError, ParamsError
from handloom.params import Params
from handloom.tracking import root
from pipeline import layout

if TYPE_CHECKING:
    from handloom.data.source import Source

ARCHIVES: Final = ("synthetic", "rhd", "freihand")
"""Sources that `download` makes or fetches, as data/raw/NAME.zip."""


def photographs(params: Params) -> list[Path]:
    """Give the photographs without a hand that train: all, or those that cut-outs in use leave."""
    from handloom.data.cutouts import parted

    found = layout.pictures(layout.BACKGROUNDS)
    return parted(found)["training"] if "cutouts" in params.used else found


def opened(params: Params, raw: Path = layout.RAW) -> "list[Source]":
    """Give all sources that are used, in order, archives from `raw`.

    Raises ParamsError for an unknown one, DataError for a missing one.
    """
    from handloom.data.cutouts import Cutouts
    from handloom.data.folder import PictureFolder
    from handloom.data.freihand import FreihandArchive
    from handloom.data.rhd import RhdSource

    for folder in layout.USERS:
        if not layout.pictures(folder) and layout.pictures(root() / folder):
            raise DataError(
                f"{folder}: must hold the repository's pictures, got none in this copy of it; "
                f"queue the experiment with `--copy-paths {folder}`"
            )
    cutouts = layout.CUTOUTS, tuple(layout.pictures(layout.BACKGROUNDS)), params.preprocess.cutouts
    known: dict[str, Callable[[], Source]] = {
        "synthetic": lambda: RhdSource("synthetic", layout.raw("synthetic", raw)),
        "rhd": lambda: RhdSource("rhd", layout.raw("rhd", raw)),
        "freihand": lambda: FreihandArchive(layout.raw("freihand", raw)),
        "cutouts": lambda: Cutouts(*cutouts, params.preprocess.seed),
    }
    for name in params.used:
        if name not in known and not (layout.OWN / name).is_dir():
            raise ParamsError(
                f"sources.{name}: no such source, got no folder {layout.OWN / name}; "
                f"make it, or take one of {', '.join(known)}"
            )
    return [known[name]() if name in known else PictureFolder(layout.OWN / name) for name in params.used]


def opened_like(names: Sequence[str], params: Params) -> "list[Source]":
    """Give the sources of arrays in the arrays' order: DVC does not see that of params.yaml change.

    Raises DataError where the arrays are of other sources.
    """
    by_name = {source.name: source for source in opened(params)}
    if set(by_name) != set(names):
        what = f"{layout.PREPARED}: must be of the sources in {layout.PARAMS}, {', '.join(by_name)}"
        raise DataError(f"{what}, got '{', '.join(names)}'; run `dvc repro preprocess`")
    return [by_name[name] for name in names]
