"""eval: a model and evaluation files → one graded answer per problem, and accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wmss_cli.core.artifact import Draft, Job, open_draft
from wmss_cli.core.config import EvalConfig
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.schema import GENERATION, write_parquet
from wmss_cli.evaluate.statistics import wilson_interval
from wmss_cli.evaluate.tasks import Problem
from wmss_cli.stages import eval_shard
from wmss_cli.stages.eval_shard import GENERATIONS_FILE, Row, read_problems
from wmss_cli.stages.shards import read_shards, remove_shards, run_missing


def run(job: Job) -> Manifest:
    """Let a model answer all problems that no shard has answered yet, grade, and merge.

    Inputs: ``model`` (a folder) and ``task-NAME`` (an evaluation file) for each task. Writes
    ``generations.parquet``, one row per problem; the shards stand beside it in ``OUT.shards``
    until they are merged. The metrics give each task's and the overall accuracy with its 95 %
    Wilson interval.

    Raises
    ------
    ConfigError
        If there is no evaluation file, or one of them or the model cannot be read.
    """
    problems = _problems(job)
    with open_draft(job) as draft:
        run_missing(job, eval_shard.run, draft.folder, "answers", len(problems))
        return _merge(job, draft, problems)


def run_merge(job: Job) -> Manifest:
    """Merge shards that other jobs have answered; without a model, so no GPU is needed.

    Raises
    ------
    IntegrityError
        If the shards are not whole (see :func:`~wmss_cli.stages.shards.read_shards`).
    """
    problems = _problems(job)
    with open_draft(job) as draft:
        return _merge(job, draft, problems)


def _problems(job: Job) -> list[Problem]:
    return read_problems(job.inputs, EvalConfig.model_validate(job.config).limit)


def _merge(job: Job, draft: Draft, problems: Sequence[Problem]) -> Manifest:
    """Join the shards into one table, in the order of the problems, and remove them."""
    wanted = [(problem.task, problem.id) for problem in problems]
    merged, manifests = read_shards(job, GENERATIONS_FILE, GENERATION, ["task", "id"], wanted)
    rows: list[Row] = merged.to_pylist()
    write_parquet(draft.folder / GENERATIONS_FILE, rows, GENERATION)
    tokens = sum(row["tokens"] for row in rows)
    seconds = sum(manifest.metrics["generation_seconds"] for manifest in manifests)
    manifest = draft.commit(
        {
            "tasks": _by_task(rows),
            **_accuracy(rows),
            "generated_tokens": tokens,
            "shard_seconds": round(sum(manifest.seconds for manifest in manifests), 3),
            "tokens_per_s": round(tokens / seconds, 1),
        }
    )
    remove_shards(job)
    return manifest


def _by_task(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(row["task"], []).append(row)
    return {
        name: {
            "n": len(answers),
            "correct": sum(row["correct"] for row in answers),
            **_accuracy(answers),
            "truncated": sum(row["finish_reason"] == "length" for row in answers),
            "mean_tokens": round(sum(row["tokens"] for row in answers) / len(answers), 1),
        }
        for name, answers in tasks.items()
    }


def _accuracy(rows: Sequence[Row]) -> dict[str, float]:
    correct = sum(row["correct"] for row in rows)
    low, high = wilson_interval(correct, len(rows))
    return {"accuracy": correct / len(rows), "ci_low": low, "ci_high": high}
