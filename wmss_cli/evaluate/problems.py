"""The rows of a task as problems: what the model is asked, and what its answer is compared with."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.core.json_values import Broken, Parser
from wmss_cli.core.rows import read_rows
from wmss_cli.evaluate.tasks import Grader, Style, Task, read_tasks, shipped

Row = dict[str, Any]

_BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."
_LISTS = ("options", "test_list", "test_imports")
_LETTER = re.compile(r"\s*\(?([A-Z])\s*[).:]\s*")


@dataclass(frozen=True)
class Problem:
    """One problem of a task.

    Attributes
    ----------
    task, id : str
        The id is unique in its task.
    question : str
        What the model is asked.
    answer : str
        What its answer is compared with: a value, a letter, or the tests of a program.
    row : mapping
        All columns of the row, for the grader.
    """

    task: str
    id: str
    question: str
    answer: str
    row: Mapping[str, Any]


def read_problems(
    task: Task, path: Path, limit: int | None = None, style: Style = "paper"
) -> list[Problem]:
    """Read the problems of a task.

    Parameters
    ----------
    task : Task
        How rows are read.
    path : Path
        A file that :func:`wmss_cli.core.rows.read_rows` can read. Numbers stay as they are written.
    limit : int, optional
        Take only the first problems.
    style : {"paper", "boxed"}
        How the question is put. ``paper``: the question alone, since the system prompt describes
        the form of an answer. ``boxed``: the question asks for a box, too, as Qwen's evaluation.

    Raises
    ------
    ConfigError
        If the file is missing, or a row lacks what the task needs.
    """
    problems = problems_of(task, _rows(path, task.name), limit, style)
    if not problems:
        raise ConfigError(f"{path}: no rows; task {task.name} needs at least one problem")
    if limit is None and (otherwise := difference(task, problems)):
        raise ConfigError(
            f"{path}: {otherwise}; 'wmss data fetch {task.name}' gets the right ones, "
            "and other rows need another name"
        )
    return problems


def check_problems(
    inputs: Mapping[str, str], limit: int | None = None, provisional: bool = False
) -> None:
    """Refuse tasks whose rows no job could read.

    Parameters
    ----------
    inputs : mapping of str to str
        From :func:`wmss_cli.evaluate.tasks.task_inputs`.
    limit : int, optional
        As in :func:`read_problems`.
    provisional : bool
        Skip files that are not on this machine.

    Raises
    ------
    ConfigError
        As in :func:`read_problems`.
    """
    for task, path in read_tasks(inputs) if inputs else ():
        if path.exists() or not provisional:
            read_problems(task, path, limit)


def problems_of(
    task: Task,
    rows: Iterable[tuple[str, Row]],
    limit: int | None = None,
    style: Style = "paper",
) -> list[Problem]:
    """Return the problems in numbered rows, as :func:`read_problems`."""
    problems: dict[str, Problem] = {}
    count = 0
    for where, row in rows:
        if any(row.get(key) != value for key, value in task.where.items()):
            continue
        count += 1
        if limit is not None and count > limit:
            break
        problem = _problem(task, row, where, style)
        if problem.id in problems:
            raise ConfigError(
                f"{where}: the id {problem.id!r} is given twice; give each row its own"
            )
        problems[problem.id] = problem
    return list(problems.values())


def difference(task: Task, problems: Sequence[Problem]) -> str | None:
    """Say how problems differ from those of a benchmark; None if they do not."""
    if task.rows is not None and len(problems) != task.rows:
        return f"{len(problems)} problems, but {task.title} has {task.rows}"
    if task.sha256 is not None and content_sha256(task, problems) != task.sha256:
        return f"the content of the rows differs from that of {task.title}"
    return None


def content_sha256(task: Task, problems: Iterable[Problem]) -> str:
    """Return the SHA-256 of what is asked and of what counts as correct.

    Ids, the order of the rows, columns that no grader reads, and white space make no difference,
    since copies of one benchmark differ in them.
    """
    columns = (*_KINDS[task.grader][0], *_OPTIONAL)
    contents = [
        {key: _folded(problem.row[key]) for key in columns if key != "id" and problem.row.get(key)}
        for problem in problems
    ]
    lines = sorted(json.dumps(content, sort_keys=True) for content in contents)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _folded(value: Any) -> Any:
    if isinstance(value, list):
        return [_folded(entry) for entry in value]
    return " ".join(str(value).split())


def _rows(path: Path, name: str) -> Iterator[tuple[str, Row]]:
    if not path.exists():
        advice = f"check task {name}"
        if name in shipped():
            advice = "check task_data, the folder of the files that 'wmss data fetch' writes"
        raise ConfigError(f"{path}: no such evaluation file; {advice}")
    try:
        # As text, so that 27.0 and 1e-7 stay as they are written.
        for number, value, _ in read_rows(path, as_text=True):
            yield f"{path}:{number}", _row(value, f"{path}:{number}")
    except DataError as error:
        raise ConfigError(str(error)) from None


def _row(value: Any, where: str) -> Row:
    if isinstance(value, Broken):
        raise ConfigError(f"{where}: {value.problem}; fix or remove the row")
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: not a JSON object; expected columns such as id and question")
    try:
        # JSON can contain half of a surrogate pair, which no file can.
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{where}: half of a surrogate pair; fix or remove the row") from None
    return value


def _problem(task: Task, row: Row, where: str, style: Style) -> Problem:
    needed, make = _KINDS[task.grader]
    for key in needed:
        if key not in row:
            raise ConfigError(f"{where}: no {key!r}; a row needs {', '.join(needed)}")
    listed = [key for key in (*needed, *_OPTIONAL) if key in row and key in _LISTS]
    row = {**row, **{key: _as_list(row[key], key, where) for key in listed}}
    texts = [key for key in needed if key not in _LISTS]
    for key in texts:
        if not isinstance(row[key], str) or not row[key].strip():
            raise ConfigError(f"{where}: {key!r} must be text or a number, and not empty")
    question, answer = make(row, where)
    if style == "boxed" and task.grader in ("math", "number", "choice"):
        question += _BOXED
    return Problem(task.name, row["id"], question, answer, row)


def _value(row: Row, where: str) -> tuple[str, str]:
    del where
    return row["question"], row["answer"]


def _choice(row: Row, where: str) -> tuple[str, str]:
    options = _texts(row, "options", where)
    lettered = []
    for number, option in enumerate(options):
        letter = chr(ord("A") + number)
        marked = _LETTER.match(option)
        text = option[marked.end() :] if marked and marked[1] == letter else option
        lettered.append(f"({letter}) {text.strip()}")
    if len(row["answer"]) != 1 or not 0 <= ord(row["answer"]) - ord("A") < len(options):
        raise ConfigError(f"{where}: 'answer' must be the letter of one of the options")
    return f"{row['question']}\nAnswer Choices: {' '.join(lettered)}", row["answer"]


def _humaneval(row: Row, where: str) -> tuple[str, str]:
    del where
    question = (
        "Please provide a self-contained Python script that solves the following problem in a "
        f"markdown code block:\n```python\n{row['prompt'].strip()}\n```"
    )
    return question, row["test"]


def _mbpp(row: Row, where: str) -> tuple[str, str]:
    tests = "\n".join(_texts(row, "test_list", where))
    question = (
        "Please provide a self-contained Python script that solves the following problem in a "
        f"markdown code block:\n{row['prompt'].strip()}\nYour code should pass these tests:\n"
        f"```python\n{tests}\n```"
    )
    return question, tests


def _as_list(value: Any, key: str, where: str) -> Any:
    """Return the list that a table of text columns stores as JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    found = Parser(as_text=True).parse(value)
    if isinstance(found, Broken):
        raise ConfigError(f"{where}: {key!r}: {found.problem}; fix or remove the row")
    return found


def _texts(row: Row, key: str, where: str) -> Sequence[str]:
    values = row[key]
    if not isinstance(values, list) or not values or not all(isinstance(v, str) for v in values):
        raise ConfigError(f"{where}: {key!r} must be a list of texts, and not empty")
    return values


_KINDS: Mapping[Grader, tuple[tuple[str, ...], Callable[[Row, str], tuple[str, str]]]] = {
    "math": (("id", "question", "answer"), _value),
    "number": (("id", "question", "answer"), _value),
    "choice": (("id", "question", "options", "answer"), _choice),
    "humaneval": (("id", "prompt", "entry_point", "test"), _humaneval),
    "mbpp": (("id", "prompt", "test_list"), _mbpp),
}
"""By grader: the columns that a row needs, and the function that makes question and answer."""

_OPTIONAL = ("test_setup_code", "test_imports")
"""Columns that the grader reads if they exist."""
