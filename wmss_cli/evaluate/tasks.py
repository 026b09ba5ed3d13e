"""Tasks: the title of a benchmark, how its rows become questions, and how answers are graded.

A task is one YAML file. The nine benchmarks of the paper ship with wmss in ``configs/tasks``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wmss_cli.core import yaml_text
from wmss_cli.core.config_paths import looks_like_hub_data
from wmss_cli.core.data_files import find_data
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.paths import expand, packaged
from wmss_cli.core.rows import has_known_ending, stem

TASK_ROLE, SPEC_ROLE = "task-", "spec-"
"""Roles of a job's inputs: the rows of a task, and its YAML file."""

Grader = Literal["math", "number", "choice", "humaneval", "mbpp"]
Style = Literal["paper", "boxed"]
Format = Literal["plain", "gsm8k", "math", "aqua", "svamp", "pal", "humaneval", "mbpp"]


class Source(BaseModel):
    """Where the rows are published: files at one commit of a public repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: Literal["hub", "github"]
    repository: str
    """``OWNER/NAME`` of a data set on the Hugging Face hub, or of a repository on GitHub."""
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """The files with the rows, in order."""

    def __str__(self) -> str:
        """Return the short form for display: ``hub openai/gsm8k@740312a``."""
        return f"{self.site} {self.repository}@{self.revision[:7]}"


class Task(BaseModel):
    """One benchmark.

    Attributes
    ----------
    name : str
        The name of the YAML file.
    title : str
        Its name in tables and reports.
    grader : str
        How an answer is compared with the reference: ``math`` (math-verify), ``number`` (within a
        tolerance), ``choice`` (a letter), ``humaneval`` or ``mbpp`` (tests that a program passes).
    rows : int, optional
        Number of rows; a different number is an error.
    where : mapping
        Only rows with these values are used.
    max_new_tokens : int
        Longest answer, if `eval.max_new_tokens` is not set; for most tasks the paper's 4096.
    file : str, optional
        The rows, beside the YAML file; for tasks of your own.
    sha256 : str, optional
        Hash of the rows' content (:func:`wmss_cli.evaluate.problems.content_sha256`); a different
        one is an error.
    format : str, optional
        The form of the published files (:mod:`wmss_cli.evaluate.published`).
    sources : tuple of Source
        Where the rows are published, in the order in which they are tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    grader: Grader = "math"
    rows: int | None = None
    where: dict[str, str] = {}
    max_new_tokens: Annotated[int, Field(ge=1)] = 4096
    file: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    format: Format | None = None
    sources: tuple[Source, ...] = ()


def shipped() -> dict[str, Path]:
    """Return the YAML files of the tasks that ship with wmss, by name."""
    return {path.stem: path for path in sorted(packaged("configs/tasks").glob("*.yaml"))}


def find_spec(reference: str) -> Path:
    """Return a task's YAML file, given the name of one that ships with wmss, or its path.

    Raises
    ------
    ConfigError
        If no task with this name ships with wmss.
    """
    if reference.endswith((".yaml", ".yml")):
        return Path(reference)
    known = shipped()
    if reference in known:
        return known[reference]
    near = get_close_matches(reference, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the tasks are {', '.join(known)}"
    raise ConfigError(f"task {reference}: unknown; {hint}")


def read_spec(path: Path) -> Task:
    """Read the YAML file of a task.

    Raises
    ------
    ConfigError
        If it cannot be read, or contains what a task cannot.
    """
    try:
        node = yaml_text.compose(path)
        content = node and yaml_text.construct(node)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such task; give the name of one, or its YAML file") from None
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values, such as title and grader")
    try:
        return Task.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {key}: {first['msg']}") from None


def task_inputs(
    tasks: Iterable[str], folder: str | None, files: Mapping[str, str]
) -> dict[str, str]:
    """Return the inputs of an evaluation, by role: the rows and the YAML file of each task.

    Parameters
    ----------
    tasks : iterable of str
        Names of tasks that ship with wmss, or paths of YAML files.
    folder : str or None
        The folder with ``NAME.jsonl``, or a file NAME of another kind, for each task that ships.
    files : mapping of str to str
        Further files of rows, or data sets of one file, by name. A name that ships with wmss means
        that task.

    Raises
    ------
    ConfigError
        If a task does not exist, or nothing says where its rows are.
    """
    known = shipped()
    inputs: dict[str, str] = {}
    for reference in tasks:
        spec = find_spec(reference)
        task = read_spec(spec)
        if f"{TASK_ROLE}{task.name}" in inputs or task.name in files:
            raise ConfigError(f"task {task.name} is given twice; give it once")
        inputs[f"{TASK_ROLE}{task.name}"] = str(_rows_path(task, spec, folder))
        inputs[f"{SPEC_ROLE}{task.name}"] = str(spec)
    for name, path in files.items():
        inputs[f"{TASK_ROLE}{name}"] = _one_file(name, path)
        if name in known:
            inputs[f"{SPEC_ROLE}{name}"] = str(known[name])
    return inputs


def read_tasks(inputs: Mapping[str, str]) -> list[tuple[Task, Path]]:
    """Return the tasks among a job's inputs, each with its file of rows.

    Raises
    ------
    ConfigError
        If there is none, or a YAML file cannot be read.
    """
    found = []
    for role, path in inputs.items():
        if role.startswith(TASK_ROLE):
            name = role.removeprefix(TASK_ROLE)
            spec = inputs.get(f"{SPEC_ROLE}{name}")
            task = read_spec(Path(spec)) if spec else Task(name=name, title=name)
            found.append((task, Path(path)))
    if not found:
        raise ConfigError("nothing to evaluate on; name at least one task in tasks or eval_files")
    return found


def _one_file(name: str, reference: str) -> str:
    """Return the one file of a folder or a data set of the hub; a missing path as it is."""
    is_missing = not Path(reference).exists()
    if not Path(reference).is_dir() and not (is_missing and looks_like_hub_data(reference)):
        return reference
    found = find_data(reference)
    if len(found) > 1:
        raise ConfigError(f"{reference}: {len(found)} files; task {name} takes one, so join them")
    return str(found[0])


def _rows_path(task: Task, spec: Path, folder: str | None) -> Path:
    if task.file is not None:
        return spec.parent / expand(task.file)
    if folder is None:
        raise ConfigError(
            f"task {task.name}: task_data is not set; name the folder that 'wmss data fetch' "
            f"filled, or in a task of your own its file (file: ROWS.jsonl in {spec})"
        )
    usual = Path(folder) / f"{task.name}.jsonl"
    if usual.exists() or not Path(folder).is_dir():
        return usual
    others = [
        path
        for path in sorted(Path(folder).iterdir())
        if has_known_ending(path) and stem(path) == task.name
    ]
    if len(others) > 1:
        raise ConfigError(f"task {task.name}: both {others[0]} and {others[1]}; remove one")
    return others[0] if others else usual
