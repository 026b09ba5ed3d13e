"""grade: existing answers → the same answers, graded again; nothing is generated."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import GradeConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.schema import GENERATION, read_parquet, write_parquet
from wmss_cli.evaluate.problems import read_problems
from wmss_cli.evaluate.tasks import Task, read_tasks
from wmss_cli.results.grades import GENERATIONS_FILE
from wmss_cli.results.summary import summarize
from wmss_cli.stages.judge import grade


def run(job: Job) -> Manifest:
    """Grade the answers of an evaluation with the current graders.

    Inputs: ``answers`` (an artifact of eval or grade) and the tasks, as in
    :func:`wmss_cli.stages.evaluate.shard`. Writes ``generations.parquet`` and the metrics that eval
    writes, and how many verdicts have changed.

    Raises
    ------
    ConfigError
        If an answer is to a problem that the tasks do not have.
    """
    config = GradeConfig.model_validate(job.config)
    path = Path(job.inputs["answers"]) / GENERATIONS_FILE
    before: list[dict[str, Any]] = read_parquet(path, GENERATION).to_pylist()
    answered = Counter(task for task, _ in {(row["task"], row["id"]) for row in before})
    problems = {
        (task.name, problem.id): (task, problem)
        for task, rows in read_tasks(job.inputs)
        for problem in read_problems(task, rows, _limit(task, answered[task.name]))
    }
    for row in before:
        if (row["task"], row["id"]) not in problems:
            raise ConfigError(
                f"{path}: the problem {row['task']} {row['id']} is not among the tasks; "
                "give the tasks that were answered"
            )
    with open_draft(job) as draft:
        answers = [
            {**row, "reference_answer": problems[row["task"], row["id"]][1].answer}
            for row in before
        ]
        rows = grade(answers, problems, config)
        write_parquet(draft.folder / GENERATIONS_FILE, rows, GENERATION)
        changed = sum(a["correct"] != b["correct"] for a, b in zip(before, rows, strict=True))
        return draft.commit({**summarize(rows), "changed_verdicts": changed})


def _limit(task: Task, answered: int) -> int | None:
    """Return how many of a task's problems are needed: a benchmark may have been cut by a limit."""
    return answered if task.rows is not None and answered < task.rows else None
