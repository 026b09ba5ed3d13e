"""Find and follow the log of a stage's job."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from wmss_cli.core.errors import ConfigError, SlurmError
from wmss_cli.core.selection import Selection
from wmss_cli.slurm.chain import Link
from wmss_cli.slurm.job_status import task_ids
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.queue import ask_queue
from wmss_cli.slurm.status import run_status
from wmss_cli.stages.plan import select

_LOOK_S = 1.0
_ASK_S = 30.0


def find_stage(ledger: Ledger, stage: str | None, selection: Selection) -> str:
    """Return the label of a step: by the label itself, or without its base model and seed.

    Parameters
    ----------
    ledger : Ledger
        Ledger of the run.
    stage : str or None
        Such as ``eval-wmss/s1`` or ``eval-wmss``; None is the training of the selected arm.
    selection : Selection
        The arm, seed and base model of a study that it belongs to.

    Raises
    ------
    ConfigError
        If it is not one step alone.
    """
    steps = select(ledger.read_plan().steps(), selection)
    if stage is None:
        if selection.arm is None:
            raise ConfigError("which stage? Name it as 'wmss status' does, or give --arm")
        stage = selection.arm
    labels = [step.label for step in steps]
    if stage in labels:
        return stage
    found = [label for label in labels if _bare(label) == stage]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{stage}: {len(found)} stages have this name; one is {found[0]}")
    raise ConfigError(f"{stage}: no such stage; this run has {', '.join(labels)}")


def _bare(label: str) -> str:
    """Return a label without base model and seed."""
    *before, last = label.split("/")
    return before[-1] if before and re.fullmatch(r"s\d+", last) else last


def find_log(ledger: Ledger, stage: str, rank: int = 0, task: int | None = None) -> Path:
    """Return the log of the newest job of a stage.

    Parameters
    ----------
    ledger : Ledger
        Ledger of the run.
    stage : str
        The label of a step.
    rank : int
        Process, in a job of several.
    task : int, optional
        Shard of an array; by default the first that failed, or the newest.

    Raises
    ------
    ConfigError
        If there is no such stage, or it has no log yet.
    """
    plan = ledger.read_plan()
    links = plan.links()
    own = [link for link in links if link.step.label == stage]
    if not own:
        names = ", ".join(dict.fromkeys(link.step.label for link in links))
        raise ConfigError(f"{stage}: no such stage; this run has {names}")
    found = _logs(ledger, own, rank, task)
    if not found:
        raise ConfigError(f"{stage}: no log yet; 'wmss status' says what it waits for")
    if task is None and len(found) > 1:
        (status,) = (s for s in run_status(ledger).stages if s.label == stage)
        if status.failure is not None and Path(status.failure.log) in found:
            return Path(status.failure.log)
    return max(found, key=lambda path: path.stat().st_mtime)


def _logs(ledger: Ledger, links: list[Link], rank: int, task: int | None) -> list[Path]:
    submissions = ledger.submissions()
    found = []
    for link in links:
        for entry in submissions.get(link.name, []):
            for job_id, index in zip(task_ids(entry), entry.parts, strict=True):
                shard = link.jobs[index].config.get("shard")
                log = ledger.folder / link.name / f"{job_id}_{rank}_log.out"
                if task in (None, shard) and log.is_file():
                    found.append(log)
    return found


def follow_log(log: Path) -> Iterator[str]:
    """Yield lines as they are written, until the job has ended."""
    job_id = log.name.rsplit("_", 2)[0]
    asked = -_ASK_S
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        over = False
        line = ""
        while True:
            line += file.readline()
            if line.endswith("\n") or (line and over):
                yield line.rstrip("\n")
                line = ""
                continue
            if over:
                return
            if time.monotonic() - asked > _ASK_S:
                asked = time.monotonic()
                # That the controller is busy for a moment does not end a job.
                with suppress(SlurmError):
                    record = ask_queue().get(job_id)
                    over = record is None or not record.is_active
            time.sleep(_LOOK_S)
