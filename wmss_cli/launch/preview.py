"""What a submission would send: the scripts, and what Slurm says of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmss_cli.core.errors import SlurmError
from wmss_cli.launch import sbatch, slurm, states
from wmss_cli.launch.chain import Link, absolute, chain
from wmss_cli.launch.ledger import Ledger
from wmss_cli.launch.makers import awaited
from wmss_cli.launch.profile import Profile
from wmss_cli.launch.refusals import (
    refuse_busy,
    refuse_ends,
    refuse_misfits,
    refuse_patterns,
    replaced_reports,
    superseded_jobs,
)
from wmss_cli.launch.sending import is_done, missing_parts
from wmss_cli.launch.submit import RunSettings, to_come
from wmss_cli.stages.model_checks import check_jobs
from wmss_cli.stages.plan import Step

_USUAL_ARRAY_SIZE = 1001


@dataclass(frozen=True)
class Preview:
    """What would be sent for a link.

    Attributes
    ----------
    script : str
        As sbatch would get it; the ids of jobs that do not exist yet are names in capitals.
    verdict : str or None
        What ``sbatch --test-only`` says; None where there is no Slurm.
    refused : bool
        Whether Slurm would refuse it.
    provisional : bool
        Whether its name will be another one, since something that it is made from is not here yet.
    """

    name: str
    script: str
    verdict: str | None
    refused: bool
    provisional: bool = False


def missing_inputs(steps: Sequence[Step]) -> dict[str, list[str]]:
    """Return the steps that depend on what is not here, by label, each with the paths of its own.

    Parameters
    ----------
    steps : sequence of Step
        In an order in which they can run.
    """
    outs = {step.job.out for step in steps} | {out for step in steps for out in step.waits}
    made = tuple(outs | {f"{out}/" for out in outs})
    found: dict[str, list[str]] = {}
    for step in steps:
        own = [
            path
            for path in step.job.inputs.values()
            if not path.startswith(made) and not Path(path).exists()
        ]
        if own or any(label in found for label in step.needs):
            found[step.label] = own
    return found


def refuse(
    steps: Sequence[Step], run: RunSettings, adds: bool = False, force: bool = False
) -> None:
    """Refuse what :func:`wmss_cli.launch.submit.submit` would refuse, as far as it can be seen.

    Parameters
    ----------
    steps, run, adds, force
        As of a submission.

    Raises
    ------
    ConfigError
        As a submission raises it. Where there is no Slurm, its nodes and its queue are not asked.
    """
    refuse_patterns(run.run_dir)
    check_jobs((step.job for step in steps), to_come(steps, force))
    if shutil.which("sbatch") is None:
        return
    steps = [absolute(step) for step in steps]
    links = chain(steps, run.profile, slurm.cluster_config().max_array_size)
    refuse_misfits(links, run.profile, run.profile_name)
    queue = states.by_name(states.queue().values())
    if force:
        refuse_busy(steps, queue)
    if not adds and Ledger(run.run_dir).folder.is_dir():
        replaced_reports(Ledger(run.run_dir), links, queue)
    refuse_ends(run.run_dir, superseded_jobs(steps, links, queue), queue)


def preview(steps: Sequence[Step], run_dir: Path, profile: Profile) -> Iterator[Preview]:
    """Yield what a submission would send for all steps that are not done."""
    steps = [absolute(step) for step in steps]
    here = shutil.which("sbatch") is not None
    size = slurm.cluster_config().max_array_size if here else _USUAL_ARRAY_SIZE
    links = chain(steps, profile, size)
    by_label = {step.label: step for step in steps}
    provisional = missing_inputs(steps)
    asked = here and any(step.waits for step in steps)
    queue = states.by_name(states.queue().values()) if asked else {}
    found = {step.label: awaited(step, queue) for step in steps if here or not step.waits}
    outside = {label: ("LATER",) if one.is_unsent else one.job_ids for label, one in found.items()}
    done = dict.fromkeys((*provisional, *(name for name, ids in outside.items() if ids)), False)
    for link in links:
        if is_done(by_label[link.step], done):
            continue
        placeholder = {name: name.upper() for name in (*link.needs, link.after or "")}
        needs = [n for n in link.needs if not is_done(by_label[_step_of(n, links)], done)]
        ids = [*outside.get(link.step, ()), *(placeholder[n] for n in needs)]
        well = [":".join(("afterok", *ids))] if ids else []
        after = [f"afterany:{placeholder[link.after]}"] if link.after else []
        dependency = ",".join((*well, *after)) or None
        ready = all(done.get(label, True) for label in by_label[link.step].needs)
        ready = ready and link.step not in provisional and not outside.get(link.step)
        parts = missing_parts(link, ready)
        if not parts:
            continue
        link = replace(link, tasks=tuple(link.tasks[part] for part in parts))
        folder = Ledger(run_dir).folder / link.name
        limit = link.limit(profile)
        text = sbatch.script(link, profile, folder, dependency, limit)
        verdict, refused = None, False
        if here:
            try:
                verdict = sbatch.test_only(text)
            except SlurmError as error:
                verdict, refused = str(error), True
        yield Preview(link.name, text, verdict, refused, link.step in provisional)


def _step_of(name: str, links: Sequence[Link]) -> str:
    return next(link.step for link in links if link.name == name)
