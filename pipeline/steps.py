"""What each stage does: read params and inputs, one call of the library, write whole files at the end."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from handloom import files
from handloom.errors import Abandoned, DataError, ParamsError
from handloom.params import ArchiveParams, Params
from handloom.tracking import Run
from pipeline import layout, runs, summary
from pipeline.sources import ARCHIVES, opened, opened_like, photographs


def download() -> None:
    """Leave an archive in data/raw of each source that has one, named after it."""
    params = Params.load(layout.PARAMS)
    layout.RAW.mkdir(parents=True, exist_ok=True)
    targets = {name: layout.RAW / f"{name}.zip" for name in ARCHIVES if name in params.used}
    for name, target in targets.items():
        if name == "synthetic":
            from handloom.data.synthetic.archive import write_archive

            write_archive(target, **params.download.synthetic.model_dump())
        else:
            obtain(getattr(params.download, name), target)
    for other in set(layout.RAW.glob("*.zip")) - set(targets.values()):
        other.unlink()  # of a source chosen earlier; DVC would have deleted it
    sizes = ", ".join(f"{target}: {target.stat().st_size / 1e6:,.0f} MB" for target in targets.values())
    summary.say(sizes or f"{layout.RAW}: no source has an archive", "python -m pipeline.stage preprocess")


def obtain(params: ArchiveParams, target: Path) -> None:
    """Fetch a real archive, unless the user has it, and take it over as `target`."""
    from handloom.data.download import Remote, adopt, fetch

    source = Path(params.zip) if params.zip else layout.downloads() / params.url.rpartition("/")[2]
    if not params.zip:
        fetch(Remote(params.url, params.size, params.sha256), source)
    adopt(source, target)


def preprocess() -> None:
    """Write data/prepared from all sources."""
    from handloom.data.prepare import num_samples, prepare

    params = Params.load(layout.PARAMS)
    behind = photographs(params)
    tested_only = [name for name, weight in params.used.items() if not weight]
    index = prepare(opened(params), layout.PREPARED, params.preprocess, behind, tested_only=tested_only)
    reasons = index["status"].where(~index["status"].str.startswith("unreadable"), "unreadable").value_counts()
    hands = ", ".join(f"{count:,} {status}" for status, count in reasons.items())
    pictures = f"{num_samples(index):,} pictures and parts of {len(behind)} photographs without a hand"
    summary.say(f"{layout.PREPARED}: {pictures}; hands: {hands}", "python -m pipeline.stage train segment")


def train(net: str) -> None:
    """Write models/NET.safetensors, its validation figures and its curve."""
    params = getattr(Params.load(layout.PARAMS), net)  # before torch, whose import takes seconds

    from handloom.tasks import TASKS

    headline = TASKS[net].headline
    with trained(f"train@{net}", net, params, layout.model(net), layout.training_curve(net)) as validations:
        last = validations.iloc[-1]
        figures = {"steps": int(last["step"])} | {name: float(last[name]) for name in ("val_loss", f"val_{headline}")}
        files.write(layout.METRICS / f"train_{net}.json", _json(figures))
    score = f"{headline} {last[f'val_{headline}']:.3f} on the validation split"
    summary.say(f"{layout.model(net)}: {score}", "python -m pipeline.stage evaluate")


@contextmanager
def trained(
    stage: str,
    net: str,
    params: Any,
    model: Path,
    curve: Path,
    watch: Callable[[Run], Run] = lambda run: run,
    prepared: Path = layout.PREPARED,
    sources: dict[str, float] | None = None,
) -> Iterator[pd.DataFrame]:
    """Train a net on prepared arrays, or go on with it; write its model and its curve, and give the curve.

    `sources` are weights, None those of params.yaml. The resume state is deleted when the with-block ends well: what it
    writes belongs to the training. `watch` may take the run's place, to see its figures and to raise Abandoned.
    """
    from handloom import checkpoint, distributed, tracking, training
    from handloom.data.prepared import load_facts
    from handloom.tasks import TASKS

    task = TASKS[net]
    folder = prepared / net
    weights = Params.load(layout.PARAMS).used if sources is None else sources
    data = task.data.load(folder, "train", weights), task.data.load(folder, "val")
    facts = load_facts(folder)
    own = {layout.prepared(net): folder}
    deps = {str(path): files.dvc_hash(own.get(path, path)) for path in layout.deps("train", net)}
    if begin := params.begin_from:
        if not Path(begin).is_file():
            raise ParamsError(f"{net}.begin_from: no such file, got '{begin}'; name a trained net outside of models/")
        deps[begin] = files.dvc_hash(Path(begin))
    key = checkpoint.key_of(stage, {"sources": weights, **params.model_dump()}, deps)
    resume = checkpoint.Resume(layout.checkpoints(), stage.replace("@", "-"), key)
    tags = {f"dvc.dep.{path}": md5 for path, md5 in deps.items()}
    with distributed.team() as team:
        if not team.leads:
            training.train(task, data, params, resume, tracking.Nobody(), team)
            raise SystemExit(0)  # the first process writes what came of it
        noted = {net: params.model_dump(), "sources": weights, "facts": facts}
        with resume.locked(), tracking.run(stage, key, noted, tags) as run:
            try:
                result = training.train(task, data, params, resume, watch(run), team)
            except Abandoned:
                resume.finish()
                raise
            about = {
                "task": net,
                "outputs": task.outputs(params),
                "params": params.model_dump(),
                "facts": facts | {"weights": weights},
                "key": key,
            }
            checkpoint.save_model(model, result.average, about)
            validations = pd.DataFrame(result.validations)
            files.write(curve, _csv(validations))
            _keep_curves(task, validations, (model, curve), run)
            run.metrics({f"best.{task.headline}": float(validations[f"val_{task.headline}"].max())}, result.step)
            run.tag(f"dvc.out.{model}", files.dvc_hash(model))
    yield validations
    resume.finish()


def evaluate() -> None:
    """Write metrics, plots, figures and per-sample tables of the test split."""
    whole = Params.load(layout.PARAMS)
    params = whole.evaluate

    from handloom import checkpoint, evaluation, plots
    from handloom.inference import HandFinder
    from handloom.tasks import POSE, SEGMENT

    masks, hands = (task.data.load(layout.prepared(task.name), "test") for task in (SEGMENT, POSE))
    segment, pose = (checkpoint.load_model(layout.model(task.name), task.name) for task in (SEGMENT, POSE))
    curves = {task: _curve(task) for task in (SEGMENT, POSE)}
    size, resamples, count = params.batch_size, params.resamples, params.num_pictures
    of_masks = evaluation.evaluate_segment(segment, masks, params)
    found = evaluation.find_hands(of_masks.predictions, masks, hands)
    sources = opened_like(masks.names, whole)
    of_hands = evaluation.evaluate_pose(pose, hands, found, sources, size, resamples)
    shown = (
        sources[masks.sources[row]].picture("evaluation", int(masks.ids[row]))
        for row in plots.spread(len(masks), (count + 1) // 2)
    )
    crops = plots.crop_pictures(HandFinder(segment, pose), shown)
    figures = {
        **{f"curves_{task.name}": plots.training_curves(task, curve) for task, curve in curves.items()},
        "crops": crops,
        "masks": plots.mask_pictures(of_masks.predictions, masks, count),
        "worst": plots.worst_masks(of_masks.predictions, masks, of_masks.samples["iou"].to_numpy()),
        "keypoints": plots.keypoint_pictures(POSE, of_hands.predictions, hands, count),
        "pck": plots.pck_curve(of_hands.tables["pck"], of_hands.tables["keypoints"]),
        "reliability": plots.reliability(of_hands.tables["reliability"]),
    }
    for name, png in figures.items():
        files.write(layout.FIGURES / f"{name}.png", png)
    scores = {"segment": of_masks.scores, "pose": of_hands.scores}
    for net, report in (("segment", of_masks), ("pose", of_hands)):
        files.write(layout.SAMPLES / f"{net}.csv", _csv(report.samples))
        files.write(layout.METRICS / f"{net}.json", _json(scores[net]))
        for name, table in report.tables.items():
            files.write(layout.PLOTS / f"{name}.csv", _csv(table))
    runs.track_evaluation(scores, params.model_dump())
    summary.say_scores(scores, facts_of=segment.about["facts"])


def _curve(task: Any) -> pd.DataFrame:
    """Read what a net's training wrote of its validations; raises DataError."""
    path = layout.training_curve(task.name)
    try:
        curve = pd.read_csv(path)
        if lacking := {"step", "train_loss", "val_loss", f"val_{task.headline}"} - set(curve):
            raise ValueError(f"no column {min(lacking)}")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a training's curve, got '{error}'; run `dvc repro train@{task.name}`") from None
    return curve


