"""Which bubblewrap is taken, and what it shows a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.verify import bubblewrap


def test_an_old_bubblewrap_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    bubblewrap.find_bubblewrap.cache_clear()
    assert bubblewrap.find_bubblewrap() != str(old)
    old.write_text("#!/bin/sh\necho bubblewrap 0.10.0\n")
    bubblewrap.find_bubblewrap.cache_clear()
    assert bubblewrap.find_bubblewrap() == str(old)
    bubblewrap.find_bubblewrap.cache_clear()


def test_what_is_not_named_is_not_bound() -> None:
    command = bubblewrap.bubblewrap_command(["/opt/python"])
    bound = {command[i + 1] for i, word in enumerate(command) if word.startswith("--ro-bind")}
    assert (
        {"/usr", "/opt/python"}
        <= bound
        <= {"/usr", "/opt/python", "/bin", "/sbin"} | {f"/lib{bits}" for bits in ("", "32", "64")}
    )
    assert not any(word in ("--bind", "--share-net") for word in command)
    devices = {command[i + 1] for i, word in enumerate(command) if word == "--dev-bind"}
    assert devices == set(bubblewrap.DEVICES)
