"""Artifacts: a folder counts only once its ``manifest.json`` exists.

A stage writes into ``OUT.partial``, flushes everything, writes the manifest last and renames the
folder to ``OUT``. The fingerprint (stage, options, inputs' fingerprints) says whether work is
already done; the digest (hashes of the content) says whether an input has been made again since.

Layout on disk::

    OUT/manifest.json       what made this, from what, and the sha256 of each file
    OUT.partial/            unfinished work, with the fingerprint it belongs to
    .OUT.redo               the mark of --force: make this again (see :mod:`wmss_cli.core.redo`)
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wmss_cli.core import files
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.core.manifest import (
    FORMAT,
    MANIFEST,
    InputRef,
    Manifest,
    fingerprint,
    read_manifest,
    reference,
    write_manifest,
)
from wmss_cli.core.progress import PROGRESS
from wmss_cli.core.redo import clear_mark, mark_for, restore_mark, write_mark
from wmss_cli.core.sealed import unseal, write_sealed

lock_timeout_s = 0.0
"""How long to wait for another writer of the same artifact, in seconds."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_FINGERPRINT = "fingerprint"
_OF_DRAFT = (_FINGERPRINT, PROGRESS)
_RUNTIME_PACKAGES = ("torch", "transformers", "deepspeed", "datasets", "math-verify")
# Files that only report how the work went are not in the digest: they differ each time.
_NOT_CONTENT = ("metrics.jsonl", "logits.jsonl", "log.txt", "card.md")


@dataclass(frozen=True)
class Job:
    """A stage to run, in strings and numbers only: what a worker or a Slurm job is given.

    Attributes
    ----------
    stage : str
        Name of the stage, as in the manifest.
    config : dict
        The stage's section of the configuration.
    identity : dict
        The part of it that decides the result.
    inputs : dict of str to str
        Paths by role.
    out : str
        Folder of the artifact.
    verify_inputs : bool
        Whether the hashes of its inputs are checked before it starts.
    """

    stage: str
    config: dict[str, Any]
    identity: dict[str, Any]
    inputs: dict[str, str]
    out: str
    verify_inputs: bool = True


def is_done(out: Path, expected: str, inputs: Mapping[str, InputRef]) -> bool:
    """Say whether an artifact exists, is the expected one, and is not older than its inputs.

    What ``--force`` marked (see :func:`redo`) is not done until it is made again.
    """
    if not (out / MANIFEST).is_file() or mark_for(out, expected) is not None:
        return False
    manifest = read_manifest(out)
    return manifest.fingerprint == expected and all(
        manifest.inputs[role].digest == ref.digest for role, ref in inputs.items()
    )


@dataclass
class Draft:
    """Unfinished work in ``OUT.partial``; :meth:`commit` makes it an artifact."""

    job: Job
    fingerprint: str
    inputs: dict[str, InputRef]
    attempt: int
    started: float = field(default_factory=time.time)

    @property
    def out(self) -> Path:
        """The folder of the finished artifact."""
        return Path(self.job.out)

    @property
    def folder(self) -> Path:
        """The folder to write into."""
        return partial(self.out)

    def commit(self, metrics: Mapping[str, Any], scratch: Collection[str] = ()) -> Manifest:
        """Flush all files, write the manifest, and rename the folder into place.

        Parameters
        ----------
        metrics : mapping
            What the stage reports, as JSON values; units are in the names.
        scratch : collection of str
            Folders in it that do not belong to the artifact. They are removed last, so that a
            failure before that leaves what the next attempt needs.
        """
        hashes: dict[str, str] = {}
        for name in files.files_under(self.folder):
            if name.parts[0] in (*scratch, MANIFEST, *_OF_DRAFT) or name.name.endswith(".tmp"):
                continue
            files.fsync(self.folder / name)
            hashes[str(name)] = files.sha256(self.folder / name)
        content = {name: value for name, value in hashes.items() if name not in _NOT_CONTENT}
        manifest = Manifest(
            format=FORMAT,
            stage=self.job.stage,
            fingerprint=self.fingerprint,
            digest=files.canonical_hash(content),
            config=self.job.config,
            inputs=self.inputs,
            files=hashes,
            metrics=dict(metrics),
            versions=_versions(),
            commit=_commit(),
            job_id=os.environ.get("SLURM_JOB_ID"),
            attempt=self.attempt,
            started=datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            seconds=round(time.time() - self.started, 3),
        )
        write_manifest(self.folder, manifest)
        if self.out.exists():
            # Only a stale or --forced artifact is replaced; it stays complete until then.
            old = _replaced(self.out)
            shutil.rmtree(old, ignore_errors=True)
            self.out.rename(old)
            self.folder.rename(self.out)
            shutil.rmtree(old)
        else:
            self.folder.rename(self.out)
        files.fsync(self.out.parent)
        clear_mark(self.out)
        for own in _OF_DRAFT:
            (self.out / own).unlink(missing_ok=True)
        for folder in scratch:
            shutil.rmtree(self.out / folder, ignore_errors=True)
        return manifest


def partial(out: Path) -> Path:
    """Return the folder where an artifact is written until it is complete."""
    return out.with_name(f"{out.name}.partial")


def _replaced(out: Path) -> Path:
    """Return where an artifact is for the moment in which another one takes its place."""
    return out.with_name(f"{out.name}.old")


def describe(job: Job) -> tuple[str, dict[str, InputRef]]:
    """Return the fingerprint of a job and its inputs as they are now (read from the disk)."""
    inputs = {role: reference(Path(path)) for role, path in job.inputs.items()}
    prints = {role: ref.fingerprint for role, ref in inputs.items()}
    return fingerprint(job.stage, job.identity, prints), inputs


