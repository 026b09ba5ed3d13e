"""What was sent for a run: the plan, and one line for each intent and each submission.

Layout on disk, readable by the user alone::

    RUN_DIR/slurm/plan.json        the steps, the profile and the cluster's limits
    RUN_DIR/slurm/ledger.jsonl     intents, submissions, adoptions, cancellations
    RUN_DIR/slurm/JOB-NAME/        script, pickles, orders, logs, errors that were reported
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from wmss_cli.core import files
from wmss_cli.core.artifact import locks_there
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.slurm.chain import Group, Link, chain, in_order
from wmss_cli.stages.plan import Step

_PATIENCE_S = 600.0

Event = Literal["intent", "sent", "adopted", "cancelled", "later"]


class Entry(BaseModel):
    """A line of the ledger.

    Attributes
    ----------
    event : str
        ``intent`` comes before sbatch, ``sent`` after it; ``adopted`` is a job that was found in
        the queue after its sender died; ``cancelled`` ends one. ``later`` is what is still to be
        sent; ``cancelled`` without a job revokes that.
    name : str
        Name of the link, and of the job in Slurm.
    parts : list of int
        Which of the link's array tasks, in their order.
    order : str
        File name of what the job reads.
    time : float
        Seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    event: Event
    name: str
    job_id: str | None = None
    parts: list[int] = []
    order: str = ""
    time: float


class RunPlan(BaseModel):
    """What a run consists of, as last sent."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    groups: list[Group]
    accounting: bool
    config: str | None

    def steps(self) -> list[Step]:
        """Return all steps, in an order in which they can run."""
        return [step for step, _ in in_order(self.groups)]

    def links(self) -> list[Link]:
        """Return all jobs, in an order in which they can run."""
        return chain(self.groups)

    def adding(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups with the steps sent now, in their old places or as last groups."""
        found = self
        for group in groups:
            found = found.model_copy(update={"groups": found._adding(group)})
        return found.groups

    def _adding(self, group: Group) -> list[Group]:
        new = {step.job.out: step for step in group.steps}
        for place, old in enumerate(self.groups):
            outs = {step.job.out for step in old.steps}
            if old.profile == group.profile and new.keys() <= outs:
                steps = [new.get(step.job.out, step) for step in old.steps]
                same = old.model_copy(update={"steps": steps})
                return [*self.groups[:place], same, *self.groups[place + 1 :]]
        return [*self.without(set(new)), group]

    def without(self, outs: set[str]) -> list[Group]:
        """Return the groups, without the steps that make one of these folders."""
        left = [
            group.model_copy(update={"steps": [s for s in group.steps if s.job.out not in outs]})
            for group in self.groups
        ]
        return [group for group in left if group.steps]


class Ledger:
    """The folder of a run's submissions.

    Parameters
    ----------
    run_dir : Path
        Folder of the run's artifacts.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.folder = run_dir / "slurm"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all other submitters of this run out, on any login node.

        Raises
        ------
        ConfigError
            If another one does not finish.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.mkdir(exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        lock = FileLock(self.folder / ".lock", fallback_to_soft=False)
        try:
            with locks_there(self.folder):
                lock.acquire(timeout=_PATIENCE_S)
        except Timeout:
            raise ConfigError(
                f"{self.run_dir}: another wmss is submitting this run for "
                f"{_PATIENCE_S / 60:.0f} min; look for it on the login nodes"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def link_folder(self, name: str) -> Path:
        """Return the folder of a link; it is made if it is missing."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def append(
        self,
        event: Event,
        name: str,
        job_id: str | None = None,
        parts: list[int] | None = None,
        order: str = "",
    ) -> Entry:
        """Write a line, and flush it to the disk."""
        entry = Entry(
            event=event,
            name=name,
            job_id=job_id,
            parts=parts or [],
            order=order,
            time=time.time(),
        )
        files.append_durably(self.folder / "ledger.jsonl", entry.model_dump())
        return entry

    def entries(self) -> list[Entry]:
        """Return all lines, oldest first."""
        path = self.folder / "ledger.jsonl"
        if not path.is_file():
            return []
        try:
            return [Entry.model_validate(row) for row in files.read_json_lines(path)]
        except (ValidationError, ValueError):
            raise IntegrityError(f"{path}: not a ledger of wmss; move it away") from None

    def submissions(self, entries: Sequence[Entry] | None = None) -> dict[str, list[Entry]]:
        """Return what was sent or adopted, by the link's name, oldest first."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries() if entries is None else entries:
            if entry.event in ("sent", "adopted"):
                found.setdefault(entry.name, []).append(entry)
        return found

    def open_intents(self, entries: Sequence[Entry] | None = None) -> dict[str, Entry]:
        """Return, by name, the intents that no submission followed."""
        found: dict[str, Entry] = {}
        for entry in self.entries() if entries is None else entries:
            if entry.event == "intent":
                found[entry.name] = entry
            elif entry.job_id is not None:
                # Not by a line of what is sent later: Slurm may have taken a job without an answer.
                found.pop(entry.name, None)
        return found

    def later(self, entries: Sequence[Entry] | None = None) -> dict[str, list[int]]:
        """Return what is still to be sent: array tasks by the link's name."""
        found: dict[str, list[int]] = {}
        for entry in self.entries() if entries is None else entries:
            if entry.event == "later":
                found[entry.name] = entry.parts
            elif entry.event in ("sent", "adopted") and entry.name in found:
                found[entry.name] = [p for p in found[entry.name] if p not in entry.parts]
            elif entry.event == "cancelled" and entry.job_id is None:
                found.pop(entry.name, None)
        return {name: parts for name, parts in found.items() if parts}

    def put_off(self, parts: Mapping[str, list[int]], known: Mapping[str, list[int]]) -> None:
        """Write down what is still to be sent now; `known` was before."""
        for name, left in parts.items():
            if known.get(name) != left:
                self.append("later", name, None, left)
        for name in known.keys() - parts.keys():
            self.append("cancelled", name)

    def plan_text(self) -> str | None:
        """Return the stored plan as it is, for :meth:`restore_plan`."""
        path = self.folder / "plan.json"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def restore_plan(self, before: str | None) -> None:
        """Undo :meth:`write_plan`."""
        path = self.folder / "plan.json"
        if before is None:
            path.unlink(missing_ok=True)
        else:
            files.write_text(path, before)

    def write_plan(self, plan: RunPlan) -> None:
        """Store what the run consists of now."""
        files.write_json(self.folder / "plan.json", plan.model_dump(mode="json"))

    def has_plan(self) -> bool:
        """Say whether something was submitted from this folder."""
        return (self.folder / "plan.json").is_file()

    def read_plan(self) -> RunPlan:
        """Return what the run consists of.

        Raises
        ------
        ConfigError
            If nothing was submitted from this folder.
        """
        path = self.folder / "plan.json"
        try:
            return RunPlan.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(
                f"{self.run_dir}: nothing was submitted from here; 'wmss runs' lists your runs"
            ) from None
        except (ValidationError, UnicodeDecodeError):
            raise IntegrityError(
                f"{path}: not a plan of this version of wmss; submit the run again"
            ) from None
