"""Searches for better params: experiments/NAME/space.yaml says among which, Optuna chooses, every trial is a run.

The first trial is the preset default's own section, so that what is found is compared with what is there. A trial that
lags behind the median of the others is ended early. A search that was stopped goes on where it was, in the middle of
its trial; a second process may work at the same search.
"""

import fcntl
import hashlib
import json
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import click
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator
from ruamel.yaml import YAML

from handloom import files
from handloom.errors import Abandoned, EnvironmentFault, ParamsError, TrainingFailed
from handloom.params import Params
from handloom.reporting import reported
from handloom.tracking import Run
from pipeline import layout
from pipeline.preset import merge

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

HEARTBEAT_S: Final = 10
"""A process that works at a trial says so this often; after three times that its trial is another's to go on with."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Strict):
    """Numbers from `low` to `high`; `log` draws their logarithm evenly, `step` whole multiples of it above `low`.

    Of a param that is a whole number in the preset, whole ones.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @model_validator(mode="after")
    def _can_be_drawn_from(self) -> Self:
        if not self.low < self.high or (self.log and (self.low <= 0 or self.step)) or (self.step or 1) <= 0:
            raise ValueError("low must lie below high; log wants low above 0 and no step; a step is above 0")
        return self

    def suggest(self, trial: "Trial", name: str, like: Any) -> float:
        """Let a trial draw one."""
        if isinstance(like, int):
            return trial.suggest_int(name, round(self.low), round(self.high), log=self.log, step=round(self.step or 1))
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)


class Choices(_Strict):
    """One of several."""

    choices: Annotated[list[bool | int | float | str], Field(min_length=1)]

    def suggest(self, trial: "Trial", name: str, like: Any) -> Any:
        """Let a trial choose one."""
        return trial.suggest_categorical(name, self.choices)


class Prune(_Strict):
    """When a trial is ended early: below the median, once `startup` trials have ended and it made `after` steps."""

    startup: PositiveInt
    after: NonNegativeInt


class Space(_Strict):
    """One search, as its space.yaml says it."""

    net: Literal["segment", "pose"]
    goal: str
    """A figure of the training curve; higher is better."""
    trials: PositiveInt
    """That run to their end or are ended early."""
    seed: int
    prune: Prune
    shared: dict[str, Any]
    """What all trials change in the preset default's section."""
    space: dict[str, Interval | Choices]
    """By dotted names in that section."""


