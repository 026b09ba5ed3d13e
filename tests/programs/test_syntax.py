"""Code is parsed, whatever it is, in whatever thread."""

from __future__ import annotations

import ast
import gc
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from wmss_cli.programs.syntax import long_integers, parse, parses, symbols

WRONG = {
    "no Python": "def f(:",
    "a byte of zero": "x = 1\0",
    "nested too deeply": "(" * 100_000,
    "too deep a tree": "-" * 100_000 + "1",
    "half of a surrogate pair": "x = '\ud83d'",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_parsed_is_a_syntax_error(what: str) -> None:
    with pytest.raises(SyntaxError):
        parse(WRONG[what])


def test_doubtful_code_is_parsed_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ast.unparse(parse("x = '\\d'; 1 is 1"))


class _Yielding:
    """Garbage, whose collection lets another thread run, in the middle of a tree."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        time.sleep(0)


def test_threads_parse_beside_one_another() -> None:
    codes = [f"def f{i}(x):\n    return [x + {i}, (x, {{x: -x}})]\n" * 20 for i in range(8)]

    def parse_in_litter(code: str) -> ast.Module:
        _Yielding()
        return parse(code)

    thresholds = gc.get_threshold()
    gc.set_threshold(10)
    try:
        with ThreadPoolExecutor(4) as pool:
            trees = list(pool.map(parse_in_litter, codes * 100))
    finally:
        gc.set_threshold(*thresholds)
    assert [ast.unparse(tree) for tree in trees[:8]] == [ast.unparse(parse(c)) for c in codes]


def test_long_integers_are_code_and_the_limit_stays() -> None:
    limit = sys.get_int_max_str_digits()
    assert parses(f"x = {'9' * 5000}")
    with long_integers():
        assert int("9" * 5000) == 10**5000 - 1
    assert sys.get_int_max_str_digits() == limit


def test_names_are_resolved_as_the_compiler_does() -> None:
    (scope,) = symbols("def f(x): return x + y").get_children()
    assert [s.get_name() for s in scope.get_symbols() if s.is_global()] == ["y"]
    assert not parses("nonlocal x")
