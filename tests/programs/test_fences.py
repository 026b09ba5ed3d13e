"""Fenced blocks, as models write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.programs.fences import Block, dedented, fenced_blocks, typed

SOLUTION = "def f(x):\n    return x\n"
IN_DOCSTRING = 'def f(x):\n  """Use it:\n\n  ```python\n  f(1)\n  ```\n  """\n  return x\n'
IN_TEXT = 'PAGE = """\n```\nls\n```\n"""\n'


def fenced(code: str, language: str = "python", fence: str = "```") -> str:
    return f"{fence}{language}\n{code}{fence}\n"


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("no block", []),
        (fenced(SOLUTION), [SOLUTION]),
        (fenced(SOLUTION, ""), [SOLUTION]),
        (fenced(SOLUTION, "Python3"), [SOLUTION]),
        (fenced(SOLUTION, "{.python}"), [SOLUTION]),
        (fenced(SOLUTION, "python title='a.py'"), [SOLUTION]),
        (fenced(SOLUTION, "python:src/a.py"), [SOLUTION]),
        (fenced(SOLUTION, "solution.py"), [SOLUTION]),
        (fenced(SOLUTION, "py", "~~~"), [SOLUTION]),
        (fenced("ls\n", "bash") + fenced(SOLUTION), [SOLUTION]),
        (f"a\n{fenced(SOLUTION)}b\n{fenced('f(1)' + chr(10))}c", [SOLUTION, "f(1)\n"]),
        (fenced('s = "```"\n'), ['s = "```"\n']),
        (fenced("# use ```\nx = 1\n"), ["# use ```\nx = 1\n"]),
        (fenced(IN_DOCSTRING), [IN_DOCSTRING]),
        (fenced(IN_TEXT) + fenced(SOLUTION), [IN_TEXT, SOLUTION]),
        (fenced(fenced("x = 1\n"), "python", "````"), [fenced("x = 1\n")]),
        ("1. First:\n   ```python\n   def f():\n     pass\n   ```", ["def f():\n  pass\n"]),
        ("- ```python\n  x = 1\n  ```", ["  x = 1\n"]),
        ("> ```\n> x = 1\n> ```", ["x = 1\n"]),
        (fenced(SOLUTION).replace("\n", "\r\n"), [SOLUTION]),
    ],
)
def test_the_blocks_of_a_text(text: str, codes: list[str]) -> None:
    blocks = fenced_blocks(text)
    assert [block.code for block in blocks] == codes
    assert all(block.closed for block in blocks)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("Here: ```python\nx = 1\n```", ["x = 1\n"]),
        ("<answer>```python\nx = 1\n```", ["x = 1\n"]),
        ("```python\nx = 1```\nDone.", ["x = 1\n"]),
        ("```python\nx = 1\n``` That is all.", ["x = 1\n"]),
        ("```python def f(x):\n    return x\n```", [" def f(x):\n    return x\n"]),
        ("```python x = 1```", ["x = 1"]),
        ("Use ```x = 1``` here.", ["x = 1"]),
        ("```python\nx = 1\n\n```python\ny = 2\n```", ["x = 1\n\n", "y = 2\n"]),
        ("~~~~~\nx\n" + fenced(SOLUTION), ["x\n", SOLUTION]),
    ],
)
def test_fences_that_are_not_where_they_belong(text: str, codes: list[str]) -> None:
    assert [block.code.strip() for block in fenced_blocks(text)] == [c.strip() for c in codes]


def test_a_block_that_the_text_ends_in_is_not_closed() -> None:
    assert fenced_blocks("```python\nx = 1\n") == [Block("x = 1\n\n", closed=False)]
    assert fenced_blocks("```\nx = 1") == [Block("x = 1\n", closed=False, is_named=False)]


@pytest.mark.parametrize(
    ("code", "bare"),
    [
        (SOLUTION, SOLUTION),
        ("    x = 1\n    y = 2\n", "x = 1\ny = 2\n"),
        (">>> x = 1\n>>> x\n1\n", "x = 1\nx"),
        (">>> def f():\n...     pass\n...\n>>> f()", "def f():\n    pass\n\nf()"),
        ("In [1]: def f():\n   ...:     pass\n\nIn [2]: f()", "def f():\n    pass\nf()"),
        ("no code at all", "no code at all"),
    ],
)
def test_what_stands_before_all_of_the_code_goes(code: str, bare: str) -> None:
    assert dedented(code) == bare


def test_what_was_typed() -> None:
    assert typed("Try:\n\n>>> x = 1\n>>> x\n1\n") == "x = 1\nx"


@given(st.text("ab(:=\n `~#>", max_size=60))
def test_any_text_is_taken(text: str) -> None:
    for block in fenced_blocks(text):
        assert isinstance(block.code, str)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", ["```python\nprint(1)\n", "```python\nprint(1\n```\n", "```\n"])
def test_an_answer_that_repeats_itself_takes_no_time(part: str) -> None:
    assert len(fenced_blocks(part * 4000)) >= 2000


@pytest.mark.timeout(60)
@pytest.mark.parametrize("head", ["```", "```x", ".~~~" * 30_000, "~" * 100_000])
@pytest.mark.parametrize("end", ["", "`", "``"])
def test_a_long_line_takes_no_time(head: str, end: str) -> None:
    assert all(not block.closed for block in fenced_blocks(head + 100_000 * " " + end))


@pytest.mark.parametrize("code", ["x = 1", "x", "x = [1,  2]"])
@pytest.mark.parametrize("blanks", ["", " ", "\t  "])
def test_blanks_around_code_on_one_line(code: str, blanks: str) -> None:
    assert fenced_blocks(f"Use ```{blanks}{code}{blanks}``` here.") == [Block(code)]
