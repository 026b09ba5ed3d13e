"""One small study on the disk for all tests of results; read it, do not change it."""

from __future__ import annotations

from pathlib import Path

import pytest
from results.example_study import write_study

from wmss_cli.results.artifacts import Sources
from wmss_cli.results.collect import collect
from wmss_cli.results.findings import Findings, Task
from wmss_cli.results.study import Study

TASKS = (
    Task(name="gsm8k", title="GSM8K"),
    Task(name="humaneval", title="HumanEval", kind="code"),
)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, Path]]:
    """Return the study and its artifacts."""
    text = "<script>alert(1)</script> \\boxed{%d}"
    return write_study(tmp_path_factory.mktemp("study"), seeds=(0, 1), text=text)


@pytest.fixture(scope="session")
def found(written: tuple[Study, dict[str, Path]]) -> Findings:
    """Return what the report of that study says."""
    return collect(Sources(*written), TASKS, ["wmss run study.yaml"])
