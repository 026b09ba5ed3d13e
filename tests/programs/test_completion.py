"""The program in a completion, and the pieces that it is made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.programs.completion import (
    Piece,
    choose,
    choose_script,
    complete,
    extract_code,
    extract_from_answer,
    is_cut_off,
    joined,
    pieces,
    runs_of_lines,
    with_others,
)
from wmss_cli.programs.syntax import parses

SOLUTION = "def f(x):\n    return x\n"


def fenced(code: str, language: str = "python", fence: str = "```") -> str:
    return f"{fence}{language}\n{code}{fence}\n"


DRAFT = fenced("def f(x):\n    return 'a draft, and longer'\n")
EXAMPLE = fenced("f(input())\n")


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        (f"<think>{DRAFT}</think><answer>{fenced(SOLUTION)}</answer>", SOLUTION),
        (f"<think>hm</think>\n{fenced(SOLUTION)}", SOLUTION),
        (f"<think>hm\n{fenced(SOLUTION)}", None),
        (f"<think>hm</think>\n<answer>{fenced(SOLUTION)}", None),
        (f"<answer>\n{fenced(SOLUTION)}Example:\n{EXAMPLE}</answer>", SOLUTION),
        (f"<answer>{DRAFT}That is wrong.\n{fenced(SOLUTION)}</answer>", SOLUTION),
        (
            f"<answer>   ```python\n   {SOLUTION.replace('    ', '       ')}   ```</answer>",
            SOLUTION,
        ),
        (f"<answer>{SOLUTION}</answer>", SOLUTION.strip()),
        ("<answer>I cannot do that.</answer>", None),
        ("", None),
    ],
)
def test_only_the_answer_of_a_record_counts(completion: str, program: str | None) -> None:
    found = extract_from_answer(completion, "f")
    assert (found and found.strip()) == (program and program.strip())


def test_a_block_of_a_record_that_is_no_program_is_refused_as_it_is() -> None:
    wrong = "def f(x):\n    if x:\n        return x\n    retrun 0 0\n"
    assert extract_from_answer(fenced(wrong), "f") == wrong
    assert extract_from_answer(f"{fenced(SOLUTION)}Better:\n{fenced(wrong)}", "f") == wrong
    assert extract_from_answer(f"{fenced(wrong)}Corrected:\n{fenced(SOLUTION)}", "f") == SOLUTION


def test_a_script_is_taken_as_it_is() -> None:
    script = "n = int(input())\nprint(n)\n"
    assert extract_from_answer(f"{fenced(script)}\nFor 5:\n{fenced('5' + chr(10), '')}") == script


@pytest.mark.parametrize(
    "completion",
    [
        SOLUTION,
        fenced(SOLUTION),
        f"Sure! Here it is:\n\n{fenced(SOLUTION)}\nIt returns x.",
        f"Sure! Here it is:\n{SOLUTION}\nIt returns x.",
        f"```python\n{SOLUTION}",
        fenced(f"{SOLUTION}\nprint(f(1))\n"),
        fenced(f"{SOLUTION}\nif __name__ == '__main__':\n    f(input())\n"),
        fenced(f"{SOLUTION}\ndef unused():\n    return input()\n\nvalue = unused()\n"),
        fenced(f"{SOLUTION}\nassert f(1) == 2\n"),
        fenced(f"x = int(input())\n{SOLUTION}"),
        f"<think>f</think>{fenced(SOLUTION)}",
        f"<answer>\n    {SOLUTION.replace('    ', '        ')}</answer>",
        f"{DRAFT}Wait, no:\n{fenced(SOLUTION)}",
        f"{fenced(SOLUTION)}Its head is\n{fenced('def f(x): ...' + chr(10))}",
        f"{SOLUTION}<|im_end|>",
        f"\x1b[32m{SOLUTION}\x1b[0m",
    ],
)
def test_code_of_a_completion(completion: str) -> None:
    assert extract_code(completion, "f") == SOLUTION.strip()


@pytest.mark.parametrize(
    "completion",
    [
        "Sorry, I do not know.",
        "",
        f"<think>It is\n{fenced(SOLUTION)}",
        f"<think>x</think>\n<answer>\n{fenced(SOLUTION)}",
        f"<think>{fenced(SOLUTION)}</think>\n<answer>\n{DRAFT}",
        f"{fenced(SOLUTION)}Better:\n```python\ndef f(x):\n    for y in (",
    ],
)
def test_what_is_unfinished_or_no_code_does_not_count(completion: str) -> None:
    assert extract_code(completion, "f") is None
    assert complete(PROMPT, completion, "f") is None


def test_tags_inside_a_program_are_none() -> None:
    code = "def f(x):\n    return x.split('</think>')[-1].strip('<answer>')"
    assert extract_code(f"<think>Yes.</think>\n{fenced(code + chr(10))}", "f") == code


def test_what_the_tests_use_besides_stays() -> None:
    code = f"class Pair: pass\n{SOLUTION}"
    assert extract_code(fenced(code), "f", ["Pair"]) == code.strip()


PROMPT = 'import math\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """Return x."""\n'
BODY = "    for _ in ():\n        return 0\n    return helper(x)\n"


@pytest.mark.parametrize(
    "completion",
    [
        BODY,
        f"{BODY}\nprint(f(3))\n",
        f"{BODY}\ndef g():\n    return",
        f"{BODY}\nif __name__ == '__main__':\n    f(input())",
        f"{BODY}```\nThat is all.",
        f"{BODY}\nThat's all.",
        f"{BODY}\n\ndef f(x):\n    return 0\n",
        "    return below(x)\n\n\ndef below(x):\n    return helper(x)\n",
        f"{PROMPT}{BODY}",
        f"Here you are:\n{fenced(PROMPT + BODY)}",
        fenced("def f(x):\n    return helper(x)\n"),
        fenced("from __future__ import annotations\ndef f(x: X):\n    return helper(x)\n"),
        fenced(BODY),
        f"<think>\n{DRAFT}</think>\n\n{BODY}",
        f"<think>\n{DRAFT}</think>\n\n{fenced(BODY)}\nFor example:\n{fenced('f(3)' + chr(10))}",
        f"<think>x</think>\n<answer>\n{BODY}</answer>",
        BODY.strip(),
        BODY.replace("\n    ", "\n").strip(),
        "# It is easy.\n    return helper(x)",
        "    def f(x):\n        return x\n    return helper(f(x))\n",
        "<answer>\n    def f(x):\n        return helper(x)\n</answer>",
    ],
)
def test_a_prompt_and_its_completion_make_a_program(completion: str) -> None:
    program = complete(PROMPT, completion, "f")
    assert program is not None
    names: dict[str, object] = {}
    exec(program, names)
    function = names["f"]
    assert callable(function)
    assert function(7) == 7


def test_what_neither_defines_nor_continues_is_no_program() -> None:
    assert complete(PROMPT, "", "f") is None
    assert complete(PROMPT, "I do not know.", "f") is None


@given(st.text("ab(:=\n `~#>", max_size=60))
def test_any_text_is_taken(text: str) -> None:
    code = extract_code(text, "a")
    assert code is None or parses(code)
    complete("def a(b):\n    'b'\n", text, "a")
    extract_from_answer(text, "a")


def test_code_that_is_too_deep_is_none() -> None:
    assert extract_code("(" * 5000 + ")" * 5000, "f") is None
    assert extract_code("x = '\0'", "f") is None


# The pieces of Python in a text, and those that count.


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
def test_all_pieces_of_any_text_are_programs(text: str) -> None:
    assert all(parses(run) for run in runs_of_lines(text))
    assert all(parses(piece.code) for piece in pieces(text, "a"))
