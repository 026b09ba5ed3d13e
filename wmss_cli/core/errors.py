"""What can go wrong for a user: one line each (what, where, what to do) and an exit code.

An error that a user can cause derives from :class:`WmssError`. What we believe is
checked by ``assert`` and shows a traceback, because then the mistake is ours.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import Any


class WmssError(Exception):
    """Base of all errors that are shown as one line.

    Attributes
    ----------
    exit_code : int
        0 ok, 2 usage, 3 configuration or preflight, 4 submission, 5 a job failed,
        6 integrity, 130 interrupted.
    """

    exit_code = 5


class ConfigError(WmssError, ValueError):
    """A value, a key or an input that cannot work; found before anything runs.

    Parameters
    ----------
    message : str
        The line.
    key : tuple of str
        Where the configuration says it, for those who know the files (``("arms", "lam42")``).
    """

    exit_code = 3

    def __init__(self, message: str, key: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.key = key


class DataError(WmssError, ValueError):
    """The data do not allow the stage to continue (nothing left, no completion tokens)."""


class NonFiniteLossError(WmssError, ValueError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class SandboxError(WmssError, RuntimeError):
    """Programs that a model wrote cannot be confined on this machine."""

    exit_code = 3


class SlurmError(WmssError, RuntimeError):
    """Slurm refused, or did not answer."""

    exit_code = 4


class StageError(WmssError):
    """A stage's process ended without a result."""


class HangError(StageError):
    """A process of a training stopped making progress.

    Parameters
    ----------
    message : str
        The line.
    behind : tuple of int
        The ranks that the others wait for.
    """

    def __init__(self, message: str, behind: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.behind = behind


class StorageError(WmssError, OSError):
    """The file system refused: disk full, no permission, read-only."""


class IntegrityError(WmssError, ValueError):
    """A hash or a schema does not match."""

    exit_code = 6


class InterruptedRunError(WmssError):
    """Stopped on purpose (Ctrl-C or a signal); the same command continues."""

    exit_code = 130


_BY_ERRNO = {
    errno.ENOSPC: "the disk is full; free some space or choose another --out",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another --out",
    errno.EFBIG: "larger than files may be here (ulimit -f); choose another --out",
    errno.EIO: "the disk, or the connection to it, reports an input/output error; have it "
    "checked, then repeat the command: it continues",
    errno.ESTALE: "its file system was mounted again (stale file handle); repeat the command: it "
    "continues",
    errno.EACCES: "no permission; choose another --out or ask for access",
    errno.EPERM: "no permission; choose another --out or ask for access",
    errno.EROFS: "the file system is read-only; choose another --out",
    errno.EEXIST: "a file of this name exists already; choose another name",
    errno.ENOENT: "no such file or folder; check the path",
    errno.ENOTDIR: "a part of this path is a file, not a folder; check the path",
    errno.EISDIR: "this is a folder, a file was expected; check the path",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
}
_BY_TEXT = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Input/output error": errno.EIO,
    "Stale file handle": errno.ESTALE,
    # torch does not say why it could not write a whole file; it is hardly ever anything else.
    "PytorchStreamWriter failed writing": errno.ENOSPC,
    "unexpected pos": errno.ENOSPC,
}
"""How libraries (safetensors, torch) word the system's errors."""


def explain(error: BaseException, where: str = "") -> WmssError | None:
    """Turn an exception into the error that a user should read.

    Parameters
    ----------
    error : BaseException
        Anything that was raised.
    where : str
        The file or folder in use, for an error of the system that names none.

    Returns
    -------
    WmssError or None
        None if the exception is not the user's doing: then a traceback helps more.
    """
    for seen in chain(error, contexts=False):
        if isinstance(seen, WmssError):
            return seen
        if isinstance(seen, KeyboardInterrupt):
            return InterruptedRunError("interrupted; the same command continues")
        if isinstance(seen, OSError) and seen.errno in _BY_ERRNO:
            # Of a copy, a full disk is that of the second file.
            full = seen.errno in (errno.ENOSPC, errno.EDQUOT)
            name = (seen.filename2 if full else None) or seen.filename
            return _storage_error(seen.errno, name or _named_in(str(seen)) or where)
    for text in map(str, chain(error)):
        for sign, number in _BY_TEXT.items():
            if sign in text:
                return _storage_error(number, _named_in(text) or where)
    return None


def _storage_error(number: int, where: Any) -> StorageError:
    name = os.fsdecode(where) if isinstance(where, str | bytes | os.PathLike) else ""
    return StorageError(f"{name}: {_BY_ERRNO[number]}" if name else _BY_ERRNO[number])


def _named_in(text: str) -> str | None:
    """Return the path that a library's message has in quotes."""
    found = re.search(r"'(/[^']+)'", text)
    return found[1] if found else None


def chain(error: BaseException, contexts: bool = True) -> Iterator[BaseException]:
    """Yield an error and all that led to it, each once: an error may be its own cause.

    Parameters
    ----------
    error : BaseException
        The last one.
    contexts : bool
        Whether errors count that were being handled when another one was raised.
    """
    rest: list[BaseException | None] = [error]
    seen: set[int] = set()
    while rest:
        one = rest.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            rest += [one.__context__ if contexts else None, one.__cause__]
