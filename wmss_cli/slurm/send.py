"""Submit a plan: refuse first, decide next, then write down, send, and cancel last.

Under the run's lock, for each link in order: finished work is left out; a job of this name that
waits or runs is kept; for the rest an intent is written, sbatch is called, and the job's id goes to
the ledger. If a sender is killed in between, the intent remains, and the next one finds the job by
its name.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from wmss_cli.core.artifact import redo
from wmss_cli.core.errors import ConfigError, IntegrityError, SlurmError
from wmss_cli.slurm import commands, script
from wmss_cli.slurm.chain import Group, Link, absolute, chain, unknown_leads
from wmss_cli.slurm.decide import (
    Decision,
    Queue,
    decide,
    refuse_busy,
    refuse_ends,
    refuse_misfits,
    refuse_patterns,
    refuse_ranks,
    replaced_reports,
    superseded_jobs,
)
from wmss_cli.slurm.job_status import manifest_of
from wmss_cli.slurm.ledger import Ledger, RunPlan
from wmss_cli.slurm.queue import ask_queue, by_name
from wmss_cli.slurm.task import write_order
from wmss_cli.slurm.unapplied import unapplied
from wmss_cli.stages.model_checks import check_jobs
from wmss_cli.stages.plan import Step

_SUBMIT_LIMIT = re.compile(r"Submit\w*Limit")

Ends = Mapping[str, Sequence[str]]
"""Jobs to cancel, by name."""


class PartlySentError(SlurmError):
    """Slurm refused a job after it took others, which stay in the queue."""


def submit(
    run_dir: Path,
    groups: Sequence[Group],
    config: Path | None = None,
    *,
    adds: bool = False,
    force: bool = False,
    rest: bool = False,
    say: Callable[[str], None] = lambda _: None,
    begins: Callable[[], None] = lambda: None,
) -> list[Decision]:
    """Send all steps that are neither done nor on their way, as many as the profiles allow.

    Parameters
    ----------
    run_dir : Path
        Absolute; gets the folder ``slurm``.
    groups : sequence of Group
        What to do, and how to send it. The cluster says how long an array may be.
    config : Path, optional
        Where the options came from.
    adds : bool
        Whether what was sent from this folder before stays in the run's plan.
    force : bool
        Make again what exists. Nothing is removed: each result stays until its successor is
        complete, and what was marked but not sent is sent by the next submission.
    rest : bool
        Send only what an earlier submission left for later; what failed is left alone.
    say : callable
        Called with each line that the user should read.
    begins : callable
        Called before the first job is sent, if nothing is refused and something is to be sent.

    Raises
    ------
    SlurmError
        If Slurm refuses the first job. Then nothing is changed.
    PartlySentError
        If it refuses a later one; those before it stay in the queue.
    ConfigError
        If a running job would be cancelled, or `force` meets a job that waits or runs, or a
        process that writes one of the results.
    """
    cluster = commands.cluster_config()
    for name in commands.overriding_variables():
        say(f"{name} is not used: jobs are sent as the profile says")
    ledger = Ledger(run_dir)
    groups = [prepared(group, ledger, cluster.max_array_size) for group in groups]
    links = chain(groups)
    refuse_patterns(run_dir)
    refuse_misfits(links)
    refuse_ranks(links)
    if not rest:
        # What is sent later was checked before, and each job checks again.
        check_models(groups, force)
    with ledger.alone():
        if run_dir.stat().st_mode & 0o077:
            say(f"{run_dir} is open to others; chmod 700 it if they should not read it")
        queue = by_name(ask_queue().values())
        reports, superseded = replaced_jobs(ledger, links, queue, adds, force)
        plan = RunPlan(
            groups=ledger.read_plan().adding(groups) if adds and ledger.has_plan() else groups,
            accounting=cluster.accounting,
            config=str(config) if config else None,
        )
        sent: list[Decision] = []
        with _as_before_if_refused(groups, ledger, sent, force, say):
            decisions = decide(links, ledger, queue, rest=rest)
            _adopt(decisions, ledger)
            for problem in [] if rest else left_out(decisions):
                say(f"left out: {problem}")
            refuse_ends(run_dir, {d.link.name: d.ends for d in decisions if d.ends}, queue)
            for line in unapplied(decisions, ledger):
                say(line)
            ledger.write_plan(plan)
            if any(decision.now or decision.later for decision in decisions):
                begins()
            _send(decisions, ledger, sent, adds, rest)
            _cancel(reports, ledger, say, "the report waits for the study as it is now")
            _cancel(superseded, ledger, say, "its stage is split differently now")
        unknown = unknown_leads([decision.link for decision in sent if decision.now])
        if unknown is not None:
            say(unknown)
        return sent


def send_rest(ledger: Ledger) -> int:
    """Send what an earlier submission left for later, as far as there is room.

    Jobs that failed meanwhile are left alone, and so are jobs that need them.

    Returns
    -------
    int
        Jobs and array tasks that only wait for room.

    Raises
    ------
    SlurmError
        If Slurm refuses, or does not answer.
    """
    later = ledger.later()
    if not later:
        return 0
    plan = ledger.read_plan()
    if not any(link.name in later for link in plan.links()):
        # From another configuration, or split differently.
        return 0
    config = Path(plan.config) if plan.config else None
    sent = submit(ledger.run_dir, plan.groups, config, adds=True, rest=True)
    return sum(len(decision.later) for decision in sent)


def prepared(group: Group, ledger: Ledger, max_array_size: int) -> Group:
    """Fit a group to this cluster and this run: absolute paths, and jobs named as before."""
    steps = _as_called_before([absolute(step) for step in group.steps], ledger)
    return group.model_copy(update={"steps": steps, "max_array_size": max_array_size})


def _as_called_before(steps: Sequence[Step], ledger: Ledger) -> list[Step]:
    """Keep the names of jobs, though an arm or a seed more may change the labels of steps."""
    try:
        before = ledger.read_plan().steps()
    except (ConfigError, IntegrityError):
        # Nothing was sent, or another version of wmss sent it.
        before = []
    names = {(step.job.out, step.fingerprint): step.called or step.label for step in before}
    return [
        replace(step, called=names.get((step.job.out, step.fingerprint), step.called))
        for step in steps
    ]


def check_models(groups: Sequence[Group], force: bool) -> None:
    """Refuse stages that cannot work with their models, as far as those exist."""
    steps = [step for group in groups for step in group.steps]
    made = {step.job.out for step in steps if force or manifest_of(step) is None}
    check_jobs((step.job for step in steps), made.union(*(step.waits for step in steps)))


def replaced_jobs(
    ledger: Ledger, links: Sequence[Link], queue: Queue, adds: bool, force: bool
) -> tuple[Ends, Ends]:
    """Return the reports and the differently split jobs to replace, or refuse the submission."""
    if force:
        refuse_busy(links, queue)
    reports = {} if adds else replaced_reports(ledger, links, queue)
    superseded = superseded_jobs(links, queue)
    refuse_ends(ledger.run_dir, superseded, queue)
    return reports, superseded


def left_out(decisions: Sequence[Decision]) -> list[str]:
    """Return why some steps cannot be sent, while others can.

    Raises
    ------
    ConfigError
        If there is nothing else.
    """
    problems = [decision.problem for decision in decisions if decision.problem]
    if problems and not any(one.now or one.later or one.kept for one in decisions):
        raise ConfigError(problems[0])
    return problems


@contextmanager
def _as_before_if_refused(
    groups: Sequence[Group],
    ledger: Ledger,
    sent: Sequence[Decision],
    force: bool,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Mark results as to be made again (`force`); if no job can be sent, all is as before."""
    before = ledger.plan_text()
    steps = [step for group in groups for step in group.steps]
    works = {Path(step.job.out): step.fingerprint for step in steps} if force else {}
    take_back = redo(works)
    try:
        yield
    except BaseException:
        has_sent = any(decision.sent for decision in sent)
        if has_sent and force:
            say("the next 'wmss run' without --force sends the rest of what it marked")
        elif not has_sent:
            take_back()
            ledger.restore_plan(before)
        raise


