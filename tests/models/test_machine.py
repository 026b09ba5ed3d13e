"""What a machine can do: its rate of matrix products, and what a process held at most."""

from __future__ import annotations

import pytest
import torch

from wmss_cli.models import machine
from wmss_cli.models.machine import (
    data_sheet_rate,
    forget_peak,
    matrix_product_rate,
    peak_memory_bytes,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rate_is_in_flops_per_second(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine._BUDGET_S, "cpu", 0.0)
    # From the slowest machine that runs the tests to no machine that there is.
    rate = matrix_product_rate(dtype, CPU)
    assert 1e7 < rate < 1e18
    assert matrix_product_rate(dtype, CPU) == rate, "it is measured once"


def test_the_peak_of_a_process_stays_when_its_memory_is_given_back() -> None:
    before = peak_memory_bytes(CPU)
    assert before > 2**20
    held = torch.ones(before + 2**27, dtype=torch.uint8)
    del held
    forget_peak(CPU)
    assert peak_memory_bytes(CPU) >= before + 2**27


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_peak_of_a_gpu_begins_again() -> None:
    gpu = torch.device("cuda", 0)
    assert matrix_product_rate(torch.bfloat16, gpu) > 1e12
    forget_peak(gpu)
    before = peak_memory_bytes(gpu)
    held = torch.ones(2**27, dtype=torch.uint8, device=gpu)
    del held
    assert before + 2**27 <= peak_memory_bytes(gpu) < before + 2**28


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H800", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA H20", 148),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GB200", None),
        ("Tesla T4", None),
    ],
)
def test_data_sheets_are_found_by_the_words_of_a_name(name: str, tflops: int | None) -> None:
    assert data_sheet_rate(name) == (None if tflops is None else tflops * 1e12)
