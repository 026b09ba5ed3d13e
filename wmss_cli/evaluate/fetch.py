"""Get the rows of a benchmark from where they are published, or from a folder."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.core.files import write_text
from wmss_cli.evaluate.problems import Row, difference, problems_of, read_problems
from wmss_cli.evaluate.published import as_row, read_published
from wmss_cli.evaluate.tasks import Source, Task

GITHUB_URL = "https://raw.githubusercontent.com"
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Fetched:
    """The rows of a task after a fetch.

    Attributes
    ----------
    path : Path
        ``NAME.jsonl``.
    rows : int
        Number of problems in it.
    origin : str
        Where they come from.
    """

    path: Path
    rows: int
    origin: str


def fetch(task: Task, to: Path, folder: Path | None = None) -> Fetched:
    """Write the rows of a task to ``to/NAME.jsonl``.

    The sources are tried in order. Whichever has them, the content of the rows must be what it was
    when this version was tested (:func:`wmss_cli.evaluate.problems.content_sha256`).

    Parameters
    ----------
    task : Task
        One that ships with wmss.
    to : Path
        A folder. Correct rows that it already contains are kept.
    folder : Path, optional
        Take files from here instead of the network: ``NAME.jsonl`` as this function writes it,
        or published files as ``OWNER/NAME/FILE``.

    Raises
    ------
    ConfigError
        If the folder already contains other rows, or no source has the correct ones.
    """
    target = to / f"{task.name}.jsonl"
    if target.exists():
        return Fetched(target, len(read_problems(task, target)), "there already")
    own = folder / target.name if folder is not None else None
    if own is not None and own.exists():
        count = len(read_problems(task, own))
        return _written(target, own.read_text(encoding="utf-8"), count, str(own))
    if not task.sources:
        raise ConfigError("its YAML file names no sources; bring the rows and name them there")
    failures = []
    for source in task.sources:
        try:
            rows = _rows(task, source, folder)
        except (ConfigError, DataError) as error:
            failures.append(f"{source}: {error}")
        else:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return _written(target, text, len(rows), str(source))
    raise ConfigError(
        f"{'; '.join(failures)}; fetch on a machine that has a network, and copy the folder"
    )


def _written(target: Path, text: str, rows: int, origin: str) -> Fetched:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    return Fetched(target, rows, origin)


def _rows(task: Task, source: Source, folder: Path | None) -> list[Row]:
    """Return the rows of a source, after checking each of them."""
    assert task.format is not None, "a task with sources names their format"
    with TemporaryDirectory(prefix="wmss-fetch-") as scratch:
        published = [
            row
            for name in source.files
            for row in read_published(_file(source, name, folder, Path(scratch)))
        ]
    rows = [as_row(task.format, task.name, index, row) for index, row in enumerate(published)]
    places = [(f"row {index}", row) for index, row in enumerate(rows, start=1)]
    problems = problems_of(task, places)
    if otherwise := difference(task, problems):
        raise DataError(otherwise)
    return [dict(problem.row) for problem in problems]


def _file(source: Source, name: str, folder: Path | None, scratch: Path) -> Path:
    """Return the local path of a published file, downloaded if necessary."""
    if folder is not None:
        path = folder / source.repository / name
        if not path.is_file():
            raise ConfigError(f"{path} does not exist")
        return path
    if source.site == "hub":
        return _from_hub(source, name)
    return _from_github(source, name, scratch)


def _from_hub(source: Source, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(
            hf_hub_download(source.repository, name, repo_type="dataset", revision=source.revision)
        )
    except OSError as error:
        # The first sentence says what happened, the rest how to set up the library.
        raise ConfigError(str(error).strip().splitlines()[0].split(". ")[0]) from None


def _from_github(source: Source, name: str, scratch: Path) -> Path:
    path = scratch / Path(name).name
    url = f"{GITHUB_URL}/{source.repository}/{source.revision}/{name}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            path.write_bytes(answer.read())
    except OSError as error:
        raise ConfigError(f"{name}: {getattr(error, 'reason', error)}") from None
    return path
