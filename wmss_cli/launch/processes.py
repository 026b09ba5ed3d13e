"""How many processes a stage has on this machine, and which GPU each of them gets."""

from __future__ import annotations

import os
import subprocess
import sys

from wmss_cli.core.artifact import Job
from wmss_cli.stages import table

# The driver itself, since it alone knows what CUDA_VISIBLE_DEVICES means; in a process of its own,
# since it keeps the GPUs open in the one that asks.
_COUNT_GPUS = """
import ctypes
try:
    driver = ctypes.CDLL("libcuda.so.1")
except OSError:
    print(0)
else:
    found = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(found))
    print(0 if failed else found.value)
"""


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that a process sees here, for ``CUDA_VISIBLE_DEVICES``.

    They are counted without torch, which takes seconds to import.
    """
    asked = [sys.executable, "-I", "-S", "-c", _COUNT_GPUS]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    # A driver that crashes has no GPU; torch says in the stage's log what is wrong with it.
    count = 0 if done.returncode else int(done.stdout)
    return name_gpus(count, os.environ.get("CUDA_VISIBLE_DEVICES"))


def name_gpus(count: int, named: str | None) -> list[str]:
    """Return the names of so many GPUs, where ``CUDA_VISIBLE_DEVICES`` is `named`.

    The driver takes no name behind one that it does not know, so the first ones are those it took.
    """
    names = [str(index) for index in range(count)] if named is None else named.split(",")
    return names[:count]


def count_processes(job: Job, wanted: int | None, gpus: int) -> int:
    """Return how many processes work on a stage at the same time.

    Parameters
    ----------
    job : Job
        The stage as a whole, or a shard.
    wanted : int or None
        What the user asks for (``launch.processes``); None for one per GPU.
    gpus : int
        How many are visible.
    """
    stage = table.find(job.stage)
    usual = wanted or gpus or 1
    if stage.distributed:
        # No more than find a sample in each step; what the user asks for is refused there.
        batch = int(job.config.get("global_batch_size", usual))
        return wanted or min(usual, batch)
    if not table.has_shards(job.stage):
        return 1
    if stage.kind == "cpu":
        cores = len(os.sched_getaffinity(0))
        return max(1, min(usual, cores // int(job.config["workers"])))
    return min(usual, gpus) if gpus else usual
