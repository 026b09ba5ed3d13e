"""Check programs that a model wrote against tests, in a sandbox."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeVar

from wmss_cli.core.errors import DataError
from wmss_cli.core.verdict import Level, Reason, Verdict
from wmss_cli.programs.cases import (
    CallTests,
    CodeTests,
    InputTests,
    Tests,
    needs_pytest,
)
from wmss_cli.programs.completion import joined
from wmss_cli.programs.definitions import supplied_code
from wmss_cli.programs.negative_checks import MIXED, with_negative_checks
from wmss_cli.programs.sandbox import Limits, Outcome, Run, run_sandboxed
from wmss_cli.programs.syntax import long_integers

K = TypeVar("K")
_Kind = Literal["tests", "pytest"]

_AHEAD_PER_WORKER = 4
_SHOWN_CHARACTERS = 80
_TOLERANCE = 1e-6
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?", re.ASCII)


class Trial(NamedTuple):
    """A program and the tests that it must pass.

    Attributes
    ----------
    program : str or None
        Its source; None if the completion contains none.
    tests : CodeTests, InputTests, CallTests or None
        None if there are none.
    """

    program: str | None
    tests: Tests | None


class _Finding(NamedTuple):
    reason: Reason
    detail: str = ""


def check_program(trial: Trial, limits: Limits, level: Level) -> Verdict:
    """Run a program against tests.

    Test code runs in the process of the program, so the program could fake its success. Therefore a
    program that passes is run a second time, in a sandbox that looks the same, with expectations
    that are wrong (:func:`~wmss_cli.programs.negative_checks.with_negative_checks`): if any of them
    is met, the verdict is ``forged``. Outputs and results of calls are compared here, out of reach
    of the program.

    Parameters
    ----------
    trial : Trial
        The program and its tests.
    limits : Limits
        Limits of the run of test code, or of all cases together.
    level : Level
        From :func:`~wmss_cli.programs.sandbox.find_level`.

    Raises
    ------
    SandboxError
        If the sandbox itself does not work.

    Examples
    --------
    >>> tests = CodeTests("assert double(2) == 4")
    >>> level = find_level()  # doctest: +SKIP
    >>> trial = Trial("def double(x): return 2 * x", tests)
    >>> check_program(trial, Limits(), level).correct  # doctest: +SKIP
    True
    """
    found = _check(trial, limits, level)
    return Verdict(found.reason, trial.program, detail=found.detail, level=level)


def _check(trial: Trial, limits: Limits, level: Level) -> _Finding:
    program, tests = trial
    if not program or not program.strip():
        return _Finding("no_code")
    match tests:
        case None:
            return _Finding("no_tests")
        case CodeTests():
            return _check_code(program, tests, limits, level)
        case InputTests():
            return _check_inputs(program, tests, limits, level)
        case CallTests():
            return _check_calls(program, tests, limits, level)


def check_programs(
    items: Iterable[tuple[K, Trial | None]], workers: int, limits: Limits, level: Level
) -> Generator[tuple[K, Verdict | None], None, None]:
    """Check many programs at once; see :func:`check_program` for the other parameters.

    An item without a program passes through in its place, with None as its verdict.

    Parameters
    ----------
    items : iterable of (key, Trial or None)
        The key is returned with the verdict.
    workers : int
        Number of sandboxes at a time.

    Yields
    ------
    (key, Verdict or None)
        In the order of `items`, of which only a bounded number is in memory at any time.
    """
    # Threads are enough: each only waits for its sandbox.
    pool = ThreadPoolExecutor(workers)
    try:
        running: deque[tuple[K, Future[Verdict] | None]] = deque()
        for key, trial in items:
            future = pool.submit(check_program, trial, limits, level) if trial is not None else None
            running.append((key, future))
            if len(running) > workers * _AHEAD_PER_WORKER:
                yield _result(*running.popleft())
        while running:
            yield _result(*running.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _result(key: K, future: Future[Verdict] | None) -> tuple[K, Verdict | None]:
    return key, None if future is None else future.result()


def _check_code(program: str, tests: CodeTests, limits: Limits, level: Level) -> _Finding:
    try:
        kind: _Kind = "pytest" if needs_pytest(tests.code) else "tests"
        code, negative = with_negative_checks(tests.code)
    except DataError as error:
        return _Finding("bad_tests", str(error))
    # Two sandboxes, since within one the second run could find out that it is the second.
    outcome = _run_tests(program, kind, code, tests, limits, level)
    if outcome.reason != "passed":
        return _Finding(outcome.reason, outcome.detail)
    outcome = _run_tests(program, kind, negative, tests, limits, level)
    if outcome.reason == "passed" or MIXED in outcome.detail:
        return _Finding("forged", "it passes tests with wrong expectations")
    return _Finding("correct")


def _run_tests(
    program: str, kind: _Kind, code: str, tests: CodeTests, limits: Limits, level: Level
) -> Outcome:
    supplied = supplied_code(program)
    if kind == "pytest":  # which imports the file itself
        program, supplied = joined([supplied, program]), ""
    run = Run(program, kind, tests=code, entry_point=tests.entry_point or "", supplied=supplied)
    (outcome,) = run_sandboxed([run], limits, level)
    return outcome


def _check_inputs(program: str, tests: InputTests, limits: Limits, level: Level) -> _Finding:
    runs = [Run(program, stdin=text) for text in tests.inputs]
    # Expected values may be long.
    expected_kb = max(map(len, tests.outputs), default=0) // 512
    limits = replace(limits, output_kb=max(limits.output_kb, expected_kb))
    outcomes = run_sandboxed(runs, limits, level, total_s=limits.timeout_s, stop_at_failure=True)
    for case, (outcome, expected) in enumerate(zip(outcomes, tests.outputs, strict=False), 1):
        # A script that has printed its answer may also exit.
        exited_well = (outcome.reason, outcome.detail) == ("exit_early", "exit code 0")
        if outcome.reason != "passed" and not exited_well:
            return _Finding(outcome.reason, f"case {case}: {outcome.detail}")
        if not same_output(outcome.stdout, expected):
            return _differs(case, outcome.stdout, expected)
    assert len(outcomes) == len(runs), "a run that stopped the others did not end well"
    return _Finding("correct")


def _check_calls(program: str, tests: CallTests, limits: Limits, level: Level) -> _Finding:
    calls = _as_json(tests.arguments)
    supplied = supplied_code(program)
    run = Run(program, "calls", entry_point=tests.entry_point, calls=calls, supplied=supplied)
    (outcome,) = run_sandboxed([run], limits, level)
    if outcome.reason != "passed":
        return _Finding(outcome.reason, outcome.detail)
    try:
        with long_integers():
            results = json.loads(outcome.detail, parse_int=_integer)
    except ValueError:
        results = None
    if not isinstance(results, list) or len(results) != len(tests.results):
        return _Finding("forged", "its results are not those of the calls")
    for case, (result, expected) in enumerate(zip(results, tests.results, strict=True), 1):
        # APPS and TACO wrap a result in a list.
        if not (_same_result(result, expected) or _same_result([result], expected)):
            return _differs(case, _as_json(result), _as_json(expected))
    return _Finding("correct")


def _as_json(value: Any) -> str:
    with long_integers():
        return json.dumps(value)


def _integer(digits: str) -> int | str:
    """Return a whole number; one that is too long to print is returned as it is."""
    try:
        return int(digits)
    except ValueError:
        return digits


def _same_result(found: Any, expected: Any) -> bool:
    """Compare JSON values; numbers with decimals may differ by a millionth."""
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_same_result, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            _same_result(value, expected[key]) for key, value in found.items()
        )
    if isinstance(found, float) and isinstance(expected, float | int):
        return math.isclose(found, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) or (
            math.isnan(found) and math.isnan(expected)
        )
    return bool(found == expected)


def _differs(case: int, found: str, expected: str) -> _Finding:
    detail = f"case {case}: {_short(found)}, expected {_short(expected)}"
    return _Finding("failed", detail)


def _short(text: str) -> str:
    shown = repr(text.strip())
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"


def same_output(found: str, expected: str) -> bool:
    r"""Return whether an output is the expected one.

    White space at the ends of lines and of the text is ignored. If a number with a decimal point or
    an exponent is expected, a difference of up to a millionth is accepted.

    Examples
    --------
    >>> same_output("1 2.50 \n\n", "1 2.5")
    True
    """
    found_lines, expected_lines = _lines(found), _lines(expected)
    return found_lines == expected_lines or (
        len(found_lines) == len(expected_lines)
        and all(map(_same_line, found_lines, expected_lines))
    )


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


def _same_line(found: Sequence[str], expected: Sequence[str]) -> bool:
    return len(found) == len(expected) and all(map(_same_word, found, expected))


def _same_word(found: str, expected: str) -> bool:
    if found == expected:
        return True
    if _DECIMAL.fullmatch(expected) is None or _NUMBER.fullmatch(found) is None:
        return False
    return math.isclose(float(found), float(expected), rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