def gestures() -> None:
    """Write the gesture net and its figures, on rendered hands where the archive is rendered."""
    whole = Params.load(layout.PARAMS)

    from handloom import checkpoint, gesture_training, plots
    from handloom.data.rhd import RhdSource
    from handloom.gestures import NAMES
    from handloom.tasks import POSE

    figures: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    if "synthetic" in whole.used:
        archive = RhdSource("synthetic", layout.raw("synthetic"))
        pose = checkpoint.load_model(layout.model("pose"), "pose")
        hands, said, labels = {}, {}, {}
        for split, own, views in (("training", "train", 1), ("evaluation", "test", whole.gestures.views)):
            hands[split] = POSE.data.load(layout.prepared("pose"), own)
            labels[split] = gesture_training.labels_of(hands[split], archive, split, whole.download.synthetic)
            said[split] = gesture_training.in_views(pose, hands[split], whole.evaluate.batch_size, views)
        seen = gesture_training.seen_by(said["training"][0][0], hands["training"], labels["training"])
        net, accuracy = gesture_training.train(whole.gestures, seen)
        figures = gesture_training.scores(net, hands["evaluation"], said["evaluation"], labels["evaluation"])
        tables = {name: figures.pop(f"confusion_{name}_keypoints") for name in ("true", "predicted")}
    else:
        net, accuracy = gesture_training.train(whole.gestures)
        tables = {"none": gesture_training.confusion(nobody := np.zeros(0, int), nobody)}
    figures = {"accuracy_drawn_keypoints": accuracy, **figures}
    files.write(layout.PLOTS / "gestures.png", plots.confusion(tables, NAMES))  # dvc.yaml has it, come what may
    net.write(layout.GESTURES)
    files.write(layout.METRICS / "gestures.json", _json(figures))
    said_of = ", ".join(f"{name.split('_')[1]} {value:.3f}" for name, value in figures.items() if "accuracy" in name)
    summary.say(
        f"{layout.GESTURES}: accuracy from keypoints {said_of}",
        f"handloom gestures --models {layout.MODELS} --camera 0",
    )


