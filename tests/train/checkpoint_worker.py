"""One rank of the checkpoint test: at every ZeRO stage, saved beside the training, and loaded.

Arguments: a work folder with the models, and the file for the results.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.engine import DeepSpeedEngine

from wmss_cli.core.config import JointConfig
from wmss_cli.models.causal import load_model
from wmss_cli.models.packed import PackedBatch
from wmss_cli.train.checkpoint import Saver, load, newest
from wmss_cli.train.engine import build_engine
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import join


def losses(engine: DeepSpeedEngine, steps: int) -> list[float]:
    """Take steps and return their losses: they depend on all states."""
    found = []
    for _ in range(steps):
        ids = torch.arange(8)
        loss, _ = engine(PackedBatch(ids, ids, (8,), ids[:-1], ids[1:]), 7.0)
        engine.backward(loss)
        engine.step()
        found.append(float(loss))
    return found


def main(work: Path, results_file: Path) -> None:
    ranks = join()
    results: dict[str, Any] = {}
    for zero_stage in range(4):
        weak, strong = (load_model(work / role, "fp32") for role in ("weak", "strong"))
        pair = WeakStrongPair(strong, weak, 0.5, "frozen")
        engine = build_engine(pair, JointConfig(zero_stage=zero_stage, learning_rate=1e-2))
        engine.train()
        folder = work / f"checkpoints-{ranks.world_size}-{zero_stage}"
        losses(engine, 2)
        # As checkpoints were written before: with frozen weights, by DeepSpeed alone.
        old = work / f"old-{ranks.world_size}-{zero_stage}"
        assert isinstance(engine.checkpoint_engine, TorchCheckpointEngine)
        engine.save_checkpoint(str(old), tag="state", save_latest=False)
        saver = Saver(engine, folder, ranks, keep=1)
        saver.begin(2, {"tokens": 16.0})
        # These change the states while they are written.
        expected = losses(engine, 2)
        path = saver.finish()
        found = newest(folder, ranks)
        assert found is not None
        assert found[0] == path
        assert found[1].step == 2
        load(engine, found[0], universal=False)
        again = losses(engine, 2)
        load(engine, old, universal=False)
        from_old = losses(engine, 2)
        if ranks.is_first:
            model_states = sorted((found[0] / "state").glob("*mp_rank_00_model_states.pt"))[0]
            states = torch.load(model_states, weights_only=False)
            names = [*states["module"], *(states["frozen_param_fragments"] or {})]
            results[str(zero_stage)] = {
                "expected": expected,
                "again": again,
                "from_old": from_old,
                "names": names,
            }
        engine.destroy()
    if ranks.is_first:
        results_file.write_text(json.dumps(results))
    ranks.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
