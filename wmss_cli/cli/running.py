"""How a command gets the result of one stage: here, or as jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wmss_cli.cli import console, options, submitting, tables
from wmss_cli.cli.display import Display

if TYPE_CHECKING:
    from wmss_cli.core import config as c
    from wmss_cli.core.artifact import Job
    from wmss_cli.core.manifest import Manifest
    from wmss_cli.slurm.makers import Maker


def obtain(
    resolved: c.Config,
    stage: str,
    section: c.Section,
    inputs: Mapping[str, str],
    common: options.Common,
    launch: options.Launch,
    shard: int | None = None,
) -> tuple[Path, Manifest] | None:
    """Run a stage, or submit it.

    Parameters
    ----------
    section : Section
        Options of the stage.
    inputs : mapping of str to str
        Paths by role.
    shard : int, optional
        Only this shard.

    Returns
    -------
    (Path, Manifest) or None
        The artifact; None if jobs were sent that are not done.
    """
    from wmss_cli.core.manifest import fingerprint, read_manifest
    from wmss_cli.stages.model_checks import check_job
    from wmss_cli.stages.plan import Plan, external
    from wmss_cli.stages.shards import shard_job

    plan = Plan(Path(resolved.run_dir))
    makers: dict[str, Maker | None] = dict.fromkeys(inputs)
    if resolved.launch.cluster == "slurm":
        from wmss_cli.slurm.makers import maker_of

        makers = {role: maker_of(Path(path)) for role, path in inputs.items()}
    sources = {
        role: external(Path(path)) if maker is None else maker.output(Path(path).absolute())
        for (role, path), maker in zip(inputs.items(), makers.values(), strict=True)
    }
    plan.add(stage, stage, section, sources)
    (step,) = plan.steps
    job = replace(step.job, verify_inputs=resolved.verify_inputs)
    if common.out is not None:
        job = replace(job, out=str(common.out))
    check_job(job, to_come={maker.step.job.out for maker in makers.values() if maker is not None})
    run_dir = Path(job.out).parent
    if shard is not None:
        job = shard_job(job, shard)
        prints = {role: source.fingerprint for role, source in sources.items()}
        step = replace(step, fingerprint=fingerprint(job.stage, job.identity, prints))
    if resolved.launch.cluster == "slurm":
        # Stages that are sent one by one are distinguished by their folders.
        waits = dict.fromkeys(maker.step.job.out for maker in makers.values() if maker is not None)
        step = replace(step, job=job, label=Path(job.out).name, waits=tuple(waits))
        if not submitting.submit([step], run_dir, resolved, launch, common, adds=True):
            return None
        return Path(job.out), read_manifest(Path(job.out))
    submitting.refuse_without_slurm(launch)
    return Path(job.out), _run_here(job, resolved.launch.processes, common.force)


def run_stage(
    resolved: c.Config,
    stage: str,
    inputs: Mapping[str, str],
    common: options.Common,
    launch: options.Launch,
    *,
    section: c.Section | None = None,
    shard: int | None = None,
) -> None:
    """Obtain a stage's result (see :func:`obtain`), show its numbers and print its folder.

    Without `section`, the stage's own section of the configuration is used.
    """
    if section is None:
        from wmss_cli.stages import table

        name = table.find(stage).section
        assert name is not None, stage
        section = getattr(resolved, name)
    done = obtain(resolved, stage, section, inputs, common, launch, shard)
    if done is None:
        return
    out, manifest = done
    if common.as_json:
        console.print_json(manifest.model_dump(mode="json"))
    else:
        console.err.print(tables.summary(manifest))
        console.print_line(str(out))


def _run_here(job: Job, processes: int | None, force: bool) -> Manifest:
    from wmss_cli.launch.local import run_local

    display = Display(console.err)
    with display.stage(job.stage) as watch:
        outcome = run_local(job, processes, force, watch, display.say)
    if outcome.was_done:
        display.skipped(job.stage)
    else:
        display.finished(job.stage, outcome.seconds)
    return outcome.manifest
