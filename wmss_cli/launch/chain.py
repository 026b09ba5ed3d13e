"""A plan as a chain of Slurm jobs: what is one job, what is an array, what waits for what.

A stage with shards becomes one or more arrays (chunks below the cluster's ``MaxArraySize``)
and a job that merges them. Everything here is known before anything is sent.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wmss_cli.core.artifact import Job
from wmss_cli.core.errors import ConfigError
from wmss_cli.launch.profile import Profile, Resources
from wmss_cli.launch.saving import USUAL, Lead, training_lead
from wmss_cli.stages import table
from wmss_cli.stages.plan import Step
from wmss_cli.stages.shards import shard_jobs
from wmss_cli.stages.table import Kind

_LONGEST_LABEL = 40


@dataclass(frozen=True)
class Task:
    """What one Slurm job, or one task of an array, does.

    Attributes
    ----------
    job : Job
        The stage, or one shard of it.
    merge : bool
        Only merge the shards that other jobs made; a missing one is an error.
    """

    job: Job
    merge: bool = False


@dataclass(frozen=True)
class Link:
    """One job or one array of the chain.

    Attributes
    ----------
    name : str
        The job's name in Slurm; with a hash of what is made and where, so equal work has an
        equal name.
    step : str
        Label of the step that it is a part of.
    tasks : tuple of Task
        One of a job, several of an array.
    kind : str
        Section of the profile.
    needs : tuple of str
        Names of links that must end well before.
    after : str or None
        Name of a link that must end before, well or not: what this one goes on with.
    chunks : int
        Into how many arrays its stage was cut.
    lead : Lead
        So long before its limit it is told to save, where the profile does not say so.
    """

    name: str
    step: str
    tasks: tuple[Task, ...]
    kind: Kind
    needs: tuple[str, ...]
    after: str | None = None
    chunks: int = 1
    lead: Lead = USUAL

    def resources(self, profile: Profile) -> Resources:
        """Return what each task gets; a stage of one process gets one process.

        Raises
        ------
        ConfigError
            If the time limit is too short for the checkpoint.
        """
        found = profile.resources(self.kind)
        changed: dict[str, Any] = {}
        if found.signal_lead_s is None:
            changed["signal_lead_s"] = self.lead.seconds
        if not table.find(self.tasks[0].job.stage).distributed:
            changed |= {"nodes": 1, "tasks_per_node": 1}
        try:
            return Resources.model_validate(found.model_dump() | changed)
        except ValidationError:
            raise ConfigError(
                f"{self.step}: saving takes {self.lead.seconds} s before the limit, which is "
                f"{found.time_limit_min} min; raise {self.kind}.time_limit_min, or say how fast "
                "the disk is (disk_gb_per_s)"
            ) from None

    def limit(self, profile: Profile) -> int:
        """Return how many of its tasks run at once; all arrays of a stage share the limit."""
        return min(len(self.tasks), max(1, profile.array_limit // self.chunks))


def absolute(step: Step) -> Step:
    """Make the paths of a step independent of the folder that jobs are sent from."""
    inputs = {role: str(Path(path).absolute()) for role, path in step.job.inputs.items()}
    job = replace(step.job, inputs=inputs, out=str(Path(step.job.out).absolute()))
    return replace(step, job=job)


def chain(steps: Sequence[Step], profile: Profile, max_array_size: int) -> list[Link]:
    """Turn a plan into links, each after those that it needs.

    Parameters
    ----------
    steps : sequence of Step
        In an order in which they can run.
    profile : Profile
        Whether training goes on in successors that are sent with it.
    max_array_size : int
        Most tasks of one array.
    """
    links: list[Link] = []
    last: dict[str, str] = {}
    jobs = {step.job.out: step.job for step in steps}
    for step in steps:
        needs = tuple(last[label] for label in step.needs if label in last)
        lead = training_lead(step.job, jobs, profile)
        parts = _links(step, needs, profile, max_array_size)
        made = [replace(link, lead=lead) for link in parts]
        links += made
        last[step.label] = made[-1].name
    return links


def _links(
    step: Step, needs: tuple[str, ...], profile: Profile, max_array_size: int
) -> Iterator[Link]:
    job = step.job
    stage = table.find(job.stage)
    kind = stage.kind
    name = job_name(step)
    if job.stage == stage.name and stage.shards and int(job.config["shards"] or 1) > 1:
        shards = [Task(shard) for shard in shard_jobs(job)]
        names = []
        chunks = -(-len(shards) // max_array_size)
        for first in range(0, len(shards), max_array_size):
            part = tuple(shards[first : first + max_array_size])
            names.append(f"{name}.{first}-{first + len(part) - 1}")
            yield Link(names[-1], step.label, part, kind, needs, chunks=chunks)
        merge = (Task(job, merge=True),)
        yield Link(f"{name}.merge", step.label, merge, "cpu", (*names, *needs))
        return
    chained = stage.distributed and profile.requeue == "chain"
    if not chained:
        yield Link(name, step.label, (Task(job),), kind, needs)
        return
    # What depends on the stage waits for the last of them, which does nothing if all is done.
    names = [*(f"{name}.{part}" for part in range(profile.chained_jobs)), name]
    yield Link(names[0], step.label, (Task(job),), kind, needs)
    for before, successor in itertools.pairwise(names):
        yield Link(successor, step.label, (Task(job),), kind, needs, after=before)


def job_name(step: Step) -> str:
    """Return the name of a step's job in Slurm."""
    what: dict[str, Any] = {"out": step.job.out, "fingerprint": step.fingerprint}
    digest = hashlib.sha256(repr(sorted(what.items())).encode()).hexdigest()[:12]
    label = re.sub(r"[^\w-]", "-", step.called or step.label, flags=re.ASCII)[:_LONGEST_LABEL]
    return f"wmss-{label}-{digest}"


def unknown_leads(links: Sequence[Link], profile: Profile) -> str | None:
    """Say of which trainings nobody knows how long saving takes; None where there are none."""
    found = {link.step: link.lead for link in links if link.lead.unknown is not None}
    if not found or profile.train.signal_lead_s is not None:
        return None
    lead = next(iter(found.values()))
    return (
        f"{', '.join(found)}: told to save {lead.seconds} s before the limit, whatever the "
        f"checkpoint takes ({lead.unknown}); train.signal_lead_s of the profile says otherwise"
    )
