"""The table of stages: one row per stage, read by whatever needs to know something about stages.

Modules are named, not imported: they import torch, and are imported only where they run.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from wmss_cli.core.artifact import Job, partial
from wmss_cli.core.contents import check_contents
from wmss_cli.core.errors import StorageError, explain
from wmss_cli.core.manifest import Manifest

Kind = Literal["train", "score", "eval", "cpu"]
"""The sections of a Slurm profile that say what jobs get."""

Run = Callable[[Job], Manifest | None]
Metrics = Mapping[str, Any]

_SHARDS = "wmss_cli.stages.shards"


@dataclass(frozen=True)
class Stage:
    """One row.

    Attributes
    ----------
    name : str
        Its name in jobs and manifests.
    module : str
        Full name of its module, which has ``run``; if it has shards, ``shard`` and ``merge``
        (see :class:`wmss_cli.stages.shards.Sharded`).
    section : str or None
        Name of its section of :class:`~wmss_cli.core.config.Config`; None if its options are
        given in another way.
    shards : str or None
        The stage's name in the jobs and manifests of its shards; None if it has none. Finished
        shards are found by this name, so it must not change.
    shards_each : int
        How many shards there are for each process if the user leaves it open: several if some may
        take longer than others and one more costs nothing.
    keeps_begun : bool
        Whether a shard that was begun is continued, so that the number of shards must stay.
    distributed : bool
        Whether it runs on several ranks together; the others are one process.
    kind : str
        Section of a Slurm profile that its jobs, and those of its shards, use.
    headline : callable
        Summarizes a manifest's metrics in a few words.
    """

    name: str
    module: str
    section: str | None = None
    shards: str | None = None
    shards_each: int = 1
    keeps_begun: bool = False
    distributed: bool = False
    kind: Kind = "cpu"
    headline: Callable[[Metrics], str] = lambda _: ""

    def load(self) -> ModuleType:
        """Import the module."""
        if self.module not in sys.modules:
            # Imports make half a million objects that stay: looking for garbage among them again
            # and again takes a sixth of the time.
            gc.disable()
            try:
                importlib.import_module(self.module)
            finally:
                gc.enable()
            gc.freeze()
        return sys.modules[self.module]


def _kept(metrics: Metrics) -> str:
    return f"{metrics['kept']:,} of {metrics['records']:,} records kept"


def _tokens(metrics: Metrics) -> str:
    return f"{metrics['tokens']:,} tokens"


def _loss(metrics: Metrics) -> str:
    return f"{metrics['steps']:,} steps, loss {metrics['last_loss']:.3f}"


def _entropy(metrics: Metrics) -> str:
    return f"mean entropy {metrics['mean_entropy_nats']:.3f} nats"


def _unique(metrics: Metrics) -> str:
    return f"{metrics['unique_samples']:,} unique of {metrics['samples']:,} samples"


def _distance(metrics: Metrics) -> str:
    return f"{metrics['parameters']:,} parameters, factor {metrics['factor']:g}"


def _accuracy(metrics: Metrics) -> str:
    return f"accuracy {100 * metrics['accuracy']:.1f} %"


STAGES = (
    Stage(
        "curate",
        "wmss_cli.stages.curate",
        section="curate",
        shards="curate_shard",
        headline=_kept,
    ),
    Stage("tokenize", "wmss_cli.stages.tokenize", section="tokenize", headline=_tokens),
    Stage(
        "sft",
        "wmss_cli.stages.sft",
        section="sft",
        distributed=True,
        kind="train",
        headline=_loss,
    ),
    Stage(
        "score_entropy",
        "wmss_cli.stages.score_entropy",
        section="score_entropy",
        shards="score_shard",
        shards_each=4,
        kind="score",
        headline=_entropy,
    ),
    Stage(
        "build_curriculum",
        "wmss_cli.stages.build_curriculum",
        section="curriculum",
        headline=_unique,
    ),
    Stage(
        "joint_train",
        "wmss_cli.stages.joint_train",
        section="joint",
        distributed=True,
        kind="train",
        headline=_loss,
    ),
    Stage(
        "extrapolate",
        "wmss_cli.stages.extrapolate",
        section="extrapolate",
        headline=_distance,
    ),
    Stage(
        "eval",
        "wmss_cli.stages.evaluate",
        section="eval",
        shards="eval_shard",
        keeps_begun=True,
        kind="eval",
        headline=_accuracy,
    ),
    Stage("grade", "wmss_cli.stages.grade", headline=_accuracy),
    Stage("analyze", "wmss_cli.stages.analyze", section="analyze", kind="score"),
    Stage("report", "wmss_cli.stages.report"),
    Stage("demo_data", "wmss_cli.stages.demo_data"),
    Stage("probe", "wmss_cli.stages.probe", distributed=True, kind="train"),
    Stage("bench", "wmss_cli.stages.bench", kind="score"),
)

_ROWS = {name: row for row in STAGES for name in (row.name, row.shards) if name is not None}


def find(name: str) -> Stage:
    """Return the row of a stage, by its own name or the name of its shards.

    Raises
    ------
    KeyError
        If there is no such stage.
    """
    return _ROWS[name]


def has_shards(name: str) -> bool:
    """Say whether a job's stage is done in shards; a shard itself is not."""
    row = find(name)
    return row.shards is not None and row.name == name


def load(name: str, merge: bool = False) -> Run:
    """Import what runs a job.

    Parameters
    ----------
    name : str
        The job's stage: a stage as a whole, or one of its shards.
    merge : bool
        Only merge the shards that other jobs made; a missing one is an error.

    Returns
    -------
    callable
        Called with the job, returns its manifest; None on all ranks but the first.
    """
    row = find(name)
    if row.shards is None:
        return cast(Run, row.load().run)
    shards = importlib.import_module(_SHARDS)
    if merge:
        return cast(Run, shards.run_merge)
    return cast(Run, shards.run if name == row.name else shards.run_shard)


def run(job: Job, merge: bool = False) -> Manifest | None:
    """Verify the inputs of a job and run it, as :func:`load` finds it.

    Raises
    ------
    IntegrityError
        If a file of an input is not what was written (see
        :func:`wmss_cli.core.contents.check_contents`).
    StorageError
        If the file system refuses, with the name of a file or of the folder that is being written.
    """
    try:
        stage = load(job.stage, merge)
        if job.verify_inputs:
            _verify(job, merge)
        return stage(job)
    except Exception as error:
        known = explain(error, str(partial(Path(job.out))))
        # Any other error keeps its own traceback.
        if isinstance(known, StorageError) and known is not error:
            raise known from error
        raise


def _verify(job: Job, merge: bool) -> None:
    # Merging reads no weights, which may be large; the jobs of the shards have checked them.
    paths = [Path(path) for role, path in job.inputs.items() if not (merge and role == "model")]
    checked = check_contents(paths)
    print(  # noqa: T201 - goes to the log of the stage
        f"inputs: {checked.files} files, {checked.bytes / 1e9:.2f} GB verified, of which "
        f"{checked.read_bytes / 1e9:.2f} GB were read, in {checked.seconds:.1f} s",
        flush=True,
    )