def _send(
    decisions: Sequence[Decision], ledger: Ledger, sent: list[Decision], adds: bool, rest: bool
) -> None:
    """Carry decisions out, add each to `sent` when that is done, and write down what is left."""
    try:
        try:
            for decision in decisions:
                if decision.now:
                    ids = {other.link.name: other.job_ids for other in sent}
                    job_id = _send_tasks(decision, dependency_of(decision, ids), ledger)
                    decision = replace(decision, sent=job_id)
                sent.append(decision)
                _cancel({decision.link.name: decision.ends} if decision.ends else {}, ledger)
        except BaseException:
            if any(decision.sent for decision in sent):
                _put_off(decisions, ledger, sent, adds, rest)
            raise
        _put_off(decisions, ledger, sent, adds, rest)
    except SlurmError as error:
        wanted = sum(bool(decision.now or decision.later) for decision in decisions)
        count = sum(decision.sent is not None for decision in sent)
        advice = "the same command sends the rest once this is fixed"
        if _SUBMIT_LIMIT.search(str(error)):
            advice = (
                "the same command sends more when some have ended; with max_submitted in the "
                "profile, --wait does so"
            )
            error = SlurmError(f"{error}: you may not have that many jobs in the queue at once")
        if not count:
            raise error from None
        raise PartlySentError(
            f"{error}; {count} of {wanted} jobs are sent and stay in the queue; {advice}"
        ) from None


