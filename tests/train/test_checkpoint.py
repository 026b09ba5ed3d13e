"""Checkpoints at every ZeRO stage: what is in them, and that they give back all of it."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ranks import run_ranks
from tiny import make_tiny_model

from wmss_cli.core.files import sha256
from wmss_cli.train.host_copy import HostMemory
from wmss_cli.train.state_files import StateFiles, write_states


@pytest.mark.slow
def test_states_come_back_and_frozen_weights_from_their_model(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "weak", seed=1, tie=True)
    make_tiny_model(tmp_path / "strong", seed=2, tie=False)
    out = tmp_path / "results.json"
    script = Path(__file__).with_name("checkpoint_worker.py")
    run_ranks(script, [str(tmp_path), str(out)], 2)
    results = json.loads(out.read_text())
    assert sorted(results) == ["0", "1", "2", "3"]
    for found in results.values():
        assert found["again"] == found["expected"]
        assert found["from_old"] == found["expected"]
        assert found["expected"][0] != found["expected"][1]
        assert found["names"]
        assert not [name for name in found["names"] if name.startswith("weak.")]


def test_a_copy_shares_what_its_original_shares_and_takes_the_memory_of_the_one_before() -> None:
    flat = torch.arange(100.0)
    states = {"a": flat[:60].view(6, 10).T, "b": [flat[60:]], "none": None, "empty": flat[:0]}
    memory = HostMemory()
    first = memory.copy(states)
    expected = flat.clone()
    flat += 1
    assert torch.equal(first["a"], expected[:60].view(6, 10).T)
    assert torch.equal(first["b"][0], expected[60:])
    assert first["none"] is None
    assert len(first["empty"]) == 0
    place = first["a"].untyped_storage().data_ptr()
    assert first["b"][0].untyped_storage().data_ptr() == place
    memory.clear()
    second = memory.copy(states)
    assert second["a"].untyped_storage().data_ptr() == place
    assert torch.equal(second["a"], flat[:60].view(6, 10).T)


def test_a_file_is_hashed_as_it_is_written(tmp_path: Path) -> None:
    states = {"numbers": torch.arange(1000), "step": 3}
    assert write_states(tmp_path / "a.pt", states) == sha256(tmp_path / "a.pt")
    assert torch.equal(torch.load(tmp_path / "a.pt")["numbers"], states["numbers"])


def test_the_threads_error_reaches_who_waits(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("64k")
    files = StateFiles(frozenset())
    for name in ("small", "large"):
        size = {"small": 10, "large": 100_000}[name]
        files.save({"weights": torch.zeros(size)}, str(disk / name))
    files.start()
    with pytest.raises(OSError, match="No space left") as raised:
        files.wait()
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(disk / "large"))
    assert not files.busy
