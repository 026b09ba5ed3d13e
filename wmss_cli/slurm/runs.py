"""A user's runs on this cluster: list them, find one by its name, and cancel it."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from wmss_cli.core.errors import ConfigError, IntegrityError, SlurmError
from wmss_cli.core.files import append_durably
from wmss_cli.core.manifest import MANIFEST
from wmss_cli.core.redo import is_marked
from wmss_cli.results.study import STUDY_FILE
from wmss_cli.slurm import commands
from wmss_cli.slurm.chain import job_name
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.queue import Record, ask_queue, by_name, has_ended

_LIST = "runs.jsonl"


class Run(BaseModel):
    """One run.

    Attributes
    ----------
    run_dir : str
        Absolute path of its folder.
    config : str or None
        The YAML file that it was sent with.
    time : float
        When it was last sent, in seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    run_dir: str
    config: str | None
    time: float


def remember(run_dir: Path, config: Path | None) -> None:
    """Put a run at the top of the list."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    run = Run(
        run_dir=str(run_dir.absolute()),
        config=str(config.absolute()) if config else None,
        time=time.time(),
    )
    append_durably(folder / _LIST, run.model_dump())


def known_runs() -> list[Run]:
    """Return the runs whose folders still exist, the newest first, each once."""
    path = _folder() / _LIST
    found: dict[str, Run] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                run = Run.model_validate(json.loads(line))
            except (ValidationError, ValueError):
                continue
            found.pop(run.run_dir, None)
            found[run.run_dir] = run
    return [run for run in reversed(found.values()) if Ledger(Path(run.run_dir)).has_plan()]


def name_of(run_dir: Path) -> str:
    """Return what a command takes for a run: its folder's name, or the path if others share it."""
    same = {run.run_dir for run in known_runs() if Path(run.run_dir).name == run_dir.name}
    return run_dir.name if same == {str(run_dir.absolute())} else str(run_dir)


def find_run(name: str | None) -> Ledger:
    """Return the ledger of a run: by its folder, by that folder's name, or the newest one.

    Raises
    ------
    ConfigError
        If there is no such run, or several have that name.
    """
    if name is not None:
        _refuse_unreadable(Path(name))
    if name is not None and Path(name, "slurm").is_dir():
        # The name of "." would be empty.
        return Ledger(Path(name).absolute())
    runs = known_runs()
    if name is None:
        if not runs:
            raise ConfigError(
                "no run was submitted yet; 'wmss run CONFIG --cluster slurm' submits one"
            )
        return Ledger(Path(runs[0].run_dir))
    same = [run for run in runs if Path(run.run_dir).name == name]
    if len(same) > 1:
        raise ConfigError(
            f"{name}: {len(same)} runs have this name; give the folder, such as {same[0].run_dir}"
        )
    if not same:
        if Path(name, STUDY_FILE).is_file():
            raise ConfigError(
                f"{name}: was run on this machine, not on a cluster; 'wmss report "
                f"{shlex.quote(name)}' shows its results so far"
            )
        raise ConfigError(f"{name}: no run of this name or folder; 'wmss runs' lists yours")
    return Ledger(Path(same[0].run_dir))


def _refuse_unreadable(folder: Path) -> None:
    """Say whose run it is, if it belongs to another user and cannot be read."""
    try:
        next((folder / "slurm").iterdir(), None)
    except PermissionError:
        raise ConfigError(
            f"{folder}: the run of {_owner(folder)}, which you may not read; ask them for access, "
            "or submit one of your own with another --out"
        ) from None
    except OSError:
        # No such folder exists.
        return


def _owner(folder: Path) -> str:
    try:
        return f"user {folder.owner()}"
    except (KeyError, OSError):
        return "another user"


class Summary(Run):
    """A run and how far it has come.

    Attributes
    ----------
    stages, done : int
        How many it has, and how many have their results.
    jobs : int
        How many jobs and array tasks wait or run; None if Slurm does not answer.
    """

    stages: int
    done: int
    jobs: int | None


def summaries(runs: list[Run]) -> list[Summary]:
    """Look at the folders of runs, and once at the queue."""
    queue: dict[str, list[Record]] | None
    try:
        queue = by_name(ask_queue().values())
    except SlurmError:
        queue = None
    found = []
    for run in runs:
        try:
            steps = Ledger(Path(run.run_dir)).read_plan().steps()
        except (ConfigError, IntegrityError):
            continue
        names = {job_name(step) for step in steps}
        found.append(
            Summary(
                **run.model_dump(),
                stages=len(steps),
                done=sum(_counts(Path(step.job.out)) for step in steps),
                jobs=None
                if queue is None
                else sum(len(v) for name, v in queue.items() if name.split(".")[0] in names),
            )
        )
    return found


def _counts(out: Path) -> bool:
    return (out / MANIFEST).is_file() and not is_marked(out)


def _folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "wmss"


@dataclass(frozen=True)
class ActiveJob:
    """A job or an array that waits or runs."""

    stage: str
    name: str
    job_id: str


def active_jobs(ledger: Ledger, stages: Sequence[str]) -> list[ActiveJob]:
    """Return the jobs of a run (or only of some stages) that have not ended.

    Raises
    ------
    ConfigError
        If the run has no such stage.
    """
    plan = ledger.read_plan()
    links = plan.links()
    known = list(dict.fromkeys(link.step.label for link in links))
    for stage in stages:
        if stage not in known:
            raise ConfigError(f"{stage}: no such stage; this run has {', '.join(known)}")
    queue: dict[str, set[str]] = {}
    for record in ask_queue().values():
        if not has_ended(record.state):
            queue.setdefault(record.name, set()).add(record.job_id.split("_")[0])
    labels = {link.name: link.step.label for link in links}
    wanted = {n: label for n, label in labels.items() if not stages or label in stages}
    if not stages:
        # Those of an earlier plan of this run, too.
        wanted |= {name: name for name in ledger.submissions() if name not in wanted}
    return [
        ActiveJob(stage, name, job_id)
        for name, stage in wanted.items()
        for job_id in sorted(queue.get(name, ()), key=int)
    ]


def later_jobs(ledger: Ledger, stages: Sequence[str]) -> list[str]:
    """Return the names of the jobs that a run (or only some stages of it) has still to send."""
    links = ledger.read_plan().links()
    wanted = {link.name for link in links if link.step.label in stages}
    return [name for name in ledger.later() if not stages or name in wanted]


def cancel(ledger: Ledger, jobs: Sequence[ActiveJob], later: Sequence[str] = ()) -> None:
    """Cancel jobs, those that wait for others first, and write that down.

    Parameters
    ----------
    later : sequence of str
        From :func:`later_jobs`: these will not be sent any more.
    """
    with ledger.alone():
        for name in later:
            ledger.append("cancelled", name)
        if jobs:
            commands.call("scancel", *(job.job_id for job in reversed(jobs)))
        for job in jobs:
            ledger.append("cancelled", job.name, job.job_id)
