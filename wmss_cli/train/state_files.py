"""DeepSpeed's states on their way to the disk: copied while training waits, written meanwhile.

DeepSpeed passes each file of a checkpoint to an engine of ours. A thread of that engine writes,
hashes and flushes the files of this rank; :meth:`StateFiles.wait` raises its errors.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

import torch
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine

from wmss_cli.train.host_copy import HostMemory

_PIECE = 64 * 2**20


class StateFiles(TorchCheckpointEngine):  # type: ignore[misc]
    """The files of one checkpoint at a time.

    Parameters
    ----------
    left_out : set of str
        Names of weights that are not saved, with all the names of tied weights.
    """

    def __init__(self, left_out: Set[str]) -> None:
        super().__init__()
        self._left_out = left_out
        self._memory = HostMemory()
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._files: list[tuple[Path, Any]] = []
        self._written: Future[dict[Path, str]] | None = None

    def save(self, state_dict: dict[str, Any], path: str) -> None:
        """Copy the states of a file; called by DeepSpeed."""
        assert self._written is None, "one checkpoint at a time"
        module = state_dict.get("module", {})
        for name in self._left_out & module.keys():
            del module[name]
        self._files.append((Path(path), self._memory.copy(state_dict)))

    def start(self) -> None:
        """Start writing what was copied."""
        files, self._files = self._files, []
        self._written = self._pool.submit(_write_all, files)
        self._memory.clear()

    @property
    def busy(self) -> bool:
        """Whether files are being written."""
        return self._written is not None and not self._written.done()

    def wait(self) -> dict[Path, str]:
        """Wait until all files are on the disk, and return the SHA-256 of each.

        Raises
        ------
        OSError
            If the file system rejects a file.
        """
        assert self._written is not None
        written, self._written = self._written, None
        return written.result()


def _write_all(files: list[tuple[Path, Any]]) -> dict[Path, str]:
    return {path: write_states(path, states) for path, states in files}


def write_states(path: Path, states: Any) -> str:
    """Write states by ``torch.save``, flush them to the disk, and return the file's SHA-256.

    Raises
    ------
    OSError
        If the file system rejects it; the error contains the file's name.
    """
    file = _HashedFile(path)
    try:
        torch.save(states, cast(IO[bytes], file))
        file.close()
    finally:
        file.drop()
    return file.digest.hexdigest()


class _HashedFile:
    """Hashes what is written to it, and keeps its first error for :meth:`close`.

    torch's writer is C++ and calls back: an error raised in the callback would end the process.
    """

    def __init__(self, path: Path) -> None:
        self.digest = hashlib.sha256()
        self._path = path
        self._error: OSError | None = None
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def write(self, data: bytes) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            self.digest.update(piece)
            while piece and self._error is None:
                try:
                    piece = piece[os.write(self._descriptor, piece) :]
                except OSError as error:
                    self._error = error
        return len(view)

    def flush(self) -> None:
        """Do nothing, since nothing is buffered."""

    def close(self) -> None:
        """Flush the file to the disk; raise any error from writing."""
        try:
            if self._error is not None:
                raise self._error
            os.fsync(self._descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def drop(self) -> None:
        """Close the file without flushing it."""
        os.close(self._descriptor)
