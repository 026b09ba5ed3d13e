"""What a worker says about its end, also where the disk has no room for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wmss_cli.core.errors import DataError
from wmss_cli.launch import worker


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the signals of this process, and how it ends, as they are."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(worker, "ends_by", lambda _: None)


def test_a_full_disk_has_room_for_the_report(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("256k")

    def fill() -> None:
        with (disk / "rest").open("wb", buffering=0) as rest:
            while True:
                rest.write(b"x" * 512)

    assert worker.run(fill, disk) == 5
    report = worker.read_error(disk)
    assert report is not None
    assert report["message"] == "the disk is full; free some space or choose another --out"
    assert "OSError: [Errno 28]" in report["traceback"]


def test_a_report_that_was_cut_off_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "error-00000.json").touch()
    assert worker.read_error(tmp_path) is None

    def fail() -> None:
        raise DataError("no records; check the file")

    monkeypatch.setenv("RANK", "1")
    assert worker.run(fail, tmp_path) == 5
    report = worker.read_error(tmp_path)
    assert report is not None
    assert report["message"] == "no records; check the file"


def test_what_went_well_leaves_nothing(tmp_path: Path) -> None:
    assert worker.run(lambda: None, tmp_path) == 0
    assert list(tmp_path.iterdir()) == []
