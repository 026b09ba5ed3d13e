"""The pieces of Python in a text, and those that count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.programs.pieces import (
    Piece,
    choose,
    choose_script,
    is_cut_off,
    joined,
    pieces,
    runs_of_lines,
    with_others,
)
from wmss_cli.programs.syntax import parses

SOLUTION = "def f(x):\n    return x\n"


def fenced(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}```\n"


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (fenced(SOLUTION), [SOLUTION]),
        (f"Here:\n{SOLUTION}That is all.", [SOLUTION.strip()]),
        (f"{fenced('f(1)' + chr(10))}\n{SOLUTION}Yes, it is.", ["f(1)", SOLUTION.strip()]),
        (f"```python\n{SOLUTION}\nThis is it.", [SOLUTION.strip()]),
        (">>> def f(x):\n...     return x\n>>> f(1)\n1", [SOLUTION.strip() + "\nf(1)"]),
        (f"<b>\n    {SOLUTION.replace(chr(10), chr(10) + '    ')}", [SOLUTION.strip()]),
        ("no program at all", []),
    ],
)
def test_the_pieces_of_a_text(text: str, codes: list[str]) -> None:
    found = [piece.code for piece in pieces(text, "f")]
    assert [code for code in found if "f" in code][-len(codes) :] == codes


@pytest.mark.parametrize(
    ("codes", "chosen"),
    [
        ([], None),
        (["x = 1", "y = 2"], None),
        (["def f(): 0", "print(f(), f(), f())"], 0),
        (["def f(): 1", "def f(): 0"], 1),
        (["def f(): return 1", "def f(): ..."], 0),
        (["def f(): return 1", "def f():\n 'Like this.'"], 0),
        (["def f(): raise NotImplementedError", "x = 1"], 0),
        (["f = lambda: 0", "f = f()"], 0),
        (["def g(): 0\nf = g", "f = max(f(), 2)"], 0),
        (["class S:\n def f(self): 0", "x = 1"], 0),
        (["def f(): 0", "class S:\n def f(self): 0"], 0),
        (["class S:\n def f(self): 1", "class S:\n def f(self): 0"], 1),
    ],
)
def test_the_last_definition_counts(codes: list[str], chosen: int | None) -> None:
    assert choose([Piece(code) for code in codes], "f") == chosen


def test_what_is_repeated_until_the_text_ends_does_not_count() -> None:
    whole, begun = Piece("def f(x):\n    y = 2 * x\n    return y\n"), "def f(x):\n    y = 2 * x\n"
    assert choose([whole, Piece(begun, finished=False)], "f") == 0
    assert choose([whole, Piece(begun, finished=True)], "f") == 1


def test_a_script_reads_input() -> None:
    codes = ["print(int(input()))", "import sys\nprint(sys.stdin.read())", "a = 1\n" * 20]
    assert choose_script([Piece(code) for code in codes]) == 1
    assert choose_script([Piece("print(1)"), Piece("print(1, 2)")]) == 1
    assert choose_script([]) is None


def test_other_pieces_define_what_one_uses() -> None:
    found = [
        Piece("import math"),
        Piece("def g(x): return K * math.floor(h(x))"),
        Piece("K = 1"),
        Piece("x = 5\nprint(g(x))"),
        Piece("def f(x): return g(x)"),
        Piece("f(2)"),
        Piece("K = 2\ndef h(x): return x"),
    ]
    code = with_others(found, 4)
    names: dict[str, object] = {}
    exec(code, names)
    assert "x = 5" not in code
    assert "f(2)" not in code


def test_future_imports_come_first() -> None:
    code = joined(["import math", "from __future__ import annotations\nx: Unknown = 1"])
    exec(code, {})
    assert code.startswith("from __future__")


@pytest.mark.parametrize(
    ("text", "cut_off"),
    [
        ("def f(x):\n    return x", False),
        ("def f(x):\n    for i in (", True),
        ("def f(x", True),
        ("Then\n    def f(self, x):\n        return (", True),
        (f"{fenced(SOLUTION)}\ndef f(x) is how it is called.", False),
        (f"{fenced('def f(x):' + chr(10) + '    return (' + chr(10))}", False),
        ("def f(x):\n    return (\nThat is it.", False),
        ("nothing", False),
    ],
)
def test_an_answer_that_ends_within_a_definition(text: str, cut_off: bool) -> None:
    assert is_cut_off(text, "f") is cut_off


def test_a_repetition_that_is_cut_off_is_no_other_answer() -> None:
    assert not is_cut_off(f"{SOLUTION}\n\ndef f(x):\n    ret", "f", SOLUTION)
    assert is_cut_off(f"{SOLUTION}\n\ndef f(x):\n    for", "f", SOLUTION)


def test_the_runs_of_lines_that_are_programs() -> None:
    text = (
        "Here it is:\nimport numpy\nSorry, again:\nimport math\n\ndef f():\n    return 1\n"
        "As you can see, it's short."
    )
    assert runs_of_lines(text) == ["import numpy", "import math\n\ndef f():\n    return 1"]
    assert runs_of_lines("not a program at all") == []
    assert runs_of_lines("x = (\n" * 400) == []


@given(st.text("ab(:=\n '\"#", max_size=60))
def test_any_text_is_taken(text: str) -> None:
    assert all(parses(run) for run in runs_of_lines(text))
    assert all(parses(piece.code) for piece in pieces(text, "a"))
