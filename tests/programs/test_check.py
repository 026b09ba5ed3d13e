"""Programs against tests: all forms, all reasons, forgers, and real data."""

from __future__ import annotations

import ast
import itertools
import json
import random
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wmss_cli.core.verdict import Level, Verdict
from wmss_cli.programs.cases import (
    CallTests,
    CodeTests,
    InputTests,
    Tests,
    humaneval_tests,
    mbpp_tests,
    read_tests,
)
from wmss_cli.programs.check import (
    Trial,
    check_program,
    check_programs,
    same_output,
)
from wmss_cli.programs.completion import complete, extract_from_answer
from wmss_cli.programs.sandbox import Limits, find_level
from wmss_cli.programs.syntax import long_integers

pytestmark = pytest.mark.slow

LIMITS = Limits(timeout_s=20.0, cpu_s=20)
SHORT = Limits(timeout_s=1.5, cpu_s=2, memory_mb=512, output_kb=64)
DOUBLE = "def double(x):\n    return 2 * x\n"
TESTS = CodeTests("assert double(2) == 4\nassert double(0) == 0", "double")


def check(program: str, tests: Tests | None = TESTS, limits: Limits = LIMITS) -> Verdict:
    return check_program(Trial(program, tests), limits, find_level())


@pytest.mark.parametrize(
    "code",
    [
        "assert double(2) == 4",
        "from solution import double\n\ndef test_double():\n    assert double(2) == 4",
        "def test_double():\n    assert double(2) == 4",
        "import solution\n\ndef test_double():\n    assert solution.double(2) == 4",
        "import pytest\n\n@pytest.mark.parametrize('x', [1, 2])\ndef test_double(x):\n"
        "    assert double(x) == 2 * x",
        "import pytest\n\ndef test_double():\n    assert double(0.1) == pytest.approx(0.2)",
        "import math\ndef test_double():\n    assert math.isclose(double(0.1), 0.2)",
        "def test_double():\n    assert abs(double(0.1) - 0.2) < 1e-9",
        "class TestDouble:\n    def test_it(self):\n        assert double(2) == 4",
        "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n"
        "        self.assertEqual(double(2), 4)",
        "def test_double(tmp_path):\n    assert double(len([tmp_path])) == 2",
        "def check(f):\n    assert f(2) == 4\n\ncheck(double)",
        "import numpy as np\ndef test_double():\n    assert (double(np.ones(3)) == 2).all()",
    ],
)
def test_a_right_program_passes_and_a_wrong_one_does_not(code: str, level: Level) -> None:
    tests = CodeTests(code, "double")
    right = check_program(Trial(DOUBLE, tests), LIMITS, level)
    assert right == Verdict("correct", DOUBLE, level=level)
    wrong = check_program(Trial(DOUBLE.replace("2 * x", "3 * x + 1"), tests), LIMITS, level)
    assert (wrong.correct, wrong.reason, wrong.level) == (False, "failed", level)


@pytest.mark.parametrize(
    ("program", "reason", "detail"),
    [
        (
            "def double(x): return x",
            "failed",
            "some checks hold, others do not: assert double(2) == 4",
        ),
        ("def double(x): return 1 / 0", "error", "ZeroDivisionError"),
        ("def double(x) return", "error", "SyntaxError"),
        ("def triple(x): return 3 * x", "error", "name 'double' is not defined"),
        ("raise ValueError('at the top')", "error", "ValueError: at the top (solution.py, line 1)"),
        ("import sys; sys.exit(0)", "exit_early", "SystemExit: 0"),
        ("import os; os._exit(0)", "exit_early", "exit code 0"),
        (DOUBLE + "print('ok')\nexit()", "exit_early", "SystemExit"),
        ("def double(x): exit(0)", "exit_early", "SystemExit: 0"),
        ("def double(x):\n while True: pass", "timeout", ""),
        ("def double(x): return bytearray(2**40)", "memory", "MemoryError"),
        ("def double(x):\n while True: print('x' * 999)", "output", ""),
        ("def double(x):\n import os; os.abort()", "crash", "signal 6"),
        ("", "no_code", ""),
        (" \n", "no_code", ""),
    ],
)
def test_the_reason_says_what_went_wrong(program: str, reason: str, detail: str) -> None:
    # A machine that stands still for a second must not be the reason.
    patient = replace(SHORT, timeout_s=20.0, cpu_s=20)
    verdict = check(program, limits=SHORT if reason == "timeout" else patient)
    assert (verdict.correct, verdict.reason) == (False, reason), verdict
    assert detail in verdict.detail


