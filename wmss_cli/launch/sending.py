"""Decide for each link of a chain what of it is sent, then send it, each piece of work once.

Deciding changes nothing: what is done is left out, and a job of this name that waits or runs is
taken over. Only when all is decided, and nothing refused, is anything sent. A job that others
replace is cancelled after its successor was sent, so a refusal of sbatch leaves it where it is.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from wmss_cli.core.artifact import finished
from wmss_cli.core.errors import ConfigError
from wmss_cli.launch import sbatch, slurm
from wmss_cli.launch.chain import Link
from wmss_cli.launch.ledger import Entry, Ledger
from wmss_cli.launch.makers import Awaited, awaited
from wmss_cli.launch.profile import Profile
from wmss_cli.launch.slurm_task import write_order
from wmss_cli.launch.states import Record
from wmss_cli.stages.plan import Step


@dataclass(frozen=True)
class Sent:
    """What became of a link.

    Attributes
    ----------
    state : str
        ``done`` before, ``queued`` before, ``sent`` now, at least in part, or ``later``.
    job_ids : tuple of str
        What a dependent waits for.
    count : int
        Tasks that were sent now.
    later : int
        Tasks that are still to be sent.
    """

    link: Link
    state: Literal["done", "queued", "sent", "later"]
    job_ids: tuple[str, ...] = ()
    count: int = 0
    later: int = 0


@dataclass(frozen=True)
class Decision:
    """What is to be done with a link.

    Attributes
    ----------
    kept : tuple of str
        Jobs of it that wait or run, and stay.
    ends : tuple of str
        Those that wait for what is made again: they are cancelled when their successor is sent.
    parts : list of int
        Tasks that are to be sent.
    outside : Awaited
        What other submissions make of what it reads.
    is_dead : bool
        Whether something of it failed that is not sent again: what needs it cannot start.
    """

    link: Link
    step: Step
    kept: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    parts: list[int] = field(default_factory=list)
    outside: Awaited = field(default_factory=Awaited)
    is_dead: bool = False


@dataclass
class Submission:
    """The state of one pass over the chain.

    Attributes
    ----------
    queue : dict
        What waits or runs, by the job's name.
    room : int or None
        So many tasks can be sent now; None is no limit.
    """

    ledger: Ledger
    profile: Profile
    queue: dict[str, list[Record]]
    room: int | None = None
    done: dict[str, bool] = field(default_factory=dict)
    sent: dict[str, Sent] = field(default_factory=dict)
    submissions: dict[str, list[Entry]] = field(init=False)
    intents: dict[str, Entry] = field(init=False)
    later: dict[str, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        # Read once: a study has hundreds of links, and a ledger as many lines.
        entries = self.ledger.entries()
        self.submissions = self.ledger.submissions(entries)
        self.intents = self.ledger.open_intents(entries)
        self.later = self.ledger.later(entries)

    @property
    def has_sent(self) -> bool:
        """Whether Slurm took a job."""
        return any(sent.count for sent in self.sent.values())

    def put_off(self, decisions: Sequence[Decision], adds: bool, rest: bool) -> None:
        """Write down what of the decisions was not sent.

        Parameters
        ----------
        adds : bool
            What other submissions have still to send stays.
        rest : bool
            So does what cannot be sent now, since something that it needs has failed or is not
            seen yet.
        """
        left: dict[str, list[int]] = {}
        for decision in decisions:
            name = decision.link.name
            count = self.sent[name].count if name in self.sent else 0
            left[name] = decision.parts[count:]
            if rest and decision.is_dead:
                now = decision.parts[:count]
                left[name] = [part for part in self.later.get(name, []) if part not in now]
        known = {name: parts for name, parts in self.later.items() if not adds or name in left}
        self.ledger.put_off({name: parts for name, parts in left.items() if parts}, known)


def decide(
    steps: Sequence[Step],
    links: Sequence[Link],
    state: Submission,
    only: Mapping[str, Sequence[int]] | None = None,
) -> list[Decision]:
    """Return what is to be done with each link.

    Parameters
    ----------
    steps, links
        The plan, and the chain of it.
    state : Submission
        What is done and what is in the queue.
    only : mapping, optional
        Send nothing but these parts of these links: what a submission before left for later.

    Raises
    ------
    ConfigError
        If a job in the queue belongs to a ledger that is lost.
    """
    by_label = {step.label: step for step in steps}
    found: dict[str, Decision] = {}
    for link in links:
        step = by_label[link.step]
        try:
            outside = awaited(step, state.queue)
        except ConfigError:
            if only is None:
                raise
            found[link.name] = Decision(link, step, is_dead=True)
            state.done[step.label] = False
            continue
        if outside != Awaited():
            state.done[step.label] = False
        if is_done(step, state.done) or _is_over(link, links, state.queue):
            found[link.name] = Decision(link, step)
            continue
        found[link.name] = _decide(link, step, outside, state, found, only)
    return list(found.values())


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


def missing_parts(link: Link, ready: bool) -> list[int]:
    """Return which tasks of a link are not done; where its inputs are not `ready`, none is."""
    return [
        part
        for part, task in enumerate(link.tasks)
        if len(link.tasks) == 1 or not ready or finished(task.job) is None
    ]


def _decide(
    link: Link,
    step: Step,
    outside: Awaited,
    state: Submission,
    before: Mapping[str, Decision],
    only: Mapping[str, Sequence[int]] | None,
) -> Decision:
    live = _adopt(link, state)
    ends = _repeated(live, state.queue.get(link.name, []))
    if any(before[name].parts for name in link.needs):
        # It waits for jobs that are no more: those that replace them are sent now.
        ends = tuple(sorted(live))
    live = {base: tasks for base, tasks in live.items() if base not in ends}
    ready = outside == Awaited() and all(state.done.get(label, True) for label in step.needs)
    covered = {part for tasks in live.values() for part in tasks.values()}
    missing = [part for part in missing_parts(link, ready) if part not in covered]
    parts = missing
    if only is not None:
        can = not any(before[name].is_dead for name in link.needs)
        parts = [part for part in missing if can and part in only.get(link.name, ())]
    sizes = {e.job_id: len(e.parts) for e in state.submissions.get(link.name, [])}
    # An array of which a part has failed cannot be waited for as a whole.
    kept = tuple(
        job_id
        for base, tasks in live.items()
        for job_id in ((base,) if len(tasks) == sizes[base] else tasks)
    )
    return Decision(link, step, kept, ends, parts, outside, is_dead=len(parts) < len(missing))


def _repeated(live: Mapping[str, Mapping[str, int]], records: Sequence[Record]) -> tuple[str, ...]:
    """Return waiting jobs whose tasks newer ones have: their sender died before it ended them."""
    started = {r.job_id.split("_")[0] for r in records if r.has_begun}
    seen: set[int] = set()
    found = []
    for base in sorted(live, key=int, reverse=True):
        parts = set(live[base].values())
        if parts <= seen and base not in started:
            found.append(base)
        seen |= parts
    return tuple(found)


def _adopt(link: Link, state: Submission) -> dict[str, dict[str, int]]:
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


def send_all(decisions: Sequence[Decision], state: Submission) -> None:
    """Send what was decided, as far as there is room; `state` knows what became of each link.

    Raises
    ------
    SlurmError
        If Slurm refuses a job; those before it stay in the queue.
    """
    for decision in decisions:
        link = decision.link
        waits = [state.sent[name] for name in (*link.needs, *([link.after] if link.after else []))]
        room = state.room
        if decision.outside.is_unsent or any(sent.later for sent in waits):
            room = 0
        now = decision.parts if room is None else decision.parts[: max(0, room)]
        ids = decision.kept
        if now:
            ids = (*ids, _send_parts(link, now, _dependency(decision, state), state))
        later = len(decision.parts) - len(now)
        kind: Literal["done", "queued", "sent", "later"] = "queued" if ids else "done"
        kind = "sent" if now else "later" if later else kind
        state.sent[link.name] = Sent(link, kind, ids, len(now), later)
        if state.room is not None:
            state.room -= len(now)
        _end(decision, state)


def _end(decision: Decision, state: Submission) -> None:
    """Cancel the jobs of a link that the new ones replace."""
    if not decision.ends:
        return
    name = decision.link.name
    slurm.call("scancel", *decision.ends)
    for job_id in decision.ends:
        state.ledger.append("cancelled", name, job_id)
    if state.room is not None:
        state.room += sum(r.job_id.split("_")[0] in decision.ends for r in state.queue[name])


def _dependency(decision: Decision, state: Submission) -> str | None:
    link = decision.link
    well = [*decision.outside.job_ids]
    well += [job_id for name in link.needs for job_id in state.sent[name].job_ids]
    parts = [":".join(("afterok", *well))] if well else []
    if link.after is not None and state.sent[link.after].job_ids:
        parts.append(":".join(("afterany", *state.sent[link.after].job_ids)))
    return ",".join(parts) or None


def _send_parts(link: Link, parts: list[int], dependency: str | None, state: Submission) -> str:
    folder = state.ledger.link_folder(link.name)
    order = folder / f"order-{uuid.uuid4().hex[:12]}.json"
    write_order(order, link, parts, state.profile)
    state.ledger.append("intent", link.name, None, parts, order.name)
    limit = link.limit(state.profile)
    job_id = sbatch.send(link, state.profile, folder, order, len(parts), dependency, limit)
    state.ledger.append("sent", link.name, job_id, parts, order.name)
    return job_id
