"""eval: a model and tasks → graded answers to their problems, and accuracies."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from wmss_cli.core.artifact import Draft, Job, open_draft
from wmss_cli.core.config import EvalConfig
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import GENERATION, write_parquet
from wmss_cli.core.sealed import append_sealed_line, read_sealed_lines, write_sealed_lines
from wmss_cli.data.chat import Renderer
from wmss_cli.evaluate.engine_choice import Engine
from wmss_cli.evaluate.generate import Opened, generate, open_engine
from wmss_cli.evaluate.problems import Problem, read_problems
from wmss_cli.evaluate.sampling import Sampling, seed_of
from wmss_cli.evaluate.tasks import Task, read_tasks
from wmss_cli.models.causal import Precision, dtype_of
from wmss_cli.models.consistency import examine
from wmss_cli.models.tokenizer import load_tokenizer
from wmss_cli.results.grades import GENERATIONS_FILE
from wmss_cli.results.summary import summarize
from wmss_cli.stages.judge import grade
from wmss_cli.stages.model_checks import check_job, check_prompts, say_notes
from wmss_cli.stages.shards import read_options, read_shards

UNIT = "answers"
_ANSWERS_FOLDER = "answers"
_KEY_COLUMNS = ("task", "id", "sample")

Row = dict[str, Any]
Key = tuple[str, str, int]


class Wanted(NamedTuple):
    """One answer that is asked for."""

    task: Task
    problem: Problem
    sample: int

    @property
    def key(self) -> Key:
        """What distinguishes it from all others."""
        return self.problem.task, self.problem.id, self.sample


def total(job: Job) -> int:
    """Return the number of answers that are asked for."""
    return len(read_wanted(job.inputs, EvalConfig.model_validate(job.config)))


def shard(job: Job) -> Manifest:
    """Let a model answer the problems of one shard, and grade what it wrote.

    Inputs: ``model`` (a folder) and, for each task, ``task-NAME`` (its rows) and, if it has one,
    ``spec-NAME`` (its YAML file). Writes ``generations.parquet`` with the shard's rows. Each answer
    is written to disk at once, so an interrupted shard resumes after the last one. See
    :class:`~wmss_cli.stages.shards.Sharded`.

    Raises
    ------
    ConfigError
        If there is no task, or its rows or the model cannot be read.
    """
    config, index, shards = read_options(EvalConfig, job)
    # Dealt out in turn, so that every shard has its share of each task.
    wanted = read_wanted(job.inputs, config)[index::shards]
    with open_draft(job, resumable=True) as draft:
        file = draft.folder / _ANSWERS_FOLDER / "answers.jsonl"
        file.parent.mkdir(exist_ok=True)
        there = _read_answers(file)
        # Anything appended to a line that was cut off would be lost with it.
        write_sealed_lines(file, there.values())
        left = [one for one in wanted if one.key not in there]
        progress = ProgressWriter(draft.folder, UNIT, len(wanted), len(there))
        engine, seconds = None, 0.0
        if left:
            engine, seconds = _answer(job, config, left, file, progress, len(there))
        answers = _read_answers(file)
        rows = [{**answers[one.key], "reference_answer": one.problem.answer} for one in wanted]
        problems = {one.key[:2]: (one.task, one.problem) for one in wanted}
        graded = grade(rows, problems, config)
        write_parquet(draft.folder / GENERATIONS_FILE, graded, GENERATION)
        metrics = {
            "answers": len(graded),
            "generated_tokens": sum(row["tokens"] for row in graded),
            "resumed_answers": len(there),
            "new_tokens": sum(answers[one.key]["tokens"] for one in left),
            "generation_seconds": seconds,
            "engine": engine,
            "dtype": str(dtype_of(config.precision)),
        }
        return draft.commit(metrics, scratch=(_ANSWERS_FOLDER,))


def merge(job: Job, draft: Draft) -> Manifest:
    """Join the shards into one ``generations.parquet``, a row per answer, in the problems' order.

    The metrics are those of :func:`wmss_cli.results.summary.summarize`.
    """
    wanted = [one.key for one in read_wanted(job.inputs, EvalConfig.model_validate(job.config))]
    merged, manifests = read_shards(job, GENERATIONS_FILE, GENERATION, _KEY_COLUMNS, wanted)
    rows: list[Row] = merged.to_pylist()
    write_parquet(draft.folder / GENERATIONS_FILE, rows, GENERATION)
    seconds = sum(manifest.metrics["generation_seconds"] for manifest in manifests)
    # Without answers from earlier attempts, whose seconds are not known.
    new_tokens = sum(manifest.metrics["new_tokens"] for manifest in manifests)
    found = (manifest.metrics.get("engine") for manifest in manifests)
    engines = sorted({engine for engine in found if engine is not None})
    return draft.commit(
        {
            **summarize(rows),
            "engine": ", ".join(engines) or None,
            "generated_tokens": sum(row["tokens"] for row in rows),
            "shard_seconds": round(sum(manifest.seconds for manifest in manifests), 3),
            "tokens_per_s": round(new_tokens / seconds, 1) if seconds else None,
        }
    )


def read_wanted(inputs: Mapping[str, str], config: EvalConfig) -> list[Wanted]:
    """Return all answers that the tasks among a job's inputs ask for, in their order.

    Raises
    ------
    ConfigError
        If there is no task, or one of them cannot be read.
    """
    return [
        Wanted(task, problem, sample)
        for task, path in read_tasks(inputs)
        for problem in read_problems(task, path, config.limit, config.prompt)
        for sample in range(config.samples)
    ]


def _answer(
    job: Job,
    config: EvalConfig,
    wanted: Sequence[Wanted],
    file: Path,
    progress: ProgressWriter,
    before: int,
) -> tuple[str, float]:
    """Append each answer to a file, without the columns of the grading.

    Returns the name of the engine and the seconds that it took.
    """
    folder = Path(job.inputs["model"])
    tokenizer = load_tokenizer(folder)
    renderer = Renderer(tokenizer, config.system_prompt, config.template_date)
    say_notes(check_job(job, tokenizer))
    stops = check_prompts(examine(folder), renderer)
    named = {one.key[:2] for one in wanted if renderer.has_special_token(one.problem.question)}
    if named:
        said = f"{len(named)} questions contain the name of a special token; it is read as text"
        print(said, flush=True)  # noqa: T201 - goes to the log
    drawn = config.temperature > 0.0
    engine, write = _open(config.engine, folder, config.precision, config.batch_size, drawn)
    started = time.perf_counter()
    done = tokens = 0
    for max_new_tokens, some in _by_length(wanted, config.max_new_tokens):
        questions = [one.problem.question for one in some]
        sampling = _sampling(some, config)
        generations = generate(
            write,
            tokenizer,
            renderer.prompt_ids(questions),
            max_new_tokens,
            stops,
            sampling,
        )
        for index, generation in generations:
            row = {
                "task": some[index].problem.task,
                "id": some[index].problem.id,
                "sample": some[index].sample,
                "prompt": renderer.prompt_text(questions[index]),
                **asdict(generation),
            }
            append_sealed_line(file, row)
            done += 1
            tokens += generation.tokens
            seconds = time.perf_counter() - started
            progress.update(before + done, tokens_per_s=tokens / seconds)
    return engine, time.perf_counter() - started


@lru_cache(maxsize=1)
def _open(
    engine: Engine, folder: Path, precision: Precision, slots: int | None, drawn: bool
) -> Opened:
    """Open the engine once for all shards that this process answers."""
    return open_engine(engine, folder, precision, slots, drawn)


def _by_length(wanted: Sequence[Wanted], usual: int | None) -> list[tuple[int, list[Wanted]]]:
    """Group answers by how long they may be: an engine has one limit at a time."""
    groups: dict[int, list[Wanted]] = {}
    for one in wanted:
        groups.setdefault(usual or one.task.max_new_tokens, []).append(one)
    return sorted(groups.items())


def _sampling(wanted: Sequence[Wanted], config: EvalConfig) -> Sampling | None:
    if config.temperature == 0.0:
        return None
    seeds = tuple(seed_of(config.seed, *one.key) for one in wanted)
    return Sampling(config.temperature, config.top_p, seeds)


def _read_answers(file: Path) -> dict[Key, Row]:
    """Return the answers in a file, without lines that were cut off or damaged."""
    rows = read_sealed_lines(file) if file.exists() else []
    return {(row["task"], row["id"], row["sample"]): row for row in rows}