@pytest.mark.parametrize(
    ("tests", "reason"),
    [(None, "no_tests"), (CodeTests("def test_x(:"), "bad_tests")],
)
def test_without_tests_nothing_is_correct(tests: Tests | None, reason: str) -> None:
    assert check(DOUBLE, tests).reason == reason


# Programs that are wrong and want to pass.
FORGERS = {
    "write the verdict": (
        "import os\nfor fd in range(3, 20):\n try: os.pwrite(fd, b'passed\\n', 0)\n"
        " except OSError: pass\nos._exit(0)"
    ),
    "write the verdict when called": (
        "def double(x):\n import os\n os.pwrite(3, b'passed\\n', 0)\n os._exit(0)"
    ),
    "print a verdict": ("print('passed', 'PASS', 'OK', flush=True)\nimport os; os._exit(0)"),
    "patch the harness": (
        "import gc, types\ndef double(x): return 0\nfor f in gc.get_objects():\n"
        " if isinstance(f, types.FunctionType) and f.__name__ == '_run_tests':\n"
        "  f.__code__ = (lambda run, clean: None).__code__"
    ),
    "patch the harness's answer": (
        "import gc, types\ndef double(x): return 0\nfor f in gc.get_objects():\n"
        " if isinstance(f, types.FunctionType) and f.__name__ == '_describe':\n"
        "  f.__code__ = (lambda error: '').__code__"
    ),
    "equal everything": (
        "class E:\n def __eq__(self, other): return True\n def __hash__(self): return 0\n"
        "def double(x): return E()"
    ),
    "be a number that equals everything": (
        "class E(int):\n def __eq__(self, other): return True\ndef double(x): return E(7)"
    ),
    "replace AssertionError": (
        "import builtins\nclass Quiet(Exception): pass\nbuiltins.AssertionError = Quiet\n"
        "def double(x): return 0"
    ),
    "replace all exceptions": (
        "import builtins\nbuiltins.BaseException = builtins.AssertionError = ()\n"
        "def double(x): return 0"
    ),
    "have no exceptions": ("import sys\nsys.excepthook = lambda *a: None\ndef double(x): return 0"),
    "end in a thread": (
        "import os, threading\nthreading.Timer(0.05, os._exit, [0]).start()\n"
        "def double(x):\n import time; time.sleep(1); return 0"
    ),
    "replace the exit": (
        "import os, sys\nexit_ = os._exit\nos._exit = lambda code: exit_(0)\n"
        "def double(x): return 0"
    ),
    "replace the tests": (
        "import sys, types\nsys.modules['test_solution'] = types.ModuleType('x')\n"
        "def test_double(): pass\ndef double(x): return 0"
    ),
    "trace the tests": (
        "import sys\ndef skip(frame, event, arg):\n"
        " if frame.f_code.co_filename == 'test_solution.py': raise SystemExit(0)\n"
        " return skip\nsys.settrace(skip)\ndef double(x): return 0"
    ),
    "read the expectation": (
        "import gc\ndef double(x):\n"
        " import re, sys\n frame = sys._getframe(1)\n"
        " constants = frame.f_code.co_consts\n"
        " frame = frame.f_back\n"
        " return constants[constants.index(x) + 1] if x in constants else 0"
    ),
}


@pytest.mark.parametrize("name", FORGERS)
def test_a_forger_does_not_pass(name: str, level: Level) -> None:
    tests = CodeTests("def test_double():\n    assert double(21) == 42", "double")
    verdict = check_program(Trial(FORGERS[name], tests), SHORT, level)
    assert not verdict.correct, verdict


EQUAL = "class E(float):\n __eq__ = lambda s, o: True\n __hash__ = lambda s: 0\n"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (
            EQUAL,
            "import pytest\n@pytest.mark.parametrize('x, y', [(1, 2)])\ndef test_it(x, y):\n"
            "    assert double(x) == y",
        ),
        (
            EQUAL,
            "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n"
            "        self.assertEqual(double(2), 4)",
        ),
        (EQUAL, "expected = 4\nassert double(2) == expected"),
        (
            EQUAL + " def __round__(s): return 4\n",
            "assert double(5) == 10\nassert round(double(2)) == 4",
        ),
    ],
)
def test_what_equals_everything_is_found_in_all_forms(program: str, code: str) -> None:
    program += "def double(x): return E()"
    assert check(program, CodeTests(code, "double")).reason == "forged"


