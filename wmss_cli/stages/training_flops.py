"""The FLOPs of a training, and a training that needs as many as another one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wmss_cli.data.batches import BatchPlan
from wmss_cli.data.tokens import TokenTable
from wmss_cli.train.meter import StepCost


def sample_flops(cost: StepCost, table: TokenTable) -> NDArray[np.int64]:
    """Return the FLOPs of a training step on each sample of a table, ``[rows]``.

    A step needs the sum over its samples, since attention stays within each.
    """
    sizes = np.stack([table.lengths, table.completion_lengths], axis=1)
    shapes, inverse = np.unique(sizes, axis=0, return_inverse=True)
    flops = [cost.flops([int(length)], int(completion)) for length, completion in shapes]
    return np.array(flops, dtype=np.int64)[inverse]


def plan_flops(plan: BatchPlan, flops: NDArray[np.int64]) -> int:
    """Return the FLOPs of all steps of a plan.

    Parameters
    ----------
    plan : BatchPlan
        Plan of the training.
    flops : ndarray of int
        FLOPs of each row of the token table.
    """
    # Summed in Python's integers: 64 bits are too few for a large training.
    return sum(int(flops[plan.global_batch(step)].sum()) for step in range(plan.steps))


def match_flops(
    plan: BatchPlan,
    flops: NDArray[np.int64],
    other: BatchPlan,
    other_flops: NDArray[np.int64],
) -> tuple[BatchPlan, int]:
    """Return a plan with as many steps as the FLOPs of another training allow.

    Parameters
    ----------
    plan : BatchPlan
        Its rows, order and batch size are kept; `epochs` and `max_steps` are not.
    flops : ndarray of int
        FLOPs of each row of the token table, in this training.
    other : BatchPlan
        Plan of the training whose FLOPs are spent.
    other_flops : ndarray of int
        FLOPs of each row in that training.

    Returns
    -------
    plan : BatchPlan
        At least one step; its FLOPs are off by at most half of the last step.
    wanted : int
        The FLOPs of the other training.
    """
    wanted = plan_flops(other, other_flops)
    per_epoch = sum(int(n) for n in flops[plan.rows])
    # As many epochs as the last step can reach into.
    epochs = wanted // per_epoch + 2 + plan.global_batch_size // len(plan.rows)
    endless = replace(plan, epochs=float(epochs), max_steps=None)
    spent = steps = 0
    while True:
        step = int(flops[endless.global_batch(steps)].sum())
        if steps > 0 and 2 * (wanted - spent) <= step:
            return replace(endless, max_steps=steps), wanted
        spent += step
        steps += 1
