"""Read records from .jsonl, .jsonl.zst and .parquet files.

In the format of AM-1.4M a record is ``{"messages": [user, assistant]}`` with ``{"role",
"content", "info"}`` each; the user's ``info``, which may be missing, holds ``source``,
``reference_answer`` and ``test_case``. Plain records are ``{"prompt", "completion"}``, with these
three beside them if there are any. Files are streamed by pyarrow in bounded memory. (The streaming
of ``datasets`` ends without an error where a .zst file is cut off, ends the whole file at one bad
byte, and holds a whole row group of Parquet.)
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from wmss_cli.core.errors import ConfigError, DataError

ENDINGS = (".jsonl", ".jsonl.zst", ".parquet")
_COLUMNS = ("messages", "prompt", "completion", "source", "reference_answer", "test_case")
_ROWS_PER_BATCH = 16
_BUFFER_BYTES = 2**20


@dataclass(frozen=True)
class Record:
    """One record, or what kept it from being read.

    Attributes
    ----------
    file : str
        Path of the file, as it was given.
    row : int
        Line or row in that file, from 1.
    place : int
        Number among the records of all files, from 0.
    source : str
        Data set that the record names, may be empty.
    prompt, completion : str
        What the user and the assistant wrote; empty where there is a problem.
    reference_answer : str or None
        What the answer can be compared with.
    test_case : mapping or None
        ``test_code`` and ``test_entry_point``: tests that a program can be run against.
    problem : str or None
        Why the record could not be read; None if it was.
    line : bytes or None
        The line that could not be read, as it stands in a ``.jsonl``; None if it was, and of a
        row of Parquet.
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
        Files; the ending says what they are.
    limit : int, optional
        Stop after this many records, of all shards together.
    shard, shards : int
        Take only each `shards`-th record, from place `shard` on: dealt like cards, so that all
        shards are of one kind. The others are not parsed.

    Returns
    -------
    iterator of Record
        A broken row is a record with a `problem`; blank lines are no records.

    Raises
    ------
    ConfigError
        At once, if a file is missing, has an unknown ending or is given twice.
    DataError
        While reading, if a file as a whole is damaged.
    """
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; check the path")
        if not path.name.endswith(ENDINGS):
            raise ConfigError(f"{path}: unknown kind of file; use {', '.join(ENDINGS)}")
        if paths.count(path) > 1:
            raise ConfigError(f"{path}: given twice; name each file once")
    return _records(paths, limit, shard, shards)


def _records(paths: Sequence[Path], limit: int | None, shard: int, shards: int) -> Iterator[Record]:
    # One turn for all files: it goes on where a file ends.
    wanted = cycle([turn == shard for turn in range(shards)])
    rows = ((str(path), row) for path in paths for row in _rows(path, wanted))
    for place, (file, row) in enumerate(islice(rows, limit)):
        if isinstance(row.value, _Broken):
            yield Record(file, row.number, place, problem=row.value.problem, line=row.line)
        elif row.value is not _NOT_WANTED:
            yield _to_record(file, row, place)


class _Row(NamedTuple):
    """A row of a file: its number from 1, what it says, and how it is written."""

    number: int
    value: Any
    line: bytes | None = None


def _rows(path: Path, wanted: Iterator[bool]) -> Iterator[_Row]:
    read = _parquet_rows if path.name.endswith(".parquet") else _json_rows
    return read(path, wanted)


@dataclass(frozen=True)
class _Broken:
    """A row that holds no value at all."""

    problem: str


_NOT_WANTED = object()
"""Stands for the value of a row of another shard."""


def _json_rows(path: Path, wanted: Iterator[bool]) -> Iterator[_Row]:
    number = 0
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    value = _parse_json(line) if next(wanted) else _NOT_WANTED
                    yield _Row(number, value, line.rstrip(b"\r\n"))
    except pa.ArrowException as error:
        raise _damaged(path, number, error) from None
    except OSError as error:
        # pyarrow reports a damaged stream as an OSError that has no number.
        if error.errno is not None:
            raise
        raise _damaged(path, number, error) from None


@contextmanager
def _open(path: Path) -> Iterator[Iterable[bytes]]:
    compression = "zstd" if path.name.endswith(".zst") else None
    with pa.input_stream(str(path), compression=compression) as stream:
        yield io.BufferedReader(cast(Any, stream), _BUFFER_BYTES)


def _parse_json(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig").rstrip("\r\n"))
    except UnicodeDecodeError as error:
        return _Broken(f"not UTF-8 at byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return _Broken(f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return _Broken(f"not JSON that can be read: {error}")


def _parquet_rows(path: Path, wanted: Iterator[bool]) -> Iterator[_Row]:
    number = 0
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            names = file.schema_arrow.names
            if "messages" not in names and not {"prompt", "completion"} <= set(names):
                found = ", ".join(names)
                raise DataError(
                    f"{path}: neither a column 'messages' nor 'prompt' and 'completion' "
                    f"(found: {found})"
                )
            columns = [name for name in _COLUMNS if name in names]
            for batch in file.iter_batches(_ROWS_PER_BATCH, columns=columns):
                mask = list(islice(wanted, batch.num_rows))
                taken = batch if all(mask) else batch.filter(pa.array(mask))
                values = iter(_values(taken))
                for is_wanted in mask:
                    number += 1
                    yield _Row(number, next(values) if is_wanted else _NOT_WANTED)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _damaged(path, number, error) from None


def _values(batch: pa.RecordBatch) -> list[Any]:
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [_Broken("not UTF-8")]
        return [value for i in range(batch.num_rows) for value in _values(batch.slice(i, 1))]


def _damaged(path: Path, number: int, error: Exception) -> DataError:
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{path}: damaged after row {number} ({what}); get the file again")


def _to_record(file: str, row: _Row, place: int) -> Record:
    try:
        return Record(file, row.number, place, **_fields(row.value))
    except _UnreadableError as error:
        return Record(file, row.number, place, problem=str(error), line=row.line)


class _UnreadableError(Exception):
    """Says why a value is no record."""


def _fields(value: Any) -> dict[str, Any]:
    messages = value.get("messages") if isinstance(value, dict) else None
    if messages is None and isinstance(value, dict) and "prompt" in value:
        return {
            "prompt": _written(value.get("prompt"), "prompt"),
            "completion": _written(value.get("completion"), "completion"),
            **_about(value, ""),
        }
    if not isinstance(messages, list):
        raise _UnreadableError("no list of messages, and no prompt")
    if not all(isinstance(message, dict) for message in messages):
        raise _UnreadableError("a message is not an object")
    roles = [message.get("role") for message in messages]
    if roles != ["user", "assistant"]:
        names = ", ".join(str(role) for role in roles[:5])
        raise _UnreadableError(f"expected the roles user, assistant; found {names or 'none'}")
    user, assistant = messages
    info = user.get("info")
    if info is None:
        info = {}
    if not isinstance(info, dict):
        raise _UnreadableError("the user's info is not an object")
    return {
        "prompt": _written(user.get("content"), "the user's content"),
        "completion": _written(assistant.get("content"), "the assistant's content"),
        **_about(info, "info."),
    }


def _about(info: dict[str, Any], where: str) -> dict[str, Any]:
    """Return what is known of a sample beside its text."""
    test_case = info.get("test_case")
    if not isinstance(test_case, dict | None):
        raise _UnreadableError(f"{where}test_case is not an object")
    return {
        "source": _text(info.get("source") or "", f"{where}source"),
        "reference_answer": _reference(info.get("reference_answer"), f"{where}reference_answer"),
        "test_case": test_case,
    }


def _written(value: Any, name: str) -> str:
    text = _text(value, name)
    if not text.strip():
        raise _UnreadableError(f"{name} is empty")
    return text


def _reference(value: Any, name: str) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "":
        return None
    return _text(value, name).strip() or None


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _UnreadableError(f"{name} is not a text")
    if not _is_unicode(value):
        raise _UnreadableError(f"{name} holds half of a surrogate pair")
    return value


def _is_unicode(text: str) -> bool:
    # JSON can spell half a pair (\ud83d), which no UTF-8 file can hold.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