def test_a_program_cannot_skip_its_tests() -> None:
    skips = "import pytest\ndef double(x): pytest.skip()"
    for code in (
        "import pytest\n@pytest.mark.parametrize('x', [1])\ndef test_it(x):\n"
        "    assert double(x) == 2 * x",
        "import pytest\ndef test_it():\n    y = double(2)\n    assert y == 4",
    ):
        assert check(skips, CodeTests(code, "double")).reason == "failed"


@pytest.mark.parametrize(
    "code",
    [
        "import pytest\ndef test_it():\n    assert double(5 * 10**8) == pytest.approx(1000000000)",
        "from __future__ import annotations\ndef test_it() -> None:\n    assert double(2) == 4",
        "import pytest\ndef test_it():\n    with pytest.raises(AssertionError):\n"
        "        assert double(2) == 5",
        "assert abs(double(1000) - 2000) < 500",
    ],
)
def test_right_programs_are_no_forgers(code: str) -> None:
    assert check(DOUBLE, CodeTests(code, "double")).correct


def test_what_is_not_public_can_be_tested() -> None:
    hidden = "__all__ = []\ndef _double(x): return 2 * x"
    assert check(hidden, CodeTests("assert _double(2) == 4", "_double")).correct


@pytest.mark.parametrize(
    "program",
    [
        "import threading, time\ndef main():\n    time.sleep(0.1)\n    print(1)\n"
        "threading.Thread(target=main).start()",
        "import atexit, sys\natexit.register(lambda: sys.__stdout__.write('1'))",
        "out = open(1, 'w')\nout.write('1')",
        "import io, sys\nout = io.TextIOWrapper(sys.stdout.buffer)\nout.write('1')",
        "import atexit, sys\natexit.register(print, 1)\nsys.exit()",
    ],
)
def test_a_script_is_run_to_its_end(program: str) -> None:
    assert check(program, InputTests(("",), ("1",))).correct


def test_an_expected_output_may_be_long() -> None:
    tests = InputTests(("",), ("".join(f"{i}\n" for i in range(40_000)),))
    limits = replace(LIMITS, output_kb=64)
    assert check("for i in range(40000): print(i)", tests, limits).correct


def test_the_negative_checks_are_what_stops_a_forger(monkeypatch: pytest.MonkeyPatch) -> None:
    forgers = ("write the verdict", "patch the harness", "equal everything")
    assert [check(FORGERS[name]).reason for name in forgers] == ["forged"] * 3
    never = "wmss_cli.programs.check.with_negative_checks"
    monkeypatch.setattr(never, lambda code: (code, code + "\nassert False"))
    # The last is not stopped by a failing assertion: its own assertions must be other ones.
    assert check(FORGERS["equal everything"]).correct


@pytest.mark.parametrize(
    "patch",
    [
        "import builtins\nbuiltins.abs = lambda x: 0",
        "def abs(x): return 0",
        "import builtins\nbuiltins.__dict__['abs'] = lambda x: 0",
        "__all__ = ['abs', 'double']\nabs = lambda x: 0",
    ],
)
@pytest.mark.parametrize("beginning", ["", "import pytest\n"])
def test_builtins_of_the_tests_are_their_own(patch: str, beginning: str) -> None:
    tests = CodeTests(f"{beginning}def test_it():\n    assert abs(double(2) - 4) <= 0.1 * 2")
    assert check(DOUBLE, tests).correct
    assert check(f"{patch}\ndef double(x): return 5.0", tests).reason == "failed"


def test_a_function_may_have_the_name_of_a_builtin() -> None:
    tests = mbpp_tests(["assert sum(10, 15) == 6"])
    assert check("def sum(a, b): return 6", tests).correct


def test_what_a_program_reads_and_prints() -> None:
    tests = InputTests(("1 2\n", "3 4\n"), ("3\n", "7\n"))
    right = "a, b = map(int, input().split())\nprint(a + b)"
    assert check(right, tests).correct
    assert check(right + "\nimport os, sys; sys.stdout.flush(); os._exit(0)", tests).correct
    assert check(right + "\nexit()", tests).correct
    wrong = check("a, b = map(int, input().split())\nprint(3)", tests)
    assert (wrong.reason, wrong.detail) == ("failed", "case 2: '3', expected '7'")
    assert check("input(); input()", tests).reason == "error"
    assert check(right + "\nexit(1)", tests).reason == "exit_early"
    assert check("if __name__ == '__main__':\n    " + right.replace("\n", "; "), tests).correct


