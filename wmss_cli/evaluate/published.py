"""The forms in which benchmarks are published, and the rows that wmss makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import DataError
from wmss_cli.core.rows import Broken, read_rows
from wmss_cli.evaluate.tasks import Format

Row = dict[str, Any]

_WHOLE = re.compile(r"(-?\d+)\.0+")


def read_published(path: Path) -> Iterator[Row]:
    """Yield the rows of a published file; numbers stay as they are written, as texts.

    Raises
    ------
    DataError
        If its content does not fit its file extension.
    """
    for number, value, _ in read_rows(path, as_text=True):
        if not isinstance(value, dict):
            problem = value.problem if isinstance(value, Broken) else "no object"
            raise DataError(f"{path}: not a complete file (row {number}: {problem})")
        yield value


def as_row(form: Format, name: str, index: int, published: Mapping[str, Any]) -> Row:
    """Return a row as :func:`wmss_cli.evaluate.problems.read_problems` takes it.

    Parameters
    ----------
    form : str
        The form of the published file.
    name : str
        The name of the task, for ids if rows have none.
    index : int
        Index of the row in the benchmark, from 0, also for ids.
    published : mapping
        The columns of the published row.

    Raises
    ------
    DataError
        If a column is missing, or is not in its expected form.
    """
    try:
        return {"id": f"{name}/{index}", **_FORMATS[form](published)}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise DataError(f"row {index + 1}: not as {name} was published ({detail})") from None


def _plain(row: Mapping[str, Any]) -> Row:
    question = row["question"] if "question" in row else row["problem"]
    return {"question": question, "answer": _number(row["answer"])}


def _gsm8k(row: Mapping[str, Any]) -> Row:
    return {"question": row["question"], "answer": _number(row["answer"].split("####")[1])}


def _math(row: Mapping[str, Any]) -> Row:
    return {"id": row["unique_id"], "question": row["problem"], "answer": row["answer"]}


def _aqua(row: Mapping[str, Any]) -> Row:
    return {
        "question": row["question"],
        "options": list(row["options"]),
        "answer": row["correct"],
    }


def _svamp(row: Mapping[str, Any]) -> Row:
    body = row["Body"].strip()
    return {
        "id": f"svamp/{row['ID']}",
        # As Qwen's evaluation joins the two.
        "question": f"{body}{'' if body.endswith('.') else '.'} {row['Question'].strip()}",
        "answer": _number(row["Answer"]),
    }


def _pal(row: Mapping[str, Any]) -> Row:
    return {"question": row["input"], "answer": _number(row["target"])}


def _humaneval(row: Mapping[str, Any]) -> Row:
    return {
        "id": row["task_id"],
        **{key: row[key] for key in ("prompt", "entry_point", "test")},
    }


def _mbpp(row: Mapping[str, Any]) -> Row:
    number = int(row["task_id"])
    # The split of the paper; only the files on the hub are named after it.
    split = {10: "prompt", 510: "test", 600: "validation", 974: "train"}
    return {
        "id": f"mbpp/{number}",
        "split": next(name for last, name in split.items() if number <= last),
        "prompt": row["text"] if "text" in row else row["prompt"],
        "test_list": list(row["test_list"]),
        "test_setup_code": row.get("test_setup_code") or "",
        "test_imports": list(row.get("test_imports") or ()),
    }


def _number(value: Any) -> str:
    """Return a number as text: ``2,125`` as 2125, and 27.0 as 27."""
    text = str(value).strip().replace(",", "")
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


_FORMATS: Mapping[Format, Callable[[Mapping[str, Any]], Row]] = {
    "plain": _plain,
    "gsm8k": _gsm8k,
    "math": _math,
    "aqua": _aqua,
    "svamp": _svamp,
    "pal": _pal,
    "humaneval": _humaneval,
    "mbpp": _mbpp,
}
