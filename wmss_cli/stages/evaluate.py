"""eval: a model and evaluation files → one graded answer per problem, and accuracies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wmss_cli.core.artifact import Draft, Job, open_draft
from wmss_cli.core.config import EvalConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import GENERATION, write_parquet
from wmss_cli.data.chat import Renderer
from wmss_cli.evaluate.generate import Generation, generate
from wmss_cli.evaluate.statistics import wilson_interval
from wmss_cli.evaluate.tasks import Problem, read_task
from wmss_cli.models.causal import load_for_inference
from wmss_cli.models.tokenizer import load_tokenizer
from wmss_cli.verify.pool import check_all

GENERATIONS_FILE = "generations.parquet"
TASK_ROLE = "task-"

Row = dict[str, Any]


def run(job: Job) -> Manifest:
    """Let a model answer all problems, and grade what it wrote.

    Inputs: ``model`` (a folder) and ``task-NAME`` (an evaluation file) for each task. Writes
    ``generations.parquet``, one row per problem. The metrics give each task's and the overall
    accuracy with its 95 % Wilson interval.

    Raises
    ------
    ConfigError
        If there is no evaluation file, or one of them or the model cannot be read.
    """
    config = EvalConfig.model_validate(job.config)
    problems = [
        problem
        for role, path in job.inputs.items()
        if role.startswith(TASK_ROLE)
        for problem in read_task(role.removeprefix(TASK_ROLE), Path(path), config.limit)
    ]
    if not problems:
        raise ConfigError("nothing to evaluate on; name at least one file in eval_files")
    with open_draft(job) as draft:
        rows, seconds = _answer(Path(job.inputs["model"]), config, problems, draft)
        graded = list(_grade(rows, config))
        write_parquet(draft.folder / GENERATIONS_FILE, graded, GENERATION)
        tokens = sum(row["tokens"] for row in graded)
        return draft.commit(
            {
                "tasks": _by_task(graded),
                **_accuracy(graded),
                "generated_tokens": tokens,
                "tokens_per_s": round(tokens / seconds, 1),
            }
        )


def _answer(
    folder: Path, config: EvalConfig, problems: Sequence[Problem], draft: Draft
) -> tuple[list[Row], float]:
    """Return the answers, without the columns of the grading, and the seconds they took."""
    tokenizer = load_tokenizer(folder)
    renderer = Renderer(tokenizer, config.system_prompt)
    questions = [problem.question for problem in problems]
    prompt_ids = renderer.prompt_ids(questions)
    model = load_for_inference(folder, config.precision)
    progress = ProgressWriter(draft.folder, "answers", len(problems))
    started = time.perf_counter()
    generations = generate(
        model,
        tokenizer,
        prompt_ids,
        config.max_new_tokens,
        config.batch_size,
        renderer.stop_token_ids,
        lambda done, tokens: progress.update(
            done, tokens_per_s=tokens / (time.perf_counter() - started)
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