def test_cases_share_the_time_limit() -> None:
    tests = InputTests(("",) * 9, ("",) * 9)
    verdict = check("import time; time.sleep(0.4)", tests, SHORT)
    assert (verdict.correct, verdict.reason) == (False, "timeout")


@pytest.mark.parametrize(
    "program", [DOUBLE, "class Solution:\n    def double(self, x): return 2 * x"]
)
def test_calls_of_a_function(program: str) -> None:
    tests = CallTests("double", ([2], [[1]]), (4, [1, 1]))
    assert check(program, tests).correct
    wrong = check(program.replace("2 * x", "x"), tests)
    assert (wrong.reason, wrong.detail) == ("failed", "case 1: '2', expected '4'")


def test_each_call_has_a_solution_of_its_own_and_floats_are_compared_as_such() -> None:
    program = (
        "class Solution:\n    def __init__(self): self.r = []\n"
        "    def f(self, x):\n        self.r.append(x)\n        return self.r"
    )
    assert check(program, CallTests("f", ([1], [2]), ([1], [2]))).correct
    assert check("def f(x): return x + 0.2", CallTests("f", ([0.1],), (0.3,))).correct
    assert check(
        "import numpy\ndef f(x): return numpy.int64(x)", CallTests("f", ([1],), (1,))
    ).correct


def test_results_that_no_call_returned() -> None:
    tests = CallTests("double", ([2],), (4,))
    for forged in ("[4, 4]", "4", "no json"):
        program = f"import os\nos.pwrite(3, b'passed\\n{forged}', 0)\nos._exit(0)"
        assert check(program, tests).reason == "forged"


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ("1\n", "1", True),
        ("1  2 \n\n", "1 2", True),
        ("1", "1.0", True),
        ("1.0", "1", False),
        ("101", "0101", False),
        ("1_0", "10", False),
        ("0.3333333333333333", "0.333333333333", True),
        ("0.30000000000000004", "0.3", True),
        ("0.31", "0.3", False),
        ("1e3", "1000.0", True),
        ("yes", "YES", False),
        ("1 2", "1\n2", False),
        ("", "", True),
        ("1", "", False),
        ("nan", "nan", True),
        ("1 2 3", "1 2", False),
    ],
)
def test_same_output(found: str, expected: str, same: bool) -> None:
    assert same_output(found, expected) is same


def test_many_programs_at_once_keep_their_order_and_are_not_held() -> None:
    taken = itertools.count()

    def items() -> Iterator[tuple[int, Trial]]:
        for i in range(40):
            next(taken)
            yield i, Trial(DOUBLE if i % 3 else "def double(x): return x", TESTS)

    results = check_programs(items(), 2, LIMITS, find_level())
    first = next(results)
    assert next(taken) < 12
    everything = [first, *results]
    assert [key for key, _ in everything] == list(range(40))
    assert [verdict.correct for _, verdict in everything] == [i % 3 > 0 for i in range(40)]


def test_a_stream_that_is_left_ends_its_threads() -> None:
    before = threading.active_count()
    endless = ((i, Trial(DOUBLE, TESTS)) for i in itertools.count())
    results = check_programs(endless, 2, LIMITS, find_level())
    next(results)
    results.close()
    assert threading.active_count() == before


TWO_SUM = """
class Solution:
    def twoSum(self, nums: List[int], target: int) -> Optional[List[int]]:
        seen = defaultdict(int)
        for i, n in enumerate(nums):
            if target - n in seen:
                return [seen[target - n], i]
            seen[n] = i
        return inf
"""


@pytest.mark.parametrize(
    "tests",
    [
        CallTests("twoSum", ([[2, 7, 11], 9],), ([0, 1],)),
        CodeTests("assert Solution().twoSum([2, 7, 11], 9) == [0, 1]", "Solution"),
        CodeTests(
            "import pytest\n\ndef test_it():\n    assert Solution().twoSum([2, 7], 9) == [0, 1]"
        ),
    ],
)
def test_a_solution_has_what_its_site_imports(tests: Tests) -> None:
    assert check(TWO_SUM, tests).correct
    assert check(f"from __future__ import annotations\n{TWO_SUM}", tests).correct


