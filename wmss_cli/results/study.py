"""What a study consists of: its arms, seeds and models, and which artifact belongs to which.

The pipeline writes it, and the report reads it. Artifacts are named by the labels of the steps
that make them; their paths are kept apart from it, so a folder that is moved is the same study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.files import write_json

STUDY_FILE = "study.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class StudyArm(_Part):
    """One arm of a study, as ``wmss arms`` shows it."""

    name: str
    start: str
    """`base`, `sft` or the name of another arm."""
    samples: str
    """`all`, `active` or `random`; a dash if nothing is trained."""
    objective: str
    """In words."""
    purpose: str
    """What the arm is meant to show, in words."""
    like: str | None = None
    """The arm of the catalogue, or of the file, that it is based on."""
    overrides: dict[str, Any] = {}
    """Dotted keys in which it differs from the arm in `like`."""


class StudyRun(_Part):
    """One arm with one seed, from one base model. All references are step labels."""

    model: str
    """Name of the base model; empty if there is only one."""
    arm: str
    seed: int | None
    """None if it depends on no seed: the base model."""
    trainings: list[str]
    """All trainings starting from M0, in order: the first phase, then the arm's own."""
    evaluation: str
    earlier: dict[str, str] = {}
    """Evaluations during training, by epoch (`1`) or iteration (`K1`)."""
    logits: str | None = None
    """Statistics of its model's logits and its loss per sample (`analyze`)."""
    weak_logits: str | None = None
    """The same for the weak model that was trained with it."""
    curriculum: str | None = None
    """The curriculum of the last iteration; None if it trains on all samples."""


class Study(_Part):
    """A comparison as it was planned, whether its results exist or not."""

    models: dict[str, str]
    """Base models by name; the name is empty if there is no choice."""
    arms: list[StudyArm]
    seeds: list[int]
    compare_with: str | None
    """The arm that differences are taken from."""
    tables: list[str]
    shared: dict[str, str] = {}
    """Steps that all runs share, such as `curate` and `tokenize`: role to label. With several base
    models, `tokenize` occurs once for each, as `MODEL/tokenize`."""
    runs: list[StudyRun]

    def labels(self) -> list[str]:
        """Return the labels of all steps that the study refers to, each once, in order."""
        found = list(self.shared.values())
        for run in self.runs:
            found += [*run.trainings, run.evaluation, *run.earlier.values()]
            found += [x for x in (run.logits, run.weak_logits, run.curriculum) if x is not None]
        return list(dict.fromkeys(found))


def write_study(
    run_dir: Path, study: Study, artifacts: Mapping[str, str], commands: Sequence[str]
) -> None:
    """Write ``RUN_DIR/study.json``, from which a report of unfinished work is made.

    Parameters
    ----------
    run_dir : Path
        The folder of the run; created if it is missing.
    study : Study
        The study as it was planned.
    artifacts : mapping of str to str
        The folder of each step's result, by label.
    commands : sequence of str
        The commands as they were typed.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    paths = {label: str(Path(path).absolute()) for label, path in artifacts.items()}
    content = {"study": study.model_dump(mode="json"), "artifacts": paths}
    write_json(run_dir / STUDY_FILE, {**content, "commands": list(commands)})
