"""How fast a run is, relative to what the machine can do: a few numbers after each step."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.causal import device
from wmss_cli.models.machine import (
    data_sheet_rate,
    forget_peak,
    matrix_product_rate,
    peak_memory_bytes,
)
from wmss_cli.models.shape import ModelShape, train_flops
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import Ranks

TIMING = ("seconds", "tokens_per_s", "mfu", "share_of_limit", "peak_memory_gb", "seconds_left")
"""The columns of ``metrics.jsonl`` that differ if the same steps are taken again."""

_RECENT = 20


@dataclass(frozen=True)
class StepCost:
    """What a step needs by arithmetic (see :func:`wmss_cli.models.shape.train_flops`).

    If the weak model's hidden states are cached, it needs only its head's product.
    """

    strong: ModelShape
    weak: ModelShape | None
    weak_mode: Literal["cotrain", "frozen"]
    cached_head_parameters: int = 0

    @classmethod
    def of_pair(cls, pair: WeakStrongPair) -> StepCost:
        """Read the shapes of the models that train.

        Raises
        ------
        ConfigError
            If the architecture of a model is one whose FLOPs cannot be counted.
        """
        shapes = [
            None if model is None else ModelShape.of_config(model.config.to_dict(), name)
            for name, model in (("strong model", pair.strong), ("weak model", pair.weak))
        ]
        assert shapes[0] is not None
        head = 0 if pair.weak_head is None else pair.weak_head.weight.numel()
        return cls(shapes[0], shapes[1], "frozen" if pair.weak_frozen else "cotrain", head)

    def flops(self, lengths: Iterable[int], head_tokens: int) -> int:
        """Return the FLOPs of a step on documents of these lengths, over all ranks."""
        head = 2 * head_tokens * self.cached_head_parameters
        return head + train_flops(self.strong, self.weak, self.weak_mode, lengths, head_tokens)


@dataclass
class Meter:
    """Turns the time of each step into numbers that describe the run.

    Attributes
    ----------
    steps : int
        Total number of optimizer steps.
    rate_flops_per_s : float
        The most that the machine can do: the matrix-product rates of all ranks together.
    cost : StepCost or None
        None if the FLOPs of the models cannot be counted; then no shares are given.
    data_sheet_flops_per_s : float or None
        The dense bf16 rates of all ranks' GPUs together; None on a CPU, in fp32, and if one of
        them is unknown.
    """

    steps: int
    rate_flops_per_s: float
    cost: StepCost | None
    data_sheet_flops_per_s: float | None = None
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _taken: int = 0

    @classmethod
    def start(cls, pair: WeakStrongPair, dtype: torch.dtype, steps: int, ranks: Ranks) -> Meter:
        """Measure the machine; all ranks call it together, just before the first step.

        The log says what was measured, or that the FLOPs of the models cannot be counted.

        Parameters
        ----------
        pair : WeakStrongPair
            The pair to train.
        dtype : torch.dtype
            Type of its products.
        steps : int
            Total number of optimizer steps.
        ranks : Ranks
            The processes that train together.
        """
        # Processes on one machine share it, so all must measure at the same time.
        ranks.barrier()
        sheet = _data_sheet(dtype)
        own = torch.tensor([matrix_product_rate(dtype, device()), sheet], dtype=torch.float64)
        rate, peak = (float(one) for one in ranks.sum(own))
        forget_peak(device())
        try:
            cost = StepCost.of_pair(pair)
            said = f"the limit is {rate / 1e12:.4g} TFLOP/s, the rate of {dtype} matrix products"
        except ConfigError as error:
            cost = None
            said = f"mfu and share_of_limit are unknown: {error}"
        if ranks.is_first:
            print(said, flush=True)  # noqa: T201
        return cls(steps, rate, cost, None if math.isnan(peak) else peak)

    def measure(
        self, step: int, seconds: float, lengths: Iterable[int], head_tokens: int, ranks: Ranks
    ) -> dict[str, float | None]:
        """Return the numbers for the step just taken; all ranks call it together.

        Parameters
        ----------
        step : int
            Number of steps done.
        seconds : float
            Duration of this step.
        lengths : iterable of int
            Length of each document of the global batch.
        head_tokens : int
            Number of its completion tokens.
        ranks : Ranks
            The processes that train together.

        Returns
        -------
        dict
            ``mfu``: the FLOPs that the step needs, divided by its time and by the data-sheet rate
            of all GPUs; None if either is unknown. ``share_of_limit``: the same with the measured
            rate. Neither counts recomputation. ``peak_memory_gb``: of the process with the highest
            peak so far, in 2^30 bytes. ``seconds_left``: for the remaining steps, at the pace of
            the last ones.
        """
        mfu = share = None
        if self.cost is not None:
            needed = self.cost.flops(lengths, head_tokens)
            share = round(needed / seconds / self.rate_flops_per_s, 4)
            if self.data_sheet_flops_per_s is not None:
                mfu = round(needed / seconds / self.data_sheet_flops_per_s, 4)
        peak = ranks.largest(peak_memory_bytes(device()))
        return {
            "mfu": mfu,
            "share_of_limit": share,
            "peak_memory_gb": round(peak / 2**30, 3),
            "seconds_left": round(self._pace(seconds) * (self.steps - step), 1),
        }

    def _pace(self, seconds: float) -> float:
        """Return the median time of the last steps, without the first one, which is a warm-up."""
        self._taken += 1
        if self._taken == 2:
            self._recent.clear()
        self._recent.append(seconds)
        return statistics.median(self._recent)


def _data_sheet(dtype: torch.dtype) -> float:
    """Return the rate of this process's GPU by its data sheet; NaN if there is none."""
    if device().type != "cuda" or dtype != torch.bfloat16:
        return math.nan
    rate = data_sheet_rate(torch.cuda.get_device_name(device()))
    return math.nan if rate is None else rate