def test_others_import_what_they_use() -> None:
    program = "def double(x: List[int]): return 2 * x"
    assert "List" in check(program).detail


LONG = 10**5000 + 7


def test_integers_may_be_long() -> None:
    """Python itself refuses more than 4,300 digits."""
    program = "def f(n): return 10**n + 7"
    with long_integers():
        expected = str(LONG)
        wrong = str(LONG + 1)
    assert check(program, CodeTests(f"assert f(5000) == {expected}", "f")).correct
    assert check(program, CodeTests(f"assert f(5000) == {wrong}", "f")).reason == "failed"
    assert check(f"def f(n): return {expected}", CodeTests(f"assert f(0) == {expected}")).correct
    assert check(program, CallTests("f", ([5000],), (LONG,))).correct
    assert not check(program, CallTests("f", ([5000],), (LONG + 1,))).correct
    printing = "print(10**int(input()) + 7)"
    assert check(printing, InputTests(("5000",), (expected,))).correct


# Real data.


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def verdicts(items: Iterable[tuple[str, str | None, Tests | None]]) -> dict[str, Verdict]:
    trials = ((key, Trial(program, tests)) for key, program, tests in items)
    return dict(check_programs(trials, 2, LIMITS, find_level()))  # type: ignore[arg-type]


def humaneval(folder: Path) -> list[tuple[str, str, Tests]]:
    items = []
    for row in rows(folder, "humaneval"):
        tests = humaneval_tests(row["test"], row["entry_point"])
        program = complete(row["prompt"], row["canonical_solution"], row["entry_point"], tests.used)
        assert program is not None
        items.append((row["id"], program, tests))
    return items


def mbpp(folder: Path) -> list[tuple[str, str, Tests]]:
    return [
        (row["id"], row["code"], mbpp_tests(row["test_list"], row["test_setup_code"]))
        for row in rows(folder, "mbpp")
        if row["split"] == "test"
    ]


def mbpp_sanitized(folder: Path) -> list[tuple[str, str, Tests]]:
    return [
        (row["id"], row["code"], mbpp_tests(row["test_list"], imports=row["test_imports"]))
        for row in rows(folder, "mbpp_sanitized")
        if row["split"] == "test"
    ]


SETS = {"humaneval": (humaneval, 164), "mbpp": (mbpp, 500), "mbpp_sanitized": (mbpp_sanitized, 257)}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_all_canonical_solutions_pass(name: str, shared_data: Path) -> None:
    read, count = SETS[name]
    results = verdicts(list(read(shared_data)))
    assert len(results) == count
    assert {key: v for key, v in results.items() if not v.correct} == {}


class Mutation(ast.NodeTransformer):
    """Makes each function of a program return something else than it did."""

    def visit_Return(self, node: ast.Return) -> ast.Return:
        value = ast.unparse(node.value) if node.value else "None"
        return ast.parse(f"def f(): return [{value}, 'mutated']").body[0].body[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_mutated_solutions_fail(name: str, shared_data: Path) -> None:
    read, _ = SETS[name]
    sample = random.Random(0).sample(read(shared_data), 60)
    items = []
    for key, program, tests in sample:
        mutated = ast.unparse(Mutation().visit(ast.parse(program)))
        items.append((key, mutated, tests))
    assert {key: v for key, v in verdicts(items).items() if v.correct} == {}


# scipy was missing where this row was labelled.
LABELLED_ELSEWHERE = {"Algorithm_00000068_C"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["am_synth", "kodcode_r1_am"])
def test_records_are_kept_as_labelled(name: str, shared_data: Path) -> None:
    items: list[tuple[str, str | None, Tests | None]] = []
    expected = {}
    for number, row in enumerate(rows(shared_data, name)):
        meta = row["meta"]
        if meta["kind"] != "code" or meta.get("question_id") in LABELLED_ELSEWHERE:
            continue
        user, assistant = row["messages"]
        tests = read_tests(user["info"]["test_case"])
        entry_point = tests.entry_point if tests else None
        items.append((str(number), extract_from_answer(assistant["content"], entry_point), tests))
        expected[str(number)] = meta["expected_keep"]
    assert len(items) > 30
    assert {key: verdict.correct for key, verdict in verdicts(items).items()} == expected
