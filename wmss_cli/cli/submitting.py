"""What a command shows when its stages become jobs: the scripts, the table, the way on."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from wmss_cli.cli import console, options
from wmss_cli.cli.display import Display, number
from wmss_cli.core.errors import ConfigError, SlurmError

if TYPE_CHECKING:
    from wmss_cli.core import config as c


def refuse_without_slurm(launch: options.Launch) -> None:
    """Refuse options that only mean something for jobs."""
    for name, given in (("--dry-run", launch.dry_run), ("--slurm", launch.slurm)):
        if given:
            raise ConfigError(f"{name} is for jobs; add --cluster slurm")


def submit(
    steps: Sequence[Any],
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
        Of a plan.
    run_dir : Path
        Of the run.
    adds : bool
        Whether the steps stand beside those that were sent from this folder before; else they
        are the whole run.
    begun : callable
        Is called when jobs are sent, before they are waited for; not where all was refused.
    """
    # Here, because they bring submitit, which other commands do without.
    from wmss_cli.launch.profile import load_profile
    from wmss_cli.launch.submit import PartlySentError, RunSettings, submit

    if resolved.launch.profile is None:
        raise ConfigError(
            "--cluster slurm needs a profile: --profile h800:8b, generic-gpu, cpu or a YAML file "
            "('wmss init --profile' writes one for this cluster)"
        )
    profile = load_profile(resolved.launch.profile, tuple(launch.slurm or ()))
    verify = resolved.verify_inputs
    steps = [replace(step, job=replace(step.job, verify_inputs=verify)) for step in steps]
    display = Display(console.err)
    run_dir = run_dir.absolute()
    run = RunSettings(run_dir, profile, resolved.launch.profile, common.config)
    if launch.dry_run:
        _dry_run(steps, run, adds, common.force)
        return False
    try:
        sent = submit(
            steps,
            run,
            adds=adds,
            force=common.force,
            say=display.say,
            begins=lambda: _remember(run_dir, common.config, display),
        )
    except PartlySentError:
        begun()
        raise
    begun()
    if all(link.state == "done" for link in sent):
        return True
    # One JSON document: what was waited for, not what was sent.
    if not (launch.wait and common.as_json):
        _show(sent, profile, run_dir, common.as_json)
    if launch.wait:
        from wmss_cli.cli.following import follow

        return follow(run_dir, display)
    return False


def resubmit(
    ledger: Any, launch: options.Launch, selection: options.Selection, as_json: bool
) -> None:
    """Submit what failed or is missing of a run, as it was submitted or with another profile."""
    from wmss_cli.launch.profile import change_profile, load_profile
    from wmss_cli.launch.submit import RunSettings, submit
    from wmss_cli.stages.plan import select

    plan = ledger.read_plan()
    changes = tuple(launch.slurm or ())
    display = Display(console.err)
    run_dir = ledger.run_dir.absolute()
    config = Path(plan.config) if plan.config else None
    sent: list[Any] = []
    # Stages that were sent one by one may have profiles of their own.
    part = select(plan.plan(), selection.arm, selection.seed, selection.model)
    wanted = {step.label for step in part}
    for group in plan.groups:
        steps = [step for step in group.steps if step.label in wanted]
        if not steps:
            continue
        name = launch.profile or group.profile_name
        profile = (
            load_profile(name, changes)
            if launch.profile
            else change_profile(group.profile, changes)
        )
        run = RunSettings(run_dir, profile, name, config)
        if launch.dry_run:
            _dry_run(steps, run, adds=True, force=False)
            continue
        new = submit(
            steps,
            run,
            adds=True,
            say=display.say,
            begins=lambda: _remember(run_dir, config, display),
        )
        sent += new
        if any(link.state != "done" for link in new):
            _show(new, profile, run_dir, as_json)
    if launch.dry_run:
        return
    if all(link.state == "done" for link in sent):
        display.say("All is done; nothing to submit.")
    elif launch.wait:
        from wmss_cli.cli.following import follow

        follow(run_dir, display)


def _remember(run_dir: Path, config: Path | None, display: Display) -> None:
    from wmss_cli.launch.runs import remember

    try:
        remember(run_dir, config)
    except OSError as error:
        # The jobs are sent all the same.
        display.say(f"the list of runs cannot be written ({error}): name this one by its folder")


def _dry_run(steps: Sequence[Any], run: Any, adds: bool, force: bool) -> None:
    from wmss_cli.launch.preview import missing_inputs, preview, refuse

    refuse(steps, run, adds, force)
    refused = 0
    for shown in preview(steps, run.run_dir, run.profile):
        mark = " (provisional)" if shown.provisional else ""
        console.err.print(f"[bold]{shown.name}[/]{mark}", highlight=False, soft_wrap=True)
        console.print_line(shown.script)
        if shown.verdict is not None:
            refused += shown.refused
            style = "red" if shown.refused else "green"
            console.err.print(f"[{style}]sbatch --test-only:[/] ", end="", highlight=False)
            console.err.print(shown.verdict, markup=False, highlight=False, soft_wrap=True)
    missing = sorted({path for paths in missing_inputs(steps).values() for path in paths})
    if missing:
        console.err.print(
            f"Not here yet: {', '.join(missing)}. What is made from it is marked as provisional: "
            "its names and folders will end in other fingerprints.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    console.err.print("Nothing was submitted.")
    if refused:
        raise SlurmError(f"Slurm would refuse {refused} of these jobs; change the profile")


def _show(sent: Sequence[Any], profile: Any, run_dir: Path, as_json: bool) -> None:
    from wmss_cli.launch.runs import name_of

    if as_json:
        console.print_json(
            [
                {
                    "name": link.link.name,
                    "stage": link.link.step,
                    "state": link.state,
                    "jobs": list(link.job_ids),
                    "tasks": len(link.link.tasks),
                    "later": link.later,
                }
                for link in sent
            ]
        )
        return
    steps = {link.link.name: link.link.step for link in sent}
    # What is too long for the terminal is cut in the last column.
    widest = max(map(len, steps.values()))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage", no_wrap=True, min_width=widest)
    table.add_column("job", justify="right", no_wrap=True, min_width=len("123, 124 +1"))
    table.add_column("asks for", no_wrap=True, min_width=len("queued before"))
    table.add_column("limit", justify="right", no_wrap=True, min_width=len("120 min"))
    table.add_column("waits for", overflow="ellipsis", no_wrap=True)
    waited = {link.link.name for link in sent if link.job_ids}
    for step in dict.fromkeys(steps.values()):
        own = [link for link in sent if link.link.step == step]
        new = [link for link in own if link.state == "sent"]
        ids = dict.fromkeys(i.split("_")[0] for link in own for i in link.job_ids)
        if not new:
            state = "sent later" if any(link.later for link in own) else "done before"
            table.add_row(step, _few(list(ids)), "queued before" if ids else state, "", "")
            continue
        resources = new[0].link.resources(profile)
        needs = dict.fromkeys(
            steps[name] for link in own for name in link.link.needs if name in waited
        )
        table.add_row(
            step,
            _few(list(ids)),
            _asks(resources, sum(link.count for link in new if not link.link.tasks[0].merge)),
            _limit(resources.time_limit_min),
            _few([need for need in needs if need != step]),
        )
    console.out.print(table)
    later = sum(link.later for link in sent)
    if later:
        said = (
            f"{number(later, 'job')} will be sent later (max_submitted: {profile.max_submitted}): "
            "by --wait as others end, or when the same is typed again"
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


def _asks(resources: Any, tasks: int) -> str:
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
