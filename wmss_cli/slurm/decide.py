"""What to send: decided for each link from the chain, the ledger and the queue.

Deciding changes nothing. Finished work is left out, and a job of this name that waits or runs is
kept. A job that is replaced is cancelled only after its successor was sent, so that it stays if
sbatch refuses that one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from wmss_cli.core.artifact import finished, refuse_foreign_folder
from wmss_cli.core.config import check_ranks
from wmss_cli.core.errors import ConfigError
from wmss_cli.slurm.chain import Link, job_name
from wmss_cli.slurm.ledger import Entry, Ledger
from wmss_cli.slurm.makers import Awaited, awaited
from wmss_cli.slurm.partitions import misfit, partitions
from wmss_cli.slurm.queue import Record
from wmss_cli.stages.plan import training_of

Queue = Mapping[str, Sequence[Record]]
"""What waits or runs, by the job's name."""

_PATTERN = re.compile(r"[\x00-\x1f\x7f%\\]")


@dataclass(frozen=True)
class Decision:
    """What to do with a link, and what was done.

    Attributes
    ----------
    link : Link
        The job or the array.
    kept : tuple of str
        Its jobs that wait or run, and are kept.
    entries : tuple of Entry
        Entries of these jobs in the ledger.
    adopted : tuple of Entry
        Jobs in the queue that the ledger does not know yet, since the process that sent them died.
    ends : tuple of str
        Jobs that wait for something that is made again: they are cancelled once their successor is
        sent.
    now, later : list of int
        Array tasks to send now, and those for which there is no room yet.
    outside : Awaited
        Which of its inputs other submissions make.
    is_dead : bool
        Whether an array task failed and is not sent again, so that what needs it cannot start.
    problem : str or None
        Why it cannot be sent: what it reads neither exists nor is on its way.
    sent : str or None
        Id of the job that was sent.
    """

    link: Link
    kept: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    adopted: tuple[Entry, ...] = ()
    ends: tuple[str, ...] = ()
    now: Sequence[int] = ()
    later: Sequence[int] = ()
    outside: Awaited = field(default_factory=Awaited)
    is_dead: bool = False
    problem: str | None = None
    sent: str | None = None

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Jobs that a dependent link waits for."""
        return self.kept if self.sent is None else (*self.kept, self.sent)

    @property
    def state(self) -> Literal["done", "queued", "sent", "later"]:
        """``done`` or ``queued`` before, ``sent`` now (at least in part), or ``later``."""
        if self.now:
            return "sent"
        if self.later:
            return "later"
        return "queued" if self.kept else "done"


def decide(
    links: Sequence[Link],
    ledger: Ledger,
    queue: Queue,
    *,
    rest: bool = False,
    again: Collection[str] = (),
) -> list[Decision]:
    """Return what to do with each link, in their order.

    Parameters
    ----------
    links : sequence of Link
        The chain.
    ledger : Ledger
        What was sent before.
    queue : mapping
        What waits or runs. All of it counts if a profile has `max_submitted`.
    rest : bool
        Send only what an earlier submission left for later; what failed is left alone.
    again : collection of str
        Folders of steps that count as not done, whatever exists.

    Raises
    ------
    ConfigError
        If a job in the queue belongs to a ledger that is lost, or a folder contains something else.
    """
    entries = ledger.entries()
    sent = ledger.submissions(entries)
    intents = ledger.open_intents(entries)
    only = ledger.later(entries) if rest else None
    active = sum(map(len, queue.values()))
    done: dict[str, bool] = {}
    found: dict[str, Decision] = {}
    for link in links:
        out = link.step.job.out
        needed = [found[name] for name in link.needs]
        outside, problem = Awaited(), None
        try:
            outside = awaited(link.step, queue)
        except ConfigError as error:
            problem = str(error)
        if problem is not None or (only is None and any(other.is_dead for other in needed)):
            found[link.name] = Decision(link, is_dead=True, problem=problem)
            done[out] = False
            continue
        if out in again:
            refuse_foreign_folder(Path(out))
        if outside != Awaited() or out in again:
            done[out] = False
        if _is_done(link, done) or _is_over(link, links, queue):
            found[link.name] = Decision(link)
            continue
        ready = outside == Awaited() and out not in again
        ready = ready and all(done[source] for source in link.sources)
        adopted = _adopted(link, ledger, queue, sent.get(link.name, []), intents.get(link.name))
        known = (*sent.get(link.name, ()), *adopted)
        decision = _decide(link, queue, known, found, ready, only)
        before = [*needed, *([found[link.after]] if link.after else [])]
        parts, count = decision.now, len(decision.now)
        if link.profile.max_submitted is not None:
            count = max(0, min(count, link.profile.max_submitted - active))
        if outside.is_unsent or any(other.later for other in before):
            count = 0
        ended = [r for r in queue.get(link.name, ()) if r.job_id.split("_")[0] in decision.ends]
        active += count - len(ended)
        found[link.name] = replace(
            decision, adopted=adopted, now=parts[:count], later=parts[count:], outside=outside
        )
    return list(found.values())


def _is_done(link: Link, known: dict[str, bool]) -> bool:
    """Say whether a step's result exists and is as new as its inputs, which must exist too."""
    out = link.step.job.out
    if out not in known:
        ready = all(known[source] for source in link.sources)
        known[out] = ready and finished(link.step.job) is not None
    return known[out]


