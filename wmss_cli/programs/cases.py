"""Tests of programs, in the forms that data sets use."""

from __future__ import annotations

import ast
import builtins
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wmss_cli.core.errors import DataError
from wmss_cli.programs.definitions import names_used
from wmss_cli.programs.syntax import long_integers, parse


@dataclass(frozen=True)
class CodeTests:
    """Test code: statements that assert, functions ``test…``, or both.

    Attributes
    ----------
    code : str
        It may import from ``solution``; all public names of the program are available anyway.
    entry_point : str or None
        Function or class that it tests.
    """

    code: str
    entry_point: str | None = None

    @property
    def used(self) -> frozenset[str]:
        """Names that the tests take from the program; none if the tests cannot be read."""
        try:
            return names_used(self.code)
        except SyntaxError:
            return frozenset()


@dataclass(frozen=True)
class InputTests:
    """Pairs of a program's input and output.

    Attributes
    ----------
    inputs, outputs : tuple of str
        Standard input and expected standard output of each case.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    entry_point: None = None


@dataclass(frozen=True)
class CallTests:
    """Calls of a function, and their results.

    Attributes
    ----------
    entry_point : str
        Function, or method of a class ``Solution``.
    arguments : tuple of list
        Arguments of each case, of types that exist in JSON.
    results : tuple
        The result of each case.
    """

    entry_point: str
    arguments: tuple[list[Any], ...]
    results: tuple[Any, ...]


Tests = CodeTests | InputTests | CallTests


def read_tests(test_case: Mapping[str, Any] | None) -> Tests | None:
    """Read the tests of a record.

    Parameters
    ----------
    test_case : mapping or None
        ``test_code`` (text, or a list of statements) with ``test_entry_point``; or ``inputs``
        and ``outputs``, with ``fn_name`` if they belong to calls, as in APPS and TACO.
        ``input_output`` may contain these as JSON; ``assert_case`` may replace ``test_code``.

    Returns
    -------
    CodeTests, InputTests, CallTests or None
        None if there are no tests.

    Raises
    ------
    DataError
        If there are tests that cannot be read.
    """
    if not test_case:
        return None
    more = _loads(test_case.get("input_output") or {})
    if not isinstance(more, dict):
        raise DataError("input_output is not an object")
    case = {**test_case, **more}
    entry_point = case.get("test_entry_point") or case.get("fn_name")
    if entry_point is not None and not isinstance(entry_point, str):
        raise DataError("the entry point is not a name")
    if code := case.get("test_code") or case.get("assert_case"):
        if not isinstance(code, str | list):
            raise DataError("the test code is not text")
        text = code if isinstance(code, str) else "\n".join(map(str, code))
        if not any(isinstance(node, ast.Assert | ast.Call) for node in ast.walk(parse_tests(text))):
            raise DataError("the test code tests nothing")
        return CodeTests(text, entry_point)
    inputs, outputs = case.get("inputs") or [], case.get("outputs") or []
    if not inputs and not outputs:
        return None
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise DataError("inputs and outputs are not two lists of the same length")
    if entry_point:
        # As in APPS, or as in LiveCodeBench: a line of JSON for each argument, and the result.
        if inputs and isinstance(inputs[0], str):
            inputs = [[_loads(line) for line in text.splitlines()] for text in map(str, inputs)]
            outputs = list(map(_loads, outputs))
        if not all(isinstance(arguments, list) for arguments in inputs):
            raise DataError("the arguments of a call are not a list")
        return CallTests(entry_point, tuple(inputs), tuple(outputs))
    return InputTests(tuple(map(_text, inputs)), tuple(map(_text, outputs)))


def humaneval_tests(test: str, entry_point: str) -> CodeTests:
    """Return the tests of a problem of HumanEval, which define ``check``."""
    return CodeTests(f"{test}\n\ncheck({entry_point})\n", entry_point)


def mbpp_tests(
    test_list: Sequence[str], setup_code: str = "", imports: Sequence[str] = ()
) -> CodeTests:
    """Return the tests of a problem of MBPP.

    Parameters
    ----------
    test_list : sequence of str
        Assertions.
    setup_code : str
        ``test_setup_code`` from the full set.
    imports : sequence of str
        ``test_imports`` from the sanitised set.
    """
    code = "\n".join((*imports, setup_code, *test_list, ""))
    return CodeTests(code, _first_called(test_list[0]))


def _first_called(assertion: str) -> str | None:
    """Return the first function in an assertion, preferably one that is not Python's own."""
    calls = (n.func for n in ast.walk(parse_tests(assertion)) if isinstance(n, ast.Call))
    names = [function.id for function in calls if isinstance(function, ast.Name)]
    foreign = [name for name in names if not hasattr(builtins, name)]
    return next(iter(foreign or names), None)


def _loads(value: Any) -> Any:
    """Read JSON if it is still text."""
    if not isinstance(value, str):
        return value
    try:
        with long_integers():
            return json.loads(value)
    except ValueError as error:
        raise DataError(f"tests that are not JSON: {error}") from error


def _text(value: Any) -> str:
    """Return a standard input or output; some sets have it as a list of lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def needs_pytest(code: str) -> bool:
    """Return whether test code needs pytest itself: its names, unittest, classes, fixtures."""
    for node in ast.walk(parse_tests(code)):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module)):
                modules = [module]
            case ast.ClassDef(name=name) if name.startswith("Test"):
                return True
            case ast.FunctionDef(name=name, args=a) if name.startswith("test"):
                if a.args or a.posonlyargs or a.kwonlyargs or node.decorator_list:
                    return True
                continue
            case _:
                continue
        if any(module.partition(".")[0] in ("pytest", "unittest") for module in modules):
            return True
    return False


def parse_tests(code: str) -> ast.Module:
    """Parse test code.

    Raises
    ------
    DataError
        If it is not Python.
    """
    try:
        return parse(code)
    except SyntaxError as error:
        raise DataError(f"test code that is not Python: {error}") from error
