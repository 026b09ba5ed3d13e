"""How each job of a run is doing: from the ledger, the queue, the accounts and the folders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from wmss_cli.core import files
from wmss_cli.core.artifact import partial
from wmss_cli.core.errors import ConfigError, IntegrityError, SlurmError
from wmss_cli.core.manifest import Manifest, read_manifest
from wmss_cli.core.progress import Progress, add_up, read_progress
from wmss_cli.core.redo import mark_for, mark_path
from wmss_cli.slurm.chain import Link
from wmss_cli.slurm.ledger import Entry, Ledger, RunPlan
from wmss_cli.slurm.queue import NEVER, Record, Usage, accounts, ask_queue, has_ended
from wmss_cli.stages.plan import Step

State = Literal["done", "running", "waiting", "failed", "cancelled", "not sent"]

_HEARTBEATS = 200


class Known:
    """What is known about a run's jobs, asked once for all stages."""

    def __init__(self, ledger: Ledger, plan: RunPlan) -> None:
        self.ledger = ledger
        self.plan = plan
        entries = ledger.entries()
        self.submissions = ledger.submissions(entries)
        names = {link.name for link in plan.links()}
        self.later = {n: parts for n, parts in ledger.later(entries).items() if n in names}
        self.notes: list[str] = []
        self.earlier: dict[str, tuple[float, float]] = {}
        self.queue_answers = True
        try:
            self.queue = ask_queue()
        except SlurmError as error:
            self.queue, self.queue_answers = {}, False
            self.notes.append(f"the queue is not known: {error}")
        self.usage = self._usage()

    def _usage(self) -> dict[str, Usage]:
        """Return what ended jobs used; sacct is asked once for each of them."""
        path = self.ledger.folder / "usage.json"
        try:
            known = {k: Usage(**v) for k, v in json.loads(path.read_text("utf-8")).items()}
        except (FileNotFoundError, ValueError):
            known = {}
        if not self.plan.accounting:
            self.notes.append("this cluster keeps no accounts: no GPU-hours, no efficiency")
            return known
        active = {i: record for i, record in self.queue.items() if not has_ended(record.state)}
        # An ended job may have been requeued by hand.
        known = {i: usage for i, usage in known.items() if i not in active}
        own = {i for sent in self.submissions.values() for entry in sent for i in task_ids(entry)}
        attempts = Attempts(self.ledger.folder)
        asked = {i for i in own if i not in known and i not in active}
        begun = attempts.unknown({i: record for i, record in active.items() if i in own})
        since = min((e.time for sent in self.submissions.values() for e in sent), default=0.0)
        found = accounts(sorted(asked | begun), since)
        if found is None:
            self.notes.append("sacct does not answer: no GPU-hours, no efficiency")
            return known
        attempts.add({i: (active[i], found.get(i)) for i in begun})
        self.earlier = attempts.seconds
        # sacct answers for whole arrays, even for array tasks that have not ended.
        fresh = {i: found[i] for i in asked & found.keys() if has_ended(found[i].state)}
        if fresh:
            known |= fresh
            # If the disk is full, it is asked again.
            with suppress(OSError):
                files.write_text(path, json.dumps({k: v.model_dump() for k, v in known.items()}))
        return known


class Attempts:
    """What waiting and running jobs used in earlier attempts; sacct is asked once for each.

    Parameters
    ----------
    folder : Path
        Folder of the ledger.

    Attributes
    ----------
    seconds : dict of str to (float, float)
        GPU-seconds and seconds of time, by the job's id.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "attempts.json"
        try:
            rows = json.loads(self._path.read_text("utf-8"))
            self._known = {
                i: (str(k), float(gpu), float(time)) for i, (k, gpu, time) in rows.items()
            }
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            self._known = {}
        self.seconds: dict[str, tuple[float, float]] = {}
        self._logs: dict[str, set[str]] = {}

    def unknown(self, active: Mapping[str, Record]) -> set[str]:
        """Return the jobs that began an attempt which sacct was not yet asked about."""
        self._known = {i: row for i, row in self._known.items() if i in active}
        self.seconds = {i: row[1:] for i, row in self._known.items()}
        return {
            i
            for i, record in active.items()
            if self._known.get(i, ("",))[0] != _attempt(record) and self._has_log(record)
        }

    def _has_log(self, record: Record) -> bool:
        """Say whether a job has ever begun."""
        if record.name not in self._logs:
            with suppress(OSError):
                self._logs[record.name] = set(os.listdir(self._path.parent / record.name))  # noqa: PTH208
        return f"{record.job_id}_0_log.out" in self._logs.get(record.name, ())

    def add(self, found: Mapping[str, tuple[Record, Usage | None]]) -> None:
        """Add what sacct knows about them."""
        for job_id, (record, usage) in found.items():
            gpu_s, elapsed_s = usage.earlier if usage is not None else (0.0, 0.0)
            self._known[job_id] = (_attempt(record), gpu_s, elapsed_s)
            self.seconds[job_id] = (gpu_s, elapsed_s)
        if found:
            with suppress(OSError):
                files.write_text(self._path, json.dumps(self._known))


def _attempt(record: Record) -> str:
    """Return what distinguishes this attempt of a job from earlier ones; estimates do not."""
    if record.has_begun or record.reason == "BeginTime":
        return f"{record.has_begun} {record.start}"
    return "waits"


def task_ids(entry: Entry) -> list[str]:
    """Return the ids of a submission's array tasks; an array of one is a plain job."""
    assert entry.job_id is not None
    if len(entry.parts) == 1:
        return [entry.job_id]
    return [f"{entry.job_id}_{index}" for index in range(len(entry.parts))]


