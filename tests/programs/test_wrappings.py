"""The solutions of the public benchmarks, wrapped as models wrap them.

A sample; ``python tests/wrappings.py FOLDER`` checks all of them.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from wrappings import COUNTS, UNFINISHED, WRAPPINGS, Solution, solutions, verdicts, wrapped

pytestmark = pytest.mark.slow

SAMPLE = 12


@pytest.fixture(params=COUNTS)
def sample(request: pytest.FixtureRequest, shared_data: Path) -> list[Solution]:
    everything = solutions(shared_data, request.param)
    assert len(everything) == COUNTS[request.param]
    return random.Random(0).sample(everything, SAMPLE)


def test_right_programs_pass_in_any_wrapping(sample: list[Solution]) -> None:
    results = verdicts(wrapped(sample, WRAPPINGS))
    assert len(results) > 12 * SAMPLE
    assert {key: v for key, v in results.items() if not v.correct} == {}


def test_mutants_fail_in_any_wrapping(sample: list[Solution]) -> None:
    results = verdicts(wrapped([s.mutant() for s in sample[:4]], WRAPPINGS))
    assert {key: v for key, v in results.items() if v.correct} == {}


def test_what_is_unfinished_never_counts(sample: list[Solution]) -> None:
    results = verdicts(wrapped(sample, UNFINISHED))
    assert {key: v for key, v in results.items() if v.correct} == {}
