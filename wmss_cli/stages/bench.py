"""bench: fast paths and their rivals side by side on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from wmss_cli.bench import command, generate, loss, objectives, score, step
from wmss_cli.bench.results import RESULTS_FILE, BenchResults, BenchTable, Machine
from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.files import write_json
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.stages.bench_config import BenchConfig, BenchName

Measure = Callable[[int, Callable[[], None], Path], list[BenchTable]]

_WAYS = {"loss": 3, "step": 5, "score": 2, "generate": 3, "cli": 5}
# Runs that count: each way in each round, in the warm-up, and for its memory.
_TIMED_ONLY = {"step": objectives.COUNT}
# Ways whose memory is not measured.
_LIBRARIES = ("wmss", "torch", "transformers", "deepspeed")


def run(job: Job) -> Manifest:
    """Measure, and write ``results.json`` (:class:`~wmss_cli.bench.results.BenchResults`)."""
    config = BenchConfig.model_validate(job.config)
    with open_draft(job) as draft:
        total = (config.rounds + 2) * sum(_WAYS[name] for name in config.parts)
        total += (config.rounds + 1) * sum(_TIMED_ONLY.get(name, 0) for name in config.parts)
        progress = ProgressWriter(draft.folder, "runs", total)
        done = 0

        def on_run() -> None:
            nonlocal done
            done += 1
            progress.update(done)

        work = draft.folder / "scratch"
        work.mkdir(exist_ok=True)
        benches = [
            bench
            for name in config.parts
            for measure in _measures(name, config)
            for bench in measure(config.rounds, on_run, work)
        ]
        results = BenchResults(
            size=config.size, rounds=config.rounds, machine=_machine(), parts=tuple(benches)
        )
        write_json(draft.folder / RESULTS_FILE, results.model_dump(mode="json"))
        goals = [ratio for bench in benches for ratio in bench.ratios if ratio.goal is not None]
        reached = sum(g.goal is not None and g.goal.is_met(g.value.median) for g in goals)
        return draft.commit({"goals": len(goals), "goals_reached": reached}, scratch=["scratch"])


def _measures(name: BenchName, config: BenchConfig) -> list[Measure]:
    """Return the functions that measure the tables of a bench."""
    own = generate.Own(config.model, config.tokens) if config.model and config.tokens else None
    known: dict[BenchName, list[tuple[Callable[..., list[BenchTable]], Any, Any]]] = {
        "loss": [(loss.measure, loss.TABLE, loss.SMALL)],
        "step": [
            (step.measure, step.TABLE, step.SMALL),
            (step.measure_model, step.MODEL_TABLE, step.MODEL_SMALL),
            (objectives.measure, step.TABLE, step.SMALL),
        ],
        "score": [(score.measure, score.TABLE, score.SMALL)],
        "generate": [(partial(generate.measure, own=own), generate.TABLE, generate.SMALL)],
        "cli": [
            (measure, command.TABLE, command.SMALL)
            for measure in (command.measure_help, command.measure_status, command.measure_curate)
        ],
    }
    return [
        partial(measure, table if config.size == "table" else small)
        for measure, table, small in known[name]
    ]


def _machine() -> Machine:
    gpu = torch.cuda.is_available()
    return Machine(
        device=torch.cuda.get_device_name(device()) if gpu else "CPU",
        threads=torch.get_num_threads(),
        dtype=str(dtype_of("auto")).removeprefix("torch."),
        versions={name: metadata.version(name) for name in _LIBRARIES},
    )
