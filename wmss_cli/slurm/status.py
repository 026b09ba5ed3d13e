"""The state of a run: manifests first, then Slurm, then what the stages themselves report."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.errors import InterruptedRunError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import Progress
from wmss_cli.core.selection import WHOLE, Selection
from wmss_cli.launch import worker
from wmss_cli.slurm import explain
from wmss_cli.slurm.chain import Link
from wmss_cli.slurm.deaths import death, tail
from wmss_cli.slurm.job_status import (
    JobStatus,
    Known,
    State,
    heartbeat,
    manifest_of,
    open_jobs,
    spent,
)
from wmss_cli.slurm.ledger import Ledger, RunPlan
from wmss_cli.slurm.queue import NEVER, Usage, meaning
from wmss_cli.slurm.runs import name_of
from wmss_cli.slurm.task import handover_folder
from wmss_cli.stages.plan import Step, select

_TAIL_LINES = 5
_SILENT_AFTER_S = 600.0


class Failure(BaseModel):
    """Why a stage has no result.

    Attributes
    ----------
    job_id : str
        Id of the job, or of the array's task.
    short, why : str
        In plain words; `why` with what the stage itself reported.
    log : str
        Path of its log.
    tail : list of str
        The last lines of the log.
    fix : str
        A command.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    short: str
    why: str
    log: str
    tail: list[str]
    fix: str


class Counts(BaseModel):
    """Jobs and array tasks of a stage, counted by their states."""

    model_config = ConfigDict(frozen=True)

    done: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0


