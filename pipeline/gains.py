"""The picture of many recipes: what each gains over the first one, beside what chance does."""

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from handloom.plots import to_png

if TYPE_CHECKING:
    import pandas as pd


def picture(figures: "pd.DataFrame", seeds: list[str]) -> bytes:
    """Give a PNG with a panel for each column of `figures`, a bar for each row that is none of `seeds`.

    The first of `seeds` is what the others are compared with; two standard deviations of all of them are grey.
    """
    of_seeds = figures.loc[seeds]
    gains, chance = figures.drop(index=seeds) - of_seeds.iloc[0], 2 * of_seeds.std()
    columns = len(figures.columns)
    shown = Figure(figsize=(1.5 + 2.6 * columns, 0.28 * len(gains) + 1.4), layout="constrained")
    panels = shown.subplots(1, columns, sharey=True, squeeze=False)[0]
    for panel, column in zip(panels, figures.columns, strict=True):
        panel.axvspan(-chance[column], chance[column], color="0.88")
        panel.barh(gains.index, gains[column], color="#3572a5")
        panel.axvline(0, color="black", linewidth=0.8)
        panel.set_title(column, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.locator_params(axis="x", nbins=5)
        panel.tick_params(labelsize=8)
        panel.margins(y=0.01)
    panels[0].invert_yaxis()
    shown.supxlabel(f"change from '{seeds[0]}'; grey: two standard deviations of {len(seeds)} seeds", fontsize=9)
    return to_png(shown)
