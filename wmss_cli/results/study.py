"""What a study consists of: its arms, seeds and models, and which artifact is whose.

The pipeline writes it, the report reads it. Artifacts are named by the labels of the steps that
make them; where they lie is said beside it, so that a moved folder is the same study.
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
    """`all`, `active` or `random`; a dash where nothing is trained."""
    objective: str
    """In words."""
    purpose: str
    """What it is compared for, in words."""
    like: str | None = None
    """The arm of the catalogue, or of the file, that it is made from."""
    overrides: dict[str, Any] = {}
    """Dotted keys in which it differs from that one."""


class StudyRun(_Part):
    """One arm with one seed, from one base model. All references are labels of steps."""

    model: str
    """Name of the base model; empty where there is one."""
    arm: str
    seed: int | None
    """None where no seed decides it: the base model."""
    trainings: list[str]
    """What was trained on the way from M0, in order: the first phase, then the arm's own."""
    evaluation: str
    earlier: dict[str, str] = {}
    """Evaluations along the way, by epoch (`1`) or iteration (`K1`)."""
    logits: str | None = None
    """Statistics of its model's logits and its loss by sample (`analyze`)."""
    weak_logits: str | None = None
    """The same of the weak model that was trained with it."""
    curriculum: str | None = None
    """Of its last iteration; None where all samples are trained on."""


class Study(_Part):
    """A comparison: what was to be run, whether it is there or not."""

    models: dict[str, str]
    """Base models by name; one without a choice has the empty name."""
    arms: list[StudyArm]
    seeds: list[int]
    compare_with: str | None
    """The arm that differences are taken from."""
    tables: list[str]
    shared: dict[str, str] = {}
    """Steps that all runs share, such as `curate` and `tokenize`: role to label. With several base
    models `tokenize` stands there once for each, as `MODEL/tokenize`."""
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
        Of the run; is created.
    study : Study
        What was to be run.
    artifacts : mapping of str to str
        The folder of each step's result, by label.
    commands : sequence of str
        What was typed.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    paths = {label: str(Path(path).absolute()) for label, path in artifacts.items()}
    content = {"study": study.model_dump(mode="json"), "artifacts": paths}
    write_json(run_dir / STUDY_FILE, {**content, "commands": list(commands)})
