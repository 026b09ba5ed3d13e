"""eval: a model and tasks → graded answers to their problems, and accuracies."""

from __future__ import annotations

from collections.abc import Sequence

from wmss_cli.core.artifact import Draft, Job, open_draft
from wmss_cli.core.config import EvalConfig
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.schema import GENERATION, write_parquet
from wmss_cli.results.summary import summarize
from wmss_cli.stages import eval_shard
from wmss_cli.stages.eval_shard import GENERATIONS_FILE, Key, Row, read_wanted
from wmss_cli.stages.shards import read_shards, remove_shards, run_missing

KEY_COLUMNS = ("task", "id", "sample")


def run(job: Job) -> Manifest:
    """Let a model answer all problems that no shard has answered yet, grade, and merge.

    Inputs: ``model`` (a folder) and, for each task, ``task-NAME`` (its rows) and, if it has one,
    ``spec-NAME`` (its YAML file). Writes ``generations.parquet``, one row per answer; the shards
    stand beside it in ``OUT.shards`` until they are merged. The metrics are those of
    :func:`wmss_cli.results.summary.summarize`.

    Raises
    ------
    ConfigError
        If there is no task, or its rows or the model cannot be read.
    """
    wanted = _wanted(job)
    with open_draft(job) as draft:
        run_missing(job, eval_shard.run, draft.folder, "answers", len(wanted))
        return _merge(job, draft, wanted)


def run_merge(job: Job) -> Manifest:
    """Merge shards that other jobs have answered; without a model, so no GPU is needed.

    Raises
    ------
    IntegrityError
        If the shards are not whole (see :func:`~wmss_cli.stages.shards.read_shards`).
    """
    wanted = _wanted(job)
    with open_draft(job) as draft:
        return _merge(job, draft, wanted)


def _wanted(job: Job) -> list[Key]:
    config = EvalConfig.model_validate(job.config)
    return [one.key for one in read_wanted(job.inputs, config)]


def _merge(job: Job, draft: Draft, wanted: Sequence[Key]) -> Manifest:
    """Join the shards into one table, in the order of the problems, and remove them."""
    merged, manifests = read_shards(job, GENERATIONS_FILE, GENERATION, KEY_COLUMNS, wanted)
    rows: list[Row] = merged.to_pylist()
    write_parquet(draft.folder / GENERATIONS_FILE, rows, GENERATION)
    seconds = sum(manifest.metrics["generation_seconds"] for manifest in manifests)
    # Not of answers that an earlier attempt wrote: their seconds are not known.
    new_tokens = sum(manifest.metrics["new_tokens"] for manifest in manifests)
    manifest = draft.commit(
        {
            **summarize(rows),
            "generated_tokens": sum(row["tokens"] for row in rows),
            "shard_seconds": round(sum(manifest.seconds for manifest in manifests), 3),
            "tokens_per_s": round(new_tokens / seconds, 1) if seconds else None,
        }
    )
    remove_shards(job)
    return manifest
