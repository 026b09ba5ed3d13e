"""Write so that a crash leaves the old file or the new one, never half of one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

_LARGE_BYTES = 64 * 2**20
_SETTLED_NS = 10 * 10**9


def write_text(path: Path, text: str) -> None:
    """Write a text file under another name, flush it to the disk, and rename it into place."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except BaseException:
        # This very file may be what fills the disk.
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people to read, by :func:`write_text`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def fsync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the name of a file to an error of the system that has none, as of a read or a write."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """Return :func:`sha256`, remembered as long as the file looks unchanged.

    This process remembers every file, and the user's cache folder the large ones: the weights of a
    model are read once, not by each command on a login node.
    """
    stat = path.stat()
    return _remembered_sha256(path.absolute(), stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=10_000)
def _remembered_sha256(path: Path, inode: int, size: int, mtime_ns: int) -> str:
    # A file that is being written may change again without looking changed.
    settled = time.time_ns() - mtime_ns > _SETTLED_NS
    if size < _LARGE_BYTES or not settled:
        return sha256(path)
    key = canonical_hash([str(path), inode, size, mtime_ns])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    note = Path(base) / "wmss" / "sha256" / key
    try:
        digest = note.read_text(encoding="utf-8")
    except OSError:
        digest = ""
    if re.fullmatch(r"[0-9a-f]{64}", digest):
        return digest
    digest = sha256(path)
    # Without a place to remember it, it is computed again.
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(note, digest)
    return digest


def files_under(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted, relative to it."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def canonical_hash(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def append_json_line(path: Path, value: Any) -> None:
    """Append one line of JSON and flush it."""
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, ensure_ascii=False) + "\n")


def append_durably(path: Path, value: Any) -> None:
    """Append one line of JSON and flush it to the disk, in place of a last line cut short."""
    is_new = not path.exists()
    with naming(path), path.open("a+b") as file:
        whole = file.seek(0, os.SEEK_END)
        while whole:
            file.seek(whole - 1)
            if file.read(1) == b"\n":
                break
            whole -= 1
        file.truncate(whole)
        file.write((json.dumps(value, ensure_ascii=False) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        fsync(path.parent)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read all lines of a JSON-lines file; a last line cut short by a crash is left out."""
    with naming(path):
        # Read as bytes, since the cut may be inside a character.
        lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Replace a JSON-lines file as a whole."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
