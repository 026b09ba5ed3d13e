"""The part of a completion that counts, whatever kind of answer it holds."""

from __future__ import annotations

import pytest

from wmss_cli.core.tags import answer_part


@pytest.mark.parametrize(
    ("completion", "part"),
    [
        ("no tags at all", "no tags at all"),
        ("<think>x</think> so 4", " so 4"),
        ("<think>x</think><answer>  return 4\n</answer>", "  return 4\n"),
        ("<answer>1</answer> no: <answer>2</answer>", "2"),
        ("<think>x</think>4<|im_end|>", "4"),
        ("print('<answer>')", "print('<answer>')"),
    ],
)
def test_the_part_that_counts(completion: str, part: str) -> None:
    assert answer_part(completion) == part


@pytest.mark.parametrize(
    "completion", ["<think>x", "<think>x</think><think>y", "<answer>4", "<think>x</think><answer>4"]
)
def test_what_has_no_end_is_no_answer(completion: str) -> None:
    assert answer_part(completion) is None
