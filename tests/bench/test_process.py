"""Commands that a bench runs, and the Slurm that it plays back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wmss_cli.bench.process import PlayedBack, run
from wmss_cli.core.errors import StageError


def test_a_command_gives_its_output_and_its_memory() -> None:
    small = run([sys.executable, "-c", "print(1)"])
    large = run([sys.executable, "-c", "x = bytearray(10**8); print(1)"])
    assert small.stdout == large.stdout == "1\n"
    assert large.memory_bytes - small.memory_bytes == pytest.approx(10**8, rel=0.05)


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(StageError, match="no such luck"):
        run([sys.executable, "-c", "raise SystemExit('no such luck')"])


def test_slurm_says_what_it_is_told_and_counts_its_calls(tmp_path: Path) -> None:
    slurm = PlayedBack(tmp_path / "slurm", max_array_size=11)
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --nodes=1 --job-name=wmss-score-0\n")
    assert run(["sbatch", str(script)], slurm.environment).stdout == "Submitted batch job 1\n"
    assert slurm.names() == ["wmss-score-0"]
    slurm.say("squeue", "1|PENDING\n")
    slurm.forget()
    for _ in range(2):
        asked = subprocess.run(["squeue"], env=slurm.environment, capture_output=True, check=True)
        assert asked.stdout == b"1|PENDING\n"
    assert slurm.calls() == 2
