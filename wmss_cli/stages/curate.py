"""curate: raw records → the examples that are worth training on, and why the others are not.

Shards judge each record by itself. Cheap checks first (readable, format, has a reference, contains
no benchmark question), then the answer is verified in worker processes. What needs all records is
decided once, at the end: which of the phrases that records share with benchmarks are rare, and
which records are duplicates. Everything is streamed; the order is that of the input.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from wmss_cli.answers.graders import check_answer
from wmss_cli.answers.pool import Check
from wmss_cli.core.artifact import Draft, Job, open_draft
from wmss_cli.core.config import CurateConfig
from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.rows import stem
from wmss_cli.core.schema import EXAMPLE, JUDGED, REJECTED, TableWriter, example_id
from wmss_cli.core.verdict import REASONS, Level, Reason, Refusal, Verdict
from wmss_cli.data.card import write_card
from wmss_cli.data.contamination import Benchmarks, Overlap, Question
from wmss_cli.data.duplicates import find_copies
from wmss_cli.data.filters import check_format
from wmss_cli.data.rare_phrases import Contaminated, find_contaminated
from wmss_cli.data.sources import DATA_ROLE, Record, read_records
from wmss_cli.evaluate.problems import read_problems
from wmss_cli.evaluate.tasks import TASK_ROLE, read_tasks
from wmss_cli.programs.cases import read_tests
from wmss_cli.programs.check import Trial
from wmss_cli.programs.completion import extract_from_answer
from wmss_cli.stages.judge import judge
from wmss_cli.stages.judged_records import (
    JudgedRecord,
    content_key_of,
    judged_row,
)
from wmss_cli.stages.shards import check_shards, read_options, shard_jobs

JUDGED_FILE = "judged.parquet"
EXAMPLES_FILE = "examples.parquet"
REJECTED_FILE = "rejected.parquet"
UNIT = "records"

_ROWS_PER_BATCH = 256
_UNREADABLE_SHOWN = 5
_SHOWN = 3
_DETAIL_CHARS = 200

Row = dict[str, Any]
_Counts = defaultdict[str, Counter[str]]


def total(job: Job) -> None:
    """Return None: the number of records is known only when all files are read."""


def shard(job: Job) -> Manifest:
    """Judge every record of a shard by itself (see :class:`~wmss_cli.stages.shards.Sharded`).

    Inputs: ``data-0000``, ``data-0001``, … (files of records) and, to look for their questions,
    ``task-NAME`` and ``spec-NAME`` as in :func:`wmss_cli.stages.evaluate.shard`. Writes
    ``judged.parquet``, a row for each record.

    Raises
    ------
    ConfigError
        If there is no input, or one is missing or its kind is unknown.
    DataError
        If a file is damaged.
    """
    config, index, shards = read_options(CurateConfig, job)
    roles = sorted(role for role in job.inputs if role.startswith(DATA_ROLE))
    if not roles:
        raise ConfigError("nothing to curate; name at least one file in data")
    paths = [Path(job.inputs[role]) for role in roles]
    labels = {str(path): _label(role, path) for role, path in zip(roles, paths, strict=True)}
    records = read_records(paths, config.limit, index, shards)
    benchmarks = _benchmarks(job.inputs)
    done = kept = 0
    level: Level | None = None
    with open_draft(job) as draft:
        progress = ProgressWriter(draft.folder, UNIT, None)
        with (
            closing(_decide(records, config, benchmarks)) as judged_records,
            TableWriter(draft.folder / JUDGED_FILE, JUDGED) as table,
        ):
            for judged in judged_records:
                done += 1
                kept += judged.reason is None
                level = level or judged.level
                table.append(judged_row(judged, labels[judged.record.file], config))
                progress.update(done, kept=kept)
        return draft.commit({"records": done, "sandbox": level})


def merge(job: Job, draft: Draft) -> Manifest:
    """Decide what needs the records of all shards, and write the kept and the rejected records.

    Writes ``examples.parquet``; for every other record its id and the reason into
    ``rejected.parquet``, whose ``file`` is the input's role and the file's name without its
    ending; and a data card, ``card.md`` with ``lengths.png``.

    Raises
    ------
    DataError
        If there are no records, or none is kept.
    """
    config = CurateConfig.model_validate(job.config)
    levels = {manifest.metrics["sandbox"] for manifest in check_shards(job)} - {None}
    files = [Path(piece.out) / JUDGED_FILE for piece in shard_jobs(job)]
    threshold = config.near_threshold if config.deduplicate == "near" else None
    benchmarks = _benchmarks(job.inputs)
    contaminated = find_contaminated(files, benchmarks) if benchmarks else Contaminated()
    copies = find_copies(files, threshold, contaminated.details.keys())
    paths = {role: path for role, path in job.inputs.items() if role.startswith(DATA_ROLE)}
    tally = _Tally(paths)
    with (
        TableWriter(draft.folder / EXAMPLES_FILE, EXAMPLE) as examples,
        TableWriter(draft.folder / REJECTED_FILE, REJECTED) as rejected,
    ):
        for row in _in_order(files):
            if (detail := contaminated.details.get(row["place"])) is not None:
                row["reason"], row["detail"] = "contaminated", detail
            elif row["place"] in copies:
                row["reason"], row["detail"] = copies[row["place"]]
            tally.count(row, contaminated.common.get(row["place"]))
            (examples if row["reason"] is None else rejected).append(row)
    where = ", ".join(paths.values())
    if not tally.records:
        raise DataError(f"{where}: no records; check that this is the right file")
    if not tally.kept:
        raise DataError(
            f"{where}: none of {tally.records} records kept ({tally.reasons()}): "
            f"{'; '.join(tally.examples)}; see {draft.folder / REJECTED_FILE}"
        )
    metrics = tally.metrics()
    metrics["decontaminated_against"] = [
        role.removeprefix(TASK_ROLE) for role in job.inputs if role.startswith(TASK_ROLE)
    ]
    if benchmarks is not None:
        most = sorted(tally.common, key=lambda phrase: (-tally.common[phrase], phrase))
        metrics["kept_with_common_phrase"] = tally.common.total()
        metrics["common_phrases"] = [benchmarks.name(phrase).how for phrase in most[:_SHOWN]]
    metrics["sandbox"] = sorted(levels)
    prints = {role: source.fingerprint for role, source in draft.inputs.items()}
    write_card(draft.folder, metrics, tally.words, {**prints, "this artifact": draft.fingerprint})
    return draft.commit(metrics)


def _benchmarks(inputs: Mapping[str, str]) -> Benchmarks | None:
    """Return the questions of the tasks among the inputs; None if there is no task."""
    if not any(role.startswith(TASK_ROLE) for role in inputs):
        return None
    return Benchmarks(
        Question(task.name, problem.id, problem.row.get("question") or problem.row["prompt"])
        for task, path in read_tasks(inputs)
        for problem in read_problems(task, path)
    )


def _decide(
    records: Iterable[Record], config: CurateConfig, benchmarks: Benchmarks | None
) -> Generator[JudgedRecord, None, None]:
    """Yield each record, judged, in their order."""
    for judged, verdict in judge(_candidates(records, config, benchmarks), config):
        if verdict is None:
            yield judged
        elif verdict.correct:
            yield replace(judged, level=verdict.level)
        else:
            reason, detail = _rejection(judged, verdict)
            yield replace(judged, reason=reason, detail=detail, level=verdict.level)


def _rejection(judged: JudgedRecord, verdict: Verdict) -> tuple[Reason, str]:
    """Return why a record with a wrong answer or program is rejected, and the detail."""
    if verdict.level is not None:
        # To curation the tests of a record are its reference.
        return "bad_reference" if verdict.reason == "bad_tests" else verdict.reason, verdict.detail
    expected = f"reference {_short(judged.record.reference_answer)}"
    if verdict.extracted is None:
        return verdict.reason, expected
    return verdict.reason, f"answer {_short(verdict.extracted)}, {expected}"


def _candidates(
    records: Iterable[Record], config: CurateConfig, benchmarks: Benchmarks | None
) -> Iterator[tuple[JudgedRecord, Check | Trial | None]]:
    """Apply the cheap checks; records that pass come with what is left to judge."""
    for record in records:
        if record.problem is not None:
            yield JudgedRecord(record, None, reason="unreadable", detail=record.problem), None
            continue
        identity = example_id(record.prompt, record.completion)
        reason, detail, overlap = _refusal(record, config, benchmarks)
        item: Check | Trial | None = None
        if reason is None:
            try:
                item = _item(record)
            except DataError as error:
                reason, detail = "bad_reference", str(error)
            else:
                if item is None and config.unverifiable == "reject":
                    reason = "no_reference"
        if reason is not None:
            yield JudgedRecord(record, identity, overlap, reason=reason, detail=detail), None
        else:
            yield JudgedRecord(record, identity, overlap, content_key_of(record, config)), item


def _item(record: Record) -> Check | Trial | None:
    """Return what there is to judge about a record; None if there is nothing."""
    if record.reference_answer is not None:
        return Check(check_answer, record.completion, record.reference_answer)
    if (tests := read_tests(record.test_case)) is None:
        return None
    return Trial(extract_from_answer(record.completion, tests.entry_point), tests)


def _refusal(
    record: Record, config: CurateConfig, benchmarks: Benchmarks | None
) -> tuple[Reason | Refusal | None, str, Overlap | None]:
    """Return why a record is rejected without verification, what was found, and where.

    Phrases that it shares with benchmarks are not yet a reason: they may be common.
    """
    if config.format == "tags" and (wrong := check_format(record.completion)) is not None:
        return "format", wrong, None
    if benchmarks is None:
        return None, "", None
    overlap = benchmarks.overlap(record.prompt, record.completion)
    if overlap.whole is not None:
        return "contaminated", f"{overlap.whole.task} {overlap.whole.id}: {overlap.whole.how}", None
    return None, "", overlap


def _short(text: str | None) -> str:
    return _cut(repr(text))


def _cut(text: str) -> str:
    return text if len(text) <= _DETAIL_CHARS else f"{text[:_DETAIL_CHARS]}…"


def _label(role: str, path: Path) -> str:
    """Name an input by what stays the same if the data are moved or compressed differently."""
    return f"{role}:{stem(path)}"


def _in_order(files: Sequence[Path]) -> Iterator[Row]:
    """Yield the rows of all shards in the order of the records."""
    columns = ["place", "kind", *dict.fromkeys([*EXAMPLE.names, *REJECTED.names])]
    return heapq.merge(*(_rows(file, columns) for file in files), key=lambda row: row["place"])


def _rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(
        _ROWS_PER_BATCH, columns=list(columns)
    ):
        yield from batch.to_pylist()


@dataclass
class _Tally:
    """How many records were kept and rejected, and why."""

    paths: dict[str, str]
    records: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    by_source: _Counts = field(default_factory=lambda: defaultdict(Counter))
    by_kind: _Counts = field(default_factory=lambda: defaultdict(Counter))
    words: Counter[int] = field(default_factory=Counter)
    """How many kept samples have this many words."""
    unreadable: list[str] = field(default_factory=list)
    first: dict[str, str] = field(default_factory=dict)
    """By reason: the first record that was rejected for it."""
    common: Counter[int] = field(default_factory=Counter)
    """How many samples are kept that share only this phrase or other common ones, by phrase."""
    examples: list[str] = field(default_factory=list)
    """The first records that are rejected, and why."""

    def count(self, row: Row, common: int | None = None) -> None:
        reason = row["reason"]
        self.records += 1
        for counts, name in ((self.by_source, row["source"]), (self.by_kind, row["kind"])):
            if name is not None:
                counts[name].update(total=1, kept=int(reason is None))
        if reason is None:
            self.kept += 1
            self.words[len(row["prompt"].split()) + len(row["completion"].split())] += 1
            self.common.update([] if common is None else [common])
            return
        assert reason in REASONS, reason
        self.rejected[reason] += 1
        where = f"{self.paths[row['file'].partition(':')[0]]}:{row['row']}"
        if reason not in self.first:
            detail = f": {_cut(row['detail'])}" if row["detail"] else ""
            self.first[reason] = f"{row['file']}, row {row['row']}{detail}"
        if len(self.examples) < _SHOWN:
            # Without a detail, the reason's own words are shown.
            detail = " ".join((row["detail"] or REASONS[reason]).split())
            self.examples.append(f"{where}: {reason}, {detail[:_DETAIL_CHARS]}")
        if reason == "unreadable" and len(self.unreadable) < _UNREADABLE_SHOWN:
            self.unreadable.append(f"{where}: {row['detail']}")

    def reasons(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.rejected.most_common())

    def metrics(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "kept": self.kept,
            "rejected": dict(self.rejected.most_common()),
            "by_kind": {kind: dict(counts) for kind, counts in sorted(self.by_kind.items())},
            "by_source": {name: dict(counts) for name, counts in sorted(self.by_source.items())},
            "first_rejected": self.first,
            "first_unreadable": self.unreadable,
        }
