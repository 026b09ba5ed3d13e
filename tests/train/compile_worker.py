"""One rank that trains with compiled blocks and without, on passes of all lengths.

Argument: the file for the results.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Literal

import torch
from tiny import make_tiny_model
from torch import Tensor
from torch._dynamo.utils import counters

from wmss_cli.core.config import JointConfig
from wmss_cli.models.causal import load_packed
from wmss_cli.models.packed import PackedBatch
from wmss_cli.train.engine import build_engine, full_state_dict, gradient_norm
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import join

PASSES = ((5, 7, 9), (8, 3), (20,), (4, 6, 2, 9), (2, 3, 2, 3, 2, 3, 2, 3, 2), (31,))


def batch(lengths: tuple[int, ...]) -> PackedBatch:
    ids = torch.arange(sum(lengths)) * 7 % 320
    places = torch.cat([torch.arange(length) for length in lengths])
    predicting = torch.where(places[1:] > 0)[0]
    return PackedBatch(ids, places, lengths, predicting, ids[predicting + 1])


def compiled() -> int:
    """Return how many graphs were compiled so far."""
    return int(counters["stats"]["unique_graphs"])


def train(work: Path, mode: Literal["none", "blocks"]) -> dict[str, Any]:
    """Take a step with each pass, recomputing, and return all that came of it."""
    weak, strong = (load_packed(work / name, "fp32") for name in ("weak", "strong"))
    config = JointConfig(
        learning_rate=1e-3, zero_stage=2, compile=mode, gradient_checkpointing=True, eps=1e-4
    )
    names = list(strong.state_dict())
    engine = build_engine(WeakStrongPair(strong, weak, 0.4, loss_backend="chunked"), config)
    losses, norms, graphs = [], [], []
    for lengths in PASSES:
        loss, _ = engine(batch(lengths), float(sum(lengths)))
        engine.backward(loss)
        engine.step()
        losses.append(float(loss.detach()))
        norms.append(gradient_norm(engine))
        graphs.append(compiled())
    weights = [t.clone() for model in (weak, strong) for t in full_state_dict(model, True).values()]
    assert list(strong.state_dict()) == names
    engine.destroy()
    return {"losses": losses, "norms": norms, "graphs": graphs, "weights": weights}


def main(results: Path) -> None:
    join()
    for seed, name in enumerate(("weak", "strong")):
        make_tiny_model(results.parent / name, seed=seed)
    own = train(results.parent, "none")
    began = time.perf_counter()
    found = train(results.parent, "blocks")
    pairs: list[tuple[Tensor, Tensor]] = list(zip(own["weights"], found["weights"], strict=True))
    row = {
        "own": {name: own[name] for name in ("losses", "norms", "graphs")},
        "compiled": {name: found[name] for name in ("losses", "norms", "graphs")},
        "weights": max(float((a - b).abs().max()) for a, b in pairs),
        "seconds": time.perf_counter() - began,
    }
    results.write_text(json.dumps(row))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
