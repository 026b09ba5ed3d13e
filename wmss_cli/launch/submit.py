"""Submit a plan: refuse first, decide next, then write down, send, and cancel last.

Under the run's lock, for each link in order: what is done is left out; a job of this name that
waits or runs is taken over; for the rest an intent is written, then sbatch called, then the
ledger. Whoever dies in between is followed by one who finds the intent, and the job by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wmss_cli.core.artifact import redo
from wmss_cli.core.errors import ConfigError, IntegrityError, SlurmError
from wmss_cli.launch import slurm, states
from wmss_cli.launch.chain import absolute, chain, unknown_leads
from wmss_cli.launch.ledger import Group, Ledger, RunPlan
from wmss_cli.launch.parts import manifest_of
from wmss_cli.launch.profile import Profile
from wmss_cli.launch.refusals import (
    refuse_busy,
    refuse_ends,
    refuse_misfits,
    refuse_patterns,
    replaced_reports,
    superseded_jobs,
)
from wmss_cli.launch.sending import Decision, Sent, Submission, decide, send_all
from wmss_cli.launch.states import Record
from wmss_cli.launch.unapplied import unapplied
from wmss_cli.stages.model_checks import check_jobs
from wmss_cli.stages.plan import Step

_SUBMIT_LIMIT = re.compile(r"Submit\w*Limit")


class PartlySentError(SlurmError):
    """Slurm refused a job after it took others, which stay in the queue."""


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
    begins: Callable[[], None] = lambda: None,
    rest: bool = False,
) -> list[Sent]:
    """Send all steps that are neither done nor on their way, as many as the profile allows.

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
    begins : callable
        Is called when nothing is refused and something is to be sent, before the first job is.
    rest : bool
        Send nothing but what an earlier submission left for later; what failed is left alone.

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
    steps = [absolute(step) for step in steps]
    cluster = slurm.cluster_config()
    for name in slurm.overriding_variables():
        say(f"{name} is not used: jobs are sent as the profile says")
    ledger = Ledger(run.run_dir)
    steps = _as_called_before(steps, ledger)
    links = chain(steps, run.profile, cluster.max_array_size)
    refuse_patterns(run.run_dir)
    refuse_misfits(links, run.profile, run.profile_name)
    if not rest:
        # What is sent later was asked before, and each job asks again.
        check_jobs((step.job for step in steps), to_come(steps, force))
    with ledger.alone():
        if run.run_dir.stat().st_mode & 0o077:
            say(f"{run.run_dir} is open to others; chmod 700 it if they should not read it")
        queue = states.by_name(states.queue().values())
        if force:
            refuse_busy(steps, queue)
        reports = {} if adds else replaced_reports(ledger, links, queue)
        superseded = superseded_jobs(steps, links, queue)
        refuse_ends(run.run_dir, superseded, queue)
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
        state = Submission(ledger, run.profile, queue, _room(run.profile, queue))
        with _as_before_if_refused(steps, state, force, say):
            decisions = decide(steps, links, state, state.later if rest else None)
            ends = {d.link.name: d.ends for d in decisions if d.ends}
            refuse_ends(run.run_dir, ends, queue)
            ignored = unapplied(decisions, ledger, state.submissions, run.profile)
            if ignored is not None:
                say(ignored)
            ledger.write_plan(plan)
            if any(decision.parts for decision in decisions):
                begins()
            _send(decisions, state, adds, rest)
            _cancel(reports, state, say, "the report waits for what the study has now")
            _cancel(superseded, state, say, "its stage is cut into other parts now")
        sent = list(state.sent.values())
        unknown = unknown_leads([one.link for one in sent if one.state == "sent"], run.profile)
        if unknown is not None:
            say(unknown)
        return sent


def _room(profile: Profile, queue: Mapping[str, Sequence[Record]]) -> int | None:
    """Return how many more tasks may be sent now; all jobs of the user count."""
    if profile.max_submitted is None:
        return None
    return profile.max_submitted - sum(len(records) for records in queue.values())


@contextmanager
def _as_before_if_refused(
    steps: Sequence[Step], state: Submission, force: bool, say: Callable[[str], None]
) -> Iterator[None]:
    """Mark results as to be made again (`force`); where no job can be sent, all is as before."""
    before = state.ledger.plan_text()
    works = {Path(step.job.out): step.fingerprint for step in steps} if force else {}
    take_back = redo(works)
    try:
        yield
    except BaseException:
        if state.has_sent and force:
            say("the rest of what --force marked is sent by the next 'wmss run' without it")
        elif not state.has_sent:
            take_back()
            state.ledger.restore_plan(before)
        raise


def to_come(steps: Sequence[Step], force: bool) -> set[str]:
    """Return the folders that are made, or made again, before a step reads them."""
    again = {step.job.out for step in steps if force or manifest_of(step) is None}
    return again.union(*(step.waits for step in steps))


def _send(decisions: Sequence[Decision], state: Submission, adds: bool, rest: bool) -> None:
    """Send what was decided, and write down what is left for later."""
    try:
        try:
            send_all(decisions, state)
        except BaseException:
            if state.has_sent:
                state.put_off(decisions, adds, rest)
            raise
        state.put_off(decisions, adds, rest)
    except SlurmError as error:
        wanted = sum(bool(decision.parts) for decision in decisions)
        sent = sum(bool(one.count) for one in state.sent.values())
        advice = "the same command sends the rest, once this is mended"
        if _SUBMIT_LIMIT.search(str(error)):
            advice = (
                "the same command sends more when some have ended; with max_submitted in the "
                "profile, --wait does"
            )
            error = SlurmError(f"{error}: so many jobs may not be in the queue at once")
        if not sent:
            raise error from None
        raise PartlySentError(
            f"{error}; {sent} of {wanted} jobs are sent and stay in the queue; {advice}"
        ) from None


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


def _cancel(
    jobs: Mapping[str, Sequence[str]], state: Submission, say: Callable[[str], None], why: str
) -> None:
    """Cancel jobs that the new ones replace, by their names."""
    for name, job_ids in jobs.items():
        slurm.call("scancel", *job_ids)
        for job_id in job_ids:
            state.ledger.append("cancelled", name, job_id)
        say(f"job {', '.join(job_ids)} is cancelled: {why}")
