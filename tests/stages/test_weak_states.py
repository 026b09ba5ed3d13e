"""The weak model's states, on disk: of each sample what a pass over it alone would give."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import run_ranks
from table import make_token_table

from wmss_cli.core.errors import StageError
from wmss_cli.data.batches import collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_for_inference
from wmss_cli.models.packed import hidden_states
from wmss_cli.stages import weak_states
from wmss_cli.stages.weak_states import WeakStates
from wmss_cli.train.ranks import join

DRAWN = np.array([7, 2, 2, 5, 0, 9, 7, 3])


@pytest.fixture
def table(tiny_model: Path, tmp_path: Path) -> TokenTable:
    lengths = [(i % 4, 2 + i) for i in range(10)]
    return TokenTable(make_token_table(tmp_path / "tokens", tiny_model, lengths))


def fill(work: Path, model: Path, max_batch_tokens: int = 20) -> WeakStates:
    """Fill and open, as a rank of those that the environment describes."""
    table = TokenTable(work / "tokens")
    # The first rank serves what the others read: it waits for them before it ends.
    with closing(join()) as ranks:
        return weak_states.fill_weak_states(
            work / "states", model, "fp32", table, DRAWN, max_batch_tokens, ranks
        )


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_each_rank_computes_a_part_and_reads_all(
    table: TokenTable, tiny_model: Path, tmp_path: Path, world_size: int
) -> None:
    run_ranks(Path(__file__), [str(tmp_path), str(tiny_model)], world_size)
    states = WeakStates(tmp_path / "states", table, np.unique(DRAWN))
    model = load_for_inference(tiny_model, "fp32", packed=True)
    with torch.inference_mode():
        for rows in ([2], [9, 0], [5, 5, 3, 7]):
            expected = hidden_states(model, collate(table, np.array(rows)))
            found = states.of(np.array(rows)).float()
            # Half of the last bit of bf16, and the rounding of another cut.
            assert torch.allclose(found, expected, rtol=2**-8, atol=1e-5)
    assert states.of(np.array([], dtype=np.int64)).shape == (0, expected.shape[1])


def test_a_disk_without_room_is_said_before_anything_is_computed(
    small_disk: Callable[[str], Path],
) -> None:
    folder = small_disk("1m") / "states"
    with pytest.raises(StageError, match=r"needs 0.01 GB for the .* leave out joint.cache_weak"):
        weak_states._make_room(folder, 10_000_000)
    weak_states._make_room(folder, 100_000)
    # What was left by an attempt that was killed takes no room from the next one.
    (folder / "part-00000.bf16").write_bytes(bytes(700_000))
    weak_states._make_room(folder, 800_000)
    assert list(folder.iterdir()) == []


if __name__ == "__main__":
    import sys

    fill(Path(sys.argv[1]), Path(sys.argv[2]))
    # A second time nothing is computed.
    parts = sorted(Path(sys.argv[1], "states").glob("part-*"))
    before = [part.stat().st_mtime_ns for part in parts]
    fill(Path(sys.argv[1]), Path(sys.argv[1]) / "no-such-model")
    assert [part.stat().st_mtime_ns for part in parts] == before
