"""Inputs are verified before use: each file must have the hash that its artifact's manifest gives.

A file is read once on each node. That it was intact is remembered in a folder of this user on the
node, under the file's device, inode, size and times; writing to the file changes its times.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from wmss_cli.core import files
from wmss_cli.core.manifest import MANIFEST, damage, manifest_over, read_manifest

_MOST_THREADS = 8
_REMEMBERED_BYTES = 16 * 2**20
# Smaller files are read each time: a note would cost as much.
_SETTLED_NS = 2 * 10**9
# A file that was written a moment ago may be written again within one tick of its clock.
_FOR_PEOPLE = ("README.md", "card.md")
# No stage reads them, and their owner completes them, with a licence for one.


@dataclass(frozen=True)
class Checked:
    """What :func:`check_contents` did.

    Attributes
    ----------
    files, bytes : int
        All intact files.
    read_bytes : int
        Size of those that were read; the others were remembered.
    seconds : float
        How long it took.
    """

    files: int
    bytes: int
    read_bytes: int
    seconds: float


@dataclass(frozen=True)
class _File:
    artifact: Path
    name: str
    expected: str


def check_contents(paths: Iterable[Path]) -> Checked:
    """Check the hash of every file of artifacts, or of those parts of them that are named.

    What is neither an artifact of wmss nor in one has no hash to be compared with.

    Parameters
    ----------
    paths : iterable of Path
        Artifacts, and files and folders in them.

    Raises
    ------
    IntegrityError
        If a file is missing or its content is not what was written.
    OSError
        If the file system fails; with the file's name.
    """
    begin = time.monotonic()
    wanted = sorted({one for path in paths for one in _files_of(path)}, key=_order)
    # The processes of a node begin with different files; each knows what the others have read.
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    processes = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE", "1")
    first = rank * len(wanted) // int(processes)
    turned = wanted[first:] + wanted[:first]
    memory = _memory()
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads, "verify") as pool:
        waiting = [pool.submit(_check, one, memory) for one in turned]
        try:
            sizes = [future.result() for future in waiting]
        finally:
            # One error is enough; the hashes of the other files are not waited for.
            for future in waiting:
                future.cancel()
    total = sum(size for size, _ in sizes)
    read = sum(size for size, was_read in sizes if was_read)
    return Checked(len(sizes), total, read, time.monotonic() - begin)


def _order(one: _File) -> tuple[str, str]:
    return str(one.artifact), one.name


def _files_of(path: Path) -> list[_File]:
    if (path / MANIFEST).is_file():
        artifact, manifest, part = path, read_manifest(path), None
    else:
        over = manifest_over(path)
        if over is None:
            return []
        artifact, manifest, part = path.parent, over, path.name
    return [
        _File(artifact, name, expected)
        for name, expected in manifest.files.items()
        if part in (None, name.split("/")[0]) and Path(name).name not in _FOR_PEOPLE
    ]


def _check(one: _File, memory: Path | None) -> tuple[int, bool]:
    """Check one file; return its size, and whether it was read."""
    path = one.artifact / one.name
    try:
        seen = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise damage(one.artifact, one.name, None, one.expected) from None
    if memory is None or seen.st_size < _REMEMBERED_BYTES:
        _compare(one, files.sha256(path))
        return seen.st_size, True
    facts = [seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns]
    note = memory / files.canonical_hash(facts)
    found = _read_note(note)
    if found is None:
        # Other processes on this node need the same file: one of them reads it.
        with FileLock(note.with_suffix(".lock")):
            found = _read_note(note)
            if found is None:
                return seen.st_size, _read_file(one, note, seen)
    _compare(one, found)
    return seen.st_size, False


def _read_file(one: _File, note: Path, seen: os.stat_result) -> bool:
    begin = time.time_ns()
    found = files.sha256(one.artifact / one.name)
    _compare(one, found)
    if begin - max(seen.st_mtime_ns, seen.st_ctime_ns) > _SETTLED_NS:
        # Without a note it is read again.
        with suppress(OSError):
            files.write_text(note, found)
    return True


def _compare(one: _File, found: str) -> None:
    if found != one.expected:
        raise damage(one.artifact, one.name, found, one.expected)


def _read_note(note: Path) -> str | None:
    try:
        text = note.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return text if re.fullmatch(r"[0-9a-f]{64}", text) else None


def _memory() -> Path | None:
    """Return the folder of the notes on this node; None if there is no safe one.

    Anybody may write to the node's temporary folder, so it must be this user's own.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache:
        folder = Path(cache) / "wmss" / "verified" / socket.gethostname()
    else:
        folder = Path(tempfile.gettempdir()) / f"wmss-{os.getuid()}" / "verified"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _is_own(folder.parent):
            return None
        folder.mkdir(exist_ok=True, mode=0o700)
        with FileLock(folder / ".lock", fallback_to_soft=False):
            return folder if _is_own(folder) else None
    except (OSError, NotImplementedError):
        return None


def _is_own(folder: Path) -> bool:
    found = folder.lstat()
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not others_write
