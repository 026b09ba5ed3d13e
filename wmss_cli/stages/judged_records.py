"""What a shard of curation writes: a row about each record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wmss_cli.core.config import CurateConfig
from wmss_cli.core.verdict import Level, Reason, Refusal
from wmss_cli.data.contamination import Overlap
from wmss_cli.data.duplicates import content_key, problem_key, signature
from wmss_cli.data.sources import Record


@dataclass(frozen=True)
class JudgedRecord:
    """A record and the decision on it; it is kept if there is no reason against it."""

    record: Record
    example_id: str | None
    overlap: Overlap | None = None
    content_key: bytes | None = None
    reason: Reason | Refusal | None = None
    detail: str = ""
    level: Level | None = None


def judged_row(judged: JudgedRecord, label: str, config: CurateConfig) -> dict[str, Any]:
    """Return a row of :data:`wmss_cli.core.schema.JUDGED`.

    Parameters
    ----------
    judged : JudgedRecord
        The decision on a record.
    label : str
        Name of the record's file.
    config : CurateConfig
        Options, which say which copies are looked for.
    """
    record, kept = judged.record, judged.reason is None
    wants_signature = kept and config.deduplicate == "near"
    return {
        "place": record.place,
        "example_id": judged.example_id,
        "file": label,
        "row": record.row,
        "source": record.source,
        "kind": _kind(record),
        "prompt": record.prompt if kept else "",
        "completion": record.completion if kept else "",
        "reference_answer": record.reference_answer if kept else None,
        "reason": judged.reason,
        "detail": judged.detail,
        "line": record.line,
        "content_key": judged.content_key,
        "signature": _signature(record) if wants_signature else None,
        "problem_key": _problem_key(record) if wants_signature else None,
        **_phrases(judged),
    }


def _phrases(judged: JudgedRecord) -> dict[str, Any]:
    if judged.overlap is None or not judged.overlap.phrases:
        return {}
    return {
        "prompt_key": content_key(judged.record.prompt, "")[:8],
        "phrases": judged.overlap.phrases,
        "phrases_apart": judged.overlap.apart,
    }


def _kind(record: Record) -> str | None:
    """Return what a record can be checked by, in the order of the checks."""
    if record.problem is not None:
        return None
    if record.reference_answer is not None:
        return "math"
    return "code" if record.test_case is not None else "nothing"


def content_key_of(record: Record, config: CurateConfig) -> bytes | None:
    """Return the key of a record's content; None if copies are not looked for."""
    if config.deduplicate == "none":
        return None
    return content_key(record.prompt, record.completion)


def _signature(record: Record) -> bytes:
    return signature(f"{record.prompt}\n{record.completion}").tobytes()


def _problem_key(record: Record) -> bytes:
    if record.reference_answer is not None:
        return problem_key(record.prompt, record.reference_answer)
    tests = json.dumps(record.test_case or "", sort_keys=True, default=str)
    return problem_key(record.prompt, tests)
