"""The negative checks have the form of the tests, and no honest program passes any of them."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.core.errors import DataError
from wmss_cli.programs.negative_checks import MIXED, with_negative_checks


class Equal(float):
    """Equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __round__(self, digits: int | None = None) -> Any:
        return 4


def equal(_: int) -> Equal:
    return Equal()


def run(tests: str, function: Any) -> None:
    """Run test code as the harness does, without pytest."""
    names: dict[str, Any] = {"f": function}
    exec(tests, names)
    for name, value in list(names.items()):
        if name.startswith("test"):
            value()


CODES = [
    "assert f(2) == 4",
    "assert 4 == f(2)",
    "def test_f():\n    assert f(2) == 4",
    "assert f(2) != 3",
    "assert abs(f(2) - 4) < 1e-6",
    "assert abs(f(1000) - 2000) <= 500",
    "import math\nassert math.isclose(f(2), 4)",
    "import math\nassert math.isclose(f(5 * 10**8), 1000000000, rel_tol=1e-3)",
    "x = 4\nassert f(2) == x",
    "for x, y in [(1, 2), (2, 4)]:\n    assert f(x) == y",
    "assert (f(2) == 4) is True",
    "'text'\nfrom __future__ import annotations\nassert f(2) == 4",
    "def test_f():\n    try:\n        assert f(2) == 5\n    except AssertionError:\n        pass",
]


@pytest.mark.parametrize("code", CODES)
def test_a_right_program_meets_the_tests_and_no_negative_check(code: str) -> None:
    tests, negative = with_negative_checks(code)
    run(tests, lambda x: 2 * x)
    with pytest.raises((AssertionError, TypeError)) as caught:
        run(negative, lambda x: 2 * x)
    assert MIXED not in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        "assert f(2) == 4",
        "def test_f():\n    assert f(2) == 4",
        "assert f(3) == 6\nassert round(f(2)) == 4",
        "expected = 4\nassert f(2) == expected",
        "for x, y in [(1, 2), (2, 4)]:\n    assert f(x) == y",
    ],
)
def test_what_equals_everything_meets_a_negative_check(code: str) -> None:
    tests, negative = with_negative_checks(code)
    run(tests, equal)
    try:
        run(negative, equal)
    except AssertionError as error:
        assert MIXED in str(error)  # noqa: PT017


def test_tests_and_negative_checks_differ_in_their_expectations_alone() -> None:
    code = "def test_f():\n    assert f([1, 2]) == [1, 'a', (True, None), {'k': 0.5}]"
    found = [ast.parse(text) for text in with_negative_checks(code)]
    literals = []
    for tree in found:
        compares = [n for n in ast.walk(tree) if isinstance(n, ast.Compare)]
        (compared,) = (n for n in compares if isinstance(n.ops[0], ast.Eq))
        literals.append(ast.literal_eval(compared.comparators[0]))
        compared.comparators = [ast.Constant(0)]
        for part in ast.walk(tree):
            if isinstance(part, ast.Constant) and str(part.value).startswith("assert f("):
                part.value = ""  # of its message
    assert ast.dump(found[0]) == ast.dump(found[1])
    assert literals[0] == [1, "a", (True, None), {"k": 0.5}]
    assert [type(item) for item in literals[1]] == [int, str, tuple, dict]
    assert literals[1][2][0] is False


def test_tests_that_are_nested_too_deeply_are_refused() -> None:
    with pytest.raises(DataError, match=r"nested too deeply|not Python"):
        with_negative_checks(f"assert f() == {'+'.join('1' * 5000)}")


LITERALS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.binary()
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e100, max_value=1e100),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.sets(st.booleans() | st.integers())
    ),
    max_leaves=8,
)


@given(LITERALS)
def test_the_other_literal_is_another_one(value: Any) -> None:
    tests, negative = with_negative_checks(f"assert x == {value!r}")
    exec(tests, {"x": value})
    with pytest.raises(AssertionError):
        exec(negative, {"x": value})
