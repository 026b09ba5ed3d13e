"""What is written in many ways and means the same."""

from __future__ import annotations

import pytest

from wmss_cli.answers.notation import in_latex, normal_form, tidy


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\left( 3, \dfrac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"\text{(C)}", "C"),
        (r"\textbf{C}", "(C)"),
        (r"\text{Evelyn}", "evelyn"),
        (r"$12:00$", "12:00"),
        (r"3\,x", "3x"),
    ],
)
def test_the_same_in_other_writing(one: str, other: str) -> None:
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1 1/2", "11/2"), ("X", "x"), ("(3,4]", "(3,4)"), ("3x", "3y"), ("AB", "A")]
)
def test_what_only_looks_alike(one: str, other: str) -> None:
    assert normal_form(one) != normal_form(other)


def test_signs_of_plain_text_become_latex() -> None:
    assert in_latex("5(√3 + 1)") == r"5(\sqrt{3} + 1)"
    assert in_latex("√(5)") == r"\sqrt(5)"
    assert in_latex("45°") == r"45^\circ "
    assert in_latex("2 1/2") == r"2\frac{1}{2}"


def test_a_repeating_decimal_becomes_a_fraction() -> None:
    assert in_latex(r"0.\overline{3}") == r"\frac{3}{9}"
    assert in_latex(r"1.2\overline{45}") == r"\frac{1233}{990}"


@pytest.mark.parametrize("text", ["**18**", "`18`", r"18\ ", " 18 ", "*18*", "18,", r"18\,", "18;"])
def test_nothing_stays_around_an_answer(text: str) -> None:
    assert tidy(text) == "18"


@pytest.mark.parametrize("text", [" ", "1", "1 1/", r"\text{", r"\quad ", "{", "$"])
def test_a_model_that_repeats_itself_costs_no_time(text: str) -> None:
    assert normal_form(in_latex(tidy(text * 3000))) is not None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\color{red}{5}", "{5}"),
        (r"\bigl(1, 2\bigr)", "(1, 2)"),
        (r"\displaystyle\frac{1}{2}", r"\frac{1}{2}"),
        (r"\text{(A) } 5", "5"),
        (r"\textbf{(B)}\ 12", "12"),
        ("(C) 12", "12"),
        (r"\text{The answer is } 5", "5"),
        (r"\text{Total: }\frac{1}{2}", r"\frac{1}{2}"),
        (r"\text{\$}5", r"\$5"),
        (r"2.5\text{ million}", "2.5 million"),
        (r"k = 2n+1, n\in\mathbb{Z}", "k = 2n+1"),
        (r"\lbrace 1,2 \rbrace", r"\{ 1,2 \}"),
        (r"72\degree", r"72^\circ"),
        ("12~cm", "12 cm"),
    ],
)
def test_looks_labels_and_words_around_a_value_go(text: str, value: str) -> None:
    assert tidy(text) == value


@pytest.mark.parametrize(
    "text",
    [
        r"\text{(C)}",
        r"\text{(C)}$",
        "(A)(x+1)",
        r"\text{at least } 5",
        r"x \in \mathbb{Z}",
        "(3, 4)",
    ],
)
def test_what_belongs_to_the_value_stays(text: str) -> None:
    assert tidy(text) == text


def test_and_between_solutions_binds_less_than_a_comma() -> None:
    assert tidy(r"p=5, q=2 \quad \text{and} \quad p=7, q=2") == "p=5, q=2; p=7, q=2"
    assert tidy(r"p=5, \quad \text{and} \quad q=2") == r"p=5, \quad \text{and} \quad q=2"


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        (r"so \[ x = 5. \]", r"so \[ x = 5 \]"),
        (r"so \( (3, 4]\,. \)", r"so \( (3, 4] \)"),
        ("so $$(3, 4],$$", "so $$(3, 4]$$"),
        ("so $.5.$", "so $.5$"),
        ("She pays $5, and $6.", "She pays $5, and $6."),
    ],
)
def test_the_full_stop_in_a_marked_formula_belongs_to_the_sentence(text: str, tidied: str) -> None:
    assert tidy(text) == tidied
