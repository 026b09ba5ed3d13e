"""What happens to freed memory: on a CPU it is kept for the next allocation."""

from __future__ import annotations

import ctypes

import torch

# From malloc.h (glibc).
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = -1


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the system at once.

    A training step frees and requests the same tensors again and again. Each page that comes fresh
    from the system causes a page fault and is zeroed, which takes a fifth of a step. This is for
    processes that run models until they end. torch keeps a GPU's memory itself, and other C
    libraries have no such setting: there this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or torch.cuda.is_available():
        return
    # Large blocks come from the heap, too, and the heap never shrinks.
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _NEVER)
