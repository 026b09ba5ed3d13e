"""What a process gives up, on machines that differ. What that does: test_sandbox.py."""

from __future__ import annotations

import os
import struct
from types import SimpleNamespace

import pytest

from wmss_cli.programs import confine
from wmss_cli.programs.confine import filter_program


def steps(code: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=HBBI", code))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("shares_files", [False, True])
def test_every_jump_lands_inside(
    machine: str, shares_files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confine.os, "uname", lambda: SimpleNamespace(machine=machine))
    program = steps(filter_program(shares_files))
    assert program[-1][0] == confine._RETURN
    assert len(program) < 4096, "the kernel takes no more"
    for place, (code, if_true, if_false, _) in enumerate(program):
        if code not in (confine._LOAD, confine._RETURN):
            assert place + 1 + max(if_true, if_false) < len(program)


def test_another_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    with pytest.raises(OSError, match="no list of system calls for riscv64"):
        filter_program(False)


def test_an_old_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "landlock_version", lambda: 2)
    with pytest.raises(OSError, match="has version 2 here, 3 is needed"):
        confine.restrict_files([], [])
