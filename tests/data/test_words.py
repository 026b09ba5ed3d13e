"""Texts as words: what makes a difference between two samples, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.data.words import ngrams, words, words_and_signs

SAME = [
    ("What is it?", "what is  it"),
    ("What is 2 + 2?", "What is 2+2"),
    ("\N{FULLWIDTH LATIN CAPITAL LETTER W}hat ﬁts", "what fits"),
    ("a well-known fact", "a well known fact"),
    ("Be **bold**!", "be bold"),
    ("3 \N{MINUS SIGN} 1", "3 - 1"),
    (r"$\dfrac12$ of $x^{2}$", r"\frac{1}{2} of x^2"),
    (r"$\tfrac{m}{n}$", "m/n"),
    (r"\frac{\sqrt{3}}{2}", "√3/2"),
    (r"$0 \le \theta < 2\pi$", r"0 \leq\theta<2\pi"),
    (r"$0 \le \theta < 2\pi$", "0 ≤ θ < 2π"),
    (r"\left( x \right)\, \text{if } a_{1} \cdot b", r"(x) \mbox{if} a_1 · b"),
    (r"$24,\!000$ or \$24{,}000", "24,000 or 24000"),
    (r"a \times b \quad\text{and} \\ c", "a \N{MULTIPLICATION SIGN} b and c"),
    ("x² + a₁", "x^2 + a_1"),
    (r"\(x\) and \[y\]", "$x$ and $$y$$"),
    (r"\begin{align*} x &= 1 \end{align*}", r"\begin{aligned}x&=1\end{aligned}"),
]
OTHER = [
    ("What is 2*3?", "What is 2+3?"),
    ("What is a - b?", "What is a + b?"),
    ("What is 5!?", "What is 5?"),
    ("x > 0", "x < 0"),
    ("(-3)^2", "3^2"),
    ("2 \N{MULTIPLICATION SIGN} 3", "2 \N{DIVISION SIGN} 3"),
    ("3 - 1", "3 1"),
    (r"\sin x", r"\cos x"),
    (r"\overline{AB}", "AB"),
    (r"\frac{a}{b}", r"\binom{a}{b}"),
    (r"x \le 3", r"x \ge 3"),
    ("24,00", "2400"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_case_punctuation_and_space_make_no_difference(first: str, second: str) -> None:
    assert words_and_signs(first) == words_and_signs(second)


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_the_signs_of_formulas_do(first: str, second: str) -> None:
    assert words_and_signs(first) != words_and_signs(second)


def test_words_alone_are_without_signs() -> None:
    assert words("Is x^2 > 3, or 2*y?") == ["is", "x", "2", "3", "or", "2", "y"]


def test_names_of_latex_commands_and_drawings_are_no_words() -> None:
    text = r"is $\frac{m}{n}$, where $\overline{AB} \parallel \triangle$ and $\sin \theta$"
    assert words(text) == ["is", "m", "n", "where", "ab", "and", "sin", "θ"]
    assert words("Find A. [asy] draw(A--B); [/asy] Well, [asy] dot(A);") == ["find", "a", "well"]


@given(st.text(alphabet="\\{}^_$ frac1a~!&", max_size=60))
def test_any_text_has_words(text: str) -> None:
    assert all(word.isalnum() or "_" in word for word in words(text))
    assert isinstance(words_and_signs(text), list)


def test_each_chinese_or_japanese_character_is_a_word() -> None:
    assert words("小明有3个苹果。") == ["小", "明", "有", "3", "个", "苹", "果"]
    assert words("りんごが10個") == ["り", "ん", "ご", "が", "10", "個"]
    assert words("사과가 세 개") == ["사과가", "세", "개"]


@given(st.text().filter(lambda text: "\\" not in text))
def test_words_are_those_of_words_and_signs(text: str) -> None:
    assert [word for word in words_and_signs(text) if word[0].isalnum() or "_" in word] == [
        word for word in words(text) if word[0].isalnum() or "_" in word
    ]


def test_ngrams_are_runs_of_words() -> None:
    assert list(ngrams(["a", "b", "c", "d"], 3)) == ["a b c", "b c d"]
    assert list(ngrams(["a", "b"], 3)) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", ["", " {x}", "frac", r"\a"])
def test_a_long_run_of_backslashes_takes_no_time(end: str) -> None:
    assert len(words("\\" * 100_000 + end)) <= 1
