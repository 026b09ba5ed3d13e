"""Send a chain of jobs, each piece of work once.

Under the run's lock, for each link in order: what is done is left out; a job of this name that
waits or runs is taken over; for the rest an intent is written, then sbatch called, then the
ledger. Whoever dies in between is followed by one who finds the intent, and the job by its name.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from wmss_cli.core.artifact import finished, redo
from wmss_cli.core.config import check_ranks
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.launch import sbatch, slurm, states
from wmss_cli.launch.chain import Link, absolute, chain, job_name, unknown_leads
from wmss_cli.launch.cluster import misfit, partitions
from wmss_cli.launch.ledger import Entry, Group, Ledger, RunPlan
from wmss_cli.launch.profile import Profile
from wmss_cli.launch.slurm_task import write_order
from wmss_cli.launch.states import Record
from wmss_cli.stages.model_checks import check_jobs
from wmss_cli.stages.plan import Step

_PATTERN = re.compile(r"[\x00-\x1f\x7f%\\]")


@dataclass(frozen=True)
class Sent:
    """What became of a link.

    Attributes
    ----------
    state : str
        ``done`` before, ``queued`` before, or ``sent`` now.
    job_ids : tuple of str
        What a dependent waits for.
    count : int
        Tasks that were sent now.
    """

    link: Link
    state: Literal["done", "queued", "sent"]
    job_ids: tuple[str, ...] = ()
    count: int = 0


@dataclass
class _Submission:
    """The state of one pass over the chain."""

    ledger: Ledger
    profile: Profile
    queue: dict[str, list[Record]]
    done: dict[str, bool] = field(default_factory=dict)
    sent: dict[str, Sent] = field(default_factory=dict)
    submissions: dict[str, list[Entry]] = field(init=False)
    intents: dict[str, Entry] = field(init=False)

    def __post_init__(self) -> None:
        # Read once: a study has hundreds of links, and a ledger as many lines.
        self.submissions = self.ledger.submissions()
        self.intents = self.ledger.open_intents()


@dataclass(frozen=True)
class RunSettings:
    """Where a run lies and how its jobs are sent.

    Attributes
    ----------
    run_dir : Path
        Absolute; gets the folder ``slurm``.
    profile, profile_name
        What jobs ask for, and where that came from.
    config : Path or None
        Where the options came from.
    """

    run_dir: Path
    profile: Profile
    profile_name: str
    config: Path | None = None


def submit(
    steps: Sequence[Step],
    run: RunSettings,
    adds: bool = False,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[Sent]:
    """Send all steps that are neither done nor on their way.

    Parameters
    ----------
    steps : sequence of Step
        In an order in which they can run.
    run : RunSettings
        Where and how.
    adds : bool
        Keep what was sent from this folder before in the run's plan.
    force : bool
        Make again what is there. Nothing is removed: each result stays until its successor is
        whole, and what was marked but not sent is sent by the next submission.
    say : callable
        Is given a line where the user should know something.

    Raises
    ------
    SlurmError
        If Slurm refuses a job; those before it stay in the queue.
    ConfigError
        If `force` meets a job that waits or runs, or a process that writes one of the results.
    """
    steps = [absolute(step) for step in steps]
    cluster = slurm.cluster_config()
    for name in slurm.overriding_variables():
        say(f"{name} is not used: jobs are sent as the profile says")
    ledger = Ledger(run.run_dir)
    steps = _as_called_before(steps, ledger)
    links = chain(steps, run.profile, cluster.max_array_size)
    refuse_patterns(run.run_dir)
    refuse_misfits(links, run.profile, run.profile_name)
    check_jobs(step.job for step in steps)
    with ledger.alone():
        if run.run_dir.stat().st_mode & 0o077:
            say(f"{run.run_dir} is open to others; chmod 700 it if they should not read it")
        queue = states.by_name(states.queue().values())
        if force:
            refuse_busy(steps, queue)
        replaced = [] if adds else replaced_reports(ledger, links, queue)
        group = Group(
            steps=steps,
            profile=run.profile,
            profile_name=run.profile_name,
            max_array_size=cluster.max_array_size,
        )
        plan = RunPlan(
            groups=ledger.read_plan().adding(group) if adds and ledger.has_plan() else [group],
            accounting=cluster.accounting,
            config=str(run.config) if run.config else None,
        )
        state = _Submission(ledger, run.profile, queue)
        with _marked(steps, state, say) if force else nullcontext():
            ledger.write_plan(plan)
            _cancel_reports(replaced, ledger, queue, say)
            _cancel_superseded(steps, links, queue, say)
            sent = _send_all(steps, links, state)
        unknown = unknown_leads([one.link for one in sent if one.state == "sent"], run.profile)
        if unknown is not None:
            say(unknown)
        return sent


@contextmanager
def _marked(
    steps: Sequence[Step], state: _Submission, say: Callable[[str], None]
) -> Iterator[None]:
    """Mark all results as to be made again; where no job can be sent, they stay done."""
    take_back = redo({Path(step.job.out): step.fingerprint for step in steps})
    try:
        yield
    except BaseException:
        if any(sent.state == "sent" for sent in state.sent.values()):
            say("the rest of what --force marked is sent by the next 'wmss run' without it")
        else:
            take_back()
        raise


def _as_called_before(steps: Sequence[Step], ledger: Ledger) -> list[Step]:
    """Keep the names of jobs, though an arm or a seed more may change the labels of steps."""
    try:
        before = ledger.read_plan().plan()
    except (ConfigError, IntegrityError):
        # Nothing was sent, or by another version of wmss.
        before = []
    names = {(step.job.out, step.fingerprint): step.called or step.label for step in before}
    return [
        replace(step, called=names.get((step.job.out, step.fingerprint), step.called))
        for step in steps
    ]


def refuse_busy(steps: Sequence[Step], queue: dict[str, list[Record]]) -> None:
    """Refuse to do again what waits or runs, however it was cut into jobs."""
    names = {job_name(step) for step in steps}
    busy = [name for name in queue if name.split(".")[0] in names]
    if busy:
        raise ConfigError(f"--force: {busy[0]} is still in the queue; 'wmss cancel' it first")


def replaced_reports(
    ledger: Ledger, links: Sequence[Link], queue: dict[str, list[Record]]
) -> list[str]:
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
        return []
    before = ledger.read_plan().plan() if ledger.has_plan() else []
    reports = {job_name(step) for step in before if step.job.stage == "report"}
    others = [name for name in orphans if name not in reports]
    if others:
        raise ConfigError(
            f"{ledger.run_dir}: {len(others)} jobs of another configuration are in the queue "
            f"({others[0]}); 'wmss cancel {ledger.run_dir}' first, or choose another --out"
        )
    return orphans


def _cancel_reports(
    names: Sequence[str],
    ledger: Ledger,
    queue: dict[str, list[Record]],
    say: Callable[[str], None],
) -> None:
    for name in names:
        for job_id in sorted({record.job_id for record in queue.pop(name)}):
            slurm.call("scancel", job_id)
            ledger.append("cancelled", name, job_id)
            say(f"job {job_id} is cancelled: the report waits for what the study has now")


def _cancel_superseded(
    steps: Sequence[Step],
    links: Sequence[Link],
    queue: dict[str, list[Record]],
    say: Callable[[str], None],
) -> None:
    """Cancel jobs of the same steps that were cut otherwise: other shards, another chain."""
    wanted = {link.name for link in links}
    prefixes = tuple(f"{job_name(step)}." for step in steps)
    for name in sorted(queue.keys() - wanted):
        if name.startswith(prefixes):
            job_ids = sorted({record.job_id.split("_")[0] for record in queue.pop(name)})
            slurm.call("scancel", *job_ids)
            say(f"job {', '.join(job_ids)} is cancelled: its stage is cut into other parts now")


def refuse_patterns(run_dir: Path) -> None:
    """Refuse a folder whose name sbatch would read as a pattern."""
    if _PATTERN.search(str(run_dir)):
        raise ConfigError(
            f"{str(run_dir)!r}: sbatch reads % and \\ in a path as patterns, and no control "
            "character is safe there; choose another run_dir"
        )


def refuse_misfits(links: Sequence[Link], profile: Profile, profile_name: str) -> None:
    """Refuse what can never start."""
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


def _send_all(steps: Sequence[Step], links: Sequence[Link], state: _Submission) -> list[Sent]:
    by_label = {step.label: step for step in steps}
    for link in links:
        step = by_label[link.step]
        if is_done(step, state.done) or _is_over(link, links, state.queue):
            state.sent[link.name] = Sent(link, "done")
            continue
        state.sent[link.name] = _send_link(link, step, state)
    return list(state.sent.values())


def _is_over(link: Link, links: Sequence[Link], queue: dict[str, list[Record]]) -> bool:
    """Say whether a later job of the same requeue chain waits or runs, and this one does not."""
    same = [other for other in links if other.step == link.step]
    if link.name in queue or not any(other.after for other in same):
        return False
    return any(other.name in queue for other in same[same.index(link) :])


def is_done(step: Step, known: dict[str, bool]) -> bool:
    """Say whether a step's result is there and as new as its inputs, which must be there too."""
    if step.label not in known:
        ready = all(known.get(label, True) for label in step.needs)
        known[step.label] = ready and finished(step.job) is not None
    return known[step.label]


