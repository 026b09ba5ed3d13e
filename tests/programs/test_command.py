"""What a sandbox starts with: which bubblewrap is taken, and the harness without its files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from wmss_cli.core.verdict import Level
from wmss_cli.programs import command
from wmss_cli.programs.sandbox import Limits, Run, run_sandboxed


def test_an_old_bubblewrap_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    command.find_bubblewrap.cache_clear()
    assert command.find_bubblewrap() != str(old)
    old.write_text("#!/bin/sh\necho bubblewrap 0.10.0\n")
    command.find_bubblewrap.cache_clear()
    assert command.find_bubblewrap() == str(old)
    command.find_bubblewrap.cache_clear()


def test_what_is_not_named_is_not_bound() -> None:
    words = command.bubblewrap_command(["/opt/python"])
    bound = {words[i + 1] for i, word in enumerate(words) if word.startswith("--ro-bind")}
    assert (
        {"/usr", "/opt/python"}
        <= bound
        <= {"/usr", "/opt/python", "/bin", "/sbin"} | {f"/lib{bits}" for bits in ("", "32", "64")}
    )
    assert not any(word in ("--bind", "--share-net") for word in words)
    devices = {words[i + 1] for i, word in enumerate(words) if word == "--dev-bind"}
    assert devices == set(command.DEVICES)


def test_the_harness_works_where_its_files_cannot_be_read(level: Level) -> None:
    spec = find_spec("wmss_cli.programs.harness")
    assert spec is not None
    program = (
        f"try:\n    open({spec.origin!r})\n"
        "except OSError as error:\n    print(type(error).__name__)\n"
        "import sys\nprint([name for name in sys.modules if name.startswith('wmss')])"
    )
    (outcome,) = run_sandboxed([Run(program)], Limits(), level)
    seen = {"bubblewrap": "FileNotFoundError", "landlock": "PermissionError"}
    assert (outcome.reason, outcome.stdout) == ("passed", f"{seen[level]}\n[]\n")