@dataclass(frozen=True)
class Search:
    """A search and the section of params that its trials start from."""

    name: str
    space: Space
    base: dict[str, Any]
    """All of the preset default."""

    @classmethod
    def load(cls, name: str) -> Self:
        """Read experiments/NAME/space.yaml; raises ParamsError."""
        path = folder(name) / "space.yaml"
        if not path.exists():
            known = ", ".join(sorted(each.parent.name for each in folder("").glob("*/space.yaml")))
            raise ParamsError(f"sweep: no such search, got '{name}'; choose one of {known}")
        yaml = YAML(typ="safe")
        try:
            space = Space.model_validate(yaml.load(path))
        except ValidationError as error:
            first = error.errors()[0]
            kinds = (Interval.__name__, Choices.__name__)  # pydantic names which of them it tried
            key = ".".join(part for part in map(str, first["loc"]) if not any(kind in part for kind in kinds))
            what = f"{path}: {key}: {first['msg']}, got '{first['input']}'"
            raise ParamsError(f"{what}; experiments/search-pose shows a good one") from None
        search = cls(name, space, yaml.load(layout.PRESETS / "default.yaml"))
        search.params(search.hand_tuned())
        return search

    def hand_tuned(self) -> dict[str, Any]:
        """Give the base's own values of what is searched; raises ParamsError where it has no such key."""
        values = {}
        for name in self.space.space:
            section: Any = self.base[self.space.net]
            for part in name.split("."):
                if not isinstance(section, dict) or part not in section:
                    where = f"experiments/{self.name}/space.yaml: space.{name}"
                    raise ParamsError(f"{where}: no such key in {self.space.net}, got '{part}'; correct it")
                section = section[part]
            values[name] = section
        return values

    def params(self, values: Mapping[str, Any]) -> Any:
        """Give the SegmentParams or PoseParams of a trial; raises ParamsError."""
        whole, net = deepcopy(self.base), self.space.net
        merge(whole[net], self.space.shared)
        for name, value in values.items():
            *sections, last = name.split(".")
            change: dict[str, Any] = {last: value}
            for section in reversed(sections):
                change = {section: change}
            merge(whole[net], change)
        return getattr(Params.parse(whole, f"experiments/{self.name}/space.yaml"), net)

    def study(self) -> "Study":
        """Open the study of this search, this data and this code, or begin it."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        deps = {str(path): files.dvc_hash(path) for path in layout.deps("train", self.space.net)}
        of = {"space": self.space.model_dump(exclude={"trials"}), "base": self.base[self.space.net], "deps": deps}
        of["sources"] = Params.load(layout.PARAMS).used
        key = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
        layout.checkpoints().mkdir(parents=True, exist_ok=True)
        with (layout.checkpoints() / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two that begin at once would make the store's tables twice
            study = optuna.create_study(
                storage=optuna.storages.RDBStorage(
                    f"sqlite:///{layout.checkpoints() / f'{self.name}.db'}",
                    heartbeat_interval=HEARTBEAT_S,
                    grace_period=3 * HEARTBEAT_S,
                    heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
                ),
                study_name=key[:16],
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(self.space.prune.startup, self.space.prune.after),
                load_if_exists=True,
            )
            if not study.trials:
                study.enqueue_trial(self.hand_tuned(), {"hand-tuned": True})
            starts = study.user_attrs.get("starts", 0)
            study.set_user_attr("starts", starts + 1)
        # a generator of its own for every start: none may draw what another start has drawn, or draws beside it
        study.sampler = optuna.samplers.TPESampler(seed=self.space.seed + starts, multivariate=True)
        return study


def folder(name: str) -> Path:
    """Give the folder of a search."""
    return Path("experiments", name)


@dataclass(frozen=True)
class Watched:
    """A run whose validations a study sees; raises Abandoned where that finds the trial hopeless."""

    run: Run
    trial: "Trial"
    goal: str

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note values of a step."""
        self.run.metrics(values, step)
        if "val_loss" in values and self.goal not in values:
            known = ", ".join(sorted(name for name in values if name.startswith("val_")))
            raise ParamsError(f"space.yaml: goal: no such figure, got '{self.goal}'; choose one of {known}")
        if self.goal in values:
            self.trial.report(values[self.goal], step)
            if self.trial.should_prune():
                raise Abandoned(f"{self.goal} {values[self.goal]:.3f} at step {step}")

    def __getattr__(self, name: str) -> Any:
        """Leave all else to the run."""
        return getattr(self.run, name)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def sweep() -> None:
    """Search for better params: `dvc repro experiments/NAME/dvc.yaml` does a whole search."""


@sweep.command()
@click.argument("name")
@click.option("--trials", type=click.IntRange(1), help="How many in all.  [default: space.yaml's]")
def search(name: str, trials: int | None) -> None:
    """Go on with the search of experiments/NAME until it has all its trials, then write what came of it."""
    chosen = Search.load(name)
    try:
        import optuna
    except ImportError:
        raise EnvironmentFault("sweep: needs Optuna, got none; pip install '.[sweep]'") from None
    from optuna.study import MaxTrialsCallback

    study, wanted = chosen.study(), trials or chosen.space.trials
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    if (done := len(study.get_trials(states=ended))) < wanted:
        click.echo(f"{name}: trial {done + 1} of {wanted}; stop it at any time, it goes on from there")
        study.optimize(
            lambda trial: _trained(chosen, trial),
            callbacks=[MaxTrialsCallback(wanted, ended), lambda study, trial: _say(chosen, study, trial)],
        )
    _write(chosen, study)


def _trained(search: Search, trial: "Trial") -> float:
    """Train with what a trial draws; gives the goal, raises TrialPruned where the trial was not worth its end."""
    from optuna import TrialPruned
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    from pipeline import steps

    own = search.hand_tuned()
    values = {name: each.suggest(trial, name, own[name]) for name, each in search.space.space.items()}
    trials = folder(search.name) / "trials"
    model, curve = (trials / f"{trial.number}.{suffix}" for suffix in ("safetensors", "csv"))

    def watch(run: Run) -> Run:
        run.tag("sweep", search.name)
        run.tag("sweep.trial", str(trial.number))
        return Watched(run, trial, search.space.goal)

    try:
        with steps.trained(search.name, search.space.net, search.params(values), model, curve, watch) as validations:
            return float(validations[search.space.goal].iloc[-1])
    except (Abandoned, TrainingFailed) as why:
        trial.set_user_attr("ended", str(why))
        raise TrialPruned(str(why)) from None
    except SystemExit:  # the next process begins with this trial, from its last checkpoint
        stopped = trial.study.tell(trial, state=TrialState.FAIL)
        RetryHeartbeatStaleTrialCallback()(trial.study, stopped)
        raise


