"""Records to train on: one question and one answer each, and what the answer is checked against.

In the format of AM-1.4M a record is ``{"messages": [user, assistant]}`` with ``{"role",
"content", "info"}`` each; the user's ``info``, which may be missing, contains ``source``,
``reference_answer`` and ``test_case``. These three may also be next to ``messages``. Plain
records are ``{"prompt", "completion"}`` with the same three next to them, ShareGPT's
``{"conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}]}``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from wmss_cli.core.data_files import find_data
from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.core.rows import NOT_WANTED, Broken, Row, column_names, read_rows

DATA_ROLE = "data-"
"""Roles of a job's inputs: files of records."""

_MESSAGES = ("messages", "conversations", "conversation")
_ABOUT = ("source", "reference_answer", "test_case")
_COLUMNS = (*_MESSAGES, "prompt", "completion", *_ABOUT)
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"}
_RENAMES = (
    (
        {"instruction", "output"},
        "instruction, followed by input, to prompt, and output to completion",
    ),
    (
        {"problem", "solution"},
        "problem to prompt, solution to completion, answer to reference_answer",
    ),
    ({"question", "answer"}, "question to prompt, and what the model should write to completion"),
    ({"query", "response"}, "query to prompt, and response to completion"),
    ({"prompt", "response"}, "response to completion"),
    ({"prompt", "chosen"}, "chosen to completion; wmss does not train on pairs"),
)
_TRIED_ROWS = 1000
_KEYS_SHOWN = 8


@dataclass(frozen=True)
class Record:
    """One record, or the reason why it could not be read.

    Attributes
    ----------
    file : str
        Path of the file as it was given.
    row : int
        Line or row in that file, from 1.
    place : int
        Index among the records of all files, from 0.
    source : str
        Name of the data set according to the record; may be empty.
    prompt, completion : str
        What the user and the assistant wrote; empty if there is a problem.
    reference_answer : str or None
        The answer to compare with.
    test_case : mapping or None
        ``test_code`` and ``test_entry_point``: tests for a program.
    problem : str or None
        Why the record could not be read; None if it was.
    line : bytes or None
        The line of a ``.jsonl`` that could not be read, as it is; None if it could, and for a row
        of Parquet.
    """

    file: str
    row: int
    place: int = 0
    source: str = ""
    prompt: str = ""
    completion: str = ""
    reference_answer: str | None = None
    test_case: dict[str, Any] | None = None
    problem: str | None = None
    line: bytes | None = None


def read_records(
    paths: Sequence[Path], limit: int | None = None, shard: int = 0, shards: int = 1
) -> Iterator[Record]:
    """Stream the records of several files, one after the other.

    Parameters
    ----------
    paths : sequence of Path
        Files that :func:`wmss_cli.core.rows.read_rows` can read.
    limit : int, optional
        Stop after this many records, of all shards together.
    shard, shards : int
        Take only every `shards`-th record, starting at place `shard`, as cards are dealt, so that
        all shards are of the same kind. Other records are not parsed.

    Returns
    -------
    iterator of Record
        A broken row is a record with a `problem`; blank lines are skipped.

    Raises
    ------
    ConfigError
        At once, if a file is missing, has an unknown ending or is given twice.
    DataError
        At once, if a table has no columns of records; while reading, if a file is damaged as a
        whole.
    """
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigError(f"{path}: given twice; name each file once")
    # One counter for all files: it continues from one file to the next.
    wanted = cycle([turn == shard for turn in range(shards)])
    return _records([(str(path), _rows(path, wanted)) for path in paths], limit)


def data_inputs(references: Sequence[str], provisional: bool = False) -> dict[str, str]:
    """Return the inputs of curation by role, after checking the beginning of each.

    Parameters
    ----------
    references : sequence of str
        As in :func:`wmss_cli.core.data_files.find_data`.
    provisional : bool
        Accept names of data that do not exist yet. Nothing is downloaded.

    Raises
    ------
    ConfigError
        If the data does not exist, or no job could read it.
    """
    paths: list[str] = []
    for reference in references:
        try:
            found = find_data(reference, download=not provisional)
        except ConfigError:
            if not provisional or Path(reference).exists():
                raise
            paths.append(reference)
        else:
            check_records(found)
            paths += map(str, found)
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice}: given twice; name each file once")
    return {f"{DATA_ROLE}{index:04d}": path for index, path in enumerate(paths)}


def check_records(paths: Sequence[Path]) -> None:
    """Refuse data that no job could read, after checking the beginning of each file.

    Raises
    ------
    ConfigError
        As in :func:`read_records`; and if a file is damaged or empty, or none of its first rows is
        a record.
    """
    try:
        read_records(paths)
        for path in paths:
            tried = list(_until_one_is_readable(path))
            if not tried:
                raise ConfigError(f"{path}: no records; check that this is the right file")
            if tried[-1].problem is not None:
                raise ConfigError(
                    f"{path}: no records among its first rows ({len(tried)} tried); "
                    f"row {tried[0].row}: {tried[0].problem}"
                )
    except DataError as error:
        raise ConfigError(str(error)) from None


def _until_one_is_readable(path: Path) -> Iterator[Record]:
    for record in read_records([path], limit=_TRIED_ROWS):
        yield record
        if record.problem is None:
            return


