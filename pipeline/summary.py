"""What the terminal says when a stage has ended."""

import os
from typing import Any

import click

from handloom.tracking import RUNS_PAGE
from pipeline import layout


def say(done: str, following: str) -> None:
    """End a stage with what it left and, unless DVC runs it, the next command."""
    click.echo(done)
    if "DVC_STAGE" not in os.environ:
        click.echo(f"next: {following}")


def say_scores(scores: dict[str, dict[str, Any]], facts_of: dict[str, Any]) -> None:
    """Give the evaluation's headline figures, one thing a line."""
    mask, hand = scores["segment"], scores["pose"]
    sources = " and ".join(facts_of["sources"])
    click.echo(f"\nTest split of {sources}, {mask['num_pictures']:,} pictures, {hand['num_hands']:,} hands:")
    low, high = mask["iou_mean.low"], mask["iou_mean.high"]
    click.echo(f"  masks      mean IoU {mask['iou_mean']:.3f} [{low:.3f}, {high:.3f}]  median {mask['iou_median']:.3f}")
    for name, own in mask.get("by_source", {}).items():
        low, high = own["iou_mean.low"], own["iou_mean.high"]
        click.echo(
            f"  {name:10} mean IoU {own['iou_mean']:.3f} [{low:.3f}, {high:.3f}]  median {own['iou_median']:.3f}  "
            f"{own['num_pictures']:,} pictures"
        )
    precision, recall = mask["box_precision_0.5"], mask["box_recall_0.5"]
    click.echo(
        f"  boxes      mean IoU {hand['box_iou_mean']:.3f}  at 0.5: precision {precision:.1%} recall {recall:.1%}"
    )
    for protocol in ("mmpose", "hand3d"):
        for crop in ("true_crop", "predicted_crop"):
            of = hand[protocol][crop]
            pck = f"PCK@0.2 {of['pck_0.2']:.3f}" if "pck_0.2" in of else " " * 13
            click.echo(
                f"  {protocol:6}     {crop.replace('_', ' '):14}  {pck}  AUC {of['auc_30px']:.3f}  "
                f"EPE {of['epe_mean_px']:5.2f} mean {of['epe_median_px']:5.2f} median px"
            )
    for name, own in hand.get("by_source", {}).items():
        true, predicted = (own[crop]["pck_0.2"] for crop in ("true_crop", "predicted_crop"))
        click.echo(f"  {name:10} PCK@0.2 {true:.3f} true, {predicted:.3f} predicted crop, {own['num_hands']:,} hands")
    if not hand["says_something"]:
        click.echo(f"  the heatmaps say nothing (skill {hand['skill']:.2f}): these are no results")
    click.echo(f"look at {layout.FIGURES}/*.png; every run: `mlflow ui`, then {RUNS_PAGE}")
