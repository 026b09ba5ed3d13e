"""Paths with a home folder and variables in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.paths import expand


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *(("~", "/home/me"), ("~/a", "/home/me/a"), ("~root/a", "/root/a")),
        *(
            ("$SCRATCH/a", "/scratch/me/a"),
            ("${SCRATCH}_2", "/scratch/me_2"),
            ("$HOME", "/home/me"),
        ),
        *(("a/$SCRATCH", "a//scratch/me"), ("a b/ü", "a b/ü"), ("/a", "/a"), ("a/~/b", "a/~/b")),
        *(("cost$", "cost$"), ("5$/a", "5$/a"), ("a$1", "a$1"), ("a~", "a~"), ("50%j", "50%j")),
    ],
)
def test_as_a_shell_has_it(written: str, meant: str) -> None:
    assert expand(written) == meant


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("$UNSET/a", r"\$UNSET/a: \$UNSET is not set; export UNSET, or write the path itself"),
        ("/a/${UNSET}", r"\$UNSET is not set"),
        # Not /runs at the root of the disk.
        ("$EMPTY/runs", r"\$EMPTY is not set"),
        ("${SCRATCH:-/tmp}/a", r"expected \$\{NAME\}"),
        ("~nobody-has-this-name/a", r"~nobody-has-this-name has no home folder here"),
        ("", "the path is empty"),
        (" ", "the path is empty"),
        ("a\r", r"'\\r' cannot be in a path"),
    ],
)
def test_what_is_no_path(written: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        expand(written)


def test_a_variable_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS", "~/runs")
    assert Path(expand("$RUNS/a")) == Path("/home/me/runs/a")
