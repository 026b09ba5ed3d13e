"""What becomes of memory that is freed: on a CPU it is kept for the next allocation."""

from __future__ import annotations

import ctypes

import torch

# Of malloc.h (glibc).
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = -1


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of giving it back to the system at once.

    A training step frees and asks for the same tensors again and again, and every page that comes
    anew from the system is a fault and is filled with zeros: a fifth of a step. It is for a process
    that runs models to its end. A GPU's memory is kept by torch, and other C libraries have no
    such setting: then nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or torch.cuda.is_available():
        return
    # Large blocks, too, come from the heap, and the heap does not shrink.
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _NEVER)
