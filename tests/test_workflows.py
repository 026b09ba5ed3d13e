"""The workflows run what a contributor can run: targets of the Makefile, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_targets_of_the_makefile(workflow: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        make, *asked = command.split()
        assert make == "make"
        assert set(asked) <= set(targets)


def test_every_supported_python_is_tested() -> None:
    matrix = yaml.safe_load((ROOT / ".github/workflows/fast.yml").read_text())["jobs"]["tests"]
    lowest = re.search(r'requires-python = ">=(.+)"', (ROOT / "pyproject.toml").read_text())
    assert lowest is not None
    assert matrix["strategy"]["matrix"]["python"][0] == lowest[1]
