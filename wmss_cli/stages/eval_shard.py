"""One shard of eval: an artifact of its own, so that what is answered stays answered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import EvalConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import GENERATION, write_parquet
from wmss_cli.data.chat import Renderer
from wmss_cli.evaluate.generate import Generation, generate, open_engine
from wmss_cli.evaluate.tasks import Problem, read_task
from wmss_cli.models.causal import dtype_of
from wmss_cli.models.tokenizer import load_tokenizer
from wmss_cli.verify.pool import check_all

GENERATIONS_FILE = "generations.parquet"
TASK_ROLE = "task-"

Row = dict[str, Any]


class EvalShardConfig(EvalConfig):
    """The options of eval, and which part this is."""

    shard: int
    """From 0."""


def run(job: Job, progress: ProgressWriter | None = None, before: int = 0) -> Manifest:
    """Let a model answer the problems of one shard, and grade what it wrote.

    Inputs as in :func:`wmss_cli.stages.evaluate.run`. Writes ``generations.parquet`` with the
    shard's rows.

    Parameters
    ----------
    job : Job
        Of the shard.
    progress : ProgressWriter, optional
        Of the whole stage; without it the shard counts for itself, in its own folder.
    before : int
        Answers that count as done in `progress` when the shard begins.

    Raises
    ------
    ConfigError
        If there is no evaluation file, or one of them or the model cannot be read.
    """
    config = EvalShardConfig.model_validate(job.config)
    # Dealt like cards, so that every shard has its part of each task.
    problems = read_problems(job.inputs, config.limit)[config.shard :: config.shards]
    with open_draft(job) as draft:
        if progress is None:
            progress = ProgressWriter(draft.folder, "answers", len(problems), before)
        rows: list[Row] = []
        seconds = 0.0
        if problems:
            model = Path(job.inputs["model"])
            rows, seconds = _answer(model, config, problems, progress, before)
        graded = list(_grade(rows, config))
        write_parquet(draft.folder / GENERATIONS_FILE, graded, GENERATION)
        return draft.commit(
            {
                "answers": len(graded),
                "generated_tokens": sum(row["tokens"] for row in graded),
                "generation_seconds": seconds,
                "dtype": str(dtype_of(config.precision)),
            }
        )


def read_problems(inputs: Mapping[str, str], limit: int | None) -> list[Problem]:
    """Read the problems of all evaluation files among a job's inputs, in their order.

    Raises
    ------
    ConfigError
        If there is no evaluation file, or one of them cannot be read.
    """
    problems = [
        problem
        for role, path in inputs.items()
        if role.startswith(TASK_ROLE)
        for problem in read_task(role.removeprefix(TASK_ROLE), Path(path), limit)
    ]
    if not problems:
        raise ConfigError("nothing to evaluate on; name at least one file in eval_files")
    return problems


def _answer(
    folder: Path,
    config: EvalConfig,
    problems: Sequence[Problem],
    progress: ProgressWriter,
    before: int,
) -> tuple[list[Row], float]:
    """Return the answers, without the columns of the grading, and the seconds they took."""
    tokenizer = load_tokenizer(folder)
    renderer = Renderer(tokenizer, config.system_prompt)
    questions = [problem.question for problem in problems]
    prompt_ids = renderer.prompt_ids(questions)
    write = open_engine(config.engine, folder, config.precision, config.batch_size)
    started = time.perf_counter()
    generations = generate(
        write,
        tokenizer,
        prompt_ids,
        config.max_new_tokens,
        renderer.stop_token_ids,
        lambda done, tokens: progress.update(
            before + done, tokens_per_s=tokens / (time.perf_counter() - started)
        ),
    )
    seconds = time.perf_counter() - started
    prompts = [renderer.prompt_text(question) for question in questions]
    return [_row(*answer) for answer in zip(problems, prompts, generations, strict=True)], seconds


def _row(problem: Problem, prompt: str, generation: Generation) -> Row:
    return {
        "task": problem.task,
        "id": problem.id,
        "prompt": prompt,
        "text": generation.text,
        "reference_answer": problem.answer,
        "tokens": generation.tokens,
        "finish_reason": generation.finish_reason,
    }


def _grade(rows: Sequence[Row], config: EvalConfig) -> Iterator[Row]:
    """Add the columns of the grading to answers, old ones or new ones."""
    answers = ((row, row["text"], row["reference_answer"]) for row in rows)
    for row, verdict in check_all(answers, config.workers, config.verify_timeout_s):
        yield {
            **row,
            "extracted": verdict.extracted,
            "correct": verdict.correct,
            "reason": verdict.reason,
        }
