"""The one loop that trains either net.

Every random choice of a step depends on (seed, step) alone, so a training that resumes at step n draws what the
uninterrupted one would have drawn: on a CPU, with as many threads per part of a batch, the final weights are equal to
the bit.
"""

import math
import os
import signal
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from handloom import checkpoint, draw, images, optimizers
from handloom.checkpoint import Resume
from handloom.distributed import Team, parts_of
from handloom.errors import CheckpointError, TrainingFailed
from handloom.models.build import build
from handloom.models.unet import Output
from handloom.parallel import Parts, threads
from handloom.params import TrainParams
from handloom.prediction import device, predict, to_device
from handloom.processes import noted
from handloom.tasks import Task
from handloom.tracking import Run

NUM_SHOWN = 16
"""Validation samples in the picture that goes with each run."""
LOSS_WINDOW = 25
"""Steps over which the loss of the progress line and the curves is averaged."""


def num_steps(params: TrainParams, rows: int) -> int:
    """Give the number of steps that make up the params' epochs."""
    return max(1, round(params.epochs * rows / params.batch_size))


def learning_rate(params: TrainParams, step: int, steps: int) -> float:
    """Give a step's rate: a linear rise, then half a cosine down to the final rate."""
    warmup = params.warmup_fraction * steps
    if step < warmup:
        return params.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1.0, steps - warmup)
    low = params.final_learning_rate
    return params.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * progress)) / 2)


def input_size(params: TrainParams, step: int, steps: int, size: int) -> int:
    """Give the side of the net's input in a step, of samples of that size."""
    return params.early_size if step < params.early_fraction * steps else size


def bfloat16(params: TrainParams, where: torch.device) -> bool:
    """Give whether the net's products are made in bfloat16: 1.4 times faster, but 2.5 times slower where emulated.

    An Intel that has it in AVX-512 alone, not in AMX, makes 0.76 to 0.84 times as many steps with it.
    """
    if params.precision == "float32":
        return False
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    intel = str(has.get("cpu_name", "")).startswith("Intel")
    return bool(has.get("amx_bf16") or (has.get("avx512_bf16") and not intel))


@torch.no_grad()
def average_into(average: nn.Module, current: nn.Module, decay: float, step: int) -> None:
    """Move averaged weights towards the current ones; the decay is at most (1 + n) / (10 + n), so early steps count."""
    rate = 1 - min(decay, (1 + step) / (10 + step))
    for a, b in zip(average.state_dict().values(), current.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(b, rate)
        else:
            a.copy_(b)


@dataclass
class Training:
    """A net on its way: all that changes from step to step."""

    net: nn.Module
    average: nn.Module
    optimizers: list[Optimizer]
    parts: Parts
    bfloat16: bool
    team: Team
    num_parts: int
    """Of a batch, over all processes."""
    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Of every step."""
    validations: list[dict[str, float]] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    """Signals that told this process to stop."""

    @classmethod
    def begin(cls, task: Task, params: TrainParams, where: torch.device, team: Team) -> "Training":
        """Give weights drawn from the params' seed, or a trained net's as far as that goes; raises CheckpointError."""
        torch.manual_seed(params.seed)
        outputs = task.outputs(params)
        net = build(*outputs, sizes := params.model.model_dump())
        if params.begin_from:
            checkpoint.load_into(net, outputs, sizes, Path(params.begin_from), task.name)
        net.to(where)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stubs lack it
        # a GPU is kept busy by one thread
        parts = parts_of(params.parts if where.type == "cpu" else 1, team, params.batch_size)
        shared = optimizers.build(net, params, shares=parts)
        own = Parts(net, len(team.parts(parts)))
        return cls(net, deepcopy(net), shared, own, bfloat16(params, where), team, parts)

    def arithmetic(self) -> dict[str, Any]:
        """Give what the last bits of weights depend on, beside params and data."""
        return {"threads per part of a batch": self.parts.threads, "bfloat16": self.bfloat16}

    def state(self) -> dict[str, Any]:
        """Give what resuming needs. No RNG state: every draw depends on (seed, step)."""
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "losses": self.losses,
            "validations": self.validations,
            "arithmetic": self.arithmetic(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state; raises CheckpointError where it does not fit the net."""
        try:
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, self.losses, self.validations = state["step"], state["losses"], state["validations"]
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"resume state: does not fit the net, got '{error}'; delete .checkpoints") from None

    def advance(self, task: Task, samples: Any, params: Any, steps: int) -> None:
        """Make one step; raises TrainingFailed where the loss is no number."""
        with threads(self.parts.threads):
            self._step(task, samples, params, steps)
        if not math.isfinite(self.losses[-1]):
            raise TrainingFailed(
                f"train {task.name}: the loss is no number at step {self.step}, got '{self.losses[-1]}'; "
                f"lower {task.name}.learning_rate, which is {params.learning_rate}"
            )

    def _step(self, task: Task, samples: Any, params: Any, steps: int) -> None:
        where = next(self.net.parameters()).device
        rate, size = learning_rate(params, self.step, steps), input_size(params, self.step, steps, samples.size)
        rows = np.split(samples.mixture.batch(self.step, params.batch_size, params.seed), self.num_parts)
        parts = self.team.parts(self.num_parts)

        def loss(net: nn.Module, own: int) -> Tensor:
            draws = Generator().manual_seed((params.seed * 1_000_003 + self.step) * len(rows) + parts[own])
            inputs, target = samples.augmented(rows[parts[own]], params.augment, draws, size)
            with torch.autocast(where.type, torch.bfloat16, enabled=self.bfloat16):
                output = net.train()(inputs.to(where))
            output = Output(*(said.float() for said in output))
            return task.loss(output, to_device(target, where), params, size)

        value = self.team.average(self.net, self.parts.backward(loss), stop=bool(self.stopped))
        if params.clip_norm:
            nn.utils.clip_grad_norm_(self.net.parameters(), params.clip_norm)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        self.parts.each(lambda optimizer: optimizer.step(), self.optimizers)
        average_into(self.average, self.net, params.ema, self.step)
        self.losses.append(float(value))
        self.step += 1

    @property
    def stopping(self) -> int:
        """The signal that ends this training, 0 for none: alone at once, else when all know of it, at the same step."""
        if self.team.size == 1 or self.team.warned:
            return (self.stopped or [signal.SIGTERM if self.team.warned else 0])[0]
        return 0

    def recent_loss(self) -> float:
        """Give the mean loss of the last steps."""
        return float(np.mean(self.losses[-LOSS_WINDOW:]))


