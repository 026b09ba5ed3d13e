"""The values in a text, each whole."""

from __future__ import annotations

import pytest

from wmss_cli.answers.scan import Value, values, without_emphasis


def texts(text: str) -> list[str]:
    return [value.text for value in values(*without_emphasis(text))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The sides are 1 and 2√3 cm.", ["1", "2√3"]),
        ("The area is 24π.", ["24π"]),
        ("It takes 2 1/2 hours.", ["2 1/2"]),
        ("It takes 2 and a half hours.", ["2 1/2"]),
        ("It is long (that is, √2).", ["√2"]),
        ("The vertex is (15, -29).", ["(15, -29)"]),
        ("It is (3, 4] or [1, 2).", ["(3, 4]", "[1, 2)"]),
        ("So 8 * $5 = $40.", ["$40"]),
        ("He has 450,000-2000=$448,000 left.", ["$448,000"]),
        ("8 × 3 = 24 pages", ["24"]),  # noqa: RUF001
        ("The line is 2x + 3y = 5.", ["2x + 3y = 5"]),
        ("So x = 5.", ["x = 5"]),
        ("It is 1.6 thousand dollars.", ["1.6 thousand"]),
        ("About 70 000 people.", ["70 000"]),
        ("It is 2.5 x 10^5 J.", ["2.5 x 10^5"]),
        ("The ratio is 3 : 5.", ["3 : 5"]),
        ("At 5:30 PM.", ["5:30 PM"]),
        ("It takes 2 hours and 40 minutes.", ["2 hours and 40 minutes"]),
        (r"It is \frac{14}{3}, so we stop.", [r"\frac{14}{3}"]),
        (r"It is \left( 3, \frac{\pi}{2} \right), so", [r"\left( 3, \frac{\pi}{2} \right)"]),
        (r"It is 137 \frac{1}{2} in all.", [r"137 \frac{1}{2}"]),
        (r"It is 864 \mbox{ inches}^2 in all.", [r"864 \mbox{ inches}^2"]),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix} it is", [r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"]),
        ("$ 48 $ crayons, $\\frac{1}{2}$ used", ["48", r"\frac{1}{2}"]),
        ("$2.5$ million", ["2.5 million"]),
        ("The answer is 18! Great.", ["18"]),
        ("Total: 5", ["5"]),
        ("H2O, x, A and I", []),
    ],
)
def test_a_value_is_read_whole(text: str, found: list[str]) -> None:
    assert texts(text) == found


def test_emphasis_bounds_a_value() -> None:
    text, spans = without_emphasis("She makes 9 * $2 = **$18** a day, `7` days.")
    assert text == "She makes 9 * $2 = $18 a day, 7 days."
    found = values(text, spans)
    assert [value.text for value in found if value.is_emphasised] == ["$18", "7"]
    assert found[-1] == Value(30, 31, "7", is_emphasised=True)


@pytest.mark.parametrize(
    "text", ["3 * 4 * 5", "3*4*5", r"$a*b*c$", "x**2 + y**2", "a * b", "2 ** 3 ** 4"]
)
def test_a_product_is_no_emphasis(text: str) -> None:
    assert without_emphasis(text) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        *("$", "$1", r"\(", r"\[", "$1$ and ", "1 ", "(", "(1", "{", "√", "1.", "1, ", "1:", "!"),
        *(r"\frac{", r"\begin{a}", "**", "*a", "`", "()", ")(", "(a word) ", "5 feet ", "2√3 and "),
    ],
)
def test_a_model_that_repeats_itself_costs_no_time(text: str) -> None:
    assert values(*without_emphasis(text * 3000)) is not None
