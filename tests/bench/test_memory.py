"""Peak memory is that of one way, in a process of its own."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from wmss_cli.bench.memory import peak_memory
from wmss_cli.bench.timing import Rival
from wmss_cli.core.errors import StageError

MIB = 2**20


def build(mib: int, names: tuple[str, ...]) -> dict[str, Rival]:
    """A way that needs so much, and one that hands half of it over."""
    kept: list[torch.Tensor] = []

    def passing() -> None:
        torch.ones(mib * MIB // 4)

    def delivering() -> None:
        torch.ones(mib * MIB // 8)
        kept.append(torch.ones(mib * MIB // 8))

    ways = {
        "passing": Rival(passing),
        "delivering": Rival(delivering, delivered=lambda: sum(t.nbytes for t in kept)),
        "killed": Rival(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    }
    return {name: ways[name] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "above", "forked"),
    [("passing", 200, False), ("passing", 200, True), ("delivering", 0, True)],
)
def test_what_a_call_needs_for_itself_is_measured(name: str, above: int, forked: bool) -> None:
    calls: list[int] = []
    memory = peak_memory(build, (200,), name, lambda: calls.append(1), forked=forked)
    assert memory.above_base / MIB == pytest.approx(above, abs=12)
    assert memory.base > 50 * MIB
    assert calls == [1]


@pytest.mark.slow
def test_a_process_that_is_killed_is_said() -> None:
    with pytest.raises(StageError, match="'killed' was killed; too little memory"):
        peak_memory(build, (1,), "killed", lambda: None)