def _adopt(decisions: Sequence[Decision], ledger: Ledger) -> None:
    """Enter jobs in the ledger whose sender was killed, and complete what they need to start."""
    for decision in decisions:
        for entry in decision.adopted:
            folder = ledger.link_folder(entry.name)
            if entry.order:
                ids = (entry.job_id or "", len(entry.parts))
                script.restore_pickles(folder / entry.order, *ids)
            ledger.append("adopted", entry.name, entry.job_id, entry.parts, entry.order)


def _send_tasks(decision: Decision, dependency: str | None, ledger: Ledger) -> str:
    link, parts = decision.link, list(decision.now)
    folder = ledger.link_folder(link.name)
    order = folder / f"order-{uuid.uuid4().hex[:12]}.json"
    write_order(order, link, parts)
    ledger.append("intent", link.name, None, parts, order.name)
    job_id = script.send(link, folder, order, len(parts), dependency)
    ledger.append("sent", link.name, job_id, parts, order.name)
    return job_id


def dependency_of(decision: Decision, ids: Mapping[str, Sequence[str]]) -> str | None:
    """Return what sbatch is told to wait for; `ids` are the jobs of each link before this one."""
    link = decision.link
    well = [*decision.outside.job_ids, *(i for name in link.needs for i in ids.get(name, ()))]
    parts = [":".join(("afterok", *well))] if well else []
    if link.after is not None and ids.get(link.after):
        parts.append(":".join(("afterany", *ids[link.after])))
    return ",".join(parts) or None


def _put_off(
    decisions: Sequence[Decision],
    ledger: Ledger,
    sent: Sequence[Decision],
    adds: bool,
    rest: bool,
) -> None:
    """Write down what of the decisions was not sent.

    What other submissions have still to send stays (`adds`); so does what cannot be sent now
    because something that it needs has failed or is not visible yet (`rest`).
    """
    before = ledger.later()
    done = {decision.link.name for decision in sent}
    left: dict[str, list[int]] = {}
    for decision in decisions:
        name = decision.link.name
        left[name] = [*(() if name in done else decision.now), *decision.later]
        if rest and decision.is_dead:
            left[name] = before.get(name, [])
    known = {name: parts for name, parts in before.items() if not adds or name in left}
    ledger.put_off({name: parts for name, parts in left.items() if parts}, known)


def _cancel(
    jobs: Ends, ledger: Ledger, say: Callable[[str], None] = lambda _: None, why: str = ""
) -> None:
    """Cancel replaced jobs, by their names."""
    for name, job_ids in jobs.items():
        commands.call("scancel", *job_ids)
        for job_id in job_ids:
            ledger.append("cancelled", name, job_id)
        say(f"job {', '.join(job_ids)} is cancelled: {why}")
