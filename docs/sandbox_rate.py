"""How many programs a second are checked here: ``sandbox_rate.py [WORKERS] [PROGRAMS]``.

All are right, which is the slow case: each runs a second time against the negative checks.
"""

from __future__ import annotations

import sys
import time

from wmss_cli.programs.cases import CodeTests
from wmss_cli.programs.check import Trial, check_programs
from wmss_cli.programs.sandbox import Limits, find_level

if __name__ == "__main__":
    workers, count = (int(text) for text in [*sys.argv[1:], "2", "200"][:2])
    program = "def double(x):\n    return 2 * x\n"
    tests = CodeTests("def test_double():\n    assert double(2) == 4\n")
    level = find_level()
    items = ((number, Trial(program, tests)) for number in range(count))
    begin = time.perf_counter()
    verdicts = [verdict for _, verdict in check_programs(items, workers, Limits(), level)]
    right = sum(verdict is not None and verdict.correct for verdict in verdicts)
    rate = count / (time.perf_counter() - begin)
    print(f"{right} of {count} right; {rate:.1f} programs a second, {workers} workers, {level}")
