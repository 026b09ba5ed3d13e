"""Peak memory of one way to do the work, in a process of its own.

The base is the memory in use before the call. On a CPU it is the resident memory (``VmRSS``) after
the allocator has returned free memory; the peak is ``VmHWM``, which is reset to the base right
before the call. On a GPU both are what torch has allocated. What the call leaves to its caller,
such as new gradients, is counted separately: every way must deliver it.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch

from wmss_cli.bench.timing import Rival
from wmss_cli.core.errors import StageError

_CLEAR_REFS = Path("/proc/self/clear_refs")
_LIBRARIES = ["deepspeed", "torch", "transformers.models.qwen3.modeling_qwen3"]
_PEAK = "5"
"""The value that resets VmHWM to VmRSS: proc(5)."""


@dataclass(frozen=True)
class Memory:
    """Memory in bytes.

    Attributes
    ----------
    base : int
        Memory in use before the call.
    peak : int
        The most memory in use during the call.
    delivered : int
        New memory that the caller keeps.
    """

    base: int
    peak: int
    delivered: int

    @property
    def above_base(self) -> int:
        """What the call needed for itself."""
        return self.peak - self.base - self.delivered


def peak_memory(
    build: Callable[..., dict[str, Rival]],
    arguments: tuple[Any, ...],
    name: str,
    on_run: Callable[[], None],
    warm_up: int = 0,
    forked: bool = False,
) -> Memory:
    """Build one rival in a new process, and measure one run of it.

    Parameters
    ----------
    build : callable
        At the top level of a module; ``build(*arguments, (name,))`` returns the rival of that name.
    arguments : tuple
        They must be picklable.
    name : str
        The name of the rival.
    on_run : callable
        Called at the end.
    warm_up : int
        Number of runs before, so that what is kept (such as an optimizer's state) exists.
    forked : bool
        Whether the process is forked from one that has imported the large libraries. It begins
        seconds earlier, and its memory is that of a new process but for some of their pages: for
        sizes that are there to try a bench. CUDA does not survive a fork, so a new process is
        started there all the same.

    Raises
    ------
    StageError
        If the process is killed, since there is too little memory.
    """
    with ProcessPoolExecutor(1, mp_context=_processes(forked)) as pool:
        try:
            memory = pool.submit(_measure, build, arguments, name, warm_up).result()
        except BrokenProcessPool:
            raise StageError(
                f"bench: the process that ran '{name}' was killed; too little memory? "
                "Choose --size small, or a machine with more"
            ) from None
    on_run()
    return memory


def _processes(forked: bool) -> BaseContext:
    if not forked or torch.cuda.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LIBRARIES)
    return context


def _measure(
    build: Callable[..., dict[str, Rival]], arguments: tuple[Any, ...], name: str, warm_up: int
) -> Memory:
    rival = build(*arguments, (name,))[name]
    for _ in range(warm_up):
        rival.before()
        rival.run()
    rival.before()
    base = _begin()
    result = rival.run()
    memory = Memory(base, _peak(), rival.delivered())
    del result
    return memory


def _begin() -> int:
    """Reset the peak and return the memory in use."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    _CLEAR_REFS.write_text(_PEAK)
    return _status("VmRSS")


def _peak() -> int:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(key: str) -> int:
    """Return a number from ``/proc/self/status``, in bytes."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{key}:\s+(\d+) kB$", text, flags=re.M)
    assert found is not None, key
    return 1024 * int(found[1])