def _is_over(link: Link, links: Sequence[Link], queue: Queue) -> bool:
    """Say whether a later job of the same requeue chain waits or runs, and this one does not."""
    if link.name in queue or link.profile.requeue != "chain":
        return False
    same = [other for other in links if other.step.job.out == link.step.job.out]
    names = [other.name for other in same]
    is_chain = any(other.after for other in same)
    return is_chain and any(name in queue for name in names[names.index(link.name) :])


def _decide(
    link: Link,
    queue: Queue,
    known: Sequence[Entry],
    before: Mapping[str, Decision],
    ready: bool,
    only: Mapping[str, Sequence[int]] | None,
) -> Decision:
    """Decide on a link as if there were room for all of it."""
    by_id = {entry.job_id: entry for entry in known}
    live: dict[str, dict[str, int]] = {}
    for record in queue.get(link.name, ()):
        base, _, index = record.job_id.partition("_")
        live.setdefault(base, {})[record.job_id] = by_id[base].parts[int(index or 0)]
    records = queue.get(link.name, ())
    started = {record.job_id.split("_")[0] for record in records if record.has_begun}
    ends = _repeated(live, started)
    if any(before[name].now or before[name].later for name in link.needs):
        # It waits for jobs that no longer count: their replacements are sent now.
        ends = tuple(sorted(base for base in live if not (link.by_hand and base in started)))
    live = {base: tasks for base, tasks in live.items() if base not in ends}
    covered = {index for tasks in live.values() for index in tasks.values()}
    # As long as its inputs are not ready, no shard counts as done.
    missing = [
        index
        for index, job in enumerate(link.jobs)
        if index not in covered and (len(link.jobs) == 1 or not ready or finished(job) is None)
    ]
    to_send = missing
    if only is not None:
        can = not any(before[name].is_dead for name in link.needs)
        to_send = [index for index in missing if can and index in only.get(link.name, ())]
    # An array with a failed task cannot be waited for as a whole.
    kept = tuple(
        job_id
        for base, tasks in live.items()
        for job_id in ((base,) if len(tasks) == len(by_id[base].parts) else tasks)
    )
    entries = tuple(by_id[base] for base in live)
    return Decision(link, kept, entries, (), ends, to_send, is_dead=len(to_send) < len(missing))


def _repeated(live: Mapping[str, Mapping[str, int]], started: Collection[str]) -> tuple[str, ...]:
    """Return waiting jobs replaced by newer ones: the sender died before it cancelled them."""
    seen: set[int] = set()
    found = []
    for base in sorted(live, key=int, reverse=True):
        parts = set(live[base].values())
        if parts <= seen and base not in started:
            found.append(base)
        seen |= parts
    return tuple(found)


def _adopted(
    link: Link, ledger: Ledger, queue: Queue, sent: Sequence[Entry], intent: Entry | None
) -> tuple[Entry, ...]:
    """Return entries for the jobs of a link in the queue that the ledger does not know."""
    known = {entry.job_id for entry in sent}
    found: dict[str, Entry] = {}
    for record in queue.get(link.name, ()):
        base = record.job_id.partition("_")[0]
        if base in known or base in found:
            continue
        was_sent = (ledger.folder / link.name / f"{base}_submitted.pkl").exists()
        if intent is None and (len(link.jobs) > 1 or not was_sent):
            raise ConfigError(
                f"{link.name}: job {base} is in the queue, but {ledger.folder} does not say "
                f"what its tasks do; scancel {base}, and submit again"
            )
        parts, order = (intent.parts, intent.order) if intent is not None else ([0], "")
        found[base] = Entry(
            event="adopted", name=link.name, job_id=base, parts=parts, order=order, time=0.0
        )
        intent = None
    return tuple(found.values())


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


