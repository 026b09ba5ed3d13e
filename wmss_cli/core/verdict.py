"""What a check of an answer or a program finds: one verdict, and one vocabulary of reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_OfAnswers = Literal["wrong_answer", "no_answer", "bad_reference"]
_OfPrograms = Literal["no_code", "failed", "error", "exit_early", "memory", "output", "forged"]
_OfTests = Literal["no_tests", "bad_tests"]
Reason = Literal["correct", _OfAnswers, _OfPrograms, _OfTests, "timeout", "crash"]
"""Why a verdict is what it is."""

Refusal = Literal[
    "unreadable", "format", "no_reference", "contaminated", "duplicate", "near_duplicate"
]
"""Why curation rejects a record, whatever its answer."""

REASONS: Mapping[Reason | Refusal, str] = {
    "correct": "the answer equals the reference, or the program passes all tests",
    "unreadable": "not a record of one question and one answer; the detail says what is wrong",
    "format": "not one <think>…</think> followed by one <answer>…</answer>",
    "no_reference": "neither a reference answer nor a test to check the answer by",
    "contaminated": "contains a question of a benchmark, or a rare phrase of one; the detail "
    "names it",
    "duplicate": "prompt and completion both equal those of an earlier record",
    "near_duplicate": "nearly equal to an earlier record of the same problem; the detail names it",
    "wrong_answer": "the answer differs from the reference",
    "no_answer": "nothing in the answer can be compared with the reference",
    "bad_reference": "the reference cannot be read",
    "timeout": "the check took longer than verify_timeout_s",
    "crash": "the check ended its process, by memory for example",
    "no_code": "the answer contains no program",
    "failed": "a test of the program fails",
    "error": "the program ends with an exception",
    "exit_early": "the program ends itself before its tests are done",
    "memory": "the program needs more memory than it may have",
    "output": "the program prints more than it may",
    "forged": "the program passes tests that it cannot pass",
    "no_tests": "there are no tests to run the program against",
    "bad_tests": "the tests of the program cannot be read",
}
"""Every reason in an artifact, and what it means."""

Place = Literal["boxed", "statement", "whole", "prose", "last_number", "last_letter"]
"""Where an answer was found."""

Level = Literal["bubblewrap", "landlock", "none"]
"""How a program was confined."""


@dataclass(frozen=True)
class Verdict:
    """Whether an answer or a program is right, and why.

    Attributes
    ----------
    reason : str
        One of :data:`REASONS`.
    extracted : str or None
        What was compared with the reference, or the program that was run; None if the completion
        contains neither.
    found_in : str or None
        Where an answer was found.
    detail : str
        For a program: one line for a person.
    level : str or None
        How a program was confined; None for an answer.
    """

    reason: Reason
    extracted: str | None = None
    found_in: Place | None = None
    detail: str = ""
    level: Level | None = None

    @property
    def correct(self) -> bool:
        """True only if the comparison or all tests accepted it."""
        return self.reason == "correct"