def _send_link(link: Link, step: Step, state: _Submission) -> Sent:
    before = [state.sent[name] for name in link.needs]
    moved = any(sent.state == "sent" for sent in before)
    live = _adopt(link, state)
    if moved and live:
        # It waits for jobs that are no more: those that replace them were sent just now.
        slurm.call("scancel", *sorted(live))
        for job_id in live:
            state.ledger.append("cancelled", link.name, job_id)
        live = {}
    ready = all(state.done.get(label, True) for label in step.needs)
    covered = {part for parts in live.values() for part in parts.values()}
    missing = [part for part in missing_parts(link, ready) if part not in covered]
    sizes = {e.job_id: len(e.parts) for e in state.submissions.get(link.name, [])}
    # An array of which a part has failed cannot be waited for as a whole.
    waiting = tuple(
        job_id
        for base, parts in live.items()
        for job_id in ((base,) if len(parts) == sizes[base] else parts)
    )
    if not missing:
        return Sent(link, "queued" if waiting else "done", waiting)
    job_id = _send_parts(link, missing, _dependency(link, state), state)
    return Sent(link, "sent", (*waiting, job_id), len(missing))


def missing_parts(link: Link, ready: bool) -> list[int]:
    """Return which tasks of a link are not done; where its inputs are not `ready`, none is."""
    return [
        part
        for part, task in enumerate(link.tasks)
        if len(link.tasks) == 1 or not ready or finished(task.job) is None
    ]