def lift() -> None:
    """Write the lifting net and its figures; an empty one where it is switched off."""
    whole = Params.load(layout.PARAMS)

    from handloom import checkpoint, lift_training
    from handloom.data.rhd import RhdSource
    from handloom.perceptron import Perceptron
    from handloom.prediction import predictions_of
    from handloom.tasks import POSE

    net, figures = Perceptron(()), dict[str, Any]()
    if name := next((name for name in ("rhd", "synthetic") if whole.lift.enabled and whole.used.get(name)), None):
        archive = RhdSource(name, layout.raw(name))
        known, hands = (POSE.data.load(layout.prepared("pose"), split) for split in ("train", "test"))
        net = lift_training.train(lift_training.hands_of(known, "training", archive), whole.lift)
        pose = checkpoint.load_model(layout.model("pose"), "pose")
        said = predictions_of(pose, POSE, hands, whole.evaluate.batch_size)
        figures = lift_training.scores(net, lift_training.hands_of(hands, "evaluation", archive), said)
    net.write(layout.LIFT)
    files.write(layout.METRICS / "lift.json", _json(figures))
    if figures:
        errors = " and ".join(f"{figures[f'{of}_keypoints.error_mean_mm']:.1f}" for of in ("true", "predicted"))
        summary.say(f"{layout.LIFT}: {errors} mm off from true and predicted keypoints", "dvc metrics show")
    else:
        summary.say(f"{layout.LIFT}: empty, since lift is off or no source has joints in space", "dvc repro")


def export() -> None:
    """Write onnx/NET.onnx, onnx/NET.int8.onnx and onnx/hands.onnx."""
    params = Params.load(layout.PARAMS).export

    from handloom import checkpoint, tasks
    from handloom import export as exporting
    from handloom.inference import HandFinder

    figures = {}
    made_files: dict[str, bytes] = {}
    models = {net: checkpoint.load_model(layout.model(net), net) for net in tasks.TASKS}
    for net, task in tasks.TASKS.items():
        model = models[net]
        validation = task.data.load(layout.prepared(net), "val")
        made = exporting.export(model, task, validation, params)
        made_files |= {f"{net}.onnx": made.onnx, f"{net}.int8.onnx": made.int8}
        figures[net] = made.figures
        said = ", ".join(f"{form} {made.figures[f'{form}_{task.headline}']:.3f}" for form in ("torch", "onnx", "int8"))
        sizes = ", ".join(f"{len(content) / 1e6:.1f} MB" for content in (made.onnx, made.int8))
        click.echo(f"{layout.ONNX}/{net}.onnx, .int8.onnx: {sizes}; {task.headline} {said} on the validation split")
    finder = HandFinder(models["segment"], models["pose"])
    pictures = tasks.SEGMENT.data.load(layout.prepared("segment"), "val").images[: params.calibration_pictures]
    content, alike = exporting.whole(finder, pictures)
    made_files["hands.onnx"] = content
    with files.whole_folder(layout.ONNX) as folder:
        for name, each in made_files.items():
            files.write(folder / name, each)
    figures["hands"] = {"onnx_bytes": float(len(content)), "alike": alike}
    click.echo(
        f"{layout.ONNX}/hands.onnx: picture to hands, {len(content) / 1e6:.1f} MB; {alike:.1%} of keypoints alike"
    )
    files.write(layout.METRICS / "export.json", _json(figures))
    runs.track_export(finder, pictures, figures, params.model_dump())
    summary.say(
        f"{layout.ONNX}: two nets in two forms, and both in one",
        f"handloom predict --models {layout.ONNX} PICTURE",
    )


def _keep_curves(task: Any, validations: pd.DataFrame, written: tuple[Path, ...], run: Any) -> None:
    from handloom import plots

    run.picture(plots.training_curves(task, validations), "curves.png")
    for path in written:
        run.file(path)


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, float_format="%.6f"))


def _json(scores: dict[str, Any]) -> str:
    return json.dumps(_rounded(scores), indent=2) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return round(value, 6) if isinstance(value, float) else value
