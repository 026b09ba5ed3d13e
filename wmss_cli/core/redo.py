"""The mark of ``--force``: an artifact that is to be made again, and stays until then.

``.OUT.redo`` next to an artifact says that it no longer counts as done, though it is complete and
can be read. It names the manifest that is to be replaced, so it is void as soon as another manifest
exists, and it has an id that new work carries: unfinished work without that id was begun before and
is deleted when the new work begins.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from wmss_cli.core import files
from wmss_cli.core.errors import IntegrityError
from wmss_cli.core.manifest import MANIFEST
from wmss_cli.core.sealed import unseal, write_sealed


def mark_path(out: Path) -> Path:
    """Return the file that marks an artifact."""
    return out.with_name(f".{out.name}.redo")


def write_mark(out: Path, makes: str | None) -> str | None:
    """Mark an artifact, or unfinished work, as to be made again.

    Parameters
    ----------
    out : Path
        Folder of the artifact.
    makes : str or None
        Fingerprint of the work that may replace it; None for any work (a shard).

    Returns
    -------
    str or None
        The mark that was there before, for :func:`restore_mark`.
    """
    path = mark_path(out)
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    mark = {"id": uuid.uuid4().hex, "makes": makes, "replaces": _manifest_there(out)}
    write_sealed(path, mark)
    return before


def restore_mark(out: Path, before: str | None) -> None:
    """Undo :func:`write_mark`."""
    if before is None:
        clear_mark(out)
    else:
        files.write_text(mark_path(out), before)


def clear_mark(out: Path) -> None:
    """Remove the mark of an artifact, if it has one."""
    mark_path(out).unlink(missing_ok=True)


def mark_for(out: Path, makes: str) -> str | None:
    """Return the id of the mark under which this work is to be done again, else None.

    Parameters
    ----------
    out : Path
        Folder of the artifact.
    makes : str
        Fingerprint of the work. A mark that was set for other work says nothing about it.
    """
    mark = _open_mark(out)
    if mark is None or mark["makes"] not in (None, makes):
        return None
    return str(mark["id"])


def is_marked(path: Path) -> bool:
    """Say whether an artifact, or the one that this path is a part of, is to be made again."""
    return _open_mark(path) is not None or _open_mark(path.parent) is not None


def _open_mark(out: Path) -> dict[str, Any] | None:
    """Return what the mark says, unless its work is done: then another manifest exists."""
    try:
        mark = unseal(mark_path(out).read_bytes())
    except FileNotFoundError:
        return None
    if mark is None:
        raise IntegrityError(f"{mark_path(out)}: damaged; delete it, and give --force again")
    return mark if _manifest_there(out) in (None, mark["replaces"]) else None


def _manifest_there(out: Path) -> str | None:
    """Return the hash of an artifact's manifest; that contains the time, so no two are equal."""
    path = out / MANIFEST
    return files.sha256(path) if path.is_file() else None
