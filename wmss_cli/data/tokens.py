"""The token table: the ids of all samples, written once and memory-mapped by every stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wmss_cli.core.errors import ConfigError, DataError, IntegrityError
from wmss_cli.core.manifest import read_manifest
from wmss_cli.core.schema import TOKENS

if TYPE_CHECKING:
    # A table can be read without transformers.
    from wmss_cli.data.chat import Rendered

TOKENS_FILE = "tokens.arrow"
_ROWS_PER_BATCH = 1000


@dataclass(frozen=True)
class Cut:
    """A sample after the length limit: `rendered` is None if it was dropped."""

    rendered: Rendered | None
    truncated: bool
    reason: str | None


def cut(rendered: Rendered, max_seq_len: int, too_long: str) -> Cut:
    """Apply the length limit to one sample.

    Parameters
    ----------
    rendered : Rendered
        The sample.
    max_seq_len : int
        The limit, in tokens.
    too_long : {"drop", "truncate"}
        What to do with a longer sample.
    """
    truncated = len(rendered.input_ids) > max_seq_len
    if truncated and too_long == "drop":
        return Cut(None, False, "too_long")
    kept = rendered.input_ids[:max_seq_len]
    if len(kept) <= max(rendered.prompt_length, 1):
        return Cut(None, truncated, "no_completion_tokens")
    return Cut(replace(rendered, input_ids=kept), truncated, None)


def write_tokens(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of the TOKENS schema as an Arrow file, a thousand at a time."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, TOKENS) as writer:
        batch: list[Mapping[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _ROWS_PER_BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=TOKENS))
                batch = []
        writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=TOKENS))


class TokenTable:
    """Random access to the samples of a token table, without reading all of it.

    Parameters
    ----------
    folder : Path
        A ``tokenize`` artifact.

    Attributes
    ----------
    tokenizer : str
        Fingerprint of the tokenizer that made the ids.
    """

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        if manifest.stage != "tokenize":
            raise ConfigError(f"{folder}: made by {manifest.stage}, expected a token table")
        self.tokenizer: str = manifest.metrics["tokenizer"]
        self.stop_token_ids: list[int] = manifest.metrics["stop_token_ids"]
        self._largest: int | None = manifest.metrics.get("largest_token_id")
        path = folder / TOKENS_FILE
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as error:
            raise IntegrityError(f"{path}: not an Arrow file ({error}); redo the stage") from None
        if not len(self):
            raise DataError(f"{folder}: the token table is empty; check the length limit")

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @cached_property
    def example_ids(self) -> list[str]:
        """The ids of all samples, in the order of rows."""
        ids: list[str] = self._table["example_id"].to_pylist()
        return ids

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each sample, ``[rows]``."""
        return np.asarray(pc.list_value_length(self._table["input_ids"]), dtype=np.int64)

    @cached_property
    def prompt_lengths(self) -> NDArray[np.int64]:
        """Number of tokens before the completion of each sample, ``[rows]``."""
        return np.asarray(self._table["prompt_length"], dtype=np.int64)

    @cached_property
    def completion_lengths(self) -> NDArray[np.int64]:
        """Number of tokens with a label in each sample, ``[rows]``."""
        return self.lengths - self.prompt_lengths

    @property
    def largest_token_id(self) -> int:
        """The largest id of all samples."""
        if self._largest is None:
            # Written by an earlier version, which did not record it.
            chunks = self._table["input_ids"].chunks
            self._largest = max(pc.max(chunk.values).as_py() for chunk in chunks if len(chunk))
        return self._largest

    def input_ids(self, row: int) -> NDArray[np.int32]:
        """Return the token ids of a sample, ``[length]``."""
        return np.asarray(self._table["input_ids"][row].values)

    def rows_of(self, example_ids: Iterable[str]) -> Iterator[int]:
        """Return the row of each example id.

        Raises
        ------
        IntegrityError
            If an id is not in the table.
        """
        by_id = {example_id: row for row, example_id in enumerate(self.example_ids)}
        for example_id in example_ids:
            if example_id not in by_id:
                raise IntegrityError(
                    f"example {example_id} is not in the token table; "
                    "the inputs belong to different data, redo the stages from tokenize on"
                )
            yield by_id[example_id]
