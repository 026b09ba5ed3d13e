"""The negative checks of test code: what no honest program passes, in the form of what it passes.

Test code runs in the process of the program, which could therefore feign its success. So each check
with an expectation is written in two ways, with the expectation and with another one, in code that
is the same otherwise. Of the first all checks have to hold, of the second none.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from wmss_cli.core.errors import DataError
from wmss_cli.programs.cases import parse_tests
from wmss_cli.programs.syntax import long_integers, parse

N = TypeVar("N", ast.Assert, ast.Expr)

# Neither takes from a seeded sequence nor can be foreseen.
_RANDOM = random.SystemRandom()

MIXED = "some checks hold, others do not"
"""What a run says that met only some of the expectations."""

_BEGINNING = "held_checks, failed_checks, other_value = [], [], object()"
# What is no Exception might end more than the test: pytest.skip() would end it well.
_END = f"""
if failed_checks:
    first, source = failed_checks[0]
    if held_checks:
        raise AssertionError(f"{MIXED}: {{source}}")
    if type(first) is AssertionError or not isinstance(first, (Exception, SystemExit)):
        raise AssertionError(f"{{source}} {{first}}".strip())
    raise first
"""
_CLOSE = ("approx", "isclose", "allclose", "array_equal")
_METHODS = (
    *("assertEqual", "assertEquals", "assertAlmostEqual", "assertListEqual", "assertTupleEqual"),
    *("assertDictEqual", "assertSetEqual", "assertSequenceEqual", "assertCountEqual"),
    *("assert_equal", "assert_allclose", "assert_array_equal", "assert_almost_equal"),
)


def with_negative_checks(code: str) -> tuple[str, str]:
    """Return test code to run, and the same with negative checks.

    Checks are ``assert x == y``, ``assert x is literal``, ``assert isclose(x, y)``,
    ``assert abs(x - literal) < …`` and ``assertEqual(x, y)`` and its like. In a negative check a
    literal is another one of the same shape, and what is no literal an object that equals nothing.
    A program of which all checks hold and any negative check holds as well is no honest one: it
    wrote the verdict, or returns what equals everything. Where there is no such check, one is
    added.

    Parameters
    ----------
    code : str
        Test code.

    Raises
    ------
    DataError
        It is no Python, or nested too deeply.
    """
    try:
        is_check: list[bool] = []
        with long_integers():
            negative = _written(parse_tests(code), is_check, altered=True)
            return _written(parse_tests(code), is_check, altered=False), negative
    except RecursionError:
        raise DataError("test code that is nested too deeply") from None


def _written(tree: ast.Module, is_check: list[bool], altered: bool) -> str:
    """Return the code; the altered one says which statements are checks, in their order."""
    checks = _Checks(is_check, altered)
    tree = checks.visit(tree)
    has_functions = any(
        isinstance(n, ast.ClassDef)
        or (isinstance(n, ast.FunctionDef) and n.name.startswith("test"))
        for n in tree.body
    )
    if not any(is_check):
        value = _RANDOM.random()
        expected = _other_value(value) if altered else value
        tree.body.append(_counted(parse(f"assert {value} == {expected}").body[0]))
    end = _parsed(_END)
    if has_functions:
        last = parse("def test_zzz(): pass").body[0]
        assert isinstance(last, ast.FunctionDef)
        last.body = end
        end = [last]
    first = sum(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)
    # Future imports come first, a text before them at most.
    first += bool(first and ast.get_docstring(tree) is not None)
    body = [*tree.body[:first], *_parsed(_BEGINNING), *tree.body[first:], *end]
    return ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))


class _Checks(ast.NodeTransformer):
    """Writes each check so that it is counted; with another expectation, if so wanted."""

    def __init__(self, is_check: list[bool], altered: bool) -> None:
        self._altered = altered
        self._is_check = is_check
        self._known = iter(tuple(is_check))

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        return self._visit(node, _alter_test)

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        return self._visit(node, _alter_call)

    def visit_With(self, node: ast.With) -> ast.stmt:
        # There a check may be meant to fail.
        if any("aises" in ast.unparse(item.context_expr) for item in node.items):
            return node
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Try(self, node: ast.Try) -> ast.stmt:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.stmt:
        return node

    def _visit(self, node: N, alter: Callable[[N], bool]) -> ast.stmt:
        if self._altered:
            self._is_check.append(alter(node))
            return _counted(node) if self._is_check[-1] else node
        return _counted(node) if next(self._known) else node


def _counted(node: ast.stmt) -> ast.stmt:
    """Return a statement that goes on where this one fails, and counts."""
    return ast.Try(
        body=[node],
        handlers=[
            ast.ExceptHandler(
                ast.Name("BaseException", ast.Load()),
                "failure",
                # The first says why; a million would fill the memory with their frames.
                _parsed(f"failed_checks or failed_checks.append((failure, {ast.unparse(node)!r}))"),
            )
        ],
        orelse=_parsed("held_checks.append(True)"),
        finalbody=[],
    )


@lru_cache(maxsize=8)
def _parsed(code: str) -> list[ast.stmt]:
    return parse(code).body


def _alter_test(node: ast.Assert) -> bool:
    """Have an assertion expect something else; say whether it compares anything."""
    test = node.test
    match test:
        case ast.Compare(ops=[ast.Eq()], comparators=[right]):
            if (other := _other(right)) is not None:
                test.comparators = [other]
            elif (other := _other(test.left)) is not None:
                test.left = other
            elif _calls(right) and not _calls(test.left):
                test.left = _nothing()
            else:
                test.comparators = [_nothing()]
            return True
        case ast.Compare(ops=[ast.Is()], comparators=[ast.Constant(value=bool(value))]):
            test.comparators = [ast.Constant(not value)]
            return True
        case ast.Compare(ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            test.comparators = [_nothing()]
            return True
        case ast.Compare(
            left=ast.Call(args=[ast.BinOp(op=ast.Sub()) as difference]),
            ops=[ast.Lt() | ast.LtE()],
        ):
            other = _other(difference.right)
            difference.right = other or difference.right
            return other is not None
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _CLOSE:
            return _alter_arguments(test)
    return False


def _alter_call(node: ast.Expr) -> bool:
    match node.value:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _METHODS:
            return _alter_arguments(node.value)
    return False


def _alter_arguments(call: ast.Call) -> bool:
    if len(call.args) < 2:
        return False
    for place in (1, 0):
        if (other := _other(call.args[place])) is not None:
            call.args[place] = other
            return True
    first, second = call.args[:2]
    call.args[0 if _calls(second) and not _calls(first) else 1] = _nothing()
    return True


def _other(node: ast.expr) -> ast.expr | None:
    """Return a literal with another value, also inside of ``approx``; None for what is none."""
    match node:
        case ast.Call(func=ast.Name(id="approx") | ast.Attribute(attr="approx"), args=[inner, *_]):
            if (other := _other(inner)) is None:
                return None
            node.args[0] = other
            return node
    try:
        value = ast.literal_eval(node)
        other_value = _other_value(value)
        if other_value == value:
            return None
        (statement,) = parse(repr(other_value)).body
        assert isinstance(statement, ast.Expr)
        return statement.value
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError):
        return None


def _nothing() -> ast.expr:
    return ast.Name("other_value", ast.Load())


def _calls(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Call) for part in ast.walk(node))


def _other_value(value: Any) -> Any:
    # Further away than any tolerance reaches.
    number = _RANDOM.randint(2, 99)
    match value:
        case bool():
            return not value
        case int() | float() | complex():
            return value + 10 * abs(value) + number
        case str():
            return _other_text(value)
        case bytes():
            return value + str(number).encode()
        case None:
            return number
        case list():
            return [_other_value(item) for item in value] or [number]
        case tuple():
            return tuple(_other_value(item) for item in value) or (number,)
        case set():
            return value | {number + 0.5}
        case dict():
            return {k: _other_value(item) for k, item in value.items()} or {number: number}
    raise ValueError(f"no literal: {value!r}")


def _other_text(text: str) -> str:
    letter = _RANDOM.choice("abcdefghijklmnopqrstuvwxyz")
    place = _RANDOM.randint(0, len(text))
    return text[:place] + letter + text[place:]