def refuse_misfits(links: Sequence[Link]) -> None:
    """Refuse what can never start.

    Raises
    ------
    ConfigError
        If no node has what a profile asks for.
    """
    seen = partitions()
    for link in {(link.kind, id(link.group)): link for link in links}.values():
        problem = misfit(link.kind, link.profile, seen)
        if problem is not None:
            found, advice = problem
            name = link.group.profile_name
            raise ConfigError(f"profile {name}: {link.kind} jobs: {found}; {advice}")


def refuse_ranks(links: Sequence[Link]) -> None:
    """Refuse trainings with more processes than samples in a batch.

    Raises
    ------
    ConfigError
        With the label of the step.
    """
    for link in links:
        config = training_of(link.jobs[0])
        if config is not None:
            try:
                check_ranks(config.global_batch_size, link.resources.tasks)
            except ConfigError as error:
                raise ConfigError(f"{link.step.label}: {error}") from None


def refuse_busy(links: Sequence[Link], queue: Queue) -> None:
    """Refuse to redo what waits or runs, however it was split into jobs.

    Raises
    ------
    ConfigError
        If there is such a job.
    """
    names = {job_name(link.step) for link in links}
    busy = [name for name in queue if name.split(".")[0] in names]
    if busy:
        raise ConfigError(f"--force: {busy[0]} is still in the queue; 'wmss cancel' it first")


def refuse_ends(run_dir: Path, ends: Mapping[str, Sequence[str]], queue: Queue) -> None:
    """Refuse to cancel what runs: only its user may do that.

    Parameters
    ----------
    run_dir : Path
        Folder of the run.
    ends : mapping of str to sequence of str
        Jobs that would be replaced, by name.
    queue : mapping
        What waits or runs.

    Raises
    ------
    ConfigError
        If one of them has begun.
    """
    for name, job_ids in ends.items():
        for record in queue[name]:
            if record.job_id.split("_")[0] in job_ids and record.has_begun:
                raise ConfigError(
                    f"{name}: job {record.job_id} runs, and would be cancelled, since its inputs "
                    "or its shards have changed; let it end, or 'wmss cancel "
                    f"{shlex.quote(str(run_dir))}' first"
                )


def replaced_reports(
    ledger: Ledger, links: Sequence[Link], queue: Queue
) -> dict[str, tuple[str, ...]]:
    """Return the jobs in the queue that this plan replaces: reports on fewer arms or seeds.

    Raises
    ------
    ConfigError
        If other jobs of an earlier plan would continue unseen.
    """
    steps = {job_name(link.step) for link in links}
    orphans = [n for n in ledger.submissions() if n in queue and n.split(".")[0] not in steps]
    if not orphans:
        return {}
    before = ledger.read_plan().steps() if ledger.has_plan() else []
    reports = {job_name(step) for step in before if step.job.stage == "report"}
    others = [name for name in orphans if name not in reports]
    if others:
        what = (
            "1 job of another configuration is"
            if len(others) == 1
            else f"{len(others)} jobs of another configuration are"
        )
        raise ConfigError(
            f"{ledger.run_dir}: {what} in the queue ({others[0]}); 'wmss cancel "
            f"{shlex.quote(str(ledger.run_dir))}' first, or choose another --out"
        )
    # One that has begun ends by itself, and no longer belongs to the study.
    waiting = [name for name in orphans if not any(r.has_begun for r in queue[name])]
    return {name: tuple(sorted({r.job_id for r in queue[name]})) for name in waiting}


def superseded_jobs(links: Sequence[Link], queue: Queue) -> dict[str, tuple[str, ...]]:
    """Return jobs of the same steps that were split differently: other shards, another chain."""
    wanted = {link.name for link in links}
    steps = {job_name(link.step) for link in links}
    return {
        name: tuple(sorted({record.job_id.split("_")[0] for record in queue[name]}))
        for name in sorted(queue.keys() - wanted)
        if name.split(".")[0] in steps
    }
