"""The form of a completion, and exact duplicates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.data.filters import check_format

PLAIN = st.text().filter(lambda text: "<" not in text)


@pytest.mark.parametrize(
    "completion",
    [
        "<think>2 + 2</think> <answer>4</answer>",
        "<think>2 + 2</think><answer>4</answer>",
        "\n<think>\n2 + 2\n</think>\n\n<answer>\nIt is \\boxed{4}.\n</answer>\n",
        "<think></think><answer>4</answer>",
    ],
)
def test_accepts_thinking_then_an_answer(completion: str) -> None:
    assert check_format(completion) is None


@pytest.mark.parametrize(
    ("completion", "wrong"),
    [
        ("It is 4.", "no <think>"),
        ("<think>2 + 2", "no </think>"),
        ("<think>2 + 2</think> It is 4.", "no <answer>"),
        ("<think>2 + 2</think> <answer>4", "no </answer>"),
        ("<think>a</think><think>b</think><answer>4</answer>", "2 times <think>"),
        ("<think>a</think><answer>4</answer><answer>5</answer>", "2 times <answer>"),
        ("<answer>4</answer><think>a</think>", "the tags are not in the order"),
        ("Well, <think>a</think><answer>4</answer>", "text before <think>"),
        ("<think>a</think> so <answer>4</answer>", "text between </think> and <answer>"),
        ("<think>a</think><answer>4</answer> Done.", "text after </answer>"),
        ("<think>a</think><answer> \n</answer>", "the answer is empty"),
    ],
)
def test_says_what_is_wrong(completion: str, wrong: str) -> None:
    found = check_format(completion)
    assert found is not None
    assert found.startswith(wrong)


@given(thinking=PLAIN, answer=PLAIN.filter(str.strip), extra=PLAIN)
def test_depends_only_on_what_is_around_the_tags(thinking: str, answer: str, extra: str) -> None:
    good = f"<think>{thinking}</think>\n<answer>{answer}</answer>"
    assert check_format(good) is None
    assert (check_format(extra + good) is None) == (not extra.strip())
    assert (check_format(good + extra) is None) == (not extra.strip())


def test_every_real_r1_trace_of_a_kept_record_has_the_form(shared_data: Path) -> None:
    lines = (shared_data / "kodcode_r1_am.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    kept = [row["messages"][1]["content"] for row in rows if row["meta"]["expected_keep"]]
    assert kept
    assert all(check_format(completion) is None for completion in kept)
