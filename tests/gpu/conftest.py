"""What only a GPU can show. ``make test-gpu`` runs it in minutes on one, without a network.

WMSS_GPU_REHEARSAL=1 runs the same on the CPU in small sizes, to see that the tests themselves work.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REHEARSAL = os.environ.get("WMSS_GPU_REHEARSAL") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.gpu)
        if not torch.cuda.is_available() and not REHEARSAL:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(scope="session")
def rehearsal() -> bool:
    """Whether the tests run in small sizes on a CPU."""
    return REHEARSAL


@pytest.fixture(scope="session")
def results() -> Path:
    """Folder for the numbers that are measured; WMSS_GPU_RESULTS names another one."""
    folder = Path(os.environ.get("WMSS_GPU_RESULTS", "gpu-results"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
