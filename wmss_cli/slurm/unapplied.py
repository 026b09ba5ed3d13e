"""Changes that jobs in the queue do not take: they keep the options they were sent with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wmss_cli.slurm.chain import Link
from wmss_cli.slurm.decide import Decision
from wmss_cli.slurm.ledger import Entry, Ledger
from wmss_cli.slurm.task import read_order

# These concern all jobs; the sections concern jobs of their kind.
_KINDS = ("train", "score", "eval", "cpu")
_NOT_OF_A_JOB = ("variants", "max_submitted", "gpu_mem_gb", "gpu_tflops")


def unapplied(decisions: Sequence[Decision], ledger: Ledger) -> list[str]:
    """Say which changed values jobs in the queue do not get, and which of them cannot start.

    They keep what they were sent with.
    """
    found: dict[str, dict[str, None]] = {}
    foreign: list[str] = []
    for decision in decisions:
        for entry in decision.entries:
            if entry.order:
                try:
                    order = read_order(ledger.folder / entry.name / entry.order)
                except (OSError, ValueError):
                    # Someone cleaned up; the job has read it, or will complain.
                    continue
                if "jobs" not in order:
                    foreign.append(entry.job_id or "")
                    continue
                for value in _changes(order, decision.link, entry):
                    found.setdefault(value, {})[decision.link.step.label] = None
    said = []
    if foreign:
        said.append(
            f"sent by another version of wmss: job {', '.join(foreign)} cannot start, or start "
            "again, with this one; 'wmss cancel' and then 'wmss retry' send them again"
        )
    if found:
        values = ", ".join(f"{value} ({_few(list(steps))})" for value, steps in found.items())
        said.append(
            f"not applied to jobs that are in the queue already: {values}; 'wmss cancel' and then "
            "'wmss retry' send them again"
        )
    return said


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _changes(order: Mapping[str, Any], link: Link, entry: Entry) -> Iterator[str]:
    before, now = order.get("profile"), json.loads(link.profile.model_dump_json())
    if before is not None:
        yield from _differing(before, now, (*_KINDS, *_NOT_OF_A_JOB))
        for name in _differing(before[link.kind], now[link.kind], ()):
            yield f"{link.kind}.{name}"
    if entry.parts[0] < len(link.jobs):
        config = link.jobs[entry.parts[0]].config
        yield from _differing(order["jobs"][0]["config"], config, ())


def _differing(
    before: Mapping[str, Any], now: Mapping[str, Any], apart: Sequence[str]
) -> Iterator[str]:
    for name, value in now.items():
        if name not in apart and name in before and before[name] != value:
            yield name
