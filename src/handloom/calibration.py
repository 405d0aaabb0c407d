"""Probabilities that mean what they say: two numbers, fitted on data that the net has not learnt from (Platt 1999)."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from torch import nn


def platt(probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Give the gain > 0 and the offset of logits under which (N,) probabilities fit (N,) outcomes best.

    Outcomes that are all alike tell nothing: 1 and 0.
    """
    if truth.all() or not truth.any():
        return 1.0, 0.0
    logits = logit(probability.astype(np.float64).clip(1e-6, 1 - 1e-6))

    def surprise(scale: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        changed = np.exp(scale[0]) * logits + scale[1]
        error = expit(changed) - truth
        slope = np.array([(error * np.exp(scale[0]) * logits).mean(), error.mean()])
        return float((np.logaddexp(0, changed) - truth * changed).mean()), slope

    # the logarithm of the gain within e^-3 ... e^3, so that a net that knows nothing is not turned round or blown up
    found = minimize(surprise, np.zeros(2), jac=True, bounds=[(-3, 3), (None, None)]).x
    return float(np.exp(found[0])), float(found[1])


@torch.no_grad()
def rescale(layer: nn.Linear, outputs: slice, gain: float, offset: float) -> None:
    """Put gain and offset into a layer's own weights, so that whoever runs the net gets the fitted probabilities."""
    layer.weight[outputs] *= gain
    layer.bias[outputs] = layer.bias[outputs] * gain + offset
