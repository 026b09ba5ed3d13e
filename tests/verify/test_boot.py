"""A sandbox has the harness without a file of it."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from wmss_cli.verify.sandbox import Level, Limits, Run, run_sandboxed


@pytest.mark.slow
def test_the_harness_works_where_its_files_cannot_be_read(level: Level) -> None:
    spec = find_spec("wmss_cli.verify.harness")
    assert spec is not None
    program = (
        f"try:\n    open({spec.origin!r})\n"
        "except OSError as error:\n    print(type(error).__name__)\n"
        "import sys\nprint([name for name in sys.modules if name.startswith('wmss')])"
    )
    (outcome,) = run_sandboxed([Run(program)], Limits(), level)
    seen = {"bubblewrap": "FileNotFoundError", "landlock": "PermissionError"}
    assert (outcome.reason, outcome.stdout) == ("passed", f"{seen[level]}\n[]\n")
