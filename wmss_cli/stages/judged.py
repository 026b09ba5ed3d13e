"""What a shard of curation writes about a record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wmss_cli.core.config import CurateConfig
from wmss_cli.core.verdict import Level, Reason, Refusal
from wmss_cli.data.contamination import Meeting
from wmss_cli.data.duplicates import content_key, problem_key, signature
from wmss_cli.data.sources import Record


@dataclass(frozen=True)
class Decision:
    """A record and the decision on it; it is kept if there is no reason against it."""

    record: Record
    example_id: str | None
    met: Meeting | None = None
    content_key: bytes | None = None
    reason: Reason | Refusal | None = None
    detail: str = ""
    level: Level | None = None


def judged_row(decision: Decision, label: str, config: CurateConfig) -> dict[str, Any]:
    """Return a row of :data:`wmss_cli.core.schema.JUDGED`.

    Parameters
    ----------
    decision : Decision
        The decision on a record.
    label : str
        Name of the record's file.
    config : CurateConfig
        Options, which say which copies are looked for.
    """
    record, kept = decision.record, decision.reason is None
    wants_signature = kept and config.deduplicate == "near"
    return {
        "place": record.place,
        "example_id": decision.example_id,
        "file": label,
        "row": record.row,
        "source": record.source,
        "kind": _kind(record),
        "prompt": record.prompt if kept else "",
        "completion": record.completion if kept else "",
        "reference_answer": record.reference_answer if kept else None,
        "reason": decision.reason,
        "detail": decision.detail,
        "line": record.line,
        "content_key": decision.content_key,
        "signature": _signature(record) if wants_signature else None,
        "problem_key": _problem_key(record) if wants_signature else None,
        **_phrases(decision),
    }


def _phrases(decision: Decision) -> dict[str, Any]:
    if decision.met is None or not decision.met.phrases:
        return {}
    return {
        "prompt_key": content_key(decision.record.prompt, "")[:8],
        "phrases": decision.met.phrases,
        "phrases_apart": decision.met.apart,
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
