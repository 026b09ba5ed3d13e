"""What a submission changes, and jobs in the queue do not: they keep what they were sent with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wmss_cli.launch.ledger import Entry, Ledger
from wmss_cli.launch.profile import Profile
from wmss_cli.launch.sending import Decision
from wmss_cli.launch.slurm_task import read_order

# They concern all jobs; the sections do the jobs of their kind.
_KINDS = ("train", "score", "eval", "cpu")
_NOT_OF_A_JOB = ("variants", "max_submitted", "gpu_mem_gb", "gpu_tflops")


def unapplied(
    decisions: Sequence[Decision],
    ledger: Ledger,
    submissions: Mapping[str, Sequence[Entry]],
    profile: Profile,
) -> str | None:
    """Say which changed values jobs in the queue do not take; None where there are none.

    Parameters
    ----------
    decisions : sequence of Decision
        What becomes of each link.
    ledger : Ledger
        Of the run.
    submissions : mapping
        Its entries by the link's name.
    profile : Profile
        Of this submission.
    """
    found: dict[str, dict[str, None]] = {}
    for decision in decisions:
        kept = {job_id.split("_")[0] for job_id in decision.kept}
        for entry in submissions.get(decision.link.name, ()):
            if entry.job_id in kept and entry.order:
                try:
                    order = read_order(ledger.link_folder(entry.name) / entry.order)
                except (OSError, ValueError):
                    # Someone tidied up; the job has read it, or will say so.
                    continue
                for value in _changes(order, decision, entry, profile):
                    found.setdefault(value, {})[decision.step.label] = None
    if not found:
        return None
    values = ", ".join(f"{value} ({_few(list(steps))})" for value, steps in found.items())
    return (
        f"not applied to jobs that are in the queue already: {values}; 'wmss cancel' and then "
        "'wmss retry' send them anew"
    )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _changes(
    order: Mapping[str, Any], decision: Decision, entry: Entry, profile: Profile
) -> Iterator[str]:
    before, now = order.get("profile"), json.loads(profile.model_dump_json())
    if before is not None:
        yield from _differing(before, now, (*_KINDS, *_NOT_OF_A_JOB))
        kind = decision.link.kind
        for name in _differing(before[kind], now[kind], ()):
            yield f"{kind}.{name}"
    if entry.parts[0] < len(decision.link.tasks):
        config = decision.link.tasks[entry.parts[0]].job.config
        yield from _differing(order["tasks"][0]["job"]["config"], config, ())


def _differing(
    before: Mapping[str, Any], now: Mapping[str, Any], apart: Sequence[str]
) -> Iterator[str]:
    for name, value in now.items():
        if name not in apart and name in before and before[name] != value:
            yield name