def _rows(path: Path, wanted: Iterator[bool]) -> Iterator[Row]:
    rows = read_rows(path, wanted, _COLUMNS)
    names = column_names(path)
    if names is not None and not (
        {"prompt", "completion"} <= set(names) or {*names} & {*_MESSAGES}
    ):
        raise DataError(f"{path}: {_no_record(names, 'columns')}")
    return rows


def _records(files: Sequence[tuple[str, Iterator[Row]]], limit: int | None) -> Iterator[Record]:
    rows = ((file, row) for file, found in files for row in found)
    for place, (file, row) in enumerate(islice(rows, limit)):
        if isinstance(row.value, Broken):
            yield Record(file, row.number, place, problem=row.value.problem, line=row.line)
        elif row.value is not NOT_WANTED:
            yield _to_record(file, row, place)


def _to_record(file: str, row: Row, place: int) -> Record:
    try:
        return Record(file, row.number, place, **_fields(row.value))
    except _UnreadableError as error:
        return Record(file, row.number, place, problem=str(error), line=row.line)


class _UnreadableError(Exception):
    """Says why a value is not a record."""


def _no_record(names: Sequence[str], what: str) -> str:
    """Describe what a row or a table has instead of a record, and what to do about it."""
    shown = ", ".join(map(str, names[:_KEYS_SHOWN])) or "none"
    found = f"neither messages nor prompt and completion among its {what} ({shown})"
    fitting = (renames for needs, renames in _RENAMES if needs <= set(names))
    return f"{found}; rename {next(fitting, 'the question to prompt and the answer to completion')}"


def _fields(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _UnreadableError(
            f"no object of messages, or of prompt and completion: {_brief(value)}"
        )
    messages = next((value[key] for key in _MESSAGES if value.get(key) not in (None, "")), None)
    if messages is not None:
        return _of_messages(_loaded(messages), value)
    prompt, completion = value.get("prompt"), value.get("completion")
    if isinstance(prompt, list) and isinstance(completion, list):
        return _of_messages([*prompt, *completion], value)
    if "prompt" not in value or "completion" not in value:
        raise _UnreadableError(_no_record(list(value), "keys"))
    return {
        "prompt": _written(prompt, "prompt"),
        "completion": _written(completion, "completion"),
        **_about(value, {}),
    }


def _of_messages(messages: Any, beside: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(messages, list):
        raise _UnreadableError(f"messages is not a list: {_brief(messages)}")
    if not all(isinstance(message, dict) for message in messages):
        raise _UnreadableError("a message is not an object")
    roles = [_role(message) for message in messages]
    if roles != ["user", "assistant"]:
        raise _UnreadableError(_wrong_roles(roles))
    user, assistant = messages
    info = _loaded(user.get("info")) or {}
    if not isinstance(info, dict):
        raise _UnreadableError("the user's info is not an object")
    return {
        "prompt": _written(_content(user), "the user's content"),
        "completion": _written(_content(assistant), "the assistant's content"),
        **_about(beside, info),
    }


def _role(message: Mapping[str, Any]) -> str:
    role = str(message.get("role") or message.get("from")).lower()
    return _ROLES.get(role, role)


def _wrong_roles(roles: Sequence[str]) -> str:
    found = f"expected the roles user, assistant; found {', '.join(roles[:5]) or 'none'}"
    if roles[:1] == ["system"]:
        return f"{found}: wmss writes its own system prompt (tokenize.system_prompt); take it out"
    if len(roles) > 2 and roles[:4] == ["user", "assistant"] * 2:
        return f"{found}: split several turns into records with one question and one answer each"
    return found


def _content(message: Mapping[str, Any]) -> Any:
    content = message.get("content", message.get("value"))
    # OpenAI's form: a list of parts, one of which is text.
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        return content[0].get("text")
    return content


def _loaded(value: Any) -> Any:
    """Return the object that a text contains as JSON, since tables may store objects as text."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _about(beside: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known about a sample besides its text; values in `info` come first."""
    where = {key: "info." if info.get(key) is not None else "" for key in _ABOUT}
    found = {key: (info if where[key] else beside).get(key) for key in _ABOUT}
    reference = _reference(
        found["reference_answer"], f"{where['reference_answer']}reference_answer"
    )
    return {
        "source": _text(found["source"] or "", f"{where['source']}source"),
        "reference_answer": reference,
        "test_case": _tests(found["test_case"], f"{where['test_case']}test_case", reference),
    }


def _tests(value: Any, name: str, reference: str | None) -> dict[str, Any] | None:
    tests = _loaded(value)
    if tests is None or tests == [] or isinstance(tests, dict):
        return tests or None
    # If there is a reference, the answer is checked only against that.
    if reference is not None:
        return None
    raise _UnreadableError(f"{name} is not an object: {_brief(tests)}")


def _written(value: Any, name: str) -> str:
    text = _text(value, name)
    if not text.strip():
        raise _UnreadableError(f"{name} is empty")
    return text


def _reference(value: Any, name: str) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        # NaN is how pandas writes a missing value.
        if math.isnan(value):
            return None
        raise _UnreadableError(f"{name} is infinite")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "":
        return None
    return _text(value, name).strip() or None


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _UnreadableError(f"{name} is not a text: {_brief(value)}")
    if not _is_unicode(value):
        raise _UnreadableError(f"{name} contains half of a surrogate pair")
    return value


def _is_unicode(text: str) -> bool:
    # JSON can contain half a pair (\ud83d), which no UTF-8 file can hold.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _brief(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
