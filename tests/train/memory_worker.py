"""One rank of the memory test: what DeepSpeed really holds, for every way to shard.

Arguments: a work folder with the models, and the file for the results.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch

from wmss_cli.core.config import JointConfig
from wmss_cli.core.files import files_under
from wmss_cli.models.causal import load_packed
from wmss_cli.models.packed import PackedBatch
from wmss_cli.train.checkpoint import Saver
from wmss_cli.train.engine import build_engine
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import join

STEPS = 2
MICRO_BATCHES = 2


def storages() -> dict[int, torch.UntypedStorage]:
    """Return the storages of all tensors of this process, by address."""
    # The thread that reduces a bucket lets go of it a moment after the result is there.
    time.sleep(0.1)
    gc.collect()
    tensors = [o for o in gc.get_objects() if isinstance(o, torch.Tensor)]
    tensors += [t.grad for t in tensors if t.is_leaf and t.grad is not None]
    return {s.data_ptr(): s for s in (t.untyped_storage() for t in tensors)}


def some_tokens(count: int) -> PackedBatch:
    ids = torch.arange(count)
    return PackedBatch(ids, ids, (count,), ids[:-1], ids[1:])


def cases() -> list[tuple[str, int, str]]:
    every = product(("fp32", "bf16"), (0, 1, 2, 3), ("cotrain", "frozen"))
    return [case for case in every if case[:2] != ("bf16", 0)]


def main(work: Path, results_file: Path) -> None:
    ranks = join()
    # What the libraries hold is not looked through again and again.
    gc.freeze()
    results: dict[str, Any] = {}
    for precision, zero_stage, mode in cases():
        name = f"{precision}-zero{zero_stage}-{mode}"
        # DeepSpeed lets go of an engine when the next one is built: it is held until then.
        before = storages()
        weak, strong = (load_packed(work / role, precision) for role in ("weak", "strong"))
        pair = WeakStrongPair(strong, weak, 0.5, mode)
        config = JointConfig(zero_stage=zero_stage, precision=precision)
        engine = build_engine(pair, config)
        engine.train()
        held = 0
        for _ in range(STEPS):
            for i in range(MICRO_BATCHES):
                engine.set_gradient_accumulation_boundary(i == MICRO_BATCHES - 1)
                loss, _ = engine(some_tokens(8), 7.0)
                engine.backward(loss)
                if i == 0:
                    # All states are there from the second step on, and gradients add up.
                    new = storages().items()
                    held = sum(s.nbytes() for place, s in new if place not in before)
                    del new
                engine.step()
        saver = Saver(engine, work / f"checkpoints-{ranks.world_size}-{name}", ranks, keep=1)
        saver.begin(STEPS, {})
        folder = saver.finish()
        assert folder is not None
        disk = sum((folder / file).stat().st_size for file in files_under(folder))
        results[name] = {"held": ranks.gather(held), "disk": disk}
        engine.destroy()
        del saver, engine, pair, weak, strong, loss, before
    if ranks.is_first:
        results_file.write_text(json.dumps(results))
    ranks.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
