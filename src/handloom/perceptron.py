"""A multilayer perceptron on numpy alone: what names gestures and lifts keypoints, a few microseconds a hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from handloom import files
from handloom.errors import CheckpointError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Perceptron:
    """Layers of (weights (O, I), biases (O,)), with a rectifier between them."""

    layers: tuple[tuple[Floats, Floats], ...]

    @classmethod
    def read(cls, path: Path, inputs: int, outputs: int, stage: str, *, may_be_empty: bool = False) -> Self:
        """Read one of so many inputs and outputs; raises CheckpointError, which names the stage that makes it."""
        try:
            arrays = load(path.read_bytes())
            layers = tuple((arrays[f"{n}.weight"], arrays[f"{n}.bias"]) for n in range(len(arrays) // 2))
            if may_be_empty and not arrays:
                return cls(())
            if not layers or (layers[0][0].shape[1], layers[-1][0].shape[0]) != (inputs, outputs):
                raise KeyError(f"layers from {inputs} to {outputs}")
        except (FileNotFoundError, SafetensorError, KeyError) as error:
            raise CheckpointError(f"{path}: not a {stage} net, got '{error}'; run `dvc repro {stage}`") from None
        return cls(layers)

    def write(self, path: Path) -> None:
        """Write it; the same weights give the same bytes."""
        arrays: dict[str, Any] = {}
        for number, (weight, bias) in enumerate(self.layers):
            arrays |= {f"{number}.weight": weight, f"{number}.bias": bias}
        files.write(path, save(arrays))

    def __call__(self, values: Floats) -> Floats:
        """Give (N, O) of (N, I)."""
        for weight, bias in self.layers[:-1]:
            values = np.maximum(values @ weight.T + bias, 0)
        weight, bias = self.layers[-1]
        return np.asarray(values @ weight.T + bias)
