"""The dry run: what a submission would do now, with the scripts and what Slurm says about them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmss_cli.core.errors import SlurmError
from wmss_cli.slurm import commands, script
from wmss_cli.slurm.chain import Group, chain
from wmss_cli.slurm.decide import (
    Decision,
    Queue,
    decide,
    refuse_ends,
    refuse_misfits,
    refuse_patterns,
    refuse_ranks,
)
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.queue import ask_queue, by_name
from wmss_cli.slurm.send import check_models, dependency_of, left_out, prepared, replaced_jobs
from wmss_cli.stages.plan import Step

_USUAL_ARRAY_SIZE = 1001


@dataclass(frozen=True)
class Preview:
    """What a submission would do with a link.

    Attributes
    ----------
    decision : Decision
        The decision on the link, as of now.
    script : str or None
        As sbatch would get it, with all missing array tasks; the ids of jobs that do not exist
        yet are names in capitals. None if all of it is in the queue.
    verdict : str or None
        What ``sbatch --test-only`` says; None if there is no Slurm.
    refused : bool
        Whether Slurm would refuse it.
    provisional : bool
        Whether its name will change, since something that it is made from does not exist yet.
    """

    decision: Decision
    script: str | None = None
    verdict: str | None = None
    refused: bool = False
    provisional: bool = False


def preview(
    run_dir: Path, groups: Sequence[Group], *, adds: bool = False, force: bool = False
) -> Iterator[Preview]:
    """Yield what a submission would do now with all that is not done; nothing is changed.

    Raises
    ------
    ConfigError
        As a submission raises it. Without Slurm, nodes and queue are not checked.
    """
    here = slurm_is_here()
    ledger = Ledger(run_dir)
    size = commands.cluster_config().max_array_size if here else _USUAL_ARRAY_SIZE
    groups = [prepared(group, ledger, size) for group in groups]
    provisional = missing_inputs([step for group in groups for step in group.steps])
    refuse_patterns(run_dir)
    check_models(groups, force)
    links = chain(groups)
    again = {link.step.job.out for link in links if force or link.step.label in provisional}
    refuse_ranks(links)
    queue: Queue = {}
    if here:
        refuse_misfits(links)
        queue = by_name(ask_queue().values())
        replaced_jobs(ledger, links, queue, adds, force)
    else:
        # Who makes what is not here is not known.
        again |= {link.step.job.out for link in links if link.step.waits}
        links = [replace(link, step=replace(link.step, waits=())) for link in links]
    decisions = decide(links, ledger, queue, again=again)
    left_out(decisions)
    refuse_ends(run_dir, {d.link.name: d.ends for d in decisions if d.ends}, queue)
    ids: dict[str, Sequence[str]] = {}
    for decision in decisions:
        link, parts = decision.link, (*decision.now, *decision.later)
        ids[link.name] = (*decision.kept, *([link.name.upper()] if parts else []))
        if not parts:
            if decision.kept:
                yield Preview(decision)
            continue
        if decision.outside.is_unsent:
            outside = replace(decision.outside, job_ids=("LATER",))
            decision = replace(decision, outside=outside)
        folder, dependency = ledger.folder / link.name, dependency_of(decision, ids)
        text = script.render(link, folder, len(parts), dependency)
        verdict, refused = None, False
        if here:
            try:
                verdict = script.test_only(text)
            except SlurmError as error:
                verdict, refused = str(error), True
        yield Preview(decision, text, verdict, refused, link.step.label in provisional)


def slurm_is_here() -> bool:
    """Return whether this machine can ask Slurm."""
    return shutil.which("sbatch") is not None


def missing_inputs(steps: Sequence[Step]) -> dict[str, list[str]]:
    """Return the steps whose inputs do not exist, by label, each with its own missing paths.

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
