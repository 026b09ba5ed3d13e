"""What a user reads when something goes wrong, and the exit code."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wmss_cli.core import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError, 3),
        (errors.DataError, 5),
        (errors.NonFiniteLossError, 5),
        (errors.StageError, 5),
        (errors.StorageError, 5),
        (errors.IntegrityError, 6),
        (errors.InterruptedRunError, 130),
    ],
)
def test_exit_codes(error: type[errors.WmssError], code: int) -> None:
    assert error.exit_code == code


def test_our_own_errors_are_shown_as_they_are() -> None:
    error = errors.DataError("a.jsonl: no records; check the file")
    assert errors.explain(error) is error


def test_the_cause_counts_where_a_library_wrapped_it() -> None:
    inner = errors.DataError("inner")
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    assert errors.explain(outer) is inner


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "the file system is read-only"),
        (errno.ENOENT, "no such file or folder"),
        (errno.EEXIST, "exists already"),
    ],
)
def test_what_the_system_refuses_names_the_path_and_what_to_do(number: int, advice: str) -> None:
    error = errors.explain(OSError(number, os.strerror(number), "runs/x"))
    assert isinstance(error, errors.StorageError)
    assert str(error).startswith("runs/x: ")
    assert advice in str(error)
    assert ";" in str(error)


def test_a_full_disk_is_recognised_by_its_text_too() -> None:
    # safetensors raises an error of its own, without a number.
    error = errors.explain(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert isinstance(error, errors.StorageError)


def test_a_copy_to_a_full_disk_names_the_copy(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    (tmp_path / "whole").write_bytes(bytes(2**18))
    copy = small_disk("64k") / "copy"
    with pytest.raises(OSError, match="No space left") as caught:
        shutil.copyfile(tmp_path / "whole", copy)
    assert str(errors.explain(caught.value)).startswith(f"{copy}: the disk is full; ")


def test_ctrl_c_is_an_interruption() -> None:
    error = errors.explain(KeyboardInterrupt())
    assert isinstance(error, errors.InterruptedRunError)


@pytest.mark.parametrize("mistake", [AssertionError("x"), KeyError("x"), OSError("no number")])
def test_our_own_mistakes_are_not_explained_away(mistake: Exception) -> None:
    assert errors.explain(mistake) is None


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("[enforce fail at inline_container.cc:664] . unexpected pos 704 vs 598", "disk is full"),
        ("PytorchStreamWriter failed writing file data/12: file write failed", "disk is full"),
        ("I/O error: Disk quota exceeded (os error 122)", "quota is used up"),
        ("Error while serializing: Input/output error (os error 5)", "an input/output error"),
    ],
)
def test_a_disk_that_fails_is_recognised_in_the_words_of_libraries(text: str, advice: str) -> None:
    error = errors.explain(RuntimeError(text), "runs/sft.partial")
    assert isinstance(error, errors.StorageError)
    assert str(error).startswith("runs/sft.partial: ")
    assert advice in str(error)


def test_the_file_is_named_that_a_library_names() -> None:
    wrapped = OSError(errno.EIO, "Error reading '/data/rows.parquet'. Detail: Input/output error")
    assert str(errors.explain(wrapped, "runs/x")).startswith("/data/rows.parquet: ")


def test_an_error_that_is_its_own_cause_is_looked_at_once() -> None:
    first, last = OSError("gone"), RuntimeError("cannot read")
    last.__cause__, last.__context__ = last, first
    assert list(errors.chain(last)) == [last, first]
    assert list(errors.chain(last, contexts=False)) == [last]
    assert errors.explain(last) is None
