"""Cancel the jobs of a run, by one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wmss_cli.core.errors import ConfigError
from wmss_cli.launch import slurm, states
from wmss_cli.launch.job_states import has_ended
from wmss_cli.launch.ledger import Ledger


@dataclass(frozen=True)
class ActiveJob:
    """A job or an array that waits or runs."""

    stage: str
    name: str
    job_id: str


def active_jobs(ledger: Ledger, stages: Sequence[str]) -> list[ActiveJob]:
    """Return the jobs of a run (or only of some stages) that have not ended.

    Raises
    ------
    ConfigError
        If the run has no such stage.
    """
    plan = ledger.read_plan()
    links = plan.links()
    known = list(dict.fromkeys(link.step for link in links))
    for stage in stages:
        if stage not in known:
            raise ConfigError(f"{stage}: no such stage; this run has {', '.join(known)}")
    queue: dict[str, set[str]] = {}
    for record in states.queue().values():
        if not has_ended(record.state):
            queue.setdefault(record.name, set()).add(record.job_id.split("_")[0])
    wanted = {link.name: link.step for link in links if not stages or link.step in stages}
    if not stages:
        # Of an earlier plan of this run, too.
        wanted |= {name: name for name in ledger.submissions() if name not in wanted}
    return [
        ActiveJob(stage, name, job_id)
        for name, stage in wanted.items()
        for job_id in sorted(queue.get(name, ()), key=int)
    ]


def later_jobs(ledger: Ledger, stages: Sequence[str]) -> list[str]:
    """Return the names of what a run (or only some stages of it) has still to send."""
    wanted = {link.name for link in ledger.read_plan().links() if link.step in stages}
    return [name for name in ledger.later() if not stages or name in wanted]


def cancel(ledger: Ledger, jobs: Sequence[ActiveJob], later: Sequence[str] = ()) -> None:
    """Cancel jobs, those that wait for others first, and write that down.

    Parameters
    ----------
    later : sequence of str
        Of :func:`later_jobs`: they are not sent any more.
    """
    with ledger.alone():
        for name in later:
            ledger.append("cancelled", name)
        if jobs:
            slurm.call("scancel", *(job.job_id for job in reversed(jobs)))
        for job in jobs:
            ledger.append("cancelled", job.name, job.job_id)
