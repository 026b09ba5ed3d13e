"""Characters that look or mean the same become one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.answers.characters import plain_characters


@pytest.mark.parametrize("minus", ["\u2212", "\u2010", "\u2011", "\ufe63", "\uff0d", "\u2796"])
def test_a_minus_is_a_minus(minus: str) -> None:
    assert plain_characters(f"x = {minus}12") == "x = -12"


def test_a_dash_is_a_minus_before_a_value_alone() -> None:
    assert plain_characters("is \u201312") == "is -12"
    assert plain_characters("pages 3\u20135 \u2013 all") == "pages 3\u20135 \u2013 all"


@pytest.mark.parametrize("space", ["\u00a0", "\u2009", "\u202f", "\u2007", "'", "\u2019"])
def test_thin_spaces_and_apostrophes_stand_between_thousands(space: str) -> None:
    text = f"é {space.join(('1', '234', '567'))}"
    assert plain_characters(text) == "é 1,234,567"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("１２．５％", "12.5%"),  # noqa: RUF001
        ("答案是 12。因为", "答案是 12. 因为"),
        ("（１，２）", "(1, 2)"),  # noqa: RUF001
        ("4\u200b2\ufeff", "42"),
        ("42 🎉", "42  "),
        ("x²\u207a¹", "x^{2+1}"),
        ("10⁻¹⁹", "10^{-19}"),
        ("52₈", "52_{8}"),
        ("5 cm²", r"5\text{ cm}^{2}"),
        ("٤٢", "42"),
        ("𝟒𝟐", "42"),  # noqa: RUF001
        ("Ⓑ", "(B)"),
        ("1⁄2", "1/2"),  # noqa: RUF001
        ("2½ or ⅝", "2 1/2 or 5/8"),
        ("-¾", "-3/4"),
        ("1 ½", "1 1/2"),
        ("１，２３４，５６７", "1,234,567"),  # noqa: RUF001
        ("是——42", "是——42"),
        ("“B”", '"B"'),
        ("45°", "45°"),
        ("π ≤ √2", "π ≤ √2"),
    ],
)
def test_other_characters(text: str, plain: str) -> None:
    assert plain_characters(text) == plain


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_stays_as_it_is(text: str) -> None:
    assert plain_characters(text) == text


@given(st.text())
def test_a_plain_text_is_plain_already(text: str) -> None:
    once = plain_characters(text)
    assert plain_characters(plain_characters(once)) == plain_characters(once)
