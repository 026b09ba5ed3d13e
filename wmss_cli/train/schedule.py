"""The learning rate as a function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math


def learning_rate(
    step: int, steps: int, peak: float, warmup_ratio: float, min_lr_ratio: float
) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine.

    Parameters
    ----------
    step : int
        Number of the step, from 0.
    steps : int
        Total number of steps.
    peak : float
        The highest learning rate.
    warmup_ratio : float
        Share of the steps used for the warm-up.
    min_lr_ratio : float
        The cosine ends at this share of `peak`.
    """
    warmup = math.ceil(warmup_ratio * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * done)))
