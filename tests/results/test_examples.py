"""Which answers are shown, and how they are cut to the page's budget."""

from __future__ import annotations

from html import escape
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.results.examples import BUDGET_BYTES, Asked, _level, choose, shorten
from wmss_cli.results.findings import Findings
from wmss_cli.results.grades import Grades


@given(text=st.text(max_size=400), most=st.integers(50, 300))
def test_a_text_is_cut_in_its_middle(text: str, most: int) -> None:
    shown, hidden = shorten(text, most)
    size = len(escape(shown).encode("utf-8", "replace"))
    if hidden:
        # The mark itself comes on top.
        assert size <= most + 40
        head, _, tail = shown.partition(f"\n[… {hidden:,} characters …]\n")
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head) + len(tail) + hidden == len(text)
    else:
        assert shown == text


@given(sizes=st.lists(st.integers(0, 5000), min_size=1), room=st.integers(0, 20_000))
def test_texts_cut_to_one_length_fit(sizes: list[int], room: int) -> None:
    limit = _level(sizes, room)
    assert sum(min(size, limit) for size in sizes) <= max(room, 0)
    # No larger limit would fit, but for all texts whole.
    assert limit >= max(sizes) or sum(min(size, limit + 1) for size in sizes) > room


def test_half_of_the_problems_are_those_that_arms_disagree_on() -> None:
    keys = [f"q{i}" for i in range(100)]
    first = Grades(dict.fromkeys(keys, 1.0), 100, 0, 100)
    second = Grades({key: float(i >= 10) for i, key in enumerate(keys)}, 100, 0, 100)
    asked = [Asked(i, 0, Path(), {"sums": own}) for i, own in enumerate((first, second))]
    (chosen,) = choose({"sums": keys}, asked, most=8).values()
    assert len(chosen) == 8
    assert sum(key in keys[:10] for key in chosen) == 4


def test_fewer_problems_are_shown_of_many_arms_and_tasks() -> None:
    keys = [f"q{i}" for i in range(100)]
    own = Grades(dict.fromkeys(keys, 1.0), 100, 0, 100)
    asked = [Asked(i, 0, Path(), {}) for i in range(20)]
    chosen = choose({f"t{i}": keys for i in range(9)}, asked)
    assert own.shares.keys() >= set(chosen["t0"])
    answers = sum(len(found) for found in chosen.values()) * len(asked)
    assert 2 <= len(chosen["t0"]) < 20
    assert answers * 1000 < BUDGET_BYTES


def test_every_arm_answers_every_problem_that_is_shown(found: Findings) -> None:
    assert {problem.task for problem in found.problems} == {"gsm8k", "humaneval"}
    for problem in found.problems:
        assert [one.arm for one in problem.answers] == list(range(len(found.arms)))