def finished(job: Job) -> Manifest | None:
    """Return the manifest if this very work is already done, else None.

    Raises
    ------
    ConfigError
        If the folder contains something else.
    """
    expected, inputs = describe(job)
    out = Path(job.out)
    if is_done(out, expected, inputs):
        return read_manifest(out)
    refuse_foreign_folder(out)
    if (out / MANIFEST).is_file() and mark_for(out, expected) is None:
        there = read_manifest(out)
        if there.fingerprint != expected:
            raise ConfigError(
                f"{out}: contains another artifact ({_difference(there, job)}); "
                "choose another --out, or --force to replace it"
            )
    return None


def refuse_foreign_folder(out: Path) -> None:
    """Refuse a folder that contains files other than those of an artifact.

    Raises
    ------
    ConfigError
        If it does, or is a file.
    """
    if (out / MANIFEST).is_file():
        return
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out}: this folder has other files in it; choose another --out")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: this is a file, not a folder; choose another --out")


def redo(works: Mapping[Path, str]) -> Callable[[], None]:
    """Mark what exists as to be made again (``--force``); nothing is removed.

    Each artifact stays complete until :meth:`Draft.commit` puts its successor in its place. Earlier
    unfinished work, shards too, is deleted when the new work of that very folder begins.

    Parameters
    ----------
    works : mapping of Path to str
        Folders of the artifacts, and the fingerprints of what will be in them.

    Returns
    -------
    callable
        Removes all marks, as if this had not been called.

    Raises
    ------
    ConfigError
        If one of the folders is not an artifact, or another process is writing it. Then nothing is
        marked.
    """
    before: dict[Path, str | None] = {}

    def take_back() -> None:
        for folder, mark in before.items():
            restore_mark(folder, mark)

    try:
        for out, makes in works.items():
            refuse_foreign_folder(out)
            for folder, wanted in ((out, makes), *((shard, None) for shard in _shards(out))):
                if folder.is_dir() or partial(folder).is_dir():
                    with _alone(folder):
                        before[folder] = write_mark(folder, wanted)
    except BaseException:
        take_back()
        raise
    return take_back


def _shards(out: Path) -> list[Path]:
    """Return the folders of the shards, finished or begun, next to an artifact."""
    beside = out.with_name(f"{out.name}.shards")
    there = [path.name for path in beside.iterdir()] if beside.is_dir() else []
    found = [re.fullmatch(r"(\d+-of-\d+)(\.partial)?", name) for name in there]
    return [beside / name for name in sorted({match[1] for match in found if match})]


@contextmanager
def locks_there(folder: Path) -> Iterator[None]:
    """Say in one line that a file system cannot lock files, instead of working without locks."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        raise ConfigError(
            f"{folder}: its file system has no locks, so two processes could write the "
            "same files; mount it with flock (Lustre: -o flock), or choose another folder"
        ) from None


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the lock of an artifact."""
    lock = FileLock(out.with_name(f".{out.name}.lock"), fallback_to_soft=False)
    try:
        with locks_there(out.parent):
            lock.acquire(timeout=lock_timeout_s)
    except Timeout:
        raise ConfigError(f"{out}: another process is writing it; wait for it or end it") from None
    try:
        yield
    finally:
        # The file stays: removing it would let two later processes lock two different files.
        lock.release()


@contextmanager
def open_draft(job: Job, resumable: bool = False) -> Iterator[Draft]:
    """Open ``OUT.partial`` for writing, alone.

    Parameters
    ----------
    job : Job
        The job whose result is written.
    resumable : bool
        Whether the stage continues with what an earlier attempt left there; otherwise it starts
        with an empty folder.

    Raises
    ------
    ConfigError
        If another process is writing it, or it contains work to resume with other options or
        inputs.
    """
    print_now, inputs = describe(job)
    out = Path(job.out)
    folder = partial(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        if not out.exists() and _replaced(out).exists():
            # The process that was replacing it died between two renames.
            _replaced(out).rename(out)
        folder.mkdir(exist_ok=True)
        state = folder / _FINGERPRINT
        mark = mark_for(out, print_now)
        owner = {"fingerprint": print_now, "digests": {r: i.digest for r, i in inputs.items()}}
        attempt = 1
        if state.is_file():
            before = unseal(state.read_bytes()) or {}
            if resumable and not before:
                raise IntegrityError(f"{state}: damaged; --force deletes the unfinished work")
            attempt = before.pop("attempt", 1) + 1
            if before.pop("redo", None) != mark and mark is not None:
                # It was begun before --force.
                attempt = 1
            elif resumable and before != owner:
                raise ConfigError(
                    f"{folder}: unfinished work with other options or inputs; "
                    "choose another --out, or --force to delete it"
                )
        if not resumable or attempt == 1:
            # A draft without a known owner is never continued.
            shutil.rmtree(folder)
            folder.mkdir()
        under = {} if mark is None else {"redo": mark}
        write_sealed(state, {**owner, **under, "attempt": attempt})
        yield Draft(job, print_now, inputs, attempt)


def _difference(there: Manifest, job: Job) -> str:
    if there.stage != job.stage:
        return f"made by {there.stage}"
    for name, value in job.identity.items():
        if name != "rules" and there.config.get(name) != value:
            return f"{name} was {there.config.get(name)!r}, now {value!r}"
    if "rules" in job.identity:
        return "made from other inputs, or by a version of wmss with other rules"
    return "made from other inputs"


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("wmss", *_RUNTIME_PACKAGES)}


def _commit() -> str | None:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return result.stdout.strip() or None
