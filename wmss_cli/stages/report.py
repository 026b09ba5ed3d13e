"""report: what a study found, as one page, Markdown, LaTeX tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.core.manifest import Manifest
from wmss_cli.evaluate.tasks import SPEC_ROLE, TASK_ROLE, read_spec, shipped
from wmss_cli.results.artifacts import Sources
from wmss_cli.results.collect import collect
from wmss_cli.results.examples import MOST
from wmss_cli.results.findings import Findings, Task
from wmss_cli.results.page import write_report
from wmss_cli.results.study import STUDY_FILE, Study

_CODE = ("humaneval", "mbpp")


@dataclass(frozen=True)
class StudyRecord:
    """What the pipeline writes down about a study before anything runs."""

    study: Study
    artifacts: dict[str, str]
    commands: list[str]


def run(job: Job) -> Manifest:
    """Write the report of a study.

    Inputs: the artifacts by the labels of :class:`~wmss_cli.results.study.Study`, which is in the
    configuration as ``study``. Writes the files of :func:`~wmss_cli.results.page.write_report`.
    """
    study = Study.model_validate(job.config["study"])
    record = Path(job.out).parent / STUDY_FILE
    commands = read_study(record.parent).commands if record.is_file() else []
    with open_draft(job) as draft:
        found = write(study, job.inputs, draft.folder, commands)
        return draft.commit({"arms": len(found.arms), "missing": len(found.missing)})


def write(
    study: Study,
    artifacts: Mapping[str, str],
    folder: Path,
    commands: Sequence[str] = (),
    most_examples: int = MOST,
    failures: Mapping[str, str] | None = None,
) -> Findings:
    """Read the results of a study so far, and write its report into a folder.

    `failures` says why stages failed, by their labels, if that is known.
    """
    paths = {label: Path(path) for label, path in artifacts.items()}
    sources = Sources(study, paths, failures or {})
    found = collect(sources, _tasks(sources), commands, most_examples)
    write_report(found, folder)
    return found


def read_study(run_dir: Path) -> StudyRecord:
    """Read ``study.json`` of a run.

    Raises
    ------
    ConfigError
        If there is none.
    IntegrityError
        If it is not one of ours.
    """
    path = run_dir / STUDY_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        study = Study.model_validate(content["study"])
        return StudyRecord(study, dict(content["artifacts"]), list(content["commands"]))
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{run_dir}: neither an evaluation nor a run of 'wmss run' (no {STUDY_FILE}); "
            "give NAME=FOLDER of what 'wmss eval' wrote"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise IntegrityError(f"{path}: not a study of wmss; run 'wmss run' again") from None


def _tasks(sources: Sources) -> list[Task]:
    """Return what the YAML files of the evaluations' tasks say, in their order."""
    labels = [run.evaluation for run in sources.study.runs]
    found: dict[str, Task] = {}
    for label in sources.finished(labels):
        manifest = sources.manifest(label)
        assert manifest is not None
        # Answers that were graded again have the same roles.
        for role in _roles(manifest.inputs):
            name = role.removeprefix(TASK_ROLE)
            spec = manifest.inputs.get(f"{SPEC_ROLE}{name}")
            if name not in found:
                found[name] = _task(name, Path(spec.path) if spec else None)
        for name in manifest.metrics.get("tasks", {}):
            found.setdefault(name, _task(name, None))
    return list(found.values())


def _roles(inputs: Mapping[str, Any]) -> Iterable[str]:
    return (role for role in inputs if role.startswith(TASK_ROLE))


def _task(name: str, spec: Path | None) -> Task:
    # The file may have moved since; a shipped task is found by its name.
    if spec is None or not spec.is_file():
        spec = shipped().get(name)
    if spec is None:
        return Task(name=name, title=name)
    told = read_spec(spec)
    kind = "code" if told.grader in _CODE else "mathematics"
    return Task(name=name, title=told.title, kind=kind)
