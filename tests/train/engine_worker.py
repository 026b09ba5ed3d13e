"""One rank of the engine test: a few steps of a pair under one DeepSpeed configuration each.

Arguments: the file for the results, and the names of the cases.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator
from deepspeed.runtime.zero.partitioned_param_profiler import PartitionedParameterProfiler
from transformers import Qwen3Config, Qwen3ForCausalLM

from wmss_cli.core.config import JointConfig
from wmss_cli.models.packed import PackedBatch
from wmss_cli.train.engine import build_engine
from wmss_cli.train.fitting import is_open
from wmss_cli.train.loop import MicroBatch, TrainState, _step
from wmss_cli.train.meter import Meter
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import Ranks, join
from wmss_cli.train.trial import decide

STEPS = 2
# As in a pair of 8B models: a head is 3.2 blocks.
SIZES: dict[str, Any] = {
    "vocab_size": 2720,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
}
BLOCK = 53_440
HEAD = SIZES["vocab_size"] * SIZES["hidden_size"]
SHRUNK = BLOCK / 192_946_432
"""Of a block here to one of Qwen3-8B."""


def shrunk(elements: float) -> int:
    return int(elements * SHRUNK)


RELEASED = {"stage3_param_persistence_threshold": 0, "stage3_max_reuse_distance": shrunk(1e9)}
SHIPPED = {
    "stage3_max_live_parameters": shrunk(1e9),
    "stage3_prefetch_bucket_size": shrunk(5e7),
}
OFFLOADED = {"offload_optimizer": {"device": "cpu", "pin_memory": False}}
CASES: dict[str, dict[str, Any]] = {
    "tried": {"zero_stage": 2, "micro_batch_tokens": "auto", "gradient_checkpointing": "auto"},
    "every-2nd": {"zero_stage": 3, "zero": RELEASED, "gradient_checkpointing": "every-2nd"},
    # So small that a pass fills several of them.
    "zero2": {"zero_stage": 2, "zero": {"reduce_bucket_size": HEAD}},
    "zero2-waiting": {
        "zero_stage": 2,
        "zero": {"reduce_bucket_size": HEAD, "overlap_comm": False},
    },
    "zero2-offloaded": {"zero_stage": 2, "zero": OFFLOADED},
    "zero3": {"zero_stage": 3, "zero": {**RELEASED, "stage3_prefetch_bucket_size": 2 * BLOCK}},
    "zero3-as-shipped": {"zero_stage": 3, "zero": {**RELEASED, **SHIPPED}},
    "zero3-offloaded": {
        "zero_stage": 3,
        "zero": {**RELEASED, **OFFLOADED, "offload_param": {"device": "cpu", "pin_memory": False}},
    },
}


@contextmanager
def gathers() -> Iterator[Counter[str]]:
    """Count the weights that are gathered, by whether they were needed at once or fetched ahead."""
    counted: Counter[str] = Counter()
    name = "_PartitionedParameterCoordinator__all_gather_params"
    start, gather = (
        PartitionedParameterProfiler.start_event,
        getattr(PartitionedParameterCoordinator, name),
    )
    what = "none"

    def start_event(self: Any, event: str) -> None:
        nonlocal what
        if event.endswith("_submit"):
            what = "ahead" if "prefetch" in event else "on demand"
        start(self, event)

    def all_gather(self: Any, parameters: Any, forward: bool) -> None:
        counted[what] += sum(p.ds_status.name == "NOT_AVAILABLE" for p in parameters)
        gather(self, parameters, forward)

    with (
        mock.patch.object(PartitionedParameterProfiler, "start_event", start_event),
        mock.patch.object(PartitionedParameterCoordinator, name, all_gather),
    ):
        yield counted


class Feed:
    """Two micro-batches a step, others on each rank."""

    steps = STEPS
    longest_sample = 24
    step_tokens = 48

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.tried: list[int] = []

    def longest_pass(self, tokens: int) -> MicroBatch:
        self.tried.append(tokens)
        return self.micro_batches(0)[0]

    def completion_tokens(self, _: int) -> int:
        return 2 * 23 * self.ranks.world_size

    def lengths(self, _: int) -> list[int]:
        return [24] * 2 * self.ranks.world_size

    def micro_batches(self, step: int) -> list[MicroBatch]:
        made = []
        for i in range(2):
            ids = torch.arange(24) + 100 * step + 40 * i + 7 * self.ranks.rank
            positions = torch.arange(24)
            made.append(MicroBatch(PackedBatch(ids, positions, (24,), positions[:-1], ids[1:]), []))
        return made


@contextmanager
def memory_that_runs_out(ranks: Ranks) -> Iterator[None]:
    """Let the first pass of the last rank run out of memory."""
    forward, calls = WeakStrongPair.forward, 0

    def faulty(self: WeakStrongPair, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        result = forward(self, *arguments, **options)
        if calls == 1 and ranks.rank == ranks.world_size - 1:
            raise torch.OutOfMemoryError("injected")
        return result

    with mock.patch.object(WeakStrongPair, "forward", faulty):
        yield


def decided(
    config: JointConfig, pair: WeakStrongPair, ranks: Ranks, folder: Path
) -> tuple[JointConfig, list[Any]]:
    """Return what auto becomes where memory runs out, and again in a resume, with its passes."""
    feed = Feed(ranks)
    with memory_that_runs_out(ranks):
        found = decide(config, pair, feed, ranks, folder)
        again = decide(config, pair, feed, ranks, folder)
    grads = sum(p.grad is not None for p in pair.parameters())
    said = [found.micro_batch_tokens, found.gradient_checkpointing]
    return found, [*said, again == found, feed.tried, grads]


def run(case: dict[str, Any], ranks: Ranks, folder: Path) -> dict[str, Any]:
    options = dict(case)
    zero = options.pop("zero", {})
    config = JointConfig(
        precision="fp32",
        learning_rate=1e-3,
        warmup_ratio=0.0,
        deepspeed={"zero_optimization": zero},
        **options,
    )
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(Qwen3ForCausalLM(Qwen3Config(**SIZES)))
    pair = WeakStrongPair(models[1], models[0], 0.5, "cotrain")
    config, said = decided(config, pair, ranks, folder) if is_open(config) else (config, [])
    engine = build_engine(pair, config)
    engine.train()
    meter = Meter.start(engine.module, torch.float32, STEPS, ranks)
    state = TrainState()
    rows = []
    feed = Feed(ranks)
    for _ in range(STEPS):
        with gathers() as counted:
            rows.append(_step(engine, feed, config, state, ranks, meter))
    made = {
        "losses": [row["loss"] for row in rows],
        "norms": [row["grad_norm"] for row in rows],
        "gathers": dict(counted),
        "decided": ranks.gather(said),
        "zero": engine._config._param_dict["zero_optimization"],
    }
    engine.destroy()
    return made


def main(results_file: Path, cases: list[str]) -> None:
    ranks = join()
    results = {case: run(CASES[case], ranks, results_file.parent) for case in cases}
    if ranks.is_first:
        results_file.write_text(json.dumps(results))
    ranks.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
