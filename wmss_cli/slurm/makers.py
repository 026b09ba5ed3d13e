"""Which submitted step makes an input that does not exist yet: its job waits or runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.core.manifest import read_manifest
from wmss_cli.core.redo import mark_for
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.queue import Record
from wmss_cli.stages.plan import Output, Step

_MODELS = ("sft", "joint_train", "extrapolate")


@dataclass(frozen=True)
class Maker:
    """A step that was submitted and is not yet done.

    Attributes
    ----------
    run_dir : Path
        Folder of its run.
    step : Step
        What is made.
    name : str
        Name of the job that finishes it.
    """

    run_dir: Path
    step: Step
    name: str

    def output(self, path: Path) -> Output:
        """Return the folder that it makes, or one in it, with the fingerprint it will have."""
        whole = Output(self.step.job.out, self.step.fingerprint)
        return whole if str(path) == whole.path else whole.part(path.name)


def maker_of(path: Path) -> Maker | None:
    """Return the step that makes an artifact or a part of it; None if none is to make it."""
    path = path.absolute()
    for folder in (path, path.parent):
        ledger = Ledger(folder.parent)
        if not ledger.has_plan():
            continue
        try:
            plan = ledger.read_plan()
        except IntegrityError:
            # Written by another version of wmss.
            continue
        step = next((step for step in plan.steps() if step.job.out == str(folder)), None)
        if step is not None and _is_to_come(step):
            names = [link.name for link in plan.links() if link.step.job.out == step.job.out]
            return Maker(ledger.run_dir, step, names[-1])
    return None


def _is_to_come(step: Step) -> bool:
    """Say whether it does not exist, or is to be made again; who made it does not matter."""
    out = Path(step.job.out)
    try:
        read_manifest(out)
    except (ConfigError, IntegrityError):
        return True
    return mark_for(out, step.fingerprint) is not None


def model_to_come(reference: str) -> Path | None:
    """Return the folder of a model that a submitted job makes; None if no job makes it.

    Parameters
    ----------
    reference : str
        The folder of the artifact, or of the model in it.

    Raises
    ------
    ConfigError
        If what is made there is no model.
    """
    path = Path(reference).absolute()
    maker = maker_of(path)
    if maker is None:
        return None
    if maker.step.job.stage not in _MODELS:
        raise ConfigError(f"{reference}: is made by {maker.step.job.stage}, which makes no model")
    return path / "model" if str(path) == maker.step.job.out else path


@dataclass(frozen=True)
class Awaited:
    """The jobs of other submissions that a step waits for.

    Attributes
    ----------
    job_ids : tuple of str
        Jobs that wait or run.
    is_unsent : bool
        Whether some of it is still to be sent (`max_submitted`).
    """

    job_ids: tuple[str, ...] = ()
    is_unsent: bool = False


def awaited(step: Step, queue: Mapping[str, Sequence[Record]]) -> Awaited:
    """Return the jobs of other submissions that a step waits for.

    Parameters
    ----------
    step : Step
        Its `waits` are the folders of what it reads.
    queue : mapping
        What waits or runs, by the job's name.

    Raises
    ------
    ConfigError
        If something neither exists nor is on its way.
    """
    found: list[str] = []
    is_unsent = False
    for out in step.waits:
        maker = maker_of(Path(out))
        if maker is None:
            continue
        ids = sorted({record.job_id for record in queue.get(maker.name, ())})
        later = maker.name in Ledger(maker.run_dir).later()
        if not ids and not later:
            raise ConfigError(
                f"{step.label}: {out} does not exist, and no job that makes it waits or runs; "
                f"'wmss retry {shlex.quote(str(maker.run_dir))}' first"
            )
        found += ids
        is_unsent = is_unsent or later
    return Awaited(tuple(found), is_unsent)
