"""curate: records as they come → the examples that are worth training on, and why not the rest.

Cheap checks first (readable, format, has something to be checked by, new), then the answer is
verified in worker processes. Everything is streamed; the order is that of the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import CurateConfig
from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import EXAMPLE, REJECTED, example_id
from wmss_cli.data.filters import REASONS, Deduplicator, check_format
from wmss_cli.data.sources import ENDINGS, Record, read_records
from wmss_cli.verify.answer import Verdict, check_math
from wmss_cli.verify.pool import Check, run_checks

EXAMPLES_FILE = "examples.parquet"
REJECTED_FILE = "rejected.parquet"
DATA_ROLE = "data-"

VERIFIERS: dict[str, Callable[[str, str], Verdict]] = {"math": check_math}
"""How an answer of each kind is checked: completion and reference to a verdict."""

_ROWS_PER_GROUP = 512
_DETAIL_CHARS = 200
_UNREADABLE_SHOWN = 5


@dataclass(frozen=True)
class _Decision:
    """A record and what became of it; it is kept where there is no reason against it."""

    record: Record
    example_id: str | None
    reason: str | None = None
    detail: str = ""


def run(job: Job) -> Manifest:
    """Keep the well-formed, new records whose answer is right.

    Inputs: ``data-0000``, ``data-0001``, … (files of records). Writes ``examples.parquet`` and,
    for every other record, its id and the reason into ``rejected.parquet``, whose ``file`` is
    the input's role and the file's name without its ending.

    Raises
    ------
    ConfigError
        If there is no input, or one is missing or of an unknown kind.
    DataError
        If a file is damaged, there is no record at all, or none is kept.
    """
    config = CurateConfig.model_validate(job.config)
    roles = sorted(role for role in job.inputs if role.startswith(DATA_ROLE))
    if not roles:
        raise ConfigError("nothing to curate; name at least one file in data")
    paths = [Path(job.inputs[role]) for role in roles]
    records = read_records(paths, config.limit)
    labels = {str(path): _label(role, path) for role, path in zip(roles, paths, strict=True)}
    tally = _Tally()
    with open_draft(job) as draft:
        progress = ProgressWriter(draft.folder, "records", total=None)
        with (
            closing(_decide(records, config)) as decisions,
            _Table(draft.folder / EXAMPLES_FILE, EXAMPLE) as examples,
            _Table(draft.folder / REJECTED_FILE, REJECTED) as rejected,
        ):
            for decision in decisions:
                tally.count(decision)
                if decision.reason is None:
                    examples.append(_example_row(decision))
                else:
                    rejected.append(_rejected_row(decision, labels))
                progress.update(tally.records, kept=tally.kept)
        where = ", ".join(str(path) for path in paths)
        if not tally.records:
            raise DataError(f"{where}: no records; check that this is the right file")
        if not tally.kept:
            raise DataError(
                f"{where}: none of {tally.records} records kept ({tally.reasons()}); "
                f"see {draft.folder / REJECTED_FILE}"
            )
        return draft.commit(tally.metrics())


def _decide(records: Iterable[Record], config: CurateConfig) -> Generator[_Decision, None, None]:
    """Yield what becomes of each record, in their order."""
    candidates = _candidates(records, config)
    for decision, verdict in run_checks(candidates, config.workers, config.verify_timeout_s):
        if verdict is None or verdict.correct:
            yield decision
        else:
            yield replace(decision, reason=verdict.reason, detail=_detail(decision, verdict))


def _candidates(
    records: Iterable[Record], config: CurateConfig
) -> Iterator[tuple[_Decision, Check | None]]:
    """Apply the cheap checks; what passes them comes with the check that is left to do."""
    seen = Deduplicator()
    for record in records:
        if record.problem is not None:
            yield _Decision(record, None, "unreadable", record.problem), None
            continue
        identity = example_id(record.prompt, record.completion)
        kind, gold = _reference(record)
        if (wrong := check_format(record.completion)) is not None:
            yield _Decision(record, identity, "format", wrong), None
        elif kind is None:
            yield _Decision(record, identity, "no_reference"), None
        elif kind not in VERIFIERS:
            yield _Decision(record, identity, "no_verifier", kind), None
        elif config.deduplicate and not seen.is_new(identity):
            yield _Decision(record, identity, "duplicate"), None
        else:
            check = Check(VERIFIERS[kind], record.completion, gold)
            yield _Decision(record, identity), check


def _reference(record: Record) -> tuple[str | None, str]:
    """Return of which kind the answer is, and what it is checked against."""
    if record.reference_answer is not None:
        return "math", record.reference_answer
    if record.test_case and record.test_case.get("test_code"):
        return "code", str(record.test_case["test_code"])
    return None, ""


def _detail(decision: _Decision, verdict: Verdict) -> str:
    expected = f"reference {_short(decision.record.reference_answer)}"
    if verdict.extracted is None:
        return expected
    return f"answer {_short(verdict.extracted)}, {expected}"


def _short(text: str | None) -> str:
    shown = repr(text)
    return shown if len(shown) <= _DETAIL_CHARS else f"{shown[:_DETAIL_CHARS]}…"


def _label(role: str, path: Path) -> str:
    """Name an input by what stays the same where the data move or are packed otherwise."""
    ending = max((e for e in ENDINGS if path.name.endswith(e)), key=len)
    return f"{role}:{path.name.removesuffix(ending)}"


def _example_row(decision: _Decision) -> dict[str, Any]:
    record = decision.record
    return {
        "example_id": decision.example_id,
        "source": record.source,
        "prompt": record.prompt,
        "completion": record.completion,
        "reference_answer": record.reference_answer,
    }


def _rejected_row(decision: _Decision, labels: dict[str, str]) -> dict[str, Any]:
    record = decision.record
    return {
        "example_id": decision.example_id,
        "file": labels[record.file],
        "row": record.row,
        "source": record.source,
        "reason": decision.reason,
        "detail": decision.detail,
    }


@dataclass
class _Tally:
    """The table of counts."""

    records: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    total_by_source: Counter[str] = field(default_factory=Counter)
    kept_by_source: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    def count(self, decision: _Decision) -> None:
        record = decision.record
        self.records += 1
        self.total_by_source[record.source] += 1
        if decision.reason is None:
            self.kept += 1
            self.kept_by_source[record.source] += 1
            return
        assert decision.reason in REASONS, decision.reason
        self.rejected[decision.reason] += 1
        if record.problem is not None and len(self.unreadable) < _UNREADABLE_SHOWN:
            self.unreadable.append(f"{record.file}:{record.row}: {record.problem}")

    def reasons(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.rejected.most_common())

    def metrics(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "kept": self.kept,
            "rejected": dict(self.rejected.most_common()),
            "by_source": {
                source: {"total": total, "kept": self.kept_by_source[source]}
                for source, total in sorted(self.total_by_source.items())
            },
            "first_unreadable": self.unreadable,
        }


class _Table:
    """A Parquet file that is written a few rows at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema)
        self._schema = schema
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> _Table:
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

    def append(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()
