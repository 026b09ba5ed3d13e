"""Open a text file, compressed or not, in UTF-8 or UTF-16.

The compression is seen from the first bytes: browsers decompress ``.gz`` and keep the name.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

from wmss_cli.core.errors import DataError

PACKED = (".gz", ".zst", ".bz2", ".xz")
"""Endings of compressed single files."""

DAMAGES = (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
"""What a library raises if a compressed file is cut off or damaged."""

_BUFFER_BYTES = 2**20
_FEED_BYTES = 2**14
_WINDOW_BYTES = 2**31
_PEEK_BYTES = 512
_OTHERS = (
    (b"PAR1", "a Parquet file; its name has to end in .parquet"),
    (b"ARROW1", "an Arrow file; its name has to end in .arrow"),
    (b"PK\x03\x04", "a zip archive or an Excel file; unpack it, or save it as CSV"),
    (b"\x89HDF", "an HDF5 file; save it as Parquet or as lines of JSON"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file; 'git lfs pull' gets it"),
    (b"<!doctype html", "a web page, not the file; download the file itself"),
    (b"<html", "a web page, not the file; download the file itself"),
)
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading, decompressed, in bounded memory.

    If it is cut off or damaged, reading raises one of :data:`DAMAGES`.
    """
    with path.open("rb") as file:
        start = file.read(_PEEK_BYTES)
        file.seek(0)
        with io.BufferedReader(_unpacked(file, start), _BUFFER_BYTES) as stream:
            yield cast(io.BufferedReader, stream)


def _unpacked(file: IO[bytes], start: bytes) -> io.RawIOBase:
    for sign, opens in _OPENERS:
        if start.startswith(sign):
            return cast(io.RawIOBase, opens(file))
    return cast(io.RawIOBase, file)


class _Zstd(io.RawIOBase):
    """All frames of a ``.zst``, with windows of up to 2 GiB (``zstd --long=31``).

    The library's own stream ends without an error if a file is cut off, and that of Arrow refuses
    long windows.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._library = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        self._frame = self._library.decompressobj()
        self._has_begun = False
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer, and return the number of bytes."""
        target = memoryview(cast(bytearray, buffer)).cast("B")
        while not self._ready:
            if not self._packed:
                self._packed = self._file.read(_FEED_BYTES)
            if not self._packed:
                if self._has_begun:
                    raise EOFError("the file is cut off")
                return 0
            self._has_begun = True
            self._ready = memoryview(self._frame.decompress(self._packed))
            self._packed = b""
            if self._frame.eof:
                self._packed = self._frame.unused_data or b""
                self._frame = self._library.decompressobj()
                self._has_begun = False
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def _gzip(file: IO[bytes]) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=file)


_SKIPPED = tuple(bytes((number,)) + b"\x2a\x4d\x18" for number in range(0x50, 0x60))
_OPENERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[IO[bytes]], object]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
    # Tools that compress in parallel first write a frame that readers skip.
    ((b"\x28\xb5\x2f\xfd", *_SKIPPED), _Zstd),
)


def encoding_of(path: Path, stream: io.BufferedReader) -> str:
    """Return how a text is encoded, as its first bytes say: UTF-8 unless there is another mark.

    Raises
    ------
    DataError
        If these are the first bytes of something other than text.
    """
    start = stream.peek(_PEEK_BYTES)
    for sign, what in _OTHERS:
        if start[: len(sign)].lower() == sign.lower():
            raise DataError(f"{path}: this is {what}")
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    if len(start) >= 2 and start[0] and not start[1]:
        return "utf-16-le"
    if len(start) >= 2 and start[1] and not start[0]:
        return "utf-16-be"
    return "utf-8-sig"


@contextmanager
def open_text(path: Path, errors: str = "strict") -> Iterator[io.TextIOWrapper]:
    """Open a file as text, decompressed, without its byte-order mark; line ends stay as written.

    Raises
    ------
    DataError
        If it is not text.
    """
    with open_bytes(path) as stream:
        encoding = encoding_of(path, stream)
        yield io.TextIOWrapper(stream, encoding, errors, newline="")
