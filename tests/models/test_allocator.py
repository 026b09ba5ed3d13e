"""Freed memory comes back without a fault for every page."""

from __future__ import annotations

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
torch.ones(2**26)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**26)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU torch keeps its memory itself")
def test_memory_that_was_freed_is_used_again() -> None:
    plain, kept = faults("plain"), faults("keep")
    # 256 MiB are 65,536 pages of 4 KiB, or 128 huge ones.
    assert plain >= 100
    assert kept < plain / 10


def faults(how: str) -> int:
    """Return the page faults of taking 256 MiB again, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)
