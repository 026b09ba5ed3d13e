"""Negative checks of test code, which no honest program passes but which look like those it passes.

Test code runs in the process of the program, so the program could fake its success. Each check with
an expectation is therefore written in two ways, with this expectation and with a different one, in
otherwise equal code. All checks of the first kind must hold, and none of the second.
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

# It draws no numbers from a seeded sequence, and cannot be predicted.
_RANDOM = random.SystemRandom()

MIXED = "some checks hold, others do not"
"""The error of a run that met only some of the expectations."""

_BEGINNING = "held_checks, failed_checks, other_value = [], [], object()"
# Other exceptions could end more than the test: pytest.skip() would make it pass.
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
    """Return test code to run, and the same code with negative checks.

    Checks are ``assert x == y``, ``assert x is literal``, ``assert isclose(x, y)``,
    ``assert abs(x - literal) < …``, ``assertEqual(x, y)`` and similar. In a negative check a
    literal is replaced by another one of the same shape, and anything else by an object that equals
    nothing. A program that passes all checks and also any negative check is not honest: it wrote
    the verdict, or returns something that equals everything. If there are no such checks, one is
    added.

    Parameters
    ----------
    code : str
        Test code.

    Raises
    ------
    DataError
        If it is not Python, or is nested too deeply.
    """
    try:
        is_check: list[bool] = []
        with long_integers():
            negative = _written(parse_tests(code), is_check, altered=True)
            return _written(parse_tests(code), is_check, altered=False), negative
    except RecursionError:
        raise DataError("test code that is nested too deeply") from None


def _written(tree: ast.Module, is_check: list[bool], altered: bool) -> str:
    """Return the code; the altered one also records which statements are checks, in order."""
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
    # Future imports come first, after a docstring at most.
    first += bool(first and ast.get_docstring(tree) is not None)
    body = [*tree.body[:first], *_parsed(_BEGINNING), *tree.body[first:], *end]
    return ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))


class _Checks(ast.NodeTransformer):
    """Rewrites each check so that it is counted, and expects something else if requested."""

    def __init__(self, is_check: list[bool], altered: bool) -> None:
        self._altered = altered
        self._is_check = is_check
        self._known = iter(tuple(is_check))

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        return self._visit(node, _alter_test)

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        return self._visit(node, _alter_call)

    def visit_With(self, node: ast.With) -> ast.stmt:
        # Inside it, a check may be expected to fail.
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
    """Return a statement that continues where this one fails, and counts."""
    return ast.Try(
        body=[node],
        handlers=[
            ast.ExceptHandler(
                ast.Name("BaseException", ast.Load()),
                "failure",
                # The first failure is the reason; the frames of a million would fill the memory.
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
    """Make an assertion expect something else; return whether it compares anything."""
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
    """Return a literal with another value, also inside ``approx``; None if it is not a literal."""
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
    # Beyond any tolerance.
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
    raise ValueError(f"not a literal: {value!r}")


def _other_text(text: str) -> str:
    letter = _RANDOM.choice("abcdefghijklmnopqrstuvwxyz")
    place = _RANDOM.randint(0, len(text))
    return text[:place] + letter + text[place:]
