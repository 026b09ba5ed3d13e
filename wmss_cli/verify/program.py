"""Check programs that a model wrote against tests, in a sandbox."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from wmss_cli.core.errors import DataError
from wmss_cli.verify.blocks import joined
from wmss_cli.verify.cases import (
    CallTests,
    CodeTests,
    InputTests,
    Tests,
    needs_pytest,
)
from wmss_cli.verify.control import MIXED, with_control
from wmss_cli.verify.sandbox import Level, Limits, Outcome, Run, run_sandboxed
from wmss_cli.verify.supplied import supplied_code
from wmss_cli.verify.syntax import long_integers

K = TypeVar("K")

_AHEAD_PER_WORKER = 4
_SHOWN_CHARACTERS = 80
_TOLERANCE = 1e-6
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class ProgramVerdict:
    """Whether a program is right, and why.

    Attributes
    ----------
    correct : bool
        True only where it passed all tests, and not their negative control.
    reason : str
        ``passed``, ``failed``, ``error``, ``exit_early``, ``timeout``, ``memory``, ``output``,
        ``crash`` (see :class:`~wmss_cli.verify.sandbox.Outcome`); ``forged`` (it passes tests
        that it cannot pass), ``no_code``, ``no_tests`` or ``bad_tests`` (they cannot be read).
    detail : str
        One line for a person.
    level : str
        How the program was confined.
    """

    correct: bool
    reason: str
    detail: str
    level: Level


def check_program(
    program: str | None, tests: Tests | None, limits: Limits, level: Level
) -> ProgramVerdict:
    """Run a program against tests.

    Test code runs in the process of the program, which could therefore feign its success. So a
    program that passes is run a second time, in a sandbox that looks the same, with
    expectations that are wrong (:func:`~wmss_cli.verify.control.with_control`): what meets any of
    them is ``forged``. Outputs and results of calls are compared here, where no program reaches.

    Parameters
    ----------
    program : str or None
        Its source; None where a completion holds none.
    tests : CodeTests, InputTests, CallTests or None
        None where there are none.
    limits : Limits
        Of the run of test code, or of all cases together.
    level : Level
        Of :func:`~wmss_cli.verify.sandbox.find_level`.

    Raises
    ------
    SandboxError
        The sandbox itself does not work.

    Examples
    --------
    >>> tests = CodeTests("assert double(2) == 4")
    >>> level = find_level()  # doctest: +SKIP
    >>> check_program("def double(x): return 2 * x", tests, Limits(), level)  # doctest: +SKIP
    ProgramVerdict(correct=True, reason='passed', detail='', level='bubblewrap')
    """
    if not program or not program.strip():
        return ProgramVerdict(False, "no_code", "", level)
    match tests:
        case None:
            return ProgramVerdict(False, "no_tests", "", level)
        case CodeTests():
            return _check_code(program, tests, limits, level)
        case InputTests():
            return _check_inputs(program, tests, limits, level)
        case CallTests():
            return _check_calls(program, tests, limits, level)


def check_programs(
    items: Iterable[tuple[K, str | None, Tests | None]],
    workers: int,
    limits: Limits,
    level: Level,
) -> Iterator[tuple[K, ProgramVerdict]]:
    """Check many programs at once; see :func:`check_program` for the other parameters.

    Parameters
    ----------
    items : iterable of (key, program, tests)
        The key comes back with the verdict.
    workers : int
        How many sandboxes at a time.

    Yields
    ------
    (key, ProgramVerdict)
        In the order of `items`, of which only a bounded number is held at any time.
    """
    # Threads do: each only waits for its sandbox.
    pool = ThreadPoolExecutor(workers)
    try:
        running: deque[tuple[K, Future[ProgramVerdict]]] = deque()
        for key, program, tests in items:
            running.append((key, pool.submit(check_program, program, tests, limits, level)))
            if len(running) > workers * _AHEAD_PER_WORKER:
                first, future = running.popleft()
                yield first, future.result()
        while running:
            first, future = running.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _check_code(program: str, tests: CodeTests, limits: Limits, level: Level) -> ProgramVerdict:
    try:
        kind: Any = "pytest" if needs_pytest(tests.code) else "tests"
        code, control = with_control(tests.code)
    except DataError as error:
        return ProgramVerdict(False, "bad_tests", str(error), level)
    # Two sandboxes: in one, the second run could see that it is the second.
    outcome, controlled = _run_tests(program, kind, code, tests, limits, level), None
    if outcome.reason == "passed":
        controlled = _run_tests(program, kind, control, tests, limits, level)
    if controlled is None:
        return ProgramVerdict(False, outcome.reason, outcome.detail, level)
    if controlled.reason == "passed" or MIXED in controlled.detail:
        return ProgramVerdict(False, "forged", "it passes tests with wrong expectations", level)
    return ProgramVerdict(True, "passed", "", level)


def _run_tests(
    program: str, kind: Any, code: str, tests: CodeTests, limits: Limits, level: Level
) -> Outcome:
    supplied = supplied_code(program)
    if kind == "pytest":  # it imports the file itself
        program, supplied = joined([supplied, program]), ""
    run = Run(program, kind, tests=code, entry_point=tests.entry_point or "", supplied=supplied)
    (outcome,) = run_sandboxed([run], limits, level)
    return outcome


def _check_inputs(program: str, tests: InputTests, limits: Limits, level: Level) -> ProgramVerdict:
    runs = [Run(program, stdin=text) for text in tests.inputs]
    # What is expected may be long.
    expected_kb = max(map(len, tests.outputs), default=0) // 512
    limits = replace(limits, output_kb=max(limits.output_kb, expected_kb))
    outcomes = run_sandboxed(runs, limits, level, total_s=limits.timeout_s, stop_at_failure=True)
    for case, (outcome, expected) in enumerate(zip(outcomes, tests.outputs, strict=False), 1):
        if not _ended_well(outcome):
            return ProgramVerdict(False, outcome.reason, f"case {case}: {outcome.detail}", level)
        if not same_output(outcome.stdout, expected):
            return _differs(case, outcome.stdout, expected, level)
    assert len(outcomes) == len(runs), "a run that stopped the others did not end well"
    return ProgramVerdict(True, "passed", "", level)


def _ended_well(outcome: Outcome) -> bool:
    """Say whether a script came to its end; one that has printed its answer may also exit."""
    return outcome.reason == "passed" or (
        outcome.reason == "exit_early" and outcome.detail == "exit code 0"
    )


def _check_calls(program: str, tests: CallTests, limits: Limits, level: Level) -> ProgramVerdict:
    calls = _as_json(tests.arguments)
    supplied = supplied_code(program)
    run = Run(program, "calls", entry_point=tests.entry_point, calls=calls, supplied=supplied)
    (outcome,) = run_sandboxed([run], limits, level)
    if outcome.reason != "passed":
        return ProgramVerdict(False, outcome.reason, outcome.detail, level)
    try:
        with long_integers():
            results = json.loads(outcome.detail, parse_int=_integer)
    except ValueError:
        results = None
    if not isinstance(results, list) or len(results) != len(tests.results):
        return ProgramVerdict(False, "forged", "its results are not those of the calls", level)
    for case, (result, expected) in enumerate(zip(results, tests.results, strict=True), 1):
        # APPS and TACO put a result into a list of one.
        if not (_same_result(result, expected) or _same_result([result], expected)):
            return _differs(case, _as_json(result), _as_json(expected), level)
    return ProgramVerdict(True, "passed", "", level)


def _as_json(value: Any) -> str:
    with long_integers():
        return json.dumps(value)


def _integer(digits: str) -> int | str:
    """Return a whole number; one that is too long to be expected as it is."""
    try:
        return int(digits)
    except ValueError:
        return digits


def _same_result(found: Any, expected: Any) -> bool:
    """Compare what JSON can hold; numbers that are no whole ones up to a millionth."""
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


def _differs(case: int, found: str, expected: str, level: Level) -> ProgramVerdict:
    detail = f"case {case}: {_short(found)}, expected {_short(expected)}"
    return ProgramVerdict(False, "failed", detail, level)


def _short(text: str) -> str:
    shown = repr(text.strip())
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"


def same_output(found: str, expected: str) -> bool:
    r"""Say whether an output is the expected one.

    White space at the ends of lines and of the text does not count. Where a number with a decimal
    point or an exponent is expected, one that differs by a millionth at most will do.

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
