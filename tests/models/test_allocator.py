"""Freed memory comes back without a fault for every page."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

_FAULTS = """
import resource, sys
import torch
from wmss_cli.models.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()

def activations():
    held = [torch.ones(2**22) for _ in range(8)]

for _ in range(3):
    activations()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    activations()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU torch keeps its memory itself")
def test_memory_that_was_freed_is_used_again() -> None:
    plain, kept = faults("plain"), faults("keep")
    # 128 MiB are 32,768 pages of 4 KiB, or 64 huge ones.
    assert plain >= 3 * 64
    assert kept < plain / 10


def faults(how: str) -> int:
    """Return the page faults of taking 8 x 16 MiB again and again, in a process of its own."""
    # A fixed threshold: the one of glibc moves with what has been freed before.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    command = [sys.executable, "-c", _FAULTS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)
