"""Whether the answer of a completion equals the reference."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from wmss_cli.answers.compare import is_equal
from wmss_cli.answers.graders import check_math
from wmss_cli.core.verdict import Verdict


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\boxed{18}", "18"),
        (r"\boxed{18}", "$18.00"),
        (r"\boxed{18}", "18 dollars"),
        (r"\boxed{18 dollars}", "€18"),
        (r"\boxed{4.00} dollars", "$4"),
        (r"\boxed{1800}", "1,800"),
        (r"\boxed{1 800}", "1800"),
        (r"\boxed{1\,800}", "1800"),
        (r"\boxed{0.5}", r"\frac{1}{2}"),
        (r"\boxed{\dfrac 12}", "1/2"),
        (r"\boxed{2 1/2}", "2.5"),
        (r"\boxed{275/2}", r"137 \frac{1}{2}"),
        (r"\boxed{3 million}", "3,000,000"),
        (r"\boxed{3.0 \times 10^8}", "300000000"),
        (r"\boxed{15}", r"15\mbox{ cm}^2"),
        (r"\boxed{\text{5 miles}}", "5"),
        (r"\boxed{5\ \mathrm{m/s}}", "5"),
        (r"\boxed{106°}", r"106^\circ"),
        (r"\boxed{18}", "18%"),
        (r"\boxed{34\%}", r"\dfrac{17}{50}"),
        (r"\boxed{33\frac{1}{3}\%}", r"33\frac{1}{3}"),
        (r"\boxed{33\frac{1}{3}\%}", r"\frac{1}{3}"),
        (r"\boxed{x<-1 \text{ or } x>2}", r"(-\infty,-1)\cup(2,\infty)"),
        (r"\boxed{\emptyset}", r"\varnothing"),
        (r"\boxed{2½}", r"\frac{5}{2}"),
        (r"\boxed{2 hours and 30 minutes}", "2 hours 30 minutes"),
        (r"\boxed{2*pi}", r"2\pi"),
        (r"\boxed{x**2 + 1}", "x^2+1"),
        (r"\boxed{0.333...}", r"\frac{1}{3}"),
        ("The answer is forty-two.", "42"),
        ("The answer is approximately $3.14$.", "3.14"),
        (r"\boxed{18}", "$18$"),
        (r"\boxed{\approx 3.14}", "3.14"),
        (r"\boxed{x = 5}", "5"),
        (r"\boxed{5}", "x=5"),
        (r"\boxed{3+2x}", "y = 2x + 3"),
        (r"\boxed{-5x+7y-11z-4=0}", "5x - 7y + 11z + 4 = 0"),
        (r"\boxed{2, 3}", "3, 2"),
        (r"\boxed{3, 5, \text{ and } 7}", "3, 5, 7"),
        (r"\boxed{(1,2)}", "a=1, b=2"),
        (r"\boxed{1-\sqrt5, 1+\sqrt5, -2}", r"\{1\pm\sqrt{5},-2\}"),
        (r"$p=5,q=2;p=7,q=2$", r"\boxed{p=5, q=2 \quad \text{and} \quad p=7, q=2}"),
        (r"\boxed{x>5}", r"(5,\infty)"),
        (r"\boxed{-2 \le x \le 7}", r"x \in [-2,7]"),
        (
            r"\boxed{\begin{bmatrix} -\frac13 \\ \frac23 \end{bmatrix}}",
            r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}",
        ),
        (r"\boxed{2√113}", r"2\sqrt{113}"),
        (r"\boxed{52_{8}}", "52_8"),
        (r"\boxed{52}", "52_8"),
        (r"First \boxed{20}, corrected: \boxed{18}", "18"),
        (r"\boxed{1} and \boxed{2}", r"\{1, 2\}"),
        (r"\boxed{\boxed{18}}", "18"),
        (r"\boxed{18", "18"),
        ("The answer is 18.", "18"),
        ("The answer is 18 because 9 + 9 = 18, and 20 is more.", "18"),
        ("The answer is **even**.", r"\text{even}"),
        ("#### 18", "18"),
        ("The answer is actually 18.", "18"),
        ("The answer is 18! Great.", "18"),
        ("18", "18"),
        ("**18**", "18"),
        ("A: 18", "18"),
        ("The answer is 18, not 20.", "18"),
        (r"\boxed{0.\overline{3}}", r"\frac{1}{3}"),
        (r"\boxed{\langle 1, 2 \rangle}", "(1,2)"),
        (r"\boxed{18\ }", "18"),
        ("Therefore 18", "18"),
        ("They pay 9 and 9, so 9 + 9 = 18 dollars.", "18"),
        ("1.22", "1,22"),
        ("1000,99", "1000.99"),
        ("比例为13/28", "13/28"),
        (r"The answer is $\frac{1}{2}$, as claimed for $n = 1$.", r"\frac{1}{2}"),
        (r"The answer is $\$18$, which is more than $17$.", "18"),
        ("The answer is $1$ and $2$, since $f(1) = f(2) = 0$.", "1, 2"),
        ("The answer is $x$ where $x = 5$.", "5"),
        ("The length is 2√3 cm.", r"2\sqrt{3}"),
        ("It takes 2 1/2 hours.", "2.5"),
        ("So there are 18, not 20, eggs.", "18"),
        ("The answer is not 20 but 18.", "18"),
        ("The answer is not $20$, but rather $18$.", "18"),
        ("It is 18 rather than 20.", "18"),
        (r"So he pays \[ 5.4\text{ cents}. \]", r"5.4 \text{ cents}"),
        (r"Thus \[ x = \frac{3}{4}. \]", r"\frac{3}{4}"),
        (r"Thus $$(-\infty, 2) \cup (3, \infty).$$", r"(-\infty, 2) \cup (3, \infty)"),
        ("Evelyn", r"\text{Evelyn}"),
        (r"3\sqrt{13}", r"3\sqrt{13}"),
        # Complex numbers under a name.
        (r"\boxed{z=3+4i}", "3+4i"),
        (r"\boxed{3+4i}", "z=4i+3"),
        (r"\boxed{x = 1 \pm 2i}", r"1 \pm 2i"),
        (r"\boxed{x=1+2i, x=1-2i}", "1+2i, 1-2i"),
        (r"\boxed{(1+2i)6-3i = 6+9i}", "6+9i"),
        (r"\boxed{|z| = |3+4i| = 5}", "5"),
        # Equations that nothing real solves.
        (r"\boxed{2x^2-8x+10=0}", "x^2-4x+5=0"),
        (r"\boxed{(x-2)^2+1=0}", "x^2-4x+5=0"),
        # Values of several variables.
        (r"\boxed{(3,-1)}", "x=3, y=-1"),
        (r"\boxed{y=-1, x=3}", "(3,-1)"),
        (r"\boxed{x=3 \text{ and } y=-1}", "(3,-1)"),
        (r"\boxed{x=2, x=4}", r"\{2,4\}"),
        (r"\boxed{x = 1, y = 2, and z = 3}", "(1,2,3)"),
        (r"\boxed{(1,2,3)}", r"x=1, y=2, \text{and } z=3"),
        (r"\boxed{x=1, \quad y=2}", "(1,2)"),
        (r"\boxed{m=2, b=3}", "(2,3)"),
        (r"\boxed{(5,3)}", "r=5, p=3"),
    ],
)
def test_equal_values_are_equal_however_written(answer: str, gold: str) -> None:
    verdict = check_math(f"<think>x</think> <answer>{answer}</answer>", gold)
    assert (verdict.correct, verdict.reason) == (True, "correct")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\boxed{180}", "18"),
        (r"\boxed{-18}", "18"),
        (r"\boxed{18, 20}", "18"),
        (r"\boxed{}", "18"),
        (r"\boxed{3}", "3 million"),
        (r"\boxed{1 1/2}", "11/2"),
        (r"\boxed{4.667}", r"\frac{14}{3}"),
        (r"\boxed{\sqrt{2}}", "1.41"),
        (r"\boxed{50}", "0.5"),
        (r"\boxed{(\frac{\pi}{2}, 3)}", r"(3, \frac{\pi}{2})"),
        (r"\boxed{[3,4]}", "(3,4]"),
        (r"\boxed{x<5}", r"x\le 5"),
        (r"\boxed{\text{(A) } 5}", "6"),
        (r"\boxed{listen}", "silent"),
        ("The answer is east.", "seat"),
        (r"\boxed{No}", "yes"),
        (r"\boxed{2 hours 30 minutes}", "3 hours 20 minutes"),
        (r"\boxed{\text{not } 18}", "18"),
        (r"\boxed{33\frac{1}{4}\%}", r"33\frac{1}{3}"),
        (r"\boxed{y=5}", "x=5"),
        (r"\boxed{52_9}", "52_8"),
        (r"\boxed{53_8}", "52_8"),
        (r"\boxed{3}", r"3\sqrt{13}"),
        (r"3\sqrt{13}", "3"),
        (r"\boxed{5 \text{ or } 6}", "5"),
        (r"\boxed{\text{not even}}", r"\text{even}"),
        (r"\boxed{18}. Wait, \boxed{20}", "18"),
        (r"The answer is 18. \boxed{20}", "18"),
        ("The answer is 18. No, the answer is 20.", "18"),
        ("The length is 18√3 cm.", "18"),
        ("The answer is not 18.", "18"),
        ("It is 17, not $18.", "18"),
        ("So $x = 17$ or $x = 18$.", "18"),
        ("The answer is $17$ or $18$, as $n = 1$.", "18"),
        ("I do not know.", "18"),
        (r"\boxed{z=5-7i}", "z=3+4i"),
        (r"\boxed{z=3-4i}", "3+4i"),
        (r"\boxed{x=5\pm 3i}", r"x=1\pm 2i"),
        (r"\boxed{x^2+3=0}", "x^2-4x+5=0"),
        (r"\boxed{x^2+9=0}", "x^2+4=0"),
        (r"\boxed{(-1,3)}", "x=3, y=-1"),
        (r"\boxed{y=3, x=-1}", "(3,-1)"),
        (r"\boxed{(4,2)}", r"\{2,4\}"),
        (r"\boxed{m=3, b=2}", "(2,3)"),
        (r"\boxed{i=4}", "i=3"),
    ],
)
def test_other_values_are_not(answer: str, gold: str) -> None:
    verdict = check_math(f"<think>\\boxed{{{gold}}}</think> <answer>{answer}</answer>", gold)
    assert not verdict.correct
    assert verdict.reason in ("wrong_answer", "no_answer")


def test_says_what_was_compared_and_where_it_stood() -> None:
    verdict = check_math(r"<think>x</think> <answer>So \boxed{1{,}800}.</answer>", "1799")
    assert verdict == Verdict("wrong_answer", "1,800", "boxed")
    verdict = check_math("They pay $18$ in all.", "18")
    assert verdict == Verdict("correct", "18", "prose")


def test_no_answer_is_compared_with_nothing() -> None:
    assert check_math(r"<think>so \boxed{4}", "4") == Verdict("no_answer")
    assert check_math("I do not know.", "4") == Verdict("no_answer")


@pytest.mark.parametrize("gold", [" ", "\n", "$$"])
def test_a_reference_without_anything_is_a_bad_one(gold: str) -> None:
    assert check_math(r"\boxed{\frac{1}{2}}", gold).reason == "bad_reference"


def test_decimals_are_compared_to_six_places() -> None:
    assert not check_math(r"\boxed{0.333}", r"\frac{1}{3}").correct
    assert check_math(r"\boxed{0.333333}", r"\frac{1}{3}").correct


@given(st.integers(), st.integers())
def test_integers_are_equal_to_themselves_only(answer: int, gold: int) -> None:
    text = f"<think>x</think> <answer>\\boxed{{{answer}}}</answer>"
    assert check_math(text, str(gold)).correct == (answer == gold)
    assert check_math(text, f"{answer:,}").correct


@settings(max_examples=20)
@given(st.integers(-(10**9), 10**9))
@pytest.mark.parametrize(
    "form",
    [
        *(
            r"\boxed{{{}}}",
            r"\boxed{{x = {}}}",
            r"\boxed{{{}.00}}",
            r"\boxed{{{} \text{{ apples}}}}",
        ),
        *("The answer is {}.", "#### {}", "**Answer:** {} apples", "<answer>{}</answer>"),
        *("so $x = {}$", r"so \[ {} \]"),
    ],
)
def test_integers_are_read_in_all_forms(form: str, value: int) -> None:
    for written in (str(value), f"{value:,}", f"{value:,}".replace(",", "{,}")):
        assert check_math(form.format(written), str(value)).correct


@settings(max_examples=10)
@given(st.lists(st.integers(-99, 99), min_size=2, max_size=4, unique=True))
def test_a_list_is_equal_in_any_order_and_a_tuple_is_not(values: list[int]) -> None:
    shuffled = values[::-1]
    assert is_equal(_listed(shuffled), _listed(values))
    assert is_equal(rf"\{{{_listed(shuffled)}\}}", _listed(values))
    assert not is_equal(f"({_listed(shuffled)})", f"({_listed(values)})")
    assert not is_equal(_listed(values[1:]), _listed(values))


@settings(max_examples=20)
@given(st.integers(-99, 98), st.integers(1, 99), *[st.sampled_from(["(]", "[)", "()", "[]"])] * 2)
def test_intervals_differ_in_their_ends(start: int, width: int, one: str, other: str) -> None:
    body = f"{start}, {start + width}"
    answer, gold = (f"{ends[0]}{body}{ends[1]}" for ends in (one, other))
    assert is_equal(rf"x \in {answer}", rf"x \in {gold}") == (one == other)


plain = st.one_of(st.integers(-(10**6), 10**6), st.decimals(-1000, 1000, places=3, allow_nan=False))


@given(plain, plain)
def test_plain_numbers_are_decided_as_math_verify_does(answer: object, gold: object) -> None:
    parsed = [parse(rf"\boxed{{{side}}}", parsing_timeout=None) for side in (gold, answer)]
    assert is_equal(str(answer), str(gold)) == verify(*parsed, timeout_seconds=None)


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values))
