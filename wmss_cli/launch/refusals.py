"""What is refused before anything is sent, cancelled or written down."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from wmss_cli.core.config import check_ranks
from wmss_cli.core.errors import ConfigError
from wmss_cli.launch.chain import Link, job_name
from wmss_cli.launch.cluster import misfit, partitions
from wmss_cli.launch.ledger import Ledger
from wmss_cli.launch.profile import Profile
from wmss_cli.launch.states import Record
from wmss_cli.stages.plan import Step

_PATTERN = re.compile(r"[\x00-\x1f\x7f%\\]")


def refuse_patterns(run_dir: Path) -> None:
    """Refuse a folder whose name sbatch would read as a pattern.

    Raises
    ------
    ConfigError
        If there is a character that must not be in a path of a log.
    """
    if _PATTERN.search(str(run_dir)):
        raise ConfigError(
            f"{str(run_dir)!r}: sbatch reads % and \\ in a path as patterns, and no control "
            "character is safe there; choose another run_dir"
        )


def refuse_misfits(links: Sequence[Link], profile: Profile, profile_name: str) -> None:
    """Refuse what can never start.

    Raises
    ------
    ConfigError
        If no node has what the profile asks for, or there are more processes than samples.
    """
    seen = partitions()
    for kind in dict.fromkeys(link.kind for link in links):
        problem = misfit(kind, profile, seen)
        if problem is not None:
            found, advice = problem
            raise ConfigError(f"profile {profile_name}: {kind} jobs: {found}; {advice}")
    for link in links:
        sizes = link.tasks[0].job.config
        if "global_batch_size" in sizes:
            try:
                check_ranks(sizes["global_batch_size"], link.resources(profile).tasks)
            except ConfigError as error:
                raise ConfigError(f"{link.step}: {error}") from None


def refuse_busy(steps: Sequence[Step], queue: dict[str, list[Record]]) -> None:
    """Refuse to do again what waits or runs, however it was cut into jobs."""
    names = {job_name(step) for step in steps}
    busy = [name for name in queue if name.split(".")[0] in names]
    if busy:
        raise ConfigError(f"--force: {busy[0]} is still in the queue; 'wmss cancel' it first")


def refuse_ends(
    run_dir: Path, ends: Mapping[str, Sequence[str]], queue: Mapping[str, Sequence[Record]]
) -> None:
    """Refuse to cancel what runs: that is for its user to say.

    Parameters
    ----------
    run_dir : Path
        Of the run.
    ends : mapping of str to sequence of str
        Jobs that others would replace, by name.
    queue : mapping
        What waits or runs, by name.

    Raises
    ------
    ConfigError
        If one of them has begun.
    """
    for name, job_ids in ends.items():
        for record in queue[name]:
            if record.job_id.split("_")[0] in job_ids and record.has_begun:
                raise ConfigError(
                    f"{name}: job {record.job_id} runs, and would be cancelled, since what it "
                    "reads or how it is cut has changed; let it end, or 'wmss cancel "
                    f"{shlex.quote(str(run_dir))}' first"
                )


def replaced_reports(
    ledger: Ledger, links: Sequence[Link], queue: dict[str, list[Record]]
) -> dict[str, tuple[str, ...]]:
    """Return the jobs in the queue that this plan replaces: reports on fewer arms or seeds.

    Raises
    ------
    ConfigError
        If other jobs of an earlier plan would go on unseen.
    """
    steps = {link.name.split(".")[0] for link in links}
    old = [name for name in ledger.submissions() if name in queue]
    orphans = [name for name in old if name.split(".")[0] not in steps]
    if not orphans:
        return {}
    before = ledger.read_plan().plan() if ledger.has_plan() else []
    reports = {job_name(step) for step in before if step.job.stage == "report"}
    others = [name for name in orphans if name not in reports]
    if others:
        what = (
            "1 job of another configuration is"
            if len(others) == 1
            else (f"{len(others)} jobs of another configuration are")
        )
        raise ConfigError(
            f"{ledger.run_dir}: {what} in the queue ({others[0]}); 'wmss cancel "
            f"{shlex.quote(str(ledger.run_dir))}' first, or choose another --out"
        )
    # One that has begun ends by itself, and is no part of what the study is now.
    waiting = [name for name in orphans if not any(r.has_begun for r in queue[name])]
    return {name: tuple(sorted({r.job_id for r in queue[name]})) for name in waiting}


def superseded_jobs(
    steps: Sequence[Step], links: Sequence[Link], queue: Mapping[str, Sequence[Record]]
) -> dict[str, tuple[str, ...]]:
    """Return jobs of the same steps that were cut otherwise: other shards, another chain."""
    wanted = {link.name for link in links}
    prefixes = tuple(f"{job_name(step)}." for step in steps)
    return {
        name: tuple(sorted({record.job_id.split("_")[0] for record in queue[name]}))
        for name in sorted(queue.keys() - wanted)
        if name.startswith(prefixes)
    }
