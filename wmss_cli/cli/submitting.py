"""What a command shows when its stages become jobs: the scripts, the table, the next command."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from wmss_cli.cli import console, options
from wmss_cli.cli.display import Display, number
from wmss_cli.core.errors import ConfigError, SlurmError
from wmss_cli.core.selection import Selection

if TYPE_CHECKING:
    from wmss_cli.core import config as c
    from wmss_cli.slurm.chain import Group
    from wmss_cli.slurm.decide import Decision
    from wmss_cli.slurm.ledger import Ledger
    from wmss_cli.slurm.profile import Resources
    from wmss_cli.stages.plan import Step


def refuse_without_slurm(launch: options.Launch) -> None:
    """Refuse options that only mean something for jobs."""
    for name, given in (("--dry-run", launch.dry_run), ("--slurm", launch.slurm)):
        if given:
            raise ConfigError(f"{name} is for jobs; add --cluster slurm")


def submit(
    steps: Sequence[Step],
    run_dir: Path,
    resolved: c.Config,
    launch: options.Launch,
    common: options.Common,
    adds: bool = False,
    begun: Callable[[], None] = lambda: None,
) -> bool:
    """Submit the steps of a run, or show what would be; return whether all is done now.

    Parameters
    ----------
    steps : sequence of Step
        Steps of a plan.
    run_dir : Path
        Folder of the run.
    adds : bool
        Whether the steps are added to those that were sent from this folder before; otherwise they
        are the whole run.
    begun : callable
        Called once jobs are sent, before they are waited for; not if all were refused.
    """
    # Here, because they import submitit, which other commands do not need.
    from wmss_cli.slurm.chain import Group
    from wmss_cli.slurm.profile import load_profile
    from wmss_cli.slurm.send import PartlySentError, submit

    name = resolved.launch.profile
    if name is None:
        raise ConfigError(
            "--cluster slurm needs a profile: --profile h800:8b, generic-gpu, cpu or a YAML file "
            "('wmss init --profile' writes one for this cluster)"
        )
    profile = load_profile(name, tuple(launch.slurm or ()))
    verify = resolved.verify_inputs
    steps = [replace(step, job=replace(step.job, verify_inputs=verify)) for step in steps]
    groups = [Group(steps=steps, profile=profile, profile_name=name, max_array_size=1)]
    display = Display(console.err)
    run_dir = run_dir.absolute()
    if launch.dry_run:
        _dry_run(run_dir, groups, adds, common.force)
        return False
    try:
        decisions = submit(
            run_dir,
            groups,
            common.config,
            adds=adds,
            force=common.force,
            say=display.say,
            begins=lambda: _remember(run_dir, common.config, display),
        )
    except PartlySentError:
        begun()
        raise
    begun()
    if all(decision.state == "done" for decision in decisions):
        return True
    # One JSON document: what was waited for, not what was sent.
    if not (launch.wait and common.as_json):
        _show(decisions, run_dir, common.as_json)
    if launch.wait:
        from wmss_cli.cli.following import follow

        return follow(run_dir, display)
    return False


def resubmit(ledger: Ledger, launch: options.Launch, selection: Selection, as_json: bool) -> None:
    """Submit what failed or is missing of a run, as it was submitted or with another profile."""
    from wmss_cli.slurm.profile import change_profile, load_profile
    from wmss_cli.slurm.send import submit
    from wmss_cli.stages.plan import select

    plan = ledger.read_plan()
    changes = tuple(launch.slurm or ())
    display = Display(console.err)
    run_dir = ledger.run_dir.absolute()
    config = Path(plan.config) if plan.config else None
    part = select(plan.steps(), selection)
    wanted = {step.job.out for step in part}
    groups = []
    # Stages that were sent one by one may have profiles of their own.
    for group in plan.groups:
        steps = [step for step in group.steps if step.job.out in wanted]
        if not steps:
            continue
        name = launch.profile or group.profile_name
        profile = (
            load_profile(name, changes)
            if launch.profile
            else change_profile(group.profile, changes)
        )
        changed = {"steps": steps, "profile": profile, "profile_name": name}
        groups.append(group.model_copy(update=changed))
    if launch.dry_run:
        _dry_run(run_dir, groups, adds=True, force=False)
        return
    decisions = submit(
        run_dir,
        groups,
        config,
        adds=True,
        say=display.say,
        begins=lambda: _remember(run_dir, config, display),
    )
    if all(decision.state == "done" for decision in decisions):
        display.say("Everything is done; there is nothing to submit.")
        return
    _show(decisions, run_dir, as_json)
    if launch.wait:
        from wmss_cli.cli.following import follow

        follow(run_dir, display)


def _remember(run_dir: Path, config: Path | None, display: Display) -> None:
    from wmss_cli.slurm.runs import remember

    try:
        remember(run_dir, config)
    except OSError as error:
        # The jobs are sent anyway.
        display.say(f"the list of runs cannot be written ({error}): refer to it by its folder")


def _dry_run(run_dir: Path, groups: Sequence[Group], adds: bool, force: bool) -> None:
    from wmss_cli.slurm.dry_run import missing_inputs, preview, slurm_is_here

    refused = 0
    for shown in preview(run_dir, groups, adds=adds, force=force):
        decision = shown.decision
        marks = " (provisional)" if shown.provisional else ""
        if decision.kept:
            marks += f" (queued before: {_few(decision.kept)})"
        if decision.later:
            marks += f" ({len(decision.later)} sent later: max_submitted)"
        console.err.print(f"[bold]{decision.link.name}[/]{marks}", highlight=False, soft_wrap=True)
        if shown.script is not None:
            console.print_line(shown.script)
        if shown.verdict is not None:
            refused += shown.refused
            style = "red" if shown.refused else "green"
            console.err.print(f"[{style}]sbatch --test-only:[/] ", end="", highlight=False)
            console.err.print(shown.verdict, markup=False, highlight=False, soft_wrap=True)
    missing = missing_inputs([step for group in groups for step in group.steps])
    paths = sorted({path for own in missing.values() for path in own})
    if paths:
        console.err.print(
            f"Missing: {', '.join(paths)}. Everything made from them is marked as "
            "provisional: its names and folders will end in other fingerprints.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if not slurm_is_here():
        console.err.print("There is no Slurm here: nodes, limits and the queue were not checked.")
    console.err.print("Nothing was submitted.")
    if refused:
        raise SlurmError(f"Slurm would refuse {refused} of these jobs; change the profile")


def _show(decisions: Sequence[Decision], run_dir: Path, as_json: bool) -> None:
    from wmss_cli.slurm.runs import name_of

    if as_json:
        console.print_json(
            [
                {
                    "name": decision.link.name,
                    "stage": decision.link.step.label,
                    "state": decision.state,
                    "jobs": list(decision.job_ids),
                    "tasks": len(decision.link.jobs),
                    "later": len(decision.later),
                }
                for decision in decisions
            ]
        )
        return
    labels = {decision.link.name: decision.link.step.label for decision in decisions}
    # What does not fit on the terminal is cut off in the last column.
    widest = max(map(len, labels.values()))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage", no_wrap=True, min_width=widest)
    table.add_column("job", justify="right", no_wrap=True, min_width=len("123, 124 +1"))
    table.add_column("asks for", no_wrap=True, min_width=len("queued before"))
    table.add_column("limit", justify="right", no_wrap=True, min_width=len("120 min"))
    table.add_column("waits for", overflow="ellipsis", no_wrap=True)
    waited = {decision.link.name for decision in decisions if decision.job_ids}
    steps = {decision.link.step.job.out: decision.link.step.label for decision in decisions}
    for out, label in steps.items():
        own = [decision for decision in decisions if decision.link.step.job.out == out]
        new = [decision for decision in own if decision.now]
        ids = dict.fromkeys(i.split("_")[0] for one in own for i in one.job_ids)
        if not new:
            state = "sent later" if any(one.later for one in own) else "done before"
            table.add_row(label, _few(list(ids)), "queued before" if ids else state, "", "")
            continue
        resources = new[0].link.resources
        needs = dict.fromkeys(
            labels[name] for one in own for name in one.link.needs if name in waited
        )
        table.add_row(
            label,
            _few(list(ids)),
            _asks(resources, sum(len(one.now) for one in new if not one.link.merges)),
            _limit(resources.time_limit_min),
            _few([need for need in needs if need != label]),
        )
    console.out.print(table)
    later = sum(len(decision.later) for decision in decisions)
    if later:
        limits = {decision.link.profile.max_submitted for decision in decisions}
        most = min((limit for limit in limits if limit is not None), default=None)
        why = "after what they need" if most is None else f"max_submitted: {most}"
        said = (
            f"{number(later, 'job')} will be sent later ({why}): "
            "by --wait as others end, or when you type the same command again"
        )
        console.err.print(said, highlight=False, soft_wrap=True)
    console.err.print(
        f"next: wmss status {shlex.quote(name_of(run_dir))}    (wmss logs, wmss cancel)",
        highlight=False,
        soft_wrap=True,
    )


def _limit(minutes: int) -> str:
    return f"{minutes // 60} h" if minutes % 60 == 0 and minutes > 60 else f"{minutes} min"


def _few(names: Sequence[str]) -> str:
    """Name the first two, and count the others."""
    more = f" +{len(names) - 2}" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


def _asks(resources: Resources, tasks: int) -> str:
    """Say what a job or an array asks for: ``2 nodes x 8 GPUs``, ``40 x 1 GPU``, ``4 CPUs``."""
    if resources.gpus_per_node:
        plural = "s" if resources.gpus_per_node > 1 else ""
        one = f"{resources.gpus_per_node} GPU{plural}"
        if resources.nodes > 1:
            one = f"{resources.nodes} nodes x {one}"
    else:
        count = resources.cpus_per_task * resources.tasks
        one = f"{count} CPU{'s' if count > 1 else ''}"
    return f"{tasks} x {one}" if tasks > 1 else one