def _say(search: Search, study: "Study", trial: "FrozenTrial") -> None:
    """Say in one line what came of a trial."""
    value = f"{search.space.goal} {trial.value:.3f}" if trial.value is not None else ""
    what = trial.user_attrs.get("ended", value)
    ended = "ended early" if "ended" in trial.user_attrs else "trained"
    best = _best(study)
    so_far = f"best {best.value:.3f} of trial {best.number}" if best else "none has come to its end yet"
    click.echo(f"trial {trial.number}: {ended}, {what}; {so_far}")


def _best(study: "Study") -> "FrozenTrial | None":
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    return max(complete, key=lambda trial: trial.value or 0, default=None)


def _write(search: Search, study: "Study") -> None:
    """Write the table and the pictures of a search."""
    from handloom.plots import to_png

    if (best := _best(study)) is None:
        raise TrainingFailed(
            f"{search.name}: no trial came to its end, got 'none'; widen the space, or change its base"
        )
    out = folder(search.name)
    table = _table(search, study)
    files.write(out / "table.md", table)
    click.echo(table)
    figures = Path("docs/figures")
    for name, figure in _figures(search, study).items():
        files.write(figures / f"{search.name}_{name}.png", to_png(figure))
    click.echo(f"look at {out}/table.md and {figures}/{search.name}_*.png")
    changes = " ".join(f"-S {search.space.net}.{name}={best.params[name]}" for name in search.space.space)
    click.echo(f"next: dvc exp run {changes}")


def _figures(search: Search, study: "Study") -> "dict[str, Figure]":
    """Give the trials that came to their end as lines across their params, and how much each param matters."""
    from matplotlib.figure import Figure
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.visualization import matplotlib as drawn

    goal, names = search.space.goal.removeprefix("val_"), list(search.space.space)
    lines = drawn.plot_parallel_coordinate(study, names, target_name=goal).figure
    assert isinstance(lines, Figure)
    first, colors, *others = lines.axes
    for scale in (first, *others):
        scale.set_title("")
        for label in scale.get_yticklabels(which="both"):
            label.set(fontsize=8, bbox={"color": "white", "alpha": 0.7, "pad": 0.5})
        scale.set_position((0.05, 0.2, 0.86, 0.76))
    colors.set_position((0.95, 0.2, 0.01, 0.76))
    lines.set_size_inches(1.7 * len(names) + 3, 5)
    if len({trial.value for trial in study.trials if trial.state.name == "COMPLETE"}) == 1:  # DVC wants it all the same
        bars = Figure()
        bars.add_subplot(title="all trials came to one figure: no param mattered")
        return {"parallel": lines, "importance": bars}
    axes = drawn.plot_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), target_name=goal)
    axes.set_title("", loc="left")
    axes.set(ylabel="", xlabel=f"share of what sets good trials' {goal} apart (PED-ANOVA)", facecolor="white")
    if legend := axes.get_legend():
        legend.remove()
    assert isinstance(axes.figure, Figure)
    axes.figure.set_size_inches(8, 0.35 * len(names) + 1)
    axes.figure.subplots_adjust(left=0.25, right=0.97, top=0.98, bottom=0.17)
    return {"parallel": lines, "importance": axes.figure}


def _table(search: Search, study: "Study") -> str:
    """Give all trials as a Markdown table, the best first."""
    shown = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
    shown.sort(key=lambda trial: (trial.state.name, -(trial.value or 0)))
    names = list(search.space.space)
    lines = [f"| trial | {search.space.goal} | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for trial in shown:
        number = f"{trial.number}, hand-tuned" if trial.user_attrs.get("hand-tuned") else str(trial.number)
        goal = trial.user_attrs.get("ended") or f"{trial.value:.4f}"
        lines.append(f"| {number} | {goal} | {' | '.join(_short(trial.params[name]) for name in names)} |")
    return "\n".join(lines) + "\n"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        sweep(prog_name="python -m pipeline.sweep")


if __name__ == "__main__":
    main()