class JobStatus:
    """A job, or a task of an array: what was sent last for it, and how that is doing."""

    def __init__(
        self, link: Link, index: int, sent: tuple[Entry, str] | None, known: Known
    ) -> None:
        self.link = link
        self.job = link.jobs[index]
        self.is_later = index in known.later.get(link.name, ())
        self.entry: Entry | None = sent[0] if sent and not self.is_later else None
        self.job_id: str | None = sent[1] if sent else None
        record = known.queue.get(self.job_id or "")
        # Slurm reuses ids some day.
        self.record = record if record is not None and record.name == link.name else None
        self.usage: Usage | None = known.usage.get(self.job_id or "")
        self.is_unknown = not known.queue_answers and self.usage is None

    @property
    def state(self) -> State:
        """How it is doing; finished jobs are not considered."""
        if self.entry is None:
            return "not sent"
        if self.record is not None and self.record.is_active:
            return "running" if self.record.has_begun else "waiting"
        if self.is_unknown:
            # If Slurm does not answer, nothing counts as over.
            return "waiting"
        return "cancelled" if self.ended in ("CANCELLED", NEVER) else "failed"

    @property
    def has_made(self) -> bool:
        """Whether it ended well, or so long ago that nobody knows: it made what is old now."""
        return self.state == "failed" and self.ended in ("COMPLETED", "UNKNOWN")

    @property
    def ended(self) -> str:
        """Slurm's word for how it ended."""
        if self.record is not None and self.record.reason == NEVER:
            return NEVER
        if self.usage is not None:
            return self.usage.state
        return self.record.state if self.record is not None else "UNKNOWN"


def manifest_of(step: Step) -> Manifest | None:
    """Return the manifest of a step that is done and need not be done again (``--force``)."""
    out = Path(step.job.out)
    try:
        manifest = read_manifest(out)
    except (ConfigError, IntegrityError):
        return None
    is_done = manifest.fingerprint == step.fingerprint and mark_for(out, step.fingerprint) is None
    return manifest if is_done else None


def open_jobs(step: Step, links: Sequence[Link], known: Known) -> list[JobStatus]:
    """Return the jobs and array tasks of a step that are not done."""
    done = _shards_done(Path(step.job.out))
    found = []
    for link in links:
        newest: dict[int, tuple[Entry, str]] = {}
        for entry in known.submissions.get(link.name, []):
            for index, job_id in zip(entry.parts, task_ids(entry), strict=True):
                newest[index] = (entry, job_id)
        for index, job in enumerate(link.jobs):
            if Path(job.out).name not in done:
                found.append(JobStatus(link, index, newest.get(index), known))
    return _newest_of_chain(links, found)


def _newest_of_chain(links: Sequence[Link], jobs: list[JobStatus]) -> list[JobStatus]:
    """Return one of the jobs that continue each other: the first that is open, or the last."""
    if not any(link.after for link in links):
        return jobs
    order = {"running": 0, "waiting": 1}
    return [min(reversed(jobs), key=lambda job: order.get(job.state, 2))]


def _shards_done(out: Path) -> set[str]:
    """Return the names of finished shards, with one look at their folder."""
    try:
        names = os.listdir(f"{out}.shards")  # noqa: PTH208
    except FileNotFoundError:
        return set()
    marks = {name for name in names if name.endswith(".redo")}
    shards = {name for name in names if re.fullmatch(r"\d+-of-\d+", name)}
    return {name for name in shards if mark_path(out / name).name not in marks}


def heartbeat(running: Sequence[JobStatus]) -> Progress | None:
    """Return the heartbeat of a stage; for several array tasks, their sum."""
    beats = [
        (one.record, read_progress(partial(Path(one.job.out)))) for one in running[:_HEARTBEATS]
    ]
    # What an earlier attempt left behind says nothing about this one.
    found = [
        beat
        for record, beat in beats
        if beat is not None
        and (record is None or record.start is None or beat.updated >= record.start.timestamp())
    ]
    if len(found) <= 1:
        return found[0] if found else None
    return add_up(found)


def spent(links: Sequence[Link], known: Known) -> tuple[float | None, dict[str, float | None]]:
    """Return GPU-hours of a stage's jobs, and the efficiency of those that ended."""
    gpu_s = 0.0
    used: list[Usage] = []
    memory: list[float] = []
    for link in links:
        resources = link.asked
        for entry in known.submissions.get(link.name, []):
            for job_id in task_ids(entry):
                record = known.queue.get(job_id)
                usage = known.usage.get(job_id)
                if usage is not None:
                    # If a site does not account for GPUs, those that were asked for count.
                    gpu_s += usage.gpu_s or resources.gpus * usage.elapsed_s
                    used.append(usage)
                    if usage.memory_asked_gib and usage.memory_gib:
                        # Slurm reports the largest process; there are several on a node.
                        most = usage.memory_gib * resources.tasks_per_node
                        memory.append(most / usage.memory_asked_gib)
                else:
                    # What a requeued job used before.
                    before, time = known.earlier.get(job_id, (0.0, 0.0))
                    now = record.elapsed_s if record is not None and record.elapsed_s else 0
                    gpu_s += (before or resources.gpus * time) + resources.gpus * now
    held = sum(usage.cpu_allocated_s for usage in used)
    efficiency = {
        "cpu_efficiency": round(sum(u.cpu_s for u in used) / held, 3) if held else None,
        "memory_efficiency": round(max(memory), 3) if memory else None,
    }
    return (round(gpu_s / 3600, 4) if gpu_s else None), efficiency
