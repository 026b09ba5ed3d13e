"""A plan as a chain of Slurm jobs: what becomes a job, what becomes an array, what waits for what.

A stage with shards becomes one or more arrays (chunks below the cluster's ``MaxArraySize``) and a
job that merges them. All of this is known before anything is sent, even how long before its limit a
training is told to save, which depends on the size of its checkpoint.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from wmss_cli.core.artifact import Job
from wmss_cli.core.errors import ConfigError
from wmss_cli.models.published import shape_of
from wmss_cli.models.shape import ModelShape
from wmss_cli.slurm.profile import EARLY_S, USUAL_LEAD_S, Profile, Resources
from wmss_cli.stages import table
from wmss_cli.stages.plan import Step, training_of
from wmss_cli.stages.shards import shard_jobs
from wmss_cli.stages.table import Kind
from wmss_cli.train.memory import Trained, checkpoint_bytes

_LONGEST_LABEL = 40
_STEP_S = 60


class Group(BaseModel):
    """Steps that are sent with one profile, which determines their jobs.

    Attributes
    ----------
    steps : list of Step
        In an order in which they can run.
    profile, profile_name
        What jobs ask for, and where that comes from.
    max_array_size : int
        Most tasks that the cluster allows in one array.
    """

    model_config = ConfigDict(frozen=True)

    steps: list[Step]
    profile: Profile
    profile_name: str
    max_array_size: int


@dataclass(frozen=True)
class Lead:
    """A `signal_lead_s` that the profile leaves open.

    Attributes
    ----------
    seconds : int
        Seconds before the limit.
    unknown : str or None
        Why it is the usual one, not that of the checkpoint; None if it is that of the checkpoint.
    """

    seconds: int
    unknown: str | None = None


USUAL = Lead(USUAL_LEAD_S)


@dataclass(frozen=True)
class Link:
    """One Slurm job, or one job array.

    Attributes
    ----------
    name : str
        The job's name in Slurm, with a hash of what is made and where, so that equal work has an
        equal name.
    step : Step
        The step that it does, all of it or some of its shards. Its `waits` are inputs that other
        submissions make.
    group : Group
        How it is sent.
    jobs : tuple of Job
        The stage, or a shard for each task of an array.
    kind : str
        Section of the profile.
    needs : tuple of str
        Names of links that must succeed first.
    after : str or None
        Name of a link that must end first, whether or not it succeeds: the one that this one
        continues.
    merges : bool
        Whether it only merges the shards that other jobs made; a missing shard is an error.
    chunks : int
        Into how many arrays its stage is split.
    sources : tuple of str
        Folders of the steps of the same chain whose results it reads.
    by_hand : bool
        Whether it was sent on its own: then what it reads may be made again while it runs.
    lead : Lead
        How long before its limit it is told to save, if the profile does not say.
    """

    name: str
    step: Step
    group: Group
    jobs: tuple[Job, ...]
    kind: Kind
    needs: tuple[str, ...] = ()
    after: str | None = None
    merges: bool = False
    chunks: int = 1
    sources: tuple[str, ...] = ()
    by_hand: bool = False
    lead: Lead = USUAL

    @property
    def profile(self) -> Profile:
        """How it is sent."""
        return self.group.profile

    @property
    def resources(self) -> Resources:
        """What each job or array task gets; a stage of one process gets one process.

        Raises
        ------
        ConfigError
            If the time limit is too short for the checkpoint.
        """
        found = self.asked
        if found.signal_lead_s is not None:
            return found
        try:
            return Resources.model_validate(
                found.model_dump() | {"signal_lead_s": self.lead.seconds}
            )
        except ValidationError:
            raise ConfigError(
                f"{self.step.label}: saving begins {self.lead.seconds} s before the limit, which "
                f"is only {found.time_limit_min} min; raise {self.kind}.time_limit_min, or set "
                "disk_gb_per_s to the speed of the disk"
            ) from None

    @property
    def asked(self) -> Resources:
        """What the profile says of it, which may leave `signal_lead_s` open."""
        found = self.profile.resources(self.kind)
        if table.find(self.jobs[0].stage).distributed:
            return found
        return found.model_copy(update={"nodes": 1, "tasks_per_node": 1})

    @property
    def limit(self) -> int:
        """How many of its array tasks run at once; all arrays of a stage share the limit."""
        return min(len(self.jobs), max(1, self.profile.array_limit // self.chunks))


def absolute(step: Step) -> Step:
    """Make the paths of a step independent of the folder that jobs are sent from."""
    inputs = {role: str(Path(path).absolute()) for role, path in step.job.inputs.items()}
    job = replace(step.job, inputs=inputs, out=str(Path(step.job.out).absolute()))
    return replace(step, job=job)


def chain(groups: Sequence[Group]) -> list[Link]:
    """Turn plans into links, each after those that it needs, also those of other groups.

    Steps are known by their folders: two groups may have steps of one label.
    """
    links: list[Link] = []
    last: dict[str, str] = {}
    steps = list(in_order(groups))
    jobs = {step.job.out: step.job for step, _ in steps}
    for step, group in steps:
        sources = tuple(_sources(step, jobs))
        needs = tuple(last[out] for out in sources)
        changed: dict[str, Any] = {
            "sources": sources,
            "by_hand": bool(step.waits),
            "lead": training_lead(step.job, jobs, group.profile),
        }
        others = tuple(out for out in step.waits if out not in jobs)
        made = list(_links(replace(step, waits=others), group, needs))
        links += [replace(link, **changed) for link in made]
        last[step.job.out] = made[-1].name
    return links


def in_order(groups: Sequence[Group]) -> Iterator[tuple[Step, Group]]:
    """Yield all steps in an order in which they can run, otherwise as they are given."""
    waiting = {step.job.out: (step, group) for group in groups for step in group.steps}
    outs = dict(waiting)

    def with_sources(out: str) -> Iterator[tuple[Step, Group]]:
        if out in waiting:
            step, group = waiting.pop(out)
            for source in _sources(step, outs):
                yield from with_sources(source)
            yield step, group

    for out in outs:
        yield from with_sources(out)


def _sources(step: Step, outs: Collection[str]) -> list[str]:
    """Return the folders among these that a step reads, or reads a part of."""
    found: dict[str, None] = {}
    for path in map(Path, step.job.inputs.values()):
        source = next((str(p) for p in (path, *path.parents) if str(p) in outs), None)
        if source is not None and source != step.job.out:
            found[source] = None
    return list(found)


def _links(step: Step, group: Group, needs: tuple[str, ...]) -> Iterator[Link]:
    job, profile = step.job, group.profile
    stage = table.find(job.stage)
    name = job_name(step)
    whole = Link(name, step, group, (job,), stage.kind, needs)
    if job.stage == stage.name and stage.shards and int(job.config["shards"] or 1) > 1:
        shards = tuple(shard_jobs(job))
        size = group.max_array_size
        names = []
        for first in range(0, len(shards), size):
            part = shards[first : first + size]
            names.append(f"{name}.{first}-{first + len(part) - 1}")
            yield replace(whole, name=names[-1], jobs=part, chunks=-(-len(shards) // size))
        merge = f"{name}.merge"
        yield replace(whole, name=merge, kind="cpu", needs=(*names, *needs), merges=True)
        return
    if not (stage.distributed and profile.requeue == "chain"):
        yield whole
        return
    # What depends on the stage waits for the last of them, which does nothing if all is done.
    names = [*(f"{name}.{number}" for number in range(profile.chained_jobs)), name]
    yield replace(whole, name=names[0])
    for before, successor in itertools.pairwise(names):
        yield replace(whole, name=successor, after=before)


def job_name(step: Step) -> str:
    """Return the name of a step's job in Slurm."""
    what: dict[str, Any] = {"out": step.job.out, "fingerprint": step.fingerprint}
    digest = hashlib.sha256(repr(sorted(what.items())).encode()).hexdigest()[:12]
    label = re.sub(r"[^\w-]", "-", step.called or step.label, flags=re.ASCII)[:_LONGEST_LABEL]
    return f"wmss-{label}-{digest}"


