"""Reading tests of all forms."""

from __future__ import annotations

from typing import Any

import pytest

from wmss_cli.core.errors import DataError
from wmss_cli.programs.cases import (
    CallTests,
    CodeTests,
    InputTests,
    Tests,
    humaneval_tests,
    mbpp_tests,
    needs_pytest,
    read_tests,
)


@pytest.mark.parametrize(
    ("test_case", "tests"),
    [
        (None, None),
        ({}, None),
        ({"test_code": None, "test_entry_point": None}, None),
        ({"test_code": "assert f()", "test_entry_point": "f"}, CodeTests("assert f()", "f")),
        ({"test_code": "assert f()", "test_entry_point": None}, CodeTests("assert f()")),
        ({"assert_case": ["assert f()", "assert g()"]}, CodeTests("assert f()\nassert g()")),
        ({"inputs": ["1\n"], "outputs": ["2\n"]}, InputTests(("1\n",), ("2\n",))),
        ({"inputs": [["1", "2"]], "outputs": [["3"]]}, InputTests(("1\n2",), ("3",))),
        ({"inputs": [["a"]], "outputs": ["b"], "fn_name": "f"}, CallTests("f", (["a"],), ("b",))),
        ({"inputs": [[1, 2]], "outputs": [3], "fn_name": "f"}, CallTests("f", ([1, 2],), (3,))),
        (
            {"inputs": ["1\n[2]"], "outputs": ["3"], "fn_name": "f"},
            CallTests("f", ([1, [2]],), (3,)),
        ),
        ({"input_output": '{"inputs": ["1"], "outputs": ["2"]}'}, InputTests(("1",), ("2",))),
        (
            {"input_output": '{"inputs": [[1]], "outputs": [2], "fn_name": "f"}'},
            CallTests("f", ([1],), (2,)),
        ),
    ],
)
def test_forms_of_tests(test_case: dict[str, Any] | None, tests: Tests | None) -> None:
    assert read_tests(test_case) == tests


@pytest.mark.parametrize(
    ("test_case", "problem"),
    [
        ({"test_code": "assert ("}, "not Python"),
        ({"test_code": "x = 1"}, "tests nothing"),
        ({"test_code": 5}, "not text"),
        ({"test_code": "assert f()", "test_entry_point": ["f"]}, "not a name"),
        ({"inputs": [[1]], "outputs": [1], "fn_name": 7}, "not a name"),
        ({"inputs": ["1"], "outputs": []}, "two lists of the same length"),
        ({"inputs": "1", "outputs": "1"}, "two lists of the same length"),
        ({"input_output": "{"}, "not JSON"),
        ({"input_output": "[1]"}, "not an object"),
        ({"inputs": [1], "outputs": [1], "fn_name": "f"}, "not a list"),
        ({"inputs": ["x"], "outputs": [1], "fn_name": "f"}, "not JSON"),
    ],
)
def test_tests_that_cannot_be_read(test_case: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_tests(test_case)


@pytest.mark.parametrize(
    ("code", "needs"),
    [
        ("assert f() == 1", False),
        ("def test_f():\n    assert f() == 1", False),
        ("import pytest\nassert f() == 1", True),
        ("from unittest.mock import patch", True),
        ("def test_f(tmp_path): pass", True),
        ("@skip\ndef test_f(): pass", True),
        ("class TestF: pass", True),
        ("class Node: pass", False),
        ("def helper(x): pass", False),
        ("import pytesting", False),
    ],
)
def test_what_needs_pytest(code: str, needs: bool) -> None:
    assert needs_pytest(code) is needs


def test_forms_of_benchmarks() -> None:
    tests = humaneval_tests("def check(candidate):\n    assert candidate(1) == 1", "f")
    exec(tests.code, {"f": lambda x: x})
    with pytest.raises(AssertionError):
        exec(tests.code, {"f": lambda x: x + 1})
    tests = mbpp_tests(["assert set(f(y)) == {1}"], "y = [1]", ["import math"])
    assert tests.entry_point == "f"
    exec(tests.code, {"f": lambda x: x})
    assert mbpp_tests(["assert sum(1, 2) == 3"]).entry_point == "sum"