class StageStatus(BaseModel):
    """One stage of a run.

    Attributes
    ----------
    label, state, words : str
        Which stage, its state, and the same in plain words.
    arms, seeds, models : tuple
        Arms, seeds and base models of a study that need it.
    jobs : list of str
        Ids of the jobs that count now.
    tasks : Counts
        Numbers of jobs and array tasks.
    progress : Progress or None
        The stage's own heartbeat; for arrays, the sum over running array tasks.
    silent_s : float or None
        Time since the last heartbeat of a running stage, in seconds.
    elapsed_s, left_s, limit_left_s : float or None
        Time since the start, estimated time to the end by the stage's own pace, and time to
        Slurm's limit, in seconds.
    expected_start : datetime or None
        Slurm's estimate, for a waiting stage.
    gpu_hours : float or None
        Spent so far, over all attempts.
    cpu_efficiency, memory_efficiency : float or None
        Share of their allocation that ended jobs used, according to sacct.
    failure : Failure or None
        The first failure.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    stage: str
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    state: State
    words: str
    jobs: list[str] = []
    tasks: Counts = Counts()
    progress: Progress | None = None
    silent_s: float | None = None
    elapsed_s: float | None = None
    left_s: float | None = None
    limit_left_s: float | None = None
    expected_start: datetime | None = None
    gpu_hours: float | None = None
    cpu_efficiency: float | None = None
    memory_efficiency: float | None = None
    failure: Failure | None = None


class RunStatus(BaseModel):
    """A run and its stages."""

    model_config = ConfigDict(frozen=True)

    run_dir: str
    state: State
    checked: float
    """When it was checked, in seconds since the epoch."""
    notes: list[str]
    """What could not be found out."""
    gpu_hours: float | None
    stages: list[StageStatus]

    @property
    def is_over(self) -> bool:
        """Whether nothing waits or runs that can still produce something."""
        return not any(stage.state in ("running", "waiting") for stage in self.stages)


def run_status(ledger: Ledger, selection: Selection = WHOLE) -> RunStatus:
    """Look at a run: its folder, the queue once, the accounts once for what ended.

    Parameters
    ----------
    ledger : Ledger
        Ledger of the run.
    selection : Selection
        Only what it needs.

    Raises
    ------
    ConfigError
        If nothing was submitted from its folder, or the study has no such arm, seed or base model.
    """
    plan = ledger.read_plan()
    known = Known(ledger, plan)
    steps = select(plan.steps(), selection)
    links: dict[str, list[Link]] = {}
    for link in plan.links():
        links.setdefault(link.step.job.out, []).append(link)
    results = _results(links, known)
    stages = [_stage(step, links[step.job.out], known, results) for step in steps]
    late = sum(len(found) for found in known.later.values())
    if late:
        known.notes.append(_on_later(late, ledger, plan))
    hours = [stage.gpu_hours for stage in stages if stage.gpu_hours is not None]
    order: tuple[State, ...] = ("running", "waiting", "failed", "cancelled", "not sent", "done")
    return RunStatus(
        run_dir=str(ledger.run_dir),
        state=min((stage.state for stage in stages), key=order.index, default="not sent"),
        checked=time.time(),
        notes=known.notes,
        gpu_hours=round(sum(hours), 3) if hours else None,
        stages=stages,
    )


def _on_later(count: int, ledger: Ledger, plan: RunPlan) -> str:
    limits = {str(g.profile.max_submitted) for g in plan.groups if g.profile.max_submitted}
    said = f" (max_submitted: {', '.join(sorted(limits))})" if limits else ""
    name = shlex.quote(name_of(ledger.run_dir))
    jobs = "1 job" if count == 1 else f"{count} jobs"
    return f"{jobs} will be sent later{said}; 'wmss retry {name}' sends what fits, with --wait all"


def _results(links: Mapping[str, Sequence[Link]], known: Known) -> dict[str, Manifest | None]:
    """Return the results that exist, by folder; None for one whose inputs are made again."""
    active = {record.name for record in known.queue.values() if record.is_active}
    found: dict[str, Manifest | None] = {}
    for out, parts in links.items():
        manifest = manifest_of(parts[0].step)
        if manifest is None:
            continue
        found[out] = manifest
        for role, path in parts[0].step.job.inputs.items():
            source = next((s for s in parts[0].sources if Path(path).is_relative_to(s)), None)
            if source is None:
                continue
            now = found.get(source)
            if now is not None:
                is_old = manifest.inputs[role].digest != now.digest
            else:
                # What a user deletes to have more space makes nothing old.
                is_old = source in found or any(link.name in active for link in parts)
            if is_old:
                found[out] = None
    return found


def _stage(
    step: Step, links: Sequence[Link], known: Known, results: Mapping[str, Manifest | None]
) -> StageStatus:
    manifest = results.get(step.job.out)
    whole, efficiency = spent(links, known)
    status = partial(
        StageStatus,
        label=step.label,
        stage=step.job.stage,
        arms=step.arms,
        seeds=step.seeds,
        models=step.models,
        gpu_hours=whole,
        **efficiency,
    )
    if manifest is not None:
        count = sum(len(link.jobs) for link in links)
        return status(
            state="done",
            words="done",
            tasks=Counts(done=count, total=count),
            elapsed_s=manifest.work_seconds,
        )
    jobs = open_jobs(step, links, known)
    counts = _count(links, jobs)
    alive = [job for job in jobs if job.state in ("running", "waiting")]
    state = _state(jobs, counts)
    if step.job.out in results and all(job.entry is None or job.has_made for job in jobs):
        words = "to be made again: its inputs have changed"
        return status(state="not sent", words=words, tasks=Counts(total=counts.total))
    running = [job for job in alive if job.state == "running"]
    progress = heartbeat(running)
    starts = [p.record.start for p in alive if p.state == "waiting" and p.record and p.record.start]
    elapsed = [p.record.elapsed_s for p in running if p.record and p.record.elapsed_s is not None]
    left = [p.record.left_s for p in running if p.record and p.record.left_s is not None]
    silent = time.time() - progress.updated if progress else None
    failed = [job for job in jobs if job.state in ("failed", "cancelled")]
    failure = _failure(failed, known) if failed else None
    said = _words(state, alive or jobs, silent)
    if failure is not None and state in ("failed", "cancelled"):
        said = failure.short
    return status(
        state=state,
        words=said,
        jobs=sorted({p.entry.job_id or "" for p in alive or failed if p.entry}),
        tasks=counts,
        progress=progress,
        silent_s=silent,
        elapsed_s=max(elapsed, default=None),
        left_s=progress.seconds_left if progress else None,
        limit_left_s=min(left, default=None),
        expected_start=min(starts, default=None),
        failure=failure,
    )


def _count(links: Sequence[Link], jobs: Sequence[JobStatus]) -> Counts:
    found = [job.state for job in jobs]
    total = 1 if any(link.after for link in links) else sum(len(link.jobs) for link in links)
    return Counts(
        done=total - len(jobs),
        running=found.count("running"),
        waiting=found.count("waiting"),
        failed=found.count("failed"),
        cancelled=found.count("cancelled"),
        total=total,
    )


def _state(jobs: Sequence[JobStatus], counts: Counts) -> State:
    if counts.running:
        return "running"
    found = {job.state for job in jobs}
    # A merge that waits for failed shards will never start.
    if "failed" in found or "cancelled" in found:
        shards = [job for job in jobs if len(job.link.jobs) > 1] or jobs
        if not any(job.state == "waiting" for job in shards):
            return "failed" if "failed" in found else "cancelled"
    return "waiting" if counts.waiting else "not sent"


def _words(state: State, jobs: Sequence[JobStatus], silent: float | None) -> str:
    if state == "waiting":
        if any(job.is_unknown for job in jobs):
            return "sent; its state is unknown"
        records = [job.record for job in jobs if job.record is not None]
        # What someone has to release comes before what waits by itself.
        records.sort(key=lambda record: record.state == "PENDING")
        if not records:
            return explain.waiting("")
        return explain.waiting(records[0].reason, records[0].state, records[0].job_id)
    if state == "not sent" and any(job.is_later for job in jobs):
        return "will be sent later"
    records = [job.record for job in jobs if job.record and job.record.has_begun]
    odd = [meaning(record.state).words for record in records]
    if state == "running" and odd and all(odd):
        return odd[0]
    if state == "running" and silent is not None and silent > _SILENT_AFTER_S:
        return f"running, but no sign of life for {silent / 60:.0f} min"
    return state


def _why(job: JobStatus) -> str:
    if job.ended == NEVER:
        return explain.waiting(NEVER)
    return explain.ended(job.ended, job.usage.exit_code if job.usage else "")


def _failure(jobs: Sequence[JobStatus], known: Known) -> Failure:
    # What was cancelled because something else failed explains nothing by itself.
    job = min(jobs, key=lambda p: p.state == "cancelled")
    assert job.job_id is not None
    folder = known.ledger.folder / job.link.name
    # A cancelled job also reports that it was stopped.
    error = None
    if job.state == "failed":
        error = worker.read_error(handover_folder(folder, job.job_id))
    log = folder / f"{job.job_id}_0_log.out"
    usage = job.usage or Usage(state=job.ended)
    killed = None
    if job.state == "failed" and error is None:
        killed = death(job.ended, job.usage, log)
    why = short = killed.words if killed is not None else _why(job)
    if error is not None and error["exit_code"] == InterruptedRunError.exit_code:
        why = f"{error['message'].split(';')[0]}, before it was done"
    elif error is not None:
        why = f"{why}: {error['message']}"
    return Failure(
        job_id=job.job_id,
        short=short,
        why=why,
        log=str(log),
        tail=tail(log, _TAIL_LINES) if job.state == "failed" else [],
        fix=explain.fix(
            name_of(known.ledger.run_dir),
            explain.End(
                job.ended,
                error["exit_code"] if error else None,
                killed,
                usage.memory_gib,
                usage.memory_asked_gib,
                is_before_wmss=killed is None and error is None and job.ended == "FAILED",
            ),
            job.link.kind,
            job.link.asked,
        ),
    )
