"""A net over a whole split, batch by batch."""

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from handloom import masks
from handloom.checkpoint import Model
from handloom.closer import look_closer
from handloom.errors import EnvironmentFault, ParamsError
from handloom.images import Picture
from handloom.models.unet import Output
from handloom.parallel import settle
from handloom.params import SegmentParams
from handloom.tasks import Predictions, Task, full_size, params_of, read_masks

DEVICE: Final = "HANDLOOM_DEVICE"
"""Environment variable: `cpu` leaves a GPU alone, `cuda` demands one."""


def device() -> torch.device:
    """Give the device to compute on: this process's GPU where there is one, the first unless `torchrun` counts.

    Raises EnvironmentFault where a GPU is demanded and there is none, ParamsError for another demand.
    """
    demand = os.environ.get(DEVICE, "")
    if demand not in ("", "cpu", "cuda"):
        raise ParamsError(f"{DEVICE}: must be cpu or cuda, got '{demand}'; correct or unset it")
    if demand == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(f"{DEVICE}: no GPU that torch can use, got '{demand}'; unset it, or mend the driver")
    if demand != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def device_of(net: nn.Module) -> torch.device:
    """Give where a net's weights are; an exported net has none of torch's and takes the CPU."""
    return next((weights.device for weights in net.parameters()), torch.device("cpu"))


@torch.no_grad()
def predict(
    net: nn.Module, task: Task, samples: Any, batch_size: int, params: Any, *, quiet: bool = True
) -> tuple[Predictions, float]:
    """Run a net over a whole split; gives predictions in order of rows, and the mean loss."""
    where = device_of(net)
    settle()
    net.eval()
    parts: list[Predictions] = []
    losses: list[float] = []
    with tqdm(total=len(samples), desc=f"{task.name} reads", unit="row", leave=False, delay=2, disable=quiet) as bar:
        for start in range(0, len(samples), batch_size):
            rows = np.arange(start, min(start + batch_size, len(samples)))
            inputs, target = samples.batch(rows)
            output = net(inputs.to(where))
            parts.append(task.predict(output, params, samples.size))
            losses.append(float(task.loss(output, to_device(target, where), params, samples.size)) * len(rows))
            bar.update(len(rows))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, sum(losses) / len(samples)


def to_device(target: Any, where: torch.device) -> Any:
    """Move a target, a named tuple of tensors or None, to a device."""
    return type(target)(*(t if t is None else t.to(where) for t in target))


class ScaleTest(nn.Module):
    """A net whose maps are the mean over a picture at several sizes, brought back to the picture's own."""

    def __init__(self, net: nn.Module, scales: Sequence[float]) -> None:
        super().__init__()
        self.net, self.scales = net, scales

    def forward(self, images: Tensor) -> Output:
        """Give maps at the pictures' resolution, and the numbers' mean."""
        size = images.shape[-1]
        said = [self.net(_resized(images, round(size * scale))) for scale in self.scales]
        maps = torch.stack([_resized(each.maps, size) for each in said]).mean(dim=0)
        return Output(maps, torch.stack([each.numbers for each in said]).mean(dim=0))


def _resized(maps: Tensor, size: int) -> Tensor:
    return functional.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


class FlipTest(nn.Module):
    """A net whose output is the mean over a picture and its mirror image, turned back; mmpose's flip test."""

    def __init__(self, net: nn.Module, task: Task, params: Any) -> None:
        super().__init__()
        self.net, self.task, self.params = net, task, params

    def forward(self, images: Tensor) -> Output:
        """Give an output of the net's own shape."""
        mirrored = self.task.mirror(self.net(images.flip(-1)), self.params)
        pairs = zip(self.net(images), mirrored, strict=True)
        return Output(*((one + other) / 2 for one, other in pairs))


class CloserTest(nn.Module):
    """A mask net whose hand map is, about each hand that it finds, the mean over its own and a closer look's."""

    def __init__(self, net: nn.Module, closer: nn.Module, params: SegmentParams, scale: float) -> None:
        super().__init__()
        self.net, self.closer, self.params, self.scale = net, closer, params, scale

    def forward(self, images: Tensor) -> Output:
        """Give maps at the pictures' resolution."""
        size = images.shape[-1]
        said = self.net(images)
        maps = _resized(said.maps, size)
        labels = read_masks(maps.float().numpy(force=True), self.params, size)["labels"]
        pictures = images.permute(0, 2, 3, 1).round().to(torch.uint8).numpy(force=True)

        def look(crops: list[Picture]) -> NDArray[np.float32]:
            shown = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().to(images.device)
            hand: NDArray[np.float32] = full_size(self.closer(shown).maps[:, :1].float(), size)[:, 0].numpy(force=True)
            return hand

        for picture, own, hands in zip(pictures, maps, labels, strict=True):
            first = own[0].float().numpy(force=True)
            own[0] = torch.from_numpy(look_closer(picture, first, masks.boxes(hands), look, self.scale, size))
        return Output(maps, said.numbers)


def predictions_of(
    model: Model,
    task: Task,
    samples: Any,
    batch_size: int,
    *,
    flip: bool = False,
    scales: Sequence[float] = (),
    closer: float = 0,
) -> Predictions:
    """Give what a saved net says of a whole split, the mean over mirror images, sizes and looks where asked for.

    `closer` is the side of the square about each found hand that a mask net is shown again, over its box; 0: none.
    """
    net: nn.Module = model.net.to(device())
    params = params_of(task, model.about)
    own = net = FlipTest(net, task, params) if flip else net
    net = ScaleTest(net, scales) if scales else net
    net = CloserTest(net, own, params, closer) if closer else net
    return predict(net, task, samples, batch_size, params, quiet=False)[0]
