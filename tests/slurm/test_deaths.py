"""What killed a job: logs and accounts as Slurm 22.05.8 wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.slurm.deaths import death
from wmss_cli.slurm.queue import Usage, read_accounts

OVER_MEMORY = """\
slurmstepd-n1: error: StepId=1.0 exceeded memory limit (344317952 > 314572800), being killed
srun: Job step aborted: Waiting up to 7 seconds for job step to finish.
slurmstepd-n1: error: *** STEP 1.0 ON n1 CANCELLED AT 2026-11-29T20:02:47 ***
slurmstepd-n1: error: Exceeded job memory limit
srun: error: n1: task 0: Killed
srun: launch/slurm: _step_signal: Terminating StepId=1.0
srun: error: n1: task 1: Killed
"""
OVER_MEMORY_ROWS = """\
1|FAILED|9:0|8|00:01|16||300M|billing=2,cpu=2,mem=300M,node=1|2026-11-29T20:02:48|None
1.batch|FAILED|9:0|8|00:01|16|12392K||cpu=2,mem=300M,node=1|2026-11-29T20:02:48|
1.0|CANCELLED by 0|0:9|8|00:01|16|357244K||cpu=2,mem=300M,node=1|2026-11-29T20:02:48|
"""
KILLED = """\
srun: error: n1: task 1: Killed
srun: launch/slurm: _step_signal: Terminating StepId=1.0
slurmstepd-n1: error: *** STEP 1.0 ON n1 CANCELLED AT 2026-11-29T19:45:10 ***
srun: error: n1: task 0: Terminated
srun: Force Terminated StepId=1.0
"""
# The first one that was killed is not the one whose signal srun ends with.
KILLED_ROWS = """\
1|FAILED|15:0|8|00:01|16||300M|billing=2,cpu=2,mem=300M,node=1|2026-11-29T20:02:48|None
1.batch|FAILED|15:0|8|00:01|16|12480K||cpu=2,mem=300M,node=1|2026-11-29T20:02:48|
1.0|CANCELLED|0:15|8|00:01|16|4836K||cpu=2,mem=300M,node=1|2026-11-29T20:02:48|
"""
SEGFAULT = """\
srun: error: n1: task 0: Segmentation fault (core dumped)
srun: launch/slurm: _step_signal: Terminating StepId=2.0
"""
CGROUP = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.out"


@pytest.mark.parametrize(
    ("text", "rows", "words", "of_memory", "likely"),
    [
        (OVER_MEMORY, OVER_MEMORY_ROWS, "out of memory: process 0 on n1", True, True),
        (OVER_MEMORY, "", "out of memory: process 0 on n1", True, True),
        ("", OVER_MEMORY_ROWS, "killed by SIGKILL (signal 9)", False, True),
        (KILLED, KILLED_ROWS, "killed by SIGKILL (signal 9): process 1 on n1", False, True),
        ("", KILLED_ROWS, "killed by SIGTERM (signal 15)", False, False),
        (SEGFAULT, "", "killed by SIGSEGV (signal 11): process 0 on n1", False, False),
        (CGROUP, "", "out of memory", True, True),
        (
            "srun: error: n[1-2]: tasks 0,3-5: Killed\n",
            "",
            "killed by SIGKILL (signal 9): processes 0,3-5 on n[1-2]",
            *(False, True),
        ),
        (
            "srun: error: n1: task 0: Out Of Memory\n",
            "",
            "out of memory: process 0 on n1",
            *(True, True),
        ),
    ],
)
def test_how_it_was_killed(
    log: Path, text: str, rows: str, words: str, of_memory: bool, likely: bool
) -> None:
    log.write_text(text)
    found = death("FAILED", read_accounts(rows)["1"] if rows else None, log)
    assert found is not None
    assert (found.words, found.of_memory, found.likely) == (words, of_memory, likely)


@pytest.mark.parametrize("code", ["1:0", "2:0", "3:0", "4:0", "5:0", "127:0", "0:0", ""])
def test_an_exit_code_of_a_program_is_no_signal(log: Path, code: str) -> None:
    log.write_text("srun: error: n1: task 0: Exited with exit code 1\n")
    assert death("FAILED", Usage(state="FAILED", exit_code=code), log) is None


@pytest.mark.parametrize(
    ("code", "name"), [("137:0", "SIGKILL"), ("139:0", "SIGSEGV"), ("0:9", "SIGKILL")]
)
def test_a_shell_and_slurm_write_signals_in_their_own_ways(log: Path, code: str, name: str) -> None:
    found = death("FAILED", Usage(state="FAILED", exit_code=code), log)
    assert found is not None
    assert found.words.startswith(f"killed by {name} (signal ")


def test_slurm_says_of_a_step_what_it_does_not_say_of_the_job(log: Path) -> None:
    rows = """\
7|FAILED|1:0|8|00:01|16||4G|billing=2,cpu=2,mem=4G,node=1|2026-11-29T20:02:48|None
7.0|OUT_OF_MEMORY|0:125|8|00:01|16|3900M||cpu=2,mem=4G,node=1|2026-11-29T20:02:48|
"""
    found = death("FAILED", read_accounts(rows)["7"], log)
    assert found is not None
    assert found.of_memory
    # Of an attempt before that, it says nothing of this one.
    again = "7|FAILED|1:0|8|00:01|16||4G|cpu=2,mem=4G,node=1|2026-11-29T20:09:48|None\n"
    assert death("FAILED", read_accounts(rows + again)["7"], log) is None
