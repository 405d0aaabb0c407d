"""How much of what looks like a hand and is none the nets call a hand: faces, bare arms and legs, wood."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from matplotlib import cbook
from numpy.typing import NDArray
from tqdm import tqdm

from handloom import draw, files, images
from handloom.images import Picture
from handloom.reporting import reported

SHOWN: Final = 3
"""Pictures of each kind in the figure."""
SEED: Final = 2019
MIN_SHARE: Final = 0.02
"""Of a picture that a face or an arm must cover to count."""
Sample = tuple[str, Picture, NDArray[np.bool_]]
"""What it is, a square picture, and where in it."""


def measure(finder: Any, count: int) -> tuple[dict[str, float], Picture]:
    """Give the share of the pixels of each kind that is called a hand, and a figure of the first, no scene twice.

    Rendered people of the evaluation split of another seed than any preset's, drawn wood, and one photographed face:
    Grace Hopper's, US Navy, in the public domain, which matplotlib brings along.
    """
    called: dict[str, list[tuple[int, int]]] = {}
    shown: dict[str, list[Picture]] = {}
    scenes: list[Picture] = []
    for kind, picture, where in tqdm(_samples(count), desc="skin-like", unit="picture", leave=False):
        said = finder.regions(picture).labels > 0
        small = images.shrink(np.where(where, np.uint8(255), np.uint8(0)), finder.size) >= 128
        called.setdefault(kind, []).append((int((said & small).sum()), int(small.sum())))
        if len(shown.setdefault(kind, [])) < SHOWN and not any(picture is scene for scene in scenes):
            scenes.append(picture)
            overlay = draw.mask(images.shrink(picture, finder.size), said & small)
            shown[kind].append(draw.enlarge(overlay, 2))
    shares = {kind: sum(a for a, _ in each) / sum(b for _, b in each) for kind, each in called.items()}
    return shares, draw.grid([each for kind in shown.values() for each in kind], columns=5)


def _samples(count: int) -> Iterator[Sample]:
    """Give `count` pictures of each kind and the one photograph."""
    from handloom.data.synthetic import texture
    from handloom.data.synthetic.render import render
    from handloom.data.synthetic.scene import SIZE
    from handloom.data.synthetic.solids import FACE, SKIN

    kinds = {"rendered faces": FACE, "rendered arms, legs and necks": SKIN}
    left = dict.fromkeys(kinds, count)
    for index in range(50 * count):
        sample = render(SEED, "evaluation", index)
        for kind, rule in kinds.items():
            where = (sample.rules == rule) & (sample.mask == 1)
            if left[kind] and where.mean() > MIN_SHARE:
                left[kind] -= 1
                yield kind, sample.color, where
        if not any(left.values()):
            break
    rng = np.random.default_rng(SEED)
    for _ in range(count):
        wood = np.asarray(texture.wood(rng, SIZE))
        yield "drawn wood in the colours of skin", wood, np.ones(wood.shape[:2], bool)
    picture = images.read(Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))))[:512, :512]
    yield "a photographed portrait, ground and all", picture, np.ones(picture.shape[:2], bool)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--models", default=None, type=click.Path(path_type=Path), help="Nets.  [default: those of the package]")
@click.option("--count", default=40, show_default=True, type=click.IntRange(1), help="Pictures of each kind.")
@click.option("--out", default=Path("docs/figures/skin.jpg"), show_default=True, type=click.Path(path_type=Path))
def skin(models: Path | None, count: int, out: Path) -> None:
    """Print the shares and draw the figure."""
    from handloom.inference import HandFinder

    shares, figure = measure(HandFinder.load(models) if models else HandFinder.load(), count)
    files.write(out, images.encode(figure, ".jpg"))
    for kind, share in shares.items():
        click.echo(f"{kind}: {share:.2%} called a hand")
    click.echo(f"look at {out}")


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        skin(prog_name="python -m pipeline.skin")


if __name__ == "__main__":
    main()
