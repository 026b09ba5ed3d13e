"""The processes that train together, and the request to stop that they share."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import deepspeed
import torch
import torch.distributed as dist

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.allocator import keep_freed_memory
from wmss_cli.models.causal import device
from wmss_cli.models.placement import stay_near
from wmss_cli.train.rank_messages import RankMessages
from wmss_cli.train.watchdog import Watchdog

# For collectives. The watchdog names the rank that hangs; if it fails, they end this much later.
_LIMIT_MIN = 30.0
_AFTER_WATCH = timedelta(minutes=5)
_T = TypeVar("_T")

# Below 0.19 it adds up the gradients of several micro-batches wrongly, in bf16 at ZeRO 1; below
# 0.19.8 it takes a NaN for a gradient norm of √2.
_FIRST_DEEPSPEED = (0, 19, 8)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Ranks:
    """One of the processes that train together.

    Attributes
    ----------
    rank, world_size : int
        As in torch.distributed.
    messages : RankMessages or None
        Passes values that may take long; not needed for one process.
    watchdog : Watchdog or None
        Ends the processes if one hangs.
    """

    rank: int
    world_size: int
    messages: RankMessages | None = None
    watchdog: Watchdog | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written only once."""
        return self.rank == 0

    def beat(self, step: int | None = None) -> None:
        """Report that this rank continues, after `step` steps."""
        if self.watchdog is not None:
            self.watchdog.beat(step)

    def strict(self) -> AbstractContextManager[None]:
        """Let a hanging rank end the training."""
        return nullcontext() if self.watchdog is None else self.watchdog.strict()

    def patient(self) -> AbstractContextManager[None]:
        """Allow this rank to take long."""
        return nullcontext() if self.watchdog is None else self.watchdog.patient()

    def barrier(self) -> None:
        """Wait for all ranks, however long it takes."""
        self.gather(None)
        # Now none is far behind, so a first rank that ends leaves none behind that still asks it.
        dist.barrier()

    def close(self) -> None:
        """Leave the others, after success or failure: nothing more is sent or waited for."""
        if self.watchdog is not None:
            self.watchdog.stop()
        if self.messages is not None:
            self.messages.leave()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the element-wise sum over all ranks."""
        values = values.to(device())
        dist.all_reduce(values)
        return values.cpu()

    def counts(self, flags: Sequence[bool]) -> list[int]:
        """Return on how many ranks each flag is set, with one message."""
        return [int(n) for n in self.sum(torch.tensor([float(flag) for flag in flags]))]

    def any(self, flag: bool) -> bool:
        """Return on all ranks whether the flag is set on any."""
        return self.counts([flag])[0] > 0

    def largest(self, value: float) -> float:
        """Return the largest value of all ranks, on all ranks."""
        largest = torch.tensor([value], dtype=torch.float64, device=device())
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return float(largest[0])

    def gather(self, value: _T) -> list[_T]:
        """Return the values of all ranks, on all ranks, however long one of them takes."""
        if self.world_size == 1:
            return [value]
        assert self.messages is not None
        with self.patient():
            return self.messages.gather(value)

    def from_first(self, compute: Callable[[], _T]) -> _T:
        """Compute on the first rank, and return the value (or raise the error) on all ranks."""
        with self.patient():
            box: list[Any] = [None, None]
            if self.is_first:
                try:
                    box[0] = compute()
                except Exception as error:
                    box[1] = error
            if self.world_size > 1:
                assert self.messages is not None
                box = self.messages.from_first(box)
        if box[1] is not None:
            raise box[1]
        found: _T = box[0]
        return found


def check_deepspeed(version: str) -> None:
    """Refuse a DeepSpeed whose gradients are wrong; a container may bring any version.

    Raises
    ------
    ConfigError
        If it is too old.
    """
    if tuple(int(number) for number in re.findall(r"\d+", version)[:3]) < _FIRST_DEEPSPEED:
        wanted = ".".join(map(str, _FIRST_DEEPSPEED))
        raise ConfigError(
            f"deepspeed {version}: its gradients are wrong in some cases, without an error; "
            f"pip install 'deepspeed>={wanted}'"
        )


def join(hang_limit_min: float | None = None) -> Ranks:
    """Join the process group that the environment describes, and set up DeepSpeed.

    Parameters
    ----------
    hang_limit_min : float, optional
        Minutes after which a rank that makes no progress ends all, with an error that names it.

    Notes
    -----
    ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` must be set.

    Raises
    ------
    ConfigError
        If DeepSpeed is one of those that train wrongly.
    """
    check_deepspeed(deepspeed.__version__)
    missing = [
        name
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        if name not in os.environ
    ]
    assert not missing, f"the launcher did not set {', '.join(missing)}"
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    keep_freed_memory()
    # DeepSpeed would run compilers to find out which of its ops this machine can build, and spend
    # half a minute building one for CPU ranks on one host; gloo serves them as well.
    deepspeed.ops.__compatible_ops__ = {"deepspeed_shm_comm": False}
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    stay_near(device())
    deepspeed.init_distributed(
        dist_backend="nccl" if torch.cuda.is_available() else "gloo",
        verbose=False,
        timeout=timedelta(minutes=hang_limit_min or _LIMIT_MIN) + _AFTER_WATCH,
    )
    rank, world_size = dist.get_rank(), dist.get_world_size()
    watchdog = None
    if hang_limit_min is not None:
        watchdog = Watchdog(rank, world_size, 60 * hang_limit_min)
        watchdog.start()
    messages = RankMessages(rank, world_size) if world_size > 1 else None
    if messages is not None:
        # A rank that ends before the others have connected would leave them waiting for its store.
        messages.gather(None)
    return Ranks(rank, world_size, messages, watchdog)


class StopFlag:
    """Remembers a signal until the loop asks for it at a step boundary.

    The handler only sets a flag: it must not start a collective, since it may run on one rank
    only. Used as a context manager, it restores the previous handlers afterwards.
    """

    def __init__(self) -> None:
        self.name: str | None = None

    def __enter__(self) -> StopFlag:
        self._before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number in STOP_SIGNALS:
            signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