def unknown_leads(links: Sequence[Link]) -> str | None:
    """Name the trainings for which the time to save is unknown; None if there are none."""
    found = {
        link.step.label: link.lead
        for link in links
        if link.lead.unknown is not None and link.profile.train.signal_lead_s is None
    }
    if not found:
        return None
    lead = next(iter(found.values()))
    return (
        f"{', '.join(found)}: told to save {lead.seconds} s before the limit, however long the "
        f"checkpoint takes ({lead.unknown}); train.signal_lead_s in the profile changes that"
    )


def lead_seconds(checkpoint: int, disk_gb_per_s: float) -> int:
    """Return the `signal_lead_s` for a checkpoint of that many bytes.

    It has room for the rest of a step, for two checkpoints (the one that is being written when
    the signal comes, and the last), and for Slurm, which may be a minute early.

    Parameters
    ----------
    checkpoint : int
        Bytes that all ranks write together.
    disk_gb_per_s : float
        Speed at which all nodes write together, from the profile.
    """
    writing = math.ceil(2 * checkpoint / (disk_gb_per_s * 1e9))
    return max(USUAL_LEAD_S, EARLY_S + _STEP_S + writing)


def training_lead(job: Job, jobs: Mapping[str, Job], profile: Profile) -> Lead:
    """Return the lead of a job, for a profile that leaves it open.

    Parameters
    ----------
    job : Job
        What the Slurm job runs; if it is no training, the lead is the usual one.
    jobs : mapping of str to Job
        All jobs of the plan by their `out`: models that do not exist yet have the shape of those
        that they start from.
    profile : Profile
        It says how fast the disk is.
    """
    config = training_of(job) if "strong" in job.inputs else None
    if config is None:
        return USUAL
    on_gpu = profile.train.gpus_per_node > 0
    bf16 = config.precision == "bf16" or (config.precision == "auto" and on_gpu)
    try:
        strong = _shape(job.inputs["strong"], jobs)
        # A frozen one is not in the checkpoint.
        cotrains = config.second_model == "cotrain"
        weak = _shape(job.inputs["weak"], jobs) if cotrains else None
    except ConfigError as error:
        return Lead(USUAL_LEAD_S, str(error))
    size = checkpoint_bytes(Trained(strong, weak, bf16=bf16), config.zero_stage)
    return Lead(lead_seconds(size, profile.disk_gb_per_s))


def _shape(model: str, jobs: Mapping[str, Job]) -> ModelShape:
    """Return the shape of a model: training and extrapolation do not change it."""
    path = Path(model)
    maker = next((jobs[str(p)] for p in (path, *path.parents) if str(p) in jobs), None)
    if maker is None:
        # A model that is not here yet may be known by its name.
        return shape_of(model)[0]
    role = "weak" if path.name == "weak" else "strong"
    if role not in maker.inputs:
        raise ConfigError(f"{model}: is made by {maker.stage}, and does not exist yet")
    return _shape(maker.inputs[role], jobs)