def train(
    task: Task, data: tuple[Any, Any], params: Any, resume: Resume, run: Run, team: Team | None = None
) -> Training:
    """Train a net on (training set, validation set) to the end of its schedule; goes on where `resume` left off.

    Of several processes each calls this, and the first alone validates, tracks and saves; None is one process.

    SIGTERM and SIGINT save the state and end the process with 143 or 130. Raises TrainingFailed where it diverges.
    """
    samples, validation = data
    steps = num_steps(params, len(samples))
    training = Training.begin(task, params, where := device(), team := team or Team())
    if where.type == "cuda":
        samples = samples.on(where)
    if state := resume.load():
        training.restore(state)
        if (then := state["arithmetic"]) != training.arithmetic():
            begun_with = ", ".join(f"{name} {value}" for name, value in then.items())
            tqdm.write(f"train {task.name}: begun with {begun_with}; weights may differ from its own")
    team.agree("steps behind them", training.step, device())
    with noted(signal.SIGTERM, signal.SIGINT) as training.stopped, _progress(training, task, steps, resume) as bar:
        begun, first = time.perf_counter(), training.step
        while training.step < steps:
            training.advance(task, samples, params, steps)
            done = training.step
            run.metrics({"loss": training.losses[-1], **_end_of_epoch(training, params, len(samples))}, done)
            if team.leads and (done % params.validate_every == 0 or done == steps):
                scores = _validate(task, training, validation, params, run)
                _check_that_it_says_something(task, training, params, steps)
                rate = (done - first) * params.batch_size / (time.perf_counter() - begun)
                run.metrics({**scores, "images_per_second": rate}, done)
                run.flush()
            stop = training.stopping
            if team.leads and (done % params.checkpoint_every == 0 or stop):
                resume.save(training.state())
            if stop:
                raise SystemExit(128 + stop)
            bar.set_postfix_str(_postfix(task, training), refresh=False)
            bar.update()
    if team.leads:
        resume.save(training.state())
        said = predict(training.average, task, validation, params.batch_size, params)[0]
        task.finish(training.average, said, validation)
    return training


def _check_that_it_says_something(task: Task, training: Training, params: TrainParams, steps: int) -> None:
    """The collapse gate: raises TrainingFailed where the last validation shows a net that says nothing.

    It also stands at the end of a training too short to reach `gate_after`.
    """
    if not params.gate_after or training.step < min(params.gate_after, steps):
        return
    scores = {name.removeprefix("val_"): value for name, value in training.validations[-1].items()}
    if fault := task.fault(scores):
        raise TrainingFailed(f"train {task.name}: step {training.step}: {fault} (the gate is {task.name}.gate_after)")


def _end_of_epoch(training: Training, params: TrainParams, rows: int) -> dict[str, float]:
    """Give the number and mean loss of the epoch that this step ends; nothing inside an epoch."""
    seen = training.step * params.batch_size
    if seen // rows == (seen - params.batch_size) // rows:
        return {}
    recent = training.losses[-max(1, rows // params.batch_size) :]
    return {"epoch": seen // rows, "epoch_loss": float(np.mean(recent))}


def _validate(task: Task, training: Training, validation: Any, params: Any, run: Run) -> dict[str, float]:
    """Score the averaged weights on the validation set, and keep a picture of the first samples."""
    predictions, loss = predict(training.average, task, validation, params.batch_size, params)
    scores = {f"val_{name}": value for name, value in task.score(predictions, validation).items()}
    scores = {"train_loss": training.recent_loss(), "val_loss": loss, **scores}
    training.validations.append({"step": training.step, **scores})
    shown = [task.show(predictions, validation, row) for row in range(min(NUM_SHOWN, len(validation)))]
    run.picture(images.encode_png(draw.grid(shown, columns=4)), "validation.png")
    return scores


def _postfix(task: Task, training: Training) -> str:
    last = training.validations[-1:]
    score = f", {task.headline} {last[0][f'val_{task.headline}']:.3f}" if last else ""
    return f"loss {training.recent_loss():.4f}{score}"


def _progress(training: Training, task: Task, steps: int, resume: Resume) -> "tqdm[Any]":
    step, leads = training.step, training.team.leads
    if step and leads:
        tqdm.write(f"train {task.name}: goes on from step {step} of {steps}")
    elif resume.others and leads:
        tqdm.write(f"train {task.name}: starts anew; the unfinished training of other params, data or code stays aside")
    # DVC's output is no terminal at times: then a line every 20 s will do
    interval = 0.5 if os.isatty(2) else 20
    name = f"train {task.name}"
    return tqdm(total=steps, initial=step, desc=name, unit="step", mininterval=interval, disable=not leads)
