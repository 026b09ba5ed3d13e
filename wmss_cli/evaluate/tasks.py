"""Evaluation files: one problem a line, with the answer that counts as right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError

_KEYS = ("id", "question", "answer")


@dataclass(frozen=True)
class Problem:
    """A question and its answer; `id` is unique within its task."""

    task: str
    id: str
    question: str
    answer: str


def read_task(name: str, path: Path, limit: int | None) -> list[Problem]:
    """Read an evaluation file.

    Parameters
    ----------
    name : str
        Of the task.
    path : Path
        A ``.jsonl`` file with ``id``, ``question`` and ``answer`` in each row; other keys are
        ignored. Numbers are taken as they are written.
    limit : int or None
        Take only the first rows.

    Raises
    ------
    ConfigError
        If the file is missing, empty, or one of the rows taken is not as said above.
    """
    problems: dict[str, Problem] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if limit is not None and len(problems) == limit:
                    break
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                problem = _problem(name, line, where)
                if problem.id in problems:
                    raise ConfigError(
                        f"{where}: the id {problem.id!r} stands twice; give each row its own"
                    )
                problems[problem.id] = problem
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such evaluation file; check eval_files.{name}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: this is a folder; eval_files.{name} takes a file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; eval_files.{name} takes a .jsonl") from None
    if not problems:
        raise ConfigError(f"{path}: no rows; eval_files.{name} needs at least one problem")
    return list(problems.values())


def _problem(task: str, line: str, where: str) -> Problem:
    try:
        # As text, so that 27.0 and 1e-7 stay as they are written.
        row: Any = json.loads(line, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: not JSON ({error.msg}); mend or remove the row") from None
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: not a JSON object; expected {', '.join(_KEYS)}")
    for key in _KEYS:
        if key not in row:
            raise ConfigError(f"{where}: no {key!r}; a row needs {', '.join(_KEYS)}")
        if not isinstance(row[key], str) or not row[key].strip():
            raise ConfigError(f"{where}: {key!r} has to be text or a number, and not empty")
    return Problem(task, row["id"], row["question"], row["answer"])
