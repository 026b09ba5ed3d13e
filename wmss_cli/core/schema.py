"""What the tables of wmss contain: one Arrow schema each, with the meaning of every column.

Rows are joined by ``example_id``, never by row number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wmss_cli.core.errors import ConfigError, IntegrityError

_ROWS_PER_GROUP = 512

EXAMPLE = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),  # hash of prompt and completion
        pa.field("source", pa.string(), nullable=False),  # as the record names it, may be empty
        pa.field("prompt", pa.string(), nullable=False),  # the user's message
        pa.field(
            "completion", pa.string(), nullable=False
        ),  # <think>..</think> <answer>..</answer>
        pa.field("reference_answer", pa.string()),  # what the answer was compared with
    ]
)
REJECTED = pa.schema(
    [
        pa.field("example_id", pa.string()),  # null if the record could not be read
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # line or row of that file, from 1
        pa.field("source", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # one of core.verdict.REASONS
        pa.field("detail", pa.string(), nullable=False),  # what was found, for people
        pa.field("line", pa.binary()),  # as written, in a file of lines; null if it was readable
    ]
)
JUDGED = pa.schema(
    [
        pa.field("place", pa.int64(), nullable=False),  # of the record among all, from 0
        pa.field("example_id", pa.string()),  # null if the record could not be read
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("kind", pa.string()),  # checked by what: math, code, nothing; null if unreadable
        pa.field("prompt", pa.string(), nullable=False),  # these three are empty if it is rejected
        pa.field("completion", pa.string(), nullable=False),
        pa.field("reference_answer", pa.string()),
        pa.field("reason", pa.string()),  # null if the record is kept
        pa.field("detail", pa.string(), nullable=False),
        pa.field("line", pa.binary()),
        pa.field("content_key", pa.binary(16)),  # null if no duplicate is looked for
        pa.field("signature", pa.binary(512)),  # MinHash; null if the record is rejected
        pa.field("problem_key", pa.binary(8)),  # of what near-duplicates share; null as signature
        pa.field("prompt_key", pa.binary(8)),  # null if the record shares no phrase
        pa.field("phrases", pa.list_(pa.int32())),  # of benchmarks that it shares; null is none
        pa.field("phrases_apart", pa.list_(pa.int32())),  # those within another problem
    ]
)
TOKENS = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),  # prompt, then completion
        pa.field("prompt_length", pa.int32(), nullable=False),  # tokens before the completion
        pa.field("truncated", pa.bool_(), nullable=False),  # cut at max_seq_len
    ]
)
ENTROPY = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("entropy", pa.float64(), nullable=False),  # mean over completion tokens, in nats
        pa.field("completion_tokens", pa.int32(), nullable=False),
    ]
)
LOSSES = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("loss", pa.float64(), nullable=False),  # mean NLL of completion tokens, in nats
        pa.field("completion_tokens", pa.int32(), nullable=False),
    ]
)
CURRICULUM = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("entropy_weak", pa.float64(), nullable=False),  # nats
        pa.field("entropy_strong", pa.float64(), nullable=False),  # nats
        pa.field("probability", pa.float64(), nullable=False),  # p_i of Eq. 10, sums to 1
    ]
)
ACTIVE = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),  # how often it was drawn, at least 1
    ]
)
GENERATION = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),  # name of the task
        pa.field("id", pa.string(), nullable=False),  # id of the row in that file
        pa.field("sample", pa.int32(), nullable=False),  # which answer to it, from 0
        pa.field("prompt", pa.string(), nullable=False),  # as the model saw it
        pa.field("text", pa.string(), nullable=False),  # as the model answered
        pa.field("reference_answer", pa.string(), nullable=False),
        pa.field("extracted", pa.string()),  # the answer read from the text, null if there is none
        pa.field("correct", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # why it is (not) correct
        pa.field(
            "found_in", pa.string()
        ),  # place of the extracted answer, as docs/grading.md names
        pa.field("sandbox", pa.string()),  # level at which a program was run, null if none was
        pa.field("tokens", pa.int32(), nullable=False),  # generated, the stop token not counted
        pa.field("finish_reason", pa.string(), nullable=False),  # stop or length
    ]
)


def example_id(prompt: str, completion: str) -> str:
    """Return the identity of an example: a hash of its content, 32 hexadecimal digits."""
    content = f"{len(prompt)}:{prompt}{completion}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:32]


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows of a schema to a Parquet file."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)


def read_parquet(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a Parquet file and check that it has the columns of a schema.

    Raises
    ------
    ConfigError
        If the file does not exist.
    IntegrityError
        If columns or their types differ.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: not found; is {path.parent} the artifact that is needed here?")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise IntegrityError(f"{path}: not a Parquet file ({error}); redo the stage") from None
    if table.schema.names != schema.names or table.schema.types != schema.types:
        raise IntegrityError(
            f"{path}: expected the columns {', '.join(schema.names)}, "
            f"found {', '.join(table.schema.names)}; redo the stage"
        )
    return table


class TableWriter:
    """A table that grows row by row, in bounded memory.

    Parameters
    ----------
    path : Path
        Path of the file.
    schema : pyarrow.Schema
        Schema of its rows.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema)
        self._schema = schema
        self._rows: list[Mapping[str, Any]] = []

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row with the columns of the schema; other values are left out."""
        self._rows.append(row)
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()