def _adopt(link: Link, state: _Submission) -> dict[str, dict[str, int]]:
    """Return the tasks of a link that wait or run: job → task's id → part of the link."""
    records = state.queue.get(link.name, [])
    known = {entry.job_id: entry for entry in state.submissions.get(link.name, [])}
    intent = state.intents.get(link.name)
    live: dict[str, dict[str, int]] = {}
    for record in records:
        base, _, index = record.job_id.partition("_")
        entry = known.get(base)
        if entry is None:
            sent = state.ledger.link_folder(link.name) / f"{base}_submitted.pkl"
            if intent is None and (len(link.tasks) > 1 or not sent.exists()):
                raise ConfigError(
                    f"{link.name}: job {base} is in the queue, but {state.ledger.folder} does not "
                    f"know what its tasks do; scancel {base}, and submit again"
                )
            entry = known[base] = _take_over(link, intent, base, state.ledger)
            state.submissions.setdefault(link.name, []).append(entry)
            intent = None
        live.setdefault(base, {})[record.job_id] = entry.parts[int(index or 0)]
    return live


def _take_over(link: Link, intent: Entry | None, job_id: str, ledger: Ledger) -> Entry:
    """Enter a job in the ledger whose sender died before it could do so."""
    if intent is None:
        return ledger.append("adopted", link.name, job_id, [0])
    order = ledger.link_folder(intent.name) / intent.order
    sbatch.mend_pickles(order, job_id, len(intent.parts))
    return ledger.append("adopted", intent.name, job_id, intent.parts, intent.order)


def _dependency(link: Link, state: _Submission) -> str | None:
    well = [job_id for name in link.needs for job_id in state.sent[name].job_ids]
    parts = [":".join(("afterok", *well))] if well else []
    if link.after is not None and state.sent[link.after].job_ids:
        parts.append(":".join(("afterany", *state.sent[link.after].job_ids)))
    return ",".join(parts) or None


def _send_parts(link: Link, parts: list[int], dependency: str | None, state: _Submission) -> str:
    folder = state.ledger.link_folder(link.name)
    order = folder / f"order-{uuid.uuid4().hex[:12]}.json"
    write_order(order, link, parts, state.profile)
    state.ledger.append("intent", link.name, None, parts, order.name)
    limit = link.limit(state.profile)
    job_id = sbatch.send(link, state.profile, folder, order, len(parts), dependency, limit)
    state.ledger.append("sent", link.name, job_id, parts, order.name)
    return job_id
