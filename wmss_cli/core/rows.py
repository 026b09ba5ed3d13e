"""The rows of a file: the one reader of records to train on, of problems and of published files.

====================================  ==========================================================
``.jsonl``, ``.ndjson``, ``.json``    lines of JSON, a list, or objects one after another
``.csv``, ``.tsv``                    with a header; each field is a text
``.parquet``, ``.arrow``, a folder    as ``datasets`` saves them to disk
====================================  ==========================================================

Texts may be compressed (``.gz``, ``.zst``, ``.bz2``, ``.xz``). All is streamed in bounded memory.

``csv``, not ``datasets``, reads CSV, since pandas would turn ``007`` into 7 and the answer ``None``
into null; ``pyarrow`` reads Parquet, since ``datasets`` keeps a whole row group in memory.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.core.json_values import Broken, Parser
from wmss_cli.core.streams import DAMAGES, PACKED, encoding_of, open_bytes, open_text

__all__ = [
    "ENDINGS",
    "NOT_WANTED",
    "SAVED",
    "Broken",
    "Row",
    "column_names",
    "has_known_ending",
    "read_rows",
    "stem",
]

_JSON, _CSV, _PARQUET, _ARROW = "json", "csv", "parquet", "arrow"
_KINDS = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _JSON),
    **dict.fromkeys((".csv", ".tsv"), _CSV),
    **{".parquet": _PARQUET, ".arrow": _ARROW},
}
_TEXTS = tuple(ending for ending, kind in _KINDS.items() if kind in (_JSON, _CSV))
ENDINGS = (*_TEXTS, ".parquet", ".arrow")
"""Endings of the files that can be read, in lower case and without those of compression."""

NOT_WANTED = object()
"""Placeholder for the value of a row that was not asked for."""

SAVED = ("state.json", "dataset_info.json")
"""Files of a folder that ``Dataset.save_to_disk`` wrote."""

_ARROW_END = b"\xff\xff\xff\xff\0\0\0\0"
_ROWS_PER_BATCH = 16
_BUFFER_BYTES = 2**20


class Row(NamedTuple):
    """A row of a file: its number from 1, its value, and its text if it is a line of JSON."""

    number: int
    value: Any
    line: bytes | None = None


def stem(path: Path) -> str:
    """Return the name of a file without the endings for its compression and its kind."""
    return path.name[: len(path.name) - len("".join(_endings(path)))]


def read_rows(
    path: Path,
    wanted: Iterator[bool] | None = None,
    columns: Sequence[str] | None = None,
    as_text: bool = False,
) -> Iterator[Row]:
    """Yield the rows of a file.

    Parameters
    ----------
    path : Path
        A file, or a folder that ``Dataset.save_to_disk`` wrote.
    wanted : iterator of bool, optional
        Says for each row in turn whether it is wanted; the others are :data:`NOT_WANTED` and not
        parsed.
    columns : sequence of str, optional
        Read only these columns of Parquet and Arrow.
    as_text : bool
        Whether numbers stay texts, as they are written.

    Raises
    ------
    ConfigError
        At once, if the file is missing or its kind is unknown.
    DataError
        While reading, if the file as a whole is damaged. A row that cannot be read is
        :class:`Broken`, and the next one is read.
    """
    kind = _kind(path)
    wanted = repeat(True) if wanted is None else wanted
    if kind == _JSON:
        return _told(path, _json_rows(path, wanted, Parser(as_text)))
    if kind == _CSV:
        return _told(path, _csv_rows(path, wanted))
    batches = _parquet_batches if kind == _PARQUET else _arrow_batches
    return _told(path, _table_rows(batches(path, columns), wanted, as_text))


def column_names(path: Path) -> list[str] | None:
    """Return the columns of a table, or None for JSON, in which each row has its own.

    Raises
    ------
    ConfigError, DataError
        As in :func:`read_rows`.
    """
    kind = _kind(path)
    if kind == _JSON:
        return None
    if kind == _CSV:
        return [name for row in _told(path, _header(path)) for name in row.value]
    names = _parquet_names if kind == _PARQUET else _arrow_names
    return [name for row in _told(path, names(path)) for name in row.value]


def _kind(path: Path) -> str:
    if path.is_dir():
        if all((path / name).is_file() for name in SAVED):
            return _ARROW
        raise ConfigError(f"{path}: this is a folder; name a file in it")
    if not path.exists():
        raise ConfigError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise ConfigError(f"{path}: not a plain file; save it as one: it is read more than once")
    endings = _endings(path)
    kind = _KINDS.get(endings[0].lower()) if endings else None
    if kind is None or (len(endings) == 2 and kind not in (_JSON, _CSV)):
        raise ConfigError(
            f"{path}: unknown kind of file; use {', '.join(ENDINGS)}, "
            f"or compress a text of these as {', '.join(PACKED)}"
        )
    return kind


def has_known_ending(path: Path) -> bool:
    """Say whether a name says that a file can be read."""
    endings = _endings(path)
    return bool(endings) and endings[0].lower() in _KINDS


def _endings(path: Path) -> list[str]:
    """Return what a name ends in: a kind, or a kind and its compression."""
    endings = path.suffixes[-2:]
    if len(endings) == 2 and endings[1].lower() in PACKED and endings[0].lower() in _KINDS:
        return endings
    return endings[-1:] if endings and endings[-1].lower() in (*_KINDS, *PACKED) else []


def _told(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """Pass rows on, and say after which of them a file is damaged."""
    number = 0
    try:
        for row in rows:
            number = row.number
            yield row
    except DataError:
        raise
    except UnicodeError as error:
        what = f"not {getattr(error, 'encoding', 'UTF-8')} text: {getattr(error, 'reason', error)}"
        raise _damaged(path, number, what) from None
    except (pa.ArrowException, csv.Error, ValueError, *DAMAGES) as error:
        raise _damaged(path, number, str(error) or type(error).__name__) from None
    except OSError as error:
        # Arrow reports a damaged stream as an OSError without a number.
        if error.errno is not None:
            raise
        raise _damaged(path, number, str(error)) from None


def _damaged(path: Path, number: int, what: str) -> DataError:
    with path.open("rb") if path.is_file() else io.BytesIO() as file:
        if file.read(23) == b"version https://git-lfs":
            return DataError(f"{path}: a git-lfs pointer, not the file; 'git lfs pull' gets it")
    said = what.splitlines()[0] if what else "no reason given"
    return DataError(f"{path}: damaged after row {number} ({said}); get the file again")


def _json_rows(path: Path, wanted: Iterator[bool], parser: Parser) -> Iterator[Row]:
    with open_bytes(path) as stream:
        encoding = encoding_of(path, stream)
        start = stream.peek(_BUFFER_BYTES).decode(encoding, "ignore").lstrip()
        if _is_one_text(path, start, parser):
            text = io.TextIOWrapper(stream, encoding, newline="")
            for number, value in enumerate(parser.values(text), start=1):
                yield Row(number, value if next(wanted) else NOT_WANTED)
            return
        for number, line in enumerate(_lines(stream, encoding), start=1):
            if line.strip():
                value = _parse(line, parser) if next(wanted) else NOT_WANTED
                yield Row(number, value, line.rstrip(b"\r\n"))


def _is_one_text(path: Path, start: str, parser: Parser) -> bool:
    """Say whether JSON is a list, or objects over several lines, not one value in each line."""
    first, _, rest = start.partition("\n")
    if start.startswith("["):
        return _endings(path)[0].lower() == ".json" or start[1:].lstrip()[:1] in ("{", "]", "")
    if _endings(path)[0].lower() == ".json" and rest:
        return isinstance(parser.parse(first), Broken)
    return first.strip() == "{"


def _lines(stream: io.BufferedReader, encoding: str) -> Iterable[bytes]:
    if encoding == "utf-8-sig":
        return stream
    # Only "\n" ends a line: U+2028 may be in a text.
    text = io.TextIOWrapper(stream, encoding, newline="\n")
    return (line.encode("utf-8", "surrogatepass") for line in text)


def _parse(line: bytes, parser: Parser) -> Any:
    try:
        return parser.parse(line.decode("utf-8-sig").rstrip("\r\n"))
    except UnicodeDecodeError as error:
        return Broken(f"not UTF-8 at byte {error.start + 1} of the line")


def _open_csv(path: Path, text: io.TextIOWrapper) -> tuple[list[str], Iterator[list[str]]]:
    """Return the header and the rows after it."""
    # Answers are longer than the library's limit.
    csv.field_size_limit(sys.maxsize)
    first = text.readline()
    signs = "\t" if _endings(path)[0].lower() == ".tsv" else ",;\t"
    delimiter = max(signs, key=first.count)
    rows = csv.reader(_chain(first, text), delimiter=delimiter, strict=True)
    header = next(rows, [])
    names = [name.strip() for name in header]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: the column {twice!r} is given twice; rename one")
    return names, rows


def _chain(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _header(path: Path) -> Iterator[Row]:
    with open_text(path) as text:
        yield Row(0, _open_csv(path, text)[0])


def _csv_rows(path: Path, wanted: Iterator[bool]) -> Iterator[Row]:
    with open_text(path, errors="surrogateescape") as text:
        names, rows = _open_csv(path, text)
        filled = (fields for fields in rows if fields)
        for number, fields in enumerate(filled, start=1):
            yield Row(number, _csv_value(names, fields) if next(wanted) else NOT_WANTED)


def _csv_value(names: list[str], fields: list[str]) -> Any:
    if len(fields) != len(names):
        return Broken(f"{len(fields)} fields, but the header has {len(names)}")
    if any("\udc80" <= character <= "\udcff" for field in fields for character in field):
        return Broken("not UTF-8")
    return dict(zip(names, fields, strict=True))


def _parquet_names(path: Path) -> Iterator[Row]:
    yield Row(0, pq.read_schema(path).names)


def _parquet_batches(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        names = file.schema_arrow.names
        taken = None if columns is None else [name for name in columns if name in names]
        yield from file.iter_batches(_ROWS_PER_BATCH, columns=taken)


def _arrow_names(path: Path) -> Iterator[Row]:
    if path.is_dir():
        info = json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
        yield Row(0, list(info["features"]))
    else:
        with pa.memory_map(str(path)) as source:
            yield Row(0, _open_arrow(source).schema.names)


def _arrow_batches(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    if path.is_dir():
        # Here, because it takes seconds to import.
        from datasets import load_from_disk

        for file in sorted(path.glob("*.arrow")):
            with pa.memory_map(str(file)) as source:
                _open_arrow(source)
        table = load_from_disk(str(path)).with_format("arrow")
        pieces: Iterable[pa.Table] = table.iter(_ROWS_PER_BATCH)
        for piece in pieces:
            yield from _chosen(piece, columns).to_batches(_ROWS_PER_BATCH)
    else:
        with pa.memory_map(str(path)) as source:
            reader = _open_arrow(source)
            count = getattr(reader, "num_record_batches", None)
            found = reader if count is None else map(reader.get_batch, range(count))
            for batch in found:
                whole = _chosen(pa.Table.from_batches([batch]), columns)
                yield from whole.to_batches(_ROWS_PER_BATCH)


def _open_arrow(source: Any) -> Any:
    """Open the file format, or the stream format in which ``datasets`` keeps its cache."""
    is_file = source.read(6) == b"ARROW1"
    source.seek(max(0, source.size() - len(_ARROW_END)))
    is_whole = is_file or source.read() == _ARROW_END
    source.seek(0)
    if not is_whole:
        # The library takes a stream that ends after a batch for a complete one.
        raise EOFError("the file is cut off")
    return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)


def _chosen(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    if columns is None:
        return table
    return table.select([name for name in columns if name in table.column_names])


def _table_rows(
    batches: Iterator[pa.RecordBatch], wanted: Iterator[bool], as_text: bool
) -> Iterator[Row]:
    number = 0
    for batch in batches:
        mask = list(islice(wanted, batch.num_rows))
        taken = batch if all(mask) else batch.filter(pa.array(mask))
        values = iter(_values(taken))
        for is_wanted in mask:
            number += 1
            value = next(values) if is_wanted else NOT_WANTED
            yield Row(number, _as_text(value) if as_text else value)


def _values(batch: pa.RecordBatch) -> list[Any]:
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [Broken("not UTF-8")]
        return [value for i in range(batch.num_rows) for value in _values(batch.slice(i, 1))]


def _as_text(value: Any) -> Any:
    """Turn the numbers in a value into texts."""
    if isinstance(value, dict):
        return {key: _as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value
