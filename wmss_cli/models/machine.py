"""The most a machine can do: its rate of matrix products, measured and by the data sheet."""

from __future__ import annotations

import time
from functools import cache

import torch

# How long a rate is measured (a GPU first has to reach its clock), and at least how many products.
_BUDGET_S = {"cuda": 0.5, "cpu": 0.1}
_LEAST = 3

_DATA_SHEETS = (
    (("H100", "PCIe"), 756),
    (("H100", "NVL"), 835),
    (("H100",), 989),
    (("H800", "PCIe"), 756),
    (("H800",), 989),
    (("H200", "NVL"), 835),
    (("H200",), 989),
    (("H20",), 148),
    (("A100",), 312),
    (("A800",), 312),
    (("L40S",), 362),
    (("B200",), 2250),
)
"""Dense bf16 TFLOP/s by substrings of a GPU's name; the first match counts."""


def data_sheet_rate(name: str) -> float | None:
    """Return the dense bf16 rate of a GPU by its data sheet, in FLOP/s; None if unknown.

    Parameters
    ----------
    name : str
        As CUDA reports it, such as ``NVIDIA H100 80GB HBM3``.
    """
    words = set(name.replace("-", " ").split())
    if "MIG" in words:
        return None
    found = (tflops for known, tflops in _DATA_SHEETS if words.issuperset(known))
    tflops = next(found, None)
    return None if tflops is None else tflops * 1e12


def product_sizes(device: torch.device) -> tuple[int, int, int]:
    """Return m, k, n of a product ``[m, k] @ [k, n]`` that a device computes at its best rate.

    It is large enough to reach the limit, and small enough to run several times in a moment.
    """
    return (8192, 8192, 8192) if device.type == "cuda" else (1024, 1024, 1024)


@cache
def matrix_product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the rate of a large matrix product on one device, in FLOP/s.

    This is the best of several products after a warm-up: the limit that a program is compared with.
    A process measures it once.
    Processes that share a machine must measure at the same time, or each measures a larger share of
    it than it will have.

    Parameters
    ----------
    dtype : torch.dtype
        The type of both factors.
    device : torch.device
        The GPU of this process, or the CPU with this process's threads.
    """
    rows, inner, columns = product_sizes(device)
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(inner, columns, device=device).to(dtype)
    product = torch.empty(rows, columns, device=device, dtype=dtype)

    def seconds() -> float:
        _wait(device)
        begin = time.perf_counter()
        torch.mm(left, right, out=product)
        _wait(device)
        return time.perf_counter() - begin

    seconds()
    end = time.perf_counter() + _BUDGET_S[device.type]
    best, done = float("inf"), 0
    while done < _LEAST or time.perf_counter() < end:
        best, done = min(best, seconds()), done + 1
    return 2 * rows * inner * columns / best


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory that this process has used, in bytes.

    On a GPU: the most that torch has allocated since :func:`forget_peak`. On a CPU: the process's
    largest resident set since its start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget_peak(device: torch.device) -> None:
    """Free the memory used only for measuring, and restart the peak of a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
