"""Write rows into files of every kind that can be read."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

PACKERS = {
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as the ending of a path says, and return the path."""
    ending, packed = path.suffix.lower(), path.suffix.lower()
    if packed in PACKERS:
        ending = Path(path.stem).suffix.lower()
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=3)
    elif ending == ".arrow":
        table = pa.Table.from_pylist(list(rows))
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    else:
        data = text_of(ending, rows).encode()
        path.write_bytes(PACKERS[packed](data) if packed in PACKERS else data)
    return path


def text_of(ending: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as a text: lines of JSON, a list, or CSV."""
    if ending in (".jsonl", ".ndjson"):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if ending == ".json":
        return json.dumps(rows, ensure_ascii=False, indent=2)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if ending == ".tsv" else ",")
    writer.writeheader()
    for row in rows:
        nested = (dict, list)
        writer.writerow({k: json.dumps(v) if isinstance(v, nested) else v for k, v in row.items()})
    return text.getvalue()
