"""How many programs a second are checked here: ``sandbox_rate.py [WORKERS] [PROGRAMS]``.

All are right, which is the slow case: each runs a second time against the control.
"""

from __future__ import annotations

import sys
import time

from wmss_cli.verify.cases import CodeTests
from wmss_cli.verify.program import check_programs
from wmss_cli.verify.sandbox import Limits, find_level

if __name__ == "__main__":
    workers, count = (int(text) for text in [*sys.argv[1:], "2", "200"][:2])
    program = "def double(x):\n    return 2 * x\n"
    tests = CodeTests("def test_double():\n    assert double(2) == 4\n")
    level = find_level()
    items = ((number, program, tests) for number in range(count))
    begin = time.perf_counter()
    right = sum(v.correct for _, v in check_programs(items, workers, Limits(), level))
    rate = count / (time.perf_counter() - begin)
    print(f"{right} of {count} right; {rate:.1f} programs a second, {workers} workers, {level}")
